//! TCP (RFC 9293): header, flags, options.

use super::Tcp;
use super::bytes::{be16, be32, header, region};
use super::checksum;
use crate::reason::Reason;

/// Length of the header without options, in bytes.
pub const HEADER: usize = 20;
/// Where the sequence number stands in the header.
pub const SEQ: usize = 4;
/// Where the checksum stands in the header.
pub const CHECKSUM: usize = 16;

/// Option with an MD5 signature (RFC 2385).
const MD5: u8 = 19;
/// Option with a message authentication code (RFC 5925).
const AUTHENTICATION: u8 = 29;

/// The control bits.
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement field is significant.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer is significant.
    pub const URG: u8 = 0x20;
    /// ECN echo (RFC 3168).
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced (RFC 3168).
    pub const CWR: u8 = 0x80;
}

/// Whether a stack may send this combination: what pf's normalisation lets through. SYN comes
/// without FIN and RST; without SYN there is ACK or RST; without ACK there is no FIN, PSH or URG.
#[inline]
pub const fn flags_are_possible(flags: u8) -> bool {
    IMPOSSIBLE >> (flags & 0x3f) & 1 == 0
}

/// A bit for each value of the six flags of RFC 793.
const IMPOSSIBLE: u64 = {
    use flags::{ACK, FIN, PSH, RST, SYN, URG};
    let mut bits = 0;
    let mut value = 0u8;
    while value < 64 {
        let bad =
            if value & SYN != 0 { value & (FIN | RST) != 0 } else { value & (ACK | RST) == 0 };
        if bad || value & ACK == 0 && value & (FIN | PSH | URG) != 0 {
            bits |= 1 << value;
        }
        value += 1;
    }
    bits
};

/// A checked TCP header: its data offset fits the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    fixed: &'a [u8; HEADER],
    options: &'a [u8],
}

impl<'a> Header<'a> {
    /// Reads the header at `at`, in a packet that ends before `end`, of which `head` is the first
    /// segment. Fails with [`Reason::TruncatedTcp`], [`Reason::TcpHeaderLength`] or
    /// [`Reason::SplitHeader`].
    pub fn new(head: &'a [u8], at: usize, end: usize) -> Result<Self, Reason> {
        let fixed: &[u8; HEADER] = header(head, at, end, Reason::TruncatedTcp)?;
        let length = usize::from(fixed[12] >> 4) * 4;
        if length < HEADER {
            return Err(Reason::TcpHeaderLength);
        }
        let options = region(head, at + HEADER, length - HEADER, end, Reason::TruncatedTcp)?;
        Ok(Self { fixed, options })
    }

    /// Source port.
    pub fn source_port(&self) -> u16 {
        be16(self.fixed, 0)
    }

    /// Destination port.
    pub fn destination_port(&self) -> u16 {
        be16(self.fixed, 2)
    }

    /// What tracking needs.
    pub fn tcp(&self) -> Tcp {
        Tcp {
            seq: be32(self.fixed, 4),
            ack: be32(self.fixed, 8),
            window: be16(self.fixed, 14),
            flags: self.fixed[13],
            header: (HEADER + self.options.len()) as u8,
        }
    }

    /// Checksum.
    pub fn checksum(&self) -> u16 {
        be16(self.fixed, CHECKSUM)
    }

    /// Urgent pointer.
    pub fn urgent(&self) -> u16 {
        be16(self.fixed, 18)
    }

    /// The options.
    pub fn options(&self) -> Options<'a> {
        Options(self.options)
    }
}

/// The fixed part of a TCP header, to be changed; every setter keeps the checksum right.
#[derive(Debug)]
pub struct HeaderMut<'a>(&'a mut [u8; HEADER]);

impl<'a> HeaderMut<'a> {
    /// The header at `at`, which the parser has found there. `None` if there is no room for one.
    pub fn new(head: &'a mut [u8], at: usize) -> Option<Self> {
        head.get_mut(at..)?.first_chunk_mut().map(Self)
    }

