//! Fragments of datagrams (RFC 791, 3.2; RFC 8200, 4.5).

use super::bytes::{be16, be32};
use super::parse::Layer;
use super::{Network, icmp, protocol, tcp, udp};
use crate::reason::Reason;

/// Length of the SCTP common header, in bytes (RFC 9260, 3.1).
const SCTP_HEADER: usize = 12;
/// The longest IP packet, in bytes; of IPv6 without its fixed header.
pub(super) const LONGEST: usize = 65_535;

/// What a fragment says of its place in the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Identification: 16 bits of IPv4, 32 of IPv6.
    pub id: u32,
    /// Where its data belongs in the datagram, in bytes: a multiple of 8.
    pub offset: u16,
    /// How much of the datagram it carries, in bytes; not 0.
    pub length: u16,
    /// Where that begins in the first segment of the frame.
    pub data: u16,
    /// More fragments follow.
    pub more: bool,
    /// "Don't fragment" is set all the same (IPv4).
    pub dont_fragment: bool,
}

impl Fragment {
    /// Behind its last byte in the datagram, in bytes.
    pub const fn end(&self) -> u32 {
        self.offset as u32 + self.length as u32
    }
}

/// Whether a fragment is one that a host could have made. `head` is the frame's first segment,
/// `headers` how many bytes of the packet lie before the fragment's data and are not the fixed IPv6
/// header. Fails with [`Reason::FragLength`] or [`Reason::FragTiny`].
pub(super) fn check(
    head: &[u8],
    layer: &Layer,
    fragment: &Fragment,
    network: Network,
    headers: usize,
) -> Result<(), Reason> {
    let unaligned = fragment.more && !fragment.length.is_multiple_of(8);
    if fragment.length == 0 || unaligned || headers + fragment.end() as usize > LONGEST {
        return Err(Reason::FragLength);
    }
    if fragment.offset == 0 {
        return holds_header(head, layer, network);
    }
    // What a tiny first fragment leaves out comes behind it (RFC 1858, 3.2 and 4.2).
    if layer.protocol == protocol::TCP && usize::from(fragment.offset) < tcp::HEADER {
        return Err(Reason::FragTiny);
    }
    Ok(())
}

/// A first fragment has to hold the whole transport header (RFC 1858, 3.1; RFC 7112, 5).
fn holds_header(head: &[u8], layer: &Layer, network: Network) -> Result<(), Reason> {
    let held = layer.end - layer.transport;
    let wanted = match (layer.protocol, network) {
        (protocol::TCP, _) if held >= tcp::HEADER => {
            let Some(field) = head.get(layer.transport + 12) else {
                return Err(Reason::SplitHeader);
            };
            usize::from(field >> 4) * 4
        }
        (protocol::TCP, _) => tcp::HEADER,
        (protocol::UDP, _) => udp::HEADER,
        (protocol::ICMP, Network::Ipv4) | (protocol::ICMP6, Network::Ipv6) => icmp::HEADER,
        (protocol::SCTP, _) => SCTP_HEADER,
        _ => 0,
    };
    if held < wanted { Err(Reason::FragTiny) } else { Ok(()) }
}

/// The fields of an IPv6 fragment header (RFC 8200, 4.5), at `at` of a packet that ends before `end`.
/// `None` if it is an atomic one (RFC 6946).
pub(super) fn of_header(header: [u8; 8], at: usize, end: usize) -> Option<Fragment> {
    let field = be16(&header, 2);
    // The reserved bits between offset and "more" do not count.
    if field & 0xfff9 == 0 {
        return None;
    }
    let data = at + header.len();
    Some(Fragment {
        id: be32(&header, 4),
        offset: field & 0xfff8,
        length: (end - data) as u16,
        data: data as u16,
        more: field & 1 != 0,
        dont_fragment: false,
    })
}
