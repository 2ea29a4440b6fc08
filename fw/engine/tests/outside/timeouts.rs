//! When states end: time-outs of the rule set and of rules, their shortening under pressure, and
//! what a change of these does to states that are there.

use std::time::Duration;

use weir_engine::Reason;
use weir_engine::packet::build;
use weir_engine::packet::tcp::flags::{ACK, FIN, SYN};

use crate::bridge::{Bridge, LAN, PASSES, WAN};

type Host = ([u8; 4], u16);

const CLIENT: Host = ([192, 0, 2, 1], 40_000);
const SERVER: Host = ([198, 51, 100, 2], 53);

/// So many new flows of UDP from the WAN to a port.
fn flows(bridge: &mut Bridge, count: u16, port: u16) {
    for n in 0..count {
        let client = ([10, 0, (n >> 8) as u8, n as u8], 1024);
        let frame = build::udp(client, (SERVER.0, port)).frame();
        assert_eq!(bridge.send(WAN, &frame), PASSES);
    }
}

fn seconds(bridge: &mut Bridge, seconds: u64) {
    bridge.wait(Duration::from_secs(seconds));
}

/// Seconds until each state ends, of those to a port.
fn expires(bridge: &Bridge, port: u16) -> Vec<u32> {
    let to = bridge.states().into_iter().filter(|state| state.destination_port == port);
    to.map(|state| state.expires).collect()
}

#[test]
fn many_states_live_shorter_and_no_more_end_than_have_to() {
    let mut bridge = Bridge::new("set timeout { adaptive.start 10, adaptive.end 20 }\npass\n");
    flows(&mut bridge, 10, 53);
    assert_eq!(expires(&bridge, 53), [60; 10], "not more than adaptive.start");
    flows(&mut bridge, 5, 54);
    // Half of the way: 60 * (20 - 15) / (20 - 10). Those that were there before, too.
    bridge.wait(Duration::from_millis(100));
    assert_eq!(expires(&bridge, 53), [30; 10]);
    assert_eq!(expires(&bridge, 54), [30; 5]);
    // Each that ends makes the others live longer again.
    for (until, left) in [(29, 15), (32, 14), (38, 13), (44, 12), (50, 11), (56, 10), (62, 0)] {
        let now = bridge.now;
        let passed = now.since(weir_engine::Instant::from_secs(1_000)).as_secs();
        seconds(&mut bridge, until - passed);
        assert_eq!(bridge.states().len(), left, "after {until} s");
    }
}

#[test]
fn at_the_end_of_the_scale_nothing_stays() {
    let mut bridge = Bridge::new("set timeout { adaptive.start 3, adaptive.end 5 }\npass\n");
    flows(&mut bridge, 5, 53);
    seconds(&mut bridge, 1);
    assert!(bridge.states().len() < 5);
    assert_eq!(bridge.states().len(), 4, "with four, half of 60 s is left");
}

#[test]
fn a_pair_of_zeros_turns_it_off() {
    let mut bridge = Bridge::new(
        "set limit states 20\nset timeout { adaptive.start 0, adaptive.end 0 }\npass\n",
    );
    flows(&mut bridge, 20, 53);
    assert_eq!(expires(&bridge, 53), [60; 20]);
    bridge.load("set limit states 20\npass\n");
    seconds(&mut bridge, 1);
    // The default: from 60 % on towards 120 %, (24 - 20) / (24 - 12).
    assert_eq!(expires(&bridge, 53), [19; 20]);
}

#[test]
fn a_rule_has_time_outs_of_its_own_and_its_states_keep_them() {
    let with = "pass in on wan\npass in on wan proto udp to port 53 keep state (udp.first 5)\n";
    let mut bridge = Bridge::new(with);
    flows(&mut bridge, 1, 53);
    flows(&mut bridge, 1, 54);
    assert_eq!((expires(&bridge, 53), expires(&bridge, 54)), (vec![5], vec![60]));
    // The rule is gone, and what the rule set says has changed for the others.
    bridge.load("set timeout udp.first 40\npass in on wan\n");
    seconds(&mut bridge, 1);
    assert_eq!((expires(&bridge, 53), expires(&bridge, 54)), (vec![4], vec![39]));
    seconds(&mut bridge, 5);
    assert_eq!((expires(&bridge, 53), expires(&bridge, 54)), (vec![], vec![34]));
}

#[test]
fn the_leaving_rule_fills_in_what_the_arriving_one_leaves_open() {
    let mut bridge = Bridge::new(
        "pass in on wan proto udp keep state (udp.first 5)\n\
         pass out on lan proto udp keep state (udp.first 9, udp.single 7)\n",
    );
    let there = build::udp(CLIENT, SERVER).frame();
    assert_eq!(bridge.send(WAN, &there), PASSES);
    assert_eq!(bridge.states()[0].expires, 5);
    assert_eq!(bridge.send(WAN, &there), PASSES);
    assert_eq!(bridge.states()[0].expires, 7);
    let back = build::udp(SERVER, CLIENT).frame();
    for _ in 0..2 {
        assert_eq!(bridge.send(LAN, &back), PASSES);
        assert_eq!(bridge.send(WAN, &there), PASSES);
    }
    assert_eq!(bridge.states()[0].expires, 60, "of the rule set");
}

