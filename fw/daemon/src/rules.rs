//! Rule sets by the number of their load, for those who must translate rule numbers of the past, and
//! the names of their rules.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use weir_config::rules::{Action, Rule, RuleSet};
use weir_engine::Program;

/// Loads that are remembered; a log record is at most a few seconds old.
const REMEMBERED: usize = 8;

/// The rules of a program by their ids: those of the main rule set first, then those of the anchors
/// in the order of their paths.
#[derive(Debug, Default)]
pub struct Places {
    /// Ascending by their first ids; the main rule set is the first.
    sets: Vec<Set>,
}

#[derive(Debug)]
struct Set {
    anchor: String,
    /// Id of its rule 0.
    first: u32,
    /// The first rule of the main rule set by which it can be reached.
    caller: Option<u32>,
}

impl Places {
    /// Those of a rule set.
    pub fn new(rules: &RuleSet) -> Self {
        let callers = callers(rules);
        let mut first = rules.rules.len() as u32;
        let mut sets = vec![Set { anchor: String::new(), first: 0, caller: None }];
        for (path, anchor) in &rules.anchors {
            let caller = callers.get(&**path).copied();
            sets.push(Set { anchor: path.clone(), first, caller });
            first += anchor.rules.len() as u32;
        }
        Self { sets }
    }

    /// The anchor of a rule, empty for the main rule set, and its number there.
    pub fn place(&self, id: u32) -> (&str, u32) {
        self.set(id).map_or(("", id), |set| (&set.anchor, id - set.first))
    }

    /// Id of rule 0 of an anchor, if it has content.
    pub fn first(&self, anchor: &str) -> Option<u32> {
        let at = self.sets.binary_search_by(|set| (*set.anchor).cmp(anchor)).ok()?;
        Some(self.sets[at].first)
    }

    /// As logs call it if it is in an anchor: `3.webfarm.0`, rule 0 of `webfarm`, which rule 3 of
    /// the main rule set calls.
    pub fn anchored(&self, id: u32) -> Option<String> {
        let set = self.set(id).filter(|set| !set.anchor.is_empty())?;
        let number = id - set.first;
        Some(match set.caller {
            Some(caller) => format!("{caller}.{}.{number}", set.anchor),
            None => format!("{}.{number}", set.anchor),
        })
    }

    /// The rule of the main rule set that it is, or by which it is reached.
    fn caller(&self, id: u32) -> Option<u32> {
        let set = self.set(id).filter(|set| !set.anchor.is_empty());
        set.map_or(Some(id), |set| set.caller)
    }

    fn set(&self, id: u32) -> Option<&Set> {
        // Sets without rules begin where the next one does.
        self.sets.get(self.sets.partition_point(|set| set.first <= id).checked_sub(1)?)
    }
}

/// For each anchor that can be reached, the first rule of the main rule set that leads there.
fn callers(rules: &RuleSet) -> BTreeMap<&str, u32> {
    let mut found = BTreeMap::new();
    for (number, rule) in (0..).zip(&rules.rules) {
        let mut waiting = called(rules, rule);
        while let Some(path) = waiting.pop() {
            if let Entry::Vacant(vacant) = found.entry(path) {
                vacant.insert(number);
                let inner = &rules.anchors[path].rules;
                waiting.extend(inner.iter().flat_map(|rule| called(rules, rule)));
            }
        }
    }
    found
}

/// The anchors with content that a rule calls.
pub fn called<'a>(rules: &'a RuleSet, rule: &Rule) -> Vec<&'a str> {
    let Action::Anchor(call) = &rule.action else { return Vec::new() };
    if !call.wildcard {
        let found = rules.anchors.get_key_value(&call.path);
        return found.into_iter().map(|(path, _)| &**path).collect();
    }
    let begin = if call.path.is_empty() { String::new() } else { format!("{}/", call.path) };
    rules
        .anchors
        .range(begin.clone()..)
        .map(|(path, _)| &**path)
        .take_while(|path| path.starts_with(&begin))
        .filter(|path| !path[begin.len()..].contains('/'))
        .collect()
}

