//! The engines of a bridge with several workers on a clock that is handed in, frames going between
//! them as in the daemon: a frame arrives at a queue that has nothing to do with its owner, is handed
//! over through a ring, and is judged once.
//!
//! Whatever goes wrong in setting it up panics: the only callers are tests and fuzz targets.
#![allow(clippy::missing_panics_doc, reason = "panicking is the contract, see above")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use weir_config::{Defines, SourceFile, parse_one};
use weir_engine::frame::{Judged, Owned};
use weir_engine::table::Tables;
use weir_engine::{
    Counters, Engine, Instant, LogRecord, PortIndex, PortName, PortNames, Program, Reason,
    Releases, Setup, Shared, StateView, Tails, Verdict,
};

/// Frames that wait in one ring at most, as in the daemon.
const RING: usize = 1024;

/// A frame and the port that it arrives on or leaves by.
pub type Moving = (PortIndex, Vec<u8>);

/// A frame on its way to another worker.
struct Handed {
    moving: Moving,
    /// See [`weir_engine::Frames::is_gathered`].
    gathered: bool,
}

/// As many engines as there are workers.
pub struct Bridge {
    engines: Vec<Engine>,
    /// What they share.
    pub shared: Arc<Shared>,
    /// What each worker has been lent.
    lent: Vec<Owned>,
    /// To each worker, from all others.
    rings: Vec<VecDeque<Handed>>,
    verdicts: Vec<Verdict>,
    releases: Releases,
    program: Option<Arc<Program>>,
    /// Frames of the engines' own that nobody has taken yet.
    crafted: Vec<Moving>,
}

/// The names of a bridge's two ports.
pub fn ports() -> PortNames {
    let names = ["lan", "wan"].map(|role| PortName {
        role: role.to_owned(),
        interface: role.to_owned(),
        prefixes: Vec::new(),
    });
    PortNames(names.into())
}

/// A program that follows another one, from rules in their language.
pub fn compile(rules: &str, previous: Option<&Program>) -> Arc<Program> {
    let parsed = parse_one(&SourceFile::new("rules", rules), &Defines::default());
    let set = parsed.rules.unwrap_or_else(|| panic!("{}", parsed.diagnostics.render(false)));
    Arc::new(Program::compile(&set, &ports(), previous).expect("rules that compile"))
}

impl Bridge {
    /// States that each worker of [`Bridge::new`] has room for.
    pub const STATES: u32 = 4096;

    /// A bridge with rules in force at time 0, on memory that is never given back.
    pub fn new(workers: u16, rules: &str) -> Self {
        let needed = Self::memory_needed(workers, Self::STATES);
        Self::on(vec![0; needed].leak(), workers, Self::STATES, &compile(rules, None))
    }

    /// Bytes that [`Bridge::on`] needs.
    pub const fn memory_needed(workers: u16, states: u32) -> usize {
        Engine::memory_needed(states) * workers as usize
    }

    /// A bridge with a program in force at time 0, on zeroed memory. Each worker has room for so many
    /// states.
    pub fn on(
        memory: &'static mut [u8],
        workers: u16,
        states: u32,
        program: &Arc<Program>,
    ) -> Self {
        let shared = Arc::<Shared>::default();
        let engines = memory.chunks_exact_mut(Engine::memory_needed(states)).zip(0..workers);
        let engines = engines.map(|(memory, worker)| {
            let now = Instant::default();
            let setup = Setup { worker, workers, key: [7; 16], states, now };
            Engine::new(setup, memory, Arc::clone(&shared))
        });
        let mut bridge = Self {
            engines: engines.collect(),
            shared,
            lent: vec![Owned::new(); workers.into()],
            rings: std::iter::repeat_with(VecDeque::new).take(workers.into()).collect(),
            verdicts: Vec::new(),
            releases: Releases::default(),
            program: None,
            crafted: Vec::new(),
        };
        assert_eq!(bridge.engines.len(), usize::from(workers), "memory for all workers");
        bridge.install(Duration::ZERO, program);
        bridge
    }

    /// Puts a program in force.
    pub fn install(&mut self, now: Duration, program: &Arc<Program>) {
        let now = at(now);
        let tables = Arc::new(Tables::declared(program, now).expect("room for the entries"));
        let limit = |program: &Program| program.rules().options.limits.tails;
        let another = self.program.as_deref().map(limit) != Some(limit(program));
        let workers = self.engines.len() as u16;
        for engine in &mut self.engines {
            if another {
                let tails = Tails::new(limit(program), workers).expect("memory");
                drop(engine.set_tails(tails));
            }
            drop(engine.install(now, Arc::clone(program), Arc::clone(&tables)));
        }
        self.program = Some(Arc::clone(program));
    }

    /// What is in force.
    pub fn program(&self) -> Arc<Program> {
        Arc::clone(self.program.as_ref().expect("always one"))
    }

    /// Judges what arrives at a time, in order within each flow; returns what leaves.
    pub fn judge(
        &mut self,
        now: Duration,
        arriving: Vec<Moving>,
        log: &mut Vec<LogRecord>,
    ) -> Vec<Moving> {
        let mut leaving: Vec<_> =
            self.feed(now, arriving, log).into_iter().filter_map(left).collect();
        leaving.append(&mut self.crafted);
        leaving
    }

