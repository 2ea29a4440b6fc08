//! A worker: one queue of every port, its own engine, its share of the flows.
//!
//! [`Worker::round`] is the way of a batch, top to bottom: receive, judge, move each frame to where
//! its verdict sends it, judge what other workers handed over, transmit, turn the timer wheel, read
//! one letter. It never blocks, and calls the kernel only where a port must. [`Worker::run`] repeats
//! it on a thread of its own and sleeps when a round moved nothing.
//!
//! Every frame is judged once, by the worker that owns its flow. All frames of a flow that arrive at
//! one queue take the same ring to their owner, so their order is kept. Fragments go to the worker that
//! gathers what passes between their hosts; a datagram that is whole goes on to its owner all at once.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::Receiver;
use rtrb::Producer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use weir_engine::{Engine, Instant, PortIndex, Reason, Releases, Verdict};
use weir_hw::{Checksum, Frame, Pool, Port, PortError, Stats};

use crate::batch::{Batch, GATHERED};
use crate::clock::Clock;
use crate::handover::Exchange;
use crate::hold::Hold;
use crate::ipfix::FlowSender;
use crate::log::RecordSender;
use crate::mailbox::{CHUNK, Letter, Report};
use crate::tap::{MAX_TAPS, TapSender};

/// Frames that wait for one port at most; what comes on top is dropped and counted.
pub const OUTPUT: usize = 1024;

/// Longest sleep: the timer wheel turns at least this often.
const SLEEP: Duration = Duration::from_millis(100);

/// A worker's queue of one port.
struct Queue {
    port: Box<dyn Port>,
    /// Frames that leave by it.
    output: VecDeque<Frame>,
}

/// One queue of every port, and the engine that judges their frames.
pub struct Worker {
    engine: Engine,
    pool: Pool,
    /// None while the worker is parted from its ports: nothing comes then, and nothing leaves.
    queues: Vec<Queue>,
    exchange: Exchange,
    letters: Receiver<Letter>,
    log: RecordSender,
    flows: FlowSender,
    /// Nanoseconds in which it had something to do.
    busy: u64,
    index: usize,
    carries_offloads: bool,
    busy_poll: bool,
    /// The batch at hand; empty between rounds.
    frames: Vec<Frame>,
    verdicts: Vec<Verdict>,
    /// Fragments whose datagrams are not whole, and what becomes of those that are not held any more.
    hold: Hold,
    releases: Releases,
    /// Workers that were given something in this batch, one bit each; workers above 63 share.
    given: u64,
    back_pressure: u64,
    /// What ports that it is parted from have counted, by index.
    counted: Vec<Stats>,
    /// For those who watch; mostly none.
    taps: Vec<TapSender>,
}

/// What a worker needs of ports that have been opened.
pub struct Berth {
    /// Over the memory that all workers and ports share.
    pub pool: Pool,
    /// Made for frames of that memory.
    pub hold: Hold,
    /// Its queue of each port, in the order of the engine's port indices.
    pub ports: Vec<Box<dyn Port>>,
}

/// A port that cannot go on, and why.
#[derive(Debug)]
pub struct PortFailure {
    /// Index of the port.
    pub port: usize,
    /// What it said.
    pub error: PortError,
}

impl fmt::Display for PortFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}: {}", self.port, self.error)
    }
}

impl std::error::Error for PortFailure {}

/// What a [`Worker`] is made of.
pub struct Parts {
    /// Its number.
    pub index: usize,
    /// Set up for that number; no program is installed yet, so everything is dropped.
    pub engine: Engine,
    /// Over the memory that all workers and ports share.
    pub pool: Pool,
    /// Made for frames of that memory.
    pub hold: Hold,
    /// Its queue of each port, in the order of the engine's port indices.
    pub ports: Vec<Box<dyn Port>>,
    /// Its ends of the rings between workers.
    pub exchange: Exchange,
    /// Its end of its mailbox.
    pub letters: Receiver<Letter>,
    /// Its end of the ring to the log writer.
    pub log: RecordSender,
    /// Its end of the ring to the flow collector.
    pub flows: FlowSender,
    /// Whether it never sleeps.
    pub busy_poll: bool,
}

