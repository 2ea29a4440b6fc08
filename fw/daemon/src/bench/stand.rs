//! The test stand: a worker of the daemon on the memory port, frames put in and taken out.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use weir_config::options::{Limit, Limits};
use weir_config::{Defines, SourceFile, parse_one};
use weir_engine::table::Pages;
use weir_engine::{Engine, Instant, PortName, PortNames, Program, Setup, Shared, Tails};
use weir_hw::netmap::Rings;
use weir_hw::netmap::double::{Config, Double, Wire};
use weir_hw::sys::region::region;
use weir_hw::{Pool, Port};

use crate::bench::flows::{Bytes, Differences, LENGTH, asks_server};
use crate::clock::Clock;
use crate::handover::exchange;
use crate::hold::Hold;
use crate::ipfix::FlowSender;
use crate::log::{self, RecordReceiver};
use crate::mailbox::{Letter, Mailbox, Report};
use crate::worker::{Parts, Worker};

/// Roles of the ports, in the engine's order.
const ROLES: [&str; 2] = ["lan", "wan"];

/// What becomes of frames.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate<'a> {
    /// Every one leaves by the other port, as it was.
    Forwarded,
    /// Every one leaves by the other port, with other sequence numbers.
    Translated(&'a Differences),
    /// Every one is a SYN and goes back as the SYN-ACK of its server.
    Answered(&'a Differences),
    /// Every one is the ACK of such a handshake, and leaves by the other port as a SYN.
    Proven,
    /// None leaves.
    Dropped,
}

/// One worker with its ports, letters and clock.
pub(super) struct Stand {
    worker: Worker,
    shared: Arc<Shared>,
    wires: [Wire; 2],
    mailbox: Mailbox,
    /// The worker's time at the beginning, and this thread's: the worker's goes on as this thread has a
    /// core, so that nothing expires while others have it.
    begin: (Instant, Duration),
    /// What two readings in a row are apart.
    clock_cost: Duration,
    /// Frames in the receive rings, by port: what the next round judges.
    waiting: [Vec<Bytes>; 2],
    /// Nobody reads it; the worker's end counts what it loses.
    _records: RecordReceiver,
}

/// Time that this thread has had a core, so that what else runs on the machine is not counted.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned() as u32)
}

/// The median distance of two readings in a row.
fn clock_cost() -> Duration {
    let mut costs: Vec<Duration> = (0..1001)
        .map(|_| {
            let begin = thread_time();
            thread_time().saturating_sub(begin)
        })
        .collect();
    costs.sort();
    costs[costs.len() / 2]
}

fn failed(what: impl std::fmt::Display) -> io::Error {
    io::Error::other(what.to_string())
}

impl Stand {
    /// A worker with a table of `states` that judges by `rules`.
    pub(super) fn new(rules: &str, states: u32) -> io::Result<Self> {
        let parsed = parse_one(&SourceFile::new("bench", rules), &Defines::default());
        let rules = parsed.rules.ok_or_else(|| failed(&parsed.diagnostics))?;
        let names = ROLES.map(|role| PortName {
            role: role.into(),
            interface: role.into(),
            prefixes: Vec::new(),
        });
        let program = Program::compile(&rules, &PortNames(names.into()), None)
            .map_err(|error| failed(format_args!("{error:?}")))?;

        let double = Double::new(Config::lenient(&ROLES))?;
        let mut ports = Vec::new();
        let mut wires = Vec::new();
        for role in ROLES {
            ports.push(Box::new(double.open_rings(role, Rings::All)?) as Box<dyn Port>);
            wires.extend(double.wire(role));
        }
        let wires = <[Wire; 2]>::try_from(wires).map_err(|_| failed("a port without a wire"))?;
        let begin = (Clock::start().now(), thread_time());
        let exchange = exchange(1)?.pop().ok_or_else(|| failed("no rings for the worker"))?;
        let (mailbox, letters) = Mailbox::new(0, Arc::clone(&exchange.bells));
        let (log, records) = log::ring();
        let setup = Setup { worker: 0, workers: 1, key: [0x5a; 16], states, now: begin.0 };
        let shared: Arc<Shared> = Arc::default();
        let memory = region(Engine::memory_needed(states))?;
        let engine = Engine::new(setup, memory, Arc::clone(&shared));
        let pool = Pool::new(Arc::clone(double.memory()));
        let hold = Hold::new(true)?;
        let busy_poll = false;
        let flows = FlowSender::nowhere();
        let parts =
            Parts { index: 0, engine, pool, hold, ports, exchange, letters, log, flows, busy_poll };
        let worker = Worker::new(parts);
        let waiting = [Vec::new(), Vec::new()];
        let tails = Tails::new(Limits::default().tails, 1);
        let tails = tails.ok_or_else(|| failed("no memory for tails"))?;
        let mut stand = Self {
            worker,
            shared,
            wires,
            mailbox,
            begin,
            clock_cost: clock_cost(),
            waiting,
            _records: records,
        };
        stand
            .ask(|done| Letter::Install(Arc::new(program), Arc::default(), Pages::default(), done))
            .map(drop)?;
        stand.ask(|done| Letter::Tails(tails, done)).map(drop)?;
        Ok(stand)
    }

