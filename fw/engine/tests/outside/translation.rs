//! `modulate state`: each end keeps its own sequence numbers and sees others of its peer's. Segments
//! are written here in the numbers of those who have chosen them; what an end is told is compared byte
//! by byte with what it would have been told by a peer that had chosen better.

use std::net::SocketAddr;
use std::time::Duration;

use weir_engine::frame::Owned;
use weir_engine::packet::build::{self, Build};
use weir_engine::packet::tcp::flags::{ACK, FIN, PSH, RST, SYN};
use weir_engine::packet::{Packet, Transport, checksum, icmp};
use weir_engine::{Checksum, Frames, PortIndex, Reason, Verdict};

use crate::bridge::{Bridge, LAN, PASSES, WAN};

const RULES: &str = "block in log\npass in on wan proto tcp modulate state\n";
const CLIENT: usize = 0;
const SERVER: usize = 1;
/// Where each end's own numbers begin.
const FIRST: [u32; 2] = [1_000, 5_000];

/// A connection over a bridge that translates it.
struct Connection {
    bridge: Bridge,
    hosts: [SocketAddr; 2],
    /// What is added to the numbers of each end.
    difference: [u32; 2],
}

/// A segment of one end, with the numbers that each end has chosen.
#[derive(Clone)]
struct Segment {
    from: usize,
    flags: u8,
    seq: u32,
    ack: u32,
    payload: Vec<u8>,
    /// SACK blocks.
    sack: Vec<(u32, u32)>,
    /// Other options.
    options: Vec<u8>,
}

fn segment(from: usize, flags: u8, seq: u32, ack: u32) -> Segment {
    let (payload, sack, options) = (Vec::new(), Vec::new(), Vec::new());
    Segment { from, flags, seq, ack, payload, sack, options }
}

impl Segment {
    fn data(mut self, bytes: &[u8]) -> Self {
        self.payload.extend(bytes);
        self
    }
}

impl Connection {
    fn new(rules: &str, hosts: [SocketAddr; 2]) -> Self {
        let mut it = Self { bridge: Bridge::new(rules), hosts, difference: [0; 2] };
        it.open();
        it
    }

    fn v4(rules: &str) -> Self {
        Self::new(rules, [([192, 0, 2, 1], 40_000).into(), ([198, 51, 100, 2], 80).into()])
    }

    fn v6(rules: &str) -> Self {
        let host = |last| [0x2001, 0xdb8, 0, 0, 0, 0, 0, last];
        Self::new(rules, [(host(1), 40_000).into(), (host(2), 80).into()])
    }

    /// The handshake, which tells the differences.
    fn open(&mut self) {
        for from in [CLIENT, SERVER] {
            self.difference[from] = 0;
            let flags = if from == CLIENT { SYN } else { SYN | ACK };
            let sent = segment(from, flags, FIRST[from], FIRST[CLIENT] + 1);
            let frame = self.built(&sent, false).frame();
            assert_eq!(self.bridge.send(port(from), &frame), PASSES);
            self.difference[from] = header(&self.bridge.frame).0.wrapping_sub(FIRST[from]);
            assert_eq!(self.bridge.frame, self.built(&sent, true).frame());
        }
        assert_eq!(self.send(&segment(CLIENT, ACK, 1_001, 5_001)), PASSES);
    }

    /// The segment as its sender sends it, or as its receiver gets it.
    fn built(&self, segment: &Segment, received: bool) -> Build {
        let from = segment.from;
        let (own, others) = if received { (from, 2) } else { (2, 1 - from) };
        let add = |number: u32, end: usize| {
            number.wrapping_add(self.difference.get(end).copied().unwrap_or(0))
        };
        let mut options = segment.options.clone();
        if !segment.sack.is_empty() {
            options.extend([1, 1, 5, 2 + 8 * segment.sack.len() as u8]);
            for edge in segment.sack.iter().flat_map(|&(left, right)| [left, right]) {
                options.extend(add(edge, others).to_be_bytes());
            }
        }
        let ack = if segment.flags & ACK == 0 { 0 } else { add(segment.ack, others) };
        build::tcp(self.hosts[from], self.hosts[1 - from], segment.flags)
            .seq(add(segment.seq, own))
            .ack(ack)
            .tcp_options(&options)
            .payload(&segment.payload)
    }

    /// Sends it; what passes is what its receiver has to get.
    fn send(&mut self, segment: &Segment) -> Option<Reason> {
        let frame = self.built(segment, false).frame();
        let verdict = self.bridge.send(port(segment.from), &frame);
        if verdict == PASSES {
            assert_eq!(self.bridge.frame, self.built(segment, true).frame());
        }
        verdict
    }

