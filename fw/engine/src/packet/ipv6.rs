//! IPv6 and its extension headers (RFC 8200).
//!
//! Hop-by-hop, destination and routing headers and the fragment header of atomic (RFC 6946) and first
//! fragments are walked over, at most [`MAX_EXTENSIONS`] of them. AH, ESP, Mobility, HIP and Shim6 are protocols of their
//! own here, as AH is over IPv4: what they carry is between the hosts that share their secrets.

use super::bytes::{be16, be32, header, region};
use super::parse::Layer;
use super::{Address, Fragment, Packet, fragment};
use crate::frame::Meta;
use crate::reason::Reason;

/// Length of the fixed header, in bytes.
pub const HEADER: usize = 40;
/// More extension headers than this are dropped (RFC 8504, 5.3, lets a host choose; RFC 8883).
pub const MAX_EXTENSIONS: usize = 8;

/// Next header: hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// Next header: routing.
pub const ROUTING: u8 = 43;
/// Next header: fragment.
pub const FRAGMENT: u8 = 44;
/// Next header: destination options.
pub const DESTINATION: u8 = 60;

/// A checked fixed IPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6<'a>(&'a [u8; HEADER]);

impl<'a> Ipv6<'a> {
    /// Reads the header at `at`, in a packet that ends before `end`, of which `head` is the first
    /// segment. Fails with [`Reason::TruncatedIp`], [`Reason::IpVersion`] or
    /// [`Reason::SplitHeader`].
    pub fn new(head: &'a [u8], at: usize, end: usize) -> Result<Self, Reason> {
        let bytes: &[u8; HEADER] = header(head, at, end, Reason::TruncatedIp)?;
        if bytes[0] >> 4 == 6 { Ok(Self(bytes)) } else { Err(Reason::IpVersion) }
    }

    /// Traffic class.
    pub fn traffic_class(&self) -> u8 {
        self.0[0] << 4 | self.0[1] >> 4
    }

    /// Flow label, 20 bits.
    pub fn flow_label(&self) -> u32 {
        be32(self.0, 0) & 0xf_ffff
    }

    /// Bytes behind this header; 0 in jumbograms and trains above 64 KiB.
    pub fn payload_length(&self) -> u16 {
        be16(self.0, 4)
    }

    /// Number of the header that follows.
    pub fn next_header(&self) -> u8 {
        self.0[6]
    }

    /// Hop limit.
    pub fn hop_limit(&self) -> u8 {
        self.0[7]
    }

    /// Source.
    pub fn source(&self) -> Address {
        Address::v6(std::array::from_fn(|i| self.0[8 + i]))
    }

    /// Destination; with a routing header that has segments left, the next hop of the route.
    pub fn destination(&self) -> Address {
        Address::v6(std::array::from_fn(|i| self.0[24 + i]))
    }
}

/// The fixed header, to be changed. It has no checksum; these fields are in no pseudo header.
#[derive(Debug)]
pub struct Ipv6Mut<'a>(&'a mut [u8; HEADER]);

impl<'a> Ipv6Mut<'a> {
    /// The header at `at`, which the parser has found there. `None` if there is no room for one.
    pub fn new(head: &'a mut [u8], at: usize) -> Option<Self> {
        head.get_mut(at..)?.first_chunk_mut().map(Self)
    }

    /// Sets the traffic class.
    pub fn set_traffic_class(&mut self, class: u8) {
        self.0[0] = 0x60 | class >> 4;
        self.0[1] = class << 4 | self.0[1] & 0xf;
    }

    /// Sets the payload length in bytes.
    pub fn set_payload_length(&mut self, length: u16) {
        self.0[4..6].copy_from_slice(&length.to_be_bytes());
    }

    /// Sets the hop limit.
    pub fn set_hop_limit(&mut self, limit: u8) {
        self.0[7] = limit;
    }
}

/// Whether a host may have this address as its source: not multicast (RFC 4291, 2.7).
#[inline]
pub const fn is_source(address: Address) -> bool {
    address.0 >> 120 != 0xff
}

/// What the chain of extension headers leads to.
pub(super) struct Chain {
    /// Number of the first header that is none of them.
    pub(super) protocol: u8,
    /// Where that begins.
    pub(super) transport: usize,
    /// Others than an atomic fragment header were there.
    pub(super) options: bool,
    /// Where the routing header is.
    routing: Option<usize>,
    /// What the fragment header says, unless it is an atomic one.
    pub(super) fragment: Option<Fragment>,
}