    /// Puts a batch on each port, at most [`Engine::BATCH`], and lets the worker run a round, which
    /// judges the batch before. Returns how long the round kept the core.
    ///
    /// # Errors
    /// When what came out is not what had to.
    pub(super) fn step(
        &mut self,
        batches: &mut [Vec<Bytes>; 2],
        fate: Fate<'_>,
    ) -> io::Result<Duration> {
        for (wire, batch) in self.wires.iter().zip(&*batches) {
            let put = wire.put_batch(0, batch.len(), LENGTH, |i, bytes| {
                bytes.copy_from_slice(&batch[i]);
            });
            if !put {
                return Err(failed("a receive ring is full"));
            }
        }
        let now = self.now();
        let begin = thread_time();
        let round = self.worker.round(now);
        let time = thread_time().saturating_sub(begin).saturating_sub(self.clock_cost);
        round.map_err(failed)?;
        for (port, wire) in self.wires.iter().enumerate() {
            let expected: &[Bytes] = match fate {
                Fate::Forwarded | Fate::Translated(_) | Fate::Proven => &self.waiting[1 - port],
                Fate::Answered(_) => &self.waiting[port],
                Fate::Dropped => &[],
            };
            let mut seen = 0;
            let mut same = true;
            wire.drain(0, usize::MAX, |frame| {
                same &= expected.get(seen).is_some_and(|expected| match fate {
                    Fate::Translated(differences) => differences.are_kept(expected, frame),
                    Fate::Answered(differences) => differences.are_promised(expected, frame),
                    Fate::Proven => asks_server(expected, frame),
                    Fate::Forwarded | Fate::Dropped => frame == expected,
                });
                seen += 1;
            });
            if !same || seen != expected.len() {
                return Err(failed(format_args!(
                    "{} frames had to leave by {}, {seen} did{}",
                    expected.len(),
                    ROLES[port],
                    if same { "" } else { ", not all as they had to" }
                )));
            }
        }
        for (waiting, batch) in self.waiting.iter_mut().zip(batches) {
            std::mem::swap(waiting, batch);
            batch.clear();
        }
        Ok(time)
    }

    /// Lets the worker judge what is still in the rings.
    ///
    /// # Errors
    /// As for [`Stand::step`].
    pub(super) fn finish(&mut self, fate: Fate<'_>) -> io::Result<Duration> {
        self.step(&mut [Vec::new(), Vec::new()], fate)
    }

    /// A round without frames, as if so much more time had passed. Returns how long it kept the core,
    /// `None` when it found nothing to do.
    ///
    /// # Errors
    /// When a port fails.
    pub(super) fn idle(&mut self, later: Duration) -> io::Result<Option<Duration>> {
        let now = self.now().after(later);
        let begin = thread_time();
        let moved = self.worker.round(now).map_err(failed)?;
        let time = thread_time().saturating_sub(begin).saturating_sub(self.clock_cost);
        Ok(moved.then_some(time))
    }

    /// The worker's time.
    fn now(&self) -> Instant {
        let (instant, time) = self.begin;
        instant.after(thread_time().saturating_sub(time))
    }

    /// Sources that limits know.
    pub(super) fn sources(&self) -> u32 {
        self.shared.pool(Limit::SrcNodes).used()
    }

    /// The worker's counters.
    ///
    /// # Errors
    /// When the worker does not answer.
    pub(super) fn report(&mut self) -> io::Result<Report> {
        self.ask(Letter::Report)
    }

    fn ask<T>(
        &mut self,
        make: impl FnOnce(crossbeam::channel::Sender<T>) -> Letter,
    ) -> io::Result<T> {
        let answer = self.mailbox.post(make)?;
        self.worker.round(self.now()).map_err(failed)?;
        answer.wait()
    }
}
