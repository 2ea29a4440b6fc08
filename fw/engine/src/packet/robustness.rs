//! Frames that nobody would send: random ones, and valid ones of every kind damaged at random.
//! Nothing panics, whatever parses lies inside the frame, and every reason of the parser comes up.
//! [`inside`] sees that tags and PPPoE change nothing of it.

mod inside;

use std::collections::HashSet;
use std::fmt::{self, Write};

use proptest::prelude::*;

use super::build::{self, Build};
use super::describe::describe;
use super::tcp::flags::{ACK, PSH, SYN};
use super::{Packet, Transport, checksum, ethernet, icmp};
use crate::frame::{Checksum, Frames, Meta, PortIndex};
use crate::reason::Reason;
use crate::reflect;

const RANDOM: u32 = 1_000_000;
const MUTATIONS: u32 = 10_000_000;
/// One frame in so many is also described and answered, which takes longer than parsing.
const SAMPLE: u32 = 16;

/// Xorshift (Marsaglia): the same frames in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (((self.next() >> 32) * bound as u64) >> 32) as usize
    }
}

/// A frame lent in place, of which `first` bytes are its only captured segment.
struct Lent {
    buffer: [u8; Self::ROOM],
    first: usize,
    meta: Meta,
}

impl Lent {
    const ROOM: usize = 1024;

    fn new() -> Self {
        let meta =
            Meta { port: PortIndex::LAN, checksum: Checksum::Unknown, gso_size: 0, length: 0 };
        Self { buffer: [0; Self::ROOM], first: 0, meta }
    }
}

impl Frames for Lent {
    fn len(&self) -> usize {
        1
    }

    fn meta(&self, _: usize) -> Meta {
        self.meta
    }

    fn head(&self, _: usize) -> &[u8] {
        &self.buffer[..self.first]
    }

    fn head_mut(&mut self, _: usize) -> &mut [u8] {
        &mut self.buffer[..self.first]
    }

    fn segment(&self, _: usize, k: usize) -> Option<&[u8]> {
        (k == 0).then_some(&self.buffer[..self.first])
    }

    fn room_mut(&mut self, _: usize) -> &mut [u8] {
        &mut self.buffer
    }

    fn set_length(&mut self, _: usize, length: usize) {
        self.first = length;
        self.meta = Meta { length: length as u32, gso_size: 0, ..self.meta };
        self.meta.checksum = Checksum::Valid;
    }
}

/// Counts what is written instead of keeping it.
struct Counter(usize);

impl Write for Counter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// Parses the frame, both ways, and does with it all that reads or writes its bytes. Returns the
/// reason to drop it.
fn exercise(frame: &mut Lent, sampled: bool) -> Result<Packet, Reason> {
    let meta = frame.meta;
    let result = Packet::parse(frame.head(0), &meta);
    let mut slowly = Packet::BLANK;
    let again = slowly.parse_any(frame.head(0), meta);
    assert_eq!(result, again.map(|()| slowly), "{meta:?} {:x?}", frame.head(0));
    if let Ok(packet) = &result {
        assert_inside(packet, frame);
    }
    if sampled {
        let captured = &frame.head(0)[..frame.first.min(128)];
        let mut text = Counter(0);
        write!(text, "{}", describe(captured, meta.length)).expect("counting does not fail");
        assert!((4..1000).contains(&text.0), "{}", describe(captured, meta.length));
        if let Ok(packet) = &result {
            answer(packet, frame);
        }
    }
    result
}

fn assert_inside(packet: &Packet, frame: &Lent) {
    let (network, transport) = (packet.network_offset as usize, packet.transport_offset as usize);
    let end = network + packet.length as usize;
    assert!(network < transport && transport <= frame.first, "{packet:?}");
    assert!(end <= frame.meta.length as usize, "{packet:?}");
    let header = match packet.transport {
        Transport::Tcp(tcp) => {
            assert!((20..=60).contains(&tcp.header));
            packet.tcp_options(frame.head(0)).for_each(drop);
            usize::from(tcp.header)
        }
        Transport::Udp | Transport::IcmpQuery(_) | Transport::IcmpOther(_) => 8,
        Transport::IcmpError(_, quote) => {
            assert_eq!(usize::from(quote.offset), transport + icmp::HEADER);
            assert!(usize::from(quote.offset) + 20 <= frame.first);
            8
        }
        Transport::Sctp(_) => super::sctp::HEADER,
        Transport::Other => 0,
        Transport::Fragment(part) => {
            assert!(usize::from(part.data) <= transport && part.length > 0);
            0
        }
    };
    assert!(transport + header <= frame.first, "{packet:?}");
    assert!(transport + header + packet.payload as usize <= end, "{packet:?}");
}

