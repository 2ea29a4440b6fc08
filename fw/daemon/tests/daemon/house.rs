//! Workers on a strict memory port, driven by hand or by threads.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::Sender;
use weir_config::{Defines, SourceFile, parse_one};
use weir_daemon::clock::Clock;
use weir_daemon::handover::{Bell, exchange};
use weir_daemon::hold::Hold;
use weir_daemon::ipfix::FlowSender;
use weir_daemon::log::{self, RecordReceiver};
use weir_daemon::mailbox::{Letter, Mailbox, Report};
use weir_daemon::worker::{Berth, Parts, Worker};
use weir_engine::packet::build::udp;
use weir_engine::table::Pages;
use weir_engine::{Engine, PortName, PortNames, Program, Setup, Shared};
use weir_hw::netmap::Rings;
use weir_hw::netmap::double::{Config, Double, Wire};
use weir_hw::sys::region::region;
use weir_hw::{Pool, Port};

/// States of each worker's table.
pub(crate) const STATES: u32 = 1024;

/// Workers on a strict double of two NICs, with a queue of each NIC for each worker.
pub(crate) struct House {
    pub(crate) double: Double,
    pub(crate) lan: Wire,
    pub(crate) wan: Wire,
    pub(crate) workers: Vec<Worker>,
    pub(crate) mailboxes: Vec<Mailbox>,
    pub(crate) bells: Arc<[Bell]>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) overloads: Arc<Bell>,
    /// Kept so that the workers' ends stay connected.
    _records: Vec<RecordReceiver>,
    pub(crate) clock: Clock,
}

pub(crate) fn names() -> PortNames {
    let names = ["lan", "wan"];
    PortNames(
        names
            .map(|role| PortName {
                role: role.into(),
                interface: format!("{role}0"),
                prefixes: Vec::new(),
            })
            .into(),
    )
}

pub(crate) fn program(text: &str) -> Arc<Program> {
    let parsed = parse_one(&SourceFile::new("test", text), &Defines::default());
    let rules = parsed.rules.unwrap_or_else(|| panic!("{}", parsed.diagnostics));
    Arc::new(Program::compile(&rules, &names(), None).unwrap())
}

/// Two ports with as many rings as there are workers, and what each of these gets of them.
fn plug(count: u16, spare: u32) -> (Double, Vec<Berth>) {
    let mut config = Config::strict(&["lan0", "wan0"]);
    config.spare_buffers = spare;
    for nic in &mut config.nics {
        (nic.tx_rings, nic.rx_rings) = (count, count);
        (nic.tx_slots, nic.rx_slots) = (128, 512);
    }
    let double = Double::new(config).unwrap();
    let berths = (0..count).map(|index| {
        let mut pool = Pool::new(Arc::clone(double.memory()));
        let ports = ["lan0", "wan0"].map(|name| {
            let mut request = weir_hw::netmap::Request::new(name);
            request.rings = Rings::One(index);
            request.region = Some(double.region());
            if name == "lan0" && index == 0 {
                request.spare_buffers = spare;
            }
            let port = double.open(&request).unwrap();
            Box::new(port) as Box<dyn Port>
        });
        // What came with a registration is spare for all.
        pool.drain();
        Berth { pool, hold: Hold::new(true).unwrap(), ports: ports.into() }
    });
    let berths = berths.collect();
    (double, berths)
}

