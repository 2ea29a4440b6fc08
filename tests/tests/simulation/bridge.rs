//! The engines of a bridge with several workers, frames going between them as in the daemon: a frame
//! arrives at a queue that has nothing to do with its owner, is handed over through a ring, and is
//! judged once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use weir_config::{Defines, SourceFile, parse_one};
use weir_engine::frame::Owned;
use weir_engine::table::Tables;
use weir_engine::{
    Counters, Engine, Instant, LogRecord, PortIndex, PortName, PortNames, Program, Reason, Setup,
    Shared, Verdict,
};

/// Frames that wait in one ring at most, as in the daemon.
const RING: usize = 1024;
/// States that each worker has room for.
const STATES: u32 = 4096;

/// A frame and the port that it arrives on or leaves by.
pub(crate) type Moving = (PortIndex, Vec<u8>);

pub(crate) struct Bridge {
    engines: Vec<Engine>,
    pub(crate) shared: Arc<Shared>,
    /// To each worker, from all others.
    rings: Vec<VecDeque<Moving>>,
    verdicts: Vec<Verdict>,
}

impl Bridge {
    pub(crate) fn new(workers: u16, rules: &str) -> Self {
        let shared = Arc::<Shared>::default();
        let now = Instant::default();
        let engines = (0..workers).map(|worker| {
            let memory = vec![0; Engine::memory_needed(STATES)].leak();
            let setup = Setup { worker, workers, key: [7; 16], states: STATES, now };
            Engine::new(setup, memory, Arc::clone(&shared))
        });
        let mut bridge = Self {
            engines: engines.collect(),
            shared,
            rings: vec![VecDeque::new(); workers.into()],
            verdicts: Vec::new(),
        };
        let parsed = parse_one(&SourceFile::new("simulation", rules), &Defines::default());
        let set = parsed.rules.unwrap_or_else(|| panic!("{}", parsed.diagnostics.render(false)));
        let names = ["lan", "wan"].map(|role| PortName {
            role: role.to_owned(),
            interface: role.to_owned(),
            prefixes: Vec::new(),
        });
        let program = Program::compile(&set, &PortNames(names.into()), None);
        let program = Arc::new(program.expect("rules that compile"));
        let tables = Arc::new(Tables::declared(&program, now).expect("no tables"));
        for engine in &mut bridge.engines {
            drop(engine.install(now, Arc::clone(&program), Arc::clone(&tables)));
        }
        bridge
    }

    /// Judges what arrives at a time, in order within each flow; returns what leaves.
    pub(crate) fn judge(
        &mut self,
        now: Duration,
        arriving: Vec<Moving>,
        log: &mut Vec<LogRecord>,
    ) -> Vec<Moving> {
        let mut leaving = Vec::new();
        let mut queues = vec![Vec::new(); self.engines.len()];
        for moving in arriving {
            queues[queue(&moving.1, self.engines.len())].push(moving);
        }
        for (worker, queue) in queues.into_iter().enumerate() {
            for batch in queue.chunks(Engine::BATCH) {
                self.judge_batch(worker, now, batch, log, &mut leaving);
            }
        }
        while let Some(worker) = self.rings.iter().position(|ring| !ring.is_empty()) {
            let ring = &mut self.rings[worker];
            let batch: Vec<_> = ring.drain(..ring.len().min(Engine::BATCH)).collect();
            self.judge_batch(worker, now, &batch, log, &mut leaving);
        }
        leaving
    }

    fn judge_batch(
        &mut self,
        worker: usize,
        now: Duration,
        batch: &[Moving],
        log: &mut Vec<LogRecord>,
        leaving: &mut Vec<Moving>,
    ) {
        let mut frames = Owned::new();
        for (port, frame) in batch {
            frames.push(*port, frame);
        }
        let engine = &mut self.engines[worker];
        let now = Instant(now.as_nanos() as u64);
        engine.judge(now, &mut frames, &mut self.verdicts, log);
        for (i, (verdict, (port, _))) in self.verdicts.iter().zip(batch).enumerate() {
            match *verdict {
                Verdict::Forward(out) => leaving.push((out, frames.bytes(i))),
                Verdict::Reflect(_) => leaving.push((*port, frames.bytes(i))),
                Verdict::Drop(_) => {}
                Verdict::Handover(owner) => {
                    let ring = &mut self.rings[usize::from(owner)];
                    if ring.len() < RING {
                        ring.push_back((*port, frames.bytes(i)));
                    } else {
                        engine.note(Reason::HandoverFull);
                    }
                }
            }
        }
        while let Some((port, bytes)) = engine.crafted() {
            leaving.push((port, bytes.to_vec()));
        }
    }

    /// The end of a round of every worker; returns what the engines send by themselves.
    pub(crate) fn advance(&mut self, now: Duration) -> Vec<Moving> {
        let mut leaving = Vec::new();
        for engine in &mut self.engines {
            engine.advance(Instant(now.as_nanos() as u64));
            while let Some((port, bytes)) = engine.crafted() {
                leaving.push((port, bytes.to_vec()));
            }
        }
        leaving
    }

    pub(crate) fn counters(&self) -> Counters {
        let mut all = Counters::default();
        for engine in &self.engines {
            all.merge(engine.counters());
        }
        all
    }
}

/// The queue that a card would give a frame to: one for all frames of a flow in one direction.
fn queue(frame: &[u8], workers: usize) -> usize {
    let flow = match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.get(26..38),
        Some([0x86, 0xdd]) => frame.get(22..58),
        _ => None,
    };
    flow.unwrap_or_default().iter().map(|&byte| usize::from(byte)).sum::<usize>() % workers
}
