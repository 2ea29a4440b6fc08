//! Long output, a screenful at a time. It shows what it is given and asks for keys; it opens nothing
//! and runs nothing.

use std::io;

use unicode_width::UnicodeWidthChar;

use super::keys::{Key, Keys};
use super::terminal::{Manner, Terminal, write};

/// Whether more is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Go on.
    More,
    /// The reader has seen enough.
    Enough,
}

/// Longest line that is kept until its end comes, in bytes; longer ones are shown in pieces.
const LINE: usize = 64 << 10;

/// Output on its way to the terminal.
#[derive(Debug)]
pub(crate) struct Pager<'t> {
    terminal: &'t Terminal,
    /// It stops at the end of each screen.
    stops: bool,
    columns: usize,
    /// That fit above the question.
    rows: usize,
    /// Shown since the last stop.
    shown: usize,
    /// A line that is not complete yet.
    begun: Vec<u8>,
    /// Nothing is shown until this is found.
    sought: Option<String>,
    /// What was looked for last.
    last_sought: String,
}

impl<'t> Pager<'t> {
    /// With `stops` it waits for a key after each screenful.
    pub(crate) fn new(terminal: &'t Terminal, stops: bool) -> Self {
        let (columns, rows) = terminal.size();
        Self {
            terminal,
            stops,
            columns: columns.into(),
            rows: usize::from(rows) - 1,
            shown: 0,
            begun: Vec::new(),
            sought: None,
            last_sought: String::new(),
        }
    }

    /// Shows a text.
    pub(crate) fn show(terminal: &'t Terminal, text: &str) -> io::Result<()> {
        let mut pager = Self::new(terminal, true);
        if pager.feed(text.as_bytes())? == Flow::More {
            pager.finish()?;
        }
        Ok(())
    }

    /// Takes some output.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> io::Result<Flow> {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            self.begun.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            if self.line()? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        self.begun.extend_from_slice(rest);
        if self.begun.len() > LINE { self.line() } else { Ok(Flow::More) }
    }

    /// Shows what is left of the output.
    pub(crate) fn finish(&mut self) -> io::Result<Flow> {
        let flow = if self.begun.is_empty() { Flow::More } else { self.line()? };
        if let Some(sought) = self.sought.take() {
            write(&format!("`{sought}` was not found\r\n"))?;
        }
        Ok(flow)
    }

    fn line(&mut self) -> io::Result<Flow> {
        let bytes = std::mem::take(&mut self.begun);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(&bytes);
        let (text, width) = printable(&String::from_utf8_lossy(bytes));
        if let Some(sought) = &self.sought {
            if !text.contains(sought) {
                return Ok(Flow::More);
            }
            self.sought = None;
        }
        let rows = width.div_ceil(self.columns).max(1);
        if self.stops && self.shown > 0 && self.shown + rows > self.rows {
            if self.ask(rows)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
            if self.sought.as_ref().is_some_and(|sought| !text.contains(sought)) {
                return Ok(Flow::More);
            }
            self.sought = None;
        }
        self.shown += rows;
        write(&(text + "\r\n"))?;
        Ok(Flow::More)
    }

    /// Waits for a key at the end of a screen; the next line takes so many rows.
    fn ask(&mut self, next: usize) -> io::Result<Flow> {
        const QUESTION: &str = "--More-- (space: page, Enter: line, /: search, q: quit)";
        let raw = self.terminal.raw();
        let mut keys = Keys::new(self.terminal);
        let flow = loop {
            self.question(QUESTION)?;
            let key = keys.next(None)?;
            self.erase(QUESTION.len())?;
            match key {
                Some(Key::Letter(' ' | 'f') | Key::PageDown) => {
                    self.shown = 0;
                    break Flow::More;
                }
                Some(Key::Enter | Key::Down) => {
                    self.shown = self.rows.saturating_sub(next);
                    break Flow::More;
                }
                Some(Key::Letter('/')) => {
                    if let Some(text) = self.read_sought(&mut keys)? {
                        self.last_sought = text;
                        self.seek()?;
                        break Flow::More;
                    }
                }
                Some(Key::Letter('n')) if !self.last_sought.is_empty() => {
                    self.seek()?;
                    break Flow::More;
                }
                Some(Key::Letter('q' | 'Q') | Key::Ctrl('c' | 'd') | Key::Escape) | None => {
                    break Flow::Enough;
                }
                Some(_) => {}
            }
        };
        drop(raw);
        Ok(flow)
    }

    fn seek(&mut self) -> io::Result<()> {
        self.sought = Some(self.last_sought.clone());
        self.shown = 1;
        write("...skipping\r\n")
    }

    /// Reads what is to be looked for, in the bottom line.
    fn read_sought(&self, keys: &mut Keys<'_>) -> io::Result<Option<String>> {
        let mut text = String::new();
        write("/")?;
        loop {
            match keys.next(None)? {
                Some(Key::Enter) => break,
                Some(Key::Backspace) => {
                    if text.pop().is_some() {
                        write("\x08 \x08")?;
                    }
                }
                Some(Key::Letter(letter)) if text.len() + 8 < self.columns => {
                    text.push(letter);
                    write(letter.encode_utf8(&mut [0; 4]))?;
                }
                Some(Key::Escape | Key::Ctrl(_)) | None => {
                    text.clear();
                    break;
                }
                Some(_) => {}
            }
        }
        self.erase(text.chars().count() + 1)?;
        if text.is_empty() && !self.last_sought.is_empty() {
            return Ok(Some(self.last_sought.clone()));
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    fn question(&self, text: &str) -> io::Result<()> {
        let text: String = text.chars().take(self.columns - 1).collect();
        match self.terminal.manner {
            Manner::Dumb => write(&text),
            Manner::Vt100 | Manner::Full => write(&format!("\x1b[7m{text}\x1b[m")),
        }
    }

    fn erase(&self, width: usize) -> io::Result<()> {
        match self.terminal.manner {
            Manner::Dumb => {
                let blank = " ".repeat(width.min(self.columns - 1));
                write(&format!("\r{blank}\r"))
            }
            Manner::Vt100 | Manner::Full => write("\r\x1b[K"),
        }
    }
}

/// A line with a mark for what cannot be shown, its tabs as blanks, and how many columns it takes.
pub(crate) fn printable(line: &str) -> (String, usize) {
    let mut text = String::with_capacity(line.len());
    let mut width = 0;
    for letter in line.chars() {
        if letter == '\t' {
            let blanks = 8 - width % 8;
            text.extend(std::iter::repeat_n(' ', blanks));
            width += blanks;
            continue;
        }
        let columns = letter.width().filter(|_| !letter.is_control());
        text.push(if columns.is_some() { letter } else { '?' });
        width += columns.unwrap_or(1);
    }
    (text, width)
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn nothing_that_is_shown_can_command_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\x07\u{9b}c"), ("a?[2Jb??c".into(), 9));
        assert_eq!(printable("ab\tc"), ("ab      c".into(), 9));
        assert_eq!(printable("日本").1, 4);
    }
}
