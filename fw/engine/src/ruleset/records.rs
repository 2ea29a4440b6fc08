//! What a worker remembers of its rules: counters, and how many states refer to each.
//!
//! States name their rules by record, not by number, so that a reload renumbers nothing. A record
//! lives while its rule is in force or a state refers to it; an unchanged rule (by [`Identity`])
//! keeps its record, and so its counters, over reloads. There are never more records than rules and
//! states together.

use std::collections::HashMap;
use std::sync::Arc;

use super::program::{Identity, Program};
use super::sequence::{NOWHERE, Step};
use crate::source::RuleLimits;
use crate::state::entry::NONE;
use crate::state::lifetime::{Lifetimes, Pace};

/// What a rule has seen. Packets and bytes: arriving (`in`) and leaving (`out`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCounters {
    /// Times the rule was compared with a packet.
    pub evaluations: u64,
    /// Packets that it decided on, with those of its states.
    pub packets: [u64; 2],
    /// Bytes of IP packets of these.
    pub bytes: [u64; 2],
    /// States there are now.
    pub states: u32,
    /// States there ever were.
    pub states_total: u64,
}

/// A rule's record.
#[derive(Debug, Default)]
struct Record {
    counters: RuleCounters,
    identity: Option<Identity>,
    /// Number in the program in force, or [`NONE`].
    number: u32,
    /// The limits that its states have been counted for, from the first one on.
    limits: Option<Arc<RuleLimits>>,
    /// The time-outs that the rule has for itself. States keep them when the rule is gone.
    lifetimes: Option<Arc<Lifetimes>>,
}

/// All records of a worker.
#[derive(Debug, Default)]
pub(crate) struct Records {
    all: Vec<Record>,
    free: Vec<u32>,
    /// Rule id to record.
    by_number: Vec<u32>,
    /// The steps of the program in force.
    steps: Vec<Step>,
    /// For each step, the evaluations of its scope that ended with it; see [`Records::fold`].
    ended: Vec<u64>,
    /// A state began that makes the others of its rule live shorter.
    pressed: bool,
}

impl Records {
    /// Takes up a new program.
    pub(crate) fn install(&mut self, program: &Program) {
        self.fold();
        let mut known: HashMap<Identity, u32> = self
            .by_number
            .iter()
            .filter_map(|&record| {
                self.all[record as usize].identity.map(|identity| (identity, record))
            })
            .collect();
        let old = std::mem::take(&mut self.by_number);
        for &record in &old {
            self.all[record as usize].number = NONE;
        }
        for (number, &identity) in (0..).zip(program.identities()) {
            let record = known
                .remove(&identity)
                .unwrap_or_else(|| self.allocate(identity, program.lifetimes(number).cloned()));
            let known = &mut self.all[record as usize];
            known.number = number;
            if known.limits.is_none() {
                known.limits = program.limits(number).map(Arc::clone);
            }
            self.by_number.push(record);
        }
        for record in old {
            self.free_unused(record);
        }
        self.steps.clone_from(&program.steps);
        self.ended = vec![0; self.steps.len()];
    }

    /// The record of a rule.
    #[inline]
    pub(crate) fn of(&self, number: u32) -> u32 {
        self.by_number[number as usize]
    }

    /// The limits of a record's rule, if it has any; `None` for [`NONE`].
    pub(crate) fn limits(&self, record: u32) -> Option<&Arc<RuleLimits>> {
        self.all.get(record as usize)?.limits.as_ref()
    }

    /// The number of a record's rule, unless that is gone.
    pub(crate) fn number(&self, record: u32) -> Option<u32> {
        self.all.get(record as usize).map(|record| record.number).filter(|&number| number != NONE)
    }

    /// Counts a packet; `direction` is 0 arriving, 1 leaving. Nothing for [`NONE`].
    #[inline]
    pub(crate) fn count(&mut self, record: u32, direction: usize, bytes: u32) {
        if let Some(record) = self.all.get_mut(record as usize) {
            record.counters.packets[direction] += 1;
            record.counters.bytes[direction] += u64::from(bytes);
        }
    }