/// Verifies, finishes and answers; what is made must be whole.
fn answer(packet: &Packet, frame: &mut Lent) {
    checksum::verify(packet, frame, 0);
    checksum::finish_partial(packet, frame, 0);
    let made = match packet.transport {
        Transport::Tcp(_) => reflect::reset(frame, 0, packet, None),
        _ => reflect::unreachable(frame, 0, packet, 1),
    };
    if made.is_ok() {
        frame.meta.checksum = Checksum::Unknown;
        let answer = Packet::parse(frame.head(0), &frame.meta).expect("an answer is well-formed");
        assert!(checksum::verify(&answer, frame, 0));
        assert_eq!((answer.source, answer.destination), (packet.destination, packet.source));
        assert_eq!(answer.tags, packet.tags);
    }
}

const HERE: ([u8; 4], u16) = ([192, 0, 2, 1], 40000);
const THERE: ([u8; 4], u16) = ([198, 51, 100, 2], 22);
const HERE6: ([u16; 8], u16) = ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 40000);
const THERE6: ([u16; 8], u16) = ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2], 22);

const SCTP_INIT: [u8; 20] = [1, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1];

/// Valid frames of every kind.
fn kinds() -> Vec<Vec<u8>> {
    let options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7];
    let sack = [1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 34, 6, 1, 2, 3, 4];
    let router_alert = [0, 0, 5, 2, 0, 0, 1, 0];
    let route = [&[0, 2, 4, 1, 0, 0, 0, 0][..], &[0x20; 16]].concat();
    let fragment = [0, 0, 0, 0, 1, 2, 3, 4];
    let tcp = build::tcp(HERE, THERE, ACK | PSH).payload(b"GET / HTTP/1.1\r\n");
    let tcp6 = build::tcp(HERE6, THERE6, ACK).payload(b"hello");
    let udp6 = build::udp(HERE6, THERE6).extension(60, &[0, 0, 1, 4, 0, 0, 0, 0]);
    let neighbour = |kind| build::icmp(HERE6.0, THERE6.0, kind, 0).ttl(255).payload(&[0x20; 24]);
    let builds: Vec<Build> = vec![
        tcp.clone(),
        tcp.clone().vlan(5),
        tcp.clone().tag(0x88a8, 7).vlan(5),
        tcp.clone().pppoe(5),
        tcp6.clone().vlan(7).pppoe(0x1234),
        build::udp(HERE6, THERE6).payload(&[3; 40]).pppoe(0xfffe),
        tcp.clone().ip_options(&[148, 4, 0, 0, 1]),
        tcp.clone().tcp_options(&sack),
        build::tcp(HERE, THERE, SYN).tcp_options(&options),
        build::tcp(HERE, THERE, SYN).tcp_options(&options).partial(),
        tcp6.clone(),
        tcp6.clone().vlan(9),
        tcp6.clone().extension(0, &router_alert).extension(60, &router_alert),
        tcp6.clone().extension(44, &fragment),
        tcp6.clone().extension(43, &route),
        build::udp(HERE, THERE).payload(&[9; 300]),
        build::udp(HERE, THERE).no_checksum(),
        udp6.clone(),
        udp6.payload(&[3; 40]).vlan(1),
        build::echo(HERE.0, THERE.0, 7, 1).payload(&[0; 56]),
        build::echo_reply(HERE6.0, THERE6.0, 7, 1).payload(&[0; 56]),
        build::icmp(HERE.0, THERE.0, 13, 0).payload(&[0; 12]),
        build::icmp(HERE.0, THERE.0, 5, 1).quote(&tcp.frame()),
        build::icmp(HERE.0, THERE.0, 3, 3).quote(&tcp.frame()),
        build::icmp(HERE.0, THERE.0, 11, 0).quote(&build::echo(THERE.0, HERE.0, 1, 1).frame()),
        build::icmp(HERE6.0, THERE6.0, 2, 0).quote(&tcp6.frame()),
        build::icmp(HERE6.0, THERE6.0, 1, 4)
            .quote(&build::udp(THERE6, HERE6).extension(60, &router_alert).frame()),
        neighbour(135),
        neighbour(136),
        neighbour(134),
        build::other(HERE.0, THERE.0, 47).payload(&[0; 40]),
        build::sctp(HERE6, THERE6, 0, &SCTP_INIT),
        build::sctp(HERE, THERE, 7, &[10, 0, 0, 8, 1, 2, 3, 4, 0, 3, 0, 8, 0, 0, 0, 1]),
        build::other(HERE6.0, THERE6.0, 59),
    ];
    let mut frames: Vec<_> = builds.iter().map(Build::frame).collect();
    let long = build::udp(HERE, THERE).payload(&[5; 200]).frame();
    let long6 = build::tcp(HERE6, THERE6, SYN).payload(&[5; 200]).frame();
    let session = build::udp(HERE, THERE).payload(&[5; 200]).pppoe(1).frame();
    for frame in [long, long6, session] {
        frames.extend(build::fragments(&frame, 5, 80));
    }
    frames.push(build::arp(1, ([2; 6], HERE.0), ([0; 6], THERE.0)));
    frames.push(build::arp(2, ([2; 6], HERE.0), ([4; 6], THERE.0)));
    frames
}

