//! One frame, parsed once, in place, into a small descriptor that every later step shares.
//!
//! Panic contract: no input makes the parser panic; offsets in a [`Packet`] lie inside the first
//! segment it was parsed from.
//!
//! [`Packet::parse`] is in [`parse`]; each header has a file with its offsets, a checked reader and
//! setters that keep the checksum right.

#![forbid(unsafe_code)]

pub mod arp;
pub mod build;
pub(crate) mod bytes;
pub mod checksum;
pub mod crc32c;
pub mod describe;
pub mod ethernet;
pub mod fragment;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod parse;
pub mod pppoe;
#[cfg(test)]
mod robustness;
pub mod sctp;
pub mod tcp;
pub mod udp;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

pub use self::fragment::Fragment;
use crate::frame::PortIndex;

/// An IPv4 or IPv6 address as a number, IPv4 mapped as in RFC 4291, 2.5.5.2, so that one
/// comparison, mask or range test serves both. Which of the two it is the [`Packet`] knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub u128);

impl Address {
    const MAPPED: u128 = 0xffff << 32;

    /// From the four bytes on the wire.
    pub const fn v4(bytes: [u8; 4]) -> Self {
        Self(Self::MAPPED | u32::from_be_bytes(bytes) as u128)
    }

    /// From the sixteen bytes on the wire.
    pub const fn v6(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The standard library's type, for printing.
    pub fn to_ip(self, network: Network) -> IpAddr {
        match network {
            Network::Ipv6 => Ipv6Addr::from(self.0).into(),
            _ => Ipv4Addr::from(self.0 as u32).into(),
        }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::v4(v4.octets()),
            IpAddr::V6(v6) => Self::v6(v6.octets()),
        }
    }
}

/// The VLAN ids of a frame, outermost first; 0 where there is no tag (IEEE 802.1Q, 802.1ad; a
/// priority tag, VID 0, does not tell flows apart and is left out).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tags {
    /// VID of the outer tag.
    pub outer: u16,
    /// VID of the inner tag.
    pub inner: u16,
}

impl fmt::Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.outer, self.inner) {
            (0, 0) => Ok(()),
            (outer, 0) => write!(f, "vlan {outer}"),
            (outer, inner) => write!(f, "vlan {outer}.{inner}"),
        }
    }
}

/// The protocol that the ethertype names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// ARP for IPv4 over Ethernet (RFC 826).
    Arp,
    /// IPv4 (RFC 791).
    Ipv4,
    /// IPv6 (RFC 8200).
    Ipv6,
}

/// What the transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP (RFC 9293).
    Tcp(Tcp),
    /// UDP (RFC 768).
    Udp,
    /// An ICMP or ICMPv6 query or its reply; the id stands in both ports.
    IcmpQuery(Icmp),
    /// An ICMP or ICMPv6 error with the packet it speaks of.
    IcmpError(Icmp, Quote),
    /// Any other ICMP or ICMPv6 message: redirects, router and neighbour discovery, MLD, ...
    IcmpOther(Icmp),
    /// SCTP (RFC 9260).
    Sctp(Sctp),
    /// Any other protocol, and ARP.
    Other,
    /// Part of a datagram: ports and types of it are not known here.
    Fragment(Fragment),
}

/// The fields of a TCP header that tracking needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Window as in the header, not scaled.
    pub window: u16,
    /// FIN 1, SYN 2, RST 4, PSH 8, ACK 0x10, URG 0x20, ECE 0x40, CWR 0x80.
    pub flags: u8,
    /// Length of the header with options, in bytes: 20 to 60.
    pub header: u8,
}

/// What tracking needs of an SCTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sctp {
    /// Verification tag; 0 in an INIT.
    pub tag: u32,
    /// The tag that an INIT or INIT ACK asks to be called by; 0 in any other packet.
    pub initiate: u32,
    /// A bit for each type of chunk below 16 ([`sctp::chunk`]) up to the first chunk of data.
    pub chunks: u16,
    /// An ABORT or SHUTDOWN COMPLETE carries the tag of its sender (the T bit).
    pub reflected: bool,
}

impl Sctp {
    /// Whether there is a chunk of this type.
    pub const fn has(&self, kind: u8) -> bool {
        self.chunks & 1 << kind != 0
    }
}

/// Type and code of an ICMP or ICMPv6 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: u8,
}

/// The packet that an ICMP error quotes, as far as it was quoted: addresses as it had them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Where the quoted IP header begins in the frame.
    pub offset: u16,
    /// Where what is behind it and its extension headers begins.
    pub transport: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Source of the quoted packet.
    pub source: Address,
    /// Destination of the quoted packet.
    pub destination: Address,
    /// Source port, or the id of an ICMP query.
    pub source_port: u16,
    /// Destination port, or the id of an ICMP query.
    pub destination_port: u16,
    /// Sequence number if the quoted packet is TCP, verification tag if it is SCTP.
    pub seq: u32,
}

/// A parsed frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address; of an ARP packet the sender's.
    pub source: Address,
    /// Destination address; of an ARP packet the target's.
    pub destination: Address,
    /// Source port, or the id of an ICMP query; 0 where there is none.
    pub source_port: u16,
    /// Destination port, or the id of an ICMP query; 0 where there is none.
    pub destination_port: u16,
    /// The tag stack.
    pub tags: Tags,
    /// The PPPoE session that carries it, behind the tags; tells no flows apart.
    pub session: Option<NonZeroU16>,
    /// Length of the IP packet in bytes, a GSO train whole, padding of short frames left out.
    pub length: u32,
    /// Bytes of it behind the transport header.
    pub payload: u32,
    /// Where the network header begins in the first segment.
    pub network_offset: u16,
    /// Where the transport header begins in the first segment.
    pub transport_offset: u16,
    /// The port it arrived on.
    pub port: PortIndex,
    /// What the network layer is.
    pub network: Network,
    /// IP protocol number, behind any extension headers.
    pub protocol: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Priority of the outer VLAN tag, 0 to 7; [`ethernet::UNTAGGED_PRIORITY`] without one.
    pub priority: u8,
    /// IPv4 options or IPv6 extension headers are there (an atomic fragment header, RFC 6946, does
    /// not count).
    pub options: bool,
    /// The transport header.
    pub transport: Transport,
}

impl Packet {
    /// Whether it is a TCP segment.
    pub const fn is_tcp(&self) -> bool {
        matches!(self.transport, Transport::Tcp(_))
    }
}

/// Bits of a type of service or traffic class that belong to congestion control (RFC 3168, 5).
pub(crate) const ECN: u8 = 3;

/// Protocol numbers the engine knows by name (IANA).
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IGMP.
    pub const IGMP: u8 = 2;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMP6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
}