    /// Counts that the rules of a scope were asked up to this step.
    #[inline]
    pub(crate) fn count_evaluation(&mut self, step: u32) {
        if let Some(ended) = self.ended.get_mut(step as usize) {
            *ended += 1;
        }
    }

    /// A state refers to the record from now on.
    pub(crate) fn refer(&mut self, record: u32) {
        if let Some(record) = self.all.get_mut(record as usize) {
            record.counters.states += 1;
            record.counters.states_total += 1;
            if let Some(lifetimes) = &record.lifetimes {
                self.pressed |= lifetimes.begin();
            }
        }
    }

    /// A state has ended.
    pub(crate) fn release(&mut self, record: u32) {
        if let Some(known) = self.all.get_mut(record as usize) {
            known.counters.states -= 1;
            if let Some(limits) = &known.limits {
                limits.release_state();
            }
            if let Some(lifetimes) = &known.lifetimes {
                lifetimes.end();
            }
            self.free_unused(record);
        }
    }

    /// The first of these records' own values for a time-out, in ticks. What the arriving rule leaves
    /// open is taken from the leaving one.
    pub(crate) fn own_ticks(&self, records: [u32; 2], timeout: u8) -> Option<u32> {
        self.lifetimes(records).find_map(|lifetimes| lifetimes.ticks(timeout))
    }

    /// The same for the shortening of time-outs.
    pub(crate) fn own_pace(&self, records: [u32; 2]) -> Option<Pace> {
        self.lifetimes(records).find_map(Lifetimes::pace)
    }

    /// Whether states of the records have time-outs of their own.
    pub(crate) fn have_own(&self, records: [u32; 2]) -> bool {
        self.lifetimes(records).next().is_some()
    }

    fn lifetimes(&self, records: [u32; 2]) -> impl Iterator<Item = &Lifetimes> {
        let known = records.into_iter().filter_map(|record| self.all.get(record as usize));
        known.filter_map(|record| record.lifetimes.as_deref())
    }

    /// Whether a state has begun since the last call that makes the others of its rule live shorter.
    pub(crate) const fn take_pressed(&mut self) -> bool {
        std::mem::replace(&mut self.pressed, false)
    }

    /// Counters of the rules in force, by number.
    pub(crate) fn counters(&mut self) -> Vec<RuleCounters> {
        self.fold();
        self.by_number.iter().map(|&record| self.all[record as usize].counters).collect()
    }

    /// Zeroes everything but the number of states of some rules in force, by their numbers.
    pub(crate) fn clear(&mut self, chosen: &dyn Fn(u32) -> bool) {
        self.fold();
        for (number, &record) in (0..).zip(&self.by_number) {
            if chosen(number) {
                let counters = &mut self.all[record as usize].counters;
                *counters = RuleCounters { states: counters.states, ..RuleCounters::default() };
            }
        }
    }

    /// An evaluation only notes where it ended in each scope it entered, which says that all rules of
    /// that scope up to there were asked.
    fn fold(&mut self) {
        // Evaluations that went on behind a step of the scope: the main rule set's, then those of
        // the anchor that each step calls.
        let mut main = 0;
        let mut inside = vec![0; self.steps.len()];
        for (step, ended) in self.steps.iter().zip(&mut self.ended).rev() {
            let sum = match step.scope {
                NOWHERE => &mut main,
                scope => &mut inside[scope as usize],
            };
            *sum += std::mem::take(ended);
            let record = self.by_number[step.rule as usize];
            self.all[record as usize].counters.evaluations += *sum;
        }
    }

    fn allocate(&mut self, identity: Identity, lifetimes: Option<Arc<Lifetimes>>) -> u32 {
        let fresh =
            Record { identity: Some(identity), number: NONE, lifetimes, ..Record::default() };
        if let Some(record) = self.free.pop() {
            self.all[record as usize] = fresh;
            record
        } else {
            self.all.push(fresh);
            self.all.len() as u32 - 1
        }
    }

    fn free_unused(&mut self, record: u32) {
        let known = &mut self.all[record as usize];
        if known.number == NONE && known.counters.states == 0 && known.identity.take().is_some() {
            known.limits = None;
            self.free.push(record);
        }
    }
}
