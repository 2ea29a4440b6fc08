//! The classic pcap format (draft-ietf-opsawg-pcap): a header, then records, in either byte order,
//! with micro- or nanoseconds.
//!
//! Panic contract: no file makes the reader panic, and none makes it allocate more than
//! [`LONGEST`] bytes.

use std::fmt;
use std::io::{self, Read, Write};

/// Longest record that is read, in bytes: what the programs that write such files keep to.
pub const LONGEST: usize = 262_144;

/// Link type of Ethernet frames.
const ETHERNET: u32 = 1;
/// Magic numbers, as their first byte order reads them.
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Lengths of the file's and of a record's header.
const HEADER: usize = 24;
const RECORD: usize = 16;
/// Set in the link type field when frames end in a check sequence.
const HAS_CHECK_SEQUENCE: u32 = 1 << 26;

/// What is wrong with a file, and where.
#[derive(Debug)]
pub struct Error {
    /// Bytes from the file's beginning.
    pub offset: u64,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong with a file.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// It cannot be read or written.
    Io(io::Error),
    /// Not the magic number of a pcap or pcapng file.
    Magic(u32),
    /// Another version than pcap's 2.4 or pcapng's 1.0.
    Version(u16, u16),
    /// Another link type than Ethernet.
    LinkType(u32),
    /// Frames end in a check sequence, which weir's do not have.
    CheckSequence,
    /// The file ends inside a header or a frame.
    Truncated,
    /// A record is longer than [`LONGEST`].
    Length(u32),
    /// A second has no such fraction.
    Fraction(u32),
    /// A time that the format cannot hold (after 2106), or that does not fit 64 bits of nanoseconds.
    Time(u64),
    /// pcapng: neither byte order.
    ByteOrder(u32),
    /// pcapng: no block of this type can have this length.
    Block(u32),
    /// pcapng: no interface of this number was described, or it is one too many.
    Interface(u32),
    /// pcapng: a resolution of time that nothing counts in.
    Resolution(u8),
    /// pcapng: more bytes of a frame than its block holds.
    Captured(u32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {}: ", self.offset)?;
        match &self.problem {
            Problem::Io(error) => error.fmt(f),
            Problem::Magic(magic) => write!(f, "{magic:#010x} is not the magic number of pcap"),
            Problem::Version(major, minor) => write!(f, "version {major}.{minor} is not known"),
            Problem::LinkType(link) => write!(f, "link type {link} is not Ethernet (1)"),
            Problem::CheckSequence => f.write_str("frames with a check sequence are not supported"),
            Problem::Truncated => f.write_str("the file ends in the middle of it"),
            Problem::Length(length) => {
                write!(f, "a record of {length} bytes, more than {LONGEST}")
            }
            Problem::Fraction(fraction) => write!(f, "a second has no fraction {fraction}"),
            Problem::Time(nanoseconds) => {
                write!(f, "pcap has no time {nanoseconds} ns after the epoch")
            }
            Problem::ByteOrder(order) => write!(f, "{order:#010x} is no byte order of pcapng"),
            Problem::Block(length) => write!(f, "a block cannot have {length} bytes"),
            Problem::Interface(number) => write!(f, "there is no interface {number}"),
            Problem::Resolution(byte) => write!(f, "{byte:#04x} is no resolution of time"),
            Problem::Captured(length) => {
                write!(f, "a frame of {length} bytes does not fit its block")
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error.problem {
            Problem::Io(inner) => {
                Self::new(inner.kind(), format!("offset {}: {inner}", error.offset))
            }
            _ => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// What stands before a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was captured, in nanoseconds since 1970-01-01 00:00 UTC.
    pub time: u64,
    /// Length of the frame on the wire, in bytes.
    pub length: u32,
    /// Bytes of it that are in the file.
    pub captured: u32,
}

impl Record {
    /// Whether all bytes of the frame are there and no others.
    pub const fn is_whole(&self) -> bool {
        self.length == self.captured
    }
}

/// Reads a file from its beginning.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// Bytes read so far.
    offset: u64,
    big_endian: bool,
    nanoseconds: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the file's header. `input` should be buffered.
    pub fn new(input: R) -> Result<Self, Error> {
        let mut reader = Self { input, offset: 0, big_endian: false, nanoseconds: false };
        let mut header = [0; HEADER];
        reader.fill(&mut header)?;
        let at = |offset, problem| Error { offset, problem };
        let magic = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        (reader.big_endian, reader.nanoseconds) = match (magic, magic.swap_bytes()) {
            (MICROSECONDS, _) => (false, false),
            (NANOSECONDS, _) => (false, true),
            (_, MICROSECONDS) => (true, false),
            (_, NANOSECONDS) => (true, true),
            _ => return Err(at(0, Problem::Magic(magic))),
        };
        let version = (reader.u32(&header, 4), reader.big_endian);
        let (major, minor) = match version {
            (word, false) => (word as u16, (word >> 16) as u16),
            (word, true) => ((word >> 16) as u16, word as u16),
        };
        if (major, minor) != (2, 4) {
            return Err(at(4, Problem::Version(major, minor)));
        }
        let link = reader.u32(&header, 20);
        if link & HAS_CHECK_SEQUENCE != 0 {
            return Err(at(20, Problem::CheckSequence));
        }
        if link & 0xffff != ETHERNET {
            return Err(at(20, Problem::LinkType(link & 0xffff)));
        }
        Ok(reader)
    }

    /// Reads the next frame into `frame`, whose old contents are replaced; `None` at the end.
    pub fn next(&mut self, frame: &mut Vec<u8>) -> Result<Option<Record>, Error> {
        let begin = self.offset;
        let mut header = [0; RECORD];
        loop {
            match self.input.read(&mut header[..1]) {
                Ok(0) => return Ok(None),
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error { offset: begin, problem: Problem::Io(error) }),
            }
        }
        self.offset += 1;
        self.fill(&mut header[1..]).map_err(|error| Error { offset: begin, ..error })?;
        let (seconds, fraction) = (self.u32(&header, 0), self.u32(&header, 4));
        let (captured, length) = (self.u32(&header, 8), self.u32(&header, 12));
        let (limit, unit) = if self.nanoseconds { (1_000_000_000, 1) } else { (1_000_000, 1000) };
        if fraction >= limit {
            return Err(Error { offset: begin + 4, problem: Problem::Fraction(fraction) });
        }
        if captured as usize > LONGEST {
            return Err(Error { offset: begin + 8, problem: Problem::Length(captured) });
        }
        frame.clear();
        frame.resize(captured as usize, 0);
        self.fill(frame).map_err(|error| Error { offset: begin + RECORD as u64, ..error })?;
        let time = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * unit;
        Ok(Some(Record { time, length, captured }))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        let problem = match self.input.read_exact(bytes) {
            Ok(()) => {
                self.offset += bytes.len() as u64;
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Problem::Truncated,
            Err(error) => Problem::Io(error),
        };
        Err(Error { offset: self.offset, problem })
    }

    /// The field at `at`, which the caller knows to be there.
    fn u32(&self, bytes: &[u8], at: usize) -> u32 {
        let field = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if self.big_endian { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) }
    }
}

/// Writes a file: little-endian, with nanoseconds.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    offset: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the file's header. `output` should be buffered.
    pub fn new(output: W) -> Result<Self, Error> {
        let mut writer = Self { output, offset: 0 };
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&NANOSECONDS.to_le_bytes());
        header[4..6].copy_from_slice(&2u16.to_le_bytes());
        header[6..8].copy_from_slice(&4u16.to_le_bytes());
        header[16..20].copy_from_slice(&(LONGEST as u32).to_le_bytes());
        header[20..].copy_from_slice(&ETHERNET.to_le_bytes());
        writer.put(&header)?;
        Ok(writer)
    }

