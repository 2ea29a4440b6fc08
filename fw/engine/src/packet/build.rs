//! Builds whole frames with right lengths and checksums, for tests and benchmarks of this crate and
//! of others. The packet path does not use it: it allocates.
//!
//! ```
//! use weir_engine::packet::{build, tcp::flags};
//! let client = ([192, 0, 2, 1], 40000);
//! let server = ([198, 51, 100, 2], 22);
//! let syn = build::tcp(client, server, flags::SYN).seq(123).vlan(5).frame();
//! assert_eq!(syn.len(), 14 + 4 + 20 + 20);
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use super::checksum::{Sum, pseudo_v4, pseudo_v6, sum};
use super::crc32c::Crc32c;
use super::ethernet::{Ethernet, Mac, ethertype};
use super::{Address, Network, icmp, ipv4, ipv6, pppoe, protocol, sctp};
use crate::frame::{Checksum, Meta, PortIndex};

/// Source address of frames unless set: locally administered.
pub const SOURCE_MAC: Mac = [2, 0, 0, 0, 0, 1];
/// Destination address of frames unless set.
pub const DESTINATION_MAC: Mac = [2, 0, 0, 0, 0, 2];

/// A frame in the making.
#[derive(Clone, Debug)]
pub struct Build {
    destination_mac: Mac,
    source_mac: Mac,
    /// Type and TCI of each tag, outermost first.
    tags: Vec<(u16, u16)>,
    session: Option<u16>,
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    tos: u8,
    id: u16,
    fragment: u16,
    ip_options: Vec<u8>,
    /// Number and whole bytes of each extension header; the first byte is filled in.
    extensions: Vec<(u8, Vec<u8>)>,
    layer: Layer,
    payload: Vec<u8>,
    partial: bool,
}

#[derive(Clone, Debug)]
enum Layer {
    Tcp {
        ports: [u16; 2],
        seq: u32,
        ack: u32,
        flags: u8,
        window: u16,
        urgent: u16,
        options: Vec<u8>,
    },
    Udp {
        ports: [u16; 2],
        checksum: bool,
    },
    Icmp {
        kind: u8,
        code: u8,
        rest: [u8; 4],
    },
    Other(u8),
}

/// A TCP segment with sequence number 1000, acknowledgement number 0 (2000 if the flags have ACK)
/// and window 64240. An IPv4 address among IPv6 ones is mapped.
pub fn tcp(source: impl Into<SocketAddr>, destination: impl Into<SocketAddr>, flags: u8) -> Build {
    let (source, destination) = (source.into(), destination.into());
    let layer = Layer::Tcp {
        ports: [source.port(), destination.port()],
        seq: 1000,
        ack: if flags & super::tcp::flags::ACK == 0 { 0 } else { 2000 },
        flags,
        window: 64240,
        urgent: 0,
        options: Vec::new(),
    };
    ip(source.ip(), destination.ip(), layer)
}

/// A UDP datagram.
pub fn udp(source: impl Into<SocketAddr>, destination: impl Into<SocketAddr>) -> Build {
    let (source, destination) = (source.into(), destination.into());
    let ports = [source.port(), destination.port()];
    ip(source.ip(), destination.ip(), Layer::Udp { ports, checksum: true })
}

/// An ICMP message, or ICMPv6 if the addresses are IPv6, with zeros behind the checksum.
pub fn icmp(
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
    kind: u8,
    code: u8,
) -> Build {
    ip(source.into(), destination.into(), Layer::Icmp { kind, code, rest: [0; 4] })
}

/// An echo request with this id and sequence number.
pub fn echo(
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
    id: u16,
    sequence: u16,
) -> Build {
    let source = source.into();
    let kind = if source.is_ipv4() { icmp::v4::ECHO } else { icmp::v6::ECHO };
    icmp(source, destination, kind, 0).id(id, sequence)
}