/// Walks the extension headers at `at`, the first of them numbered `next`, in a packet that ends
/// before `end`. Fails with [`Reason::ExtensionHeader`] for what is malformed, out of order (RFC
/// 8200, 4.1), repeated or deprecated (routing type 0, RFC 5095), [`Reason::FragTiny`] for a chain
/// that goes on behind the first fragment (RFC 7112, 5), or [`Reason::SplitHeader`]. The walk ends at
/// the header of a later fragment.
#[inline]
pub(super) fn walk(head: &[u8], mut at: usize, mut next: u8, end: usize) -> Result<Chain, Reason> {
    let mut options = false;
    let mut routing = None;
    let mut fragment = None;
    let mut short = Reason::ExtensionHeader;
    for count in 0..=MAX_EXTENSIONS {
        if !matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION) {
            return Ok(Chain { protocol: next, transport: at, options, routing, fragment });
        }
        let fixed: &[u8; 8] = header(head, at, end, short)?;
        let mut length = 8;
        match next {
            FRAGMENT if fragment.is_some() => return Err(Reason::ExtensionHeader),
            FRAGMENT => {
                fragment = fragment::of_header(*fixed, at, end);
                if let Some(Fragment { offset, .. }) = fragment {
                    if offset != 0 {
                        let (protocol, transport) = (fixed[0], at + length);
                        return Ok(Chain { protocol, transport, options, routing, fragment });
                    }
                    short = Reason::FragTiny;
                }
            }
            HOP_BY_HOP if count > 0 => return Err(Reason::ExtensionHeader),
            ROUTING if fixed[2] == 0 || routing.is_some() => return Err(Reason::ExtensionHeader),
            _ => {
                length += usize::from(fixed[1]) * 8;
                region(head, at, length, end, short)?;
                if next == ROUTING {
                    routing = Some(at);
                }
                options = true;
            }
        }
        next = fixed[0];
        at += length;
    }
    Err(Reason::ExtensionHeader)
}

/// The destination that the pseudo header has (RFC 8200, 8.1): the last of the route. `None` if the
/// routing header does not show it in a form known here (home address, RFC 6275; segment routing,
/// RFC 8754).
pub(super) fn final_destination(packet: &Packet, head: &[u8]) -> Option<Address> {
    let at = usize::from(packet.network_offset);
    let end = usize::from(packet.transport_offset);
    let next = Ipv6::new(head, at, end).ok()?.next_header();
    let Some(routing) = walk(head, at + HEADER, next, end).ok()?.routing else {
        return Some(packet.destination);
    };
    let fixed: &[u8; 24] = match header(head, routing, end, Reason::ExtensionHeader) {
        Ok(fixed) => fixed,
        Err(_) => return (head.get(routing + 3) == Some(&0)).then_some(packet.destination),
    };
    match (fixed[2], fixed[3]) {
        (_, 0) => Some(packet.destination),
        (2 | 4, _) => Some(Address::v6(std::array::from_fn(|i| fixed[8 + i]))),
        _ => None,
    }
}

/// Checks the IPv6 packet at `at` of a frame: header, lengths, extension headers, source.
#[inline]
pub(super) fn parse(head: &[u8], at: usize, meta: Meta) -> Result<Layer, Reason> {
    let available = meta.length as usize - at;
    let header = Ipv6::new(head, at, meta.length as usize)?;
    let length = match usize::from(header.payload_length()) {
        0 if meta.gso_size > 0 => available,
        payload => HEADER + payload,
    };
    if length > available {
        return Err(Reason::TruncatedIp);
    }
    if !is_source(header.source()) {
        return Err(Reason::SourceAddress);
    }
    let chain = walk(head, at + HEADER, header.next_header(), at + length)?;
    Ok(Layer {
        source: header.source(),
        destination: header.destination(),
        length: length as u32,
        transport: chain.transport,
        end: at + length,
        protocol: chain.protocol,
        ttl: header.hop_limit(),
        tos: header.traffic_class(),
        options: chain.options,
        fragment: chain.fragment,
    })
}

#[cfg(test)]
mod tests {
    use super::{FRAGMENT, Ipv6, Ipv6Mut, walk};
    use crate::packet::Address;
    use crate::reason::Reason;

    /// `2001:db8::1 > 2001:db8::2`, TCP, class 0xb8, flow 0x12345, hop limit 64.
    const PLAIN: [u8; 40] = [
        0x6b, 0x81, 0x23, 0x45, 0, 20, 6, 64, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        1, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
    ];

