//! What a worker remembers of its rules: counters, and how many states refer to each.
//!
//! States name their rules by record, not by number, so that a reload renumbers nothing. A record
//! lives while its rule is in force or a state refers to it; an unchanged rule (by
//! [`Identity`](super::program::Identity)) keeps its record, and so its counters, over reloads. There
//! are never more records than rules and states together, and those of one program before.
//!
//! Taking up a program must not keep packets waiting: which rules are the same the control thread has
//! found out ([`Carried`]), pages of counters come zeroed from the kernel, and what the evaluations of
//! the program before add up to is worked out bit by bit afterwards ([`Backlog`]). Taking up 100,000
//! rules so takes well under a millisecond (`benches/install.rs`).

use std::sync::Arc;

use zerocopy::FromZeros;

use super::carried::Carried;
use super::program::Program;
use super::sequence::{NOWHERE, Step};
use crate::source::RuleLimits;
use crate::state::entry::NONE;
use crate::state::lifetime::{Lifetimes, Pace};

/// What a rule has seen. Packets and bytes: arriving (`in`) and leaving (`out`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros)]
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

/// Records whose counters are allocated together: so many that they come from the kernel directly.
const PAGE: usize = 4096;

/// In the place of a rule's number: the record is free.
const FREE: u32 = NONE - 1;

/// What only some rules have.
#[derive(Debug, Default)]
struct Own {
    /// The limits that its states have been counted for, from the first one on.
    limits: Option<Arc<RuleLimits>>,
    /// Its time-outs.
    lifetimes: Option<Arc<Lifetimes>>,
    /// `pflow`: its connections are told to the flow collector.
    pflow: bool,
}

/// All records of a worker.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// By record, in pages. Those of free records are zero.
    counters: Vec<Box<[RuleCounters; PAGE]>>,
    /// Record to number in the program in force; [`NONE`] if the rule is gone, [`FREE`].
    numbers: Vec<u32>,
    /// By record: what the rule has for itself. States keep it when the rule is gone.
    own: Vec<Own>,
    free: Vec<u32>,
    /// Rule id to record.
    by_number: Vec<u32>,
    /// The steps of the program in force.
    steps: Arc<[Step]>,
    /// For each step, the evaluations of its scope that ended with it; see [`Backlog`].
    ended: Vec<u64>,
    /// What is left to do about the program before.
    backlog: Option<Backlog>,
    /// A state began that makes the others of its rule live shorter.
    pressed: bool,
}

/// An evaluation only notes where it ended in each scope it entered, which says that all rules of
/// that scope up to there were asked. This adds it up, from the last step to the first; then it frees
/// the records of rules that are gone.
#[derive(Debug)]
struct Backlog {
    steps: Arc<[Step]>,
    ended: Vec<u64>,
    by_number: Vec<u32>,
    /// Steps that are not added up yet.
    left: usize,
    /// Evaluations that went on behind a step of the scope: the main rule set's, then those of the
    /// anchor that each step calls.
    main: u64,
    inside: Vec<u64>,
}

impl Records {
    /// Takes up a new program; `follows` says that it was compiled after the one in force.
    pub(crate) fn install(&mut self, program: &Program, follows: bool) {
        self.fold();
        let unknown;
        let carried = if follows {
            program.carried()
        } else {
            unknown = Carried::nothing(program.rule_count(), self.by_number.len() as u32);
            &unknown
        };
        let old = std::mem::take(&mut self.by_number);
        let mut by_number = Vec::with_capacity(program.rules.len());
        for run in &carried.runs {
            let first = by_number.len() as u32;
            let numbers = first..first + run.length;
            let Some(before) = run.old else {
                by_number.extend(numbers.map(|number| {
                    let limits = program.limits(number).cloned();
                    let lifetimes = program.lifetimes(number).cloned();
                    let pflow = program.exports(number);
                    self.allocate(number, Own { limits, lifetimes, pflow })
                }));
                continue;
            };
            let same = &old[before as usize..(before + run.length) as usize];
            by_number.extend_from_slice(same);
            if before != first {
                for (number, &record) in numbers.zip(same) {
                    self.numbers[record as usize] = number;
                }
            }
        }
        for &number in &carried.gone {
            self.numbers[old[number as usize] as usize] = NONE;
        }
        self.by_number = by_number;
        let fresh = vec![0; program.steps.len()];
        self.leave_behind(old, Arc::clone(&program.steps), fresh);
    }

    /// The record of a rule.
    #[inline]
    pub(crate) fn of(&self, number: u32) -> u32 {
        self.by_number[number as usize]
    }

    /// The limits of a record's rule, if it has any; `None` for [`NONE`].
    pub(crate) fn limits(&self, record: u32) -> Option<&Arc<RuleLimits>> {
        self.own.get(record as usize)?.limits.as_ref()
    }