    fn listing(&self) -> String {
        self.bridge.listing().concat()
    }
}

const fn port(from: usize) -> PortIndex {
    if from == CLIENT { WAN } else { LAN }
}

/// Sequence and acknowledgement number of a frame whose checksums are right.
fn header(frame: &[u8]) -> (u32, u32) {
    let mut frames = Owned::new();
    frames.push(WAN, frame);
    let packet = Packet::parse(frames.head(0), &frames.meta(0)).expect("it parses");
    assert!(checksum::verify(&packet, &frames, 0), "{frame:x?}");
    let Transport::Tcp(header) = packet.transport else { panic!("{packet:?}") };
    (header.seq, header.ack)
}

#[test]
fn each_end_sees_other_numbers_of_its_peer_and_its_own_come_back() {
    for mut it in [Connection::v4(RULES), Connection::v6(RULES)] {
        assert!(it.difference[0] != 0 && it.difference[1] != 0, "one in 2^31");
        assert_ne!(it.difference[0], it.difference[1]);
        assert!(it.listing().ends_with("ESTABLISHED:ESTABLISHED"));
        let state = it.bridge.states().remove(0);
        assert_eq!(state.peers.map(|peer| peer.seq_lo), [1_001, 5_001], "known by its own numbers");
        assert_eq!(state.peers.map(|peer| peer.seq_diff), it.difference);
        for length in [1, 2, 1_399] {
            let (seq, ack) = (1_001, 5_001);
            assert_eq!(
                it.send(&segment(CLIENT, PSH | ACK, seq, ack).data(&vec![7; length])),
                PASSES
            );
            assert_eq!(it.send(&segment(SERVER, ACK, ack, seq + length as u32)), PASSES);
        }
        assert_eq!(it.send(&segment(SERVER, FIN | ACK, 5_001, 2_400)), PASSES);
        assert_eq!(it.send(&segment(CLIENT, FIN | ACK, 2_400, 5_002)), PASSES);
        assert_eq!(it.send(&segment(SERVER, ACK, 5_002, 2_401)), PASSES);
        assert!(it.listing().ends_with("FIN_WAIT_2:FIN_WAIT_2"));
        assert!(it.bridge.log.is_empty(), "{:?}", it.bridge.log);
    }
}

#[test]
fn only_syns_begin_a_translation_and_only_where_numbers_may_change() {
    let numbers = |rules: &str, flags: u8, options: &[u8]| {
        let mut bridge = Bridge::new(rules);
        let hosts = [([192, 0, 2, 1], 40_000), ([198, 51, 100, 2], 80)];
        let frame =
            build::tcp(hosts[0], hosts[1], flags).seq(9).ack(0).tcp_options(options).frame();
        assert_eq!(bridge.send(WAN, &frame), PASSES);
        (header(&bridge.frame).0, bridge.states()[0].peers[0].seq_diff)
    };
    let (seq, difference) = numbers(RULES, SYN, &[]);
    assert_eq!(seq, difference.wrapping_add(9));
    // From the middle; one that half of takes another way; signed (RFC 2385, RFC 5925).
    let any = "pass in on wan proto tcp flags any modulate state\n";
    assert_eq!(numbers(any, ACK, &[]), (9, 0));
    let sloppy =
        "pass in on wan proto tcp modulate state\npass out proto tcp keep state (sloppy)\n";
    assert_eq!(numbers(sloppy, SYN, &[]), (9, 0));
    assert_eq!(numbers(RULES, SYN, &[&[19, 18][..], &[3; 16]].concat()), (9, 0));
    assert_eq!(numbers(RULES, SYN, &[&[29, 16][..], &[3; 14]].concat()), (9, 0));
    // One of the two rules is enough.
    let leaving = "pass in on wan proto tcp\npass out on lan proto tcp modulate state\n";
    assert_eq!(numbers(leaving, SYN, &[]), (seq, difference), "a flow's number is always the same");
}

