//! A frame in tcpdump's words, for the log: what `tcpdump -n` prints, with the sequence number of
//! every segment, the VLAN ids before and the time to live behind.
//!
//! It is made from the first bytes of a frame that may have been dropped for what is wrong with it,
//! so it reads more leniently than the parser and says `[|tcp]` and the like where bytes are missing.
//!
//! Panic contract: no input makes it panic.

mod pppoe;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::bytes::{be16, be32};
use super::ethernet::{self, ethertype};
use super::tcp::{Options, TcpOption, flags};
use super::{arp, icmp, ipv4, ipv6, protocol};

/// The frame that begins with `head` and has `length` bytes, to be printed on one line.
pub fn describe(head: &[u8], length: u32) -> impl fmt::Display {
    Description { head, length }
}

struct Description<'a> {
    head: &'a [u8],
    length: u32,
}

/// An IP packet, as far as it is known.
struct Ip<'a> {
    /// What was captured behind the IP header.
    bytes: &'a [u8],
    /// Bytes behind the IP header according to it.
    length: u32,
    source: Address,
    destination: Address,
    protocol: u8,
    /// This is not the first fragment: there is no transport header.
    headless: bool,
}

#[derive(Clone, Copy)]
enum Address {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((fixed, mut rest)) = self.head.split_first_chunk::<{ ethernet::HEADER }>() else {
            return f.write_str("[|ether]");
        };
        let mut kind = be16(fixed, 12);
        while matches!(kind, ethertype::VLAN | ethertype::QINQ | ethertype::QINQ_OLD) {
            let Some((tag, behind)) = rest.split_first_chunk::<{ ethernet::TAG }>() else {
                return f.write_str("[|vlan]");
            };
            write!(f, "vlan {}, ", be16(tag, 0) & 0xfff)?;
            kind = be16(tag, 2);
            rest = behind;
        }
        let length = self.length.saturating_sub((self.head.len() - rest.len()) as u32);
        match kind {
            ethertype::IPV4 => ip(f, rest, length),
            ethertype::IPV6 => ip6(f, rest, length),
            ethertype::ARP => arp_packet(f, rest, length),
            ethertype::PPPOE_DISCOVERY | ethertype::PPPOE_SESSION => pppoe::print(f, rest, length),
            0..0x600 => write!(f, "802.3, length {length}"),
            kind => write!(f, "ethertype Unknown (0x{kind:04x}), length {length}"),
        }
    }
}

fn arp_packet(f: &mut fmt::Formatter<'_>, bytes: &[u8], length: u32) -> fmt::Result {
    let Some(packet) = bytes.first_chunk::<{ arp::LENGTH }>() else {
        return f.write_str("[|arp]");
    };
    let sender = Ipv4Addr::from_bits(be32(packet, 14));
    let target = Ipv4Addr::from_bits(be32(packet, 24));
    match be16(packet, 6) {
        _ if packet[..6] != [0, 1, 8, 0, 6, 4] => f.write_str("ARP, Unknown")?,
        arp::REQUEST => write!(f, "ARP, Request who-has {target} tell {sender}")?,
        arp::REPLY => {
            write!(f, "ARP, Reply {sender} is-at {:02x}", packet[8])?;
            packet[9..14].iter().try_for_each(|byte| write!(f, ":{byte:02x}"))?;
        }
        other => write!(f, "ARP, Unknown ({other})")?,
    }
    write!(f, ", length {length}")
}

