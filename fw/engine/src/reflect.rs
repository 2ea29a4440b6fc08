//! Answers to blocked packets, written over the frame that carried them: TCP resets and ICMP or
//! ICMPv6 "destination unreachable", forged for the host that was spoken to, sent back out of the
//! port the frame came in by.
//!
//! The tag stack and the PPPoE session stay, the hardware addresses change places. Frames are not padded to 60 bytes: a
//! NIC pads what it sends, and behind software ports nothing asks for it. IPv4 answers have
//! identification 0 and "don't fragment", which makes them atomic (RFC 6864, 4.1). No answer is ever
//! made to what RFC 1122, 3.2.2, RFC 4443, 2.4 (e) and RFC 9293, 3.10.7 forbid, so two bridges never
//! answer each other.

#![forbid(unsafe_code)]

use crate::frame::Frames;
use crate::packet::checksum::{self, Sum};
use crate::packet::ethernet;
use crate::packet::tcp::flags;
use crate::packet::{
    Address, Network, Packet, Tcp, Transport, icmp, ipv4, ipv6, pppoe, protocol, tcp,
};
use crate::reason::Reason;
use crate::time::Instant;

/// Time to live of a reset unless the rule sets it, and hop limit of all IPv6 answers, as pf's.
pub const TTL: u8 = 64;
/// Time to live of an ICMP error over IPv4, as pf's.
pub const ICMP_TTL: u8 = 255;
/// Longest IPv4 packet that an ICMP error makes, in bytes (RFC 1812, 4.3.2.3).
pub const ICMP_MAX: usize = 576;
/// Longest IPv6 packet that an ICMPv6 error makes, in bytes (RFC 4443, 2.4 (c)).
pub const ICMP6_MAX: usize = 1280;

/// How many answers may be made: so many a second, and so many at once after a pause.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Nanoseconds that one answer costs; 0 if there is no budget at all.
    cost: u64,
    /// How far the account may be overdrawn, in nanoseconds.
    burst: u64,
    /// When the account is balanced again.
    balanced: Instant,
}

impl Budget {
    /// `rate` answers a second and `burst` at once, none at all if either is 0.
    pub const fn new(rate: u32, burst: u32) -> Self {
        let cost = if rate == 0 || burst == 0 { 0 } else { 1_000_000_000 / rate as u64 };
        Self { cost, burst: cost * burst.saturating_sub(1) as u64, balanced: Instant(0) }
    }

    /// Spends one answer. Fails with [`Reason::ReflectLimit`].
    pub fn spend(&mut self, now: Instant) -> Result<(), Reason> {
        let balanced = self.balanced.max(now);
        if self.cost == 0 || balanced.0 - now.0 > self.burst {
            return Err(Reason::ReflectLimit);
        }
        self.balanced = Instant(balanced.0.saturating_add(self.cost));
        Ok(())
    }

    /// Gives back what was spent on an answer that was not made.
    pub const fn refund(&mut self) {
        self.balanced = Instant(self.balanced.0.saturating_sub(self.cost));
    }
}

impl Default for Budget {
    /// 1,000 a second, 200 at once.
    fn default() -> Self {
        Self::new(1000, 200)
    }
}

/// Writes a reset (RFC 9293, 3.10.7.1) over frame `i`, a TCP segment. `ttl` is the rule's, if it
/// has one. Fails with [`Reason::ReflectUnfit`], or [`Reason::TcpChecksum`] if the segment is
/// damaged; the frame is then as it was, except that a partial checksum is finished.
pub fn reset<F: Frames + ?Sized>(
    frames: &mut F,
    i: usize,
    packet: &Packet,
    ttl: Option<u8>,
) -> Result<(), Reason> {
    let Transport::Tcp(segment) = packet.transport else { return Err(Reason::ReflectUnfit) };
    fit(frames, i, packet)?;
    let (seq, ack, flags) = if segment.flags & flags::ACK != 0 {
        (segment.ack, 0, flags::RST)
    } else {
        let occupied = packet.payload
            + u32::from(segment.flags & flags::SYN != 0)
            + u32::from(segment.flags & flags::FIN != 0);
        (0, segment.seq.wrapping_add(occupied), flags::RST | flags::ACK)
    };
    let room = frames.room_mut(i);
    let fields = resetting(seq, ack, flags);
    let end = write_bare(room, packet, &fields, ttl).ok_or(Reason::ReflectUnfit)?;
    frames.set_length(i, end);
    Ok(())
}