impl Worker {
    /// Puts a worker together.
    pub fn new(parts: Parts) -> Self {
        let counted = vec![Stats::default(); parts.ports.len()];
        let (queues, carries_offloads) = queues(parts.ports);
        Self {
            engine: parts.engine,
            pool: parts.pool,
            queues,
            exchange: parts.exchange,
            letters: parts.letters,
            log: parts.log,
            flows: parts.flows,
            busy: 0,
            index: parts.index,
            carries_offloads,
            busy_poll: parts.busy_poll,
            frames: Vec::with_capacity(Engine::BATCH),
            verdicts: Vec::with_capacity(Engine::BATCH),
            hold: parts.hold,
            releases: Releases::with_capacity(Engine::FRAGMENTS as usize + Engine::BATCH),
            given: 0,
            back_pressure: 0,
            counted,
            taps: Vec::with_capacity(MAX_TAPS),
        }
    }

    /// One round; tells whether anything moved.
    ///
    /// # Errors
    /// When a port cannot go on. Frames that were not sent stay queued; no frame is lost silently.
    pub fn round(&mut self, now: Instant) -> Result<bool, PortFailure> {
        let mut moved = 0;
        for port in 0..self.queues.len() {
            moved += self.receive(port)?;
            self.judge(now);
        }
        // Parted, it leaves what others may still give it where it is.
        if !self.queues.is_empty() {
            for worker in 0..self.exchange.from.len() {
                moved += self.take_over(worker);
                self.judge(now);
            }
        }
        // A worker with states to end does not sleep.
        moved += usize::from(self.engine.advance(now));
        self.engine.take_releases(&mut self.releases);
        self.release(now, &mut 0, usize::MAX);
        self.send_crafted(now);
        self.engine.take_flows(|record| self.flows.send(record));
        if self.engine.take_reported() {
            self.exchange.overloads.ring();
        }
        for port in 0..self.queues.len() {
            moved += self.transmit(port)?;
        }
        if let Ok(letter) = self.letters.try_recv() {
            self.answer(now, letter);
            moved += 1;
        }
        Ok(moved > 0)
    }

    /// Rounds until `stop`, sleeping while there is nothing to do; then closes the ports. When a port
    /// cannot go on, the worker parts from all of them, says so, and goes on without: its states live,
    /// and letters are answered. [`Letter::Ports`] gives it new ones.
    pub fn run(mut self, clock: &Clock, stop: &AtomicBool, failed: &dyn Fn(PortFailure)) {
        while !stop.load(Ordering::Relaxed) {
            if let Err(failure) = self.rounds(clock, stop) {
                self.part(clock.now());
                failed(failure);
            }
        }
        self.close();
    }

    /// Gives everything up that is of its ports' memory, and the ports.
    fn part(&mut self, now: Instant) {
        self.engine.forget_fragments(now);
        self.engine.take_releases(&mut self.releases);
        self.release(now, &mut 0, usize::MAX);
        self.close();
        for (counted, queue) in self.counted.iter_mut().zip(self.queues.drain(..)) {
            *counted = counted.plus(queue.port.stats());
        }
    }

    /// Takes ports that were opened anew.
    fn take_ports(&mut self, berth: Berth) {
        self.pool = berth.pool;
        self.hold = berth.hold;
        (self.queues, self.carries_offloads) = queues(berth.ports);
    }

    fn rounds(&mut self, clock: &Clock, stop: &AtomicBool) -> Result<(), PortFailure> {
        // From the clock that each round reads anyway: a round that moved something lasts until the next.
        let mut begun = None;
        while !stop.load(Ordering::Relaxed) {
            let now = clock.now();
            if let Some(begun) = begun.take() {
                self.busy += now.since(begun).as_nanos() as u64;
            }
            if self.round(now)? {
                begun = Some(now);
            } else if !self.busy_poll || self.queues.is_empty() {
                // Without ports there is nothing to ask again and again.
                self.sleep(stop)?;
            }
        }
        Ok(())
    }

    /// Releases all frames and closes the ports.
    pub fn close(&mut self) {
        // Received just before a port failed.
        for frame in self.frames.drain(..) {
            self.pool.release(frame);
        }
        self.hold.clear(&mut self.pool);
        for queue in &mut self.queues {
            for frame in queue.output.drain(..) {
                self.pool.release(frame);
            }
            queue.port.close(&mut self.pool);
        }
        for ring in self.exchange.from.iter_mut().flatten() {
            while let Ok(frame) = ring.pop() {
                self.pool.release(frame);
            }
        }
        self.pool.drain();
    }

