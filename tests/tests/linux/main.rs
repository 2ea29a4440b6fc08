//! Linux's own TCP on both sides of the engine: real sockets in two namespaces, each behind a TAP
//! interface, SACK, timestamps, window scaling and ECN in use, over links that lose, delay, reorder,
//! double and damage, with a next hop that becomes narrow, beside an attacker who guesses. Every
//! connection delivers exactly what was sent and ends as its ends wished, nothing of it is logged as
//! blocked, counters add up, and nothing is left.
//!
//! A seed decides about everything but the time, which is the machine's: a run repeats only as far as
//! that does. What repeats bit by bit is in `tests/tests/simulation/`.

mod conversation;
mod tap;
mod wire;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use weir_engine::Reason;
use weir_tests::bridge::Bridge;
use weir_tests::faults::Faults;
use weir_tests::lab::{Namespace, eventually};
use weir_tests::random::Random;

use conversation::Plot;
use tap::Tap;
use wire::{Report, Standing, Trouble, Wire};

/// Connections at the same time.
const AT_ONCE: u32 = 12;
const CONNECTIONS: u32 = 120;
const RULES: &str = "block log\npass proto tcp\npass inet6 proto icmp6\n";

/// The reasons that no healthy connection meets, however bad its link is. A RST may be refused: a host
/// that has reset a connection answers whatever is still on its way with more of them, whose numbers are
/// those of the segments answered, and these may be old.
const MISMATCHES: [Reason; 7] = [
    Reason::TcpNoState,
    Reason::TcpWindow,
    Reason::TcpBadAck,
    Reason::TcpBadSyn,
    Reason::TcpChecksum,
    Reason::TcpFlags,
    Reason::IcmpUnmatched,
];

/// A host with a TAP for its only interface.
fn host(number: u8, settings: &[(&str, &str)]) -> (Namespace, Tap) {
    let namespace = Namespace::new(if number == 1 { "lan" } else { "wan" });
    for key in ["default", "all"] {
        namespace.sysctl(&format!("net.ipv6.conf.{key}.accept_dad"), "0");
        namespace.sysctl(&format!("net.ipv6.conf.{key}.router_solicitations"), "0");
    }
    for (key, value) in settings {
        namespace.sysctl(&format!("net.ipv4.{key}"), value);
    }
    let tap = Tap::open(&namespace, "tap0");
    let mac = format!("02:00:00:00:00:0{number}");
    namespace.ip(&["link", "set", "tap0", "address", &mac]);
    namespace.ip(&["link", "set", "lo", "up"]);
    namespace.ip(&["link", "set", "tap0", "up"]);
    namespace.ip(&["addr", "add", &format!("192.0.2.{number}/24"), "dev", "tap0"]);
    namespace.ip(&["-6", "addr", "add", &format!("2001:db8::{number}/64"), "dev", "tap0", "nodad"]);
    eventually("usable addresses", || {
        !namespace.ip(&["addr", "show", "dev", "tap0"]).contains("tentative")
    });
    (namespace, tap)
}

