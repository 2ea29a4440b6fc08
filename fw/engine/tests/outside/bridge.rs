//! A bridge for tests: as many engines as there are workers, virtual time, rules in their language.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use weir_config::rules::RuleSet;
use weir_config::{Defines, SourceFile, parse_one};
use weir_engine::frame::{Judged, Owned};
use weir_engine::table::Tables;
use weir_engine::{
    Counters, Engine, Instant, LogRecord, PortIndex, PortName, PortNames, Program, Reason,
    Releases, Setup, Shared, StateView, Steering, Tails, Verdict,
};

/// The side of the protected network.
pub(crate) const LAN: PortIndex = PortIndex::LAN;
/// The side of the router.
pub(crate) const WAN: PortIndex = PortIndex::WAN;

/// A verdict on a frame from the LAN or the WAN that passes.
pub(crate) const PASSES: Option<Reason> = None;

pub(crate) struct Bridge {
    pub(crate) engines: Vec<Engine>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) now: Instant,
    pub(crate) log: Vec<LogRecord>,
    program: Option<Arc<Program>>,
    /// `set limit tails` of the program.
    tails: Option<u32>,
    /// The frame that the last verdict left, rewritten if it was reflected.
    pub(crate) frame: Vec<u8>,
    /// What each worker holds.
    pub(crate) frames: Vec<Owned>,
    /// Frames that were given up while time passed.
    pub(crate) given_up: Vec<Judged>,
    /// The frames that the engines have made themselves, by the ports they leave by.
    pub(crate) crafted: Vec<(PortIndex, Vec<u8>)>,
}

pub(crate) fn ports() -> PortNames {
    let name = |role: &str, interface: &str| PortName {
        role: role.to_owned(),
        interface: interface.to_owned(),
        prefixes: Vec::new(),
    };
    PortNames(vec![name("lan", "eth0"), name("wan", "eth1")])
}

fn parsed(rules: &str) -> RuleSet {
    let parsed = parse_one(&SourceFile::new("test", rules), &Defines::default());
    parsed.rules.unwrap_or_else(|| panic!("{}", parsed.diagnostics.render(false)))
}

pub(crate) fn compile(rules: &str) -> Arc<Program> {
    Arc::new(Program::compile(&parsed(rules), &ports(), None).unwrap())
}

fn take_crafted(engine: &mut Engine, into: &mut Vec<(PortIndex, Vec<u8>)>) {
    while let Some((port, bytes)) = engine.crafted() {
        into.push((port, bytes.to_vec()));
    }
}

impl Bridge {
    pub(crate) fn new(rules: &str) -> Self {
        Self::with_workers(rules, 1)
    }

    pub(crate) fn with_workers(rules: &str, workers: u16) -> Self {
        let mut bridge = Self::without_rules(workers);
        bridge.load(rules);
        bridge
    }

    /// Whose workers own what NICs deliver to them.
    pub(crate) fn steered(rules: &str, workers: u16, steering: Steering) -> Self {
        let mut bridge = Self::without_rules(workers);
        let steering = Some(Arc::new(steering));
        let engines = bridge.engines.drain(..).map(|engine| engine.steered(steering.clone()));
        bridge.engines = engines.collect();
        bridge.load(rules);
        bridge
    }

    pub(crate) fn without_rules(workers: u16) -> Self {
        const STATES: u32 = 5_000;
        let now = Instant::from_secs(1_000);
        let shared = Arc::new(Shared::default());
        let engines = (0..workers)
            .map(|worker| {
                let memory = vec![0; Engine::memory_needed(STATES)].leak();
                let setup = Setup { worker, workers, key: [9; 16], states: STATES, now };
                Engine::new(setup, memory, shared.clone())
            })
            .collect();
        let frames = (0..workers).map(|_| Owned::new()).collect();
        Self {
            engines,
            shared,
            now,
            log: Vec::new(),
            program: None,
            tails: None,
            frame: Vec::new(),
            frames,
            given_up: Vec::new(),
            crafted: Vec::new(),
        }
    }

    /// Puts rules in force, after those that are.
    pub(crate) fn load(&mut self, rules: &str) {
        self.load_set(&parsed(rules));
    }

    pub(crate) fn load_set(&mut self, set: &RuleSet) {
        let program = Program::compile(set, &ports(), self.program.as_deref()).unwrap();
        self.install(&Arc::new(program));
    }

    fn install(&mut self, program: &Arc<Program>) {
        self.program = Some(Arc::clone(program));
        let workers = self.engines.len() as u16;
        let limit = program.rules().options.limits.tails;
        let another = self.tails != Some(limit);
        self.tails = Some(limit);
        for engine in &mut self.engines {
            if another {
                drop(engine.set_tails(Tails::new(limit, workers).expect("memory")));
            }
            let tables = Tables::declared(program, self.now).expect("room for the entries");
            drop(engine.install(self.now, program.clone(), Arc::new(tables)));
        }
    }

