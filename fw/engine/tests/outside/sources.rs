//! Limits of rules and their sources: what is refused, who hears of it, and when a place is free
//! again.

use std::net::SocketAddr;
use std::time::Duration;

use weir_engine::frame::{Owned, PortIndex};
use weir_engine::packet::tcp::flags::{ACK, FIN, PSH, RST, SYN};
use weir_engine::packet::{Packet, Transport, build, checksum};
use weir_engine::source::SourceView;
use weir_engine::{Frames, Reason};

use crate::bridge::{Bridge, LAN, PASSES, WAN, compile};

const TEN: &str = "pass in on wan proto tcp keep state (max-src-conn 10)\n";

fn client(number: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 40_000 + number))
}

fn client6(number: u16) -> SocketAddr {
    SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 40_000 + number))
}

fn server_of(client: SocketAddr) -> SocketAddr {
    if client.is_ipv4() {
        SocketAddr::from(([198, 51, 100, 2], 80))
    } else {
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2], 80))
    }
}

/// A segment of the client; what it sends next is 1001, the server 5001.
fn from_client(client: SocketAddr, flags: u8, seq: u32, ack: u32) -> build::Build {
    build::tcp(client, server_of(client), flags).seq(seq).ack(ack)
}

fn from_server(client: SocketAddr, flags: u8, seq: u32, ack: u32) -> build::Build {
    build::tcp(server_of(client), client, flags)
        .macs(build::DESTINATION_MAC, build::SOURCE_MAC)
        .seq(seq)
        .ack(ack)
}

/// SYN and SYN-ACK.
fn half_open(bridge: &mut Bridge, client: SocketAddr) -> Option<Reason> {
    bridge
        .send(WAN, &from_client(client, SYN, 1000, 0).frame())
        .or_else(|| bridge.send(LAN, &from_server(client, SYN | ACK, 5000, 1001).frame()))
}

fn connect(bridge: &mut Bridge, client: SocketAddr) -> Option<Reason> {
    half_open(bridge, client)
        .or_else(|| bridge.send(WAN, &from_client(client, ACK, 1001, 5001).frame()))
}

fn server_closes(bridge: &mut Bridge, client: SocketAddr) {
    let fin = from_server(client, FIN | ACK, 5001, 1001).frame();
    assert_eq!(bridge.send(LAN, &fin), PASSES);
}

fn sources(bridge: &Bridge) -> Vec<SourceView> {
    let mut found = Vec::new();
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        cursor = bridge.shared.sources().list(bridge.now, at, 1000, &mut found);
    }
    found
}

/// States and connections of the only source.
fn counted(bridge: &Bridge) -> (u32, u32) {
    let [source] = &sources(bridge)[..] else { panic!("{:?}", sources(bridge)) };
    (source.states, source.connections)
}

/// The segments that the bridge has made: port, from, to, sequence number; each a right RST.
fn resets(bridge: &mut Bridge) -> Vec<(PortIndex, u16, u32)> {
    let made = std::mem::take(&mut bridge.crafted);
    made.iter()
        .map(|(port, bytes)| (*port, bytes))
        .map(|(port, bytes)| reset(port, bytes))
        .collect()
}

fn reset(port: PortIndex, bytes: &[u8]) -> (PortIndex, u16, u32) {
    let mut frames = Owned::new();
    frames.push(port, bytes);
    let packet = Packet::parse(frames.head(0), &frames.meta(0)).unwrap();
    assert!(checksum::verify(&packet, &frames, 0));
    let Transport::Tcp(header) = packet.transport else { panic!("{packet:?}") };
    assert_eq!(header.flags, RST);
    (port, packet.source_port, header.seq)
}