/// Runs connections through a bridge and its trouble; every one of them ends well.
fn run(seed: u64, workers: u16, settings: &[(&str, &str)], trouble: Trouble) -> Report {
    let (lan, lan_tap) = host(1, settings);
    let (wan, wan_tap) = host(2, settings);
    let standing = Standing::default();
    let bridge = Bridge::new(workers, RULES);
    let wire = Wire::start([lan_tap, wan_tap], bridge, trouble, seed, standing.clone());
    let next = AtomicU32::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= CONNECTIONS {
                        return;
                    }
                    let mut random = Random(seed << 32 | u64::from(number));
                    let plot = Plot::new(&mut random);
                    // Clients on either side, of both families.
                    let ends = if number.is_multiple_of(3) { [&wan, &lan] } else { [&lan, &wan] };
                    let host = if number.is_multiple_of(3) { 1 } else { 2 };
                    let to: SocketAddr = if number.is_multiple_of(2) {
                        ([192, 0, 2, host], 2000 + number as u16).into()
                    } else {
                        ([0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into()], 2000 + number as u16).into()
                    };
                    if let Err(failure) = plot.play(ends, to, &standing) {
                        failures.lock().expect("nobody panics with it").push(failure);
                    }
                }
            });
        }
    });
    let report = wire.stop();
    let failures = failures.into_inner().expect("nobody panics with it");
    let reasons: Vec<_> = Reason::ALL
        .iter()
        .map(|&reason| (reason, report.counters.reasons[reason as usize]))
        .filter(|&(_, count)| count > 0)
        .collect();
    assert!(
        failures.is_empty(),
        "seed {seed}, {reasons:?}, {:?}:\n{}",
        report.seen,
        failures.join("\n")
    );
    eprintln!("seed {seed}: {:?}, {reasons:?}", report.seen);
    let counters = &report.counters;
    let judged = counters.judged - counters.handed_over;
    let dropped: u64 = counters.reasons.iter().sum();
    let leaving = counters.ports.iter().flat_map(|port| port.traffic);
    let passed: u64 = leaving.map(|family| family[1][0].packets).sum();
    assert_eq!(passed + dropped, judged, "every frame is judged once and counted once");
    assert!(counters.inserts >= CONNECTIONS.into(), "{} states", counters.inserts);
    assert_eq!(report.left, [0; 3], "states, fragments, frames held");
    if trouble.faults.corruption == 0 && trouble.hostility == 0 {
        assert!(report.log.is_empty(), "seed {seed}: {:?}", report.log);
        for reason in MISMATCHES {
            assert_eq!(counters.reasons[reason as usize], 0, "seed {seed}: {reason}");
        }
    }
    report
}

const MODERN: [(&str, &str); 4] =
    [("tcp_sack", "1"), ("tcp_timestamps", "1"), ("tcp_window_scaling", "1"), ("tcp_ecn", "1")];
const PLAIN: [(&str, &str); 4] =
    [("tcp_sack", "0"), ("tcp_timestamps", "0"), ("tcp_window_scaling", "0"), ("tcp_ecn", "0")];

const fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

#[test]
fn healthy_connections_survive_loss_reordering_and_congestion() {
    let faults = Faults {
        loss: 15,
        duplication: 10,
        reordering: 100,
        late: ms(8),
        delay: ms(2),
        ..Faults::default()
    };
    let trouble = Trouble { faults, congestion: 20, ..Trouble::default() };
    let seen = run(1, 2, &MODERN, trouble).seen;
    assert!(seen.scaled > 0 && seen.timestamps > 0, "{seen:?}");
    assert!(seen.selective > 0 && seen.echoes_of_congestion > 0, "{seen:?}");
}

#[test]
fn healthy_connections_survive_without_options_too() {
    let faults = Faults {
        loss: 10,
        duplication: 20,
        reordering: 50,
        late: ms(10),
        delay: ms(1),
        ..Faults::default()
    };
    let seen = run(2, 1, &PLAIN, Trouble { faults, ..Trouble::default() }).seen;
    let used = [seen.scaled, seen.timestamps, seen.selective, seen.echoes_of_congestion];
    assert_eq!(used, [0; 4], "{seen:?}");
}

#[test]
fn a_path_that_becomes_narrow_stalls_nobody() {
    let faults = Faults { loss: 3, delay: ms(3), ..Faults::default() };
    let trouble = Trouble { faults, mtus: &[1500, 1400, 1280], ..Trouble::default() };
    let seen = run(3, 4, &MODERN, trouble).seen;
    assert!(seen.too_big > 0, "{seen:?}");
}

#[test]
fn damage_and_blind_attacks_change_nothing() {
    let faults = Faults {
        loss: 5,
        corruption: 10,
        reordering: 30,
        late: ms(5),
        delay: ms(1),
        ..Faults::default()
    };
    let trouble = Trouble { faults, hostility: 100, congestion: 5, ..Trouble::default() };
    let counters = run(4, 3, &MODERN, trouble).counters;
    let refused = [Reason::TcpFarReset, Reason::TcpWindow, Reason::TcpBadSynAck];
    for reason in refused {
        assert!(counters.reasons[reason as usize] > 0, "{reason}: no attack came");
    }
}
