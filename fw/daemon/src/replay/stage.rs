//! The firewall on a stage: the daemon's own workers and control side over ports that are fed by hand,
//! on one thread, in the time of the packets.
//!
//! The control side waits for answers of workers as it always does, so it has a thread for the while
//! of a call; the workers make rounds meanwhile, and time stands still. A round in which nothing is to
//! be done changes nothing, so how many of them there are does not matter: the same input has the
//! same outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_engine::{Engine, Instant, LogRecord, PortIndex, PortNames, Setup, Shared};
use weir_hw::open::HELD_BUFFERS;
use weir_hw::pcap::fed::{Wire, fed};
use weir_hw::sys::region::region;
use weir_hw::{Checksum, Kind, Memory, Pool, Port};

use crate::clock::Clock;
use crate::control::{Control, Parts};
use crate::handover::exchange;
use crate::hold::Hold;
use crate::ipfix::FlowSender;
use crate::log::{self, RecordReceiver};
use crate::mailbox::{Letter, Mailbox};
use crate::rules::Programs;
use crate::tap::{Sighting, TapReceiver, Wish, tap};
use crate::worker::{self, Worker};

/// What is moved at a time where nothing happens: how long a worker sleeps at most.
const STEP: Duration = Duration::from_millis(100);

/// A longer pause is cut into so many steps; they get longer with it.
const STEPS: u32 = 100_000;

/// Bytes of a buffer; longer frames take several.
const BUFFER: usize = 4096;

/// Buffers for what a worker has in hand besides what it holds.
const BUFFERS: u32 = 4096;

/// Frames that can be seen between two looks, and the bytes of each that are kept to be described.
const SEEN: usize = 16_384;
const SNAP: u32 = 192;

/// The firewall, standing still.
pub(super) struct Stage {
    workers: Vec<Worker>,
    /// By worker and port.
    wires: Vec<[Wire; 2]>,
    mailboxes: Vec<Mailbox>,
    control: Control,
    clock: Clock,
    now: Instant,
    records: Vec<RecordReceiver>,
    taps: Vec<TapReceiver>,
    stuck: Arc<AtomicBool>,
    /// Frames put in so far.
    fed: u64,
}

/// How a stage is set up.
pub(super) struct Plan {
    pub(super) workers: u16,
    /// States that memory is reserved for.
    pub(super) states: u32,
    /// What everything that is drawn at random comes from.
    pub(super) seed: u64,
    pub(super) ports: PortNames,
    /// Its base is when the replay begins.
    pub(super) clock: Clock,
    pub(super) programs: Arc<Programs>,
}

/// What has come out since the last look.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Frames that were decided, with their first bytes.
    pub(super) seen: Vec<(Sighting, Vec<u8>)>,
    /// What the rules wanted logged.
    pub(super) log: Vec<LogRecord>,
    /// Frames that have left, with the ports they left by.
    pub(super) left: Vec<(PortIndex, Vec<u8>)>,
}