    /// Judges what arrives at a time, in order within each flow; returns what became of all frames
    /// that are not held, those of earlier times too.
    pub fn feed(
        &mut self,
        now: Duration,
        arriving: Vec<Moving>,
        log: &mut Vec<LogRecord>,
    ) -> Vec<Judged> {
        let mut judged = Vec::new();
        let workers = self.engines.len();
        let mut queues: Vec<_> = std::iter::repeat_with(Vec::new).take(workers).collect();
        for moving in arriving {
            queues[queue(&moving.1, workers)].push(Handed { moving, gathered: false });
        }
        for (worker, mut queue) in queues.into_iter().enumerate() {
            while !queue.is_empty() {
                let batch: Vec<_> = queue.drain(..queue.len().min(Engine::BATCH)).collect();
                self.judge_batch(worker, now, &batch, log, &mut judged);
            }
        }
        while let Some(worker) = self.rings.iter().position(|ring| !ring.is_empty()) {
            let ring = &mut self.rings[worker];
            let batch: Vec<_> = ring.drain(..ring.len().min(Engine::BATCH)).collect();
            self.judge_batch(worker, now, &batch, log, &mut judged);
        }
        judged
    }

    fn judge_batch(
        &mut self,
        worker: usize,
        now: Duration,
        batch: &[Handed],
        log: &mut Vec<LogRecord>,
        judged: &mut Vec<Judged>,
    ) {
        let lent = &mut self.lent[worker];
        for Handed { moving: (port, frame), gathered } in batch {
            lent.push(*port, frame);
            if *gathered {
                lent.mark_gathered();
            }
        }
        let engine = &mut self.engines[worker];
        engine.judge(at(now), lent, &mut self.verdicts, log);
        assert_eq!(self.verdicts.len(), batch.len(), "a verdict a frame");
        self.settle(worker, judged);
    }

    /// What the verdicts and the releases of a worker say.
    fn settle(&mut self, worker: usize, judged: &mut Vec<Judged>) {
        let engine = &mut self.engines[worker];
        engine.take_releases(&mut self.releases);
        for one in self.lent[worker].settle(&self.verdicts, &self.releases) {
            let Verdict::Handover(owner) = one.verdict else {
                judged.push(one);
                continue;
            };
            let ring = &mut self.rings[usize::from(owner)];
            if ring.len() < RING {
                ring.push_back(Handed { moving: (one.port, one.bytes), gathered: one.released });
            } else {
                engine.note(Reason::HandoverFull);
                let verdict = Verdict::Drop(Reason::HandoverFull);
                judged.push(Judged { verdict, ..one });
            }
        }
        self.verdicts.clear();
        self.take_crafted(worker);
    }

    fn take_crafted(&mut self, worker: usize) {
        while let Some((port, bytes)) = self.engines[worker].crafted() {
            self.crafted.push((port, bytes.to_vec()));
        }
    }

    /// The end of a round of every worker; returns what the engines send by themselves.
    pub fn advance(&mut self, now: Duration) -> Vec<Moving> {
        self.give_up(now);
        self.crafted()
    }

    /// The end of a round of every worker; returns the frames that were held until now.
    pub fn give_up(&mut self, now: Duration) -> Vec<Judged> {
        let mut judged = Vec::new();
        for worker in 0..self.engines.len() {
            self.engines[worker].advance(at(now));
            self.settle(worker, &mut judged);
        }
        judged
    }

    /// The frames that the engines have made themselves, each once.
    pub fn crafted(&mut self) -> Vec<Moving> {
        std::mem::take(&mut self.crafted)
    }

    /// As `-F states`.
    pub fn forget_states(&mut self, now: Duration) {
        for worker in 0..self.engines.len() {
            let mut cursor = Some(0);
            while let Some(place) = cursor {
                (_, cursor) = self.engines[worker].kill(at(now), place, u32::MAX, &|_| true);
                self.take_crafted(worker);
            }
        }
    }

    /// Every state.
    pub fn states(&self, now: Duration) -> Vec<StateView> {
        let mut states = Vec::new();
        for engine in &self.engines {
            let end = engine.states(at(now), 0, u32::MAX, &mut states);
            assert_eq!(end, None, "all at once");
        }
        states
    }

    /// What all workers have counted.
    pub fn counters(&self) -> Counters {
        let mut all = Counters::default();
        for engine in &self.engines {
            all.merge(engine.counters());
        }
        all
    }

    /// States that rules are charged with, over all rules and workers.
    pub fn charged(&mut self) -> u64 {
        let counters = self.engines.iter_mut().flat_map(Engine::rule_counters);
        counters.map(|rule| u64::from(rule.states)).sum()
    }

    /// Frames that are held.
    pub fn held(&self) -> usize {
        self.lent.iter().map(Owned::held).sum()
    }
}

/// The frame that leaves, if one does.
pub fn left(judged: Judged) -> Option<Moving> {
    match judged.verdict {
        Verdict::Forward(port) => Some((port, judged.bytes)),
        Verdict::Reflect(_) | Verdict::Answer => Some((judged.port, judged.bytes)),
        Verdict::Drop(_) | Verdict::Hold(_) | Verdict::Handover(_) => None,
    }
}

const fn at(now: Duration) -> Instant {
    Instant(now.as_nanos() as u64)
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