fn ip(f: &mut fmt::Formatter<'_>, bytes: &[u8], length: u32) -> fmt::Result {
    let Some(header) = bytes.first_chunk::<{ ipv4::HEADER }>() else {
        return f.write_str("IP [|ip]");
    };
    let header_length = usize::from(header[0] & 0xf) * 4;
    if header[0] >> 4 != 4 {
        return write!(f, "IP{} [wrong version], length {length}", header[0] >> 4);
    }
    if header_length < ipv4::HEADER {
        return write!(f, "IP [bad hdr length {header_length}], length {length}");
    }
    let total = match u32::from(be16(header, 2)) {
        0 => length, // A train whose length the header cannot hold.
        total => total,
    };
    let fragment = be16(header, 6);
    let offset = u32::from(fragment & ipv4::FRAGMENT_OFFSET) * 8;
    let ip = Ip {
        bytes: captured(bytes, header_length, total),
        length: total.saturating_sub(header_length as u32),
        source: Address::V4(Ipv4Addr::from_bits(be32(header, 12))),
        destination: Address::V4(Ipv4Addr::from_bits(be32(header, 16))),
        protocol: header[9],
        headless: offset > 0,
    };
    f.write_str("IP ")?;
    ip.print(f)?;
    if fragment & (ipv4::FRAGMENT_OFFSET | ipv4::MORE_FRAGMENTS) != 0 {
        let more = if fragment & ipv4::MORE_FRAGMENTS == 0 { "" } else { "+" };
        write!(f, " (frag {}:{}@{offset}{more})", be16(header, 4), ip.length)?;
    }
    write!(f, ", ttl {}", header[8])
}

fn ip6(f: &mut fmt::Formatter<'_>, bytes: &[u8], length: u32) -> fmt::Result {
    let Some(header) = bytes.first_chunk::<{ ipv6::HEADER }>() else {
        return f.write_str("IP6 [|ip6]");
    };
    if header[0] >> 4 != 6 {
        return write!(f, "IP{} [wrong version], length {length}", header[0] >> 4);
    }
    let total = match u32::from(be16(header, 4)) {
        0 => length, // A jumbogram or train.
        payload => payload + ipv6::HEADER as u32,
    };
    let mut ip = Ip {
        bytes: captured(bytes, ipv6::HEADER, total),
        length: total.saturating_sub(ipv6::HEADER as u32),
        source: v6(header, 8),
        destination: v6(header, 24),
        protocol: header[6],
        headless: false,
    };
    let mut fragment = None;
    while !ip.headless
        && matches!(
            ip.protocol,
            ipv6::HOP_BY_HOP | ipv6::ROUTING | ipv6::FRAGMENT | ipv6::DESTINATION
        )
    {
        let Some(extension) = ip.bytes.first_chunk::<8>() else { break };
        let mut size = 8;
        if ip.protocol == ipv6::FRAGMENT {
            let field = be16(extension, 2);
            ip.headless = field >> 3 != 0;
            fragment = Some((be32(extension, 4), field & 0xfff8, field & 1));
        } else {
            size += usize::from(extension[1]) * 8;
        }
        ip.protocol = extension[0];
        ip.bytes = ip.bytes.get(size..).unwrap_or_default();
        ip.length = ip.length.saturating_sub(size as u32);
    }
    f.write_str("IP6 ")?;
    ip.print(f)?;
    if let Some((id, offset, more)) = fragment {
        let more = if more == 0 { "" } else { "+" };
        write!(f, " (frag 0x{id:08x}:{}@{offset}{more})", ip.length)?;
    }
    write!(f, ", hlim {}", header[7])
}

/// What was captured of a packet of `total` bytes, behind its header.
fn captured(bytes: &[u8], header: usize, total: u32) -> &[u8] {
    let bytes = bytes.get(..total as usize).unwrap_or(bytes);
    bytes.get(header..).unwrap_or_default()
}

/// The address at `at`; unspecified if it was not captured.
fn v6(bytes: &[u8], at: usize) -> Address {
    let octets = bytes.get(at..).and_then(<[u8]>::first_chunk).copied();
    Address::V6(octets.unwrap_or([0; 16]).into())
}

