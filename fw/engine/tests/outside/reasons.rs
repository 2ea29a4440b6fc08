//! Every drop reason is reached: a row each of [`ROWS`], with the rules and the frame that it takes.

use std::net::Ipv6Addr;
use std::time::Duration;

use weir_engine::frame::Owned;
use weir_engine::packet::tcp::flags::{ACK, FIN, RST, SYN};
use weir_engine::packet::{build, icmp};
use weir_engine::{PortIndex, Reason, Verdict};

use crate::bridge::{Bridge, LAN, PASSES, WAN};
use crate::judge::{CLIENT, SERVER, handshake};

/// Sends a frame that is refused, and returns by what reason.
type Way = fn() -> Option<Reason>;

const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// A row for each reason of the engine, in the order of [`Reason::ALL`]. Whoever adds a reason adds a
/// row.
#[rustfmt::skip]
const ROWS: &[(Reason, Way)] = &[
    (Reason::NoRuleset, || Bridge::without_rules(1).send(WAN, &syn())),
    (Reason::Runt, || passing(&[0; 13])),
    (Reason::TooManyTags, || passing(&tcp(SYN).vlan(1).vlan(2).vlan(3).frame())),
    (Reason::TruncatedTag, || passing(&tcp(SYN).vlan(1).frame()[..15])),
    (Reason::EtherType, || passing(&ethernet([2, 0, 0, 0, 0, 2], &[0x88, 0xb5]))),
    (Reason::PppoeHeader, || passing(&ethernet([2, 0, 0, 0, 0, 2], &[0x88, 0x64, 0x11]))),
    (Reason::PppoeLength, || passing(&tcp(SYN).pppoe(1).frame()[..40])),
    (Reason::Pppoe, || passing(&ethernet([2, 0, 0, 0, 0, 2],
        &[0x88, 0x64, 0x11, 0, 0, 1, 0, 2, 0, 0xfd]))),
    (Reason::MalformedArp, || passing(&build::arp(3, (MAC, CLIENT.0), (MAC, SERVER.0)))),
    (Reason::SplitHeader, split_header),
    (Reason::TruncatedIp, || passing(&syn()[..50])),
    (Reason::IpVersion, || passing(&patched(14, 0x65))),
    (Reason::IpHeaderLength, || passing(&patched(14, 0x44))),
    (Reason::IpChecksum, || passing(&patched(24, 0xaa))),
    (Reason::IpOptions, || passing(&tcp(SYN).ip_options(&[7, 7, 4, 0, 0, 0, 0]).frame())),
    (Reason::ExtensionHeader, || passing(&build::udp((CLIENT6, 1), (SERVER6, 2))
        .extension(43, &[0, 0, 0, 1, 0, 0, 0, 0]).frame())),
    (Reason::FragLength, || passing(&part(0..50, true))),
    (Reason::FragTiny, || passing(&build::fragment(&syn(), 1, 0..16, true))),
    (Reason::FragDf, || passing(&tcp(SYN).payload(&[0; 4]).fragment(0x6000).frame())),
    (Reason::FragOverlap, || parts("pass\n", &[part(0..48, true), part(40..96, true)])),
    (Reason::FragDuplicate, || parts("pass\n", &[part(0..48, true), part(0..48, true)])),
    (Reason::FragMany, || {
        let parts: Vec<_> = (0..129).map(|n| part(8 + n * 8..16 + n * 8, true)).collect();
        self::parts("pass\n", &parts)
    }),
    (Reason::FragLimit, || parts("set limit frags 0\npass\n", &[part(0..48, true)])),
    (Reason::FragTimeout, || parts("set timeout frag 0\npass\n", &[part(0..48, true)])),
    (Reason::FragDiscovery, || {
        let message = build::icmp(CLIENT6, SERVER6, icmp::v6::ROUTER_ADVERTISEMENT, 0).ttl(255);
        let frame = message.payload(&[0; 64]).frame();
        parts("pass\n", &[build::fragment(&frame, 1, 0..64, true), build::fragment(&frame, 1, 64..72, false)])
    }),
    (Reason::SourceAddress, || passing(&build::udp(([224, 0, 0, 1], 1), SERVER).frame())),
    (Reason::TruncatedTcp, || passing(&build::other(CLIENT.0, SERVER.0, 6).payload(&[0; 19]).frame())),
    (Reason::TcpHeaderLength, || passing(&patched(46, 0x40))),
    (Reason::TcpFlags, || passing(&tcp(SYN | FIN).frame())),
    (Reason::TcpChecksum, || passing(&patched(50, 0xaa))),
    (Reason::TruncatedUdp, || passing(&build::other(CLIENT.0, SERVER.0, 17).payload(&[0; 7]).frame())),
    (Reason::UdpLength, || passing(&build::other(CLIENT.0, SERVER.0, 17)
        .payload(&[0, 1, 0, 2, 0, 9, 0, 0]).frame())),
    (Reason::UdpPort, || passing(&build::udp(CLIENT, (SERVER.0, 0)).frame())),
    (Reason::TruncatedSctp, || passing(&build::other(CLIENT.0, SERVER.0, 132).payload(&[0; 11]).frame())),
    (Reason::SctpChunks, || passing(&build::sctp(CLIENT, SERVER, 7, &[3, 0, 0, 3]).frame())),
    (Reason::SctpChecksum, || {
        let mut init = build::sctp(CLIENT, SERVER, 0, &SCTP_INIT).frame();
        init[45] ^= 1;
        passing(&init)
    }),
    (Reason::TruncatedIcmp, || passing(&build::other(CLIENT.0, SERVER.0, 1).payload(&[8; 7]).frame())),
    (Reason::IcmpFamily, || passing(&build::other(CLIENT.0, SERVER.0, 58).payload(&[0; 8]).frame())),
    (Reason::IcmpQuote, || passing(&build::icmp(CLIENT.0, SERVER.0, icmp::v4::UNREACHABLE, 1)
        .payload(&[0x45; 20]).frame())),
    (Reason::NdHopLimit, || passing(&router_advertisement(64))),
    (Reason::Llc, || passing(&ethernet([2, 0, 0, 0, 0, 2], &[0, 0x20, 0xaa, 0xaa, 3]))),
    (Reason::LinkControl, || alone("set link-control none\npass\n", WAN,
        &ethernet([0x01, 0x80, 0xc2, 0, 0, 0x0e], &[0x88, 0xcc, 2, 7, 4]))),
    (Reason::LinkLocal, || passing(&ethernet([0x01, 0x80, 0xc2, 0, 0, 0x0e], &[0x88, 0xf7]))),
    (Reason::MacControl, || passing(&ethernet([0x01, 0x80, 0xc2, 0, 0, 1], &[0x88, 0x08, 0, 1]))),
    (Reason::EtherRule, || alone("ether block in on wan\npass\n", WAN, &syn())),
    (Reason::NeighbourGuard, || alone("set neighbour-guard on lan 192.0.2.1\npass\n", WAN,
        &build::arp(1, (MAC, CLIENT.0), ([0; 6], SERVER.0)))),
    (Reason::NeighbourMac, neighbour_mac),
    (Reason::RouterGuard, || alone("set router-guard on wan\npass\n", LAN, &router_advertisement(255))),
    (Reason::DhcpGuard, || alone("set dhcp-guard on wan\npass\n", LAN,
        &build::udp((CLIENT.0, 67), ([255; 4], 68)).frame())),
    (Reason::BlockRule, || alone("block\n", WAN, &syn())),
    (Reason::NoRule, || alone("pass in on lan\n", WAN, &syn())),
    (Reason::PacketRate, || after("pass proto icmp max-pkt-rate 1/10\n",
        &[(WAN, echo(1)), (WAN, echo(2))])),
    (Reason::TcpNoState, || passing(&tcp(ACK).frame())),
    (Reason::TcpWindow, || established(&tcp(ACK).seq(1_000_000).ack(5001).payload(b"x"))),
    (Reason::TcpOld, || established(&tcp(ACK).seq(1001_u32.wrapping_sub(70_000)).ack(5001).payload(b"x"))),
    (Reason::TcpBadAck, || established(&tcp(ACK).seq(1001).ack(5_000_000))),
    (Reason::TcpOldAck, || established(&tcp(ACK).seq(1001).ack(5001_u32.wrapping_sub(140_000)))),
    (Reason::TcpBadReset, || established(&tcp(RST).seq(1003))),
    (Reason::TcpFarReset, || established(&tcp(RST).seq(900_000_000))),
    (Reason::TcpBadSyn, || {
        let mut bridge = Bridge::new("pass\n");
        assert_eq!(handshake(&mut bridge, CLIENT, SERVER), PASSES);
        bridge.send(LAN, &build::tcp(SERVER, CLIENT, SYN).seq(900_000).frame())
    }),
    (Reason::TcpBadSynAck, || answered(900_000_000, 1001)),
    (Reason::TcpForgotten, || answered(77, 3_000_000_001)),
    (Reason::TcpTimestamp, crate::timestamps::two_of_them),
    (Reason::SctpNoState, || passing(&build::sctp(CLIENT, SERVER, 7, &[6, 0, 0, 4]).frame())),
    (Reason::SctpTag, || after("pass\n", &[
        (WAN, build::sctp(CLIENT, SERVER, 0, &SCTP_INIT).frame()),
        (LAN, build::sctp(SERVER, CLIENT, 8, &[6, 0, 0, 4]).frame()),
    ])),
    (Reason::TcpLate, || {
        let mut bridge = Bridge::new("pass\n");
        assert_eq!(handshake(&mut bridge, CLIENT, SERVER), PASSES);
        bridge.forget_states();
        bridge.send(WAN, &tcp(ACK).seq(1001).ack(5001).frame())
    }),
    (Reason::IcmpUnmatched, || alone("pass\n", LAN, &about(&tcp(ACK)))),
    (Reason::IcmpWindow, icmp_window),
    (Reason::StateLimit, || {
        let mut bridge = Bridge::new("set limit states 1\npass\n");
        assert_eq!(handshake(&mut bridge, CLIENT, SERVER), PASSES);
        bridge.send(WAN, &build::tcp((CLIENT.0, 2), SERVER, SYN).frame())
    }),
    (Reason::MaxStates, || limited("max 1", &[(WAN, syn()), (WAN, tcp_of(2, SYN))])),
    (Reason::MaxSrcNodes, || limited("max-src-nodes 1",
        &[(WAN, syn()), (WAN, build::tcp(([192, 0, 2, 9], 1), SERVER, SYN).frame())])),
    (Reason::MaxSrcStates, || limited("max-src-states 1", &[(WAN, syn()), (WAN, tcp_of(2, SYN))])),
    (Reason::MaxSrcConn, || second_connection("max-src-conn 1")),
    (Reason::MaxSrcConnRate, || second_connection("max-src-conn-rate 1/10")),
    (Reason::Overloaded, || {
        let mut bridge = Bridge::new("pass keep state (max-src-conn 1, overload <bad>)\n");
        for port in 0..2 {
            let _ = handshake(&mut bridge, (CLIENT.0, port), SERVER);
        }
        bridge.send(WAN, &tcp_of(2, SYN))
    }),
    (Reason::MaxIdle, || too_late("max-idle 5")),
    (Reason::MinRate, || too_late("min-rate 500/5")),
    (Reason::SrcNodeLimit, || {
        let mut bridge = Bridge::new("set limit src-nodes 1\npass keep state (max-src-conn 9)\n");
        assert_eq!(handshake(&mut bridge, CLIENT, SERVER), PASSES);
        bridge.send(WAN, &build::tcp(([192, 0, 2, 9], 1), SERVER, SYN).frame())
    }),
    (Reason::AfterReset, || {
        let mut bridge = Bridge::new("pass keep state (max-src-conn 9)\n");
        assert_eq!(handshake(&mut bridge, CLIENT, SERVER), PASSES);
        assert_eq!(bridge.send(WAN, &tcp(RST).seq(1001).frame()), PASSES);
        bridge.send(LAN, &build::tcp(SERVER, CLIENT, ACK).seq(5001).ack(1001).frame())
    }),
    (Reason::SynproxyUnfit, || alone("pass proto tcp allow-opts synproxy state\n", WAN,
        &tcp(SYN).ip_options(&[7, 7, 4, 0, 0, 0, 0]).frame())),
    (Reason::SynproxyWait, || crate::synproxy::dropped_while_asking(WAN, ACK)),
    (Reason::SynproxyServer, || crate::synproxy::dropped_while_asking(LAN, SYN)),
    (Reason::ReflectLimit, reflect_limit),
    (Reason::ReflectUnfit, || alone("block return\n", WAN, &tcp(RST).frame())),
];