/// The reply to [`echo`]; `source` is who replies.
pub fn echo_reply(
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
    id: u16,
    sequence: u16,
) -> Build {
    let source = source.into();
    let kind = if source.is_ipv4() { icmp::v4::ECHO_REPLY } else { icmp::v6::ECHO_REPLY };
    icmp(source, destination, kind, 0).id(id, sequence)
}

/// A packet of another protocol, by its number.
pub fn other(source: impl Into<IpAddr>, destination: impl Into<IpAddr>, protocol: u8) -> Build {
    ip(source.into(), destination.into(), Layer::Other(protocol))
}

/// An SCTP packet with this verification tag and these chunks.
pub fn sctp(
    source: impl Into<SocketAddr>,
    destination: impl Into<SocketAddr>,
    tag: u32,
    chunks: &[u8],
) -> Build {
    let (source, destination) = (source.into(), destination.into());
    let mut bytes = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    bytes.extend(tag.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(chunks);
    let mut crc = Crc32c::default();
    crc.feed(&bytes);
    bytes[sctp::CHECKSUM..sctp::HEADER].copy_from_slice(&crc.bytes());
    other(source.ip(), destination.ip(), protocol::SCTP).payload(&bytes)
}

/// An ARP packet in an untagged frame; broadcast if it is a request.
pub fn arp(operation: u16, sender: (Mac, [u8; 4]), target: (Mac, [u8; 4])) -> Vec<u8> {
    let to = if operation == super::arp::REQUEST { [0xff; 6] } else { target.0 };
    let mut frame = [to, sender.0].concat();
    frame.extend(ethertype::ARP.to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4]);
    frame.extend(operation.to_be_bytes());
    frame.extend(sender.0);
    frame.extend(sender.1);
    frame.extend(target.0);
    frame.extend(target.1);
    frame
}

