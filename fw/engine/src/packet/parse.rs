//! The parser: a frame's first segment in, a [`Packet`] or the reason to drop the frame out.
//!
//! Untagged TCP over IPv4 without IP options goes through [`Packet::parse_from`] itself, which reads one
//! fixed-size array and takes one branch; whatever is not that, or is wrong with it, goes through
//! `parse_any`, which looks at one header after the other and names the reason.

use super::bytes::{be16, be32};
use super::ethernet::{self, Ethernet, ethertype};
use super::{
    Address, Fragment, Network, Packet, Tags, Tcp, Transport, arp, checksum, fragment, icmp, ipv4,
    ipv6, pppoe, protocol, sctp, tcp, udp,
};
use crate::frame::{Meta, PortIndex};
use crate::reason::Reason;

/// What the network layer says, IPv4 or IPv6.
pub(super) struct Layer {
    pub(super) source: Address,
    pub(super) destination: Address,
    /// Length of the IP packet, in bytes.
    pub(super) length: u32,
    /// Where the transport header begins in the frame.
    pub(super) transport: usize,
    /// Where the IP packet ends in the frame.
    pub(super) end: usize,
    pub(super) protocol: u8,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    pub(super) options: bool,
    /// If it is not a whole datagram.
    pub(super) fragment: Option<Fragment>,
}

/// Ethernet, IPv4 and TCP headers without tags and options, in bytes.
const SIMPLE: usize = ethernet::HEADER + ipv4::HEADER + tcp::HEADER;
/// Where IPv4 begins in a frame without tags.
const IP: usize = ethernet::HEADER;
/// Where TCP begins behind IPv4 without options.
const TCP: usize = IP + ipv4::HEADER;

impl Packet {
    /// What a slot for a packet holds before the first is parsed into it.
    pub const BLANK: Self = Self {
        source: Address(0),
        destination: Address(0),
        source_port: 0,
        destination_port: 0,
        tags: Tags { outer: 0, inner: 0 },
        session: None,
        length: 0,
        payload: 0,
        network_offset: 0,
        transport_offset: 0,
        port: PortIndex(0),
        network: Network::Arp,
        protocol: 0,
        ttl: 0,
        tos: 0,
        priority: ethernet::UNTAGGED_PRIORITY,
        options: false,
        transport: Transport::Other,
    };

    /// Parses the frame whose first segment is `head`. Fails with the reason to drop it.
    #[inline]
    pub fn parse(head: &[u8], meta: &Meta) -> Result<Self, Reason> {
        let mut packet = Self::BLANK;
        packet.parse_from(head, meta).map(|()| packet)
    }

    /// As [`Packet::parse`], in place: twice as fast for a batch, since 128 bytes that were just
    /// written in small pieces are not copied. After a failure the slot holds nothing of use.
    #[inline]
    pub fn parse_from(&mut self, head: &[u8], meta: &Meta) -> Result<(), Reason> {
        if let Some(bytes) = head.first_chunk::<SIMPLE>()
            && let Some(packet) = parse_simple(bytes, head.len(), *meta)
        {
            *self = packet;
            return Ok(());
        }
        self.parse_any(head, *meta)
    }
}

/// `None` if it is anything but a well-formed TCP segment in plain IPv4 in an untagged frame.
#[inline]
#[expect(clippy::needless_bitwise_bool, reason = "one branch instead of ten")]
fn parse_simple(bytes: &[u8; SIMPLE], first_segment: usize, meta: Meta) -> Option<Packet> {
    let source = be32(bytes, IP + 12);
    let length = u32::from(be16(bytes, IP + 2));
    let tcp_header = u32::from(bytes[TCP + 12] >> 4) * 4;
    let headers = ipv4::HEADER as u32 + tcp_header;
    let (_, ip) = bytes.split_first_chunk::<IP>()?;
    let ip = ip.first_chunk::<{ ipv4::HEADER }>()?;
    let simple = (be32(bytes, 12) & 0xffff_ff00 == 0x0800_4500)
        & (bytes[IP + 9] == protocol::TCP)
        & (be16(bytes, IP + 6) & (ipv4::MORE_FRAGMENTS | ipv4::FRAGMENT_OFFSET) == 0)
        & (tcp_header >= tcp::HEADER as u32)
        & (length >= headers)
        & (IP as u32 + length <= meta.length)
        & (IP + headers as usize <= first_segment)
        & (bytes[6] & 1 == 0)
        & ipv4::is_source(source)
        & tcp::flags_are_possible(bytes[TCP + 13])
        & checksum::ipv4_header_is_right(ip, &[]);
    if !simple {
        return None;
    }
    Some(Packet {
        source: Address::v4(source.to_be_bytes()),
        destination: Address::v4(be32(bytes, IP + 16).to_be_bytes()),
        source_port: be16(bytes, TCP),
        destination_port: be16(bytes, TCP + 2),
        tags: Tags::default(),
        session: None,
        length,
        payload: length - headers,
        network_offset: IP as u16,
        transport_offset: TCP as u16,
        port: meta.port,
        network: Network::Ipv4,
        protocol: protocol::TCP,
        ttl: bytes[IP + 8],
        tos: bytes[IP + 1],
        priority: ethernet::UNTAGGED_PRIORITY,
        options: false,
        transport: Transport::Tcp(Tcp {
            seq: be32(bytes, TCP + 4),
            ack: be32(bytes, TCP + 8),
            window: be16(bytes, TCP + 14),
            flags: bytes[TCP + 13],
            header: tcp_header as u8,
        }),
    })
}