#[test]
fn the_server_never_accepts_one_connection_too_many() {
    for workers in [1, 2, 5] {
        for new in [client, client6] {
            for last in [ACK, PSH | ACK, FIN | ACK] {
                let mut bridge = Bridge::with_workers(TEN, workers);
                for number in 0..10 {
                    assert_eq!(connect(&mut bridge, new(number)), PASSES);
                }
                for number in 10..100 {
                    assert_eq!(half_open(&mut bridge, new(number)), PASSES);
                    let segment = from_client(new(number), last, 1001, 5001);
                    let segment = segment.payload(if last == ACK { b"" } else { b"GET /" }).frame();
                    assert_eq!(bridge.send(WAN, &segment), Some(Reason::MaxSrcConn));
                    // To the server as from the client, to the client as from the server.
                    let port = 40_000 + number;
                    assert_eq!(resets(&mut bridge), [(LAN, port, 1001), (WAN, 80, 5001)]);
                    // Whatever comes later is answered, not passed on.
                    assert_eq!(bridge.send(WAN, &segment), Some(Reason::AfterReset));
                    assert_eq!(reset(WAN, &bridge.frame), (WAN, 80, 5001));
                    let again = from_server(new(number), SYN | ACK, 5000, 1001).frame();
                    assert_eq!(bridge.send(LAN, &again), Some(Reason::AfterReset));
                    assert_eq!(reset(LAN, &bridge.frame), (LAN, port, 1001));
                }
                assert_eq!(counted(&bridge), (100, 10));
                for number in 0..10 {
                    server_closes(&mut bridge, new(number));
                }
                assert_eq!(counted(&bridge).1, 0);
                let passed =
                    (100..200).filter(|&number| connect(&mut bridge, new(number)) == PASSES);
                assert_eq!(passed.count(), 10);
                bridge.forget_states();
                assert_eq!(bridge.shared.sources().used(), 0);
            }
        }
    }
}

#[test]
fn a_refused_port_may_try_again() {
    let mut bridge = Bridge::new("pass in proto tcp keep state (max-src-conn 1)\n");
    assert_eq!(connect(&mut bridge, client(1)), PASSES);
    assert_eq!(connect(&mut bridge, client(2)), Some(Reason::MaxSrcConn));
    server_closes(&mut bridge, client(1));
    assert_eq!(connect(&mut bridge, client(2)), PASSES);
    assert_eq!(counted(&bridge), (2, 1));
}

#[test]
fn closing_connections_cost_the_visitor_nothing() {
    // P2: the server closes first and the client follows; it closes and the client sleeps; the
    // client closes and the server sleeps, which goes on to hold its connection.
    let mut bridge = Bridge::new(TEN);
    let (follows, sleeps, holds) = (client(1), client(2), client(3));
    for client in [follows, sleeps, holds] {
        assert_eq!(connect(&mut bridge, client), PASSES);
    }
    assert_eq!(counted(&bridge), (3, 3));
    server_closes(&mut bridge, follows);
    server_closes(&mut bridge, sleeps);
    let fin = |client| from_client(client, FIN | ACK, 1001, 5002).frame();
    assert_eq!(bridge.send(WAN, &fin(follows)), PASSES);
    assert_eq!(bridge.send(LAN, &from_server(follows, ACK, 5002, 1002).frame()), PASSES);
    assert_eq!(bridge.send(WAN, &from_client(sleeps, ACK, 1001, 5002).frame()), PASSES);
    assert_eq!(bridge.send(WAN, &from_client(holds, FIN | ACK, 1001, 5001).frame()), PASSES);
    assert_eq!(bridge.send(LAN, &from_server(holds, ACK, 5001, 1002).frame()), PASSES);
    assert_eq!(counted(&bridge), (3, 1));
    let mut listing = bridge.listing();
    listing.sort();
    for (line, states) in listing.iter().zip([
        "192.0.2.1:40001       FIN_WAIT_2:FIN_WAIT_2",
        "192.0.2.1:40002       FIN_WAIT_2:ESTABLISHED",
        "192.0.2.1:40003       ESTABLISHED:FIN_WAIT_2",
    ]) {
        assert!(line.ends_with(states), "{line}");
    }
    assert_eq!(bridge.send(LAN, &from_server(holds, FIN | ACK, 5001, 1002).frame()), PASSES);
    assert_eq!(counted(&bridge), (3, 0));
}

