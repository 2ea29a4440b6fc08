//! A bridge under test, with what must hold whatever frames come: every frame is judged once and
//! counted once, none goes back by the port it came in by, what the engine makes itself is
//! well-formed, bounds are kept, and in the end nothing is left.

use std::sync::Arc;
use std::time::Duration;

use weir_config::options::Limit;
use weir_engine::frame::{Frames, Judged, Owned};
use weir_engine::packet::{Packet, checksum};
use weir_engine::{LogRecord, PortIndex, Program, Verdict};

use super::{STATES, Summary};
use crate::bridge::{Bridge, Moving};

/// How long it may take until everything has timed out: more than any time-out, and a turn of the
/// wheel.
const PATIENCE: Duration = Duration::from_secs(2_000);

pub(super) struct Stand {
    pub(super) bridge: Bridge,
    pub(super) now: Duration,
    pub(super) log: Vec<LogRecord>,
    pub(super) seen: Summary,
    /// Frames sent in.
    sent: u64,
}

impl Stand {
    pub(super) fn new(memory: &'static mut [u8], workers: u16, program: &Arc<Program>) -> Self {
        let bridge = Bridge::on(memory, workers, STATES, program);
        Self {
            bridge,
            now: Duration::from_secs(1),
            log: Vec::new(),
            seen: Summary::default(),
            sent: 0,
        }
    }

    /// Sends frames in at one time; what became of them and of others that were held.
    pub(super) fn send(&mut self, frames: Vec<Moving>) -> Vec<Judged> {
        self.sent += frames.len() as u64;
        self.log.clear();
        let judged = self.bridge.feed(self.now, frames, &mut self.log);
        self.note(&judged);
        self.check();
        judged
    }

    /// Sends one frame in; whether it leaves by the other port at once.
    pub(super) fn passes(&mut self, port: PortIndex, frame: &[u8]) -> bool {
        let judged = self.send(vec![(port, frame.to_vec())]);
        judged.iter().any(|one| matches!(one.verdict, Verdict::Forward(_)))
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
        let judged = self.bridge.give_up(self.now);
        self.note(&judged);
        let sources = self.bridge.shared.sources();
        while let Some(overload) = sources.overload() {
            sources.admit_again(&overload);
        }
        self.check();
    }

    /// Puts other rules in force.
    pub(super) fn install(&mut self, program: &Arc<Program>) {
        self.bridge.install(self.now, program);
        self.check();
    }

    fn note(&mut self, judged: &[Judged]) {
        for Judged { port, verdict, bytes, .. } in judged {
            match *verdict {
                Verdict::Forward(out) => {
                    assert_ne!(out, *port, "a bridge never sends a frame back");
                    self.seen.passed += 1;
                }
                Verdict::Answer => {
                    self.seen.passed += 1;
                    self.seen.answers += 1;
                    assert_well_formed(bytes);
                }
                Verdict::Drop(reason) => {
                    self.seen.dropped += 1;
                    self.seen.reasons |= 1 << reason as u32;
                }
                Verdict::Reflect(reason) => {
                    self.seen.dropped += 1;
                    self.seen.answers += 1;
                    self.seen.reasons |= 1 << reason as u32;
                    assert_well_formed(bytes);
                }
                Verdict::Handover(_) | Verdict::Hold(_) => unreachable!("not an end"),
            }
        }
        for (_, frame) in self.bridge.crafted() {
            self.seen.answers += 1;
            assert_well_formed(&frame);
        }
    }

    fn check(&self) {
        let Summary { passed, dropped, .. } = self.seen;
        let counters = self.bridge.counters();
        assert_eq!(counters.reasons.iter().sum::<u64>(), dropped, "{:?}", counters.reasons);
        assert_eq!(counters.judged - counters.handed_over, self.sent);
        assert_eq!(passed + dropped + self.bridge.held() as u64, self.sent);
        let shared = &self.bridge.shared;
        assert_eq!(counters.inserts - counters.removals, u64::from(shared.states()));
        let program = self.bridge.program();
        let limits = &program.rules().options.limits;
        assert!(shared.states() <= limits.states);
        // A frame of more than two KiB counts for several.
        assert!(self.bridge.held() as u32 <= shared.pool(Limit::Frags).used());
        assert!(shared.pool(Limit::Frags).used() <= limits.get(Limit::Frags));
        assert!(shared.sources().used() <= limits.src_nodes);
    }

    /// Waits until everything has timed out.
    pub(super) fn finish(mut self) -> Summary {
        let end = self.now + PATIENCE;
        while self.now < end {
            self.wait(Duration::from_secs(50));
        }
        assert_eq!(self.bridge.states(self.now).len(), 0, "{:?}", self.bridge.states(self.now));
        let shared = &self.bridge.shared;
        assert_eq!(shared.states(), 0);
        assert_eq!(self.bridge.held(), 0);
        assert_eq!(shared.pool(Limit::Frags).used(), 0);
        assert_eq!(shared.pool(Limit::Tails).used(), 0);
        assert_eq!(shared.sources().used(), 0);
        assert_eq!(self.bridge.charged(), 0, "states that rules are charged with");
        self.seen.states = self.bridge.counters().inserts;
        self.seen
    }
}

/// A frame of the engine's own can be read, and its checksums are right.
fn assert_well_formed(frame: &[u8]) {
    let mut frames = Owned::new();
    frames.push(PortIndex::LAN, frame);
    let packet = Packet::parse(frames.head(0), &frames.meta(0));
    let packet = packet.unwrap_or_else(|reason| panic!("{reason}: {frame:02x?}"));
    assert!(checksum::verify(&packet, &frames, 0), "{frame:02x?}");
}
