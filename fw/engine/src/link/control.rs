//! What becomes of frames that hold neither IP nor ARP when no `ether` rule speaks for them.
//!
//! The addresses 01-80-C2-00-00-00 to -0F mean "the other end of this link" (IEEE 802.1Q, 8.6.3): a
//! bridge of that standard keeps such frames to itself. weir stands on the link unseen, so the known
//! control protocols go through, for the bridges on both sides to find each other; PAUSE and its kin
//! speak to the very next transmitter and never do. What keeps a PPPoE session up goes through as well:
//! the router and the modem that weir stands between need it, and what the session carries is filtered.

use weir_config::ether::{ControlFrame, ControlFrames, EtherRule};

use crate::frame::Meta;
use crate::packet::ethernet::{Ethernet, Mac, ethertype, is_group};
use crate::packet::{Tags, pppoe};
use crate::reason::Reason;

/// Below this the type field is a length (IEEE 802.3, 3.2.6).
const FIRST_TYPE: u16 = 0x600;
/// LLC addresses of the spanning tree, and the control field of an unnumbered frame (IEEE 802.1Q,
/// 14.1).
const SPANNING_TREE: [u8; 3] = [0x42, 0x42, 0x03];

/// The fate of a frame without a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usual {
    Passes,
    Drops(Reason),
    /// No rule can change it.
    NeverPasses(Reason),
}

/// What becomes of a frame that the parser refused for `reason`: an ethertype, or a protocol of PPP,
/// that it does not know.
pub(super) fn usual(
    frame: &Ethernet<'_>,
    head: &[u8],
    meta: Meta,
    reason: Reason,
    passing: ControlFrames,
) -> Usual {
    if frame.ethertype() == ethertype::MAC_CONTROL {
        return Usual::NeverPasses(Reason::MacControl);
    }
    match control_frame(frame, head, meta) {
        Some(control) if passing.contains(control) => Usual::Passes,
        Some(_) => Usual::Drops(Reason::LinkControl),
        None if is_link_local(frame.destination()) => Usual::Drops(Reason::LinkLocal),
        None if frame.ethertype() < FIRST_TYPE => Usual::Drops(Reason::Llc),
        None => Usual::Drops(reason),
    }
}

/// The ethertype as `ether` rules name it.
pub(super) fn type_or_llc(frame: &Ethernet<'_>) -> u16 {
    if frame.ethertype() < FIRST_TYPE { EtherRule::LLC } else { frame.ethertype() }
}

/// Which control protocol a frame speaks. They are not tagged, but for a priority; only PPPoE is a
/// customer's of the tags.
fn control_frame(frame: &Ethernet<'_>, head: &[u8], meta: Meta) -> Option<ControlFrame> {
    let to = frame.destination();
    if pppoe::is_control(frame, head, meta) && !is_link_local(to) {
        return Some(ControlFrame::Pppoe);
    }
    if frame.tags() != Tags::default() {
        return None;
    }
    match frame.ethertype() {
        ethertype::LLDP if is_link_local(to) => Some(ControlFrame::Lldp),
        ethertype::SLOW if is_link_local(to) => Some(ControlFrame::Lacp),
        // To a single station once the two know each other (IEEE 802.1X, 11.1.1).
        ethertype::EAPOL if is_link_local(to) || !is_group(to) => Some(ControlFrame::Eapol),
        // To bridges of customers and of providers.
        ..FIRST_TYPE if is_link_local(to) && matches!(to[5], 0x00 | 0x08) => {
            let llc = head.get(frame.length()..)?.first_chunk()?;
            (*llc == SPANNING_TREE).then_some(ControlFrame::Bpdu)
        }
        _ => None,
    }
}

const fn is_link_local(to: Mac) -> bool {
    matches!(to, [0x01, 0x80, 0xc2, 0x00, 0x00, ..=0x0f])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Checksum, PortIndex};

    fn frame(to: [u8; 6], behind: &[u8]) -> Vec<u8> {
        [&to[..], &[2, 0, 0, 0, 0, 1], behind].concat()
    }

    fn fate(head: &[u8]) -> Usual {
        let ethernet = Ethernet::new(head).unwrap();
        let length = head.len() as u32;
        let meta = Meta { port: PortIndex::LAN, checksum: Checksum::Unknown, gso_size: 0, length };
        usual(&ethernet, head, meta, Reason::EtherType, ControlFrames::default())
    }

    #[test]
    fn the_spanning_tree_is_known_by_address_and_llc() {
        let bpdu = [0, 0x26, 0x42, 0x42, 3, 0, 0];
        let drops = Usual::Drops;
        assert_eq!(fate(&frame([1, 0x80, 0xc2, 0, 0, 0], &bpdu)), Usual::Passes);
        assert_eq!(fate(&frame([1, 0x80, 0xc2, 0, 0, 8], &bpdu)), Usual::Passes);
        assert_eq!(fate(&frame([1, 0x80, 0xc2, 0, 0, 2], &bpdu)), drops(Reason::LinkLocal));
        assert_eq!(fate(&frame([1, 0x80, 0xc2, 0, 0, 0x10], &bpdu)), drops(Reason::Llc));
        let snap = [0, 0x26, 0xaa, 0xaa, 3, 0, 0];
        assert_eq!(fate(&frame([1, 0x80, 0xc2, 0, 0, 0], &snap)), drops(Reason::LinkLocal));
        assert_eq!(fate(&frame([1, 0x80, 0xc2, 0, 0, 0], &bpdu[..4])), drops(Reason::LinkLocal));
        assert_eq!(fate(&frame([2, 0, 0, 0, 0, 2], &snap)), drops(Reason::Llc));
    }

    #[test]
    fn a_tagged_control_frame_is_none() {
        let lldp = |tag: &[u8]| frame([1, 0x80, 0xc2, 0, 0, 0x0e], &[tag, &[0x88, 0xcc]].concat());
        assert_eq!(fate(&lldp(&[])), Usual::Passes);
        assert_eq!(fate(&lldp(&[0x81, 0, 0xe0, 0])), Usual::Passes);
        assert_eq!(fate(&lldp(&[0x81, 0, 0, 7])), Usual::Drops(Reason::LinkLocal));
    }

    #[test]
    fn pause_stays_on_its_link() {
        let pause = frame([1, 0x80, 0xc2, 0, 0, 1], &[0x88, 0x08, 0, 1, 0xff, 0xff]);
        assert_eq!(fate(&pause), Usual::NeverPasses(Reason::MacControl));
    }
}