/// Damages the frame in one of many ways.
fn mutate(frame: &mut Lent, random: &mut Random) {
    let interesting = [0, 1, 4, 5, 6, 7, 8, 16, 17, 0x2f, 0x3c, 0x45, 0x60, 0x7f, 0x80, 0x81, 0xff];
    // Mostly the headers, where something depends on every byte.
    let near = frame.first.min(if random.below(4) == 0 { Lent::ROOM } else { 80 });
    if near == 0 {
        return;
    }
    match random.below(16) {
        0 => frame.first = random.below(frame.first + 1),
        1 => frame.meta.length = random.below(2 * frame.first + 1) as u32,
        2 => {
            frame.first = random.below(frame.first + 1);
            frame.meta.length = frame.first as u32;
        }
        3 => frame.meta = Meta { gso_size: 1448, length: 70_000, ..frame.meta },
        4 => frame.meta.checksum = Checksum::MaybePartial,
        5 => {
            let (from, to) = (random.below(near), random.below(near));
            let length = random.below(near - from.max(to)) + 1;
            frame.buffer.copy_within(from..from + length, to);
        }
        6..=9 => frame.buffer[random.below(near)] ^= 1 << random.below(8),
        10..=13 => frame.buffer[random.below(near)] = interesting[random.below(interesting.len())],
        _ => frame.buffer[random.below(near)] = random.next() as u8,
    }
}

