//! What still comes of a connection after its state has ended (P5): it is recognised, and not a line
//! of it is in the log, while scans and strays are.

use std::time::Duration;

use weir_config::options::Limit;
use weir_engine::packet::tcp::flags::{ACK, FIN, PSH, RST, SYN};
use weir_engine::packet::{build, icmp};
use weir_engine::{PortIndex, Reason};

use crate::bridge::{Bridge, LAN, PASSES, WAN};

type Host = ([u8; 4], u16);

const CLIENT: Host = ([192, 0, 2, 1], 40_000);
const SERVER: Host = ([198, 51, 100, 2], 80);
/// Everything that no state lets pass and no rule opens is logged, and so is the connection.
const RULES: &str = "block in log (all)\npass in log (all) on wan proto tcp to port 80\n";
const LATE: Option<Reason> = Some(Reason::TcpLate);

fn client(bridge: &mut Bridge, flags: u8, seq: u32, ack: u32, data: &[u8]) -> Option<Reason> {
    let segment = build::tcp(CLIENT, SERVER, flags).seq(seq).ack(ack).payload(data);
    bridge.send(WAN, &segment.frame())
}

fn server(bridge: &mut Bridge, flags: u8, seq: u32, ack: u32, data: &[u8]) -> Option<Reason> {
    let segment = build::tcp(SERVER, CLIENT, flags).seq(seq).ack(ack).payload(data);
    bridge.send(LAN, &segment.frame())
}

/// A connection in which the client sent bytes 1001 to 1100 and the server 5001 to 6000.
fn exchange(bridge: &mut Bridge) {
    assert_eq!(client(bridge, SYN, 1000, 0, &[]), PASSES);
    assert_eq!(server(bridge, SYN | ACK, 5000, 1001, &[]), PASSES);
    assert_eq!(client(bridge, ACK, 1001, 5001, &[]), PASSES);
    assert_eq!(client(bridge, PSH | ACK, 1001, 5001, &[1; 100]), PASSES);
    assert_eq!(server(bridge, PSH | ACK, 5001, 1101, &[2; 1000]), PASSES);
    assert_eq!(client(bridge, ACK, 1101, 6001, &[]), PASSES);
}

fn close(bridge: &mut Bridge) {
    assert_eq!(server(bridge, FIN | ACK, 6001, 1101, &[]), PASSES);
    assert_eq!(client(bridge, FIN | ACK, 1101, 6002, &[]), PASSES);
    assert_eq!(server(bridge, ACK, 6002, 1102, &[]), PASSES);
}

fn outlive(bridge: &mut Bridge) {
    bridge.wait(Duration::from_secs(91));
    assert_eq!(bridge.listing(), [""; 0]);
    bridge.log.clear();
}

/// Who sends it, flags, sequence and acknowledgement number, data, and what becomes of it.
type Straggler<'a> = (Send, u8, u32, u32, &'a [u8], Option<Reason>);
type Send = fn(&mut Bridge, u8, u32, u32, &[u8]) -> Option<Reason>;

/// Every kind of segment that may still come, and what becomes of it.
fn stragglers(bridge: &mut Bridge) -> u64 {
    let cases: [Straggler<'_>; 16] = [
        (server, FIN | ACK, 6001, 1101, &[], PASSES),
        (client, FIN | ACK, 1101, 6002, &[], PASSES),
        (server, ACK, 6002, 1102, &[], PASSES),
        (client, ACK, 1102, 6002, &[], PASSES),
        // A duplicate ACK of old, a keep-alive.
        (client, ACK, 1001, 5001, &[], PASSES),
        (server, ACK, 6000, 1101, &[], PASSES),
        // A host that knows nothing of it any more.
        (client, RST, 6002 - 4900, 0, &[], PASSES),
        (client, RST | ACK, 1102, 6002, &[], PASSES),
        (server, RST, 6002, 0, &[], PASSES),
        (server, RST, 5001, 0, &[], PASSES),
        // What was sent already and is sent again.
        (server, PSH | ACK, 5001, 1101, &[2; 1000], LATE),
        (client, PSH | ACK, 1001, 5001, &[1; 100], LATE),
        (server, FIN | PSH | ACK, 5001, 1101, &[2; 1000], LATE),
        (client, ACK, 1101, 6001, &[0], LATE),
        // Copies of the handshake.
        (server, SYN | ACK, 5000, 1001, &[], LATE),
        (client, ACK, 1001, 5001, &[], PASSES),
    ];
    let count = cases.len() as u64;
    for (send, flags, seq, ack, data, expected) in cases {
        assert_eq!(send(bridge, flags, seq, ack, data), expected, "{flags:#x} {seq} {ack}");
    }
    count
}

