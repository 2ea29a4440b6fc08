//! UDP (RFC 768).

use super::bytes::{be16, header};
use super::checksum;
use crate::reason::Reason;

/// Length of the header, in bytes.
pub const HEADER: usize = 8;
/// Where the checksum stands in the header.
pub const CHECKSUM: usize = 6;

/// A UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp<'a>(&'a [u8; HEADER]);

impl<'a> Udp<'a> {
    /// Reads the header at `at`, in a packet that ends before `end`, of which `head` is the first
    /// segment. Fails with [`Reason::TruncatedUdp`] or [`Reason::SplitHeader`].
    pub fn new(head: &'a [u8], at: usize, end: usize) -> Result<Self, Reason> {
        header(head, at, end, Reason::TruncatedUdp).map(Self)
    }

    /// Source port.
    pub fn source_port(&self) -> u16 {
        be16(self.0, 0)
    }

    /// Destination port.
    pub fn destination_port(&self) -> u16 {
        be16(self.0, 2)
    }

    /// Length of header and payload, in bytes; 0 in jumbograms and trains above 64 KiB.
    pub fn length(&self) -> u16 {
        be16(self.0, 4)
    }

    /// Checksum; 0 if the sender made none.
    pub fn checksum(&self) -> u16 {
        be16(self.0, CHECKSUM)
    }
}

/// A UDP header to be changed; every setter keeps the checksum right if there is one.
#[derive(Debug)]
pub struct UdpMut<'a>(&'a mut [u8; HEADER]);

impl<'a> UdpMut<'a> {
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

    fn set(&mut self, at: usize, new: u16) {
        let old = be16(self.0, at);
        self.0[at..at + 2].copy_from_slice(&new.to_be_bytes());
        let checksum = be16(self.0, CHECKSUM);
        if checksum != 0 {
            let checksum = match checksum::update(checksum, old, new) {
                0 => 0xffff,
                checksum => checksum,
            };
            self.0[CHECKSUM..].copy_from_slice(&checksum.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Udp, UdpMut};
    use crate::packet::checksum;
    use crate::reason::Reason;

    const PLAIN: [u8; 8] = [0x9c, 0x40, 0, 53, 0, 8, 0x12, 0x34];

    #[test]
    fn reads_a_header() {
        let header = Udp::new(&PLAIN, 0, 8).unwrap();
        assert_eq!((header.source_port(), header.destination_port()), (40000, 53));
        assert_eq!((header.length(), header.checksum()), (8, 0x1234));
        assert_eq!(Udp::new(&PLAIN, 0, 7), Err(Reason::TruncatedUdp));
        assert_eq!(Udp::new(&PLAIN[..7], 0, 8), Err(Reason::SplitHeader));
    }

    #[test]
    fn setters_keep_the_checksum_right() {
        let mut bytes = PLAIN;
        let before = checksum::sum(&bytes);
        let mut header = UdpMut::new(&mut bytes, 0).unwrap();
        header.set_source_port(1);
        header.set_destination_port(65535);
        assert_eq!(bytes[..4], [0, 1, 0xff, 0xff]);
        assert_eq!(checksum::sum(&bytes), before);

        let mut none = [0x9c, 0x40, 0, 53, 0, 8, 0, 0];
        UdpMut::new(&mut none, 0).unwrap().set_source_port(1);
        assert_eq!(none, [0, 1, 0, 53, 0, 8, 0, 0]);
    }
}
