//! Reading pcapng.

use std::io::{self, Read};

use super::{
    BYTE_ORDER, CHECK_SEQUENCE, COMMENT, DESCRIPTION, DROPPED, Direction, END_OF_OPTIONS, ETHERNET,
    FLAGS, INBOUND, INTERFACE, Interface, NAME, OFFSET, OLD_PACKET, OUTBOUND, PACKET, RESOLUTION,
    SECTION, SIMPLE_PACKET, STATISTICS,
};
use crate::pcap::file::{Error, LONGEST, Problem, Record};

/// Longest block of a section, an interface or a packet that is read, in bytes; others are passed
/// over, whatever their length.
pub const LONGEST_BLOCK: usize = LONGEST + 65_536;

/// Interfaces that a section can have.
pub const MAX_INTERFACES: usize = 4096;

/// Length of a block without a body: type, length, and length again.
const FRAMING: u32 = 12;

/// What the packets of an interface have in common.
#[derive(Clone, Debug)]
struct Described {
    interface: Interface,
    link: u16,
    /// Longest part of a frame that was kept, 0 for all.
    snap: u32,
    /// Bytes of check sequence behind each frame.
    check_sequence: u8,
    resolution: Resolution,
    /// Seconds to be added to times.
    offset: i64,
}

/// What a unit of time is: a negative power of ten or of two, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolution {
    Ten(u8),
    Two(u8),
}

impl Resolution {
    /// As the option has it; `None` if a number of 128 bits cannot count in it.
    const fn of(byte: u8) -> Option<Self> {
        match byte {
            0..=38 => Some(Self::Ten(byte)),
            0x80..=0xe0 => Some(Self::Two(byte & 0x7f)),
            _ => None,
        }
    }

    /// So many units in nanoseconds.
    const fn nanoseconds(self, units: u64) -> u128 {
        let nanos = units as u128 * 1_000_000_000;
        match self {
            Self::Ten(exponent) => nanos / 10_u128.pow(exponent as u32),
            Self::Two(exponent) => nanos >> exponent,
        }
    }
}

/// A packet's place in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of its interface in its section.
    pub interface: usize,
    /// Which way it went, if the file says.
    pub direction: Option<Direction>,
}