impl House {
    pub(crate) fn new(count: u16, spare: u32) -> Self {
        let (double, berths) = plug(count, spare);
        let exchanges = exchange(count.into()).unwrap();
        let bells = Arc::clone(&exchanges[0].bells);
        let overloads = Arc::clone(&exchanges[0].overloads);
        let shared: Arc<Shared> = Arc::default();
        let (mut workers, mut mailboxes, mut records) = (Vec::new(), Vec::new(), Vec::new());
        let clock = Clock::start();
        for (index, (exchange, berth)) in exchanges.into_iter().zip(berths).enumerate() {
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
                pool: berth.pool,
                hold: berth.hold,
                ports: berth.ports,
                exchange,
                letters,
                log: sender,
                flows: FlowSender::nowhere(),
                busy_poll: false,
            }));
            mailboxes.push(mailbox);
            records.push(receiver);
        }
        let (lan, wan) = (double.wire("lan0").unwrap(), double.wire("wan0").unwrap());
        Self {
            double,
            lan,
            wan,
            workers,
            mailboxes,
            bells,
            shared,
            overloads,
            _records: records,
            clock,
        }
    }

    /// Takes the ports away from all workers, as the keeper does; every buffer must be back then.
    pub(crate) fn part(&mut self) {
        for _ in 0..2 {
            self.tell(|_, done| Letter::Part(done));
        }
        assert_eq!(self.double.audit().in_hand, 0, "no buffer is lost");
    }

    /// Gives new ports to all workers.
    pub(crate) fn plug_in(&mut self, spare: u32) {
        let (double, berths) = plug(self.workers.len() as u16, spare);
        (self.lan, self.wan) = (double.wire("lan0").unwrap(), double.wire("wan0").unwrap());
        let mut berths = berths.into_iter();
        self.tell(|_, done| Letter::Ports(Box::new(berths.next().unwrap()), done));
        self.double = double;
    }

    fn tell(&mut self, mut letter: impl FnMut(usize, Sender<()>) -> Letter) {
        for worker in 0..self.workers.len() {
            let answer = self.mailboxes[worker].post(|done| letter(worker, done)).unwrap();
            assert!(self.round(worker));
            answer.wait().unwrap();
        }
    }

    /// One round of a worker; no port fails.
    pub(crate) fn round(&mut self, worker: usize) -> bool {
        self.workers[worker].round(self.clock.now()).unwrap()
    }

    /// Rounds of some workers until nothing moves any more; twice, since the end of a round may be
    /// where a ring shows what has come.
    pub(crate) fn settle_some(&mut self, workers: Range<usize>) {
        let mut idle = 0;
        while idle < 2 {
            let moved = workers.clone().fold(false, |moved, worker| self.round(worker) | moved);
            idle = if moved { 0 } else { idle + 1 };
        }
    }

    /// Rounds of all workers until nothing moves any more.
    pub(crate) fn settle(&mut self) {
        self.settle_some(0..self.workers.len());
    }

    pub(crate) fn install(&mut self, rules: &str) {
        let program = program(rules);
        for worker in 0..self.workers.len() {
            let program = Arc::clone(&program);
            let answer = self.mailboxes[worker]
                .post(|done| Letter::Install(program, Arc::default(), Pages::default(), done))
                .unwrap();
            assert!(self.round(worker), "a letter is something that moved");
            drop(answer.wait().unwrap());
        }
    }

    pub(crate) fn reports(&mut self) -> Vec<Report> {
        (0..self.workers.len())
            .map(|worker| {
                let answer = self.mailboxes[worker].post(Letter::Report).unwrap();
                self.round(worker);
                answer.wait().unwrap()
            })
            .collect()
    }

    /// Puts the workers on threads.
    pub(crate) fn start(mut self) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = std::mem::take(&mut self.workers)
            .into_iter()
            .map(|worker| {
                let (stop, clock) = (Arc::clone(&stop), self.clock);
                std::thread::spawn(move || {
                    worker.run(&clock, &stop, &|failure| panic!("{failure}"));
                })
            })
            .collect();
        Running { house: self, stop, threads }
    }

    /// Closes everything; every buffer must be back in a pool or a ring.
    pub(crate) fn close(mut self) {
        self.workers.iter_mut().for_each(Worker::close);
        drop(self.workers);
        assert_eq!(self.double.audit().in_hand, 0, "no buffer is lost");
    }
}

pub(crate) fn address(flow: u16, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, (flow % 200) as u8], port))
}

/// Datagram `number` of a flow; the number is the payload.
pub(crate) fn datagram(flow: u16, number: u16) -> Vec<u8> {
    let payload = [flow.to_be_bytes(), number.to_be_bytes()].concat();
    udp(address(flow, 1000 + flow), address(100, 53)).payload(&payload).frame()
}

/// The answer to it.
pub(crate) fn answer(flow: u16, number: u16) -> Vec<u8> {
    let payload = [flow.to_be_bytes(), number.to_be_bytes()].concat();
    udp(address(100, 53), address(flow, 1000 + flow)).payload(&payload).frame()
}

/// Flow and number of a frame made by the two above.
pub(crate) fn identify(frame: &[u8]) -> (u16, u16) {
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    (word(frame.len() - 4), word(frame.len() - 2))
}

#[derive(Default)]
pub(crate) struct Arrivals {
    /// Numbers that came for each flow, in order, and the queue they came by.
    pub(crate) flows: HashMap<u16, (usize, Vec<u16>)>,
}

impl Arrivals {
    pub(crate) fn take(&mut self, wire: &Wire, queues: usize) -> usize {
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

/// A house whose workers run on threads.
pub(crate) struct Running {
    pub(crate) house: House,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Ends the workers; every buffer must be back in a pool or a ring.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.house.bells.iter().for_each(Bell::ring);
        for thread in self.threads {
            thread.join().unwrap();
        }
        assert_eq!(self.house.double.audit().in_hand, 0, "no buffer is lost");
    }
}

/// Waits for a condition, ten seconds at most.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < give_up, "{what}: not within ten seconds");
        std::thread::yield_now();
    }
}
