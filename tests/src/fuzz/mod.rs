//! What the fuzz targets in `tests/fuzz/` do with their input: bytes are read as a sequence of frames
//! and pauses, a real engine judges them, and what must hold whatever comes is asserted after each; or as
//! lines of the control protocol.
//!
//! It is here, apart from the targets, so that stable Rust can run every seed and every input that
//! once crashed (`tests/tests/fuzzed.rs`).
#![allow(clippy::missing_panics_doc, reason = "panicking is how a fuzz target fails")]

mod fragments;
mod input;
mod request;
mod sctp;
mod session;
mod stand;
mod tails;

use std::sync::{Arc, LazyLock};

use weir_engine::Program;

use crate::bridge::{Bridge, compile};

pub use self::fragments::fragments;
pub use self::request::request;
pub use self::sctp::sctp;
pub use self::session::session;
pub use self::tails::tails;

/// States of each worker.
const STATES: u32 = 64;
/// The most workers that a run has.
const WORKERS: u16 = 3;

/// Bytes of zeroed memory that a run needs. The memory is free for the next run when it returns.
pub const MEMORY: usize = Bridge::memory_needed(WORKERS, STATES);

/// A fuzz target: memory and input.
pub type Target = fn(&'static mut [u8], &[u8]) -> Summary;

/// Every target with its name in `tests/fuzz/`.
pub const TARGETS: [(&str, Target); 5] = [
    ("session", session),
    ("fragments", fragments),
    ("sctp", sctp),
    ("tails", tails),
    ("request", request),
];

/// What came of a run, so that tests see that something did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Frames that left by the other port.
    pub passed: u64,
    /// Frames that were dropped.
    pub dropped: u64,
    /// Frames of the engine's own.
    pub answers: u64,
    /// States that were made.
    pub states: u64,
    /// A bit for each reason that a frame was dropped for.
    pub reasons: u128,
}

impl Summary {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            dropped: self.dropped + other.dropped,
            answers: self.answers + other.answers,
            states: self.states + other.states,
            reasons: self.reasons | other.reasons,
        }
    }
}

/// Rules that are compiled once.
struct Rules<const N: usize>(LazyLock<[Arc<Program>; N]>);

impl<const N: usize> Rules<N> {
    const fn new(compiled: fn() -> [Arc<Program>; N]) -> Self {
        Self(LazyLock::new(compiled))
    }

    /// One of them.
    fn choose(&self, number: u8) -> Arc<Program> {
        Arc::clone(&self.0[usize::from(number) % N])
    }
}

/// Every state ends soon, so that a run can wait for it.
const TIMEOUTS: &str = "set timeout { tcp.first 30, tcp.opening 30, tcp.established 300, \
    tcp.closing 60, tcp.finwait 45, tcp.closed 30, udp.first 30, udp.single 30, udp.multiple 60, \
    icmp.first 20, icmp.error 10, other.first 60, other.single 30, other.multiple 60, frag 60, \
    src.track 0 }\nset limit { states 64, frags 200, src-nodes 16, tails 64 }\n";

/// A program from rules, with [`TIMEOUTS`].
fn with_timeouts(rules: &str) -> Arc<Program> {
    compile(&format!("{TIMEOUTS}{rules}"), None)
}