    /// Takes a batch out of a port, unless frames from there could find their way out jammed.
    fn receive(&mut self, port: usize) -> Result<usize, PortFailure> {
        if self.is_jammed(port) {
            self.back_pressure += 1;
            return Ok(0);
        }
        self.queues[port]
            .port
            .receive(&mut self.pool, port as u8, &mut self.frames, Engine::BATCH)
            .map_err(|error| PortFailure { port, error })
    }

    /// Whether another port, by which frames of this one leave, has too many waiting.
    fn is_jammed(&self, port: usize) -> bool {
        self.queues.iter().enumerate().any(|(i, out)| i != port && out.output.len() > OUTPUT / 2)
    }

    /// Takes a batch out of the ring from another worker.
    fn take_over(&mut self, worker: usize) -> usize {
        let Some(ring) = &mut self.exchange.from[worker] else { return 0 };
        while self.frames.len() < Engine::BATCH
            && let Ok(frame) = ring.pop()
        {
            self.frames.push(frame);
        }
        self.frames.len()
    }

    /// Judges the batch at hand and moves every frame of it to where its verdict sends it.
    fn judge(&mut self, now: Instant) {
        if self.frames.is_empty() {
            return;
        }
        for tap in &mut self.taps {
            tap.arrive(now, &self.pool, &self.frames);
        }
        let mut batch = Batch {
            pool: &mut self.pool,
            frames: &mut self.frames,
            hold: &mut self.hold,
            carries_offloads: self.carries_offloads,
        };
        self.engine.judge(now, &mut batch, &mut self.verdicts, &mut self.log);
        debug_assert_eq!(self.verdicts.len(), self.frames.len());
        self.engine.take_releases(&mut self.releases);
        if self.taps.is_empty() {
            self.move_batch::<false>(now);
        } else {
            for tap in &mut self.taps {
                tap.judged(&self.engine, &self.verdicts);
            }
            self.move_batch::<true>(now);
        }
        self.ring_bells(now);
    }

    /// Moves every frame of the batch, and those that were held, to where their verdicts send them.
    fn move_batch<const WATCHED: bool>(&mut self, now: Instant) {
        // Taken out for the while: what is done to a frame needs all the rest.
        let mut frames = std::mem::take(&mut self.frames);
        let verdicts = std::mem::take(&mut self.verdicts);
        let mut released = 0;
        for (i, (frame, &verdict)) in frames.drain(..).zip(&verdicts).enumerate() {
            if !self.releases.is_empty() {
                self.release(now, &mut released, i);
            }
            self.send::<WATCHED>(now, frame, verdict);
        }
        self.release(now, &mut released, usize::MAX);
        (self.frames, self.verdicts) = (frames, verdicts);
    }

    /// Moves held frames whose time has come before frame `before` of the batch moves; `released` is
    /// how far the list of them is done.
    fn release(&mut self, now: Instant, released: &mut usize, before: usize) {
        if self.releases.is_empty() {
            return;
        }
        let releases = std::mem::take(&mut self.releases);
        while let Some((verdict, slots)) = releases.next(released, before) {
            // All of a datagram or nothing of it.
            let fits = match verdict {
                Verdict::Handover(worker) => self.ring(worker).slots() >= slots.len(),
                _ => true,
            };
            for &slot in slots {
                if !self.taps.is_empty() && !matches!(verdict, Verdict::Handover(_)) {
                    let (pool, frame) = self.hold.get(slot as usize, &self.pool);
                    for tap in &mut self.taps {
                        tap.decide(now, pool, frame, verdict);
                    }
                }
                if !fits || matches!(verdict, Verdict::Drop(_)) {
                    self.hold.release(slot, &mut self.pool);
                    if !fits {
                        self.engine.note(Reason::HandoverFull);
                    }
                } else if let Some(mut frame) = self.hold.take(slot, &mut self.pool) {
                    frame.mark = GATHERED;
                    self.send::<true>(now, frame, verdict);
                } else {
                    self.engine.note(Reason::OutputFull);
                }
            }
        }
        self.releases = releases;
    }

