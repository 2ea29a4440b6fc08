//! What the engines of all workers share.

use std::sync::atomic::{AtomicU64, Ordering};

use weir_config::options::Limit;

use crate::pool::{Pool, Pools};
use crate::ruleset::Program;
use crate::source::Sources;
use crate::synproxy::{Learned, Mode};

/// What the engines of all workers share: the counts behind `set limit`, and the sources that rules
/// limit. Touched only when what they count begins and ends, and when limited connections are
/// established.
#[derive(Debug, Default)]
pub struct Shared {
    pools: Pools,
    evicted: AtomicU64,
    refused: AtomicU64,
    sources: Sources,
    learned: Learned,
    mode: Mode,
    /// Counts how often states of single rules began to live shorter.
    pressed: AtomicU64,
}

impl Shared {
    /// The count behind a limit.
    pub const fn pool(&self, limit: Limit) -> &Pool {
        match limit {
            Limit::SrcNodes => self.sources.places(),
            _ => self.pools.of(limit),
        }
    }

    /// An unproven state had to make room.
    pub(crate) fn count_eviction(&self) {
        self.evicted.fetch_add(1, Ordering::Relaxed);
    }

    /// A state found no room.
    pub(crate) fn count_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// States of single rules begin to live shorter.
    pub(crate) fn press(&self) {
        self.pressed.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was.
    pub(crate) fn pressed(&self) -> u64 {
        self.pressed.load(Ordering::Relaxed)
    }

    /// The sources that rules limit.
    pub const fn sources(&self) -> &Sources {
        &self.sources
    }

    /// What is known of servers.
    pub(crate) const fn learned(&self) -> &Learned {
        &self.learned
    }

    /// Whether SYNs are answered with cookies, for `set syncookies adaptive`.
    pub(crate) const fn mode(&self) -> &Mode {
        &self.mode
    }

    /// Whether SYNs that would make a state are answered with cookies now (`set syncookies`).
    pub fn uses_syncookies(&self) -> bool {
        self.mode.is_active()
    }

    /// TCP states whose handshake is not complete.
    pub fn half_open(&self) -> u32 {
        self.mode.half_open()
    }

    /// Makes room for what a program allows. It may allocate: the control thread does it before the
    /// workers take the program up.
    pub fn prepare(&self, program: &Program) {
        self.sources.reserve(program.options().limits.src_nodes);
    }

    /// States in the tables of all workers.
    pub fn states(&self) -> u32 {
        self.pool(Limit::States).used()
    }

    /// What became of connections that found the table full, since the start: how many half-open
    /// states had to make room for them, and how many were refused.
    pub fn crowded_out(&self) -> (u64, u64) {
        (self.evicted.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }
}