/// Reads a file from its beginning.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// Bytes read so far.
    offset: u64,
    big_endian: bool,
    interfaces: Vec<Described>,
    /// Body of the block at hand.
    block: Vec<u8>,
    comment: String,
    /// When the packet before was captured: packets without a time came then, too.
    last: u64,
    /// Packets that statistics say are missing.
    dropped: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the header of the first section. `input` should be buffered.
    ///
    /// # Errors
    /// When it is no such file.
    pub fn new(input: R) -> Result<Self, Error> {
        let mut reader = Self {
            input,
            offset: 0,
            big_endian: false,
            interfaces: Vec::new(),
            block: Vec::new(),
            comment: String::new(),
            last: 0,
            dropped: 0,
        };
        match reader.word()? {
            Some(SECTION) => reader.begin_section()?,
            Some(other) => return Err(Error { offset: 0, problem: Problem::Magic(other) }),
            None => return Err(Error { offset: 0, problem: Problem::Truncated }),
        }
        Ok(reader)
    }

    /// The interfaces of the section at hand that were described so far, by index.
    pub fn interface(&self, index: usize) -> Option<&Interface> {
        self.interfaces.get(index).map(|described| &described.interface)
    }

    /// The comment of the packet that was read last; empty without one.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// How many packets are missing, as statistics that were read so far say; those of a section
    /// stand at its end.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Reads the next frame into `frame`, whose old contents are replaced; `None` at the end.
    ///
    /// # Errors
    /// What is wrong with the file, and where. It is not to be read further then.
    pub fn next(&mut self, frame: &mut Vec<u8>) -> Result<Option<(Record, Place)>, Error> {
        loop {
            let begin = self.offset;
            let Some(kind) = self.word()? else { return Ok(None) };
            if kind == SECTION {
                self.begin_section()?;
                continue;
            }
            let kind = self.native(kind);
            let length = self.length(begin)?;
            if !matches!(kind, INTERFACE | OLD_PACKET | SIMPLE_PACKET | STATISTICS | PACKET) {
                self.pass_over(length)?;
                continue;
            }
            self.read_body(begin, length)?;
            let wrong = |problem| Error { offset: begin, problem };
            match kind {
                INTERFACE => self.describe().map_err(wrong)?,
                STATISTICS => self.count(),
                _ => return self.packet(kind, frame).map(Some).map_err(wrong),
            }
        }
    }

    /// After its type: what begins a section. What was described before is forgotten.
    fn begin_section(&mut self) -> Result<(), Error> {
        let begin = self.offset - 4;
        let mut header = [0; 8];
        self.fill(&mut header)?;
        let order = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        self.big_endian = match (order, order.swap_bytes()) {
            (BYTE_ORDER, _) => false,
            (_, BYTE_ORDER) => true,
            _ => {
                return Err(Error { offset: begin + 8, problem: Problem::ByteOrder(order) });
            }
        };
        let length = self.native(u32::from_le_bytes([header[0], header[1], header[2], header[3]]));
        if length < 28 || !length.is_multiple_of(4) || length as usize > LONGEST_BLOCK {
            return Err(Error { offset: begin + 4, problem: Problem::Block(length) });
        }
        let mut version = [0; 4];
        self.fill(&mut version)?;
        let (major, minor) = (self.u16(&version, 0), self.u16(&version, 2));
        // 1.2 was written by some and means 1.0 (section 4.1).
        if (major, minor) != (1, 0) && (major, minor) != (1, 2) {
            return Err(Error { offset: begin + 12, problem: Problem::Version(major, minor) });
        }
        self.interfaces.clear();
        self.discard(u64::from(length) - 16)
    }

    /// The body of an interface block: link type, 2 bytes unused, snap length, options.
    fn describe(&mut self) -> Result<(), Problem> {
        if self.block.len() < 8 {
            return Err(Problem::Block(self.block.len() as u32 + FRAMING));
        }
        if self.interfaces.len() == MAX_INTERFACES {
            return Err(Problem::Interface(MAX_INTERFACES as u32));
        }
        let mut described = Described {
            interface: Interface::default(),
            link: self.u16(&self.block, 0),
            snap: self.u32(&self.block, 4),
            check_sequence: 0,
            resolution: Resolution::Ten(6),
            offset: 0,
        };
        let mut at = 8;
        while let Some((code, value)) = self.option(&mut at) {
            match (code, value) {
                (NAME, name) => described.interface.name = text(name),
                (DESCRIPTION, more) => described.interface.description = text(more),
                (RESOLUTION, &[byte]) => {
                    described.resolution = Resolution::of(byte).ok_or(Problem::Resolution(byte))?;
                }
                (CHECK_SEQUENCE, &[length]) => described.check_sequence = length,
                (OFFSET, seconds) if seconds.len() == 8 => {
                    described.offset = self.u64(seconds).cast_signed();
                }
                _ => {}
            }
        }
        self.interfaces.push(described);
        Ok(())
    }

    /// The body of a statistics block: interface, time, options.
    fn count(&mut self) {
        let mut at = 12;
        while let Some((code, value)) = self.option(&mut at) {
            if code == DROPPED && value.len() == 8 {
                let count = self.u64(value);
                self.dropped = self.dropped.saturating_add(count);
            }
        }
    }

    /// The body of a packet's block.
    fn packet(&mut self, kind: u32, frame: &mut Vec<u8>) -> Result<(Record, Place), Problem> {
        let block = &self.block;
        let header = if kind == SIMPLE_PACKET { 4 } else { 20 };
        if block.len() < header {
            return Err(Problem::Block(block.len() as u32 + FRAMING));
        }
        let (number, captured, length) = match kind {
            SIMPLE_PACKET => {
                let length = self.u32(block, 0);
                let snap = self.interfaces.first().map_or(0, |described| described.snap);
                let captured = if snap == 0 { length } else { length.min(snap) };
                (0, captured, length)
            }
            OLD_PACKET => (u32::from(self.u16(block, 0)), self.u32(block, 12), self.u32(block, 16)),
            _ => (self.u32(block, 0), self.u32(block, 12), self.u32(block, 16)),
        };
        let number = number as usize;
        let described = self.interfaces.get(number).ok_or(Problem::Interface(number as u32))?;
        if described.link != ETHERNET {
            return Err(Problem::LinkType(described.link.into()));
        }
        if described.check_sequence != 0 {
            return Err(Problem::CheckSequence);
        }
        let size = captured as usize;
        if size > LONGEST {
            return Err(Problem::Length(captured));
        }
        let bytes = block.get(header..header + size).ok_or(Problem::Captured(captured))?;
        frame.clear();
        frame.extend_from_slice(bytes);
        let time = if kind == SIMPLE_PACKET {
            self.last
        } else {
            let units = u64::from(self.u32(block, 4)) << 32 | u64::from(self.u32(block, 8));
            let nanos = described.resolution.nanoseconds(units).cast_signed();
            let shifted = nanos + i128::from(described.offset) * 1_000_000_000;
            u64::try_from(shifted).map_err(|_| Problem::Time(units))?
        };
        let mut comment = std::mem::take(&mut self.comment);
        comment.clear();
        let mut direction = None;
        let mut at = header + size.next_multiple_of(4);
        while kind != SIMPLE_PACKET
            && let Some((code, value)) = self.option(&mut at)
        {
            match code {
                COMMENT if comment.is_empty() => comment = text(value),
                FLAGS if value.len() == 4 => {
                    direction = match self.u32(value, 0) & 3 {
                        INBOUND => Some(Direction::Inbound),
                        OUTBOUND => Some(Direction::Outbound),
                        _ => None,
                    };
                }
                _ => {}
            }
        }
        (self.comment, self.last) = (comment, time);
        Ok((Record { time, length, captured }, Place { interface: number, direction }))
    }

    /// The option at `at` of the block, which is moved on. `None` at the end, and where the rest makes
    /// no sense.
    fn option(&self, at: &mut usize) -> Option<(u16, &[u8])> {
        let header = self.block.get(*at..*at + 4)?;
        let (code, length) = (self.u16(header, 0), usize::from(self.u16(header, 2)));
        let value = self.block.get(*at + 4..*at + 4 + length)?;
        *at += 4 + length.next_multiple_of(4);
        (code != END_OF_OPTIONS).then_some((code, value))
    }

    /// Reads the length of a block whose type was just read, at `begin`.
    fn length(&mut self, begin: u64) -> Result<u32, Error> {
        let mut field = [0; 4];
        self.fill(&mut field)?;
        let length = self.native(u32::from_le_bytes(field));
        if length < FRAMING || !length.is_multiple_of(4) {
            return Err(Error { offset: begin + 4, problem: Problem::Block(length) });
        }
        Ok(length)
    }

    /// Reads the rest of a block of that length into `block`, without the length behind it.
    fn read_body(&mut self, begin: u64, length: u32) -> Result<(), Error> {
        if length as usize > LONGEST_BLOCK {
            return Err(Error { offset: begin + 4, problem: Problem::Block(length) });
        }
        let mut block = std::mem::take(&mut self.block);
        block.clear();
        block.resize((length - 8) as usize, 0);
        let filled = self.fill(&mut block);
        self.block = block;
        filled?;
        let behind = self.u32(&self.block, self.block.len() - 4);
        if behind != length {
            let offset = self.offset - 4;
            return Err(Error { offset, problem: Problem::Block(behind) });
        }
        self.block.truncate((length - FRAMING) as usize);
        Ok(())
    }

    fn pass_over(&mut self, length: u32) -> Result<(), Error> {
        self.discard(u64::from(length) - 8)
    }

    fn discard(&mut self, mut left: u64) -> Result<(), Error> {
        let mut bytes = [0; 4096];
        while left > 0 {
            let some = left.min(bytes.len() as u64);
            self.fill(&mut bytes[..some as usize])?;
            left -= some;
        }
        Ok(())
    }

    /// The next four bytes as a little-endian number; `None` at the end of the file.
    fn word(&mut self) -> Result<Option<u32>, Error> {
        let mut bytes = [0; 4];
        loop {
            match self.input.read(&mut bytes[..1]) {
                Ok(0) => return Ok(None),
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Error { offset: self.offset, problem: Problem::Io(error) });
                }
            }
        }
        self.offset += 1;
        self.fill(&mut bytes[1..])?;
        Ok(Some(u32::from_le_bytes(bytes)))
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

    /// A number that was read as little-endian in the section's byte order.
    const fn native(&self, number: u32) -> u32 {
        if self.big_endian { number.swap_bytes() } else { number }
    }

    /// The fields at `at`, which the caller knows to be there.
    fn u16(&self, bytes: &[u8], at: usize) -> u16 {
        let field = [bytes[at], bytes[at + 1]];
        if self.big_endian { u16::from_be_bytes(field) } else { u16::from_le_bytes(field) }
    }

    fn u32(&self, bytes: &[u8], at: usize) -> u32 {
        let field = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if self.big_endian { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) }
    }

    /// The first eight bytes.
    fn u64(&self, bytes: &[u8]) -> u64 {
        let (first, second) = (self.u32(bytes, 0), self.u32(bytes, 4));
        let (high, low) = if self.big_endian { (first, second) } else { (second, first) };
        u64::from(high) << 32 | u64::from(low)
    }
}

