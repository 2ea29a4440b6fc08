//! The engine of one worker: what it owns, and what it tells of itself. What it does with frames is in
//! [`judge`](crate::judge).

use std::sync::Arc;

use crate::chance::Chance;
use crate::counters::{Counters, PortCounters};
use crate::deciding::Deciding;
use crate::expiry::Expiry;
use crate::flow::{FlowKey, HashKey, owner};
use crate::flows::Flows;
use crate::fragment::Fragments;
use crate::frame::PortIndex;
use crate::judge::DEPTH;
use crate::lane::Lane;
use crate::link::records::{EtherCounters, EtherRecords};
use crate::normalise::Normaliser;
use crate::outbox::Outbox;
use crate::progress::Watched;
use crate::reason::Reason;
use crate::reflect::Budget;
use crate::ruleset::Program;
use crate::ruleset::criteria::Answers;
use crate::ruleset::evaluate::Findings;
use crate::ruleset::records::{Records, RuleCounters};
use crate::shared::Shared;
use crate::splice::Splices;
use crate::state::phases::Phases;
use crate::state::table::Table;
use crate::state::tail::Tails;
use crate::state::wheel::TICK_NANOS;
use crate::steering::Steering;
use crate::synproxy::Synproxy;
use crate::table::{Pages, TableCounters, Tables};
use crate::time::Instant;

/// Refusals that are told to weir's own log, a second and at once (`set debug`).
const TOLD: u32 = 100;

/// How an engine is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Which of the workers it serves, from 0.
    pub worker: u16,
    /// How many workers there are, at most [`Engine::MAX_WORKERS`].
    pub workers: u16,
    /// Key of the flow hash; random, the same in all workers.
    pub key: [u8; 16],
    /// States that this worker's table can hold, at most [`Engine::MAX_STATES`].
    pub states: u32,
    /// The time now.
    pub now: Instant,
}

/// The firewall of one worker.
pub struct Engine {
    pub(crate) worker: u16,
    pub(crate) workers: u16,
    pub(crate) key: HashKey,
    /// How NICs deal flows out; `None`: by some hash of their own.
    steering: Option<Arc<Steering>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) program: Option<Arc<Program>>,
    /// What is in the tables that the program names.
    pub(crate) tables: Option<Arc<Tables>>,
    pub(crate) table_counters: TableCounters,
    /// Counts the programs taken up.
    pub(crate) epoch: u32,
    /// Until when everything passes (`-d`).
    pub(crate) open_until: Option<Instant>,
    pub(crate) table: Table,
    /// Ended connections.
    pub(crate) tails: Tails,
    pub(crate) records: Records,
    pub(crate) ether: EtherRecords,
    pub(crate) counters: Counters,
    pub(crate) budget: Budget,
    /// How many refusals may be told to weir's own log.
    pub(crate) telling: Budget,
    pub(crate) outbox: Outbox,
    /// Scratch of [`Engine::judge`], one a frame of the batch.
    pub(crate) lanes: Box<[Lane]>,
    pub(crate) deciding: Deciding,
    /// Scratch of an evaluation.
    pub(crate) findings: Option<Box<Findings>>,
    /// What tables say of the packets that come next.
    pub(crate) answers: [Answers; DEPTH],
    pub(crate) chance: Chance,
    pub(crate) fragments: Fragments,
    pub(crate) normaliser: Normaliser,
    pub(crate) splices: Splices,
    pub(crate) watched: Watched,
    pub(crate) synproxy: Synproxy,
    pub(crate) expiry: Expiry,
    /// Connections that are over, for the flow collector.
    pub(crate) flows: Flows,
    /// A source was reported for `overload`.
    pub(crate) reported: bool,
}

impl Engine {
    /// Frames that a batch holds at most.
    pub const BATCH: usize = 64;
    /// Workers that a state's id can tell apart.
    pub const MAX_WORKERS: u16 = 64;
    /// States that a state's id can tell apart.
    pub const MAX_STATES: u32 = 1 << 26;

    /// Bytes of memory for a table of so many states.
    pub const fn memory_needed(states: u32) -> usize {
        Table::memory_needed(states)
    }

    /// Bytes that a table of so many states takes, everything counted: index, entries, links and
    /// timer wheel.
    pub const fn footprint(states: u32) -> usize {
        Table::footprint(states)
    }