    /// Writes a frame that passed at `time` (nanoseconds since 1970), given in segments. One longer
    /// than [`LONGEST`] is cut and says so.
    pub fn write<'a>(
        &mut self,
        time: u64,
        segments: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<(), Error> {
        let length: usize = segments.clone().map(<[u8]>::len).sum();
        let captured = length.min(LONGEST);
        let seconds = u32::try_from(time / 1_000_000_000)
            .map_err(|_| Error { offset: self.offset, problem: Problem::Time(time) })?;
        let mut header = [0; RECORD];
        header[..4].copy_from_slice(&seconds.to_le_bytes());
        header[4..8].copy_from_slice(&((time % 1_000_000_000) as u32).to_le_bytes());
        header[8..12].copy_from_slice(&(captured as u32).to_le_bytes());
        header[12..].copy_from_slice(&(length as u32).to_le_bytes());
        self.put(&header)?;
        let mut left = captured;
        for segment in segments {
            let take = segment.len().min(left);
            self.put(&segment[..take])?;
            left -= take;
        }
        Ok(())
    }

    /// Hands on what is buffered.
    pub fn flush(&mut self) -> Result<(), Error> {
        let offset = self.offset;
        self.output.flush().map_err(|error| Error { offset, problem: Problem::Io(error) })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.output
            .write_all(bytes)
            .map_err(|error| Error { offset: self.offset, problem: Problem::Io(error) })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file made by hand: one frame of three bytes at 1.5 s.
    fn file(big_endian: bool, magic: u32, fraction: u32) -> Vec<u8> {
        let word = |value: u32| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let half = |value: u16| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let mut bytes = word(magic).to_vec();
        bytes.extend([half(2), half(4)].concat());
        for value in [0, 0, 65535, ETHERNET, 1, fraction, 3, 3] {
            bytes.extend(word(value));
        }
        bytes.extend(b"abc");
        bytes
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<(Record, Vec<u8>)>, Error> {
        let mut reader = Reader::new(bytes)?;
        let mut frame = Vec::new();
        let mut all = Vec::new();
        while let Some(record) = reader.next(&mut frame)? {
            all.push((record, frame.clone()));
        }
        Ok(all)
    }

    #[test]
    fn both_byte_orders_and_both_precisions_are_read() {
        let record = Record { time: 1_500_000_000, length: 3, captured: 3 };
        for big_endian in [false, true] {
            let micro = file(big_endian, MICROSECONDS, 500_000);
            assert_eq!(read_all(&micro).unwrap(), [(record, b"abc".to_vec())]);
            let nano = file(big_endian, NANOSECONDS, 500_000_000);
            assert_eq!(read_all(&nano).unwrap(), [(record, b"abc".to_vec())]);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes).unwrap();
        writer.write(7, [&b"one"[..], b"two"].into_iter()).unwrap();
        writer.write(4_294_967_295_999_999_999, std::iter::once(&b""[..])).unwrap();
        writer.write(9, std::iter::once(&vec![7; LONGEST + 1][..])).unwrap();
        let late = writer.write(4_294_967_296_000_000_000, std::iter::empty()).unwrap_err();
        assert!(matches!(late.problem, Problem::Time(_)), "{late}");
        writer.flush().unwrap();
        let all = read_all(&bytes).unwrap();
        assert_eq!(all[0], (Record { time: 7, length: 6, captured: 6 }, b"onetwo".to_vec()));
        assert_eq!(all[1].0.time, 4_294_967_295_999_999_999);
        assert_eq!((all[2].0.length as usize, all[2].1.len()), (LONGEST + 1, LONGEST));
        assert!(!all[2].0.is_whole());
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn a_broken_file_is_named_with_its_place() {
        let good = file(false, MICROSECONDS, 0);
        let changed = |at: usize, bytes: &[u8]| {
            let mut file = good.clone();
            file[at..at + bytes.len()].copy_from_slice(bytes);
            read_all(&file).unwrap_err().to_string()
        };
        assert_eq!(
            changed(0, &[0x0a, 0x0d, 0x0d, 0x0a]),
            "offset 0: 0x0a0d0d0a is not the magic number of pcap"
        );
        assert_eq!(changed(4, &[3]), "offset 4: version 3.4 is not known");
        assert_eq!(changed(20, &[113]), "offset 20: link type 113 is not Ethernet (1)");
        assert_eq!(
            changed(23, &[0x14]),
            "offset 20: frames with a check sequence are not supported"
        );
        assert_eq!(
            changed(28, &1_000_000u32.to_le_bytes()),
            "offset 28: a second has no fraction 1000000"
        );
        assert_eq!(
            changed(32, &u32::MAX.to_le_bytes()),
            "offset 32: a record of 4294967295 bytes, more than 262144"
        );
        assert_eq!(changed(32, &[4]), "offset 40: the file ends in the middle of it");
        for (length, offset) in [(0, 0), (23, 0), (25, 24), (39, 24), (42, 40)] {
            let error = read_all(&good[..length]).unwrap_err();
            assert_eq!(error.offset, offset, "{length} bytes: {error}");
            assert!(matches!(error.problem, Problem::Truncated));
        }
        assert!(read_all(&good[..24]).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(
            header in prop::bool::ANY,
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut input = if header { file(true, NANOSECONDS, 9) } else { Vec::new() };
            input.extend(&bytes);
            if let Ok(all) = read_all(&input) {
                prop_assert!(header || all.is_empty() || bytes.len() >= HEADER + RECORD);
            }
        }
    }
}
