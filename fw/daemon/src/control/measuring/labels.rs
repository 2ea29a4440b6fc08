//! What rules with a label have counted: for each label a sum that only grows, whatever becomes of the
//! rules that have it.

use std::collections::{BTreeMap, HashMap};

use weir_engine::{EtherCounters, Program, RuleCounters, RuleIdentity};

use crate::mailbox::Report;
use crate::metrics::Page;

/// Labels that no rule has any more, of which the sums are kept.
const RETIRED: usize = 1000;

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Labels {
    sums: BTreeMap<String, Sum>,
    /// Each rule's, at the last look.
    rules: HashMap<Rule, RuleCounters>,
    looks: u64,
}

/// Of all rules that have or had a label.
#[derive(Debug, Default)]
struct Sum {
    counted: RuleCounters,
    /// The last look at which there was such a rule.
    seen: u64,
}

/// A rule, of layer 2 by its text and its number among equals.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Rule {
    Filter(RuleIdentity),
    Ether(String, u32),
}

impl Labels {
    /// Adds what the rules of a program have counted since the last look.
    pub(super) fn look(&mut self, program: &Program, reports: &[Report]) {
        let rules = program.rules();
        let inner = rules.anchors.values().flat_map(|anchor| &anchor.rules);
        let mut looked = Vec::new();
        for (id, rule) in (0..).zip(rules.rules.iter().chain(inner)) {
            let (Some(label), Some(identity)) = (&rule.label, program.identity(id)) else {
                continue;
            };
            let mut counted = RuleCounters::default();
            let of_rule = reports.iter().filter_map(|report| report.rules.get(id as usize));
            of_rule.for_each(|more| add(&mut counted, more));
            looked.push((Rule::Filter(identity), label, counted));
        }
        let mut equals = HashMap::new();
        for (number, rule) in rules.ether.iter().enumerate() {
            let Some(label) = &rule.label else { continue };
            let text = rule.to_string();
            let before: &mut u32 = equals.entry(text.clone()).or_default();
            let ordinal = *before;
            *before += 1;
            let mut counted = RuleCounters::default();
            for more in reports.iter().filter_map(|report| report.ether.get(number)) {
                let &EtherCounters { evaluations, packets, bytes } = more;
                let more = RuleCounters { evaluations, packets, bytes, ..RuleCounters::default() };
                add(&mut counted, &more);
            }
            looked.push((Rule::Ether(text, ordinal), label, counted));
        }
        self.add(looked);
    }

    fn add(&mut self, looked: Vec<(Rule, &String, RuleCounters)>) {
        self.looks += 1;
        self.sums.values_mut().for_each(|sum| sum.counted.states = 0);
        let before = std::mem::take(&mut self.rules);
        for (rule, label, counted) in looked {
            let sum = self.sums.entry(label.clone()).or_default();
            sum.seen = self.looks;
            grow(&mut sum.counted, before.get(&rule), &counted);
            self.rules.insert(rule, counted);
        }
        self.forget();
    }

    /// Keeps what would otherwise grow with each load within bounds: the oldest sums go.
    fn forget(&mut self) {
        let retired = self.sums.iter().filter(|(_, sum)| sum.seen < self.looks);
        let mut retired: Vec<_> = retired.map(|(label, sum)| (sum.seen, label.clone())).collect();
        let surplus = retired.len().saturating_sub(RETIRED);
        retired.sort_unstable();
        for (_, label) in &retired[..surplus] {
            self.sums.remove(label);
        }
    }

