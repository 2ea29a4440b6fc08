//! Keys out of the bytes that a terminal sends.

use std::io;
use std::time::Duration;

use super::terminal::{Terminal, wait};

/// How long the rest of an escape sequence may take: ten bytes of a line of 1200 baud.
const REST: Duration = Duration::from_millis(100);

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A letter.
    Letter(char),
    /// A letter with Ctrl, as its small letter.
    Ctrl(char),
    Enter,
    Tab,
    Backspace,
    Delete,
    Up,
    Down,
    Left,
    Right,
    Home,
    End,
    PageUp,
    PageDown,
    Escape,
    /// One that means nothing here.
    Other,
}

/// Reads keys from a terminal in raw mode.
#[derive(Debug)]
pub(crate) struct Keys<'t> {
    terminal: &'t Terminal,
    /// Read and not yet used.
    pending: Vec<u8>,
    /// It is at its end.
    gone: bool,
}

impl<'t> Keys<'t> {
    /// Nothing is read yet.
    pub(crate) const fn new(terminal: &'t Terminal) -> Self {
        Self { terminal, pending: Vec::new(), gone: false }
    }

    /// Whether the terminal is gone.
    pub(crate) const fn are_gone(&self) -> bool {
        self.gone
    }

    /// The next key; `None` if the terminal is gone or no key comes in time.
    pub(crate) fn next(&mut self, limit: Option<Duration>) -> io::Result<Option<Key>> {
        loop {
            let Some(first) = self.byte(limit)? else { return Ok(None) };
            return Ok(Some(match first {
                b'\r' | b'\n' => Key::Enter,
                b'\t' => Key::Tab,
                8 | 127 => Key::Backspace,
                0x1b => self.escape()?,
                0 => continue,
                1..=26 => Key::Ctrl((b'a' + first - 1).into()),
                28..=31 => Key::Other,
                _ => self.letter(first)?,
            }));
        }
    }

    fn byte(&mut self, limit: Option<Duration>) -> io::Result<Option<u8>> {
        if self.pending.is_empty() {
            let [ready] = wait([self.terminal.input()], limit)?;
            if !ready {
                return Ok(None);
            }
            let mut chunk = [0; 256];
            let length = rustix::io::read(self.terminal.input(), &mut chunk)?;
            self.gone = length == 0;
            self.pending.extend_from_slice(&chunk[..length]);
        }
        Ok((!self.pending.is_empty()).then(|| self.pending.remove(0)))
    }

    /// What follows an escape character: nothing, or the rest of a sequence (ECMA-48 section 5.4).
    fn escape(&mut self) -> io::Result<Key> {
        let Some(kind @ (b'[' | b'O')) = self.byte(Some(REST))? else { return Ok(Key::Escape) };
        let mut parameters = Vec::new();
        loop {
            match self.byte(Some(REST))? {
                // The Linux console's F1 to F5: one more letter belongs to it.
                Some(b'[') if kind == b'[' && parameters.is_empty() => {
                    self.byte(Some(REST))?;
                    return Ok(Key::Other);
                }
                Some(byte @ 0x20..=0x3f) if kind == b'[' && parameters.len() < 16 => {
                    parameters.push(byte);
                }
                Some(last) => return Ok(sequence(&parameters, last)),
                None => return Ok(Key::Other),
            }
        }
    }

    /// The rest of a letter in UTF-8.
    fn letter(&mut self, first: u8) -> io::Result<Key> {
        let length = match first {
            0..=0x7f => 1,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return Ok(Key::Other),
        };
        let mut bytes = vec![first];
        while bytes.len() < length {
            match self.byte(Some(REST))? {
                Some(byte) => bytes.push(byte),
                None => return Ok(Key::Other),
            }
        }
        let letter = std::str::from_utf8(&bytes).ok().and_then(|text| text.chars().next());
        Ok(letter.map_or(Key::Other, Key::Letter))
    }
}

/// The key of a sequence, as VT100, VT220, xterm and the Linux console send them.
fn sequence(parameters: &[u8], last: u8) -> Key {
    match (parameters, last) {
        (_, b'A') => Key::Up,
        (_, b'B') => Key::Down,
        (_, b'C') => Key::Right,
        (_, b'D') => Key::Left,
        (_, b'H') | (b"1" | b"7", b'~') => Key::Home,
        (_, b'F') | (b"4" | b"8", b'~') => Key::End,
        (b"3", b'~') => Key::Delete,
        (b"5", b'~') => Key::PageUp,
        (b"6", b'~') => Key::PageDown,
        _ => Key::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, sequence};

    #[test]
    fn sequences_of_common_terminals_are_known() {
        for (parameters, last, key) in [
            (&b""[..], b'A', Key::Up),
            (b"1;5", b'C', Key::Right),
            (b"", b'H', Key::Home),
            (b"1", b'~', Key::Home),
            (b"4", b'~', Key::End),
            (b"6", b'~', Key::PageDown),
            (b"15", b'~', Key::Other),
        ] {
            assert_eq!(sequence(parameters, last), key);
        }
    }
}
