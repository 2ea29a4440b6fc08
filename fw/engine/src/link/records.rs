//! What a worker counts of its `ether` rules. A rule that is the same after a reload, by its text and
//! its ordinal among equals, keeps its counters.

use std::collections::HashMap;

use weir_config::ether::EtherRule;
use weir_config::rules::Direction;

use super::LinkRules;

/// What an `ether` rule has seen. Packets and bytes: arriving (`in`) and leaving (`out`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EtherCounters {
    /// Times the rule was compared with a frame.
    pub evaluations: u64,
    /// Frames that it decided on.
    pub packets: [u64; 2],
    /// Bytes of these, with their Ethernet headers.
    pub bytes: [u64; 2],
}

/// What makes a rule the same after a reload: its text, and how many equal ones stand before it.
pub(super) type Identity = (String, u32);

pub(super) fn identities(rules: &[EtherRule]) -> Vec<Identity> {
    let mut seen = HashMap::new();
    rules
        .iter()
        .map(|rule| {
            let text = rule.to_string();
            let before = seen.entry(text.clone()).or_insert(0);
            *before += 1;
            (text, *before - 1)
        })
        .collect()
}

/// The counters of all rules in force, by number.
#[derive(Debug, Default)]
pub(crate) struct EtherRecords {
    counters: Vec<EtherCounters>,
}

impl EtherRecords {
    /// Takes up new rules in place of the old ones; `follows` says that they were compiled after
    /// these.
    pub(crate) fn install(&mut self, rules: &LinkRules, follows: bool) {
        let old = std::mem::replace(
            &mut self.counters,
            vec![EtherCounters::default(); rules.identities.len()],
        );
        let mut new = &mut self.counters[..];
        for run in rules.carried.runs.iter().filter(|_| follows) {
            let (counters, rest) = new.split_at_mut(run.length as usize);
            if let Some(first) = run.old {
                counters.copy_from_slice(&old[first as usize..][..counters.len()]);
            }
            new = rest;
        }
    }

    /// A rule is compared with a frame.
    pub(super) fn evaluate(&mut self, rule: u32) {
        if let Some(counters) = self.counters.get_mut(rule as usize) {
            counters.evaluations += 1;
        }
    }

    /// A rule has decided about a frame of so many bytes.
    pub(super) fn count(&mut self, rule: u32, direction: Direction, bytes: u32) {
        if let Some(counters) = self.counters.get_mut(rule as usize) {
            counters.packets[direction as usize] += 1;
            counters.bytes[direction as usize] += u64::from(bytes);
        }
    }

    /// By number.
    pub(crate) fn counters(&self) -> &[EtherCounters] {
        &self.counters
    }

    /// Zeroes all of them.
    pub(crate) fn clear(&mut self) {
        self.counters.fill(EtherCounters::default());
    }
}