    /// The number of a record's rule, unless that is gone.
    pub(crate) fn number(&self, record: u32) -> Option<u32> {
        self.numbers.get(record as usize).copied().filter(|&number| number < FREE)
    }

    /// Counts a packet; `direction` is 0 arriving, 1 leaving. Nothing for [`NONE`].
    #[inline]
    pub(crate) fn count(&mut self, record: u32, direction: usize, bytes: u32) {
        if let Some(counters) = self.get_mut(record) {
            counters.packets[direction] += 1;
            counters.bytes[direction] += u64::from(bytes);
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
        if let Some(counters) = self.get_mut(record) {
            counters.states += 1;
            counters.states_total += 1;
            if let Some(lifetimes) = self.lifetimes_of(record) {
                self.pressed |= lifetimes.begin();
            }
        }
    }

    /// A state has ended.
    pub(crate) fn release(&mut self, record: u32) {
        if let Some(counters) = self.get_mut(record) {
            counters.states -= 1;
            if let Some(limits) = self.limits(record) {
                limits.release_state();
            }
            if let Some(lifetimes) = self.lifetimes_of(record) {
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

    /// Whether connections of the records are told to the flow collector.
    pub(crate) fn export_flows(&self, records: [u32; 2]) -> bool {
        let wants = |record: u32| self.own.get(record as usize).is_some_and(|own| own.pflow);
        records.into_iter().any(wants)
    }

    /// Whether states of the records have time-outs of their own.
    pub(crate) fn have_own(&self, records: [u32; 2]) -> bool {
        self.lifetimes(records).next().is_some()
    }

    fn lifetimes(&self, records: [u32; 2]) -> impl Iterator<Item = &Lifetimes> {
        records.into_iter().filter_map(|record| self.lifetimes_of(record))
    }

    fn lifetimes_of(&self, record: u32) -> Option<&Lifetimes> {
        self.own.get(record as usize)?.lifetimes.as_deref()
    }

    /// Whether a state has begun since the last call that makes the others of its rule live shorter.
    pub(crate) const fn take_pressed(&mut self) -> bool {
        std::mem::replace(&mut self.pressed, false)
    }

    /// Counters of the rules in force, by number.
    pub(crate) fn counters(&mut self) -> Vec<RuleCounters> {
        self.fold_all();
        let of = |&record: &u32| self.get(record).copied().unwrap_or_default();
        self.by_number.iter().map(of).collect()
    }

    /// Zeroes everything but the number of states of some rules in force, by their numbers.
    pub(crate) fn clear(&mut self, chosen: &dyn Fn(u32) -> bool) {
        self.fold_all();
        for number in (0..self.by_number.len() as u32).filter(|&number| chosen(number)) {
            if let Some(counters) = self.get_mut(self.of(number)) {
                *counters = RuleCounters { states: counters.states, ..RuleCounters::default() };
            }
        }
    }

    /// Does some of what is left to do about the program before: so many steps or rules.
    #[inline]
    pub(crate) fn settle(&mut self, budget: usize) {
        if self.backlog.is_some() {
            self.settle_some(budget);
        }
    }

    fn settle_some(&mut self, mut budget: usize) {
        let Some(mut backlog) = self.backlog.take() else { return };
        let before = backlog.left;
        self.add_up(&mut backlog, budget);
        budget -= before - backlog.left;
        while budget > 0 {
            budget -= 1;
            let Some(record) = backlog.by_number.pop() else { return };
            self.free_unused(record);
        }
        self.backlog = Some(backlog);
    }

    /// Finishes with the program before.
    fn fold(&mut self) {
        self.settle(usize::MAX);
    }

    /// And adds up what the evaluations of the program in force have noted.
    fn fold_all(&mut self) {
        self.fold();
        let by_number = std::mem::take(&mut self.by_number);
        let fresh = vec![0; self.steps.len()];
        self.leave_behind(by_number, Arc::clone(&self.steps), fresh);
        if let Some(mut backlog) = self.backlog.take() {
            self.add_up(&mut backlog, usize::MAX);
            self.by_number = backlog.by_number;
        }
    }

    /// So many steps at most.
    fn add_up(&mut self, backlog: &mut Backlog, most: usize) {
        for (record, evaluations) in backlog.take(most) {
            if let Some(counters) = self.get_mut(record) {
                counters.evaluations += evaluations;
            }
        }
    }

    /// What was noted up to now is to be added up; `by_number` is what its steps' rules were.
    fn leave_behind(&mut self, by_number: Vec<u32>, steps: Arc<[Step]>, fresh: Vec<u64>) {
        let ended = std::mem::replace(&mut self.ended, fresh);
        let steps = std::mem::replace(&mut self.steps, steps);
        let (left, inside) = (steps.len(), vec![0; steps.len()]);
        self.backlog = Some(Backlog { steps, ended, by_number, left, main: 0, inside });
    }

    fn get(&self, record: u32) -> Option<&RuleCounters> {
        self.counters.get(record as usize / PAGE)?.get(record as usize % PAGE)
    }

    #[inline]
    fn get_mut(&mut self, record: u32) -> Option<&mut RuleCounters> {
        self.counters.get_mut(record as usize / PAGE)?.get_mut(record as usize % PAGE)
    }

    fn allocate(&mut self, number: u32, own: Own) -> u32 {
        if let Some(record) = self.free.pop() {
            self.numbers[record as usize] = number;
            self.own[record as usize] = own;
            return record;
        }
        let record = self.numbers.len() as u32;
        self.numbers.push(number);
        self.own.push(own);
        if record as usize / PAGE == self.counters.len() {
            // Without memory this ends the process, as every allocation does.
            let page = <[RuleCounters; PAGE]>::new_box_zeroed().expect("memory for counters");
            self.counters.push(page);
        }
        record
    }

    /// Frees a record that nothing needs; not before its evaluations are added up.
    fn free_unused(&mut self, record: u32) {
        let folded = self.backlog.as_ref().is_none_or(|backlog| backlog.left == 0);
        let gone = self.numbers.get(record as usize) == Some(&NONE);
        if folded && gone && self.get(record).is_some_and(|counters| counters.states == 0) {
            self.numbers[record as usize] = FREE;
            self.own[record as usize] = Own::default();
            if let Some(counters) = self.get_mut(record) {
                *counters = RuleCounters::default();
            }
            self.free.push(record);
        }
    }
}

/// The record of each step's rule, and how often the rule was asked there.
impl Iterator for Backlog {
    type Item = (u32, u64);

    fn next(&mut self) -> Option<(u32, u64)> {
        self.left = self.left.checked_sub(1)?;
        let step = self.steps[self.left];
        let sum = match step.scope {
            NOWHERE => &mut self.main,
            scope => &mut self.inside[scope as usize],
        };
        *sum += self.ended[self.left];
        Some((self.by_number[step.rule as usize], *sum))
    }
}

#[cfg(test)]
mod tests {
    use weir_config::{Defines, SourceFile, parse_one};

    use super::{Program, Records, RuleCounters};
    use crate::ruleset::PortNames;

    fn compile(rules: &str, before: Option<&Program>) -> Program {
        let parsed = parse_one(&SourceFile::new("test", rules), &Defines::default());
        let ports = PortNames(Vec::new());
        Program::compile(&parsed.rules.expect("no errors"), &ports, before).expect("a program")
    }

    fn evaluations(records: &mut Records) -> Vec<u64> {
        records.counters().iter().map(|counters| counters.evaluations).collect()
    }

    #[test]
    fn what_was_counted_is_added_up_bit_by_bit() {
        let mut records = Records::default();
        let first = compile("block\nanchor a {\n pass in\n pass out\n}\nmatch\n", None);
        records.install(&first, true);
        for step in [3, 4, 4] {
            records.count_evaluation(step);
        }
        let second =
            compile("pass proto udp\nblock\nmatch\nanchor a {\n pass out\n}\n", Some(&first));
        records.install(&second, true);
        for step in [0, 1] {
            records.count_evaluation(step);
        }
        for _ in 0..6 {
            records.settle(2);
        }
        assert!(records.backlog.is_none(), "five steps and five rules");
        assert_eq!(evaluations(&mut records), [2, 3, 2, 2, 1]);
    }

    #[test]
    fn records_are_used_again_when_nothing_needs_them() {
        let mut records = Records::default();
        let first = compile("block\npass in\npass out\n", None);
        records.install(&first, true);
        let [gone, kept] = [1, 2].map(|number| records.of(number));
        for record in [gone, kept] {
            records.refer(record);
            records.count(record, 0, 40);
        }
        records.count_evaluation(2);
        let second = compile("block\n", Some(&first));
        records.install(&second, true);
        // The state of one ends while the old evaluations are being added up, the other's later.
        records.release(gone);
        assert_eq!((&*records.free, records.number(gone)), (&[][..], None));
        records.settle(100);
        assert_eq!((&*records.free, records.number(kept)), (&[gone][..], None));
        records.release(kept);
        assert_eq!(records.free, [gone, kept]);
        let third = compile("pass in\npass out\nblock\n", Some(&second));
        records.install(&third, true);
        assert_eq!(records.numbers.len(), 3);
        assert_eq!(evaluations(&mut records), [0, 0, 1]);
        assert!(
            records.counters()[..2].iter().all(|counters| *counters == RuleCounters::default())
        );
        // A program that was compiled after another one takes nothing over.
        records.install(&third, false);
        assert_eq!(evaluations(&mut records), [0, 0, 0]);
    }
}