/// A fragment of the packet in a frame: `range` is which bytes of what is behind its IP header it
/// carries; the offset is rounded down to a multiple of 8. The header's own fragment field is not
/// looked at, nothing is checked.
pub fn fragment(frame: &[u8], id: u32, range: Range<usize>, more: bool) -> Vec<u8> {
    let Some((at, is_v6)) = network(frame) else { return Vec::new() };
    let header = if is_v6 { ipv6::HEADER } else { usize::from(frame[at] & 0xf) * 4 };
    let data = &frame[at + header..][range.clone()];
    let mut fragment = frame[..at + header].to_vec();
    let field = (range.start & 0xfff8) as u16;
    if is_v6 {
        let next = std::mem::replace(&mut fragment[at + 6], ipv6::FRAGMENT);
        fragment[at + 4..at + 6].copy_from_slice(&((8 + data.len()) as u16).to_be_bytes());
        fragment.extend([next, 0]);
        fragment.extend((field | u16::from(more)).to_be_bytes());
        fragment.extend(id.to_be_bytes());
    } else {
        let more = if more { ipv4::MORE_FRAGMENTS } else { 0 };
        let ip = &mut fragment[at..];
        ip[2..4].copy_from_slice(&((header + data.len()) as u16).to_be_bytes());
        ip[4..6].copy_from_slice(&(id as u16).to_be_bytes());
        ip[6..8].copy_from_slice(&(field >> 3 | more).to_be_bytes());
        ip[10..12].fill(0);
        let checksum = !sum(ip);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
    fragment.extend(data);
    fit_session(&mut fragment);
    fragment
}

/// Where the IP header of a frame begins, and whether it is that of IPv6.
fn network(frame: &[u8]) -> Option<(usize, bool)> {
    let ethernet = Ethernet::new(frame).ok()?;
    if ethernet.ethertype() != ethertype::PPPOE_SESSION {
        return Some((ethernet.length(), ethernet.ethertype() == ethertype::IPV6));
    }
    let length = frame.len() as u32;
    let meta = Meta { port: PortIndex::LAN, checksum: Checksum::Unknown, gso_size: 0, length };
    let session = pppoe::Session::new(frame, ethernet.length(), meta).ok()?;
    Some((session.begins, session.network() == Some(Network::Ipv6)))
}

/// A PPPoE header without its length.
fn pppoe_header(session: u16) -> [u8; pppoe::HEADER] {
    let [high, low] = session.to_be_bytes();
    [0x11, pppoe::code::SESSION, high, low, 0, 0]
}

/// Makes the PPPoE header of a frame fit it, if there is one.
fn fit_session(frame: &mut [u8]) {
    let at = match Ethernet::new(frame) {
        Ok(header) if header.ethertype() == ethertype::PPPOE_SESSION => header.length(),
        _ => return,
    };
    let length = (frame.len() - at - pppoe::HEADER) as u16;
    frame[at + 4..at + 6].copy_from_slice(&length.to_be_bytes());
}

/// All fragments of the packet in a frame, each with `size` bytes of it but the last.
pub fn fragments(frame: &[u8], id: u32, size: usize) -> Vec<Vec<u8>> {
    let Some((at, is_v6)) = network(frame) else { return Vec::new() };
    let header = if is_v6 { ipv6::HEADER } else { usize::from(frame[at] & 0xf) * 4 };
    let data = frame.len() - at - header;
    let begins = (0..data).step_by(size);
    begins
        .map(|begin| {
            let end = data.min(begin + size);
            fragment(frame, id, begin..end, end < data)
        })
        .collect()
}

fn ip(source: IpAddr, destination: IpAddr, layer: Layer) -> Build {
    let (source, destination) = match (source, destination) {
        (IpAddr::V4(v4), IpAddr::V6(_)) => (v4.to_ipv6_mapped().into(), destination),
        (IpAddr::V6(_), IpAddr::V4(v4)) => (source, v4.to_ipv6_mapped().into()),
        same => same,
    };
    Build {
        destination_mac: DESTINATION_MAC,
        source_mac: SOURCE_MAC,
        tags: Vec::new(),
        session: None,
        source,
        destination,
        ttl: 64,
        tos: 0,
        id: 0,
        fragment: ipv4::DONT_FRAGMENT,
        ip_options: Vec::new(),
        extensions: Vec::new(),
        layer,
        payload: Vec::new(),
        partial: false,
    }
}

impl Build {
    /// Sets the hardware addresses.
    #[must_use]
    pub fn macs(mut self, source: Mac, destination: Mac) -> Self {
        (self.source_mac, self.destination_mac) = (source, destination);
        self
    }

    /// Adds a C-tag inside the tags that are there.
    #[must_use]
    pub fn vlan(self, vid: u16) -> Self {
        self.tag(ethertype::VLAN, vid)
    }

    /// Adds a tag of any type, with priority and VID, inside the tags that are there.
    #[must_use]
    pub fn tag(mut self, ethertype: u16, tci: u16) -> Self {
        self.tags.push((ethertype, tci));
        self
    }

    /// Puts the packet into a PPPoE session, inside the tags.
    #[must_use]
    pub fn pppoe(mut self, session: u16) -> Self {
        self.session = Some(session);
        self
    }

    /// Sets time to live or hop limit.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets type of service or traffic class.
    #[must_use]
    pub fn tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    /// Sets the IPv4 identification; without effect on IPv6.
    #[must_use]
    pub fn identification(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// Sets the IPv4 flags and fragment offset (in units of 8 bytes), "don't fragment" unless set;
    /// without effect on IPv6.
    #[must_use]
    pub fn fragment(mut self, fragment: u16) -> Self {
        self.fragment = fragment;
        self
    }

    /// Adds IPv4 options, padded to a multiple of four with end-of-list; at most 40 bytes count.
    /// Without effect on IPv6.
    #[must_use]
    pub fn ip_options(mut self, options: &[u8]) -> Self {
        self.ip_options.extend(options);
        self.ip_options.resize(self.ip_options.len().next_multiple_of(4).min(40), 0);
        self
    }

    /// Adds an IPv6 extension header inside those that are there: its number and all its bytes, of
    /// which the first is filled in. Without effect on IPv4.
    #[must_use]
    pub fn extension(mut self, number: u8, bytes: &[u8]) -> Self {
        self.extensions.push((number, bytes.to_vec()));
        self
    }

    /// Sets the sequence number of a TCP segment; without effect on others, as all that follow.
    #[must_use]
    pub fn seq(mut self, number: u32) -> Self {
        if let Layer::Tcp { seq, .. } = &mut self.layer {
            *seq = number;
        }
        self
    }

    /// Sets the acknowledgement number of a TCP segment.
    #[must_use]
    pub fn ack(mut self, number: u32) -> Self {
        if let Layer::Tcp { ack, .. } = &mut self.layer {
            *ack = number;
        }
        self
    }

    /// Sets the window of a TCP segment.
    #[must_use]
    pub fn window(mut self, size: u16) -> Self {
        if let Layer::Tcp { window, .. } = &mut self.layer {
            *window = size;
        }
        self
    }

    /// Sets the urgent pointer of a TCP segment.
    #[must_use]
    pub fn urgent(mut self, pointer: u16) -> Self {
        if let Layer::Tcp { urgent, .. } = &mut self.layer {
            *urgent = pointer;
        }
        self
    }

    /// Adds TCP options, padded to a multiple of four with end-of-list; at most 40 bytes count.
    #[must_use]
    pub fn tcp_options(mut self, bytes: &[u8]) -> Self {
        if let Layer::Tcp { options, .. } = &mut self.layer {
            options.extend(bytes);
            options.resize(options.len().next_multiple_of(4).min(40), 0);
        }
        self
    }

    /// Leaves the UDP checksum out (0).
    #[must_use]
    pub fn no_checksum(mut self) -> Self {
        if let Layer::Udp { checksum, .. } = &mut self.layer {
            *checksum = false;
        }
        self
    }

    /// Sets id and sequence number of an ICMP query.
    #[must_use]
    pub fn id(mut self, id: u16, sequence: u16) -> Self {
        if let Layer::Icmp { rest, .. } = &mut self.layer {
            let ([a, b], [c, d]) = (id.to_be_bytes(), sequence.to_be_bytes());
            *rest = [a, b, c, d];
        }
        self
    }

    /// Puts bytes behind the transport header.
    #[must_use]
    pub fn payload(mut self, bytes: &[u8]) -> Self {
        self.payload.extend(bytes);
        self
    }

    /// Quotes an untagged frame's IP packet as payload, as ICMP errors do.
    #[must_use]
    pub fn quote(self, frame: &[u8]) -> Self {
        self.payload(frame.get(super::ethernet::HEADER..).unwrap_or_default())
    }

    /// Leaves a TCP or UDP checksum as a host with checksum offload does: the pseudo header alone.
    #[must_use]
    pub fn partial(mut self) -> Self {
        self.partial = true;
        self
    }

    /// The whole frame, not padded.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = [self.destination_mac, self.source_mac].concat();
        for (ethertype, tci) in &self.tags {
            frame.extend(ethertype.to_be_bytes());
            frame.extend(tci.to_be_bytes());
        }
        let is_v6 = self.source.is_ipv6();
        if let Some(session) = self.session {
            frame.extend(ethertype::PPPOE_SESSION.to_be_bytes());
            frame.extend(pppoe_header(session));
            let protocol = if is_v6 { pppoe::ppp::IPV6 } else { pppoe::ppp::IPV4 };
            frame.extend(protocol.to_be_bytes());
        } else {
            let ethertype = if is_v6 { ethertype::IPV6 } else { ethertype::IPV4 };
            frame.extend(ethertype.to_be_bytes());
        }
        match (self.source, self.destination) {
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.ipv6(&mut frame, source, destination);
            }
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.ipv4(&mut frame, source, destination);
            }
            _ => {} // `ip` has made both the same.
        }
        fit_session(&mut frame);
        frame
    }

    fn ipv4(&self, frame: &mut Vec<u8>, source: Ipv4Addr, destination: Ipv4Addr) {
        let (number, transport) = self.transport(|number, length| {
            pseudo_v4(source.to_bits(), destination.to_bits(), number, length)
        });
        let header = ipv4::HEADER + self.ip_options.len();
        let at = frame.len();
        frame.extend([0x40 | (header / 4) as u8, self.tos]);
        frame.extend(((header + transport.len()) as u16).to_be_bytes());
        frame.extend(self.id.to_be_bytes());
        frame.extend(self.fragment.to_be_bytes());
        frame.extend([self.ttl, number, 0, 0]);
        frame.extend(source.octets());
        frame.extend(destination.octets());
        frame.extend(&self.ip_options);
        let checksum = !super::checksum::sum(&frame[at..]);
        frame[at + 10..at + 12].copy_from_slice(&checksum.to_be_bytes());
        frame.extend(transport);
    }

    fn ipv6(&self, frame: &mut Vec<u8>, source: Ipv6Addr, destination: Ipv6Addr) {
        let last = Address::v6(destination.octets()).0;
        let (number, transport) =
            self.transport(|number, length| pseudo_v6(source.to_bits(), last, number, length));
        let extensions: usize = self.extensions.iter().map(|(_, bytes)| bytes.len()).sum();
        frame.extend([0x60 | self.tos >> 4, self.tos << 4, 0, 0]);
        frame.extend(((extensions + transport.len()) as u16).to_be_bytes());
        let numbers: Vec<u8> =
            self.extensions.iter().map(|&(number, _)| number).chain([number]).collect();
        frame.extend([numbers[0], self.ttl]);
        frame.extend(source.octets());
        frame.extend(destination.octets());
        for ((_, bytes), next) in self.extensions.iter().zip(&numbers[1..]) {
            frame.push(*next);
            frame.extend(bytes.get(1..).unwrap_or_default());
        }
        debug_assert!(frame.len() >= ipv6::HEADER);
        frame.extend(transport);
    }

    /// Number and bytes of what IP carries, its checksum right.
    fn transport(&self, pseudo: impl Fn(u8, u32) -> u64) -> (u8, Vec<u8>) {
        let mut bytes = Vec::new();
        let (number, field) = match &self.layer {
            Layer::Tcp {
                ports: [source, destination],
                seq,
                ack,
                flags,
                window,
                urgent,
                options,
            } => {
                bytes.extend(source.to_be_bytes());
                bytes.extend(destination.to_be_bytes());
                bytes.extend(seq.to_be_bytes());
                bytes.extend(ack.to_be_bytes());
                bytes.extend([((super::tcp::HEADER + options.len()) * 4) as u8, *flags]);
                bytes.extend(window.to_be_bytes());
                bytes.extend([0, 0]);
                bytes.extend(urgent.to_be_bytes());
                bytes.extend(options);
                (protocol::TCP, Some(super::tcp::CHECKSUM))
            }
            Layer::Udp { ports: [source, destination], checksum } => {
                bytes.extend(source.to_be_bytes());
                bytes.extend(destination.to_be_bytes());
                bytes.extend(((super::udp::HEADER + self.payload.len()) as u16).to_be_bytes());
                bytes.extend([0, 0]);
                (protocol::UDP, checksum.then_some(super::udp::CHECKSUM))
            }
            Layer::Icmp { kind, code, rest } => {
                bytes.extend([*kind, *code, 0, 0]);
                bytes.extend(rest);
                let number = if self.source.is_ipv4() { protocol::ICMP } else { protocol::ICMP6 };
                (number, Some(icmp::CHECKSUM))
            }
            Layer::Other(number) => (*number, None),
        };
        bytes.extend(&self.payload);
        if let Some(field) = field {
            let mut sum = Sum::default();
            if number != protocol::ICMP {
                sum.add(pseudo(number, bytes.len() as u32));
            }
            let checksum = if self.partial {
                sum.folded()
            } else {
                sum.feed(&bytes);
                match !sum.folded() {
                    0 if number == protocol::UDP => 0xffff,
                    checksum => checksum,
                }
            };
            bytes[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
        }
        (number, bytes)
    }
}