/// Which end of a packet's connection hears something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Towards {
    /// The one that sent the packet.
    Sender,
    /// The one that it goes to.
    Receiver,
}

/// Writes into `room` a RST for one end of a connection in the name of the other. `head` is the frame
/// of `packet`, a segment of it; `seq` is what the receiver of the RST expects next, so that it
/// believes it (RFC 9293, 3.10.7.4). Returns the length, or `None` if the packet may not be answered
/// or there is no room.
pub(crate) fn reset_for(
    room: &mut [u8],
    head: &[u8],
    packet: &Packet,
    towards: Towards,
    seq: u32,
) -> Option<usize> {
    let at = usize::from(packet.network_offset);
    if !is_between_hosts(packet, head) {
        return None;
    }
    room.get_mut(..at)?.copy_from_slice(&head[..at]);
    let facing = match towards {
        Towards::Sender => *packet,
        Towards::Receiver => {
            ethernet::swap_addresses(room);
            Packet {
                source: packet.destination,
                destination: packet.source,
                source_port: packet.destination_port,
                destination_port: packet.source_port,
                ..*packet
            }
        }
    };
    write_bare(room, &facing, &resetting(seq, 0, flags::RST), None)
}

/// Writes a bare ACK over frame `i`, a TCP segment whose checksum has been verified. Fails with
/// [`Reason::ReflectUnfit`]; the frame is then as it was.
pub(crate) fn acknowledge<F: Frames + ?Sized>(
    frames: &mut F,
    i: usize,
    packet: &Packet,
    header: &Tcp,
) -> Result<(), Reason> {
    if !is_between_hosts(packet, frames.head(i)) {
        return Err(Reason::ReflectUnfit);
    }
    let room = frames.room_mut(i);
    let end = write_bare(room, packet, header, None).ok_or(Reason::ReflectUnfit)?;
    frames.set_length(i, end);
    Ok(())
}

/// The header of a RST.
const fn resetting(seq: u32, ack: u32, flags: u8) -> Tcp {
    Tcp { seq, ack, window: 0, flags, header: tcp::HEADER as u8 }
}

/// Writes a segment without options or data over the frame of a packet that begins in `room`, for its
/// sender. Returns its length.
fn write_bare(room: &mut [u8], packet: &Packet, fields: &Tcp, ttl: Option<u8>) -> Option<usize> {
    let mut header = [0; tcp::HEADER];
    header[..2].copy_from_slice(&packet.destination_port.to_be_bytes());
    header[2..4].copy_from_slice(&packet.source_port.to_be_bytes());
    header[4..8].copy_from_slice(&fields.seq.to_be_bytes());
    header[8..12].copy_from_slice(&fields.ack.to_be_bytes());
    header[12] = (tcp::HEADER * 4) as u8;
    header[13] = fields.flags;
    header[14..16].copy_from_slice(&fields.window.to_be_bytes());
    let mut sum = pseudo(packet, protocol::TCP, tcp::HEADER);
    sum.feed(&header);
    header[tcp::CHECKSUM..tcp::CHECKSUM + 2].copy_from_slice(&(!sum.folded()).to_be_bytes());

    let at = usize::from(packet.network_offset);
    let end = at + ip_header(packet) + tcp::HEADER;
    let room = room.get_mut(..end)?;
    room[end - tcp::HEADER..].copy_from_slice(&header);
    write_ip(room, packet, protocol::TCP, ttl.unwrap_or(TTL), 0);
    Some(end)
}