impl Ip<'_> {
    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            _ if self.headless => {
                self.hosts(f)?;
                write!(f, "ip-proto-{}", self.protocol)
            }
            protocol::TCP => self.tcp(f),
            protocol::UDP => self.udp(f),
            protocol::ICMP => self.icmp(f),
            protocol::ICMP6 => self.icmp6(f),
            number => {
                self.hosts(f)?;
                match name(number) {
                    Some(name) => write!(f, "{name}, length {}", self.length),
                    None => write!(f, "ip-proto-{number}, length {}", self.length),
                }
            }
        }
    }

    fn hosts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}: ", self.source, self.destination)
    }

    /// Addresses with ports, if those were captured.
    fn ends(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(ports) = self.bytes.first_chunk::<4>() else { return self.hosts(f) };
        let (source, destination) = (be16(ports, 0), be16(ports, 2));
        write!(f, "{}.{source} > {}.{destination}: ", self.source, self.destination)
    }

    fn tcp(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ends(f)?;
        let Some(header) = self.bytes.first_chunk::<{ super::tcp::HEADER }>() else {
            return f.write_str("[|tcp]");
        };
        let bits = header[13];
        f.write_str("Flags [")?;
        if bits == 0 {
            f.write_str("none")?;
        }
        for (i, letter) in ["F", "S", "R", "P", ".", "U", "E", "W"].into_iter().enumerate() {
            if bits >> i & 1 != 0 {
                f.write_str(letter)?;
            }
        }
        let header_length = usize::from(header[12] >> 4) * 4;
        let payload = self.length.saturating_sub(header_length as u32);
        let seq = be32(header, 4);
        write!(f, "], seq {seq}")?;
        if payload > 0 {
            write!(f, ":{}", seq.wrapping_add(payload))?;
        }
        if bits & flags::ACK != 0 {
            write!(f, ", ack {}", be32(header, 8))?;
        }
        write!(f, ", win {}", be16(header, 14))?;
        if bits & flags::URG != 0 {
            write!(f, ", urg {}", be16(header, 18))?;
        }
        if header_length < super::tcp::HEADER {
            return write!(f, " [bad hdr length {header_length}]");
        }
        if header_length > super::tcp::HEADER {
            let end = header_length.min(self.bytes.len());
            let whole = end == header_length;
            tcp_options(f, &self.bytes[super::tcp::HEADER..end], whole)?;
        }
        write!(f, ", length {payload}")
    }

    fn udp(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ends(f)?;
        let Some(header) = self.bytes.first_chunk::<{ super::udp::HEADER }>() else {
            return f.write_str("[|udp]");
        };
        match u32::from(be16(header, 4)) {
            0 => write!(f, "UDP, length {}", self.length.saturating_sub(8)),
            short @ 1..8 => write!(f, "UDP, bad length {short} < 8"),
            long if long > self.length => {
                write!(f, "UDP, bad length {} > {}", long - 8, self.length.saturating_sub(8))
            }
            length => write!(f, "UDP, length {}", length - 8),
        }
    }

    fn icmp(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use icmp::v4::{
            ECHO, ECHO_REPLY, INFORMATION, INFORMATION_REPLY, MASK, MASK_REPLY, PARAMETER_PROBLEM,
            REDIRECT, SOURCE_QUENCH, TIME_EXCEEDED, TIMESTAMP, TIMESTAMP_REPLY, UNREACHABLE,
        };
        self.hosts(f)?;
        let Some((header, quote)) = self.bytes.split_first_chunk::<{ icmp::HEADER }>() else {
            return f.write_str("[|icmp]");
        };
        let (id, sequence) = (be16(header, 4), be16(header, 6));
        f.write_str("ICMP ")?;
        match (header[0], header[1]) {
            (ECHO, _) => write!(f, "echo request, id {id}, seq {sequence}")?,
            (ECHO_REPLY, _) => write!(f, "echo reply, id {id}, seq {sequence}")?,
            (TIMESTAMP, _) => write!(f, "time stamp query id {id} seq {sequence}")?,
            (TIMESTAMP_REPLY, _) => write!(f, "time stamp reply id {id} seq {sequence}")?,
            (INFORMATION, _) => f.write_str("information request")?,
            (INFORMATION_REPLY, _) => f.write_str("information reply")?,
            (MASK, _) => f.write_str("address mask request")?,
            (MASK_REPLY, _) => f.write_str("address mask is")?,
            (UNREACHABLE, code) => unreachable(f, code, quote, sequence)?,
            (SOURCE_QUENCH, _) => f.write_str("source quench")?,
            (REDIRECT, _) => write!(f, "redirect to {}", Ipv4Addr::from_bits(be32(header, 4)))?,
            (TIME_EXCEEDED, 0) => f.write_str("time exceeded in-transit")?,
            (TIME_EXCEEDED, 1) => f.write_str("ip reassembly time exceeded")?,
            (PARAMETER_PROBLEM, _) => write!(f, "parameter problem - octet {}", header[4])?,
            (kind, code) => write!(f, "type-#{kind}, code {code}")?,
        }
        write!(f, ", length {}", self.length)
    }

    fn icmp6(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use icmp::v6::{
            ECHO, ECHO_REPLY, NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, PARAMETER_PROBLEM,
            REDIRECT, ROUTER_ADVERTISEMENT, ROUTER_SOLICITATION, TIME_EXCEEDED, TOO_BIG,
            UNREACHABLE,
        };
        self.hosts(f)?;
        let Some((header, behind)) = self.bytes.split_first_chunk::<{ icmp::HEADER }>() else {
            return f.write_str("[|icmp6]");
        };
        let (id, sequence) = (be16(header, 4), be16(header, 6));
        f.write_str("ICMP6, ")?;
        match (header[0], header[1]) {
            (ECHO, _) => write!(f, "echo request, id {id}, seq {sequence}")?,
            (ECHO_REPLY, _) => write!(f, "echo reply, id {id}, seq {sequence}")?,
            (UNREACHABLE, code) => unreachable6(f, code, behind)?,
            (TOO_BIG, _) => write!(f, "packet too big, mtu {}", be32(header, 4))?,
            (TIME_EXCEEDED, 0) => {
                write!(f, "time exceeded in-transit for {}", v6(behind, 24))?;
            }
            (TIME_EXCEEDED, _) => f.write_str("ip reassembly time exceeded")?,
            (PARAMETER_PROBLEM, code) => write!(f, "parameter problem, code {code}")?,
            (ROUTER_SOLICITATION, _) => f.write_str("router solicitation")?,
            (ROUTER_ADVERTISEMENT, _) => f.write_str("router advertisement")?,
            (NEIGHBOUR_SOLICITATION, _) => {
                write!(f, "neighbor solicitation, who has {}", v6(behind, 0))?;
            }
            (NEIGHBOUR_ADVERTISEMENT, _) => {
                write!(f, "neighbor advertisement, tgt is {}", v6(behind, 0))?;
            }
            (REDIRECT, _) => write!(f, "redirect, {} to {}", v6(behind, 16), v6(behind, 0))?,
            (130, _) => f.write_str("multicast listener query")?,
            (131, _) => f.write_str("multicast listener report")?,
            (132, _) => f.write_str("multicast listener done")?,
            (143, _) => f.write_str("multicast listener report v2")?,
            (kind, code) => write!(f, "type-#{kind}, code {code}")?,
        }
        write!(f, ", length {}", self.length)
    }
}

