//! Rule files: read here, never by the daemon, and checked before they are sent.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};

use crate::protocol::{MAX_REQUEST, Source};

/// Reads a rule file; `-` is standard input.
///
/// # Errors
/// When it cannot be read, is not UTF-8, or is longer than a request can be.
pub fn read(file: &OsStr) -> io::Result<Source> {
    let (name, input): (String, Box<dyn Read>) = if file == "-" {
        ("stdin".into(), Box::new(io::stdin().lock()))
    } else {
        let name = file.display().to_string();
        let open = File::open(file);
        let file = open.map_err(|e| io::Error::new(e.kind(), format!("{name}: {e}")))?;
        (name, Box::new(file))
    };
    // JSON takes two bytes for a quote or a newline: half of a request always fits.
    let most = MAX_REQUEST / 2 - 1024;
    let mut text = String::new();
    input
        .take(most as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
    if text.len() > most {
        return Err(io::Error::other(format!("{name}: longer than {most} bytes")));
    }
    Ok(Source { name, text })
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn errors_name_the_file() {
        let error = read("/nonexistent/weir.conf".as_ref()).unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/weir.conf: "), "{error}");
    }
}