#[test]
fn a_client_cannot_free_its_place_by_a_reset_that_the_server_does_not_see() {
    let rst = |port, seq| from_client(client(port), RST, seq, 0);
    for (segment, freed) in [
        (rst(1, 1001).ttl(64), true),
        (rst(1, 1001).ttl(63), false),
        (rst(1, 1001).ttl(1), false),
        (rst(1, 1000).ttl(64), false),
    ] {
        let mut bridge = Bridge::new(TEN);
        // A SYN and an ACK that die behind the bridge say nothing of how far the server is.
        let dies = from_client(client(1), SYN, 1000, 0).ttl(1).frame();
        assert_eq!(bridge.send(WAN, &dies), PASSES);
        assert_eq!(half_open(&mut bridge, client(1)), PASSES);
        let ack = from_client(client(1), ACK, 1001, 5001).ttl(1).frame();
        assert_eq!(bridge.send(WAN, &ack), PASSES);
        let mut bad = segment.clone().frame();
        let end = bad.len() - 1;
        bad[end] ^= 1;
        assert!(bridge.send(WAN, &bad).is_some());
        assert_eq!(counted(&bridge), (1, 1));
        let _ = bridge.send(WAN, &segment.frame());
        assert_eq!(counted(&bridge).1, u32::from(!freed));
        if bridge.listing()[0].ends_with("TIME_WAIT:TIME_WAIT") {
            // The server speaks: it is told, and holds nothing any more.
            let data = from_server(client(1), PSH | ACK, 5001, 1001).payload(b"hello").frame();
            assert_eq!(bridge.send(LAN, &data), Some(Reason::AfterReset));
            assert_eq!(reset(LAN, &bridge.frame), (LAN, 40_001, 1001));
            assert_eq!(counted(&bridge), (1, 0));
        }
    }
}

#[test]
fn a_reset_of_the_server_frees_the_place() {
    let mut bridge = Bridge::new(TEN);
    assert_eq!(connect(&mut bridge, client(1)), PASSES);
    let rst = from_server(client(1), RST, 5001, 0).frame();
    assert_eq!(bridge.send(LAN, &rst), PASSES);
    assert_eq!(counted(&bridge), (1, 0));
}

#[test]
fn what_counts_can_be_set() {
    let rule = "pass in proto tcp keep state (max-src-conn 2)\n";
    let mut open = Bridge::new(&format!("set src-conn-count open\n{rule}"));
    assert_eq!(half_open(&mut open, client(1)), PASSES);
    assert_eq!(counted(&open), (1, 1));
    assert_eq!(connect(&mut open, client(2)), PASSES);
    assert_eq!(connect(&mut open, client(3)), Some(Reason::MaxSrcConn));
    assert_eq!(counted(&open), (2, 2));
    assert_eq!(open.send(WAN, &from_client(client(1), ACK, 1001, 5001).frame()), PASSES);
    server_closes(&mut open, client(1));
    assert_eq!(counted(&open), (2, 1));

    let mut all = Bridge::new(&format!("set src-conn-count all\n{rule}"));
    assert_eq!(half_open(&mut all, client(1)), PASSES);
    assert_eq!(counted(&all), (1, 0));
    assert_eq!(connect(&mut all, client(2)), PASSES);
    server_closes(&mut all, client(2));
    assert_eq!(counted(&all), (2, 1));
    all.forget_states();
    assert_eq!(all.shared.sources().used(), 0);
}

