//! A bridge for tests: as many engines as there are workers, virtual time, rules in their language.

use std::sync::Arc;
use std::time::Duration;

use weir_config::rules::RuleSet;
use weir_config::{Defines, SourceFile, parse_one};
use weir_engine::frame::Owned;
use weir_engine::table::Tables;
use weir_engine::{
    Counters, Engine, Instant, LogRecord, PortIndex, PortName, PortNames, Program, Reason, Setup,
    Shared, StateView, Verdict,
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
    /// The frame that the last verdict left, rewritten if it was reflected.
    pub(crate) frame: Vec<u8>,
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
        Self {
            engines,
            shared,
            now,
            log: Vec::new(),
            program: None,
            frame: Vec::new(),
            crafted: Vec::new(),
        }
    }

    /// Puts rules in force, after those that are.
    pub(crate) fn load(&mut self, rules: &str) {
        self.load_set(&parsed(rules));
    }

    /// The same, where a test is about what goes on over a load.
    pub(crate) fn reload(&mut self, rules: &str) {
        self.load(rules);
    }

    pub(crate) fn load_set(&mut self, set: &RuleSet) {
        let program = Program::compile(set, &ports(), self.program.as_deref()).unwrap();
        self.install(&Arc::new(program));
    }

    fn install(&mut self, program: &Arc<Program>) {
        self.program = Some(Arc::clone(program));
        for engine in &mut self.engines {
            let tables = Tables::declared(program, self.now).expect("room for the entries");
            drop(engine.install(self.now, program.clone(), Arc::new(tables)));
        }
    }

    /// Lets time pass, with a round of every worker in each tenth of a second.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now.after(time);
        while self.now < end {
            self.now = self.now.after(Duration::from_millis(100)).min(end);
            for engine in &mut self.engines {
                while engine.advance(self.now) {}
                take_crafted(engine, &mut self.crafted);
            }
        }
    }

    /// The verdict of the worker that owns the flow, the frame arriving at worker 0.
    pub(crate) fn judge(&mut self, port: PortIndex, frame: &[u8]) -> Verdict {
        let mut worker = 0;
        for _ in 0..2 {
            let mut frames = Owned::new();
            frames.push(port, frame);
            let mut verdicts = Vec::new();
            let engine = &mut self.engines[worker];
            engine.judge(self.now, &mut frames, &mut verdicts, &mut self.log);
            engine.advance(self.now);
            take_crafted(engine, &mut self.crafted);
            match verdicts[..] {
                [Verdict::Handover(owner)] => worker = usize::from(owner),
                [verdict] => {
                    self.frame = frames.bytes(0);
                    return verdict;
                }
                _ => panic!("{} verdicts on one frame", verdicts.len()),
            }
        }
        panic!("handed over twice");
    }

    /// Sends a frame in; says why it does not leave by the other port.
    pub(crate) fn send(&mut self, port: PortIndex, frame: &[u8]) -> Option<Reason> {
        match self.judge(port, frame) {
            Verdict::Forward(out) => {
                assert_ne!(out, port, "a bridge never sends a frame back");
                None
            }
            Verdict::Drop(reason) | Verdict::Reflect(reason) => Some(reason),
            Verdict::Handover(_) => unreachable!("`judge` follows handovers"),
        }
    }

    /// As `-F states`.
    pub(crate) fn forget_states(&mut self) {
        for engine in &mut self.engines {
            engine.kill(self.now, 0, u32::MAX, &|_| true);
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