    /// Lets time pass, with a round of every worker in each tenth of a second.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now.after(time);
        while self.now < end {
            self.now = self.now.after(Duration::from_millis(100)).min(end);
            for worker in 0..self.engines.len() {
                let given_up = self.advance(worker);
                self.given_up.extend(given_up);
            }
        }
    }

    /// A round of a worker to which nothing comes.
    fn advance(&mut self, worker: usize) -> Vec<Judged> {
        let mut releases = Releases::default();
        while self.engines[worker].advance(self.now) {
            // Else there might be no room for more.
            take_crafted(&mut self.engines[worker], &mut self.crafted);
        }
        self.engines[worker].take_releases(&mut releases);
        take_crafted(&mut self.engines[worker], &mut self.crafted);
        self.frames[worker].settle(&[], &releases)
    }

    /// Frames that come in at worker 0 in one batch: what becomes of each frame that is not held, in
    /// the order of the way out, frames handed over judged by their owners.
    pub(crate) fn feed(&mut self, port: PortIndex, frames: &[Vec<u8>]) -> Vec<Judged> {
        self.feed_at(0, port, frames)
    }

    /// The same at another worker.
    pub(crate) fn feed_at(
        &mut self,
        worker: usize,
        port: PortIndex,
        frames: &[Vec<u8>],
    ) -> Vec<Judged> {
        let mut out = Vec::new();
        let mut waiting: VecDeque<(usize, bool, Vec<Vec<u8>>)> =
            [(worker, false, frames.to_vec())].into();
        let mut handed = 0;
        while let Some((worker, gathered, frames)) = waiting.pop_front() {
            let lent = &mut self.frames[worker];
            for frame in &frames {
                lent.push(port, frame);
                if gathered {
                    lent.mark_gathered();
                }
            }
            let (mut verdicts, mut releases) = (Vec::new(), Releases::default());
            let engine = &mut self.engines[worker];
            engine.judge(self.now, lent, &mut verdicts, &mut self.log);
            assert_eq!(verdicts.len(), frames.len(), "a verdict a frame");
            engine.take_releases(&mut releases);
            for judged in lent.settle(&verdicts, &releases) {
                match judged.verdict {
                    Verdict::Handover(owner) => {
                        waiting.push_back((owner.into(), judged.released, vec![judged.bytes]));
                        handed += 1;
                        assert!(handed <= 2 * 10_000, "frames go to and fro");
                    }
                    _ => out.push(judged),
                }
            }
            out.extend(self.advance(worker));
        }
        out
    }

    /// The verdict of the worker that owns the flow, the frame arriving at worker 0. A fragment that
    /// completes a datagram brings the verdict on all.
    pub(crate) fn judge(&mut self, port: PortIndex, frame: &[u8]) -> Verdict {
        match self.feed(port, &[frame.to_vec()]).pop() {
            Some(judged) => {
                self.frame = judged.bytes;
                judged.verdict
            }
            None => Verdict::Hold(0),
        }
    }

    /// Sends a frame in; says why it does not leave by the other port.
    pub(crate) fn send(&mut self, port: PortIndex, frame: &[u8]) -> Option<Reason> {
        match self.judge(port, frame) {
            Verdict::Forward(out) => {
                assert_ne!(out, port, "a bridge never sends a frame back");
                None
            }
            Verdict::Drop(reason) | Verdict::Reflect(reason) => Some(reason),
            Verdict::Answer => panic!("weir answers for the receiver"),
            Verdict::Handover(_) => unreachable!("`judge` follows handovers"),
            Verdict::Hold(_) => panic!("a fragment of a datagram that is not whole"),
        }
    }

    /// As `-F states`.
    pub(crate) fn forget_states(&mut self) {
        for engine in &mut self.engines {
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                (_, cursor) = engine.kill(self.now, at, u32::MAX, &|_| true);
                take_crafted(engine, &mut self.crafted);
            }
        }
    }

    pub(crate) fn states(&self) -> Vec<StateView> {
        let mut states = Vec::new();
        for engine in &self.engines {
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                cursor = engine.states(self.now, at, 100, &mut states);
            }
        }
        states
    }

    /// The lines of `-ss`.
    pub(crate) fn listing(&self) -> Vec<String> {
        self.states().iter().map(|state| state.line(&ports()).to_string()).collect()
    }

    pub(crate) fn counters(&self) -> Counters {
        let mut all = Counters::default();
        for engine in &self.engines {
            all.merge(engine.counters());
        }
        all
    }
}