/// What workers count, with the test that makes them.
const OF_WORKERS: [(Reason, &str); 2] = [
    (Reason::OutputFull, "fn a_full_output_queue_drops_and_counts()"),
    (Reason::HandoverFull, "fn a_full_handover_ring_drops_and_counts()"),
];

#[test]
fn every_drop_reason_is_reached() {
    for &reason in Reason::ALL {
        if let Some((_, test)) = OF_WORKERS.iter().find(|(of, _)| *of == reason) {
            let tests = include_str!("../../../daemon/tests/daemon/worker.rs");
            let body = tests.split_once(test).and_then(|(_, rest)| rest.split_once("\n}\n"));
            let (body, _) = body.unwrap_or_else(|| panic!("{test}, for {reason}, is gone"));
            assert!(body.contains(&format!("Reason::{reason:?}")), "{test} asks for no {reason}");
            continue;
        }
        let row = ROWS.iter().find(|(of, _)| *of == reason);
        let (_, way) = row.unwrap_or_else(|| panic!("no row for {reason}: add a frame to ROWS"));
        assert_eq!(way(), Some(reason));
    }
    assert_eq!(ROWS.len() + OF_WORKERS.len(), Reason::COUNT, "one row each");
}

const MAC: [u8; 6] = build::SOURCE_MAC;