#[test]
fn a_syn_that_comes_again_gets_the_same_number() {
    let mut bridge = Bridge::new(RULES);
    let syn =
        |seq| build::tcp(([192, 0, 2, 1], 40_000), ([198, 51, 100, 2], 80), SYN).seq(seq).frame();
    let mut seen = Vec::new();
    for seq in [7, 7, 8] {
        assert_eq!(bridge.send(WAN, &syn(seq)), PASSES);
        seen.push(header(&bridge.frame).0);
    }
    // Another attempt counts on as the host does.
    assert_eq!((seen[1], seen[2]), (seen[0], seen[0].wrapping_add(1)));
    bridge.forget_states();
    assert_eq!(bridge.send(WAN, &syn(7)), PASSES);
    assert_eq!(header(&bridge.frame).0, seen[0]);
    let other = build::tcp(([192, 0, 2, 1], 40_001), ([198, 51, 100, 2], 80), SYN).seq(7);
    assert_eq!(bridge.send(WAN, &other.frame()), PASSES);
    assert_ne!(header(&bridge.frame).0, seen[0]);
}

#[test]
fn sack_blocks_are_translated() {
    let mut it = Connection::v6(RULES);
    for (seq, length) in [(1_001, 1_000), (3_001, 500), (5_001, 500)] {
        assert_eq!(it.send(&segment(CLIENT, ACK, seq, 5_001).data(&vec![1; length])), PASSES);
    }
    let mut ack = segment(SERVER, ACK, 5_001, 2_001);
    ack.sack = vec![(3_001, 3_501), (5_001, 5_501)];
    assert_eq!(it.send(&ack), PASSES);
    // Beside timestamps, which stay, and at an odd place.
    ack.options = [&[8, 10][..], &[9; 8], &[1]].concat();
    assert_eq!(it.send(&ack), PASSES);
    // What was received twice stands first (RFC 2883).
    ack.options.clear();
    ack.sack = vec![(1_001, 1_101), (3_001, 3_501), (5_001, 5_501)];
    assert_eq!(it.send(&ack), PASSES);
}

#[test]
fn what_does_not_fit_is_refused_as_without_translation() {
    let cases = [
        segment(CLIENT, PSH | ACK, 1_001 + 70_000, 5_001).data(b"x"),
        segment(CLIENT, ACK, 1_001, 5_001 + 100_000).data(b"x"),
        segment(SERVER, ACK, 5_001, 1_001 + 100_000),
        segment(SERVER, ACK, 5_001 + 70_000, 1_001).data(b"x"),
        segment(CLIENT, RST, 1_001 + 5, 0),
        segment(SERVER, RST | ACK, 5_001 + 5, 1_001),
        segment(SERVER, SYN | ACK, 5_000, 1_002),
        segment(CLIENT, RST, 1_001, 0),
        segment(SERVER, ACK, 5_001, 1_001).data(b"after"),
    ];
    let mut plain = Connection::v4("block in\npass in on wan proto tcp\n");
    assert_eq!(plain.difference, [0, 0]);
    let mut translated = Connection::v4(RULES);
    for case in &cases {
        let (one, other) = (plain.send(case), translated.send(case));
        assert_eq!(one, other, "{:x} {} {}", case.flags, case.seq, case.ack);
        assert_eq!(plain.listing(), translated.listing());
    }
    // A stranger who has heard the numbers on one side knows nothing of the other.
    let mut it = Connection::v4(RULES);
    let seen_by_server =
        build::tcp(it.hosts[0], it.hosts[1], RST).seq(it.difference[0].wrapping_add(1_001));
    assert!(it.bridge.send(WAN, &seen_by_server.frame()).is_some());
    assert_eq!(it.send(&segment(CLIENT, RST, 1_001, 0)), PASSES);
}

#[test]
fn hosts_that_have_forgotten_find_back_together() {
    let mut it = Connection::v4(RULES);
    // The client comes again after a reboot; the server acknowledges what it knows and is reset.
    let again = segment(CLIENT, SYN, 3_000_000_000, 0);
    assert_eq!(it.send(&again), PASSES);
    assert_eq!(it.send(&segment(SERVER, ACK, 5_001, 1_001)), PASSES);
    assert_eq!(it.send(&segment(CLIENT, RST, 1_001, 0)), PASSES);
    assert_eq!(it.send(&again), PASSES);
    assert_eq!(it.send(&segment(SERVER, SYN | ACK, 77, 3_000_000_001)), PASSES);
    assert_eq!(it.send(&segment(CLIENT, ACK, 3_000_000_001, 78)), PASSES);
    assert!(it.listing().ends_with("ESTABLISHED:ESTABLISHED"));
    // Only the server knows of an old connection: its ACK says so, and reset it begins anew.
    let mut it = Connection::v4(RULES);
    it.bridge.forget_states();
    assert_eq!(it.send(&again), PASSES);
    assert_eq!(it.send(&segment(SERVER, ACK, 5_001, 1_001)), PASSES);
    assert_eq!(it.send(&segment(CLIENT, RST, 1_001, 0)), PASSES);
    assert_eq!(it.send(&again), PASSES);
    assert_eq!(it.send(&segment(SERVER, SYN | ACK, 77, 3_000_000_001)), PASSES);
    // Both have forgotten.
    let mut it = Connection::v4(RULES);
    assert_eq!(it.send(&again), PASSES);
    let answer = segment(SERVER, SYN | ACK, 2_000_000_000, 3_000_000_001);
    assert_eq!(it.send(&answer), Some(Reason::TcpForgotten));
    assert_eq!(it.send(&again), PASSES);
    assert_eq!(it.send(&answer), PASSES);
}

