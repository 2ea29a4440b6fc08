//! Bytes as text that survives a terminal: lines of at most 76 columns between two marks, each with its
//! number and a checksum, so that what was lost or changed on the way can be named.
//!
//! ```text
//! -----BEGIN WEIR BACKUP-----
//! 00001 d2VpciBzZXR0aW5ncyAxCnZlcnNpb24gMC4xLjAKZmlsZSA2NDQgMTQgZXRjL3dl 5b1f
//! -----END WEIR BACKUP-----
//! ```
//!
//! The checksum is the CRC-16 of XMODEM over number and bytes as they are written. What stands outside
//! the marks, blanks around a line and carriage returns are nobody's business.

use base64ct::{Base64, Encoding};

use super::archive::MAX_BYTES;
use crate::upgrade::xmodem::crc16;

const BEGIN: &str = "-----BEGIN WEIR BACKUP-----";
const END: &str = "-----END WEIR BACKUP-----";

/// Bytes on a line.
const BYTES: usize = 48;
/// The most lines: whatever an archive takes, its own lines included.
const MAX_LINES: usize = 2 * MAX_BYTES / BYTES;
/// The longest line before the first mark that is looked at; log lines and prompts may be there.
pub const MAX_LINE: usize = 4096;

/// Writes bytes as text.
pub fn write(bytes: &[u8]) -> String {
    let mut text = format!("{BEGIN}\n");
    for (number, part) in (1..).zip(bytes.chunks(BYTES)) {
        let body = body(number, part);
        let sum = crc16(body.as_bytes());
        text.extend([&*body, " ", &format!("{sum:04x}"), "\n"]);
    }
    text.push_str(END);
    text.push('\n');
    text
}

/// Reads text, a line at a time.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
    /// The number of the line that comes next; 0 before the first mark.
    next: usize,
    /// The last line was shorter: no other may follow.
    is_short: bool,
}

impl Reader {
    /// Takes a line; all bytes, once the last mark was read.
    ///
    /// # Errors
    /// In words that name the first line that is damaged or missing.
    pub fn line(&mut self, line: &str) -> Result<Option<Vec<u8>>, String> {
        let line = line.trim();
        // One that was broken off before it was pasted again.
        if line.ends_with(BEGIN) {
            *self = Self { next: 1, ..Self::default() };
            return Ok(None);
        }
        if self.next == 0 || line.is_empty() {
            return Ok(None);
        }
        if line == END {
            return Ok(Some(std::mem::take(&mut self.bytes)));
        }
        let damaged = || format!("line {} of the backup is damaged", self.next);
        let (body, sum) = line.rsplit_once(' ').ok_or_else(damaged)?;
        let (number, text) = body.split_once(' ').ok_or_else(damaged)?;
        let number: usize = number.parse().map_err(|_| damaged())?;
        if u16::from_str_radix(sum, 16) != Ok(crc16(body.as_bytes())) {
            return Err(damaged());
        }
        if number + 1 == self.next {
            // A terminal that shows what it is sent.
            return Ok(None);
        }
        if number != self.next || self.is_short {
            return Err(format!("line {} of the backup is missing", self.next));
        }
        if number > MAX_LINES {
            return Err("the backup is larger than any that weir writes".into());
        }
        let mut buffer = [0; BYTES];
        let part = Base64::decode(text, &mut buffer).map_err(|_| damaged())?;
        self.is_short = part.len() < BYTES;
        self.bytes.extend_from_slice(part);
        self.next += 1;
        Ok(None)
    }

    /// What is still missing, if the text ends here.
    pub fn missing(&self) -> String {
        match self.next {
            0 => format!("there is no backup in it: it begins with {BEGIN}"),
            next => format!("it ends before line {next} of the backup"),
        }
    }
}

fn body(number: usize, bytes: &[u8]) -> String {
    format!("{number:05} {}", Base64::encode_string(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Reader, write};

    fn read(text: &str) -> Result<Vec<u8>, String> {
        let mut reader = Reader::default();
        for line in text.split('\n') {
            if let Some(bytes) = reader.line(line)? {
                return Ok(bytes);
            }
        }
        Err(reader.missing())
    }

    fn example() -> String {
        write(&(0..1000_u32).map(|at| (at * 7) as u8).collect::<Vec<_>>())
    }

    #[test]
    fn lines_fit_a_terminal_and_look_the_same_for_ever() {
        let text = write(b"weir settings 1\nversion 0.1.0\n");
        assert_eq!(
            text,
            "-----BEGIN WEIR BACKUP-----\n\
             00001 d2VpciBzZXR0aW5ncyAxCnZlcnNpb24gMC4xLjAK 771f\n\
             -----END WEIR BACKUP-----\n"
        );
        assert!(example().lines().all(|line| line.len() <= 76));
    }

    #[test]
    fn what_a_terminal_adds_does_no_harm() {
        let text = example();
        let bytes = read(&text).unwrap();
        assert_eq!(read(&text.replace('\n', "\r\n")).unwrap(), bytes);
        assert_eq!(read(&format!("weir> backup\nhello\n\n{text}weir> ")).unwrap(), bytes);
        assert_eq!(read(&text.replace('\n', "  \n\n ")).unwrap(), bytes);
        let twice = |line| [line, "\r\n", line, "\r\n"];
        let echoed: String = text.lines().flat_map(twice).collect();
        assert_eq!(read(&echoed).unwrap(), bytes);
        // Broken off, and pasted again.
        assert_eq!(
            read(&format!("{}\n{text}", &text[..300])),
            Err("line 4 of the backup is damaged".into())
        );
        assert_eq!(
            read(&format!("{}{text}", &text[..text.find("00004").unwrap()])).unwrap(),
            bytes
        );
    }

    #[test]
    fn the_first_damaged_line_is_named() {
        let text = example();
        let wrong = |text: &str| read(text).unwrap_err();
        let lines: Vec<_> = text.lines().collect();
        let without = |at: usize| [&lines[..at], &lines[at + 1..]].concat().join("\n");
        assert_eq!(wrong(&without(3)), "line 3 of the backup is missing");
        assert_eq!(
            wrong(&without(0)),
            "there is no backup in it: it begins with -----BEGIN WEIR BACKUP-----"
        );
        assert_eq!(wrong(&without(lines.len() - 1)), "it ends before line 22 of the backup");
        assert_eq!(wrong(&text.replace("00007 ", "00006 ")), "line 7 of the backup is damaged");
        let mut cut = lines.clone();
        cut[5] = &cut[5][..40];
        assert_eq!(wrong(&cut.join("\n")), "line 5 of the backup is damaged");
        let mut swapped = lines;
        swapped.swap(4, 6);
        assert_eq!(wrong(&swapped.join("\n")), "line 4 of the backup is missing");
    }

    proptest! {
        #[test]
        fn bytes_survive(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert_eq!(read(&write(&bytes)), Ok(bytes));
        }

        /// A wrong letter is noticed, or does no harm.
        #[test]
        fn damage_is_noticed(at in any::<prop::sample::Index>(), letter in "[ -~\n\r]") {
            let text = example();
            let at = at.index(text.len());
            let mut changed = text.clone();
            changed.replace_range(at..=at, &letter);
            let whole = read(&text).unwrap();
            prop_assert!(read(&changed).is_err() || read(&changed) == Ok(whole));
        }

        #[test]
        fn no_text_is_too_odd(text in "(-----BEGIN WEIR BACKUP-----\n)?(.{0,80}\n){0,5}") {
            let _ = read(&text);
        }
    }
}