/// A part of a long datagram.
fn part(range: std::ops::Range<usize>, more: bool) -> Vec<u8> {
    build::fragment(&build::udp(CLIENT, SERVER).payload(&[7; 2000]).frame(), 1, range, more)
}

/// Sends fragments in, and returns by what reason the last that goes is dropped.
fn parts(rules: &str, fragments: &[Vec<u8>]) -> Option<Reason> {
    let mut bridge = Bridge::new(rules);
    let judged = fragments.iter().flat_map(|part| bridge.feed(WAN, std::slice::from_ref(part)));
    match judged.last()?.verdict {
        Verdict::Drop(reason) => Some(reason),
        _ => None,
    }
}

fn tcp(flags: u8) -> build::Build {
    build::tcp(CLIENT, SERVER, flags)
}

/// From another port of the client.
fn tcp_of(port: u16, flags: u8) -> Vec<u8> {
    build::tcp((CLIENT.0, port), SERVER, flags).frame()
}

/// The last of some frames, against a rule with a limit.
fn limited(option: &str, frames: &[(PortIndex, Vec<u8>)]) -> Option<Reason> {
    after(&format!("pass keep state ({option})\n"), frames)
}

fn second_connection(option: &str) -> Option<Reason> {
    let mut bridge = Bridge::new(&format!("pass keep state ({option})\n"));
    assert_eq!(handshake(&mut bridge, CLIENT, SERVER), PASSES);
    handshake(&mut bridge, (CLIENT.0, 2), SERVER)
}

