//! The worker round on the memory port.

use std::collections::HashMap;
use std::sync::Arc;

use weir_daemon::mailbox::{Letter, Report};
use weir_daemon::{handover, worker};
use weir_engine::Reason;
use weir_engine::packet::build::{fragments, udp};
use weir_engine::table::Pages;

use crate::house::{Arrivals, House, address, answer, datagram, program, wait_for};

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

/// However few come: nothing is gathered, and no timer is waited for.
#[test]
fn a_frame_never_waits_for_a_batch_to_fill() {
    let mut house = House::new(1, 1024);
    house.install("pass");
    let mut there = Arrivals::default();
    for number in 0..10 {
        assert!(house.lan.put(0, &datagram(1, number)));
        // The ring shows it at the end of the first round, and it leaves in the second.
        let rounds = (1..=2).find(|_| {
            house.round(0);
            there.take(&house.wan, 1) > 0
        });
        assert!(rounds.is_some(), "frame {number} is still there");
    }
    assert_eq!(there.flows[&1].1, (0..10).collect::<Vec<_>>());
    house.close();
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

/// While ports are away, states live and letters are answered; nothing of the old memory survives.
#[test]
fn workers_part_from_their_ports_and_go_on_with_new_ones() {
    let mut house = House::new(2, 1024);
    house.install("block in\npass in on lan\n");
    for flow in 0..8 {
        assert!(house.lan.put(usize::from(flow & 1), &datagram(flow, 0)));
    }
    house.settle();
    let mut there = Arrivals::default();
    assert_eq!(there.take(&house.wan, 2), 8);
    // On the way between the workers and in the rings when the ports go, and a fragment that waits.
    for flow in 0..8 {
        assert!(house.lan.put(usize::from(flow & 1), &datagram(flow, 1)));
    }
    for fragment in fragments(&long(3, 3000), 7, 1480).iter().take(2) {
        assert!(house.lan.put(0, fragment));
    }
    house.round(0);
    house.part();
    for report in house.reports() {
        assert_eq!(report.ports.len(), 2, "what was counted is still known");
    }
    assert!(!house.round(0) && !house.round(1), "nothing moves");
    let before: u64 = house.reports().iter().map(|report| report.ports[0].received).sum();
    assert!(before >= 8);

    house.plug_in(1024);
    for flow in 0..8 {
        assert!(house.wan.put(usize::from(flow & 1), &answer(flow, 2)));
    }
    house.settle();
    let mut back = Arrivals::default();
    assert_eq!(back.take(&house.lan, 2), 8, "their states have lived");
    let after: u64 = house.reports().iter().map(|report| report.ports[0].received).sum();
    assert_eq!(after, before);
    house.close();
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

/// A long datagram of a flow.
fn long(flow: u16, length: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..length).map(|i| (i + usize::from(flow)) as u8).collect();
    udp(address(flow, 1000 + flow), address(100, 53)).payload(&payload).frame()
}

#[test]
fn datagrams_in_fragments_go_whole_to_the_worker_that_owns_their_flow() {
    const FLOWS: u16 = 40;
    for count in [1_u16, 2, 3] {
        let workers = usize::from(count);
        let mut house = House::new(count, 4096);
        house.install("pass out on wan proto udp to port 53\n");
        let mut expected = HashMap::new();
        for flow in 0..FLOWS {
            let length = 1600 + 400 * usize::from(flow % 7);
            expected.insert(flow, fragments(&long(flow, length), flow.into(), 1480));
        }
        // Mixed with each other, any fragment at any queue.
        for part in 0..3 {
            for flow in 0..FLOWS {
                if let Some(fragment) = expected[&flow].get(part) {
                    let queue = (usize::from(flow) + part) % workers;
                    assert!(house.lan.put(queue, fragment));
                }
            }
            house.settle();
        }
        let mut came: HashMap<u16, (usize, Vec<Vec<u8>>)> = HashMap::new();
        for queue in 0..workers {
            house.wan.drain(queue, usize::MAX, |frame| {
                let flow = u16::from_be_bytes([frame[18], frame[19]]);
                let (by, fragments) = came.entry(flow).or_insert((queue, Vec::new()));
                assert_eq!(*by, queue, "a datagram leaves by one worker");
                fragments.push(frame.to_vec());
            });
        }
        // A whole frame of the same flows leaves by the same worker: their owner has judged them.
        for flow in 0..FLOWS {
            assert_eq!(came[&flow].1, expected[&flow], "all of it, in order, unchanged");
            assert!(house.lan.put(0, &datagram(flow, 0)));
        }
        house.settle();
        let mut there = Arrivals::default();
        there.take(&house.wan, workers);
        for flow in 0..FLOWS {
            assert_eq!(there.flows[&flow].0, came[&flow].0);
        }
        let reports = house.reports();
        let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
        assert_eq!(sum(|report| report.states.into()), u64::from(FLOWS), "the same state");
        assert_eq!(sum(|report| report.counters.reasons.iter().sum()), 0, "nothing dropped");
        let sent: usize = expected.values().map(|fragments| fragments.len() + 1).sum();
        let judged = sum(|report| report.counters.judged - report.counters.handed_over);
        assert_eq!(judged, sent as u64);
        house.close();
    }
}

#[test]
fn fragments_that_wait_for_ever_give_their_buffers_back() {
    let mut house = House::new(2, 1024);
    house.install("set timeout frag 0\npass\n");
    for flow in 0..100 {
        let parts = fragments(&long(flow, 3000), 7, 1480);
        assert!(house.lan.put(usize::from(flow % 2), &parts[usize::from(flow % 3)]));
    }
    house.settle();
    let reports = house.reports();
    let given_up: u64 =
        reports.iter().map(|report| report.counters.reasons[Reason::FragTimeout as usize]).sum();
    assert_eq!(given_up, 100);
    assert_eq!(house.wan.take(0), None);
    house.close();

    // Still held when the workers end.
    let mut house = House::new(2, 1024);
    house.install("pass\n");
    for flow in 0..100 {
        assert!(house.lan.put(0, &fragments(&long(flow, 3000), 7, 1480)[0]));
    }
    house.settle();
    house.close();
}

#[test]
fn a_datagram_is_handed_over_whole_or_not_at_all() {
    let mut house = House::new(2, 4096);
    house.install("pass\n");
    // One that worker 0 gathers and worker 1 owns, by trial: only its last fragment moves it.
    let found = (0..200).find(|&flow| {
        let parts = fragments(&long(flow, 3000), 7, 1480);
        let mut handed_over = [&parts[..2], &parts[2..]].map(|parts| {
            for part in parts {
                assert!(house.lan.put(0, part));
            }
            house.settle_some(0..1);
            house.reports()[0].counters.handed_over
        });
        handed_over[1] -= handed_over[0];
        house.settle();
        for queue in 0..2 {
            house.wan.drain(queue, usize::MAX, |_| {});
        }
        handed_over[1] == 3
    });
    let flow = found.expect("one of 200");
    let before = house.reports();
    let sent = 2 * handover::RING as u64;
    for id in 0..sent / 3 {
        for part in fragments(&long(flow, 3000), 1000 + id as u32, 1480) {
            while !house.lan.put(0, &part) {
                house.settle_some(0..1);
            }
        }
    }
    house.settle_some(0..1);
    let mut arrived = 0;
    while house.round(1) {
        arrived += house.wan.drain(1, usize::MAX, |_| {});
    }
    let after = house.reports();
    let dropped = |reports: &[Report]| -> u64 {
        reports.iter().map(|r| r.counters.reasons[Reason::HandoverFull as usize]).sum()
    };
    let dropped = dropped(&after) - dropped(&before);
    assert!(dropped > 0 && dropped.is_multiple_of(3), "{dropped}: none by halves");
    assert_eq!(arrived as u64 + dropped, sent / 3 * 3);
    assert!(arrived >= handover::RING - 3);
    house.close();
}