#[test]
fn errors_quote_what_their_receiver_has_sent() {
    for quoted in [8, 9, 12, 13, 14, 15, 16, 18, 19, 20, 40] {
        for v6 in [false, true] {
            let mut it = if v6 { Connection::v6(RULES) } else { Connection::v4(RULES) };
            let data = segment(CLIENT, PSH | ACK, 1_001, 5_001).data(&[7; 20]);
            assert_eq!(it.send(&data), PASSES);
            let error = |frame: &[u8]| {
                let network = if v6 { 40 } else { 20 };
                let frame = &frame[..14 + network + quoted];
                let kind = if v6 { icmp::v6::UNREACHABLE } else { icmp::v4::UNREACHABLE };
                let from = if v6 {
                    "2001:db8::9".parse::<std::net::IpAddr>().expect("an address")
                } else {
                    [198, 51, 100, 1].into()
                };
                build::icmp(from, it.hosts[CLIENT].ip(), kind, 1).quote(frame).frame()
            };
            let (sent, received) = (it.built(&data, false).frame(), it.built(&data, true).frame());
            let (comes, expected) = (error(&received), error(&sent));
            assert_eq!(it.bridge.send(LAN, &comes), PASSES, "{quoted}");
            let mut expected = expected;
            if quoted < 14 {
                // Whether the number behind means anything is not quoted.
                let at = 14 + if v6 { 40 + 8 + 40 } else { 20 + 8 + 20 };
                let from = at + 8..at + quoted.min(12);
                expected[from.clone()].copy_from_slice(&comes[from]);
            }
            let field = 14 + if v6 { 40 } else { 20 } + 2;
            assert_eq!(without(&it.bridge.frame, field), without(&expected, field), "{quoted}");
            let mut frames = Owned::new();
            frames.push(LAN, &it.bridge.frame);
            let packet = Packet::parse(frames.head(0), &frames.meta(0)).expect("it parses");
            assert!(checksum::verify(&packet, &frames, 0), "{quoted}");
            // In the numbers of the client it would be of a segment that the server never got.
            let stray = error(&sent);
            assert_eq!(it.bridge.send(LAN, &stray), Some(Reason::IcmpWindow));
        }
    }
}

/// Without the two bytes of a checksum.
fn without(frame: &[u8], field: usize) -> Vec<u8> {
    [&frame[..field], &frame[field + 2..]].concat()
}

#[test]
fn both_ends_believe_the_resets_of_a_connection_too_many() {
    let rules = "pass in on wan proto tcp modulate state (max-src-conn 1)\n";
    let mut it = Connection::v4(rules);
    it.hosts[CLIENT].set_port(40_001);
    let mut it = Connection { difference: [0; 2], ..it };
    for from in [CLIENT, SERVER] {
        let flags = if from == CLIENT { SYN } else { SYN | ACK };
        let frame = it.built(&segment(from, flags, FIRST[from], 1_001), false).frame();
        assert_eq!(it.bridge.send(port(from), &frame), PASSES);
        it.difference[from] = header(&it.bridge.frame).0.wrapping_sub(FIRST[from]);
    }
    it.bridge.crafted.clear();
    let ack = segment(CLIENT, ACK, 1_001, 5_001);
    assert_eq!(it.send(&ack), Some(Reason::MaxSrcConn));
    let [client, server] = it.difference;
    let sent: Vec<_> =
        it.bridge.crafted.iter().map(|(port, frame)| (*port, header(frame).0)).collect();
    assert_eq!(sent, [(LAN, client.wrapping_add(1_001)), (WAN, server.wrapping_add(5_001))]);
    // And those that answer whatever comes later.
    let verdict = it.bridge.judge(WAN, &it.built(&ack, false).frame());
    assert_eq!(verdict, Verdict::Reflect(Reason::AfterReset));
    assert_eq!(header(&it.bridge.frame).0, server.wrapping_add(5_001));
}

