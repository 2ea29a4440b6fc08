//! Datagrams in fragments: judged whole, forwarded as they came, whatever order they come in; and
//! what attackers make of them.

use std::time::Duration;

use proptest::prelude::*;
use weir_config::options::Limit;
use weir_engine::frame::{Judged, Owned};
use weir_engine::packet::ipv4::Ipv4;
use weir_engine::packet::tcp::flags::{ACK, SYN};
use weir_engine::packet::{Packet, Tags, Transport, build, checksum};
use weir_engine::{Checksum, Engine, Meta, PortIndex, Reason, Verdict};

use crate::bridge::{Bridge, LAN, PASSES, WAN};
use crate::random::Random;

type Host = ([u8; 4], u16);
type Host6 = ([u16; 8], u16);

const CLIENT: Host = ([192, 0, 2, 1], 40_000);
const SERVER: Host = ([198, 51, 100, 2], 53);
const CLIENT6: Host6 = ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 40_000);
const SERVER6: Host6 = ([0x2001, 0xdb8, 0, 1, 0, 0, 0, 2], 53);

const TO_53: &str = "pass in on wan proto udp to port 53\nblock in proto udp to port 54\n";

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// A datagram of both families.
fn datagrams(length: usize) -> [Vec<u8>; 2] {
    let payload = payload(length);
    [
        build::udp(CLIENT, SERVER).payload(&payload).frame(),
        build::udp(CLIENT6, SERVER6).payload(&payload).frame(),
    ]
}

fn bytes(judged: &[Judged]) -> Vec<Vec<u8>> {
    judged.iter().map(|judged| judged.bytes.clone()).collect()
}

/// Whether all left by the other port.
fn passed(judged: &[Judged]) -> bool {
    judged.iter().all(|judged| judged.verdict == Verdict::Forward(PortIndex(1 - judged.port.0)))
}