/// Names as tcpdump has them.
fn name(number: u8) -> Option<&'static str> {
    Some(match number {
        2 => "igmp",
        4 => "IP",
        41 => "IP6",
        47 => "GRE",
        50 => "ESP",
        51 => "AH",
        89 => "OSPF",
        59 => "no next header",
        103 => "PIM",
        112 => "VRRP",
        protocol::SCTP => "sctp",
        _ => return None,
    })
}

/// ICMP "destination unreachable" about the packet quoted, and the MTU of the hop.
fn unreachable(f: &mut fmt::Formatter<'_>, code: u8, quote: &[u8], mtu: u16) -> fmt::Result {
    let Some(quoted) = quote.first_chunk::<{ ipv4::HEADER }>() else {
        return write!(f, "unreachable, code {code} [|icmp]");
    };
    let destination = Ipv4Addr::from_bits(be32(quoted, 16));
    let port = quote.get(usize::from(quoted[0] & 0xf) * 4 + 2..).and_then(<[u8]>::first_chunk::<2>);
    match (code, quoted[9], port) {
        (0, ..) => write!(f, "net {destination} unreachable"),
        (1, ..) => write!(f, "host {destination} unreachable"),
        (2, number, _) => write!(f, "{destination} protocol {number} unreachable"),
        (3, protocol::UDP, Some(port)) => {
            write!(f, "{destination} udp port {} unreachable", be16(port, 0))
        }
        (3, protocol::TCP, Some(port)) => {
            write!(f, "{destination} tcp port {} unreachable", be16(port, 0))
        }
        (3, number, _) => write!(f, "{destination} protocol {number} port unreachable"),
        (4, ..) => write!(f, "{destination} unreachable - need to frag (mtu {mtu})"),
        (9, ..) => write!(f, "net {destination} unreachable - admin prohibited"),
        (10, ..) => write!(f, "host {destination} unreachable - admin prohibited"),
        (13, ..) => write!(f, "host {destination} unreachable - admin prohibited filter"),
        (code, ..) => write!(f, "{destination} unreachable - #{code}"),
    }
}

