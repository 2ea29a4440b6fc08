//! Ethernet II with up to two tags (IEEE 802.3, 802.1Q, 802.1ad).

use super::Tags;
use super::bytes::{be16, header};
use crate::reason::Reason;

/// Length of the header without tags, in bytes.
pub const HEADER: usize = 14;
/// Length of one tag, in bytes.
pub const TAG: usize = 4;
/// More tags than this are dropped.
pub const MAX_TAGS: usize = 2;

/// The priority of a frame without a tag (pf.conf(5), `prio`).
pub const UNTAGGED_PRIORITY: u8 = 3;

/// Values of the type field (IANA, IEEE).
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// C-tag, IEEE 802.1Q.
    pub const VLAN: u16 = 0x8100;
    /// S-tag, IEEE 802.1ad.
    pub const QINQ: u16 = 0x88a8;
    /// What was used as S-tag before 802.1ad.
    pub const QINQ_OLD: u16 = 0x9100;
    /// MAC control: PAUSE and priority flow control (IEEE 802.3, 31).
    pub const MAC_CONTROL: u16 = 0x8808;
    /// Slow protocols: LACP, marker, OAM (IEEE 802.3, 57A).
    pub const SLOW: u16 = 0x8809;
    /// Port authentication (IEEE 802.1X).
    pub const EAPOL: u16 = 0x888e;
    /// Link layer discovery (IEEE 802.1AB).
    pub const LLDP: u16 = 0x88cc;
    /// PPPoE discovery stage.
    pub const PPPOE_DISCOVERY: u16 = 0x8863;
    /// PPPoE session stage.
    pub const PPPOE_SESSION: u16 = 0x8864;
}

/// A hardware address.
pub type Mac = [u8; 6];

/// Whether the group bit is set: multicast and broadcast.
#[inline]
pub const fn is_group(mac: Mac) -> bool {
    mac[0] & 1 != 0
}

/// A checked Ethernet header with its tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet<'a> {
    fixed: &'a [u8; HEADER],
    tags: Tags,
    priority: u8,
    ethertype: u16,
    length: usize,
}

impl<'a> Ethernet<'a> {
    /// Reads the header at the beginning of `head`. Fails with [`Reason::Runt`],
    /// [`Reason::TruncatedTag`] or [`Reason::TooManyTags`].
    pub fn new(head: &'a [u8]) -> Result<Self, Reason> {
        let fixed = head.first_chunk::<HEADER>().ok_or(Reason::Runt)?;
        let mut vids = [0; MAX_TAGS];
        let mut filled = 0;
        let mut ethertype = be16(fixed, 12);
        let mut length = HEADER;
        let mut priority = UNTAGGED_PRIORITY;
        while is_tag(ethertype) {
            if length == HEADER + MAX_TAGS * TAG {
                return Err(Reason::TooManyTags);
            }
            let tag: &[u8; TAG] = header(head, length, head.len(), Reason::TruncatedTag)?;
            if length == HEADER {
                priority = tag[0] >> 5;
            }
            let vid = be16(tag, 0) & 0xfff;
            if vid != 0 {
                vids[filled] = vid;
                filled += 1;
            }
            ethertype = be16(tag, 2);
            length += TAG;
        }
        let tags = Tags { outer: vids[0], inner: vids[1] };
        Ok(Self { fixed, tags, priority, ethertype, length })
    }

    /// Destination address.
    pub fn destination(&self) -> Mac {
        std::array::from_fn(|i| self.fixed[i])
    }

    /// Source address.
    pub fn source(&self) -> Mac {
        std::array::from_fn(|i| self.fixed[6 + i])
    }

    /// The VLAN ids, priority tags left out.
    pub fn tags(&self) -> Tags {
        self.tags
    }

    /// The priority of the outer tag, a priority tag's too: 0 to 7. [`UNTAGGED_PRIORITY`] without one.
    pub fn priority(&self) -> u8 {
        self.priority
    }

    /// The type behind the last tag; below 0x600 it is the length of an LLC frame.
    pub fn ethertype(&self) -> u16 {
        self.ethertype
    }