#[test]
fn a_rule_shortens_by_its_own_states_over_all_workers() {
    let mut bridge = Bridge::with_workers(
        "pass in on wan\n\
         pass in on wan proto udp to port 53 keep state (adaptive.start 10, adaptive.end 20)\n",
        4,
    );
    flows(&mut bridge, 10, 53);
    flows(&mut bridge, 50, 54);
    assert_eq!(expires(&bridge, 53), [60; 10]);
    let first = bridge.now;
    seconds(&mut bridge, 10);
    flows(&mut bridge, 15, 53);
    bridge.wait(Duration::from_millis(200));
    assert_eq!(expires(&bridge, 53).len(), 15);
    assert_eq!(expires(&bridge, 54), [50; 50]);
    // Refreshed flows keep udp.single, 30 s, of which half is left; new ones udp.first.
    let mut left = expires(&bridge, 53);
    left.sort_unstable();
    assert_eq!(left[..10], [15; 10]);
    assert_eq!(left[10..], [30; 5]);
    // The wheel was told: the first ends on time, though it was queued for later.
    seconds(&mut bridge, 15);
    assert!(expires(&bridge, 53).len() < 15, "{:?}", bridge.now.since(first));
}

#[test]
fn a_time_out_of_zero_ends_a_state_in_any_phase() {
    let mut bridge = Bridge::new("set timeout udp.single 0\npass in on wan\n");
    let there = build::udp(CLIENT, SERVER).frame();
    assert_eq!(bridge.send(WAN, &there), PASSES);
    assert_eq!(bridge.states().len(), 1);
    assert_eq!(bridge.send(WAN, &there), PASSES, "it passes, and the state ends with it");
    assert_eq!(bridge.states(), []);
    let back = build::udp(SERVER, CLIENT).frame();
    assert_eq!(bridge.send(LAN, &back), Some(Reason::NoRule));
    // A phase that is under way.
    assert_eq!(bridge.send(WAN, &there), PASSES);
    bridge.load("set timeout udp.first 0\npass in on wan\n");
    assert_eq!(bridge.send(LAN, &back), PASSES, "another phase");
    bridge.load("set timeout { udp.first 0, udp.single 0 }\npass in on wan\n");
    seconds(&mut bridge, 1);
    assert_eq!(bridge.states(), []);
    let opens = build::tcp(CLIENT, SERVER, SYN).seq(1000).frame();
    bridge.load("set timeout tcp.opening 0\npass in on wan\n");
    assert_eq!(bridge.send(WAN, &opens), PASSES);
    let answer = build::tcp(SERVER, CLIENT, SYN | ACK).seq(5000).ack(1001).frame();
    assert_eq!(bridge.send(LAN, &answer), PASSES);
    assert_eq!(bridge.states(), [], "tcp.opening runs until the last ACK of the handshake");
}

#[test]
fn states_that_end_together_are_ended_a_few_at_a_time() {
    const STATES: u16 = 4_000;
    let mut bridge = Bridge::new("set timeout udp.first 5\npass\n");
    flows(&mut bridge, STATES, 53);
    bridge.now = bridge.now.after(Duration::from_secs(60));
    let engine = &mut bridge.engines[0];
    let mut calls = 0;
    let mut before = engine.counters().removals;
    loop {
        let more = engine.advance(bridge.now);
        let ended = engine.counters().removals - before;
        before += ended;
        // A worker that has slept has time for more.
        assert!(ended <= if calls == 0 { 1024 } else { 64 }, "{ended} in one call");
        calls += 1;
        if !more {
            break;
        }
    }
    assert_eq!(engine.state_count(), 0);
    assert!(calls > 40, "{calls}");
}

#[test]
fn a_sweep_over_many_states_is_bounded_too() {
    const STATES: u16 = 4_500;
    let mut bridge = Bridge::new("pass\n");
    flows(&mut bridge, STATES, 53);
    bridge.load("set timeout udp.first 5\npass\n");
    // A millisecond between two rounds is worth a hundred looks.
    let engine = &mut bridge.engines[0];
    bridge.now = bridge.now.after(Duration::from_secs(10));
    let mut rounds = 0;
    while engine.state_count() > 0 {
        bridge.now = bridge.now.after(Duration::from_millis(1));
        let before = engine.counters().removals;
        engine.advance(bridge.now);
        assert!(engine.counters().removals - before <= 1024);
        rounds += 1;
        assert!(rounds < 1_000, "they are found");
    }
}