/// Makes the IPv4 header checksum right again, so that what is behind it is looked at.
fn mend(frame: &mut Lent) {
    let Ok(header) = ethernet::Ethernet::new(&frame.buffer[..frame.first]) else { return };
    let at = match (header.length(), header.ethertype()) {
        (at, ethernet::ethertype::IPV4) => at,
        (at, ethernet::ethertype::PPPOE_SESSION) if frame.buffer[at + 7] == 0x21 => at + 8,
        _ => return,
    };
    let length = usize::from(frame.buffer[at] & 0xf) * 4;
    if length >= 20 {
        let ip = &mut frame.buffer[at..at + length];
        ip[10..12].fill(0);
        let checksum = !checksum::sum(ip);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

#[test]
fn random_frames_do_no_harm() {
    let mut random = Random(0x0123_4567_89ab_cdef);
    let mut frame = Lent::new();
    for i in 0..RANDOM {
        frame.first = random.below(130);
        for chunk in frame.buffer[..136].chunks_exact_mut(8) {
            chunk.copy_from_slice(&random.next().to_ne_bytes());
        }
        // A known ethertype as often as not.
        let kinds = [[8, 0], [0x86, 0xdd], [8, 6], [0x81, 0], [0x88, 0x64]];
        if let Some(kind) = kinds.get(random.below(10)) {
            frame.buffer[12..14].copy_from_slice(kind);
        }
        frame.meta = Meta { length: frame.first as u32, ..Lent::new().meta };
        let _ = exercise(&mut frame, i % SAMPLE == 0);
    }
}

#[test]
fn damaged_frames_do_no_harm_and_meet_every_reason() {
    let kinds = kinds();
    let mut random = Random(0xfedc_ba98_7654_3210);
    let mut reasons = HashSet::new();
    let mut transports = HashSet::new();
    let mut frame = Lent::new();
    for i in 0..MUTATIONS {
        let kind = &kinds[random.below(kinds.len())];
        frame.buffer[..kind.len()].copy_from_slice(kind);
        frame.buffer[kind.len()..][..64].fill(0);
        frame.first = kind.len();
        frame.meta = Meta { length: kind.len() as u32, ..Lent::new().meta };
        for _ in 0..=random.below(4) {
            mutate(&mut frame, &mut random);
        }
        if random.below(4) > 0 {
            mend(&mut frame);
        }
        match exercise(&mut frame, i % SAMPLE == 0) {
            Ok(packet) => transports.insert(std::mem::discriminant(&packet.transport)),
            Err(reason) => reasons.insert(reason),
        };
    }
    let parser = Reason::Runt as usize..=Reason::NdHopLimit as usize;
    // Judgement's own, which stand among the parser's.
    let others = [
        Reason::IpOptions,
        Reason::TcpChecksum,
        Reason::SctpChecksum,
        Reason::FragDf,
        Reason::FragOverlap,
        Reason::FragDuplicate,
        Reason::FragMany,
        Reason::FragLimit,
        Reason::FragTimeout,
        Reason::FragDiscovery,
    ];
    for reason in &Reason::ALL[parser] {
        assert!(reasons.contains(reason) || others.contains(reason), "{reason} was never met");
    }
    assert_eq!(transports.len(), 8);
}

#[test]
fn undamaged_frames_are_parsed_whole() {
    for kind in kinds() {
        let mut frame = Lent::new();
        frame.buffer[..kind.len()].copy_from_slice(&kind);
        frame.first = kind.len();
        frame.meta.length = kind.len() as u32;
        let packet = exercise(&mut frame, false).unwrap();
        assert_eq!(usize::from(packet.network_offset) + packet.length as usize, kind.len());
    }
}

proptest! {
    /// Another parser, written by others, sees the same in well-formed packets.
    #[test]
    fn agrees_with_etherparse(
        v4: [[u8; 4]; 2],
        v6: [[u8; 16]; 2],
        is_v4: bool,
        ports: [u16; 2],
        transport in 0..3u8,
        flags: u8,
        numbers: [u32; 2],
        vlans in prop::collection::vec(1..4095u16, 0..3),
        payload: Vec<u8>,
        words in 0..10usize,
    ) {
        prop_assume!(v4[0][0] >> 4 != 14 && v4[0] != [255; 4] && v6[0][0] != 255 && ports[1] != 0);
        let [from, to]: [std::net::IpAddr; 2] =
            if is_v4 { v4.map(Into::into) } else { v6.map(Into::into) };
        let mut build = match transport {
            0 => build::tcp((from, ports[0]), (to, ports[1]), flags)
                .seq(numbers[0])
                .ack(numbers[1])
                .tcp_options(&vec![1; words * 4]),
            1 => build::udp((from, ports[0]), (to, ports[1])),
            _ => build::echo(from, to, ports[0], ports[1]),
        };
        build = vlans.iter().fold(build.payload(&payload), |build, vid| build.vlan(*vid));
        let frame = build.frame();
        let meta = Meta { length: frame.len() as u32, ..Lent::new().meta };
        let parsed = Packet::parse(&frame, &meta);
        if transport == 0 && !super::tcp::flags_are_possible(flags) {
            prop_assert_eq!(parsed, Err(Reason::TcpFlags));
            return Ok(());
        }
        let ours = parsed.unwrap();
        let theirs = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();

        let (source, destination, begins) = match theirs.net.as_ref().unwrap() {
            etherparse::NetSlice::Ipv4(ip) => (
                std::net::IpAddr::from(ip.header().source_addr()),
                std::net::IpAddr::from(ip.header().destination_addr()),
                ip.header().slice().as_ptr(),
            ),
            etherparse::NetSlice::Ipv6(ip) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
                ip.header().slice().as_ptr(),
            ),
            other @ etherparse::NetSlice::Arp(_) => panic!("{other:?}"),
        };
        let offset = |pointer: *const u8| pointer as usize - frame.as_ptr() as usize;
        prop_assert_eq!(ours.source, source.into());
        prop_assert_eq!(ours.destination, destination.into());
        prop_assert_eq!(usize::from(ours.network_offset), offset(begins));
        let (begins, payload_begins) = match theirs.transport.as_ref().unwrap() {
            etherparse::TransportSlice::Tcp(tcp) => {
                let Transport::Tcp(header) = ours.transport else { panic!("{ours:?}") };
                prop_assert_eq!(ours.source_port, tcp.source_port());
                prop_assert_eq!(ours.destination_port, tcp.destination_port());
                prop_assert_eq!(header.seq, tcp.sequence_number());
                prop_assert_eq!(header.ack, tcp.acknowledgment_number());
                prop_assert_eq!(header.window, tcp.window_size());
                prop_assert_eq!(header.flags & 0x10 != 0, tcp.ack());
                (tcp.slice().as_ptr(), tcp.payload().as_ptr())
            }
            etherparse::TransportSlice::Udp(udp) => {
                prop_assert_eq!(ours.source_port, udp.source_port());
                prop_assert_eq!(ours.destination_port, udp.destination_port());
                (udp.slice().as_ptr(), udp.payload().as_ptr())
            }
            etherparse::TransportSlice::Icmpv4(icmp) => {
                prop_assert_eq!(ours.source_port, ports[0]);
                (icmp.slice().as_ptr(), icmp.payload().as_ptr())
            }
            etherparse::TransportSlice::Icmpv6(icmp) => {
                prop_assert_eq!(ours.source_port, ports[0]);
                (icmp.slice().as_ptr(), icmp.payload().as_ptr())
            }
            other @ etherparse::TransportSlice::Igmp(_) => panic!("{other:?}"),
        };
        prop_assert_eq!(usize::from(ours.transport_offset), offset(begins));
        prop_assert_eq!(frame.len() - ours.payload as usize, offset(payload_begins));
    }
}