#[test]
fn spoofed_syns_ban_nobody_and_leave_nothing() {
    let rules = "pass in on wan proto tcp keep state (max-src-conn 3, max-src-conn-rate 3/10, \
                 overload <bad> flush global)\n";
    let mut bridge = Bridge::with_workers(rules, 2);
    for number in 0..1000 {
        assert_eq!(bridge.send(WAN, &from_client(client(number), SYN, 1000, 0).frame()), PASSES);
    }
    assert_eq!(counted(&bridge), (1000, 0));
    assert_eq!(connect(&mut bridge, client(2000)), PASSES);
    assert!(bridge.shared.sources().overload().is_none());
    bridge.wait(Duration::from_secs(121));
    assert_eq!(counted(&bridge), (1, 1));
}

#[test]
fn one_connection_too_fast_is_reported_and_bars_the_source() {
    let rules = "pass in on wan proto tcp keep state (max-src-conn-rate 3/10, \
                 overload <bad> flush)\n";
    let mut bridge = Bridge::with_workers(rules, 2);
    for number in 0..3 {
        assert_eq!(connect(&mut bridge, client(number)), PASSES);
    }
    assert_eq!(connect(&mut bridge, client(3)), Some(Reason::MaxSrcConnRate));
    // A second report would tell nothing new.
    assert_eq!(connect(&mut bridge, client(4)), Some(Reason::Overloaded));
    let sources = bridge.shared.sources();
    let report = sources.overload().expect("a report");
    assert_eq!(report.address, client(3).ip());
    assert_eq!(report.reason, Reason::MaxSrcConnRate);
    assert!(sources.overload().is_none());
    // Once the table has it, the rate alone decides, and time forgives.
    sources.admit_again(&report);
    bridge.wait(Duration::from_secs(11));
    assert_eq!(connect(&mut bridge, client(5)), PASSES);
}

#[test]
fn each_limit_refuses_what_is_too_much_over_all_workers() {
    let udp = |host: u8, port: u16| {
        let source = SocketAddr::from(([192, 0, 2, host], port));
        build::udp(source, SocketAddr::from(([198, 51, 100, 2], 53))).frame()
    };
    for (options, hosts, flows, passed, reason) in [
        ("max 5", 3, 3, 5, Reason::MaxStates),
        ("max-src-states 2", 3, 4, 6, Reason::MaxSrcStates),
        ("max-src-nodes 2", 4, 3, 6, Reason::MaxSrcNodes),
        ("max-src-nodes 2, max-src-states 1", 2, 2, 2, Reason::MaxSrcStates),
    ] {
        let rules = format!("pass in proto udp keep state ({options})\n");
        let mut bridge = Bridge::with_workers(&rules, 3);
        for life in 0..2 {
            let mut through = 0;
            for host in 1..=hosts {
                for port in 0..flows {
                    match bridge.send(WAN, &udp(host, 1000 + port)) {
                        PASSES => through += 1,
                        refused => assert_eq!(refused, Some(reason), "{options}"),
                    }
                }
            }
            assert_eq!(through, passed, "{options}");
            // What has its state already is not asked again.
            assert_eq!(bridge.send(WAN, &udp(1, 1000)), PASSES);
            if life == 0 {
                bridge.wait(Duration::from_secs(61));
                assert_eq!(bridge.shared.sources().used(), 0);
            }
        }
        let refused: u64 = bridge.counters().reasons[reason as usize];
        assert_eq!(refused, 2 * u64::from(u16::from(hosts) * flows - passed), "{options}");
    }
}

#[test]
fn the_limits_of_both_rules_apply() {
    let rules = "pass in on wan proto tcp keep state (max-src-conn 2)\n\
                 pass out on lan proto tcp keep state (max 3, source-track rule)\n";
    let mut bridge = Bridge::new(rules);
    assert_eq!(connect(&mut bridge, client(1)), PASSES);
    assert_eq!(connect(&mut bridge, client(2)), PASSES);
    assert_eq!(sources(&bridge).len(), 2);
    assert_eq!(connect(&mut bridge, client(3)), Some(Reason::MaxSrcConn));
    // The refused one is a state still; what it holds is given back at its end.
    assert_eq!(connect(&mut bridge, client(4)), Some(Reason::MaxStates));
    assert!(sources(&bridge).iter().all(|source| source.connections == 2));
    bridge.forget_states();
    assert_eq!(bridge.shared.sources().used(), 0);
    assert_eq!(connect(&mut bridge, client(4)), PASSES);
}