    /// Moves a frame to where its verdict sends it; if it may be `WATCHED`, taps see it leave.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "2 ns a frame otherwise")]
    fn send<const WATCHED: bool>(&mut self, now: Instant, mut frame: Frame, verdict: Verdict) {
        let port = match verdict {
            Verdict::Forward(port) => {
                if !self.carries_offloads {
                    frame.meta.checksum = Checksum::Unknown;
                }
                port.0 as usize
            }
            Verdict::Reflect(_) | Verdict::Answer => frame.port as usize,
            Verdict::Drop(_) => {
                self.pool.release(frame);
                return;
            }
            Verdict::Hold(slot) => {
                self.hold.put(slot, frame, &mut self.pool);
                return;
            }
            Verdict::Handover(worker) => {
                match self.ring(worker).push(frame) {
                    Ok(()) => self.given |= 1 << (worker & 63),
                    Err(rtrb::PushError::Full(frame)) => {
                        self.engine.note(Reason::HandoverFull);
                        self.pool.release(frame);
                    }
                }
                return;
            }
        };
        let output = &mut self.queues[port].output;
        if output.len() < OUTPUT {
            if WATCHED {
                for tap in &mut self.taps {
                    tap.leave(now, &self.pool, &frame, PortIndex(port as u8));
                }
            }
            output.push_back(frame);
        } else {
            self.engine.note(Reason::OutputFull);
            self.pool.release(frame);
        }
    }

    /// The ring to another worker.
    fn ring(&mut self, worker: u16) -> &mut Producer<Frame> {
        match self.exchange.to.get_mut(usize::from(worker)) {
            Some(Some(ring)) => ring,
            // The engine names workers of its own set-up, and never the one it runs on.
            _ => unreachable!("worker {} hands frames to worker {worker}", self.index),
        }
    }

    /// Wakes the workers that were given something.
    fn ring_bells(&mut self, now: Instant) {
        let given = std::mem::take(&mut self.given);
        if given != 0 {
            for (worker, bell) in self.exchange.bells.iter().enumerate() {
                if given & 1 << (worker & 63) != 0 && worker != self.index {
                    bell.ring();
                }
            }
        }
        self.send_crafted(now);
    }

    /// Queues the frames that the engine has made itself.
    fn send_crafted(&mut self, now: Instant) {
        let mut lost = 0;
        while let Some((port, bytes)) = self.engine.crafted() {
            let queue = self.queues.get_mut(port.0 as usize);
            if let Some(Queue { output, .. }) = queue
                && output.len() < OUTPUT
                && let Some(mut frame) = self.pool.copy(bytes)
            {
                frame.meta.checksum = Checksum::Complete;
                for tap in &mut self.taps {
                    tap.leave(now, &self.pool, &frame, port);
                }
                output.push_back(frame);
            } else {
                lost += 1;
            }
        }
        for _ in 0..lost {
            self.engine.note(Reason::OutputFull);
        }
    }

    /// Sends what waits for a port and tells the other side of its rings.
    fn transmit(&mut self, port: usize) -> Result<usize, PortFailure> {
        let queue = &mut self.queues[port];
        let sent = if queue.output.is_empty() {
            Ok(0)
        } else {
            queue.port.transmit(&mut self.pool, &mut queue.output)
        };
        sent.and_then(|sent| queue.port.flush(&mut self.pool).map(|()| sent))
            .map_err(|error| PortFailure { port, error })
    }

    /// Waits until a port, another worker or a control thread has something, or the wheel wants to
    /// turn. Ports without a descriptor cannot be waited for: then it only lets others run.
    fn sleep(&mut self, stop: &AtomicBool) -> Result<(), PortFailure> {
        let bell = &self.exchange.bells[self.index];
        let mut waiting = Vec::with_capacity(1 + 2 * self.queues.len());
        // Whose they are.
        let mut ports = Vec::with_capacity(waiting.capacity());
        for (i, queue) in self.queues.iter().enumerate() {
            let Some(descriptor) = queue.port.descriptor() else {
                std::thread::yield_now();
                return Ok(());
            };
            if !self.is_jammed(i) {
                waiting.push(PollFd::from_borrowed_fd(descriptor, PollFlags::IN));
                ports.push(i);
            }
            if (!queue.output.is_empty() || queue.port.is_sending())
                && let Some(descriptor) = queue.port.output_descriptor()
            {
                waiting.push(PollFd::from_borrowed_fd(descriptor, PollFlags::OUT));
                ports.push(i);
            }
        }
        waiting.push(PollFd::from_borrowed_fd(bell.descriptor(), PollFlags::IN));
        bell.lie_down();
        if !self.exchange.has_frames() && self.letters.is_empty() && !stop.load(Ordering::Relaxed) {
            let timeout = Timespec { tv_sec: 0, tv_nsec: SLEEP.subsec_nanos().into() };
            // An interrupted or failed wait is a short one.
            let _ = poll(&mut waiting, Some(&timeout));
        }
        bell.get_up();
        let in_error = waiting.iter().map(|waited| waited.revents().contains(PollFlags::ERR));
        let broken =
            ports.into_iter().zip(in_error).find_map(|(port, error)| error.then_some(port));
        match broken {
            Some(port) => {
                self.queues[port].port.error_shown().map_err(|error| PortFailure { port, error })
            }
            None => Ok(()),
        }
    }