/// Text of an option. Some writers end it with a zero.
fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file made by hand, word by word, in either byte order.
    struct File {
        bytes: Vec<u8>,
        big_endian: bool,
    }

    impl File {
        fn new(big_endian: bool) -> Self {
            let mut file = Self { bytes: Vec::new(), big_endian };
            let order = file.word(BYTE_ORDER);
            let version = [file.half(1), file.half(0)].concat();
            file.block(SECTION, &[&order[..], &version, &[0xff; 8]].concat());
            file
        }

        fn word(&self, value: u32) -> [u8; 4] {
            if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
        }

        fn half(&self, value: u16) -> [u8; 2] {
            if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
        }

        fn block(&mut self, kind: u32, body: &[u8]) {
            assert_eq!(body.len() % 4, 0);
            let length = self.word(body.len() as u32 + FRAMING);
            self.bytes.extend(self.word(kind));
            self.bytes.extend(length);
            self.bytes.extend(body);
            self.bytes.extend(length);
        }

        fn option(&self, code: u16, value: &[u8]) -> Vec<u8> {
            let mut bytes = [self.half(code), self.half(value.len() as u16)].concat();
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        }

        fn interface(&mut self, link: u16, options: &[u8]) {
            let body = [&self.half(link)[..], &[0; 2], &self.word(0), options].concat();
            self.block(INTERFACE, &body);
        }

        fn packet(&mut self, interface: u32, units: u64, bytes: &[u8], options: &[u8]) {
            let mut body = Vec::new();
            let length = bytes.len() as u32;
            for value in [interface, (units >> 32) as u32, units as u32, length, length] {
                body.extend(self.word(value));
            }
            body.extend(bytes);
            body.resize(body.len().next_multiple_of(4), 0);
            body.extend(options);
            self.block(PACKET, &body);
        }
    }

    /// What is read of a packet, with its comment.
    type Packet = (Record, Place, Vec<u8>, String);

    fn read_all(bytes: &[u8]) -> Result<Vec<Packet>, Error> {
        let mut reader = Reader::new(bytes)?;
        let mut frame = Vec::new();
        let mut all = Vec::new();
        while let Some((record, place)) = reader.next(&mut frame)? {
            all.push((record, place, frame.clone(), reader.comment().to_owned()));
        }
        Ok(all)
    }

    #[test]
    fn both_byte_orders_all_blocks_and_resolutions_are_read() {
        for big_endian in [false, true] {
            let mut file = File::new(big_endian);
            let lan = file.option(NAME, b"lan");
            file.interface(1, &lan);
            let offset = if big_endian { 10_i64.to_be_bytes() } else { 10_i64.to_le_bytes() };
            let fine = [file.option(RESOLUTION, &[9]), file.option(OFFSET, &offset)].concat();
            file.interface(1, &fine);
            let binary = file.option(RESOLUTION, &[0x81]);
            file.interface(1, &binary);
            // A block that nobody knows.
            file.block(0x0bad, &[1; 16]);
            let options = [
                file.option(FLAGS, &file.word(OUTBOUND)),
                file.option(COMMENT, b"block-rule"),
                file.option(END_OF_OPTIONS, b""),
                file.option(COMMENT, b"not this"),
            ];
            file.packet(0, 1_500_000, b"abcde", &options.concat());
            file.packet(1, 7, b"f", &[]);
            file.packet(2, 3, b"gh", &[]);
            let simple = [&file.word(3)[..], b"ijk\0"].concat();
            file.block(SIMPLE_PACKET, &simple);
            // A new section forgets the interfaces.
            let more = File::new(!big_endian);
            file.bytes.extend(more.bytes);
            let all = read_all(&file.bytes).unwrap();
            let seen: Vec<_> = all
                .iter()
                .map(|(record, place, bytes, comment)| {
                    (record.time, place.interface, &bytes[..], &**comment)
                })
                .collect();
            assert_eq!(
                seen,
                [
                    (1_500_000_000, 0, &b"abcde"[..], "block-rule"),
                    (10_000_000_007, 1, b"f", ""),
                    (1_500_000_000, 2, b"gh", ""),
                    (1_500_000_000, 0, b"ijk", ""),
                ]
            );
            assert_eq!(all[0].1.direction, Some(Direction::Outbound));
            assert_eq!(all[1].1.direction, None);
        }
    }

    #[test]
    fn a_broken_file_is_named_with_its_place() {
        let told = |bytes: &[u8]| read_all(bytes).unwrap_err().to_string();
        let mut file = File::new(false);
        file.interface(1, &[]);
        let described = file.bytes.len();
        file.packet(0, 5, b"abcd", &[]);
        let good = file.bytes;
        assert_eq!(read_all(&good).unwrap().len(), 1);
        let changed = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            told(&bytes)
        };
        assert_eq!(changed(0, 1), "offset 0: 0x0a0d0d01 is not the magic number of pcap");
        assert_eq!(changed(8, 1), "offset 8: 0x1a2b3c01 is no byte order of pcapng");
        assert_eq!(changed(12, 9), "offset 12: version 9.0 is not known");
        assert_eq!(changed(28 + 8, 113), "offset 48: link type 113 is not Ethernet (1)");
        let at = described + 8;
        assert_eq!(changed(at, 1), "offset 48: there is no interface 1");
        assert_eq!(changed(at + 12, 9), "offset 48: a frame of 9 bytes does not fit its block");
        assert_eq!(changed(described + 4, 6), "offset 52: a block cannot have 6 bytes");
        assert_eq!(changed(good.len() - 4, 0), "offset 80: a block cannot have 0 bytes");
        for length in [1, 9, 30, described + 1, good.len() - 1] {
            assert!(
                told(&good[..length]).ends_with("the file ends in the middle of it"),
                "{length}"
            );
        }
        assert_eq!(told(b""), "offset 0: the file ends in the middle of it");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(
            big_endian in prop::bool::ANY,
            kind in prop::sample::select(&[INTERFACE, OLD_PACKET, SIMPLE_PACKET, PACKET, 5]),
            body in prop::collection::vec(any::<u8>(), 0..80),
            rest in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut file = File::new(big_endian);
            file.interface(1, &body[..body.len() / 4 * 4]);
            file.block(kind, &body[..body.len() / 4 * 4]);
            file.bytes.extend(rest);
            let _ = read_all(&file.bytes);
            let _ = read_all(&body);
        }
    }
}
