//! The worker round on the memory port.

use std::sync::Arc;

use weir_daemon::mailbox::{Letter, Report};
use weir_daemon::{handover, worker};
use weir_engine::Reason;
use weir_engine::table::Pages;

use crate::house::{Arrivals, House, answer, datagram, program, wait_for};

#[test]
fn frames_at_the_wrong_worker_are_judged_once_by_their_owner_in_order() {
    const FLOWS: u16 = 60;
    const NUMBERS: u16 = 40;
    for count in [1_u16, 2, 3] {
        let workers = usize::from(count);
        let mut house = House::new(count, 1024);
        house.install("pass");
        let (mut there, mut back) = (Arrivals::default(), Arrivals::default());
        for number in 0..NUMBERS {
            for flow in 0..FLOWS {
                // All of a flow come to one queue, as a NIC would have it, but any queue.
                let queue = usize::from(flow / 7) % workers;
                assert!(house.lan.put(queue, &datagram(flow, number)));
                if number > 0 {
                    let queue = usize::from(flow / 3) % workers;
                    assert!(house.wan.put(queue, &answer(flow, number)));
                }
            }
            house.settle();
            there.take(&house.wan, workers);
            back.take(&house.lan, workers);
        }
        for flow in 0..FLOWS {
            assert_eq!(there.flows[&flow].1, (0..NUMBERS).collect::<Vec<_>>());
            assert_eq!(back.flows[&flow].1, (1..NUMBERS).collect::<Vec<_>>());
            assert_eq!(there.flows[&flow].0, back.flows[&flow].0, "one owner for both ways");
        }
        let reports = house.reports();
        let sent = u64::from(FLOWS) * (2 * u64::from(NUMBERS) - 1);
        let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
        let handed_over = sum(|report| report.counters.handed_over);
        assert_eq!(sum(|report| report.counters.judged) - handed_over, sent);
        assert_eq!(sum(|report| report.states.into()), u64::from(FLOWS), "a state a flow");
        assert_eq!(sum(|report| report.counters.reasons.iter().sum()), 0, "nothing dropped");
        if count == 1 {
            assert_eq!(handed_over, 0);
        } else {
            assert!(handed_over > sent / 10, "{handed_over} of {sent} were handed over");
            assert!(handed_over < sent);
        }
        house.close();
    }
}

#[test]
fn a_full_handover_ring_drops_and_counts() {
    let mut house = House::new(2, 4096);
    house.install("pass");
    let flow = flow_of_worker_1(&mut house);
    let extra = 100;
    let sent = handover::RING + extra;
    for number in 0..sent {
        while !house.lan.put(0, &datagram(flow, number as u16)) {
            house.settle_some(0..1);
        }
    }
    house.settle_some(0..1);
    let mut there = Arrivals::default();
    let mut arrived = 0;
    while house.round(1) {
        arrived += there.take(&house.wan, 2);
    }
    assert_eq!(arrived, handover::RING);
    let expected: Vec<_> = (0..handover::RING as u16).collect();
    assert_eq!(there.flows[&flow].1, expected, "the first ones, in order");
    let reports = house.reports();
    assert_eq!(reports[0].counters.reasons[Reason::HandoverFull as usize], extra as u64);
    house.close();
}

/// By trial.
fn flow_of_worker_1(house: &mut House) -> u16 {
    let flow = (0..64).find(|&flow| {
        house.lan.put(0, &datagram(flow, 0));
        house.settle();
        house.wan.drain(0, usize::MAX, |_| {});
        house.wan.drain(1, usize::MAX, |_| {}) == 1
    });
    flow.expect("one of 64 flows belongs to worker 1")
}