    /// Does what a letter asks. Nobody may be left to read the answer; that is not our concern.
    fn answer(&mut self, now: Instant, letter: Letter) {
        match letter {
            Letter::Install(program, tables, pages, done) => {
                self.engine.stock(pages);
                let _ = done.try_send(self.engine.install(now, program, tables));
            }
            Letter::Tables(tables, pages, done) => {
                self.engine.stock(pages);
                let _ = done.try_send(self.engine.set_tables(tables));
            }
            Letter::Tails(tails, done) => {
                let _ = done.try_send(self.engine.set_tails(tails));
            }
            Letter::TableTallies(reply) => {
                let _ = reply.try_send(self.engine.table_counters().tables());
            }
            Letter::EntryCounters(table, uid, entries, reply) => {
                let counters = self.engine.table_counters();
                let counted = entries.iter().map(|&hit| counters.entry(table, uid, hit));
                let counted = counted.map(Option::unwrap_or_default).collect();
                let _ = reply.try_send((entries, counted));
            }
            Letter::Part(done) => {
                self.part(now);
                let _ = done.try_send(());
            }
            Letter::Ports(berth, done) => {
                self.take_ports(*berth);
                let _ = done.try_send(());
            }
            Letter::Open(until, done) => {
                self.engine.open_until(until);
                let _ = done.try_send(());
            }
            Letter::Report(reply) => {
                let _ = reply.try_send(self.report());
            }
            Letter::ClearPort(port, done) => {
                self.engine.clear_port_counters(port);
                let _ = done.try_send(());
            }
            Letter::ClearCounters(done) => {
                self.engine.clear_counters();
                self.back_pressure = 0;
                let _ = done.try_send(());
            }
            Letter::ClearRules(chosen, done) => {
                self.engine.clear_rule_counters(&*chosen);
                let _ = done.try_send(());
            }
            Letter::ClearEtherRules(done) => {
                self.engine.clear_ether_counters();
                let _ = done.try_send(());
            }
            Letter::States(cursor, mut room, reply) => {
                let next = self.engine.states(now, cursor, CHUNK as u32, &mut room);
                let _ = reply.try_send((room, next));
            }
            Letter::StateOf(head, meta, reply) => {
                let _ = reply.try_send(self.engine.state_of(now, &head, &meta));
            }
            Letter::Watch(tap, reply) => {
                let unplaced = if self.taps.len() < MAX_TAPS {
                    self.taps.push(tap);
                    None
                } else {
                    Some(tap)
                };
                let _ = reply.try_send(unplaced);
            }
            Letter::Unwatch(id, reply) => {
                let at = self.taps.iter().position(|tap| tap.id == id);
                let _ = reply.try_send(at.map(|at| self.taps.swap_remove(at)));
            }
            Letter::Kill(cursor, matches, reply) => {
                let _ = reply.try_send(self.engine.kill(now, cursor, CHUNK as u32, &*matches));
            }
        }
    }

    /// What its queues of each port have counted, former ones included.
    fn port_stats(&self) -> Vec<Stats> {
        let now = self.queues.iter().map(|queue| queue.port.stats());
        let now = now.chain(std::iter::repeat(Stats::default()));
        self.counted.iter().zip(now).map(|(before, now)| before.plus(now)).collect()
    }

    fn report(&mut self) -> Report {
        Report {
            counters: self.engine.counters().clone(),
            rules: self.engine.rule_counters(),
            ether: self.engine.ether_counters().to_vec(),
            states: self.engine.state_count(),
            phases: *self.engine.phases(),
            ports: self.port_stats(),
            back_pressure: self.back_pressure,
            log_lost: self.log.lost(),
            busy: self.busy,
            flows_lost: self.engine.flows_lost(),
        }
    }
}

/// Queues over ports, and whether frames may leave by all of them with work left to their hardware.
fn queues(ports: Vec<Box<dyn Port>>) -> (Vec<Queue>, bool) {
    let carries_offloads = ports.iter().all(|port| port.carries_offloads());
    let queue = |port| Queue { port, output: VecDeque::with_capacity(OUTPUT) };
    (ports.into_iter().map(queue).collect(), carries_offloads)
}