/// ICMPv6 "destination unreachable" about the packet quoted.
fn unreachable6(f: &mut fmt::Formatter<'_>, code: u8, quote: &[u8]) -> fmt::Result {
    let destination = v6(quote, 24);
    f.write_str("destination unreachable, ")?;
    match (code, quote.get(6), quote.get(42..44)) {
        (0, ..) => write!(f, "unreachable route {destination}"),
        (1, ..) => write!(f, "unreachable prohibited {destination}"),
        (2, ..) => write!(f, "beyond scope {destination}"),
        (3, ..) => write!(f, "unreachable address {destination}"),
        (4, Some(&protocol::UDP), Some(port)) => {
            write!(f, "unreachable port, {destination} udp port {}", be16(port, 0))
        }
        (4, Some(&protocol::TCP), Some(port)) => {
            write!(f, "unreachable port, {destination} tcp port {}", be16(port, 0))
        }
        (4, ..) => write!(f, "unreachable port, {destination}"),
        (code, ..) => write!(f, "code-#{code} {destination}"),
    }
}

/// The options of a TCP header; `whole` if all of them were captured.
fn tcp_options(f: &mut fmt::Formatter<'_>, bytes: &[u8], whole: bool) -> fmt::Result {
    let mut options = Options::new(bytes);
    f.write_str(", options [")?;
    let mut comma = "";
    for option in options.by_ref() {
        f.write_str(comma)?;
        comma = ",";
        match option {
            TcpOption::NoOperation => f.write_str("nop")?,
            TcpOption::MaximumSegmentSize(size) => write!(f, "mss {size}")?,
            TcpOption::WindowScale(shift) => write!(f, "wscale {shift}")?,
            TcpOption::SackPermitted => f.write_str("sackOK")?,
            TcpOption::Sack(blocks) => {
                write!(f, "sack {} ", blocks.edges().len())?;
                for (left, right) in blocks.edges() {
                    write!(f, "{{{left}:{right}}}")?;
                }
            }
            TcpOption::Timestamps { value, echo } => write!(f, "TS val {value} ecr {echo}")?,
            TcpOption::FastOpen([]) => f.write_str("tfo  cookiereq")?,
            TcpOption::FastOpen(cookie) => {
                f.write_str("tfo  cookie ")?;
                hexadecimal(f, cookie)?;
            }
            TcpOption::Other { kind, data } => {
                write!(f, "unknown-{kind} 0x")?;
                hexadecimal(f, data)?;
            }
        }
    }
    match (options.rest(), whole) {
        (_, false) => write!(f, "{comma}[|tcp]")?,
        ([], true) => {}
        (_, true) => write!(f, "{comma}[bad opt]")?,
    }
    f.write_str("]")
}

