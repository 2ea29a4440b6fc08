//! Writing pcapng: one section, whose interfaces are known from the beginning.

use std::io::{self, Write};

use super::{
    APPLICATION, BYTE_ORDER, COMMENT, DESCRIPTION, DROPPED, Direction, END_OF_OPTIONS, ETHERNET,
    FLAGS, INBOUND, INTERFACE, Interface, NAME, OUTBOUND, PACKET, RECEIVED, RESOLUTION, SECTION,
    STATISTICS,
};
use crate::pcap::file::{LONGEST, Record};

/// Longest text of an option, in bytes; the rest is cut.
const LONGEST_TEXT: usize = 4096;

/// What is said about a frame besides its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Note<'a> {
    /// Which way it went.
    pub direction: Option<Direction>,
    /// What readers see as the packet's comment; none if it is empty.
    pub comment: &'a str,
}

/// Writes a file: little-endian, with nanoseconds. Every call writes whole blocks.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    /// The block at hand.
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Writes the header of a section by `application`, with these interfaces of Ethernet frames, of
    /// which at most `snap` bytes are kept each. `output` should be buffered.
    ///
    /// # Errors
    /// When the output takes no more.
    pub fn new(
        output: W,
        application: &str,
        interfaces: &[Interface],
        snap: u32,
    ) -> io::Result<Self> {
        let mut writer = Self { output, block: Vec::new() };
        writer.begin(SECTION);
        writer.word(BYTE_ORDER);
        writer.half(1);
        writer.half(0);
        // The length of the section is not known.
        writer.block.extend([0xff; 8]);
        writer.text(APPLICATION, application);
        writer.end()?;
        for interface in interfaces {
            writer.begin(INTERFACE);
            writer.half(ETHERNET);
            writer.half(0);
            writer.word(snap);
            writer.text(NAME, &interface.name);
            writer.text(DESCRIPTION, &interface.description);
            writer.option(RESOLUTION, &[9]);
            writer.end()?;
        }
        Ok(writer)
    }

    /// Writes a frame that passed interface `interface`, its captured bytes given in segments, of
    /// which those beyond [`Record::captured`] (at most [`LONGEST`]) are left out.
    ///
    /// # Errors
    /// When the output takes no more.
    pub fn write<'a>(
        &mut self,
        interface: u32,
        record: Record,
        segments: impl Iterator<Item = &'a [u8]>,
        note: Note<'_>,
    ) -> io::Result<()> {
        self.begin(PACKET);
        self.word(interface);
        self.word((record.time >> 32) as u32);
        self.word(record.time as u32);
        let captured_at = self.block.len();
        self.word(0);
        self.word(record.length);
        let mut left = (record.captured as usize).min(LONGEST);
        for segment in segments {
            let take = segment.len().min(left);
            self.block.extend_from_slice(&segment[..take]);
            left -= take;
        }
        let captured = (self.block.len() - captured_at - 8) as u32;
        self.block[captured_at..captured_at + 4].copy_from_slice(&captured.to_le_bytes());
        self.pad();
        if let Some(direction) = note.direction {
            let flags = if direction == Direction::Inbound { INBOUND } else { OUTBOUND };
            self.option(FLAGS, &flags.to_le_bytes());
        }
        self.text(COMMENT, note.comment);
        self.end()
    }

    /// Writes what was counted for an interface until `time` (nanoseconds since 1970): frames that
    /// were to be captured, and those of them that are missing.
    ///
    /// # Errors
    /// When the output takes no more.
    pub fn statistics(
        &mut self,
        interface: u32,
        time: u64,
        received: u64,
        dropped: u64,
    ) -> io::Result<()> {
        self.begin(STATISTICS);
        self.word(interface);
        self.word((time >> 32) as u32);
        self.word(time as u32);
        self.option(RECEIVED, &received.to_le_bytes());
        self.option(DROPPED, &dropped.to_le_bytes());
        self.end()
    }

    /// Hands on what is buffered.
    ///
    /// # Errors
    /// When the output takes no more.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.word(kind);
        // The length, when it is known.
        self.word(0);
    }

    fn end(&mut self) -> io::Result<()> {
        self.half(END_OF_OPTIONS);
        self.half(0);
        let length = self.block.len() as u32 + 4;
        self.block[4..8].copy_from_slice(&length.to_le_bytes());
        self.word(length);
        self.output.write_all(&self.block)
    }

    fn text(&mut self, code: u16, text: &str) {
        if !text.is_empty() {
            let mut end = text.len().min(LONGEST_TEXT);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            self.option(code, &text.as_bytes()[..end]);
        }
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.half(code);
        self.half(value.len() as u16);
        self.block.extend_from_slice(value);
        self.pad();
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn half(&mut self, value: u16) {
        self.block.extend(value.to_le_bytes());
    }

    fn word(&mut self, value: u32) {
        self.block.extend(value.to_le_bytes());
    }
}

impl Writer<Vec<u8>> {
    /// What was written since the last call.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let interfaces = ["lan", "wan"]
            .map(|name| Interface { name: name.into(), description: format!("{name} side") });
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, "weir", &interfaces, 96).unwrap();
        let record = Record { time: 1_700_000_000_123_456_789, length: 6, captured: 6 };
        let note = Note { direction: Some(Direction::Inbound), comment: "pass, rule 1" };
        writer.write(1, record, [&b"one"[..], b"two"].into_iter(), note).unwrap();
        let cut = Record { time: 5, length: 900, captured: 2 };
        writer.write(0, cut, std::iter::once(&b"abc"[..]), Note::default()).unwrap();
        writer.statistics(0, 7, 3, 1).unwrap();
        writer.flush().unwrap();
        let mut reader = Reader::new(&bytes[..]).unwrap();
        let mut frame = Vec::new();
        let (first, place) = reader.next(&mut frame).unwrap().unwrap();
        assert_eq!((first, &frame[..], reader.comment()), (record, &b"onetwo"[..], note.comment));
        assert_eq!((place.interface, place.direction), (1, note.direction));
        assert_eq!(reader.interface(1), Some(&interfaces[1]));
        let (second, place) = reader.next(&mut frame).unwrap().unwrap();
        assert_eq!((second, &frame[..], reader.comment()), (cut, &b"ab"[..], ""));
        assert_eq!((place.interface, place.direction), (0, None));
        assert_eq!(reader.dropped(), 0);
        assert!(reader.next(&mut frame).unwrap().is_none());
        assert_eq!(reader.dropped(), 1);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, "", &[Interface::default()], 0).unwrap();
        let comment = "\u{e4}".repeat(3000);
        let note = Note { comment: &comment, ..Note::default() };
        let record = Record { time: 1, length: 1, captured: 1 };
        writer.write(0, record, std::iter::once(&b"a"[..]), note).unwrap();
        let mut reader = Reader::new(&bytes[..]).unwrap();
        reader.next(&mut Vec::new()).unwrap().unwrap();
        assert_eq!(reader.comment(), "\u{e4}".repeat(2048));
    }
}