    /// An engine without rules, which drops everything. `memory` must be zeroed.
    ///
    /// # Panics
    /// If `memory` is smaller than [`Engine::memory_needed`], or a bound of [`Setup`] is exceeded.
    pub fn new(setup: Setup, memory: &'static mut [u8], shared: Arc<Shared>) -> Self {
        assert!(setup.worker < setup.workers && setup.workers <= Self::MAX_WORKERS);
        assert!(setup.states > 0 && setup.states <= Self::MAX_STATES);
        Self {
            worker: setup.worker,
            workers: setup.workers,
            key: HashKey::new(setup.key),
            steering: None,
            shared,
            program: None,
            tables: None,
            table_counters: TableCounters::default(),
            epoch: 0,
            open_until: None,
            table: Table::new(setup.states, memory, tick(setup.now)),
            tails: Tails::default(),
            records: Records::default(),
            ether: EtherRecords::default(),
            counters: Counters::default(),
            budget: Budget::default(),
            telling: Budget::new(TOLD, TOLD),
            outbox: Outbox::default(),
            lanes: (0..Self::BATCH).map(|_| Lane::BLANK).collect(),
            deciding: Deciding::new(),
            findings: Some(Box::default()),
            answers: [Answers::default(); DEPTH],
            chance: Chance::new(setup.key, setup.worker),
            fragments: Fragments::new(),
            normaliser: Normaliser::default(),
            splices: Splices::default(),
            watched: Watched::default(),
            synproxy: Synproxy::new(HashKey::new(setup.key), setup.now),
            expiry: Expiry::new(setup.now),
            flows: Flows::default(),
            reported: false,
        }
    }

    /// The same where NICs deal flows out like this: to be said once, of all workers alike, before the
    /// first frame.
    #[must_use]
    pub fn steered(self, steering: Option<Arc<Steering>>) -> Self {
        Self { steering, ..self }
    }

    /// The worker that owns the flow with this key and hash.
    #[inline]
    pub(crate) fn owner(&self, key: &FlowKey, hash: u64) -> u16 {
        match &self.steering {
            None => owner(hash, self.workers),
            Some(steering) => steering.owner(key, self.workers),
        }
    }

    /// The ended connections that are remembered.
    pub const fn tails(&self) -> &Tails {
        &self.tails
    }

    /// Pages for the counters of the tables that are taken up next; see [`Pages`].
    pub fn stock(&mut self, pages: Pages) {
        self.table_counters.stock(pages);
    }

    /// What this worker has counted for the tables.
    pub const fn table_counters(&self) -> &TableCounters {
        &self.table_counters
    }

    /// Lets everything pass until `until` (`-d`), or filters again (`-e`).
    pub const fn open_until(&mut self, until: Option<Instant>) {
        self.open_until = until;
    }

    /// Whether a source was reported for `overload` since the last call: whoever serves
    /// [`Sources::overload`] is to be woken.
    pub const fn take_reported(&mut self) -> bool {
        std::mem::replace(&mut self.reported, false)
    }

    /// Counts a drop that happened outside the engine.
    pub const fn note(&mut self, reason: Reason) {
        self.counters.reasons[reason as usize] += 1;
    }

    /// What was counted since the start or the last [`Engine::clear_counters`].
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Counters of the rules in force, by number.
    pub fn rule_counters(&mut self) -> Vec<RuleCounters> {
        self.records.counters()
    }

    /// Counters of the `ether` rules in force, by number.
    pub fn ether_counters(&self) -> &[EtherCounters] {
        self.ether.counters()
    }

    /// Zeroes the counters of all `ether` rules.
    pub fn clear_ether_counters(&mut self) {
        self.ether.clear();
    }

    /// Zeroes all counters but those of rules.
    pub fn clear_counters(&mut self) {
        self.counters = Counters::default();
    }

    /// Zeroes what was counted at a port.
    pub fn clear_port_counters(&mut self, port: PortIndex) {
        if let Some(counters) = self.counters.ports.get_mut(usize::from(port.0)) {
            *counters = PortCounters::default();
        }
    }

    /// Zeroes the counters of some rules in force, by their ids.
    pub fn clear_rule_counters(&mut self, chosen: &dyn Fn(u32) -> bool) {
        self.records.clear(chosen);
    }

    /// States in this worker's table.
    pub const fn state_count(&self) -> u32 {
        self.table.len()
    }

    /// How many there are in each phase.
    pub const fn phases(&self) -> &Phases {
        self.table.phases()
    }

    /// The most there ever were.
    pub const fn state_high_water(&self) -> u32 {
        self.table.high_water()
    }
}

/// The wheel's tick at a point in time.
#[inline]
pub(crate) const fn tick(now: Instant) -> u32 {
    (now.0 / TICK_NANOS) as u32
}