/// A jammed port holds the worker's own other port back, but not what other workers hand over.
#[test]
fn a_full_output_queue_drops_and_counts() {
    let mut house = House::new(2, 8192);
    house.install("pass");
    let flow = flow_of_worker_1(&mut house);
    house.wan.set_partial(1, Some(0));
    let sent = 2 * worker::OUTPUT;
    for number in 0..sent {
        while !house.lan.put(0, &datagram(flow, number as u16)) {
            house.settle();
        }
    }
    house.settle();
    house.wan.set_partial(1, None);
    let mut there = Arrivals::default();
    while house.round(1) | (there.take(&house.wan, 2) > 0) {}
    let arrived = there.flows[&flow].1.len();
    let counted = house.reports()[1].counters.reasons[Reason::OutputFull as usize];
    assert!(counted > 0 && arrived >= worker::OUTPUT, "{counted} dropped, {arrived} arrived");
    assert_eq!(arrived as u64 + counted, sent as u64);
    let expected: Vec<_> = (0..arrived as u16).collect();
    assert_eq!(there.flows[&flow].1, expected, "the first ones, in order");
    house.close();
}

#[test]
fn without_a_program_nothing_passes() {
    let mut house = House::new(1, 256);
    for number in 0..10 {
        assert!(house.lan.put(0, &datagram(1, number)));
    }
    house.settle();
    assert_eq!(house.wan.take(0), None);
    let reports = house.reports();
    assert_eq!(reports[0].counters.reasons[Reason::NoRuleset as usize], 10);
    house.close();
}

#[test]
fn a_jammed_port_holds_the_other_back_and_loses_nothing() {
    let mut house = House::new(1, 4096);
    house.install("pass");
    house.wan.set_partial(0, Some(0));
    let mut sent = 0_u16;
    // More than the transmit ring and the queue hold: at some point nothing is received any more.
    while house.lan.put(0, &datagram(1, sent)) {
        sent += 1;
        house.round(0);
    }
    assert!(usize::from(sent) > worker::OUTPUT / 2);
    // The other way is open meanwhile.
    assert!(house.wan.put(0, &answer(1, 0)));
    house.wan.set_partial(0, None);
    let mut there = Arrivals::default();
    while house.round(0) | (there.take(&house.wan, 1) > 0) {}
    assert_eq!(there.flows[&1].1, (0..sent).collect::<Vec<_>>());
    assert_eq!(house.lan.drain(0, 10, |_| {}), 1);
    let report = &house.reports()[0];
    assert!(report.back_pressure > 0);
    assert_eq!(report.counters.reasons[Reason::OutputFull as usize], 0);
    house.close();
}

#[test]
fn a_port_that_vanishes_is_reported() {
    let mut house = House::new(1, 256);
    house.install("pass");
    house.wan.vanish();
    let now = house.clock.now();
    let failure = (0..10).find_map(|_| house.workers[0].round(now).err());
    assert_eq!(failure.expect("the port is gone").port, 1);
}

#[test]
fn sleeping_workers_wake_for_frames_letters_and_the_end() {
    const NUMBERS: u16 = 50;
    let running = House::new(2, 1024).start();
    let house = &running.house;
    let program = program("pass");
    for mailbox in &house.mailboxes {
        let letter =
            |done| Letter::Install(Arc::clone(&program), Arc::default(), Pages::default(), done);
        drop(mailbox.ask(letter).unwrap());
    }
    let mut there = Arrivals::default();
    // One at a time, so that the workers fall asleep in between; both queues for both owners.
    for number in 0..NUMBERS {
        for flow in 0..4 {
            assert!(house.lan.put(usize::from(flow & 1), &datagram(flow, number)));
            wait_for("a datagram", || there.take(&house.wan, 2) > 0);
        }
    }
    for flow in 0..4 {
        assert_eq!(there.flows[&flow].1, (0..NUMBERS).collect::<Vec<_>>());
    }
    let reports: Vec<_> =
        house.mailboxes.iter().map(|mailbox| mailbox.ask(Letter::Report).unwrap()).collect();
    assert!(reports.iter().map(|report| report.counters.handed_over).sum::<u64>() > 0);
    running.stop();
}