#[test]
fn nothing_of_an_ended_connection_is_logged_or_passes_untranslated() {
    let mut it = Connection::v4(RULES);
    assert_eq!(it.send(&segment(SERVER, FIN | ACK, 5_001, 1_001)), PASSES);
    assert_eq!(it.send(&segment(CLIENT, FIN | ACK, 1_001, 5_002)), PASSES);
    assert_eq!(it.send(&segment(SERVER, ACK, 5_002, 1_002)), PASSES);
    let quoted = it.built(&segment(SERVER, FIN | ACK, 5_001, 1_001), true).frame();
    it.bridge.wait(Duration::from_secs(91));
    assert_eq!(it.listing(), "");
    let late = Some(Reason::TcpLate);
    assert_eq!(it.send(&segment(SERVER, FIN | ACK, 5_001, 1_001)), late);
    assert_eq!(it.send(&segment(CLIENT, ACK, 1_002, 5_002)), late);
    assert_eq!(it.send(&segment(CLIENT, RST, 1_002, 0)), late);
    let error = build::icmp([192, 0, 2, 1], [198, 51, 100, 2], icmp::v4::UNREACHABLE, 1);
    assert_eq!(it.bridge.send(WAN, &error.quote(&quoted).frame()), late);
    assert!(it.bridge.log.is_empty(), "{:?}", it.bridge.log);
    // Not of it.
    assert_eq!(it.send(&segment(CLIENT, ACK, 900_000_000, 5_002)), Some(Reason::BlockRule));
    // The port can be used again at once.
    it.open();
    assert!(it.listing().ends_with("ESTABLISHED:ESTABLISHED"));
}

#[test]
fn trains_and_checksums_left_to_hardware_are_translated_once() {
    for partial in [false, true] {
        let mut it = Connection::v4(RULES);
        let train = segment(SERVER, ACK, 5_001, 1_001).data(&vec![5; 30_000]);
        let build = |received| {
            let build = it.built(&train, received);
            if partial { build.partial().frame() } else { build.frame() }
        };
        let (sent, received) = (build(false), build(true));
        let mut frames = Owned::new();
        frames.push_segments(LAN, &[&sent[..60], &sent[60..3_000], &sent[3_000..]]);
        frames.meta_mut(0).gso_size = 1_448;
        frames.meta_mut(0).checksum = if partial { Checksum::Valid } else { Checksum::Unknown };
        let mut verdicts = Vec::new();
        it.bridge.engines[0].judge(it.bridge.now, &mut frames, &mut verdicts, &mut it.bridge.log);
        assert_eq!(verdicts, [Verdict::Forward(WAN)]);
        assert!(frames.bytes(0) == received, "partial: {partial}");
    }
}

#[test]
fn timestamps_are_shifted_beside_modulated_numbers() {
    let rules = "match in scrub (reassemble tcp)\npass in on wan proto tcp modulate state\n";
    let mut bridge = Bridge::new(rules);
    let (client, server) = (([192, 0, 2, 1], 40_000), ([198, 51, 100, 2], 80));
    let stamps = |value: u32, echo: u32| {
        [&[1, 1, 8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat()
    };
    let read = |frame: &[u8]| {
        let word = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().expect("four"));
        (header(frame), word(58), word(62))
    };
    let syn = build::tcp(client, server, SYN).seq(1_000).tcp_options(&stamps(10, 0));
    assert_eq!(bridge.send(WAN, &syn.frame()), PASSES);
    let ((seq, _), value, echo) = read(&bridge.frame);
    let (number, clock) = (seq.wrapping_sub(1_000), value.wrapping_sub(10));
    assert!(number != 0 && clock != 0 && echo == 0);
    let answer = build::tcp(server, client, SYN | ACK).seq(5_000).ack(seq.wrapping_add(1));
    let answer = answer.tcp_options(&stamps(20, value));
    assert_eq!(bridge.send(LAN, &answer.frame()), PASSES);
    let ((other, ack), value, echo) = read(&bridge.frame);
    assert_eq!((ack, echo), (1_001, 10), "the client gets its own back");
    assert!(other != 5_000 && value != 20);
    let data = build::tcp(client, server, ACK).seq(1_001).ack(other.wrapping_add(1));
    let data = data.tcp_options(&stamps(11, value)).payload(b"x");
    assert_eq!(bridge.send(WAN, &data.frame()), PASSES);
    let expected = (1_001_u32.wrapping_add(number), 5_001);
    assert_eq!(read(&bridge.frame), (expected, 11_u32.wrapping_add(clock), 20));
}
