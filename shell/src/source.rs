//! Rule files: read here, never by the daemon, and checked before they are sent.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};

use weir_config::{Files, MAX_TABLE_TEXT};

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

/// The files of this machine, for those that a rule file names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&mut self, path: &str, _: &str) -> Result<String, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let mut text = String::new();
        file.take(MAX_TABLE_TEXT as u64 + 1)
            .read_to_string(&mut text)
            .map_err(|error| error.to_string())?;
        if text.len() > MAX_TABLE_TEXT {
            return Err(format!("longer than {MAX_TABLE_TEXT} bytes"));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use weir_config::Files;

    use super::{Disk, read};

    #[test]
    fn the_disk_is_read_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        std::fs::write(&path, "10.0.0.1\n").unwrap();
        let path = path.to_str().unwrap();
        assert_eq!(Disk.read(path, "weir.conf"), Ok("10.0.0.1\n".into()));
        assert!(Disk.read("/nonexistent/hosts", "weir.conf").unwrap_err().contains("No such file"));
        assert_eq!(Disk.read("/dev/zero", ""), Err("longer than 67108864 bytes".into()));
        std::fs::write(path, [0xff]).unwrap();
        assert!(Disk.read(path, "").unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn errors_name_the_file() {
        let error = read("/nonexistent/weir.conf".as_ref()).unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/weir.conf: "), "{error}");
    }
}