fn reasons(judged: &[Judged]) -> Vec<Reason> {
    judged
        .iter()
        .map(|judged| match judged.verdict {
            Verdict::Drop(reason) => reason,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Sends fragments one after the other.
fn one_by_one(bridge: &mut Bridge, port: PortIndex, fragments: &[Vec<u8>]) -> Vec<Judged> {
    fragments.iter().flat_map(|fragment| bridge.feed(port, &[fragment.clone()])).collect()
}

#[test]
fn a_datagram_in_fragments_passes_as_it_came_when_it_is_whole() {
    for datagram in datagrams(4000) {
        for workers in [1, 2, 5] {
            let mut bridge = Bridge::with_workers(TO_53, workers);
            let mut fragments = build::fragments(&datagram, 7, 1480);
            fragments.swap(0, 2);
            assert_eq!(fragments.len(), 3);
            assert!(bridge.feed(WAN, &fragments[..1]).is_empty(), "it waits");
            assert!(bridge.feed(WAN, &fragments[1..2]).is_empty());
            let out = bridge.feed(WAN, &fragments[2..]);
            assert_eq!(bytes(&out), fragments, "in the order in which they came");
            assert!(passed(&out));
            let counters = bridge.counters();
            assert_eq!(counters.judged - counters.handed_over, 3);
            assert_eq!(counters.reasons.iter().sum::<u64>(), 0);
            let [state] = &bridge.states()[..] else { panic!("one state") };
            assert_eq!(state.packets, [1, 0], "it is one packet");
            // A second of the same flow is let in by the state, all in one batch.
            let again = build::fragments(&datagram, 8, 1480);
            assert_eq!(bytes(&bridge.feed(WAN, &again)), again);
            assert_eq!(bridge.states()[0].packets, [2, 0]);
            assert!(bridge.frames.iter().all(|frames| frames.held() == 0), "nothing is left");
            assert_eq!(bridge.shared.pool(Limit::Frags).used(), 0);
        }
    }
}

#[test]
fn the_rules_see_ports_and_the_whole_length() {
    for (port, reason) in [(54, Reason::BlockRule), (55, Reason::NoRule)] {
        let mut bridge = Bridge::new(TO_53);
        let datagram = build::udp(CLIENT, (SERVER.0, port)).payload(&payload(3000)).frame();
        let fragments = build::fragments(&datagram, 1, 1480);
        let out = one_by_one(&mut bridge, WAN, &fragments);
        assert_eq!(reasons(&out), [reason; 3], "each fragment counts");
        assert_eq!(bridge.counters().reasons[reason as usize], 3);
    }
    let mut bridge = Bridge::new("pass in log on wan proto udp to port 53\n");
    let fragments = build::fragments(&datagrams(3000)[0], 1, 1480);
    assert_eq!(bridge.feed(WAN, &fragments).len(), 3);
    assert_eq!(bridge.log.len(), 1, "one line");
    assert_eq!(bridge.log[0].length, 14 + 20 + 8 + 3000);
}

#[test]
fn tcp_in_fragments_is_tracked_and_its_checksum_counts() {
    let mut bridge = Bridge::new("pass in on wan proto tcp to port 80\n");
    let server = (SERVER.0, 80);
    // A SYN with data, so that it is long enough.
    let syn = build::tcp(CLIENT, server, SYN).seq(1000).payload(&payload(64)).frame();
    let mut fragments = build::fragments(&syn, 1, 40);
    assert_eq!(fragments.len(), 3);
    let last = fragments[2].len() - 1;
    fragments[2][last] ^= 1;
    let out = bridge.feed(WAN, &fragments);
    assert_eq!(reasons(&out), [Reason::TcpChecksum; 3], "verified over all of it");
    fragments[2][last] ^= 1;
    assert!(passed(&bridge.feed(WAN, &fragments)));
    let answer = build::tcp(server, CLIENT, SYN | ACK).seq(5000).ack(1001).frame();
    assert_eq!(bridge.send(LAN, &answer), PASSES);
    let data = build::tcp(CLIENT, server, ACK).seq(1001).ack(5001).payload(&payload(3000)).frame();
    let out = one_by_one(&mut bridge, WAN, &build::fragments(&data, 2, 1480));
    assert!(out.len() == 3 && passed(&out));
    let ack = build::tcp(server, CLIENT, ACK).seq(5001).ack(4001).frame();
    assert_eq!(bridge.send(LAN, &ack), PASSES);
    let [state] = &bridge.states()[..] else { panic!("one state") };
    assert_eq!((state.packets, state.bytes[0]), ([2, 2], 20 + 20 + 64 + 20 + 20 + 3000));
}

#[test]
fn a_blocked_datagram_is_answered_once() {
    let mut bridge = Bridge::new("block return\n");
    let fragments = build::fragments(&datagrams(3000)[0], 1, 1480);
    let out = bridge.feed(WAN, &fragments);
    assert_eq!(out.len(), 3);
    assert_eq!(out[0].verdict, Verdict::Reflect(Reason::BlockRule));
    assert_eq!(reasons(&out[1..]), [Reason::BlockRule; 2]);
    let meta = Meta {
        port: WAN,
        checksum: Checksum::Unknown,
        gso_size: 0,
        length: out[0].bytes.len() as u32,
    };
    let packet = Packet::parse(&out[0].bytes, &meta).unwrap();
    assert!(matches!(packet.transport, Transport::IcmpError(..)), "{packet:?}");
    // A host would not answer one whose checksum is wrong.
    let mut damaged = fragments;
    damaged[1][60] ^= 1;
    assert_eq!(reasons(&bridge.feed(WAN, &damaged)), [Reason::ReflectUnfit; 3]);
}

#[test]
fn what_rules_change_is_changed_in_all_fragments() {
    let mut bridge = Bridge::new(
        "match scrub (no-df random-id min-ttl 64) set (tos 0x10, prio 5)\npass proto udp\n",
    );
    for (round, ttl) in [(0_u16, 9), (1, 100)] {
        let build = build::udp(CLIENT, SERVER).payload(&payload(4000)).vlan(7).ttl(ttl).tos(3);
        let mut fragments = build::fragments(&build.frame(), 500, 1480);
        // Whoever made these has seen to it that only the first has a long way to go.
        fragments[2] = build::fragments(&build.clone().ttl(2).frame(), 500, 1480).remove(2);
        let out = bridge.feed(WAN, &fragments);
        assert!(out.len() == 3 && passed(&out), "{round}");
        let ids: Vec<u16> = out
            .iter()
            .map(|judged| {
                let ip = Ipv4::new(&judged.bytes, 18, judged.bytes.len()).unwrap();
                assert!(ip.checksum_is_right());
                assert_eq!(ip.tos(), 0x13);
                assert!(ip.ttl() >= 64, "{}", ip.ttl());
                assert_eq!(judged.bytes[14] >> 5, 5, "priority");
                ip.identification()
            })
            .collect();
        assert!(ids[0] != 500 && ids.iter().all(|&id| id == ids[0]), "{ids:?}");
    }
}

#[test]
fn both_ways_and_tags_and_protocols_are_told_apart() {
    let mut bridge = Bridge::new("pass\n");
    let first = |frame: Vec<u8>| build::fragments(&frame, 9, 1000).remove(0);
    let second = |frame: Vec<u8>| build::fragments(&frame, 9, 1000).remove(1);
    let data = payload(1500);
    let udp = build::udp(CLIENT, SERVER).payload(&data);
    let starts = [
        (WAN, first(udp.frame())),
        (WAN, first(udp.clone().vlan(3).frame())),
        (WAN, first(build::other(CLIENT.0, SERVER.0, 47).payload(&data).frame())),
        (LAN, first(udp.frame())),
        (WAN, first(build::udp((CLIENT.0, 1), (SERVER.0, 2)).payload(&data).vlan(4).frame())),
    ];
    for (port, start) in &starts {
        assert!(bridge.feed(*port, std::slice::from_ref(start)).is_empty());
    }
    assert_eq!(bridge.frames[0].held(), 5);
    let out = bridge.feed(WAN, &[second(udp.clone().vlan(3).frame())]);
    assert_eq!(out[0].bytes, starts[1].1);
    let out = bridge.feed(LAN, &[second(udp.frame())]);
    assert_eq!(out[0].bytes, starts[3].1);
    assert_eq!(bridge.frames[0].held(), 3);
}

#[test]
fn time_runs_out() {
    let mut bridge = Bridge::new("set timeout frag 10\npass\n");
    let fragments = build::fragments(&datagrams(4000)[1], 1, 1480);
    assert!(bridge.feed(WAN, &fragments[..2]).is_empty());
    bridge.wait(Duration::from_secs(9));
    assert!(bridge.given_up.is_empty());
    bridge.wait(Duration::from_secs(1));
    assert_eq!(reasons(&bridge.given_up), [Reason::FragTimeout; 2]);
    assert_eq!(bridge.counters().reasons[Reason::FragTimeout as usize], 2);
    assert!(bridge.feed(WAN, &fragments[2..]).is_empty(), "the rest begins anew");
    let blocked = bridge.counters().ports[1].traffic[1][0][1];
    assert_eq!(blocked.packets, 2, "IPv6, arriving, blocked");
}

#[test]
fn overlaps_end_a_datagram_and_what_comes_later_of_it() {
    for datagram in datagrams(400) {
        let piece =
            |range: std::ops::Range<usize>, more| build::fragment(&datagram, 3, range, more);
        let (first, last) = (piece(0..200, true), piece(200..408, false));
        for (name, evil) in [
            ("inside", piece(64..128, true)),
            ("over the end of the first", piece(192..256, true)),
            ("the same place, shorter", piece(0..192, true)),
            ("the same place, longer", piece(0..208, true)),
            ("the last, with an end before", piece(64..100, false)),
        ] {
            let mut bridge = Bridge::new("pass\n");
            assert!(bridge.feed(WAN, &[first.clone()]).is_empty(), "{name}");
            let out = bridge.feed(WAN, &[evil]);
            assert_eq!(reasons(&out), [Reason::FragOverlap; 2], "{name}");
            assert_eq!(reasons(&bridge.feed(WAN, &[last.clone()])), [Reason::FragOverlap]);
            assert_eq!(bridge.counters().reasons[Reason::FragOverlap as usize], 3);
            assert_eq!(bridge.frames[0].held(), 0);
            // Not for ever.
            bridge.wait(Duration::from_secs(60));
            let out = bridge.feed(WAN, &[first.clone(), last.clone()]);
            assert!(out.len() == 2 && passed(&out), "{name}");
        }
        for (name, evil) in [
            ("another end", piece(200..400, false)),
            ("more behind the end", build::fragment(&datagram, 3, 208..408, true)),
        ] {
            let mut bridge = Bridge::new("pass\n");
            assert!(bridge.feed(WAN, &[last.clone()]).is_empty());
            assert_eq!(reasons(&bridge.feed(WAN, &[evil])), [Reason::FragOverlap; 2], "{name}");
        }
    }
}

#[test]
fn the_same_again_does_no_harm_and_other_bytes_do() {
    for datagram in datagrams(400) {
        let piece =
            |range: std::ops::Range<usize>, more| build::fragment(&datagram, 3, range, more);
        let (first, last) = (piece(0..200, true), piece(200..408, false));
        let mut bridge = Bridge::new("pass\n");
        assert!(bridge.feed(WAN, &[last.clone()]).is_empty());
        assert_eq!(reasons(&bridge.feed(WAN, &[last.clone()])), [Reason::FragDuplicate]);
        let out = bridge.feed(WAN, &[first.clone(), first.clone()]);
        assert_eq!(bytes(&out), [last.clone(), first.clone()]);
        assert!(passed(&out), "the second copy begins another datagram");
        let mut other = last.clone();
        *other.last_mut().unwrap() ^= 1;
        let mut bridge = Bridge::new("pass\n");
        let out = bridge.feed(WAN, &[last.clone(), other]);
        assert_eq!(reasons(&out), [Reason::FragOverlap; 2]);
    }
}

#[test]
fn headers_have_to_be_in_the_first_fragment() {
    let mut bridge = Bridge::new("pass flags any\n");
    let syn = build::tcp(CLIENT, SERVER, SYN).tcp_options(&[2, 4, 5, 0xb4]).frame();
    let syn6 = build::tcp(CLIENT6, SERVER6, SYN).tcp_options(&[2, 4, 5, 0xb4]).frame();
    for (name, frame, range) in [
        ("ports only", &syn, 0..8),
        ("no flags on", &syn, 8..24),
        ("16 bytes", &syn, 0..16),
        ("behind 16", &syn, 16..24),
        ("ports only, IPv6", &syn6, 0..8),
        ("8 bytes into it, IPv6", &syn6, 8..24),
    ] {
        let out = bridge.feed(WAN, &[build::fragment(frame, 1, range, true)]);
        assert_eq!(reasons(&out), [Reason::FragTiny], "{name}");
    }
    // A header with options, cut behind its fixed part: literal bytes.
    let mut cut = syn;
    cut.truncate(14 + 20 + 20);
    cut[46] = 0x70; // 28 bytes of header
    cut.extend([0; 20]);
    let out = bridge.feed(WAN, &[build::fragment(&cut, 1, 0..24, true)]);
    assert_eq!(reasons(&out), [Reason::FragTiny]);
    // IPv6: the chain of headers goes on in the next fragment (RFC 7112).
    let chain = build::udp(CLIENT6, SERVER6)
        .extension(60, &[0, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        .payload(&payload(64))
        .frame();
    for range in [0..8, 0..16] {
        let out = bridge.feed(WAN, &[build::fragment(&chain, 1, range, true)]);
        assert_eq!(reasons(&out), [Reason::FragTiny]);
    }
    // All of them in the first: options are options, in fragments too.
    let whole = build::fragments(&chain, 2, 32);
    assert_eq!(reasons(&bridge.feed(WAN, &whole)), [Reason::IpOptions; 3]);
    let mut lax = Bridge::new("pass allow-opts\n");
    assert!(passed(&lax.feed(WAN, &whole)));
}

#[test]
fn impossible_lengths_are_dropped() {
    let mut bridge = Bridge::new("pass\n");
    for datagram in datagrams(1600) {
        let piece =
            |range: std::ops::Range<usize>, more| build::fragment(&datagram, 3, range, more);
        for (name, fragment) in [
            ("no data", piece(0..0, true)),
            ("no data at the end", piece(800..800, false)),
            ("not a multiple of 8", piece(0..1001, true)),
        ] {
            let out = bridge.feed(WAN, &[fragment]);
            assert_eq!(reasons(&out), [Reason::FragLength], "{name}");
        }
    }
    // The ping of death: the last fragment ends beyond 65,535.
    let ping = build::echo(CLIENT.0, SERVER.0, 1, 1).payload(&payload(1000)).frame();
    let mut death = build::fragment(&ping, 3, 0..1000, false);
    death[20..22].copy_from_slice(&[0x1f, 0xff]);
    death[24..26].fill(0);
    let sum = !checksum::sum(&death[14..34]);
    death[24..26].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(reasons(&bridge.feed(WAN, &[death])), [Reason::FragLength]);
    // The longest that there is passes.
    let longest = build::udp(CLIENT, SERVER).payload(&payload(65_507)).frame();
    let fragments = build::fragments(&longest, 4, 1480);
    let out = bridge.feed(WAN, &fragments[..30]);
    assert!(out.is_empty());
    let out = bridge.feed(WAN, &fragments[30..]);
    assert!(out.len() == 45 && passed(&out));
}

#[test]
fn atomic_fragments_are_whole() {
    let mut bridge = Bridge::new("pass in proto udp to port 53\n");
    let atomic = build::fragment(&datagrams(100)[1], 1, 0..108, false);
    assert_eq!(bridge.send(WAN, &atomic), PASSES);
    // Beside fragments of the same id (RFC 6946, 4).
    let fragments = build::fragments(&datagrams(3000)[1], 1, 1480);
    assert!(bridge.feed(WAN, &fragments[..2]).is_empty());
    assert_eq!(bridge.send(WAN, &atomic), PASSES);
    assert_eq!(bridge.feed(WAN, &fragments[2..]).len(), 3);
}

#[test]
fn dont_fragment_contradicts_a_fragment() {
    let mut fragments = build::fragments(&datagrams(3000)[0], 1, 1480);
    for fragment in &mut fragments {
        fragment[20] |= 0x40;
        fragment[24..26].fill(0);
        let sum = !checksum::sum(&fragment[14..34]);
        fragment[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    for rules in ["pass\n", "set reassemble no\npass\n"] {
        let out = Bridge::new(rules).feed(WAN, &fragments);
        assert_eq!(reasons(&out), [Reason::FragDf; 3]);
    }
    for rules in ["set reassemble yes no-df\npass\n", "set reassemble no no-df\npass\n"] {
        let out = Bridge::new(rules).feed(WAN, &fragments);
        assert!(out.len() == 3 && passed(&out), "{rules}");
        for judged in out {
            let ip = Ipv4::new(&judged.bytes, 14, judged.bytes.len()).unwrap();
            assert!(ip.checksum_is_right() && ip.fragment() & 0x4000 == 0);
        }
    }
}

#[test]
fn neighbour_discovery_does_not_come_in_fragments() {
    let mut bridge = Bridge::new("pass allow-opts\n");
    for kind in 133..=137 {
        let message = build::icmp(CLIENT6.0, SERVER6.0, kind, 0).ttl(255).payload(&[0; 64]).frame();
        let out = bridge.feed(WAN, &build::fragments(&message, kind.into(), 48));
        assert_eq!(reasons(&out), [Reason::FragDiscovery; 2]);
    }
}

#[test]
fn without_reassembly_rules_see_ip_headers() {
    let fragments = build::fragments(&datagrams(3000)[0], 1, 1480);
    let tcp = build::tcp(CLIENT, SERVER, ACK).payload(&payload(3000)).frame();
    let tcp = build::fragments(&tcp, 1, 1480);
    for (rules, fragments, expected) in [
        ("pass\n", &fragments, PASSES),
        // `flags S/SA` by itself.
        ("pass\n", &tcp, Some(Reason::NoRule)),
        ("pass flags any\n", &tcp, PASSES),
        ("pass proto tcp fragment\n", &tcp, PASSES),
        ("pass proto udp to port 53\n", &fragments, Some(Reason::NoRule)),
        ("pass\nblock proto udp to port 53\n", &fragments, PASSES),
        ("pass\nblock fragment\n", &fragments, Some(Reason::BlockRule)),
        ("block\npass fragment\n", &fragments, PASSES),
        ("block\npass proto udp from 192.0.2.1\n", &fragments, PASSES),
        ("block\npass proto udp from 192.0.2.2\n", &fragments, Some(Reason::BlockRule)),
        ("block\nanchor a proto udp to port 53 { pass }\n", &fragments, Some(Reason::BlockRule)),
        ("block\nanchor a proto udp { pass fragment }\n", &fragments, PASSES),
    ] {
        let mut bridge = Bridge::new(&format!("set reassemble no\n{rules}"));
        for fragment in fragments {
            assert_eq!(bridge.send(WAN, fragment), expected, "{rules}");
        }
        assert!(bridge.states().is_empty(), "fragments make no states");
    }
    let mut bridge = Bridge::new("set reassemble no\npass\nblock fragment\n");
    assert_eq!(bridge.send(WAN, &datagrams(100)[0]), PASSES, "it is none");
    let mut bridge = Bridge::new("pass\nblock fragment\n");
    assert!(passed(&bridge.feed(WAN, &fragments)), "reassembled, it is none");
}

#[test]
fn skipped_ports_pass_fragments_at_once() {
    let mut bridge = Bridge::new("set skip on { lan wan }\n");
    for fragment in build::fragments(&datagrams(3000)[0], 1, 1480) {
        assert_eq!(bridge.send(WAN, &fragment), PASSES);
    }
}

#[test]
fn layer_2_judges_each_fragment() {
    let mut bridge = Bridge::with_workers("ether block from 02:00:00:00:00:66\npass\n", 3);
    let build = build::udp(CLIENT, SERVER).payload(&payload(3000));
    let mut fragments = build::fragments(&build.frame(), 1, 1480);
    let evil = build.clone().macs([2, 0, 0, 0, 0, 0x66], [2; 6]).frame();
    fragments[1] = build::fragments(&evil, 1, 1480).remove(1);
    assert_eq!(reasons(&bridge.feed(WAN, &fragments)), [Reason::EtherRule]);
    // The tag that the first fragment is given holds for the datagram.
    let mut bridge = Bridge::with_workers("ether pass in tag a\nblock\npass tagged a\n", 3);
    let fragments = build::fragments(&build.frame(), 1, 1480);
    let out = bridge.feed(WAN, &fragments);
    assert!(out.len() == 3 && passed(&out));
    let counted: u64 =
        bridge.engines.iter().map(|engine| engine.ether_counters()[0].packets[0]).sum();
    assert_eq!(counted, 3, "each frame once, though it is handed over");
}

#[test]
fn a_guard_sees_through_fragments() {
    let mut bridge = Bridge::new("set dhcp-guard on lan\npass\n");
    let offer = build::udp(([192, 0, 2, 66], 67), ([192, 0, 2, 1], 68)).payload(&payload(600));
    let fragments = build::fragments(&offer.frame(), 1, 304);
    assert_eq!(reasons(&bridge.feed(WAN, &fragments))[0], Reason::DhcpGuard);
}

/// What one source sends never costs another's datagram its place.
#[test]
fn a_flood_makes_room_for_itself() {
    let mut bridge = Bridge::new("set limit frags 1000\npass\n");
    for datagram in datagrams(4000) {
        let wanted = build::fragments(&datagram, 77, 1480);
        assert!(bridge.feed(WAN, &wanted[..2]).is_empty());
        let mut random = Random(5);
        let (mut dropped, mut most) = (0, 0);
        for id in 0..20_000 {
            // First fragments, later ones, and heavy datagrams that never become whole.
            let evil = build::udp(([203, 0, 113, 9], 1), SERVER).payload(&payload(1400)).frame();
            let begin = random.below(20) * 64;
            let flood = [build::fragment(&evil, id / 3, begin..begin + 64, true)];
            dropped += bridge.feed(WAN, &flood).len();
            most = most.max(bridge.frames[0].held());
        }
        assert!(dropped > 15_000 && most <= 1000, "{dropped} {most}");
        let out = bridge.feed(WAN, &wanted[2..]);
        assert!(out.len() == 3 && passed(&out), "it still gets through");
        bridge.wait(Duration::from_secs(61));
        assert_eq!(bridge.frames[0].held(), 0);
        assert_eq!(bridge.shared.pool(Limit::Frags).used(), 0);
        bridge.given_up.clear();
    }
}

/// From forged sources of every kind: memory stays bounded, and what comes in one go passes.
#[test]
fn a_flood_from_everywhere_stays_within_bounds() {
    let mut bridge = Bridge::new("pass\n");
    let mut random = Random(6);
    let wanted = build::fragments(&datagrams(4000)[0], 77, 1480);
    for id in 0..30_000_u32 {
        let source = (random.next() as u32 | 1).to_be_bytes();
        let source = [source[0] % 100 + 1, source[1], source[2], source[3]];
        let evil = build::udp((source, 1), SERVER).payload(&payload(200)).frame();
        drop(bridge.feed(WAN, &[build::fragment(&evil, id, 0..104, true)]));
        assert!(bridge.frames[0].held() <= Engine::FRAGMENTS as usize);
        if id % 5_000 == 4_999 {
            let out = one_by_one(&mut bridge, WAN, &wanted);
            assert!(passed(&out[out.len() - 3..]), "{id}");
        }
    }
    assert!(bridge.frames[0].held() > Engine::FRAGMENTS as usize - 8, "full");
    assert!(bridge.counters().reasons[Reason::FragLimit as usize] > 20_000);
    bridge.wait(Duration::from_secs(70));
    assert_eq!(bridge.frames[0].held(), 0);
}

/// A datagram in very many fragments costs a search each: there is a bound.
#[test]
fn a_datagram_has_a_bound_of_fragments() {
    let mut bridge = Bridge::new("pass\n");
    let fragments = build::fragments(&datagrams(2000)[1], 1, 8);
    assert_eq!(fragments.len(), 251);
    let out = one_by_one(&mut bridge, WAN, &fragments);
    assert_eq!(reasons(&out), [Reason::FragMany; 251]);
    assert_eq!(bridge.frames[0].held(), 0);
}

#[test]
fn the_limit_is_shared_and_can_be_lowered() {
    let mut bridge = Bridge::new("set limit frags 2\npass\n");
    let fragments = build::fragments(&datagrams(4000)[0], 1, 1480);
    assert_eq!(reasons(&one_by_one(&mut bridge, WAN, &fragments)), [Reason::FragLimit; 3]);
    let mut bridge = Bridge::new("set limit frags 0\npass\n");
    assert_eq!(reasons(&bridge.feed(WAN, &fragments)), [Reason::FragLimit; 3]);
    assert_eq!(bridge.send(WAN, &datagrams(100)[0]), PASSES);
}

#[test]
fn qinq_datagrams_are_told_apart_by_both_tags() {
    let mut bridge = Bridge::new("pass\n");
    let make =
        |inner| build::udp(CLIENT, SERVER).payload(&payload(1500)).tag(0x88a8, 9).vlan(inner);
    let [a, b] = [make(1), make(2)].map(|build| build::fragments(&build.frame(), 1, 1000));
    let out = bridge.feed(WAN, &[a[0].clone(), b[0].clone(), b[1].clone(), a[1].clone()]);
    assert_eq!(bytes(&out), [&b[..], &a[..]].concat());
    let state = bridge.listing();
    assert_eq!(state.len(), 2, "{state:?}");
    assert_eq!(Tags { outer: 9, inner: 1 }.to_string(), "vlan 9.1");
}

/// Checks one random fragmentation against the packet in one piece.
fn agrees(frame: &[u8], cuts: &[usize], order: u64, workers: u16, rules: &str) {
    let mut plain = Bridge::new(rules);
    let expected = plain.send(WAN, frame);
    let header = if frame[12] == 0x86 { 54 } else { 34 };
    let data = frame.len() - header;
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % data / 8 * 8).collect();
    ends.push(data);
    ends.sort_unstable();
    ends.dedup();
    ends.retain(|&end| end >= 48.min(data));
    let mut begin = 0;
    let mut fragments = Vec::new();
    for &end in &ends {
        fragments.push(build::fragment(frame, 11, begin..end, end < data));
        begin = end;
    }
    let mut random = Random(order);
    for i in (1..fragments.len()).rev() {
        fragments.swap(i, random.below(i + 1));
    }
    let mut bridge = Bridge::with_workers(rules, workers);
    let mut out = Vec::new();
    let mut at = 0;
    let mut copies = 0;
    while at < fragments.len() {
        let end = (at + 1 + random.below(4)).min(fragments.len());
        let mut batch = fragments[at..end].to_vec();
        // A copy while the datagram is not whole.
        if end < fragments.len() && random.below(3) == 0 {
            batch.push(batch[0].clone());
            copies += 1;
        }
        out.extend(bridge.feed(WAN, &batch));
        at = end;
    }
    let duplicates =
        out.iter().filter(|judged| judged.verdict == Verdict::Drop(Reason::FragDuplicate)).count();
    assert_eq!(duplicates, copies);
    out.retain(|judged| judged.verdict != Verdict::Drop(Reason::FragDuplicate));
    match expected {
        None => {
            assert!(passed(&out));
            assert_eq!(bytes(&out), fragments);
            let summary = |bridge: &Bridge| bridge.listing();
            assert_eq!(summary(&bridge), summary(&plain));
        }
        Some(reason) => assert_eq!(reasons(&out), vec![reason; fragments.len()]),
    }
    let held: usize = bridge.frames.iter().map(Owned::held).sum();
    assert_eq!(held, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn fragmented_or_not_is_the_same_to_the_rules(
        length in 40_usize..9000,
        cuts in prop::collection::vec(0_usize..9000, 1..12),
        order: u64,
        workers in 1_u16..4,
        kind in 0_usize..6,
    ) {
        const RULES: &str = "pass in on wan proto udp to port 53
pass in on wan proto tcp to port 80
pass in on wan proto { icmp icmp6 } icmp-type echoreq
pass in on wan inet6 proto icmp6 icmp6-type echoreq
";
        let rules = RULES.replace("pass in on wan proto { icmp icmp6 } icmp-type echoreq\n",
            "pass in on wan inet proto icmp icmp-type echoreq\n");
        let data = payload(length);
        let frame = match kind {
            0 => build::udp(CLIENT, SERVER).payload(&data).frame(),
            1 => build::udp(CLIENT6, SERVER6).payload(&data).frame(),
            2 => build::tcp(CLIENT, (SERVER.0, 80), SYN).payload(&data).frame(),
            3 => build::tcp(CLIENT6, (SERVER6.0, 81), SYN).payload(&data).frame(),
            4 => build::echo(CLIENT.0, SERVER.0, 1, 1).payload(&data).frame(),
            _ => build::echo(CLIENT6.0, SERVER6.0, 1, 1).payload(&data).frame(),
        };
        agrees(&frame, &cuts, order, workers, &rules);
    }
}