impl Packet {
    /// Parses any frame, one header after the other.
    #[inline(never)]
    pub(super) fn parse_any(&mut self, head: &[u8], meta: Meta) -> Result<(), Reason> {
        // From here on the first segment does not reach beyond the frame.
        let head = head.get(..meta.length as usize).unwrap_or(head);
        let frame = Ethernet::new(head)?;
        if ethernet::is_group(frame.source()) {
            return Err(Reason::SourceAddress);
        }
        let (network, at, end, session) = match frame.ethertype() {
            ethertype::IPV4 => (Network::Ipv4, frame.length(), meta.length, None),
            ethertype::IPV6 => (Network::Ipv6, frame.length(), meta.length, None),
            ethertype::ARP => return self.parse_arp(head, &frame, meta),
            ethertype::PPPOE_SESSION => {
                let session = pppoe::Session::new(head, frame.length(), meta)?;
                let network = session.network().ok_or(Reason::Pppoe)?;
                (network, session.begins, session.end as u32, Some(session.id))
            }
            ethertype::PPPOE_DISCOVERY => {
                pppoe::Header::new(head, frame.length(), meta)?;
                return Err(Reason::Pppoe);
            }
            _ => return Err(Reason::EtherType),
        };
        // What is behind the payload of a session is no part of it.
        let head = head.get(..end as usize).unwrap_or(head);
        let meta = Meta { length: end, ..meta };
        let layer = match network {
            Network::Ipv6 => ipv6::parse(head, at, meta)?,
            _ => ipv4::parse(head, at, meta)?,
        };
        *self = Self {
            source: layer.source,
            destination: layer.destination,
            tags: frame.tags(),
            session,
            length: layer.length,
            payload: (layer.end - layer.transport) as u32,
            network_offset: at as u16,
            transport_offset: layer.transport as u16,
            port: meta.port,
            network,
            protocol: layer.protocol,
            ttl: layer.ttl,
            tos: layer.tos,
            priority: frame.priority(),
            options: layer.options,
            ..Self::BLANK
        };
        if let Some(part) = layer.fragment {
            if meta.gso_size > 0 {
                return Err(Reason::FragLength);
            }
            let fixed = if network == Network::Ipv6 { ipv6::HEADER } else { 0 };
            let headers = usize::from(part.data) - at - fixed;
            fragment::check(head, &layer, &part, network, headers)?;
            self.transport = Transport::Fragment(part);
            return Ok(());
        }
        self.parse_transport(head, (layer.transport, layer.end), meta.gso_size > 0)
    }

    /// The datagram that begins with this first fragment, as if it were in one packet: `data` is how
    /// many bytes all its fragments carry, `head` what the fragment was parsed from. Offsets are those
    /// of the fragment, and so are the headers before its data. Fails with the reason to drop the
    /// datagram.
    pub(crate) fn whole(&self, head: &[u8], data: u32) -> Result<Self, Reason> {
        let Transport::Fragment(first) = self.transport else { return Ok(*self) };
        let headers = self.length - u32::from(first.length);
        let fixed = if self.network == Network::Ipv6 { ipv6::HEADER } else { 0 };
        if headers + data > (fragment::LONGEST + fixed) as u32 {
            return Err(Reason::FragLength);
        }
        let transport = usize::from(self.transport_offset);
        let end = usize::from(first.data) + data as usize;
        let mut whole = Self {
            length: headers + data,
            payload: (end - transport) as u32,
            transport: Transport::Other,
            ..*self
        };
        // What later fragments hold is no header.
        let head = head.get(..usize::from(first.data) + usize::from(first.length)).unwrap_or(head);
        whole.parse_transport(head, (transport, end), false)?;
        Ok(whole)
    }