/// Writes "destination unreachable" with this code (ICMP type 3, ICMPv6 type 1) over frame `i`,
/// quoting as much of it as the RFCs, its first segment and the room behind it allow. Fails with
/// [`Reason::ReflectUnfit`], or the checksum's reason if a TCP segment is damaged; the frame is then
/// as it was, except that a partial checksum is finished.
pub fn unreachable<F: Frames + ?Sized>(
    frames: &mut F,
    i: usize,
    packet: &Packet,
    code: u8,
) -> Result<(), Reason> {
    fit(frames, i, packet)?;
    let at = usize::from(packet.network_offset);
    let transport = at + ip_header(packet);
    let behind = transport + icmp::HEADER;
    let most = if packet.network == Network::Ipv4 { ICMP_MAX } else { ICMP6_MAX };
    let first_segment = frames.head(i).len();
    let room = frames.room_mut(i);
    let quoted = (packet.length as usize)
        .min(first_segment - at)
        .min(most - (behind - at))
        .min(room.len().saturating_sub(behind));
    // RFC 792 wants 8 bytes behind the IP header, so that the ports are among them.
    let least = usize::from(packet.transport_offset) - at + 8;
    if quoted < least.min(packet.length as usize) {
        return Err(Reason::ReflectUnfit);
    }
    let end = behind + quoted;
    room.copy_within(at..at + quoted, behind);
    let room = &mut room[..end];
    let (number, kind, ttl) = if packet.network == Network::Ipv4 {
        (protocol::ICMP, icmp::v4::UNREACHABLE, ICMP_TTL)
    } else {
        (protocol::ICMP6, icmp::v6::UNREACHABLE, TTL)
    };
    room[transport..behind].copy_from_slice(&[kind, code, 0, 0, 0, 0, 0, 0]);
    let mut sum = pseudo(packet, number, end - transport);
    sum.feed(&room[transport..]);
    let field = transport + icmp::CHECKSUM;
    room[field..field + 2].copy_from_slice(&(!sum.folded()).to_be_bytes());
    write_ip(room, packet, number, ttl, 0);
    frames.set_length(i, end);
    Ok(())
}

/// Whether frame `i` may be answered at all.
fn fit<F: Frames + ?Sized>(frames: &mut F, i: usize, packet: &Packet) -> Result<(), Reason> {
    let answerable = match packet.transport {
        Transport::Tcp(segment) => segment.flags & flags::RST == 0,
        Transport::Udp | Transport::IcmpQuery(_) | Transport::Sctp(_) => true,
        Transport::IcmpError(..) | Transport::IcmpOther(_) => false,
        Transport::Other => packet.network != Network::Arp,
        // It may be an error itself.
        Transport::Fragment(part) => {
            part.offset == 0 && !matches!(packet.protocol, protocol::ICMP | protocol::ICMP6)
        }
    };
    if !answerable || !is_between_hosts(packet, frames.head(i)) {
        return Err(Reason::ReflectUnfit);
    }
    checksum::finish_partial(packet, frames, i);
    if checksum::verify(packet, frames, i) {
        Ok(())
    } else if matches!(packet.transport, Transport::Tcp(_)) {
        Err(Reason::TcpChecksum)
    } else {
        Err(Reason::ReflectUnfit)
    }
}

/// Whether both ends of a packet are single hosts.
pub(crate) fn is_between_hosts(packet: &Packet, head: &[u8]) -> bool {
    let unicast = match packet.network {
        Network::Ipv4 => is_host_v4(packet.source) && is_host_v4(packet.destination),
        _ => is_host_v6(packet.source) && is_host_v6(packet.destination),
    };
    unicast && head.first().is_some_and(|first| first & 1 == 0)
}

/// Neither of "this network" (0/8), loopback, multicast, reserved nor the limited broadcast. A
/// directed broadcast shows in the hardware address alone.
fn is_host_v4(address: Address) -> bool {
    !matches!((address.0 as u32) >> 24, 0 | 127 | 224..)
}

