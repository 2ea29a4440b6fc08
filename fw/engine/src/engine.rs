//! The engine of one worker: what it owns and how the control side reaches it. What it does with
//! frames is in [`judge`](crate::judge).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_config::options::Limit;

use crate::chance::Chance;
use crate::counters::Counters;
use crate::flow::{FlowKey, HashKey};
use crate::fragment::Fragments;
use crate::frame::PortIndex;
use crate::judge::{DEPTH, Lane};
use crate::link::records::{EtherCounters, EtherRecords};
use crate::normalise::Normaliser;
use crate::outbox::{Outbox, RESETS};
use crate::packet::protocol;
use crate::pool::{Pool, Pools};
use crate::progress::Watched;
use crate::reason::Reason;
use crate::reflect::Budget;
use crate::ruleset::Program;
use crate::ruleset::criteria::Answers;
use crate::ruleset::evaluate::Findings;
use crate::ruleset::records::{Records, RuleCounters};
use crate::source::{self, Sources};
use crate::splice::Splices;
use crate::state::entry::{Entry, Links, NONE, flag};
use crate::state::lifetime::Pace;
use crate::state::table::Table;
use crate::state::tail::Tails;
use crate::state::tcp::{self, Rest, Tail};
use crate::state::view::{Context, StateView};
use crate::state::wheel::{TICK_NANOS, TICKS_PER_SECOND, is_due};
use crate::synproxy::{Learned, Mode, Synproxy};
use crate::table::{Pages, Retired, TableCounters, Tables};
use crate::time::Instant;

/// States that one call of [`Engine::advance`] looks at because they may have ended, at least and at
/// most: a quarter of a millisecond, so that no frame waits long. More are looked at in the next call.
const EXPIRY_BUDGET: std::ops::RangeInclusive<u64> = 64..=1024;
/// States that it looks at most because time-outs were shortened.
const SWEEP_BUDGET: u64 = 4096;
/// Nanoseconds between two calls that are worth a look at one state more.
const LOOK_SHARE: u64 = 10_000;

/// Refusals that are told to weir's own log, a second and at once (`set debug`).
const TOLD: u32 = 100;

/// Rules of the program before that one call of [`Engine::advance`] finishes with, a few nanoseconds
/// each.
const SETTLED: usize = 256;

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

/// What an engine has no use for any more: large, perhaps, and not to be freed on the packet path.
#[derive(Debug)]
#[must_use]
pub struct Replaced {
    program: Option<Arc<Program>>,
    _tables: Option<Arc<Tables>>,
    _counters: Retired,
}

