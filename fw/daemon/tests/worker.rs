//! The worker round on the memory port, without threads unless a test is about them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_config::{Defines, SourceFile, parse};
use weir_daemon::clock::Clock;
use weir_daemon::handover::{self, Bell, exchange};
use weir_daemon::log::{self, RecordReceiver};
use weir_daemon::mailbox::{Letter, Mailbox, Report};
use weir_daemon::worker::{self, Parts, Worker};
use weir_engine::packet::build::udp;
use weir_engine::{Engine, PortName, PortNames, Program, Reason, Setup, Shared};
use weir_hw::netmap::Rings;
use weir_hw::netmap::double::{Config, Double, Wire};
use weir_hw::sys::region::region;
use weir_hw::{Pool, Port};

/// States of each worker's table.
const STATES: u32 = 1024;

/// Workers on a strict double of two NICs, with a queue of each NIC for each worker.
struct House {
    double: Double,
    lan: Wire,
    wan: Wire,
    workers: Vec<Worker>,
    mailboxes: Vec<Mailbox>,
    bells: Arc<[Bell]>,
    /// Kept so that the workers' ends stay connected.
    _records: Vec<RecordReceiver>,
    clock: Clock,
}

fn program(text: &str) -> Arc<Program> {
    let parsed = parse(&[SourceFile::new("test", text)], &Defines::default());
    let rules = parsed.rules.unwrap_or_else(|| panic!("{}", parsed.diagnostics));
    let names =
        ["lan", "wan"].map(|role| PortName { role: role.into(), interface: format!("{role}0") });
    Arc::new(Program::compile(&rules, &PortNames(names.into())).unwrap())
}

impl House {
    fn new(count: u16, spare: u32) -> Self {
        let mut config = Config::strict(&["lan0", "wan0"]);
        config.spare_buffers = spare;
        for nic in &mut config.nics {
            (nic.tx_rings, nic.rx_rings) = (count, count);
            (nic.tx_slots, nic.rx_slots) = (128, 512);
        }
        let double = Double::new(config).unwrap();
        let exchanges = exchange(count.into()).unwrap();
        let bells = Arc::clone(&exchanges[0].bells);
        let shared: Arc<Shared> = Arc::default();
        let (mut workers, mut mailboxes, mut records) = (Vec::new(), Vec::new(), Vec::new());
        let clock = Clock::start();
        for (index, exchange) in exchanges.into_iter().enumerate() {
            let mut pool = Pool::new(Arc::clone(double.memory()));
            let ports = ["lan0", "wan0"].map(|name| {
                let mut request = weir_hw::netmap::Request::new(name);
                request.rings = Rings::One(index as u16);
                request.region = Some(double.region());
                if name == "lan0" && index == 0 {
                    request.spare_buffers = spare;
                }
                let port = double.open(&request).unwrap();
                Box::new(port) as Box<dyn Port>
            });
            // What came with a registration is spare for all.
            pool.drain();
            let setup = Setup {
                worker: index as u16,
                workers: count,
                key: [7; 16],
                states: STATES,
                now: clock.now(),
            };
            let memory = region(Engine::memory_needed(STATES)).unwrap();
            let (mailbox, letters) = Mailbox::new(index, Arc::clone(&bells));
            let (sender, receiver) = log::ring();
            workers.push(Worker::new(Parts {
                index,
                engine: Engine::new(setup, memory, Arc::clone(&shared)),
                pool,
                ports: ports.into(),
                exchange,
                letters,
                log: sender,
            }));
            mailboxes.push(mailbox);
            records.push(receiver);
        }
        let (lan, wan) = (double.wire("lan0").unwrap(), double.wire("wan0").unwrap());
        Self { double, lan, wan, workers, mailboxes, bells, _records: records, clock }
    }

    /// One round of a worker; no port fails.
    fn round(&mut self, worker: usize) -> bool {
        self.workers[worker].round(self.clock.now()).unwrap()
    }

    /// Rounds of some workers until nothing moves any more; twice, since the end of a round may be
    /// where a ring shows what has come.
    fn settle_some(&mut self, workers: Range<usize>) {
        let mut idle = 0;
        while idle < 2 {
            let moved = workers.clone().fold(false, |moved, worker| self.round(worker) | moved);
            idle = if moved { 0 } else { idle + 1 };
        }
    }

    /// Rounds of all workers until nothing moves any more.
    fn settle(&mut self) {
        self.settle_some(0..self.workers.len());
    }