/// Neither unspecified, loopback nor multicast.
fn is_host_v6(address: Address) -> bool {
    address.0 > 1 && ipv6::is_source(address)
}

fn ip_header(packet: &Packet) -> usize {
    if packet.network == Network::Ipv4 { ipv4::HEADER } else { ipv6::HEADER }
}

/// The pseudo header of the answer, which is the same in both directions; none for ICMP.
pub(crate) fn pseudo(packet: &Packet, number: u8, length: usize) -> Sum {
    let (source, destination) = (packet.source.0, packet.destination.0);
    let mut sum = Sum::default();
    if packet.network == Network::Ipv6 {
        sum.add(checksum::pseudo_v6(source, destination, number, length as u32));
    } else if number != protocol::ICMP {
        sum.add(checksum::pseudo_v4(source as u32, destination as u32, number, length as u32));
    }
    sum
}

/// Writes the IP header from the packet's destination to its source, for an answer that fills
/// `room`, turns the Ethernet header round and tells the length of a PPPoE session's payload. `tos` is
/// its type of service or traffic class.
pub(crate) fn write_ip(room: &mut [u8], packet: &Packet, number: u8, ttl: u8, tos: u8) {
    ethernet::swap_addresses(room);
    pppoe::set_length(room, packet);
    let ip = &mut room[usize::from(packet.network_offset)..];
    let length = ip.len();
    if packet.network == Network::Ipv4 {
        let ip = &mut ip[..ipv4::HEADER];
        ip[..2].copy_from_slice(&[0x45, tos]);
        ip[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        ip[4..6].fill(0);
        ip[6..8].copy_from_slice(&ipv4::DONT_FRAGMENT.to_be_bytes());
        ip[8..12].copy_from_slice(&[ttl, number, 0, 0]);
        ip[12..16].copy_from_slice(&(packet.destination.0 as u32).to_be_bytes());
        ip[16..20].copy_from_slice(&(packet.source.0 as u32).to_be_bytes());
        let checksum = !checksum::sum(ip);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    } else {
        ip[..4].copy_from_slice(&[0x60 | tos >> 4, tos << 4, 0, 0]);
        ip[4..6].copy_from_slice(&((length - ipv6::HEADER) as u16).to_be_bytes());
        ip[6..8].copy_from_slice(&[number, ttl]);
        ip[8..24].copy_from_slice(&packet.destination.0.to_be_bytes());
        ip[24..40].copy_from_slice(&packet.source.0.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Budget, ICMP_MAX, ICMP6_MAX, reset, unreachable};
    use crate::frame::{Checksum, Frames, Owned, PortIndex};
    use crate::packet::build::{self, Build};
    use crate::packet::tcp::flags::{ACK, FIN, PSH, RST, SYN};
    use crate::packet::{Packet, Transport, checksum};
    use crate::reason::Reason;
    use crate::time::Instant;

    const HERE: ([u8; 4], u16) = ([192, 0, 2, 1], 40000);
    const THERE: ([u8; 4], u16) = ([198, 51, 100, 2], 22);
    const HERE6: ([u16; 8], u16) = ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 40000);
    const THERE6: ([u16; 8], u16) = ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2], 22);

    fn batch(frame: &[u8]) -> (Owned, Packet) {
        let mut frames = Owned::new();
        frames.push(PortIndex::LAN, frame);
        let packet = Packet::parse(frames.head(0), &frames.meta(0)).unwrap();
        (frames, packet)
    }

    /// The answer, parsed and verified from scratch.
    fn answer(frames: &Owned) -> (Vec<u8>, Packet) {
        let bytes = frames.bytes(0);
        let (again, packet) = batch(&bytes);
        assert!(checksum::verify(&packet, &again, 0));
        (bytes, packet)
    }

    fn reset_to(build: &Build) -> Result<(Vec<u8>, Packet), Reason> {
        let (mut frames, packet) = batch(&build.frame());
        reset(&mut frames, 0, &packet, None)?;
        Ok(answer(&frames))
    }

    fn unreachable_to(build: &Build, code: u8) -> Result<(Vec<u8>, Packet), Reason> {
        let (mut frames, packet) = batch(&build.frame());
        unreachable(&mut frames, 0, &packet, code)?;
        Ok(answer(&frames))
    }

    #[test]
    fn resets_are_what_the_host_itself_would_send() {
        for (client, server) in [
            (std::net::SocketAddr::from(HERE), std::net::SocketAddr::from(THERE)),
            (HERE6.into(), THERE6.into()),
        ] {
            let from_server = |flags| {
                build::tcp(server, client, flags)
                    .macs(build::DESTINATION_MAC, build::SOURCE_MAC)
                    .window(0)
                    .vlan(5)
            };
            let syn = build::tcp(client, server, SYN).seq(41).vlan(5);
            let expected = from_server(RST | ACK).seq(0).ack(42).frame();
            assert_eq!(reset_to(&syn).unwrap().0, expected);
            let with_options = syn.tcp_options(&[2, 4, 5, 0xb4, 3, 3, 7]);
            assert_eq!(reset_to(&with_options).unwrap().0, expected);

            let data = build::tcp(client, server, PSH | ACK).seq(7).ack(99).vlan(5);
            let expected = from_server(RST).seq(99).frame();
            assert_eq!(reset_to(&data.payload(&[1; 100])).unwrap().0, expected);

            let open = build::tcp(client, server, SYN).seq(u32::MAX).vlan(5).payload(b"fast");
            let expected = from_server(RST | ACK).seq(0).ack(4).frame();
            assert_eq!(reset_to(&open).unwrap().0, expected);
        }
    }

    #[test]
    fn a_rule_may_set_the_ttl() {
        let (mut frames, packet) = batch(&build::tcp(HERE, THERE, SYN).frame());
        reset(&mut frames, 0, &packet, Some(17)).unwrap();
        assert_eq!(answer(&frames).1.ttl, 17);
    }

    #[test]
    fn errors_quote_what_they_answer() {
        let asked = build::udp(HERE, THERE).ip_options(&[1, 1, 1, 1]).vlan(9).payload(&[7; 20]);
        let (bytes, packet) = unreachable_to(&asked, 3).unwrap();
        let Transport::IcmpError(icmp, quote) = packet.transport else { panic!("{packet:?}") };
        assert_eq!((icmp.kind, icmp.code, packet.ttl), (3, 3, 255));
        assert_eq!((quote.source_port, quote.destination_port), (40000, 22));
        assert_eq!(bytes[18 + 28..], asked.frame()[18..]);
        assert_eq!(bytes[..18], [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 9, 8, 0]);

        let asked = build::echo(HERE6.0, THERE6.0, 3, 4);
        let (bytes, packet) = unreachable_to(&asked, 1).unwrap();
        let Transport::IcmpError(icmp, quote) = packet.transport else { panic!("{packet:?}") };
        assert_eq!((icmp.kind, icmp.code, quote.source_port), (1, 1, 3));
        assert_eq!(bytes[14 + 48..], asked.frame()[14..]);
    }

    #[test]
    fn errors_stay_within_the_size_that_passes_everywhere() {
        let (_, packet) = unreachable_to(&build::udp(HERE, THERE).payload(&[7; 1400]), 3).unwrap();
        assert_eq!(packet.length as usize, ICMP_MAX);
        let (_, packet) =
            unreachable_to(&build::udp(HERE6, THERE6).payload(&[7; 1400]), 4).unwrap();
        assert_eq!(packet.length as usize, ICMP6_MAX);
        let (_, packet) = unreachable_to(&build::other(HERE.0, THERE.0, 47), 2).unwrap();
        assert_eq!(packet.length, 20 + 8 + 20);
    }

    #[test]
    fn a_chain_is_quoted_from_its_first_segment() {
        let frame = build::udp(HERE, THERE).payload(&[7; 500]).frame();
        let mut frames = Owned::new();
        frames.push_segments(PortIndex::LAN, &[&frame[..100], &frame[100..]]);
        let packet = Packet::parse(frames.head(0), &frames.meta(0)).unwrap();
        unreachable(&mut frames, 0, &packet, 3).unwrap();
        assert_eq!(answer(&frames).1.length, 28 + 86);
        assert_eq!(frames.meta(0).length, 14 + 28 + 86);
        assert_eq!(frames.segment(0, 1), None);
    }

    #[test]
    fn partial_checksums_are_finished_first() {
        let (mut frames, packet) = batch(&build::tcp(HERE, THERE, SYN).partial().frame());
        assert_eq!(reset(&mut frames, 0, &packet, None), Err(Reason::TcpChecksum));
        frames.meta_mut(0).checksum = Checksum::MaybePartial;
        assert_eq!(reset(&mut frames, 0, &packet, None), Ok(()));
    }

    #[test]
    fn some_things_are_never_answered() {
        let tcp = |source, destination| build::tcp((source, 1), (destination, 2), SYN);
        let host = HERE.0;
        for build in [
            build::tcp(HERE, THERE, RST),
            build::tcp(HERE, THERE, RST | ACK | FIN),
            tcp(host, [224, 0, 0, 1]),
            tcp(host, [255; 4]),
            tcp([0; 4], host),
            tcp([127, 0, 0, 1], host),
            tcp([240, 0, 0, 1], host),
            tcp(host, host).macs(build::SOURCE_MAC, [0xff; 6]),
            tcp(host, host).macs(build::SOURCE_MAC, [1, 0, 0x5e, 0, 0, 1]),
            build::tcp(([0, 0, 0, 0, 0, 0, 0, 1], 1), THERE6, SYN),
            build::tcp(([0, 0, 0, 0, 0, 0, 0, 0], 1), THERE6, SYN),
            build::tcp(HERE6, ([0xff02, 0, 0, 0, 0, 0, 0, 1], 1), SYN),
        ] {
            assert_eq!(reset_to(&build), Err(Reason::ReflectUnfit), "{build:?}");
            assert_eq!(unreachable_to(&build, 1), Err(Reason::ReflectUnfit), "{build:?}");
        }
        let error = build::icmp(HERE.0, THERE.0, 3, 1).quote(&tcp(host, host).frame());
        let redirect = build::icmp(HERE.0, THERE.0, 5, 1).payload(&[0; 28]);
        let discovery = build::icmp(HERE6.0, THERE6.0, 135, 0).ttl(255).payload(&[0; 16]);
        for build in [error, redirect, discovery] {
            assert_eq!(unreachable_to(&build, 1), Err(Reason::ReflectUnfit), "{build:?}");
        }
        assert_eq!(reset_to(&build::udp(HERE, THERE)), Err(Reason::ReflectUnfit));
        let (mut frames, packet) = batch(&build::arp(1, ([2; 6], HERE.0), ([0; 6], THERE.0)));
        assert_eq!(unreachable(&mut frames, 0, &packet, 1), Err(Reason::ReflectUnfit));
    }

    #[test]
    fn a_budget_is_kept_to() {
        let mut budget = Budget::new(1000, 3);
        let start = Instant::from_secs(5);
        for _ in 0..3 {
            assert_eq!(budget.spend(start), Ok(()));
        }
        assert_eq!(budget.spend(start), Err(Reason::ReflectLimit));
        let later = start.after(Duration::from_millis(1));
        assert_eq!(budget.spend(later), Ok(()));
        assert_eq!(budget.spend(later), Err(Reason::ReflectLimit));
        let second = start.after(Duration::from_secs(1));
        assert_eq!((0..10).filter(|_| budget.spend(second).is_ok()).count(), 3);
        assert_eq!(Budget::new(0, 5).spend(start), Err(Reason::ReflectLimit));
        assert_eq!(Budget::new(5, 0).spend(start), Err(Reason::ReflectLimit));
    }
}