/// Sixteen bytes of a seed (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators",
/// 2014: `SplitMix64`).
fn key(seed: u64) -> [u8; 16] {
    let word = |round: u64| {
        let mut word = seed.wrapping_add(round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    };
    (u128::from(word(1)) << 64 | u128::from(word(2))).to_le_bytes()
}

impl Stage {
    /// Without rules: everything is dropped.
    ///
    /// # Errors
    /// When there is no memory for it; in words.
    pub(super) fn new(plan: Plan) -> Result<Self, String> {
        let said = |error: std::io::Error| error.to_string();
        let Plan { workers: count, states, seed, ports, clock, programs } = plan;
        let memory =
            Memory::new((HELD_BUFFERS + BUFFERS) * u32::from(count), BUFFER).map_err(said)?;
        let shared: Arc<Shared> = Arc::default();
        let (mut workers, mut wires) = (Vec::new(), Vec::new());
        let (mut mailboxes, mut records) = (Vec::new(), Vec::new());
        let exchanges = exchange(count.into()).map_err(said)?;
        let bells = exchanges.first().map(|first| {
            let first = (&first.bells, &first.overloads);
            (Arc::clone(first.0), Arc::clone(first.1))
        });
        let (bells, overloads) = bells.ok_or("no workers")?;
        for (index, exchange) in exchanges.into_iter().enumerate() {
            let [(lan, lan_wire), (wan, wan_wire)] = [fed(), fed()];
            let room = region(Engine::memory_needed(states)).map_err(said)?;
            let setup = Setup {
                worker: index as u16,
                workers: count,
                key: key(seed),
                states,
                now: clock.now(),
            };
            let (mailbox, letters) = Mailbox::new(index, Arc::clone(&bells));
            let (log, taken) = log::ring();
            workers.push(Worker::new(worker::Parts {
                index,
                engine: Engine::new(setup, room, Arc::clone(&shared)),
                pool: Pool::new(Arc::clone(&memory)),
                hold: Hold::new(true).map_err(said)?,
                ports: vec![Box::new(lan) as Box<dyn Port>, Box::new(wan)],
                exchange,
                letters,
                log,
                flows: FlowSender::nowhere(),
                busy_poll: false,
            }));
            wires.push([lan_wire, wan_wire]);
            mailboxes.push(mailbox);
            records.push(taken);
        }
        let stuck = Arc::new(AtomicBool::new(false));
        let control = {
            let stuck = Arc::clone(&stuck);
            let parts = Parts {
                clock,
                mailboxes: mailboxes.clone(),
                cpus: Vec::new(),
                shared,
                overloads,
                ports,
                io: Kind::Pcap,
                steered: false,
                reserved: states,
                programs,
                log: Arc::default(),
                flows: Arc::default(),
                history: None,
                rules_file: String::new(),
                cut_percent: 100,
                give_up: Box::new(move |_| stuck.store(true, Ordering::Relaxed)),
            };
            Control::new(parts, Box::new(|_| {}))
        };
        let (now, taps) = (clock.now(), Vec::new());
        Ok(Self { workers, wires, mailboxes, control, clock, now, records, taps, stuck, fed: 0 })
    }

    /// Asks the control side for something, with the workers at work.
    ///
    /// # Errors
    /// When a worker fails; in words.
    pub(super) fn attend<T: Send>(
        &mut self,
        ask: impl FnOnce(&Control) -> T + Send,
    ) -> Result<T, String> {
        let Self { workers, control, now, .. } = self;
        let answer = std::thread::scope(|scope| {
            let asking = scope.spawn(|| ask(control));
            while !asking.is_finished() {
                for worker in &mut *workers {
                    worker.round(*now).map_err(|failure| failure.to_string())?;
                }
                std::thread::yield_now();
            }
            asking.join().map_err(|_| "the control side failed".to_owned())
        })?;
        if self.stuck.load(Ordering::Relaxed) {
            return Err("a worker does not answer".to_owned());
        }
        Ok(answer)
    }

    /// Has every frame that arrives told of in [`Outcome::seen`] from now on.
    ///
    /// # Errors
    /// When a worker fails; in words.
    pub(super) fn watch(&mut self) -> Result<(), String> {
        let wish =
            Wish { ports: 3, ways: [true, false], filter: None, snap: SNAP, decisions: true };
        for worker in 0..self.mailboxes.len() {
            let (sender, receiver) = tap(0, wish.clone(), SEEN, SEEN * SNAP as usize);
            let mailbox = self.mailboxes[worker].clone();
            self.attend(move |_| mailbox.ask(|reply| Letter::Watch(sender, reply)))?
                .map_err(|error| error.to_string())?;
            self.taps.push(receiver);
        }
        Ok(())
    }

    /// Lets time pass until `then`; `each` takes what comes of it, with the time of that.
    ///
    /// # Errors
    /// When a worker or `each` fails.
    pub(super) fn wait<E: From<String>>(
        &mut self,
        then: Instant,
        each: &mut dyn FnMut(Instant, Outcome) -> Result<(), E>,
    ) -> Result<(), E> {
        let step = STEP.max(then.since(self.now) / STEPS);
        while self.now < then {
            self.now = self.now.after(step).min(then);
            self.clock.set(self.now);
            self.settle()?;
            let outcome = self.outcome();
            if !outcome.is_empty() {
                each(self.now, outcome)?;
            }
        }
        Ok(())
    }

    /// Puts a frame in and lets the workers do what is to be done about it at this moment.
    ///
    /// # Errors
    /// When a worker fails; in words.
    pub(super) fn feed(
        &mut self,
        port: PortIndex,
        bytes: Vec<u8>,
        checksum: Checksum,
    ) -> Result<Outcome, String> {
        // As by a NIC that knows of no flows: any worker may get any frame.
        let worker = (self.fed % self.workers.len() as u64) as usize;
        self.fed += 1;
        self.wires[worker][usize::from(port.0 & 1)].put(bytes, checksum);
        self.settle()?;
        Ok(self.outcome())
    }

    /// Rounds until nothing moves and no source waits for its table.
    fn settle(&mut self) -> Result<(), String> {
        loop {
            let mut moved = false;
            for worker in &mut self.workers {
                moved |= worker.round(self.now).map_err(|failure| failure.to_string())?;
            }
            if self.control.has_overload() {
                self.attend(Control::serve_waiting_overloads)?;
            } else if !moved {
                return Ok(());
            }
        }
    }

    fn outcome(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        let mut bytes = Vec::new();
        for tap in &mut self.taps {
            while let Some(sighting) = tap.take(&mut bytes) {
                outcome.seen.push((sighting, bytes.clone()));
            }
        }
        for records in &mut self.records {
            outcome.log.extend(std::iter::from_fn(|| records.take()));
        }
        for wires in &self.wires {
            for (port, wire) in (0..).zip(wires) {
                let left = std::iter::from_fn(|| wire.take());
                outcome.left.extend(left.map(|frame| (PortIndex(port), frame)));
            }
        }
        outcome
    }

    /// Frames that were decided and not told of for want of room.
    pub(super) fn unseen(&self) -> u64 {
        self.taps.iter().flat_map(TapReceiver::lost).sum()
    }

    /// The time that it is there.
    pub(super) const fn now(&self) -> Instant {
        self.now
    }
}

impl Outcome {
    const fn is_empty(&self) -> bool {
        self.seen.is_empty() && self.log.is_empty() && self.left.is_empty()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.workers.iter_mut().for_each(Worker::close);
    }
}