/// The firewall of one worker.
pub struct Engine {
    pub(crate) worker: u16,
    pub(crate) workers: u16,
    pub(crate) key: HashKey,
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
    /// How many of them the pool knows of.
    pooled_tails: u32,
    pub(crate) records: Records,
    pub(crate) ether: EtherRecords,
    pub(crate) counters: Counters,
    pub(crate) budget: Budget,
    /// How many refusals may be told to weir's own log.
    pub(crate) telling: Budget,
    pub(crate) outbox: Outbox,
    /// Scratch of [`Engine::judge`], one a frame of the batch.
    pub(crate) lanes: Box<[Lane]>,
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
    /// By how much the time-outs of the rule set are shortened in this round.
    pace: Pace,
    /// The pace that every place in the wheel takes into account.
    swept: Pace,
    /// [`Shared::pressed`] at the same time.
    pressed: u64,
    /// After time-outs became shorter: the next entry to be scheduled anew.
    sweep: Option<u32>,
    /// Time that was too short for a look, in nanoseconds.
    owed: u64,
    /// When [`Engine::advance`] was called last.
    advanced: Instant,
    /// Tick in which idle sources were looked for last.
    sources_swept: u32,
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
            shared,
            program: None,
            tables: None,
            table_counters: TableCounters::default(),
            epoch: 0,
            open_until: None,
            table: Table::new(setup.states, memory, tick(setup.now)),
            tails: Tails::default(),
            pooled_tails: 0,
            records: Records::default(),
            ether: EtherRecords::default(),
            counters: Counters::default(),
            budget: Budget::default(),
            telling: Budget::new(TOLD, TOLD),
            outbox: Outbox::default(),
            lanes: (0..Self::BATCH).map(|_| Lane::BLANK).collect(),
            findings: Some(Box::default()),
            answers: [Answers::default(); DEPTH],
            chance: Chance::new(setup.key, setup.worker),
            fragments: Fragments::new(),
            normaliser: Normaliser::default(),
            splices: Splices::default(),
            watched: Watched::default(),
            synproxy: Synproxy::new(HashKey::new(setup.key), setup.now),
            pace: Pace::FULL,
            swept: Pace::FULL,
            pressed: 0,
            sweep: None,
            owed: 0,
            advanced: setup.now,
            sources_swept: tick(setup.now),
            reported: false,
        }
    }

    /// Takes up a program and the contents of [`Program::tables`], in their order. States live on,
    /// under the `state-policy` that they began with. What is returned is best dropped on another
    /// thread.
    pub fn install(
        &mut self,
        now: Instant,
        program: Arc<Program>,
        tables: Arc<Tables>,
    ) -> Replaced {
        let mut replaced = self.set_tables(tables);
        self.shared.prepare(&program);
        let follows = program.follows(self.program.as_deref());
        self.records.install(&program, follows);
        self.ether.install(program.link(), follows);
        self.epoch = self.epoch.wrapping_add(1);
        if let Some(old) = self.program.take() {
            if old.options().timeouts != program.options().timeouts {
                self.sweep = Some(0);
            }
            replaced.program = Some(old);
        }
        if program.reassembles_tcp() {
            self.normaliser.reserve(self.table.capacity());
        }
        self.synproxy.reserve(&program, self.table.capacity());
        if program.splices() {
            self.splices.reserve(self.table.capacity());
        }
        if program.demands_progress() {
            self.watched.reserve(self.table.capacity());
        }
        self.program = Some(program);
        self.advance(now);
        replaced
    }

    /// Takes up other contents of the tables that the program in force names. What is returned is
    /// best dropped on another thread.
    pub fn set_tables(&mut self, tables: Arc<Tables>) -> Replaced {
        let retired = self.table_counters.take_up(&tables);
        let tables = self.tables.replace(tables);
        Replaced { program: None, _tables: tables, _counters: retired }
    }

    /// Remembers ended connections in this room from now on, and forgets those that it knew. What is
    /// returned is best dropped on another thread.
    pub const fn set_tails(&mut self, tails: Tails) -> Tails {
        std::mem::replace(&mut self.tails, tails)
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

    /// Ends states and gives up datagrams whose time has come, within a budget; called once a round.
    /// Whether there may be more to do at once.
    pub fn advance(&mut self, now: Instant) -> bool {
        self.records.settle(SETTLED);
        let more = self.expire_fragments(now);
        // Taken out for the while: a shared count is not to be touched every round.
        let Some(program) = self.program.take() else {
            return more;
        };
        let pause = now.0.saturating_sub(self.advanced.0);
        let (least, most) = (*EXPIRY_BUDGET.start(), *EXPIRY_BUDGET.end());
        let budget = (pause / LOOK_SHARE).clamp(least, most);
        self.advanced = now;
        self.set_pace(&program);
        let at = now;
        let now = tick(at);
        if self.worker == 0 && self.sources_swept != now {
            self.sources_swept = now;
            self.shared.sources.sweep(at);
        }
        self.tails.settle(now);
        if self.tails.len() != self.pooled_tails {
            self.shared.pool(Limit::Tails).shift(self.pooled_tails, self.tails.len());
            self.pooled_tails = self.tails.len();
        }
        let more = self.drain(program.options().limits.states, budget, now) || more;
        let more = self.settle_synproxy(&program, at, now) || more;
        let mut looks = 0;
        // What ends may have to tell both hosts; else it waits until the worker has taken what was made.
        while looks < budget
            && self.outbox.has_room(RESETS)
            && let Some(entry) = self.table.next_due(now)
        {
            let state = self.table.get(entry);
            let deadline = self.deadline(state, &program);
            if is_due(deadline, now) {
                self.end(entry, Ending::TimedOut, now);
                // Fewer states live longer: no more end than have to.
                self.set_pace(&program);
            } else if self.is_asking(entry) {
                let next = self.look_again(entry, deadline, now);
                self.table.requeue(entry, next);
            } else if state.has(flag::PROGRESS) {
                self.look_at_progress(entry, now, &program);
            } else {
                self.table.requeue(entry, deadline);
            }
            looks += 1;
        }
        self.sweep(&program, pause);
        self.program = Some(program);
        more || looks == budget || !self.outbox.has_room(RESETS)
    }

    /// Notes by how much time-outs are shortened at the moment.
    #[inline]
    pub(crate) fn set_pace(&mut self, program: &Program) {
        self.pace = program.pace(self.shared.states());
    }

    /// Brings places in the wheel up to date with deadlines that came nearer: time-outs were changed,
    /// or are shortened because there are many states. The wheel finds the others by itself.
    fn sweep(&mut self, program: &Program, pause: u64) {
        if self.records.take_pressed() {
            self.shared.pressed.fetch_add(1, Ordering::Relaxed);
        }
        let pressed = self.shared.pressed.load(Ordering::Relaxed);
        self.swept = self.swept.max(self.pace);
        self.owed += pause;
        let looks = (self.owed / LOOK_SHARE).min(SWEEP_BUDGET);
        self.owed %= LOOK_SHARE;
        if self.sweep.is_none() && (self.pace < self.swept || self.pressed != pressed) {
            self.sweep = Some(0);
            self.swept = self.pace;
            self.pressed = pressed;
        }
        let Some(from) = self.sweep else {
            return;
        };
        let to = self.table.used().min(from + looks as u32);
        for entry in from..to {
            let state = self.table.get(entry);
            if state.is_live() {
                let deadline = self.deadline(state, program);
                self.table.reschedule(entry, deadline);
            }
        }
        self.sweep = (to < self.table.used()).then_some(to);
    }

    /// The tick in which a state ends if no packet comes. One more than the time-out, since the last
    /// packet may have come at the end of its tick.
    #[inline]
    pub(crate) fn deadline(&self, state: &Entry, program: &Program) -> u32 {
        let ticks = if state.has(flag::OWN_TIMEOUTS) {
            let pace = self.records.own_pace(state.rules).unwrap_or(self.pace);
            pace.scale(self.whole_ticks(state.rules, state.timeout, program))
        } else {
            self.pace.scale(program.ticks(state.timeout))
        };
        state.touched.wrapping_add(ticks).wrapping_add(1)
    }

    /// A time-out of states of these rules by its number, in ticks, not shortened; 0 means at once.
    pub(crate) fn whole_ticks(&self, rules: [u32; 2], timeout: u8, program: &Program) -> u32 {
        self.records.own_ticks(rules, timeout).unwrap_or_else(|| program.ticks(timeout))
    }

    /// Whether there is room for what the hosts of a state hear when it is ended by force.
    fn may_end(&self, entry: u32) -> bool {
        !self.is_asking(entry) || self.outbox.has_room(RESETS)
    }

    /// Ends a state.
    pub(crate) fn end(&mut self, entry: u32, ending: Ending, now: u32) {
        self.give_up_asking(entry, ending);
        let (state, links) = self.table.with_links(entry);
        let hash = state.key().hash(self.key);
        account_end(state, links, &mut self.records, &self.shared, self.advanced);
        remember(&mut self.tails, state, hash, ending, now);
        self.table.remove(entry, hash);
        self.counters.removals += 1;
        self.shared.pool(Limit::States).release();
    }

    /// Makes a state, unproven; evicts the oldest unproven one if there is no room. `None` if there
    /// is none to evict.
    pub(crate) fn begin(
        &mut self,
        key: &FlowKey,
        hash: u64,
        flags: u16,
        timeout: u8,
        now: u32,
        program: &Program,
    ) -> Option<u32> {
        let limit = program.options().limits.states;
        if self.table.len() == self.table.capacity()
            || !self.shared.pool(Limit::States).reserve(limit)
        {
            // With a limit that was lowered one place less would not do; `drain` sees to that.
            let evicted = self.shared.states() <= limit && self.evict(now);
            if !evicted || !self.shared.pool(Limit::States).reserve(limit) {
                self.shared.refused.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        }
        let deadline = now.wrapping_add(self.pace.scale(program.ticks(timeout))).wrapping_add(1);
        let entry = self.table.insert(key, hash, flags, timeout, now, deadline);
        if entry.is_some() {
            self.counters.inserts += 1;
            if key.protocol() == protocol::TCP {
                self.tails.forget(key.sided(hash));
            }
        } else {
            self.shared.pool(Limit::States).release();
        }
        entry
    }

    /// Whether a source was reported for `overload` since the last call: whoever serves
    /// [`Sources::overload`] is to be woken.
    pub const fn take_reported(&mut self) -> bool {
        std::mem::replace(&mut self.reported, false)
    }

    /// Ends the oldest unproven state. `false`: there is none, or no room to tell its hosts.
    pub(crate) fn evict(&mut self, now: u32) -> bool {
        let Some(oldest) = self.table.oldest_unproven() else { return false };
        if !self.may_end(oldest) {
            return false;
        }
        self.end(oldest, Ending::Forgotten, now);
        self.counters.evictions += 1;
        self.shared.count_eviction();
        true
    }

    /// Brings the number of states down to a limit that was lowered, as far as unproven ones go, so many
    /// at most; `true` if there may be more.
    fn drain(&mut self, limit: u32, most: u64, now: u32) -> bool {
        let mut evicted = 0;
        while evicted < most && self.shared.states() > limit && self.evict(now) {
            evicted += 1;
        }
        evicted == most || !self.outbox.has_room(RESETS)
    }

    /// The time of the last round.
    pub(crate) const fn advanced(&self) -> Instant {
        self.advanced
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

    /// Zeroes the counters of some rules in force, by their ids.
    pub fn clear_rule_counters(&mut self, chosen: &dyn Fn(u32) -> bool) {
        self.records.clear(chosen);
    }

    /// States in this worker's table.
    pub const fn state_count(&self) -> u32 {
        self.table.len()
    }

    /// The most there ever were.
    pub const fn state_high_water(&self) -> u32 {
        self.table.high_water()
    }

    /// Appends the states among the next `max` places of the table, from `cursor` on (0 at first), and
    /// behind them the clients of which weir awaits the ACK of a handshake. Returns where to go on,
    /// `None` at the end.
    pub fn states(
        &self,
        now: Instant,
        cursor: u32,
        max: u32,
        out: &mut Vec<StateView>,
    ) -> Option<u32> {
        let (used, now) = (self.table.used(), tick(now));
        let places = used + self.awaited_places();
        let end = places.min(cursor.saturating_add(max));
        out.extend((cursor..end).filter_map(|place| match place.checked_sub(used) {
            None => self.view(place, now),
            Some(place) => self.awaited(place, now),
        }));
        (end < places).then_some(end)
    }

    /// Ends the states that `matches` among the next `max` places of the table, as far as there is room
    /// for what their hosts are told. Returns how many, and where to go on once what
    /// [`Engine::crafted`] holds has been taken.
    pub fn kill(
        &mut self,
        now: Instant,
        cursor: u32,
        max: u32,
        matches: &dyn Fn(&StateView) -> bool,
    ) -> (u32, Option<u32>) {
        let end = self.table.used().min(cursor.saturating_add(max));
        let mut killed = 0;
        for entry in cursor..end {
            if self.view(entry, tick(now)).is_some_and(|view| matches(&view)) {
                if !self.may_end(entry) {
                    return (killed, Some(entry));
                }
                self.end(entry, Ending::Killed, tick(now));
                killed += 1;
            }
        }
        (killed, (end < self.table.used()).then_some(end))
    }

    fn view(&self, entry: u32, now: u32) -> Option<StateView> {
        let program = self.program.as_ref()?;
        let state = self.table.get(entry);
        if !state.is_live() {
            return None;
        }
        let left = self.next_look(entry, program).wrapping_sub(now).cast_signed();
        let context = Context {
            id: u64::from(state.generation) << 32 | u64::from(self.worker) << 26 | u64::from(entry),
            port: initiator_port(state),
            age: now.wrapping_sub(self.table.created(entry)) / TICKS_PER_SECOND,
            expires: left.max(0).cast_unsigned() / TICKS_PER_SECOND,
            rules: state.rules.map(|record| self.records.number(record)),
        };
        Some(StateView::new(state, &context))
    }
}

/// The wheel's tick at a point in time.
#[inline]
pub(crate) const fn tick(now: Instant) -> u32 {
    (now.0 / TICK_NANOS) as u32
}

/// How a state ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing has come for as long as its time-out says.
    TimedOut,
    /// Its connection is over, and another one begins or may.
    Over,
    /// Somebody wants it so.
    Killed,
    /// It makes room, or nothing can find it any more.
    Forgotten,
}

/// Remembers the tail of a TCP connection whose handshake was complete, if more of it may come; of one
/// that was killed while its server was asked, too, since its client's handshake was.
fn remember(tails: &mut Tails, state: &Entry, hash: u64, ending: Ending, now: u32) {
    let more_may_come = match ending {
        Ending::TimedOut => tcp::either_closes(&state.peers),
        Ending::Over | Ending::Killed => true,
        Ending::Forgotten => false,
    };
    let asks = state.has(flag::TRANSLATED) && tcp::asks(&state.peers);
    let complete = state.has(flag::PROVEN) || asks && ending == Ending::Killed;
    if more_may_come && complete && state.key().protocol() == protocol::TCP {
        let rest = match ending {
            _ if state.has(flag::TRANSLATED) => Rest::Untranslatable,
            Ending::Killed => Rest::Silenced,
            _ => Rest::Passes,
        };
        // Of a server that has not answered no number is known.
        let anywhere = state.has(flag::SLOPPY) || asks;
        let tail = Tail::new(&state.peers, state.sender(true), anywhere, rest);
        tails.remember(state.key().sided(hash), tail, now);
    }
}

fn account_end(entry: &Entry, links: &Links, records: &mut Records, shared: &Shared, now: Instant) {
    source::release(shared, entry, links, now);
    for record in distinct(entry.rules) {
        records.release(record);
    }
}

/// The records that a state refers to: none, one or two. A rule that passed it both arriving and
/// leaving counts it once.
pub(crate) fn distinct([arriving, leaving]: [u32; 2]) -> impl Iterator<Item = u32> {
    let leaving = if leaving == arriving { NONE } else { leaving };
    [arriving, leaving].into_iter().filter(|&record| record != NONE)
}

/// The port that the initiator is on; for a floating state the LAN stands for "any".
fn initiator_port(entry: &Entry) -> PortIndex {
    let sides = entry.key().sides;
    if entry.has(flag::INITIATOR_UPPER) { PortIndex(sides & 7) } else { PortIndex(sides >> 3 & 7) }
}