    fn parse_arp(&mut self, head: &[u8], frame: &Ethernet<'_>, meta: Meta) -> Result<(), Reason> {
        let at = frame.length();
        let arp = arp::Arp::new(head, at, meta.length as usize)?;
        if !ipv4::is_source(arp.sender().0 as u32) {
            return Err(Reason::SourceAddress);
        }
        *self = Self {
            source: arp.sender(),
            destination: arp.target(),
            tags: frame.tags(),
            length: arp::LENGTH as u32,
            network_offset: at as u16,
            transport_offset: (at + arp::LENGTH) as u16,
            priority: frame.priority(),
            port: meta.port,
            network: Network::Arp,
            ..Self::BLANK
        };
        Ok(())
    }

    /// Fills in ports, payload and transport, which reaches from `at` to `end`. `train` says that
    /// lengths may be those of one segment.
    #[inline]
    fn parse_transport(
        &mut self,
        head: &[u8],
        (at, end): (usize, usize),
        train: bool,
    ) -> Result<(), Reason> {
        match (self.protocol, self.network) {
            (protocol::TCP, _) => {
                let header = tcp::Header::new(head, at, end)?;
                let tcp = header.tcp();
                if !tcp::flags_are_possible(tcp.flags) {
                    return Err(Reason::TcpFlags);
                }
                self.source_port = header.source_port();
                self.destination_port = header.destination_port();
                self.payload -= u32::from(tcp.header);
                self.transport = Transport::Tcp(tcp);
            }
            (protocol::UDP, _) => {
                let header = udp::Udp::new(head, at, end)?;
                let length = match u32::from(header.length()) {
                    0 if train => self.payload,
                    length => length,
                };
                // What is behind the length is no part of the datagram, but allowed (pf).
                if length < udp::HEADER as u32 || length > self.payload {
                    return Err(Reason::UdpLength);
                }
                if header.destination_port() == 0 {
                    return Err(Reason::UdpPort);
                }
                self.source_port = header.source_port();
                self.destination_port = header.destination_port();
                self.payload = length - udp::HEADER as u32;
                self.transport = Transport::Udp;
            }
            (protocol::SCTP, _) => {
                let ([source, destination], sctp) = sctp::parse(head, at, end)?;
                self.source_port = source;
                self.destination_port = destination;
                self.payload -= sctp::HEADER as u32;
                self.transport = Transport::Sctp(sctp);
            }
            (protocol::ICMP, Network::Ipv4) | (protocol::ICMP6, Network::Ipv6) => {
                let (transport, id) = icmp::parse(head, at, end, self.network, self.ttl)?;
                self.source_port = id;
                self.destination_port = id;
                self.payload -= icmp::HEADER as u32;
                self.transport = transport;
            }
            (protocol::ICMP | protocol::ICMP6, _) => return Err(Reason::IcmpFamily),
            _ => {}
        }
        Ok(())
    }

    /// Whether the IP options or extension headers of the packet are the router alert alone (RFC
    /// 2113; RFC 2711), padded. `head` is what it was parsed from.
    pub fn has_router_alert_only(&self, head: &[u8]) -> bool {
        let at = usize::from(self.network_offset);
        let end = usize::from(self.transport_offset);
        match self.network {
            Network::Ipv4 => head.get(at + ipv4::HEADER..end) == Some(&[0x94, 4, 0, 0]),
            Network::Ipv6 => {
                // The hop-by-hop header alone: next header, length of 8 bytes, option, padding.
                head.get(at + 6) == Some(&ipv6::HOP_BY_HOP)
                    && matches!(
                        head.get(at + ipv6::HEADER..end),
                        Some([_, 0, 5, 2, 0, 0, 1 | 0, 0] | [_, 0, 1 | 0, 0, 5, 2, 0, 0])
                    )
            }
            Network::Arp => false,
        }
    }

