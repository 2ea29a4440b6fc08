//! A capture file of either format, told apart by its first bytes.

use std::io::{Cursor, Read};

use super::file::{self, Error, Problem, Record};
use super::ng::{self, Direction};

/// A file opened for reading; whatever `input` is should be buffered.
pub struct AnyReader<R> {
    format: Format<R>,
}

/// The four bytes that were looked at, and the rest.
type Whole<R> = std::io::Chain<Cursor<[u8; 4]>, R>;

enum Format<R> {
    Classic(file::Reader<Whole<R>>),
    Ng(ng::Reader<Whole<R>>),
}

/// A frame's place and what its file says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    /// When, and how long it was.
    pub record: Record,
    /// The name of its interface; empty if the file has none.
    pub interface: &'a str,
    /// Which way it went through that, if the file says.
    pub direction: Option<Direction>,
    /// What was noted about it; empty without a comment.
    pub comment: &'a str,
}

impl<R: Read> AnyReader<R> {
    /// Reads the beginning of a file.
    ///
    /// # Errors
    /// When it is neither pcap nor pcapng, or of a kind that is not read.
    pub fn new(mut input: R) -> Result<Self, Error> {
        let mut magic = [0; 4];
        input.read_exact(&mut magic).map_err(|error| {
            let problem = match error.kind() {
                std::io::ErrorKind::UnexpectedEof => Problem::Truncated,
                _ => Problem::Io(error),
            };
            Error { offset: 0, problem }
        })?;
        let whole = Cursor::new(magic).chain(input);
        let format = if u32::from_le_bytes(magic) == ng::SECTION {
            Format::Ng(ng::Reader::new(whole)?)
        } else {
            Format::Classic(file::Reader::new(whole)?)
        };
        Ok(Self { format })
    }

    /// Reads the next frame into `frame`, whose old contents are replaced; `None` at the end.
    ///
    /// # Errors
    /// What is wrong with the file, and where. It is not to be read further then.
    pub fn next(&mut self, frame: &mut Vec<u8>) -> Result<Option<Seen<'_>>, Error> {
        match &mut self.format {
            Format::Classic(reader) => Ok(reader.next(frame)?.map(|record| Seen {
                record,
                interface: "",
                direction: None,
                comment: "",
            })),
            Format::Ng(reader) => {
                let Some((record, place)) = reader.next(frame)? else { return Ok(None) };
                let interface = reader.interface(place.interface);
                Ok(Some(Seen {
                    record,
                    interface: interface.map_or("", |interface| &interface.name),
                    direction: place.direction,
                    comment: reader.comment(),
                }))
            }
        }
    }

    /// Whether frames can be told apart by their interfaces.
    pub const fn names_interfaces(&self) -> bool {
        matches!(self.format, Format::Ng(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(bytes: &[u8]) -> Vec<(u64, String, Vec<u8>)> {
        let mut reader = AnyReader::new(bytes).unwrap();
        let (mut all, mut frame) = (Vec::new(), Vec::new());
        while let Some(seen) = reader.next(&mut frame).unwrap() {
            let (time, name) = (seen.record.time, seen.interface.to_owned());
            all.push((time, name, frame.clone()));
        }
        all
    }

    #[test]
    fn either_format_is_read() {
        let mut classic = Vec::new();
        let mut writer = file::Writer::new(&mut classic).unwrap();
        writer.write(7, std::iter::once(&b"abc"[..])).unwrap();
        assert_eq!(read_all(&classic), [(7, String::new(), b"abc".to_vec())]);

        let mut ng = Vec::new();
        let lan = ng::Interface { name: "lan".into(), description: String::new() };
        let mut writer = ng::Writer::new(&mut ng, "weir", &[lan], 0).unwrap();
        let record = Record { time: 9, length: 1, captured: 1 };
        writer.write(0, record, std::iter::once(&b"d"[..]), ng::Note::default()).unwrap();
        assert_eq!(read_all(&ng), [(9, "lan".to_owned(), b"d".to_vec())]);
    }

    #[test]
    fn what_is_neither_is_refused() {
        let told = |bytes: &[u8]| AnyReader::new(bytes).err().expect("an error").to_string();
        assert_eq!(told(b"<html>0123456789012345"), "offset 0: the file ends in the middle of it");
        assert_eq!(
            told(b"<html>01234567890123456789"),
            "offset 0: 0x6d74683c is not the magic number of pcap"
        );
        assert_eq!(told(b"ab"), "offset 0: the file ends in the middle of it");
    }
}
