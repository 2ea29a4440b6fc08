//! What an engine does between batches: it ends states whose time has come, and what else time brings.
//!
//! Each call has a budget, so that no frame waits long. A packet writes its time into its state and
//! nothing else: the wheel looks at a state when its deadline, as it was then, is due.

use weir_config::options::Limit;

use crate::engine::{Engine, tick};
use crate::lifecycle::Ending;
use crate::outbox::RESETS;
use crate::ruleset::Program;
use crate::state::entry::{Entry, flag};
use crate::state::lifetime::Pace;
use crate::state::wheel::is_due;
use crate::time::Instant;

/// States that one call of [`Engine::advance`] looks at because they may have ended, at least and at
/// most: a quarter of a millisecond, so that no frame waits long. More are looked at in the next call.
const EXPIRY_BUDGET: std::ops::RangeInclusive<u64> = 64..=1024;
/// States that it looks at most because time-outs were shortened.
const SWEEP_BUDGET: u64 = 4096;
/// Nanoseconds between two calls that are worth a look at one state more.
const LOOK_SHARE: u64 = 10_000;

/// Rules of the program before that one call of [`Engine::advance`] finishes with, a few nanoseconds
/// each.
const SETTLED: usize = 256;

/// What is remembered from one call of [`Engine::advance`] to the next.
pub(crate) struct Expiry {
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
    /// How many [tails](crate::state::tail) the pool knows of.
    pooled_tails: u32,
}

impl Expiry {
    /// Of an engine that begins now.
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            pace: Pace::FULL,
            swept: Pace::FULL,
            pressed: 0,
            sweep: None,
            owed: 0,
            advanced: now,
            sources_swept: tick(now),
            pooled_tails: 0,
        }
    }

    /// Time-outs were changed: places in the wheel are brought up to date.
    pub(crate) const fn sweep_all(&mut self) {
        self.sweep = Some(0);
    }

    /// A time-out of the rule set in ticks, as it is shortened in this round.
    pub(crate) fn scale(&self, ticks: u32) -> u32 {
        self.pace.scale(ticks)
    }
}

impl Engine {
    /// Ends states and gives up datagrams whose time has come, within a budget; called once a round.
    /// Whether there may be more to do at once.
    pub fn advance(&mut self, now: Instant) -> bool {
        self.records.settle(SETTLED);
        let more = self.expire_fragments(now);
        // Taken out for the while: a shared count is not to be touched every round.
        let Some(program) = self.program.take() else {
            return more;
        };
        let pause = now.0.saturating_sub(self.expiry.advanced.0);
        let (least, most) = (*EXPIRY_BUDGET.start(), *EXPIRY_BUDGET.end());
        let budget = (pause / LOOK_SHARE).clamp(least, most);
        self.expiry.advanced = now;
        self.set_pace(&program);
        let at = now;
        let now = tick(at);
        if self.worker == 0 && self.expiry.sources_swept != now {
            self.expiry.sources_swept = now;
            self.shared.sources().sweep(at);
        }
        self.tails.settle(now);
        if self.tails.len() != self.expiry.pooled_tails {
            self.shared.pool(Limit::Tails).shift(self.expiry.pooled_tails, self.tails.len());
            self.expiry.pooled_tails = self.tails.len();
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
        self.expiry.pace = program.pace(self.shared.states());
    }

    /// Brings places in the wheel up to date with deadlines that came nearer: time-outs were changed,
    /// or are shortened because there are many states. The wheel finds the others by itself.
    fn sweep(&mut self, program: &Program, pause: u64) {
        if self.records.take_pressed() {
            self.shared.press();
        }
        let pressed = self.shared.pressed();
        self.expiry.swept = self.expiry.swept.max(self.expiry.pace);
        self.expiry.owed += pause;
        let looks = (self.expiry.owed / LOOK_SHARE).min(SWEEP_BUDGET);
        self.expiry.owed %= LOOK_SHARE;
        if self.expiry.sweep.is_none()
            && (self.expiry.pace < self.expiry.swept || self.expiry.pressed != pressed)
        {
            self.expiry.sweep = Some(0);
            self.expiry.swept = self.expiry.pace;
            self.expiry.pressed = pressed;
        }
        let Some(from) = self.expiry.sweep else {
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
        self.expiry.sweep = (to < self.table.used()).then_some(to);
    }

    /// The tick in which a state ends if no packet comes. One more than the time-out, since the last
    /// packet may have come at the end of its tick.
    #[inline]
    pub(crate) fn deadline(&self, state: &Entry, program: &Program) -> u32 {
        let ticks = if state.has(flag::OWN_TIMEOUTS) {
            let pace = self.records.own_pace(state.rules).unwrap_or(self.expiry.pace);
            pace.scale(self.whole_ticks(state.rules, state.timeout, program))
        } else {
            self.expiry.pace.scale(program.ticks(state.timeout))
        };
        state.touched.wrapping_add(ticks).wrapping_add(1)
    }

    /// A time-out of states of these rules by its number, in ticks, not shortened; 0 means at once.
    pub(crate) fn whole_ticks(&self, rules: [u32; 2], timeout: u8, program: &Program) -> u32 {
        self.records.own_ticks(rules, timeout).unwrap_or_else(|| program.ticks(timeout))
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
        self.expiry.advanced
    }
}