#[test]
fn a_rule_may_bind_its_states_or_not() {
    let mut bridge = Bridge::with_workers(
        "pass in on wan proto udp to port 53 keep state (floating)\n\
         pass in on wan proto udp to port 54\n",
        4,
    );
    // Many flows, so that each worker has some.
    for n in 0..40 {
        let client = ([192, 0, 2, n], 1024);
        let [floating, bound] = [53, 54].map(|port| build::udp(client, (SERVER.0, port)).frame());
        assert_eq!(bridge.send(WAN, &floating), PASSES);
        assert_eq!(bridge.send(WAN, &bound), PASSES);
        let answer = |port| build::udp((SERVER.0, port), client).frame();
        assert_eq!(bridge.send(LAN, &answer(53)), PASSES);
        assert_eq!(bridge.send(LAN, &answer(54)), PASSES);
        // From the wrong side: another flow to the bound one.
        assert_eq!(bridge.send(LAN, &floating), PASSES);
        assert_eq!(bridge.send(LAN, &bound), Some(Reason::NoRule));
    }
    assert_eq!(bridge.states().len(), 80);
    let counted = bridge.states().into_iter().find(|state| state.destination_port == 53).unwrap();
    assert_eq!(counted.packets, [2, 1], "the sender is known by its address");
}

#[test]
fn states_live_on_under_the_policy_they_began_with() {
    let bound = "pass in on wan proto udp\n";
    let floating = "set state-policy floating\npass in on wan proto udp\n";
    for (before, after) in [(bound, floating), (floating, bound)] {
        let mut bridge = Bridge::new(before);
        let there = build::udp(CLIENT, SERVER).frame();
        let back = build::udp(SERVER, CLIENT).frame();
        assert_eq!(bridge.send(WAN, &there), PASSES);
        bridge.load(after);
        assert_eq!(bridge.send(LAN, &back), PASSES, "the answer still passes");
        assert_eq!(bridge.send(WAN, &there), PASSES);
        assert_eq!(bridge.states().len(), 1);
        assert_eq!(bridge.states()[0].packets, [2, 1]);
        // Only what began floating may change sides.
        let wrong = bridge.send(LAN, &there);
        assert_eq!(wrong == PASSES, before == floating);
        bridge.forget_states();
        assert_eq!(bridge.send(WAN, &there), PASSES);
        assert_eq!(bridge.send(LAN, &there) == PASSES, after == floating);
    }
}

#[test]
fn an_icmp_error_finds_states_of_either_policy() {
    let mut bridge = Bridge::new(
        "pass in on wan proto udp to port 53 keep state (floating)\npass in on wan proto udp\n",
    );
    for port in [53, 54] {
        let datagram = build::udp(CLIENT, (SERVER.0, port)).payload(b"hello").frame();
        assert_eq!(bridge.send(WAN, &datagram), PASSES);
        let error = build::icmp([198, 51, 100, 1], CLIENT.0, 3, 3).quote(&datagram).frame();
        assert_eq!(bridge.send(LAN, &error), PASSES);
    }
}

#[test]
fn states_are_counted_by_phase_until_they_end() {
    let phases = |bridge: &Bridge| -> Vec<_> {
        bridge.engines[0].phases().iter().filter(|&(.., number)| number > 0).collect()
    };
    let mut bridge = Bridge::new("pass in on wan\n");
    flows(&mut bridge, 3, 53);
    let there = build::udp(CLIENT, SERVER).frame();
    let back = build::udp(SERVER, CLIENT).frame();
    for frame in [(WAN, &there), (LAN, &back), (WAN, &there), (WAN, &there)] {
        assert_eq!(bridge.send(frame.0, frame.1), PASSES);
    }
    assert_eq!(phases(&bridge), [("udp", "first", 3), ("udp", "multiple", 1)]);
    let segment = |from, to, flags, seq, ack| build::tcp(from, to, flags).seq(seq).ack(ack).frame();
    for (from, frame, phase) in [
        (WAN, segment(CLIENT, SERVER, SYN, 1000, 0), "first"),
        (LAN, segment(SERVER, CLIENT, SYN | ACK, 5000, 1001), "opening"),
        (WAN, segment(CLIENT, SERVER, ACK, 1001, 5001), "established"),
        (WAN, segment(CLIENT, SERVER, FIN | ACK, 1001, 5001), "closing"),
        (LAN, segment(SERVER, CLIENT, FIN | ACK, 5001, 1002), "finwait"),
        (WAN, segment(CLIENT, SERVER, ACK, 1002, 5002), "closed"),
    ] {
        assert_eq!(bridge.send(from, &frame), PASSES, "{phase}");
        let tcp: Vec<_> = phases(&bridge).into_iter().filter(|(name, ..)| *name == "tcp").collect();
        assert_eq!(tcp, [("tcp", phase, 1)]);
    }
    seconds(&mut bridge, 3600);
    assert_eq!(bridge.states(), []);
    assert_eq!(phases(&bridge), []);
}