fn hexadecimal(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::describe;
    use crate::packet::build::{self, Build};
    use crate::packet::ipv4::MORE_FRAGMENTS;
    use crate::packet::tcp::flags::{ACK, FIN, PSH, SYN};

    const HERE: ([u8; 4], u16) = ([192, 0, 2, 1], 40000);
    const THERE: ([u8; 4], u16) = ([198, 51, 100, 2], 22);
    const HERE6: ([u16; 8], u16) = ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 40000);
    const THERE6: ([u16; 8], u16) = ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2], 22);

    /// What is printed of the first 128 bytes.
    fn described(frame: &[u8]) -> String {
        describe(&frame[..frame.len().min(128)], frame.len() as u32).to_string()
    }

    fn syn() -> Build {
        let options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7];
        build::tcp(HERE, THERE, SYN).seq(123).tcp_options(&options)
    }

    #[test]
    fn says_what_tcpdump_says() {
        let tcp = build::tcp(HERE6, THERE6, ACK | PSH).seq(1).ack(2).payload(&[0; 1000]);
        let sack = [1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9];
        let fast = [34, 6, 0xab, 0xcd, 0xef, 1, 34, 2, 254, 3, 7];
        let error = build::icmp(THERE.0, HERE.0, 3, 3).quote(&build::udp(HERE, THERE).frame());
        let filtered = build::icmp(THERE.0, HERE.0, 3, 13).quote(&syn().frame());
        let error6 = build::icmp(THERE6.0, HERE6.0, 1, 4).quote(&build::udp(HERE6, THERE6).frame());
        let neighbour =
            |kind| build::icmp(HERE6.0, THERE6.0, kind, 0).ttl(255).payload(&[0x20; 16]);
        for (build, text) in [
            (
                syn(),
                "IP 192.0.2.1.40000 > 198.51.100.2.22: Flags [S], seq 123, win 64240, options \
                 [mss 1460,sackOK,TS val 9 ecr 0,nop,wscale 7], length 0, ttl 64",
            ),
            (
                tcp,
                "IP6 2001:db8::1.40000 > 2001:db8::2.22: Flags [P.], seq 1:1001, ack 2, win 64240, \
                 length 1000, hlim 64",
            ),
            (
                build::tcp(HERE, THERE, ACK).tcp_options(&sack).vlan(5).ttl(3),
                "vlan 5, IP 192.0.2.1.40000 > 198.51.100.2.22: Flags [.], seq 1000, ack 2000, win \
                 64240, options [nop,nop,sack 1 {1:9}], length 0, ttl 3",
            ),
            (
                build::tcp(HERE, THERE, FIN | ACK | 0x60).urgent(7).tcp_options(&fast),
                "IP 192.0.2.1.40000 > 198.51.100.2.22: Flags [F.UE], seq 1000, ack 2000, win 64240, \
                 urg 7, options [tfo  cookie abcdef01,tfo  cookiereq,unknown-254 0x07], length 0, \
                 ttl 64",
            ),
            (
                build::tcp(HERE, THERE, 0),
                "IP 192.0.2.1.40000 > 198.51.100.2.22: Flags [none], seq 1000, win 64240, length 0, \
                 ttl 64",
            ),
            (
                build::udp(HERE, THERE).payload(&[0; 5]),
                "IP 192.0.2.1.40000 > 198.51.100.2.22: UDP, length 5, ttl 64",
            ),
            (
                build::echo(HERE.0, THERE.0, 7, 1).payload(&[0; 56]),
                "IP 192.0.2.1 > 198.51.100.2: ICMP echo request, id 7, seq 1, length 64, ttl 64",
            ),
            (
                build::echo_reply(HERE6.0, THERE6.0, 7, 1),
                "IP6 2001:db8::1 > 2001:db8::2: ICMP6, echo reply, id 7, seq 1, length 8, hlim 64",
            ),
            (
                error,
                "IP 198.51.100.2 > 192.0.2.1: ICMP 198.51.100.2 udp port 22 unreachable, length 36, \
                 ttl 64",
            ),
            (
                filtered,
                "IP 198.51.100.2 > 192.0.2.1: ICMP host 198.51.100.2 unreachable - admin prohibited \
                 filter, length 68, ttl 64",
            ),
            (
                error6,
                "IP6 2001:db8::2 > 2001:db8::1: ICMP6, destination unreachable, unreachable port, \
                 2001:db8::2 udp port 22, length 56, hlim 64",
            ),
            (
                neighbour(135),
                "IP6 2001:db8::1 > 2001:db8::2: ICMP6, neighbor solicitation, who has \
                 2020:2020:2020:2020:2020:2020:2020:2020, length 24, hlim 255",
            ),
            (
                neighbour(136),
                "IP6 2001:db8::1 > 2001:db8::2: ICMP6, neighbor advertisement, tgt is \
                 2020:2020:2020:2020:2020:2020:2020:2020, length 24, hlim 255",
            ),
            (
                build::other(HERE.0, THERE.0, 253).payload(&[0; 9]),
                "IP 192.0.2.1 > 198.51.100.2: ip-proto-253, length 9, ttl 64",
            ),
        ] {
            assert_eq!(described(&build.frame()), text);
        }
        let (here, there) = (([2, 0, 0, 0, 0, 1], HERE.0), ([2, 0, 0, 0, 0, 2], THERE.0));
        assert_eq!(
            described(&build::arp(1, here, there)),
            "ARP, Request who-has 198.51.100.2 tell 192.0.2.1, length 28"
        );
        assert_eq!(
            described(&build::arp(2, here, there)),
            "ARP, Reply 192.0.2.1 is-at 02:00:00:00:00:01, length 28"
        );
    }

    #[test]
    fn shows_fragments() {
        let first = syn().identification(7).fragment(MORE_FRAGMENTS).frame();
        let text = described(&first);
        assert!(text.contains("Flags [S], seq 123"), "{text}");
        assert!(text.ends_with("(frag 7:40@0+), ttl 64"), "{text}");
        let later = build::udp(HERE, THERE).identification(7).fragment(185).frame();
        let expected = "IP 192.0.2.1 > 198.51.100.2: ip-proto-17 (frag 7:8@1480), ttl 64";
        assert_eq!(described(&later), expected);
        let later = build::udp(HERE6, THERE6).extension(44, &[0, 0, 5, 0xc8, 0, 0, 0, 7]).frame();
        let expected =
            "IP6 2001:db8::1 > 2001:db8::2: ip-proto-17 (frag 0x00000007:8@1480), hlim 64";
        assert_eq!(described(&later), expected);
    }

    #[test]
    fn says_where_bytes_are_missing() {
        let frame = syn().frame();
        let of = |captured: usize| describe(&frame[..captured], frame.len() as u32).to_string();
        assert_eq!(of(13), "[|ether]");
        assert_eq!(of(33), "IP [|ip]");
        assert_eq!(of(34), "IP 192.0.2.1 > 198.51.100.2: [|tcp], ttl 64");
        assert_eq!(of(53), "IP 192.0.2.1.40000 > 198.51.100.2.22: [|tcp], ttl 64");
        assert_eq!(
            of(60),
            "IP 192.0.2.1.40000 > 198.51.100.2.22: Flags [S], seq 123, win 64240, options [mss \
             1460,sackOK,[|tcp]], length 0, ttl 64"
        );
        assert_eq!(describe(&[0; 14], 60).to_string(), "802.3, length 46");
        let mut strange = build::udp(HERE, THERE).frame();
        strange[12..14].copy_from_slice(&[0x88, 0xcc]);
        assert_eq!(described(&strange), "ethertype Unknown (0x88cc), length 28");
    }
}