/// Data of a client that falls silent, after it has sent a byte that was taken.
fn too_late(option: &str) -> Option<Reason> {
    let mut bridge = Bridge::new(&format!("pass keep state ({option})\n"));
    assert_eq!(handshake(&mut bridge, CLIENT, SERVER), PASSES);
    let data = |seq| tcp(ACK).seq(seq).ack(5001).payload(b"x").frame();
    assert_eq!(bridge.send(WAN, &data(1001)), PASSES);
    let taken = build::tcp(SERVER, CLIENT, ACK).seq(5001).ack(1002).frame();
    assert_eq!(bridge.send(LAN, &taken), PASSES);
    bridge.now = bridge.now.after(Duration::from_secs(6));
    bridge.send(WAN, &data(1002))
}

fn syn() -> Vec<u8> {
    tcp(SYN).frame()
}

/// A SYN with one byte changed; the checksum of its IPv4 header is right unless it is that.
fn patched(at: usize, value: u8) -> Vec<u8> {
    let mut frame = syn();
    frame[at] = value;
    frame
}

fn ethernet(to: [u8; 6], behind: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &MAC, behind].concat();
    frame.resize(60, 0);
    frame
}

fn router_advertisement(ttl: u8) -> Vec<u8> {
    let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let message = build::icmp(router, SERVER6, icmp::v6::ROUTER_ADVERTISEMENT, 0);
    message.ttl(ttl).payload(&[0; 16]).frame()
}

