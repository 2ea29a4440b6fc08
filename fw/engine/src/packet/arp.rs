//! ARP for IPv4 over Ethernet (RFC 826).

use super::Address;
use super::bytes::{be16, header};
use super::ethernet::Mac;
use crate::reason::Reason;

/// Length in bytes.
pub const LENGTH: usize = 28;
/// Operation: who has?
pub const REQUEST: u16 = 1;
/// Operation: is at.
pub const REPLY: u16 = 2;

/// A checked ARP packet: Ethernet, IPv4, request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp<'a>(&'a [u8; LENGTH]);

impl<'a> Arp<'a> {
    /// Reads the packet at `at`, in a frame of `end` bytes of which `head` is the first segment.
    /// Fails with [`Reason::MalformedArp`] or [`Reason::SplitHeader`].
    pub fn new(head: &'a [u8], at: usize, end: usize) -> Result<Self, Reason> {
        let bytes: &[u8; LENGTH] = header(head, at, end, Reason::MalformedArp)?;
        // Ethernet, IPv4, lengths 6 and 4.
        if bytes[..6] != [0, 1, 8, 0, 6, 4] || !matches!(be16(bytes, 6), REQUEST | REPLY) {
            return Err(Reason::MalformedArp);
        }
        Ok(Self(bytes))
    }

    /// [`REQUEST`] or [`REPLY`].
    pub fn operation(&self) -> u16 {
        be16(self.0, 6)
    }

    /// Hardware address of the sender.
    pub fn sender_mac(&self) -> Mac {
        std::array::from_fn(|i| self.0[8 + i])
    }

    /// Address of the sender; 0.0.0.0 in a probe (RFC 5227).
    pub fn sender(&self) -> Address {
        Address::v4(std::array::from_fn(|i| self.0[14 + i]))
    }

    /// Hardware address of the target.
    pub fn target_mac(&self) -> Mac {
        std::array::from_fn(|i| self.0[18 + i])
    }

    /// Address of the target.
    pub fn target(&self) -> Address {
        Address::v4(std::array::from_fn(|i| self.0[24 + i]))
    }
}

#[cfg(test)]
mod tests {
    use super::{Arp, REQUEST};
    use crate::packet::Address;
    use crate::reason::Reason;

    const WHO_HAS: [u8; 28] =
        [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 254];

    #[test]
    fn reads_a_request() {
        let arp = Arp::new(&WHO_HAS, 0, 28).unwrap();
        assert_eq!(arp.operation(), REQUEST);
        assert_eq!(arp.sender_mac(), [2, 0, 0, 0, 0, 1]);
        assert_eq!(arp.sender(), Address::v4([192, 0, 2, 1]));
        assert_eq!(arp.target_mac(), [0; 6]);
        assert_eq!(arp.target(), Address::v4([192, 0, 2, 254]));
    }

    #[test]
    fn refuses_what_it_is_not() {
        for (at, value) in [(1, 6), (2, 9), (4, 8), (5, 16), (7, 3), (7, 0)] {
            let mut bytes = WHO_HAS;
            bytes[at] = value;
            assert_eq!(Arp::new(&bytes, 0, 28), Err(Reason::MalformedArp), "{at} = {value}");
        }
        assert_eq!(Arp::new(&WHO_HAS, 0, 27), Err(Reason::MalformedArp));
        assert_eq!(Arp::new(&WHO_HAS[..20], 0, 28), Err(Reason::SplitHeader));
    }
}