#[test]
fn rules_with_global_tracking_count_together() {
    let rules = "pass in on wan proto udp to port 53 keep state (max-src-states 2)\n\
                 pass in on wan proto udp to port 123 keep state (max-src-states 3)\n\
                 pass out on lan keep state (source-track global)\n";
    let mut bridge = Bridge::new(rules);
    let mut ask = |port: u16, to: u16| {
        let source = SocketAddr::from(([192, 0, 2, 1], port));
        let frame = build::udp(source, SocketAddr::from(([198, 51, 100, 2], to))).frame();
        bridge.send(WAN, &frame)
    };
    assert_eq!(ask(1, 53), PASSES);
    assert_eq!(ask(2, 53), PASSES);
    assert_eq!(ask(3, 53), Some(Reason::MaxSrcStates));
    assert_eq!(ask(3, 123), PASSES);
    assert_eq!(ask(4, 123), Some(Reason::MaxSrcStates));
    assert_eq!(counted(&bridge), (3, 0));
}

#[test]
fn a_full_table_of_sources_forgets_half_open_states_and_nobody_else() {
    let rules = "set limit src-nodes 4\n\
                 pass in proto tcp keep state (max-src-conn 5)\n";
    let mut bridge = Bridge::new(rules);
    let host = |n: u8| SocketAddr::from(([192, 0, 2, n], 40_000));
    for n in 1..=2 {
        assert_eq!(connect(&mut bridge, host(n)), PASSES);
    }
    for n in 3..=200 {
        assert_eq!(bridge.send(WAN, &from_client(host(n), SYN, 1000, 0).frame()), PASSES);
        assert!(bridge.shared.sources().used() <= 4);
    }
    for n in 1..=2 {
        let data = from_client(host(n), PSH | ACK, 1001, 5001).payload(b"on").frame();
        assert_eq!(bridge.send(WAN, &data), PASSES);
    }
    bridge.forget_states();
    for n in 1..=4 {
        assert_eq!(connect(&mut bridge, host(n)), PASSES);
    }
    let fifth = bridge.send(WAN, &from_client(host(5), SYN, 1000, 0).frame());
    assert_eq!(fifth, Some(Reason::SrcNodeLimit));
    // The limit can be raised while it is reached.
    bridge.load(&rules.replace("nodes 4", "nodes 10000"));
    for n in 5..=250 {
        assert_eq!(connect(&mut bridge, host(n)), PASSES);
    }
    assert_eq!(bridge.shared.sources().used(), 250);
    bridge.forget_states();
    assert_eq!(bridge.shared.sources().used(), 0);
}

#[test]
fn a_rule_that_stays_goes_on_counting_over_a_reload() {
    let mut bridge = Bridge::with_workers("", 2);
    bridge.load(TEN);
    for number in 0..10 {
        assert_eq!(connect(&mut bridge, client(number)), PASSES);
    }
    bridge.load(&format!("block in proto udp\n{TEN}"));
    assert_eq!(connect(&mut bridge, client(10)), Some(Reason::MaxSrcConn));
    // Without the rule its states live on and count for nobody; with it again it begins anew.
    bridge.load("pass in proto tcp\n");
    server_closes(&mut bridge, client(0));
    bridge.load(TEN);
    assert_eq!(connect(&mut bridge, client(11)), PASSES);
    bridge.forget_states();
    assert_eq!(bridge.shared.sources().used(), 0);
}