#[test]
fn not_a_line_of_a_closed_connection_is_logged() {
    let mut bridge = Bridge::new(RULES);
    exchange(&mut bridge);
    close(&mut bridge);
    outlive(&mut bridge);
    let mut count = stragglers(&mut bridge);
    bridge.wait(Duration::from_secs(118));
    count += stragglers(&mut bridge);
    assert!(bridge.log.is_empty(), "{:?}", bridge.log);
    let counters = bridge.counters();
    assert_eq!((counters.late, counters.reasons[Reason::TcpNoState as usize]), (count, 0));
    assert_eq!(counters.reasons[Reason::TcpLate as usize], 2 * 5);
    assert_eq!(bridge.states().len(), 0);
    // After two minutes it is a stray like any other.
    bridge.wait(Duration::from_secs(3));
    assert_eq!(client(&mut bridge, ACK, 1102, 6002, &[]), Some(Reason::BlockRule));
    assert!(!bridge.log.is_empty());
    assert_eq!(bridge.engines[0].tails().len(), 0);
}

#[test]
fn nor_of_one_that_was_reset() {
    for by_client in [false, true] {
        let mut bridge = Bridge::new(RULES);
        exchange(&mut bridge);
        if by_client {
            assert_eq!(client(&mut bridge, RST, 1101, 0, &[]), PASSES);
        } else {
            assert_eq!(server(&mut bridge, RST | ACK, 6001, 1101, &[]), PASSES);
        }
        outlive(&mut bridge);
        stragglers(&mut bridge);
        assert!(bridge.log.is_empty(), "{:?}", bridge.log);
    }
}

#[test]
fn nor_of_one_whose_other_end_never_closed() {
    let mut bridge = Bridge::new(RULES);
    exchange(&mut bridge);
    assert_eq!(server(&mut bridge, FIN | ACK, 6001, 1101, &[]), PASSES);
    assert_eq!(client(&mut bridge, ACK, 1101, 6002, &[]), PASSES);
    bridge.wait(Duration::from_secs(901));
    assert_eq!(bridge.listing(), [""; 0]);
    bridge.log.clear();
    assert_eq!(client(&mut bridge, FIN | ACK, 1101, 6002, &[]), PASSES);
    assert_eq!(server(&mut bridge, ACK, 6002, 1102, &[]), PASSES);
    assert!(bridge.log.is_empty());
}

#[test]
fn strays_and_scans_are_logged() {
    let mut bridge = Bridge::new(RULES);
    exchange(&mut bridge);
    close(&mut bridge);
    outlive(&mut bridge);
    let strays: [(PortIndex, Vec<u8>); 7] = [
        // Guessed numbers of the tuple.
        (WAN, build::tcp(CLIENT, SERVER, ACK).seq(900_000_000).ack(6002).frame()),
        (WAN, build::tcp(CLIENT, SERVER, ACK).seq(1102).ack(900_000_000).frame()),
        (LAN, build::tcp(SERVER, CLIENT, RST).seq(900_000_000).frame()),
        (WAN, build::tcp(CLIENT, SERVER, ACK).seq(1102 + 80_000).ack(6002).payload(b"x").frame()),
        // From the wrong side: another flow, of the same hash.
        (LAN, build::tcp(CLIENT, SERVER, ACK).seq(1102).ack(6002).frame()),
        // Another tuple, another tag.
        (WAN, build::tcp((CLIENT.0, 40_001), SERVER, FIN | ACK).seq(1102).ack(6002).frame()),
        (WAN, build::tcp(CLIENT, SERVER, FIN | ACK).seq(1102).ack(6002).vlan(5).frame()),
    ];
    for (i, (port, frame)) in strays.iter().enumerate() {
        assert_eq!(bridge.send(*port, frame), Some(Reason::BlockRule), "stray {i}");
        assert_eq!(bridge.log.len(), i + 1);
    }
    assert_eq!(bridge.counters().late, 0);
}

#[test]
fn a_new_connection_is_never_hindered_and_ends_the_tail() {
    let mut bridge = Bridge::new(RULES);
    exchange(&mut bridge);
    close(&mut bridge);
    // At once, over the state, then over the tail that it left.
    for wait in [0, 91, 211] {
        bridge.wait(Duration::from_secs(wait));
        bridge.log.clear();
        exchange(&mut bridge);
        assert_eq!(bridge.engines[0].tails().len(), 0);
        assert_eq!(bridge.counters().late, 0);
        close(&mut bridge);
    }
    // One that the rules do not want any more.
    outlive(&mut bridge);
    bridge.load("block in log (all)\n");
    assert_eq!(client(&mut bridge, SYN, 1000, 0, &[]), Some(Reason::BlockRule));
    assert_eq!(bridge.log.len(), 1);
    assert_eq!(client(&mut bridge, ACK, 1102, 6002, &[]), PASSES);
}