    fn install(&mut self, rules: &str) {
        let program = program(rules);
        for worker in 0..self.workers.len() {
            let program = Arc::clone(&program);
            let answer =
                self.mailboxes[worker].post(|done| Letter::Install(program, done)).unwrap();
            assert!(self.round(worker), "a letter is something that moved");
            answer.wait().unwrap();
        }
    }

    fn reports(&mut self) -> Vec<Report> {
        (0..self.workers.len())
            .map(|worker| {
                let answer = self.mailboxes[worker].post(Letter::Report).unwrap();
                self.round(worker);
                answer.wait().unwrap()
            })
            .collect()
    }

    /// Closes everything; every buffer must be back in a pool or a ring.
    fn close(mut self) {
        self.workers.iter_mut().for_each(Worker::close);
        drop(self.workers);
        assert_eq!(self.double.audit().in_hand, 0, "no buffer is lost");
    }
}

fn address(flow: u16, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, (flow % 200) as u8], port))
}

/// Datagram `number` of a flow; the number is the payload.
fn datagram(flow: u16, number: u16) -> Vec<u8> {
    let payload = [flow.to_be_bytes(), number.to_be_bytes()].concat();
    udp(address(flow, 1000 + flow), address(100, 53)).payload(&payload).frame()
}

/// The answer to it.
fn answer(flow: u16, number: u16) -> Vec<u8> {
    let payload = [flow.to_be_bytes(), number.to_be_bytes()].concat();
    udp(address(100, 53), address(flow, 1000 + flow)).payload(&payload).frame()
}

/// Flow and number of a frame made by the two above.
fn identify(frame: &[u8]) -> (u16, u16) {
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    (word(frame.len() - 4), word(frame.len() - 2))
}

#[derive(Default)]
struct Arrivals {
    /// Numbers that came for each flow, in order, and the queue they came by.
    flows: HashMap<u16, (usize, Vec<u16>)>,
}

impl Arrivals {
    fn take(&mut self, wire: &Wire, queues: usize) -> usize {
        let mut count = 0;
        for queue in 0..queues {
            count += wire.drain(queue, usize::MAX, |frame| {
                let (flow, number) = identify(frame);
                let (by, numbers) = self.flows.entry(flow).or_insert((queue, Vec::new()));
                assert_eq!(*by, queue, "flow {flow} is judged by one worker only");
                numbers.push(number);
            });
        }
        count
    }
}

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
    // A flow of worker 1, by trial.
    let flow = (0..64).find(|&flow| {
        house.lan.put(0, &datagram(flow, 0));
        house.settle();
        house.wan.drain(0, usize::MAX, |_| {});
        house.wan.drain(1, usize::MAX, |_| {}) == 1
    });
    let flow = flow.expect("one of 64 flows belongs to worker 1");
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
    let mut house = House::new(2, 1024);
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = std::mem::take(&mut house.workers)
        .into_iter()
        .map(|worker| {
            let (stop, clock) = (Arc::clone(&stop), house.clock);
            std::thread::spawn(move || worker.run(&clock, &stop))
        })
        .collect();
    let program = program("pass");
    for mailbox in &house.mailboxes {
        mailbox.ask(|done| Letter::Install(Arc::clone(&program), done)).unwrap();
    }
    let mut there = Arrivals::default();
    // One at a time, so that the workers fall asleep in between; both queues for both owners.
    for number in 0..NUMBERS {
        for flow in 0..4 {
            assert!(house.lan.put(usize::from(flow & 1), &datagram(flow, number)));
            let give_up = std::time::Instant::now() + Duration::from_secs(10);
            while there.take(&house.wan, 2) == 0 {
                assert!(std::time::Instant::now() < give_up, "frame {number} of flow {flow}");
                std::thread::yield_now();
            }
        }
    }
    for flow in 0..4 {
        assert_eq!(there.flows[&flow].1, (0..NUMBERS).collect::<Vec<_>>());
    }
    let reports: Vec<_> =
        house.mailboxes.iter().map(|mailbox| mailbox.ask(Letter::Report).unwrap()).collect();
    assert!(reports.iter().map(|report| report.counters.handed_over).sum::<u64>() > 0);
    stop.store(true, Ordering::Relaxed);
    house.bells.iter().for_each(Bell::ring);
    for thread in threads {
        thread.join().unwrap().unwrap();
    }
    assert_eq!(house.double.audit().in_hand, 0, "no buffer is lost");
}