#[test]
fn a_source_is_remembered_for_its_time() {
    let rules = "set timeout src.track 30\n\
                 pass in proto tcp keep state (max-src-conn 5)\n";
    let mut bridge = Bridge::new(rules);
    assert_eq!(connect(&mut bridge, client(1)), PASSES);
    bridge.forget_states();
    let remembered = &sources(&bridge)[0];
    assert_eq!((remembered.states, remembered.expires), (0, Some(30)));
    assert_eq!((remembered.packets, remembered.bytes), (3, 120));
    bridge.wait(Duration::from_secs(29));
    assert_eq!(sources(&bridge)[0].expires, Some(1));
    bridge.wait(Duration::from_secs(2));
    assert!(sources(&bridge).is_empty());
    // Its place is free when somebody has come by.
    bridge.wait(Duration::from_secs(5));
    assert_eq!(bridge.shared.sources().used(), 0);
}

#[test]
fn a_source_that_is_killed_begins_anew() {
    let mut bridge = Bridge::with_workers(TEN, 2);
    for number in 0..10 {
        assert_eq!(connect(&mut bridge, client(number)), PASSES);
    }
    assert_eq!(bridge.shared.sources().forget(&|address| address != client(0).ip()), 0);
    assert_eq!(bridge.shared.sources().forget(&|address| address == client(0).ip()), 1);
    assert!(sources(&bridge).is_empty());
    assert_eq!(connect(&mut bridge, client(10)), PASSES);
    assert_eq!(counted(&bridge), (1, 1));
    server_closes(&mut bridge, client(0));
    assert_eq!(counted(&bridge), (1, 1));
    bridge.forget_states();
    assert_eq!(bridge.shared.sources().used(), 0);
}

#[test]
fn each_rule_counts_what_its_limits_refuse() {
    let mut bridge = Bridge::without_rules(2);
    let program = compile(TEN);
    for engine in &mut bridge.engines {
        drop(engine.install(bridge.now, program.clone(), std::sync::Arc::default()));
    }
    for number in 0..15 {
        let _ = connect(&mut bridge, client(number));
    }
    let limits = program.limits(0).expect("the rule has limits");
    let refused: Vec<_> = limits.refused().filter(|(_, count)| *count > 0).collect();
    assert_eq!(refused, [(Reason::MaxSrcConn, 5)]);
    limits.clear();
    assert!(limits.refused().all(|(_, count)| count == 0));
}

#[test]
fn fast_open_is_taken_out_where_connections_are_limited() {
    let cookie = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];
    let syn = from_client(client(1), SYN, 1000, 0).tcp_options(&cookie).payload(b"GET /").frame();
    let plain = from_client(client(1), SYN, 1000, 0).tcp_options(&[1; 12]).frame();
    let mut bridge = Bridge::new(TEN);
    // The first SYN, the same again, and a server that acknowledges the SYN alone.
    for _ in 0..2 {
        assert_eq!(bridge.send(WAN, &syn), PASSES);
        assert_eq!(bridge.frame, plain);
    }
    let answer = from_server(client(1), SYN | ACK, 5000, 1001).frame();
    assert_eq!(bridge.send(LAN, &answer), PASSES);
    let data = from_client(client(1), PSH | ACK, 1001, 5001).payload(b"GET /").frame();
    assert_eq!(bridge.send(WAN, &data), PASSES);
    assert_eq!(bridge.frame, data);

    let mut free = Bridge::new("pass in on wan proto tcp keep state (max-src-states 9)\n");
    assert_eq!(free.send(WAN, &syn), PASSES);
    assert_eq!(free.frame, syn);
}

#[test]
fn an_ack_that_the_server_will_not_take_completes_nothing() {
    let mut bridge = Bridge::new(TEN);
    assert_eq!(half_open(&mut bridge, client(1)), PASSES);
    let good = from_client(client(1), ACK, 1001, 5001).frame();
    let mut bad = good.clone();
    let end = bad.len() - 1;
    bad[end] ^= 1;
    assert_eq!(bridge.send(WAN, &bad), Some(Reason::TcpChecksum));
    assert_eq!(counted(&bridge), (1, 0));
    assert_eq!(bridge.send(WAN, &good), PASSES);
    assert_eq!(counted(&bridge), (1, 1));
}