    /// Puts the sums on a page.
    pub(super) fn tell(&self, page: &mut Page) {
        type Count = fn(&RuleCounters) -> u64;
        let counts: [(&'static str, &str, Count); 5] = [
            ("weir_label_evaluations_total", "Times that rules with a label were asked.", |rule| {
                rule.evaluations
            }),
            (
                "weir_label_packets_total",
                "Packets that rules with a label have decided, with those of their states.",
                |rule| rule.packets[0] + rule.packets[1],
            ),
            ("weir_label_bytes_total", "Bytes of these.", |rule| rule.bytes[0] + rule.bytes[1]),
            ("weir_label_states_total", "States that rules with a label have made.", |rule| {
                rule.states_total
            }),
            ("weir_label_states", "States that they have now.", |rule| rule.states.into()),
        ];
        for (name, help, count) in counts {
            if name.ends_with("_total") {
                page.counter(name, help)
            } else {
                page.gauge(name, help)
            };
            for (label, sum) in &self.sums {
                page.sample(&[("label", label)], count(&sum.counted));
            }
        }
    }
}

/// Adds what a rule has counted since `before`, or since its counters were cleared.
fn grow(sum: &mut RuleCounters, before: Option<&RuleCounters>, now: &RuleCounters) {
    let none = RuleCounters::default();
    let before = before.unwrap_or(&none);
    let grown = |before: u64, now: u64| now.checked_sub(before).unwrap_or(now);
    let mut more = *now;
    more.evaluations = grown(before.evaluations, now.evaluations);
    for way in 0..2 {
        more.packets[way] = grown(before.packets[way], now.packets[way]);
        more.bytes[way] = grown(before.bytes[way], now.bytes[way]);
    }
    more.states_total = grown(before.states_total, now.states_total);
    add(sum, &more);
}

fn add(sum: &mut RuleCounters, counted: &RuleCounters) {
    sum.evaluations += counted.evaluations;
    for way in 0..2 {
        sum.packets[way] += counted.packets[way];
        sum.bytes[way] += counted.bytes[way];
    }
    sum.states += counted.states;
    sum.states_total += counted.states_total;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(number: u32) -> Rule {
        Rule::Ether(String::new(), number)
    }

    fn counted(evaluations: u64, states: u32) -> RuleCounters {
        RuleCounters { evaluations, states, ..RuleCounters::default() }
    }

    fn sums(labels: &Labels) -> Vec<(&str, u64, u32)> {
        let sums = labels.sums.iter();
        sums.map(|(label, sum)| (&**label, sum.counted.evaluations, sum.counted.states)).collect()
    }

    #[test]
    fn sums_never_shrink_when_rules_go_or_counters_are_cleared() {
        let (web, dns) = ("web".to_owned(), "dns".to_owned());
        let mut labels = Labels::default();
        labels.add(vec![
            (rule(0), &web, counted(10, 3)),
            (rule(1), &web, counted(5, 1)),
            (rule(2), &dns, counted(7, 2)),
        ]);
        assert_eq!(sums(&labels), [("dns", 7, 2), ("web", 15, 4)]);
        // Rule 1 is gone, rule 2 was cleared.
        labels.add(vec![(rule(0), &web, counted(12, 3)), (rule(2), &dns, counted(1, 2))]);
        assert_eq!(sums(&labels), [("dns", 8, 2), ("web", 17, 3)]);
        labels.add(vec![(rule(0), &web, counted(12, 0))]);
        assert_eq!(sums(&labels), [("dns", 8, 0), ("web", 17, 0)]);
        // It is back, and counts anew.
        labels.add(vec![(rule(1), &web, counted(2, 1))]);
        assert_eq!(sums(&labels), [("dns", 8, 0), ("web", 19, 1)]);
    }

    #[test]
    fn labels_that_nobody_has_any_more_are_bounded() {
        let mut labels = Labels::default();
        for number in 0..RETIRED as u32 + 20 {
            labels.add(vec![(rule(number), &format!("{number:05}"), counted(1, 0))]);
        }
        assert_eq!(labels.sums.len(), RETIRED + 1, "and the one that there is");
        assert_eq!(labels.sums.keys().next().map(String::as_str), Some("00019"));
        assert_eq!(labels.rules.len(), 1);
    }
}