    /// The options of a TCP segment; none for any other packet. `head` is what it was parsed from.
    pub fn tcp_options<'a>(&self, head: &'a [u8]) -> tcp::Options<'a> {
        let Transport::Tcp(tcp) = self.transport else { return tcp::Options::new(&[]) };
        let at = usize::from(self.transport_offset);
        tcp::Options::new(
            head.get(at + tcp::HEADER..at + usize::from(tcp.header)).unwrap_or_default(),
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::frame::{Checksum, Meta, PortIndex};
    use crate::packet::build::{self, Build};
    use crate::packet::ethernet::ethertype;
    use crate::packet::tcp::{TcpOption, flags};
    use crate::packet::{Address, Icmp, Network, Packet, Tags, Tcp, Transport, arp, ipv4};
    use crate::reason::Reason;

    const HERE: ([u8; 4], u16) = ([192, 0, 2, 1], 40000);
    const THERE: ([u8; 4], u16) = ([198, 51, 100, 2], 22);
    const HERE6: ([u16; 8], u16) = ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 40000);
    const THERE6: ([u16; 8], u16) = ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2], 22);

    fn meta(length: usize) -> Meta {
        let length = length as u32;
        Meta { port: PortIndex::WAN, checksum: Checksum::Unknown, gso_size: 0, length }
    }

    fn parse(frame: &[u8]) -> Result<Packet, Reason> {
        Packet::parse(frame, &meta(frame.len()))
    }

    fn syn() -> Build {
        build::tcp(HERE, THERE, flags::SYN)
    }

    /// The frame with one byte changed, the IPv4 header checksum made right again.
    fn patched(build: &Build, at: usize, value: u8) -> Vec<u8> {
        let mut frame = build.frame();
        frame[at] = value;
        if at < 34 && at > 14 {
            frame[24..26].fill(0);
            let checksum = !crate::packet::checksum::sum(&frame[14..34]);
            frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        }
        frame
    }

    #[test]
    fn reads_tcp_on_both_ways() {
        let plain = syn().seq(123).ttl(57).tos(0x10).payload(b"hello");
        let expected = Packet {
            source: Address::v4(HERE.0),
            destination: Address::v4(THERE.0),
            source_port: 40000,
            destination_port: 22,
            tags: Tags::default(),
            session: None,
            length: 45,
            payload: 5,
            network_offset: 14,
            transport_offset: 34,
            port: PortIndex::WAN,
            network: Network::Ipv4,
            protocol: 6,
            ttl: 57,
            tos: 0x10,
            priority: super::ethernet::UNTAGGED_PRIORITY,
            options: false,
            transport: Transport::Tcp(Tcp {
                seq: 123,
                ack: 0,
                window: 64240,
                flags: flags::SYN,
                header: 20,
            }),
        };
        let frame = plain.frame();
        assert_eq!(parse(&frame), Ok(expected));
        let mut slowly = Packet::BLANK;
        assert_eq!(slowly.parse_any(&frame, meta(frame.len())), Ok(()));
        assert_eq!(slowly, expected);
        let mut padded = frame;
        padded.resize(100, 0);
        assert_eq!(parse(&padded), Ok(expected));

        let tagged = plain.tag(ethertype::QINQ, 9).vlan(5).frame();
        assert_eq!(
            parse(&tagged),
            Ok(Packet {
                tags: Tags { outer: 9, inner: 5 },
                priority: 0,
                network_offset: 22,
                transport_offset: 42,
                ..expected
            })
        );
    }

    #[test]
    fn reads_ipv6() {
        let packet = parse(&build::tcp(HERE6, THERE6, flags::ACK).payload(b"xyz").frame()).unwrap();
        assert_eq!((packet.network, packet.length, packet.payload), (Network::Ipv6, 63, 3));
        assert_eq!((packet.network_offset, packet.transport_offset), (14, 54));
        assert_eq!((packet.source_port, packet.destination_port), (40000, 22));
        assert_eq!(packet.source, Address(0x2001_0db8 << 96 | 1));
        let behind = build::udp(HERE6, THERE6).extension(0, &[0, 0, 5, 2, 0, 0, 1, 0]).frame();
        let packet = parse(&behind).unwrap();
        assert_eq!((packet.protocol, packet.transport_offset, packet.options), (17, 62, true));
    }

    #[test]
    fn reads_udp_icmp_arp_and_others() {
        let udp = parse(&build::udp(HERE, THERE).payload(b"four").frame()).unwrap();
        assert_eq!((udp.transport, udp.payload, udp.destination_port), (Transport::Udp, 4, 22));

        let echo = parse(&build::echo(HERE.0, THERE.0, 77, 1).payload(&[0; 56]).frame()).unwrap();
        assert_eq!(echo.transport, Transport::IcmpQuery(Icmp { kind: 8, code: 0 }));
        assert_eq!((echo.source_port, echo.destination_port, echo.payload), (77, 77, 56));

        let error = build::icmp(THERE.0, HERE.0, 3, 1).quote(&syn().seq(9).frame()).frame();
        let Ok(Packet { transport: Transport::IcmpError(icmp, quote), .. }) = parse(&error) else {
            panic!("not an error")
        };
        assert_eq!((icmp.kind, icmp.code, quote.offset), (3, 1, 42));
        assert_eq!((quote.source_port, quote.destination_port, quote.seq), (40000, 22, 9));

        let (sender, target) = (([2, 0, 0, 0, 0, 1], HERE.0), ([0; 6], THERE.0));
        let packet = parse(&build::arp(arp::REQUEST, sender, target)).unwrap();
        assert_eq!((packet.network, packet.source), (Network::Arp, Address::v4(HERE.0)));
        assert_eq!(packet.destination, Address::v4(THERE.0));

        let gre = parse(&build::other(HERE.0, THERE.0, 47).payload(&[1, 2, 3]).frame()).unwrap();
        assert_eq!((gre.transport, gre.protocol, gre.payload), (Transport::Other, 47, 3));
    }

    #[test]
    fn names_what_is_wrong_below_ip() {
        let frame = syn().frame();
        assert_eq!(parse(&frame[..13]), Err(Reason::Runt));
        assert_eq!(parse(&[]), Err(Reason::Runt));
        assert_eq!(parse(&syn().vlan(1).frame()[..15]), Err(Reason::TruncatedTag));
        assert_eq!(parse(&syn().vlan(1).vlan(2).vlan(3).frame()), Err(Reason::TooManyTags));
        for (high, low, reason) in [
            (0x88, 0x63, Reason::PppoeHeader),
            (0x88, 0x64, Reason::PppoeHeader),
            (0x88, 0xcc, Reason::EtherType),
            (0x00, 0x26, Reason::EtherType),
            (0x86, 0xdd, Reason::IpVersion),
            (0x08, 0x06, Reason::MalformedArp),
        ] {
            let mut frame = build::tcp(HERE, THERE, flags::SYN).payload(&[0; 20]).frame();
            frame[12..14].copy_from_slice(&[high, low]);
            assert_eq!(parse(&frame), Err(reason));
        }
        let group = syn().macs([1, 0, 0, 0, 0, 1], build::DESTINATION_MAC).frame();
        assert_eq!(parse(&group), Err(Reason::SourceAddress));
        let (sender, target) = (([2; 6], [255; 4]), ([0; 6], THERE.0));
        assert_eq!(parse(&build::arp(arp::REQUEST, sender, target)), Err(Reason::SourceAddress));
    }

    #[test]
    fn names_what_is_wrong_with_ip() {
        assert_eq!(parse(&patched(&syn(), 14, 0x65)), Err(Reason::IpVersion));
        assert_eq!(parse(&patched(&syn(), 14, 0x44)), Err(Reason::IpHeaderLength));
        assert_eq!(parse(&patched(&syn(), 17, 19)), Err(Reason::IpHeaderLength));
        assert_eq!(parse(&patched(&syn(), 17, 0)), Err(Reason::IpHeaderLength));
        assert_eq!(parse(&patched(&syn(), 17, 41)), Err(Reason::TruncatedIp));
        assert_eq!(parse(&syn().frame()[..53]), Err(Reason::TruncatedIp));
        assert_eq!(parse(&syn().frame()[..14]), Err(Reason::TruncatedIp));
        let mut wrong = syn().frame();
        wrong[24] ^= 1;
        assert_eq!(parse(&wrong), Err(Reason::IpChecksum));
        for first in [[224, 0, 0, 1], [239, 1, 2, 3], [255; 4]] {
            let frame = build::udp((first, 1), THERE).frame();
            assert_eq!(parse(&frame), Err(Reason::SourceAddress));
        }
        let multicast = build::udp(([0xff02, 0, 0, 0, 0, 0, 0, 1], 1), THERE6).frame();
        assert_eq!(parse(&multicast), Err(Reason::SourceAddress));
        for fragment in [ipv4::MORE_FRAGMENTS, 3, ipv4::MORE_FRAGMENTS | 0xb9] {
            let frame = syn().payload(&[0; 4]).fragment(fragment).frame();
            let packet = parse(&frame).unwrap();
            let Transport::Fragment(part) = packet.transport else { panic!("{packet:?}") };
            assert_eq!((part.offset, part.length), (fragment << 3, 24));
            assert_eq!(part.more, fragment & ipv4::MORE_FRAGMENTS != 0);
            assert_eq!((packet.source_port, packet.protocol), (0, 6));
        }
        assert!(parse(&syn().fragment(0x8000).frame()).is_ok());
        assert_eq!(parse(&syn().ip_options(&[148, 4, 0, 0]).frame()).map(|p| p.options), Ok(true));
        assert_eq!(
            parse(&build::other(HERE.0, THERE.0, 58).payload(&[128, 0, 0, 0]).frame()),
            Err(Reason::IcmpFamily)
        );
        assert_eq!(parse(&build::other(HERE6.0, THERE6.0, 1).frame()), Err(Reason::IcmpFamily));
    }

    #[test]
    fn names_what_is_wrong_with_the_transport() {
        let other = |protocol, bytes: &[u8]| {
            parse(&build::other(HERE.0, THERE.0, protocol).payload(bytes).frame())
        };
        assert_eq!(other(6, &[0; 19]), Err(Reason::TruncatedTcp));
        assert_eq!(other(17, &[0; 7]), Err(Reason::TruncatedUdp));
        assert_eq!(other(1, &[8; 7]), Err(Reason::TruncatedIcmp));
        assert_eq!(other(17, &[0, 1, 0, 2, 0, 7, 0, 0]), Err(Reason::UdpLength));
        assert_eq!(other(17, &[0, 1, 0, 2, 0, 9, 0, 0]), Err(Reason::UdpLength));
        assert_eq!(other(17, &[0, 1, 0, 0, 0, 8, 0, 0]), Err(Reason::UdpPort));
        assert_eq!(other(17, &[0, 1, 0, 2, 0, 8, 0, 0, 9]).map(|p| p.payload), Ok(0));
        assert_eq!(parse(&patched(&syn(), 46, 0x40)), Err(Reason::TcpHeaderLength));
        assert_eq!(parse(&patched(&syn(), 46, 0x60)), Err(Reason::TruncatedTcp));
        let bad = flags::SYN | flags::FIN;
        assert_eq!(parse(&build::tcp(HERE, THERE, bad).frame()), Err(Reason::TcpFlags));
        assert_eq!(parse(&build::tcp(HERE6, THERE6, 0).frame()), Err(Reason::TcpFlags));
        let discovery = build::icmp(HERE6.0, THERE6.0, 135, 0).payload(&[0; 16]);
        assert_eq!(parse(&discovery.clone().frame()), Err(Reason::NdHopLimit));
        assert!(parse(&discovery.ttl(255).frame()).is_ok());
    }

    #[test]
    fn headers_must_be_in_the_first_segment() {
        let frame = syn().tcp_options(&[2, 4, 5, 0xb4]).payload(&[0; 100]).frame();
        let whole = meta(frame.len());
        for cut in 14..58 {
            assert_eq!(Packet::parse(&frame[..cut], &whole), Err(Reason::SplitHeader), "{cut}");
        }
        let packet = Packet::parse(&frame[..58], &whole).unwrap();
        assert_eq!((packet.length, packet.payload), (144, 100));
        assert_eq!(
            packet.tcp_options(&frame).collect::<Vec<_>>(),
            [TcpOption::MaximumSegmentSize(1460)]
        );
    }

    #[test]
    fn trains_may_have_no_lengths() {
        let train = Meta { gso_size: 1448, length: 70_054, ..meta(0) };
        for frame in
            [patched(&syn(), 17, 0), patched(&build::tcp(HERE6, THERE6, flags::ACK), 19, 0)]
        {
            let packet = Packet::parse(&frame, &train).unwrap();
            assert_eq!(packet.length, 70_040);
            assert_eq!(packet.payload + u32::from(packet.transport_offset) + 20, 70_054);
            assert_ne!(Packet::parse(&frame, &Meta { gso_size: 0, ..train }), Ok(packet));
        }
        let mut udp = build::udp(HERE, THERE).frame();
        udp[38..40].fill(0);
        assert_eq!(parse(&udp), Err(Reason::UdpLength));
        let short = Meta { gso_size: 1000, ..meta(udp.len()) };
        assert_eq!(Packet::parse(&udp, &short).map(|p| p.payload), Ok(0));
    }
}