/// The programs that were put in force last.
#[derive(Default)]
pub struct Programs {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Loads so far, counted as the engines count them.
    epoch: u32,
    programs: VecDeque<(Arc<Program>, Arc<Places>)>,
}

/// What a log line says of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleName {
    /// `14`, or `3.webfarm.0` in an anchor.
    pub number: String,
    /// Its label, if it has one.
    pub label: Option<String>,
    /// Its number in the main rule set, or there of the rule that calls its anchor; `None` for an
    /// anchor that nothing calls any more.
    pub main: Option<u32>,
    /// In an anchor: its path, and the number there.
    pub anchored: Option<(String, u32)>,
    /// Where it logs to: `(to pflogN)`.
    pub log_to: u8,
}

impl Programs {
    /// Notes that a program is about to be put in force on all workers.
    pub fn push(&self, program: Arc<Program>, places: Arc<Places>) {
        let mut inner = self.inner.lock();
        inner.epoch = inner.epoch.wrapping_add(1);
        inner.programs.push_back((program, places));
        if inner.programs.len() > REMEMBERED {
            inner.programs.pop_front();
        }
    }

    /// The rule with this id of the load `epoch`; only the id if that is long gone.
    pub fn rule(&self, epoch: u32, id: u32) -> RuleName {
        let inner = self.inner.lock();
        let back = inner.epoch.wrapping_sub(epoch) as usize;
        let Some((program, places)) = inner.programs.iter().rev().nth(back) else {
            let number = id.to_string();
            return RuleName { number, label: None, main: Some(id), anchored: None, log_to: 0 };
        };
        let (anchor, number) = places.place(id);
        let rules = program.rules();
        let set = match anchor {
            "" => Some(&rules.rules),
            path => rules.anchors.get(path).map(|anchor| &anchor.rules),
        };
        let rule = set.and_then(|rules| rules.get(number as usize));
        RuleName {
            number: places.anchored(id).unwrap_or_else(|| id.to_string()),
            label: rule.and_then(|rule| rule.label.clone()),
            main: places.caller(id),
            anchored: (!anchor.is_empty()).then(|| (anchor.to_owned(), number)),
            log_to: rule.and_then(|rule| rule.log).map_or(0, |log| log.to),
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_config::rules::{Action, Anchor, AnchorCall, Rule, RuleSet};

    use super::Places;

    fn call(path: &str, wildcard: bool) -> Rule {
        let call = AnchorCall { path: path.into(), wildcard, ..AnchorCall::default() };
        Rule { action: Action::Anchor(Box::new(call)), ..Rule::default() }
    }

    #[test]
    fn rules_in_anchors_are_named_by_the_rule_that_calls_them() {
        let mut rules = RuleSet { rules: vec![Rule::default(); 2], ..RuleSet::default() };
        rules.rules.extend([call("guests", true), call("web", false), call("nowhere", false)]);
        for (path, inner) in [
            ("alone", vec![Rule::default()]),
            ("guests/a", vec![call("web", false), Rule::default()]),
            ("guests/a/deep", vec![Rule::default()]),
            ("guests/none", vec![]),
            // In a circle.
            ("web", vec![Rule::default(), call("web", false), call("web/deep", false)]),
            ("web/deep", vec![Rule::default()]),
        ] {
            let anchor = Anchor { rules: inner, ..Anchor::default() };
            rules.anchors.insert(path.into(), anchor);
        }
        let places = Places::new(&rules);
        for (id, place, anchored) in [
            (0, ("", 0), None),
            (4, ("", 4), None),
            (5, ("alone", 0), Some("alone.0")),
            (7, ("guests/a", 1), Some("2.guests/a.1")),
            (8, ("guests/a/deep", 0), Some("guests/a/deep.0")),
            (9, ("web", 0), Some("2.web.0")),
            (11, ("web", 2), Some("2.web.2")),
            (12, ("web/deep", 0), Some("2.web/deep.0")),
        ] {
            assert_eq!(places.place(id), place, "{id}");
            assert_eq!(places.anchored(id).as_deref(), anchored, "{id}");
        }
        assert_eq!(places.first("guests/none"), Some(9));
        assert_eq!((places.first("web"), places.first("")), (Some(9), Some(0)));
        assert_eq!(places.first("guests"), None);
    }
}