    /// Sets the source port.
    pub fn set_source_port(&mut self, port: u16) {
        self.set(0, port);
    }

    /// Sets the destination port.
    pub fn set_destination_port(&mut self, port: u16) {
        self.set(2, port);
    }

    /// Sets the sequence number.
    pub fn set_seq(&mut self, seq: u32) {
        self.set(4, (seq >> 16) as u16);
        self.set(6, seq as u16);
    }

    /// Sets the acknowledgement number.
    pub fn set_ack(&mut self, ack: u32) {
        self.set(8, (ack >> 16) as u16);
        self.set(10, ack as u16);
    }

    /// Sets the flags.
    pub fn set_flags(&mut self, flags: u8) {
        self.set(12, u16::from_be_bytes([self.0[12], flags]));
    }

    /// Sets the window, not scaled.
    pub fn set_window(&mut self, window: u16) {
        self.set(14, window);
    }

    fn set(&mut self, at: usize, new: u16) {
        let checksum = checksum::update(be16(self.0, CHECKSUM), be16(self.0, at), new);
        self.0[at..at + 2].copy_from_slice(&new.to_be_bytes());
        self.0[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// One option of a TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption<'a> {
    /// Padding (RFC 9293, 3.2).
    NoOperation,
    /// Largest payload the sender takes, in bytes (RFC 9293, 3.7.1).
    MaximumSegmentSize(u16),
    /// Shift of the windows to come, 0 to 14 (RFC 7323, 2.3: larger ones are taken as 14).
    WindowScale(u8),
    /// Selective acknowledgement is welcome (RFC 2018).
    SackPermitted,
    /// Selective acknowledgements: pairs of left and right edge.
    Sack(SackBlocks<'a>),
    /// Timestamps (RFC 7323, 3).
    Timestamps {
        /// The sender's clock.
        value: u32,
        /// The last value seen from the peer.
        echo: u32,
    },
    /// Fast Open cookie, empty when asked for (RFC 7413).
    FastOpen(&'a [u8]),
    /// Any other.
    Other {
        /// Its number.
        kind: u8,
        /// What follows number and length.
        data: &'a [u8],
    },
}

/// The blocks of a SACK option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SackBlocks<'a>(&'a [[u8; 8]]);

impl SackBlocks<'_> {
    /// Left and right edge of each block: the first sequence number in it and the first behind it.
    pub fn edges(&self) -> impl ExactSizeIterator<Item = (u32, u32)> {
        self.0.iter().map(|block| (be32(block, 0), be32(block, 4)))
    }
}

/// Goes through the options of a header. Ends at the end-of-list option, at the end of the header
/// and at the first option whose length is impossible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// Over the bytes between the fixed header and the payload.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Shift of the window scale option, 0 to 14, if there is one.
    pub fn window_scale(mut self) -> Option<u8> {
        self.find_map(|option| match option {
            TcpOption::WindowScale(shift) => Some(shift),
            _ => None,
        })
    }

    /// Maximum segment size in bytes, if the option is there.
    pub fn maximum_segment_size(mut self) -> Option<u16> {
        self.find_map(|option| match option {
            TcpOption::MaximumSegmentSize(size) => Some(size),
            _ => None,
        })
    }

    /// Whether the segment is signed (RFC 2385, MD5; RFC 5925, TCP-AO): nobody may change it.
    pub fn are_signed(mut self) -> bool {
        self.any(|option| matches!(option, TcpOption::Other { kind: MD5 | AUTHENTICATION, .. }))
    }

    /// What has not been gone through, for instance because it is malformed.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = TcpOption<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&kind, behind) = self.0.split_first()?;
        match kind {
            0 => {
                self.0 = &[];
                return None;
            }
            1 => {
                self.0 = behind;
                return Some(TcpOption::NoOperation);
            }
            _ => {}
        }
        let length = usize::from(*behind.first()?);
        let data = self.0.get(2..length)?;
        let option = match (kind, data) {
            (2, &[a, b]) => TcpOption::MaximumSegmentSize(u16::from_be_bytes([a, b])),
            (3, &[shift]) => TcpOption::WindowScale(shift.min(14)),
            (4, []) => TcpOption::SackPermitted,
            (5, _) if data.len() % 8 == 0 && !data.is_empty() => {
                TcpOption::Sack(SackBlocks(data.as_chunks().0))
            }
            (8, &[_, _, _, _, _, _, _, _]) => {
                TcpOption::Timestamps { value: be32(data, 0), echo: be32(data, 4) }
            }
            (34, _) => TcpOption::FastOpen(data),
            // A known option of a wrong length.
            (2..=5 | 8, _) => return None,
            _ => TcpOption::Other { kind, data },
        };
        self.0 = &self.0[length..];
        Some(option)
    }
}

/// Where the values of MSS options stand in a header, from its first byte, and the values.
pub fn find_mss(header: &[u8]) -> impl Iterator<Item = (usize, u16)> {
    let mut options = Options::new(header.get(HEADER..).unwrap_or_default());
    std::iter::from_fn(move || {
        loop {
            if let TcpOption::MaximumSegmentSize(mss) = options.next()? {
                return Some((header.len() - options.rest().len() - 2, mss));
            }
        }
    })
}

/// Where the values of timestamp options stand in a header, from its first byte: the sender's clock
/// and, four bytes behind, the echo; and both values.
pub fn find_timestamps(header: &[u8]) -> impl Iterator<Item = (usize, u32, u32)> {
    let mut options = Options::new(header.get(HEADER..).unwrap_or_default());
    std::iter::from_fn(move || {
        loop {
            if let TcpOption::Timestamps { value, echo } = options.next()? {
                return Some((header.len() - options.rest().len() - 8, value, echo));
            }
        }
    })
}

/// Overwrites bytes of a TCP header behind its fixed part, at most eight. If the checksum is a
/// finished one it is brought up to date; one that is left to hardware covers them by itself.
///
/// # Panics
/// If the segment ends before.
pub fn overwrite(segment: &mut [u8], at: usize, new: &[u8], finished: bool) {
    // An option may begin at an odd byte: the words that hold it are compared as a whole.
    let words = at & !1..(at + new.len() + 1) & !1;
    let mut before = [0; 10];
    let before = &mut before[..words.len()];
    before.copy_from_slice(&segment[words.clone()]);
    segment[at..at + new.len()].copy_from_slice(new);
    if finished {
        let old = be16(segment, CHECKSUM);
        let new = checksum::update_bytes(old, before, &segment[words]);
        segment[CHECKSUM..CHECKSUM + 2].copy_from_slice(&new.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::{Header, HeaderMut, Options, TcpOption, flags, flags_are_possible};
    use crate::packet::{Tcp, checksum};
    use crate::reason::Reason;

    /// 40000 > 22, SYN, seq 123, window 64240, options mss 1460, sackOK, TS, nop, wscale 7.
    const SYN: [u8; 40] = [
        0x9c, 0x40, 0, 22, 0, 0, 0, 123, 0, 0, 0, 0, 0xa0, 0x02, 0xfa, 0xf0, 0x11, 0x22, 0, 0, 2,
        4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7,
    ];

    #[test]
    fn reads_a_header() {
        let header = Header::new(&SYN, 0, 40).unwrap();
        assert_eq!((header.source_port(), header.destination_port()), (40000, 22));
        let tcp = Tcp { seq: 123, ack: 0, window: 64240, flags: flags::SYN, header: 40 };
        assert_eq!(header.tcp(), tcp);
        assert_eq!((header.checksum(), header.urgent()), (0x1122, 0));
        assert_eq!(
            header.options().collect::<Vec<_>>(),
            [
                TcpOption::MaximumSegmentSize(1460),
                TcpOption::SackPermitted,
                TcpOption::Timestamps { value: 9, echo: 0 },
                TcpOption::NoOperation,
                TcpOption::WindowScale(7),
            ]
        );
        assert_eq!(header.options().window_scale(), Some(7));
        assert_eq!(header.options().maximum_segment_size(), Some(1460));
    }

    #[test]
    fn refuses_bad_lengths() {
        assert_eq!(Header::new(&SYN, 0, 19), Err(Reason::TruncatedTcp));
        assert_eq!(Header::new(&SYN, 0, 39), Err(Reason::TruncatedTcp));
        assert_eq!(Header::new(&SYN[..39], 0, 40), Err(Reason::SplitHeader));
        let mut bytes = SYN;
        bytes[12] = 0x40;
        assert_eq!(Header::new(&bytes, 0, 40), Err(Reason::TcpHeaderLength));
    }

    #[test]
    fn setters_keep_the_checksum_right() {
        let mut bytes = SYN;
        let before = checksum::sum(&bytes);
        let mut header = HeaderMut::new(&mut bytes, 0).unwrap();
        header.set_source_port(1);
        header.set_destination_port(65535);
        header.set_seq(0xdead_beef);
        header.set_ack(0xffff_ffff);
        header.set_flags(flags::ACK);
        header.set_window(0);
        assert_eq!(checksum::sum(&bytes), before);
        let header = Header::new(&bytes, 0, 40).unwrap();
        assert_eq!((header.source_port(), header.destination_port()), (1, 65535));
        let (seq, ack) = (0xdead_beef, 0xffff_ffff);
        assert_eq!(header.tcp(), Tcp { seq, ack, window: 0, flags: flags::ACK, header: 40 });
    }

    #[test]
    fn knows_impossible_flags() {
        for word in ["S", "SA", "A", "PA", "FA", "FPA", "R", "RA", "UA", "SEW", "SAE", "FPUA"] {
            assert!(flags_are_possible(parse_flags(word)), "{word}");
        }
        for word in ["", "F", "P", "U", "FPU", "SF", "SR", "SFA", "SRA", "SP", "RF", "E", "SFR"] {
            assert!(!flags_are_possible(parse_flags(word)), "{word}");
        }
    }

    fn parse_flags(word: &str) -> u8 {
        word.chars().map(|c| 1 << "FSRPAUEW".find(c).unwrap()).sum()
    }

    fn options(bytes: &[u8]) -> Vec<TcpOption<'_>> {
        Options::new(bytes).collect()
    }

    #[test]
    fn malformed_lists_end_the_iteration() {
        let scale = TcpOption::WindowScale(14);
        assert_eq!(options(&[3, 3, 99, 2]), [scale]);
        assert_eq!(options(&[3, 3, 99, 2, 0, 1]), [scale]);
        assert_eq!(options(&[3, 3, 99, 2, 1, 1]), [scale]);
        assert_eq!(options(&[3, 3, 99, 2, 40, 1]), [scale]);
        assert_eq!(options(&[3, 3, 99, 2, 3, 1, 1]), [scale]);
        assert_eq!(options(&[3, 3, 99, 0, 2, 4, 5, 0xb4]), [scale]);
        assert_eq!(options(&[3, 2]), []);
        assert_eq!(options(&[5, 9, 0, 0, 0, 0, 0, 0, 0]), []);
        assert_eq!(options(&[5, 2]), []);
    }

    #[test]
    fn reads_the_rarer_options() {
        let bytes = [1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9, 34, 6, 1, 2, 3, 4, 254, 3, 7];
        let found = options(&bytes);
        let TcpOption::Sack(blocks) = found[2] else { panic!("{found:?}") };
        assert_eq!(blocks.edges().collect::<Vec<_>>(), [(1, 9)]);
        assert_eq!(found[3], TcpOption::FastOpen(&[1, 2, 3, 4]));
        assert_eq!(found[4], TcpOption::Other { kind: 254, data: &[7] });
    }
}