    /// Where the network header begins: 14, 18 or 22.
    pub fn length(&self) -> usize {
        self.length
    }
}

/// Exchanges the two addresses of a frame, for an answer to it; a runt is left alone.
pub fn swap_addresses(head: &mut [u8]) {
    if let Some(addresses) = head.first_chunk_mut::<12>() {
        addresses.rotate_left(6);
    }
}

/// Sets the priority, 0 to 7, in the outer tag; a frame without a tag is left alone.
pub fn set_priority(head: &mut [u8], priority: u8) {
    if let Some([a, b, control, ..]) = head.get_mut(HEADER - 2..)
        && is_tag(u16::from_be_bytes([*a, *b]))
    {
        *control = *control & 0x1f | priority << 5;
    }
}

fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ethertype::VLAN | ethertype::QINQ | ethertype::QINQ_OLD)
}

#[cfg(test)]
mod tests {
    use super::{Ethernet, ethertype, is_group, swap_addresses};
    use crate::packet::Tags;
    use crate::reason::Reason;

    const PLAIN: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];

    fn tagged(tags: &[[u8; 4]], ethertype: [u8; 2]) -> Vec<u8> {
        [&PLAIN[..12], &tags.concat(), &ethertype].concat()
    }

    #[test]
    fn reads_an_untagged_header() {
        let header = Ethernet::new(&PLAIN).unwrap();
        assert_eq!(header.destination(), [2, 0, 0, 0, 0, 1]);
        assert_eq!(header.source(), [2, 0, 0, 0, 0, 2]);
        assert_eq!(header.ethertype(), ethertype::IPV4);
        assert_eq!((header.tags(), header.length()), (Tags::default(), 14));
        assert_eq!(Ethernet::new(&PLAIN[..13]), Err(Reason::Runt));
    }

    #[test]
    fn reads_up_to_two_tags() {
        let one = tagged(&[[0x81, 0x00, 0x20, 0x05]], [0x86, 0xdd]);
        let header = Ethernet::new(&one).unwrap();
        assert_eq!((header.tags(), header.length()), (Tags { outer: 5, inner: 0 }, 18));
        assert_eq!(header.ethertype(), ethertype::IPV6);

        let two = tagged(&[[0x88, 0xa8, 0x0f, 0xfe], [0x81, 0x00, 0x00, 0x07]], [0x08, 0x06]);
        let header = Ethernet::new(&two).unwrap();
        assert_eq!((header.tags(), header.length()), (Tags { outer: 0xffe, inner: 7 }, 22));

        let old = tagged(&[[0x91, 0x00, 0, 1], [0x91, 0x00, 0, 2]], [0x08, 0x00]);
        assert_eq!(Ethernet::new(&old).unwrap().tags(), Tags { outer: 1, inner: 2 });

        let three = tagged(&[[0x81, 0, 0, 1], [0x81, 0, 0, 2], [0x81, 0, 0, 3]], [8, 0]);
        assert_eq!(Ethernet::new(&three), Err(Reason::TooManyTags));
        assert_eq!(Ethernet::new(&one[..17]), Err(Reason::TruncatedTag));
        assert_eq!(Ethernet::new(&one[..14]), Err(Reason::TruncatedTag));
    }

    #[test]
    fn priority_tags_do_not_tell_flows_apart() {
        let frame = tagged(&[[0x81, 0x00, 0xe0, 0x00], [0x81, 0x00, 0x00, 0x07]], [8, 0]);
        let header = Ethernet::new(&frame).unwrap();
        assert_eq!((header.tags(), header.length()), (Tags { outer: 7, inner: 0 }, 22));
    }

    #[test]
    fn swaps_addresses() {
        let mut frame = PLAIN;
        swap_addresses(&mut frame);
        assert_eq!(frame, [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00]);
        assert!(is_group([0xff; 6]) && is_group([1, 0, 0x5e, 0, 0, 1]) && !is_group([2; 6]));
    }
}