#[test]
fn of_a_killed_connection_nothing_passes() {
    let mut bridge = Bridge::new(RULES);
    exchange(&mut bridge);
    bridge.forget_states();
    bridge.log.clear();
    for (flags, data) in [(ACK, &[][..]), (PSH | ACK, b"data"), (FIN | ACK, b""), (RST, b"")] {
        assert_eq!(client(&mut bridge, flags, 1101, 6001, data), LATE);
        assert_eq!(server(&mut bridge, flags, 6001, 1101, data), LATE);
    }
    assert!(bridge.log.is_empty());
    exchange(&mut bridge);
    // Half-open ones leave nothing.
    let mut half_open = Bridge::new(RULES);
    assert_eq!(client(&mut half_open, SYN, 1000, 0, &[]), PASSES);
    half_open.forget_states();
    assert_eq!(server(&mut half_open, SYN | ACK, 5000, 1001, &[]), Some(Reason::BlockRule));
}

#[test]
fn a_connection_that_fell_asleep_has_no_tail() {
    let mut bridge = Bridge::new(&format!("set timeout tcp.established 60\n{RULES}"));
    exchange(&mut bridge);
    bridge.wait(Duration::from_secs(62));
    assert_eq!(bridge.listing(), [""; 0]);
    // The owner is to see that the time-out is too short.
    assert_eq!(server(&mut bridge, ACK, 6001, 1101, b"x"), Some(Reason::BlockRule));
}

#[test]
fn errors_about_an_ended_connection_are_silenced() {
    let mut bridge = Bridge::new(RULES);
    exchange(&mut bridge);
    close(&mut bridge);
    outlive(&mut bridge);
    let error = |seq: u32| {
        let quoted = build::tcp(SERVER, CLIENT, ACK).seq(seq).frame();
        let router = [192, 0, 2, 254];
        build::icmp(router, SERVER.0, icmp::v4::UNREACHABLE, 1).quote(&quoted).frame()
    };
    assert_eq!(bridge.send(WAN, &error(6001)), LATE);
    assert!(bridge.log.is_empty());
    assert_eq!(bridge.send(WAN, &error(700_000_000)), Some(Reason::BlockRule));
}

#[test]
fn tails_are_bounded_and_the_oldest_make_room() {
    let mut bridge = Bridge::new(&format!("set limit tails 64\n{RULES}"));
    for port in 1..=1000 {
        let client = (CLIENT.0, port);
        for (side, frame) in [
            (WAN, build::tcp(client, SERVER, SYN).seq(1000)),
            (LAN, build::tcp(SERVER, client, SYN | ACK).seq(5000).ack(1001)),
            (WAN, build::tcp(client, SERVER, ACK).seq(1001).ack(5001)),
            (WAN, build::tcp(client, SERVER, RST).seq(1001)),
        ] {
            assert_eq!(bridge.send(side, &frame.frame()), PASSES);
        }
        if port % 100 == 0 {
            bridge.wait(Duration::from_secs(10));
        }
    }
    bridge.wait(Duration::from_secs(91));
    let kept = bridge.engines[0].tails().len();
    assert_eq!(bridge.shared.pool(Limit::Tails).used(), kept);
    assert!((40..=64).contains(&kept), "{kept}");
    let late = |bridge: &mut Bridge, port| {
        let ack = build::tcp((CLIENT.0, port), SERVER, ACK).seq(1001).ack(5001);
        bridge.send(WAN, &ack.frame()) == PASSES
    };
    let known = (1..=1000).filter(|&port| late(&mut bridge, port)).collect::<Vec<_>>();
    assert_eq!(known.len(), kept as usize);
    assert!(known.iter().all(|&port| port > 800), "{known:?}");
    bridge.wait(Duration::from_secs(120));
    assert_eq!(bridge.engines[0].tails().len(), 0);
    // None at all is a limit, too.
    bridge.load(&format!("set limit tails 0\n{RULES}"));
    exchange(&mut bridge);
    close(&mut bridge);
    outlive(&mut bridge);
    assert_eq!(client(&mut bridge, ACK, 1102, 6002, &[]), Some(Reason::BlockRule));
}

#[test]
fn each_worker_has_its_share() {
    let mut bridge = Bridge::with_workers(RULES, 4);
    exchange(&mut bridge);
    close(&mut bridge);
    outlive(&mut bridge);
    stragglers(&mut bridge);
    assert!(bridge.log.is_empty());
    let tails: u32 = bridge.engines.iter().map(|engine| engine.tails().len()).sum();
    assert_eq!(tails, 1);
}
