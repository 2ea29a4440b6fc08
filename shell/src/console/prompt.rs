//! Where lines come from: the editor of a terminal that has a cursor, the plain lines of one that has
//! none, or a script.

use std::io::{self, BufRead, Read};

use rustyline::config::Configurer;
use rustyline::error::ReadlineError;
use rustyline::history::{History, MemHistory};
use rustyline::{CompletionType, Config, Editor};

use super::child::Interrupts;
use super::complete::Assistant;
use super::past::MOST;
use super::terminal::{Manner, Terminal, wait, write};

/// What is asked.
const PROMPT: &str = "weir> ";

/// Longest line, in bytes.
const LONGEST: usize = 64 << 10;

/// How a line ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// With Enter.
    Typed(String),
    /// With Ctrl-C: it is forgotten.
    Cancelled,
    /// There are no more.
    End,
}

/// Reads lines with an editor.
pub(crate) struct Edited(Box<Editor<Assistant, MemHistory>>);

impl Edited {
    /// On a terminal with a cursor; with the lines of earlier sessions.
    pub(crate) fn new(assistant: Assistant, past: &[String]) -> io::Result<Self> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .completion_show_all_if_ambiguous(true)
            .max_history_size(MOST)
            .map_err(io::Error::other)?
            .auto_add_history(false)
            // A VT100 does not know it.
            .bracketed_paste(assistant.manner == Manner::Full)
            .build();
        let history = MemHistory::with_config(&config);
        let mut editor = Editor::with_history(config, history).map_err(io::Error::other)?;
        editor.enable_synchronized_output(false);
        for line in past {
            editor.history_mut().add(line).map_err(io::Error::other)?;
        }
        editor.set_helper(Some(assistant));
        Ok(Self(Box::new(editor)))
    }

    /// Lets the arrow keys find a line.
    pub(crate) fn keep(&mut self, line: &str) {
        // Memory is all it takes.
        let _ = self.0.add_history_entry(line);
    }

    /// Reads a line.
    pub(crate) fn read(&mut self) -> io::Result<Line> {
        match self.0.readline(PROMPT) {
            Ok(line) => Ok(Line::Typed(line)),
            Err(ReadlineError::Interrupted) => Ok(Line::Cancelled),
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(ReadlineError::Io(error)) => Err(error),
            Err(ReadlineError::Errno(number)) => Err(io::Error::from_raw_os_error(number as i32)),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// Reads a line of a terminal without a cursor: the kernel's line editing is all there is.
pub(crate) fn plain(
    terminal: &Terminal,
    interrupts: &Interrupts,
    prompt: &str,
) -> io::Result<Line> {
    interrupts.take();
    write(prompt)?;
    let mut line = Vec::new();
    loop {
        let [readable, interrupted] = wait([terminal.input(), interrupts.descriptor()], None)?;
        if interrupted && interrupts.take() {
            write("\n")?;
            return Ok(Line::Cancelled);
        }
        if !readable {
            continue;
        }
        let mut chunk = [0; 4096];
        let length = rustix::io::read(terminal.input(), &mut chunk)?;
        line.extend_from_slice(&chunk[..length]);
        if length == 0 && line.is_empty() {
            write("\n")?;
            return Ok(Line::End);
        }
        if length == 0 || line.ends_with(b"\n") {
            let text = String::from_utf8_lossy(&line);
            return Ok(Line::Typed(text.trim_end_matches('\n').to_owned()));
        }
        if line.len() > LONGEST {
            return Err(io::Error::other("a line is too long"));
        }
    }
}

/// Reads a line of a script.
pub(crate) fn scripted(input: &mut impl BufRead) -> io::Result<Line> {
    let mut line = Vec::new();
    let length = input.by_ref().take(LONGEST as u64 + 1).read_until(b'\n', &mut line)?;
    if length == 0 {
        return Ok(Line::End);
    }
    if length > LONGEST {
        return Err(io::Error::other(format!("a line is longer than {LONGEST} bytes")));
    }
    let text = String::from_utf8(line).map_err(|_| io::Error::other("not UTF-8 text"))?;
    Ok(Line::Typed(text.trim_end_matches('\n').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_read_within_bounds() {
        let mut input = &b"show states\n\nenable"[..];
        for line in ["show states", "", "enable"] {
            assert_eq!(scripted(&mut input).unwrap(), Line::Typed(line.into()));
        }
        assert_eq!(scripted(&mut input).unwrap(), Line::End);
        assert!(scripted(&mut &b"gr\xfc\n"[..]).is_err());
        assert!(scripted(&mut io::BufReader::new(io::repeat(b'x'))).is_err());
    }
}