    #[test]
    fn reads_a_header() {
        let header = Ipv6::new(&PLAIN, 0, 40).unwrap();
        assert_eq!((header.traffic_class(), header.flow_label()), (0xb8, 0x12345));
        assert_eq!(
            (header.payload_length(), header.next_header(), header.hop_limit()),
            (20, 6, 64)
        );
        assert_eq!(header.source(), Address(0x2001_0db8 << 96 | 1));
        assert_eq!(header.destination(), Address(0x2001_0db8 << 96 | 2));
        assert_eq!(Ipv6::new(&PLAIN[..39], 0, 40), Err(Reason::SplitHeader));
        assert_eq!(Ipv6::new(&PLAIN, 0, 39), Err(Reason::TruncatedIp));
        let mut bytes = PLAIN;
        bytes[0] = 0x45;
        assert_eq!(Ipv6::new(&bytes, 0, 40), Err(Reason::IpVersion));
    }

    #[test]
    fn setters_leave_the_rest_alone() {
        let mut bytes = PLAIN;
        let mut header = Ipv6Mut::new(&mut bytes, 0).unwrap();
        header.set_traffic_class(0x2e);
        header.set_payload_length(1440);
        header.set_hop_limit(1);
        let header = Ipv6::new(&bytes, 0, 40).unwrap();
        assert_eq!((header.traffic_class(), header.flow_label()), (0x2e, 0x12345));
        assert_eq!((header.payload_length(), header.hop_limit()), (1440, 1));
        assert_eq!(header.source(), Address(0x2001_0db8 << 96 | 1));
    }

    /// What a chain that begins with `next` leads to: protocol, offset, options.
    fn chain(next: u8, bytes: &[u8]) -> Result<(u8, usize, bool), Reason> {
        walk(bytes, 0, next, bytes.len()).map(|c| (c.protocol, c.transport, c.options))
    }

    #[test]
    fn walks_extension_headers() {
        assert_eq!(chain(6, &[]), Ok((6, 0, false)));
        // Hop-by-hop with a router alert, then destination options of 16 bytes.
        let long = [60, 0, 5, 2, 0, 0, 1, 0, 17, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(chain(0, &long), Ok((17, 24, true)));
        assert_eq!(chain(0, &long[..23]), Err(Reason::ExtensionHeader));
        assert_eq!(chain(0, &long[..7]), Err(Reason::ExtensionHeader));
        assert_eq!(walk(&long[..20], 0, 0, 24).err(), Some(Reason::SplitHeader));
        // Hop-by-hop anywhere but first.
        assert_eq!(chain(60, &[0, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0]).err(), {
            Some(Reason::ExtensionHeader)
        });
        // AH is a protocol of its own.
        assert_eq!(chain(51, &[6, 4, 0, 0, 0, 0, 0, 0]), Ok((51, 0, false)));
    }

    #[test]
    fn tells_atomic_fragments_from_others() {
        assert_eq!(chain(44, &[17, 0, 0, 0, 1, 2, 3, 4]), Ok((17, 8, false)));
        assert_eq!(chain(44, &[17, 0, 0, 6, 1, 2, 3, 4]), Ok((17, 8, false)));
        let place = |bytes: &[u8]| {
            let fragment = walk(bytes, 0, FRAGMENT, bytes.len()).unwrap().fragment.unwrap();
            (fragment.id, fragment.offset, fragment.length, fragment.more)
        };
        assert_eq!(place(&[17, 0, 0, 1, 1, 2, 3, 4, 0, 0]), (0x0102_0304, 0, 2, true));
        assert_eq!(place(&[17, 0, 0xff, 0xfe, 0, 0, 0, 9]), (9, 0xfff8, 0, false));
        let nested = [44, 0, 0, 1, 1, 2, 3, 4, 17, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(chain(44, &nested), Err(Reason::ExtensionHeader));
        // What follows a later fragment's header is data, whatever it looks like.
        assert_eq!(chain(44, &[60, 0, 0, 8, 1, 2, 3, 4, 60, 9]), Ok((60, 8, false)));
        // The chain of a first fragment may not go on in the next.
        assert_eq!(
            chain(44, &[60, 0, 0, 1, 1, 2, 3, 4, 17, 1, 1, 4, 0, 0, 0, 0]),
            Err(Reason::FragTiny)
        );
    }

    #[test]
    fn bounds_the_chain() {
        let options = [60, 0, 1, 4, 0, 0, 0, 0];
        let mut eight = options.repeat(8);
        eight[56] = 6;
        assert_eq!(chain(60, &eight), Ok((6, 64, true)));
        assert_eq!(chain(60, &options.repeat(9)), Err(Reason::ExtensionHeader));
        // Routing type 0, then two of type 4.
        assert_eq!(chain(43, &[6, 0, 0, 0, 0, 0, 0, 0]), Err(Reason::ExtensionHeader));
        let twice = [43, 0, 4, 0, 0, 0, 0, 0, 6, 0, 4, 0, 0, 0, 0, 0];
        assert_eq!(chain(43, &twice), Err(Reason::ExtensionHeader));
        assert_eq!(chain(43, &twice[8..]), Ok((6, 8, true)));
    }
}