fn echo(sequence: u16) -> Vec<u8> {
    build::echo(CLIENT.0, SERVER.0, 7, sequence).frame()
}

/// A router's complaint to the client about a segment of it.
fn about(segment: &build::Build) -> Vec<u8> {
    let router = [198, 51, 100, 1];
    let error = build::icmp(router, CLIENT.0, icmp::v4::UNREACHABLE, 3);
    error.quote(&segment.frame()).frame()
}

/// A frame alone, against rules; it is counted once, under its reason.
fn alone(rules: &str, port: PortIndex, frame: &[u8]) -> Option<Reason> {
    after(rules, &[(port, frame.to_vec())])
}

fn passing(frame: &[u8]) -> Option<Reason> {
    alone("pass\n", WAN, frame)
}

/// The last of some frames, of which all others pass.
fn after(rules: &str, frames: &[(PortIndex, Vec<u8>)]) -> Option<Reason> {
    let mut bridge = Bridge::new(rules);
    let mut seen = PASSES;
    for (port, frame) in frames {
        assert_eq!(seen, PASSES);
        seen = bridge.send(*port, frame);
    }
    let reason = seen?;
    let counted = bridge.counters().reasons;
    assert_eq!((counted[reason as usize], counted.iter().sum()), (1, 1), "{reason}");
    seen
}

/// The INIT of one who wants to be called 7.
const SCTP_INIT: [u8; 20] = [1, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1];

/// A SYN-ACK of the server, on a connection that stands, behind another SYN of the client.
fn answered(seq: u32, ack: u32) -> Option<Reason> {
    let mut bridge = Bridge::new("pass\n");
    assert_eq!(handshake(&mut bridge, CLIENT, SERVER), PASSES);
    assert_eq!(bridge.send(WAN, &tcp(SYN).seq(3_000_000_000).frame()), PASSES);
    bridge.send(LAN, &build::tcp(SERVER, CLIENT, SYN | ACK).seq(seq).ack(ack).frame())
}

/// A segment of a client whose connection stands.
fn established(segment: &build::Build) -> Option<Reason> {
    let mut bridge = Bridge::new("pass\n");
    assert_eq!(handshake(&mut bridge, CLIENT, SERVER), PASSES);
    bridge.send(WAN, &segment.frame())
}

fn split_header() -> Option<Reason> {
    let mut bridge = Bridge::new("pass\n");
    let mut frames = Owned::new();
    let syn = syn();
    frames.push_segments(WAN, &[&syn[..40], &syn[40..]]);
    let mut verdicts = Vec::new();
    bridge.engines[0].judge(bridge.now, &mut frames, &mut verdicts, &mut bridge.log);
    match verdicts[..] {
        [Verdict::Drop(reason)] => Some(reason),
        _ => None,
    }
}

fn neighbour_mac() -> Option<Reason> {
    let mut lie = build::arp(1, (MAC, CLIENT.0), ([0; 6], SERVER.0));
    lie[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0x0b]);
    alone("set neighbour-mac-check yes\npass\n", WAN, &lie)
}

fn icmp_window() -> Option<Reason> {
    let mut bridge = Bridge::new("pass\n");
    assert_eq!(handshake(&mut bridge, CLIENT, SERVER), PASSES);
    bridge.send(LAN, &about(&tcp(ACK).seq(1_000_000_000)))
}

fn reflect_limit() -> Option<Reason> {
    let mut bridge = Bridge::new("block return\n");
    let mut answered = 0;
    while let Verdict::Reflect(reason) = bridge.judge(WAN, &syn()) {
        assert_eq!(reason, Reason::BlockRule);
        answered += 1;
        assert!(answered < 100_000, "answers without end");
    }
    assert!(answered > 0);
    bridge.send(WAN, &syn())
}
