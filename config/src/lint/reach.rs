//! Rules that never decide anything: hidden behind a `quick` rule, or overridden by a later one.
//!
//! Each rule set is looked at by itself. A packet reaches a rule only if no `quick` rule before it
//! matched; and of the rules that match, the last one decides. So a rule is dead if one `quick` rule
//! before it covers it, or if one rule behind it does and the evaluation cannot end in between
//! without a decision. That is a proof, not a guess; dead by several rules together is not found.

use std::collections::HashMap;

use super::criteria::Criteria;
use super::index::{Budget, Entry, Extent, Index};
use super::subject::{Scope, Subject};
use super::{Family, Lint, Sink, Words};
use crate::rules::{Action, KeepState, Rule, Source};

const SHADOWED: Lint = Lint {
    name: "shadowed-rule",
    summary: "a quick rule before it matches everything that the rule could match",
    explanation: "\
A rule with `quick` decides at once. If it matches every packet that a later rule could match, the
later one is never asked.

    block in quick on wan from 192.0.2.0/24
    pass  in on wan proto tcp from 192.0.2.7 to any port ssh     # never reached

Put the exception before the rule that it is an exception from, with `quick` too; or leave `quick`
out of the general rule, so that the last match decides.",
};

const BEHIND_ALL: Lint = Lint {
    name: "behind-quick-all",
    summary: "a quick rule matches every packet, so that nothing after it is reached",
    explanation: "\
A rule with `quick` and without any criterion ends the evaluation for every packet. The rules after
it might as well not be there.

    block quick all
    pass in on lan          # never reached

Leave `quick` out, or move the rule to the end.",
};

const OVERRIDDEN: Lint = Lint {
    name: "overridden-rule",
    summary: "a later rule matches everything that the rule could match, and the last match wins",
    explanation: "\
Without `quick` the last rule that matches decides. If a later rule matches every packet that this
one matches, this one never has the last word.

    block in on wan proto tcp to any port telnet      # never decides
    pass  in on wan proto tcp

Put the general rule first and its exceptions after it, or give the exception `quick`.",
};

const DUPLICATE: Lint = Lint {
    name: "duplicate-rule",
    summary: "the same rule stands there twice",
    explanation: "\
Two rules match the same packets and do the same with them: one of them is never the one that
decides. That is harmless until only one of the two is changed.

    pass in on lan proto tcp to any port { 22, ssh }   # 22 is ssh

Remove one.",
};

pub(super) const FAMILY: Family =
    Family { lints: &[SHADOWED, BEHIND_ALL, OVERRIDDEN, DUPLICATE], check };

/// What a search through one rule set may cost: some seconds at worst.
const UNITS: u64 = 60_000_000;

/// Past this many rules their criteria alone would take too much memory.
const MOST_RULES: usize = 300_000;

/// How deep calls of anchors are followed; past it an anchor may do anything.
const DEEPEST_CALLS: usize = 64;

/// How many other rules a message names.
const NAMED: usize = 3;

/// Why a rule never decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dead {
    why: Why,
    /// The other rule.
    by: u32,
    /// What it never decides about.
    extent: Extent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// A `quick` rule comes first.
    Shadowed,
    /// A later rule has the last word.
    Overridden,
}

fn check(subject: &Subject<'_>, sink: &mut Sink<'_>) {
    let effects = Effects::of(subject);
    for scope in subject.scopes() {
        let whose = match scope.path {
            "" => "the rules".to_owned(),
            path => format!("the rules of anchor \"{path}\""),
        };
        if scope.rules.len() > MOST_RULES {
            sink.unchecked(format!(
                "{whose} are {}, too many to look for those that others hide",
                scope.rules.len()
            ));
            continue;
        }
        let mut budget = Budget::new(UNITS);
        let dead = find(scope.rules, &effects, &mut budget);
        if budget.is_spent() {
            sink.unchecked(format!(
                "{whose} are too many and too different to compare all of them: some that are \
                 hidden by others may not have been found"
            ));
        }
        report(subject, &scope, &dead, sink);
    }
}

/// What the call of an anchor may do to the evaluation around it.
#[derive(Clone, Copy, Debug, Default)]
struct Effect {
    /// Set a tag.
    tags: bool,
    /// End the evaluation with the decision made so far (`match quick`).
    ends: bool,
}

/// The effects of all anchors whose content is known, calls within calls included.
struct Effects<'r>(HashMap<&'r str, Effect>);

impl<'r> Effects<'r> {
    fn of(subject: &Subject<'r>) -> Self {
        let mut effects = Self(HashMap::new());
        let anchors = &subject.rules.anchors;
        effects.0.extend(anchors.keys().map(|path| (&**path, Effect::default())));
        // Effects only spread along calls; a round that changes nothing is the last.
        for _ in 0..DEEPEST_CALLS {
            let mut changed = false;
            for (path, anchor) in anchors {
                let mut sum = Effect::default();
                for rule in &anchor.rules {
                    let effect = effects.of_rule(rule);
                    sum.tags |= effect.tags;
                    sum.ends |= effect.ends;
                }
                let known = effects.0.entry(path).or_default();
                changed |= known.tags != sum.tags || known.ends != sum.ends;
                *known = sum;
            }
            if !changed {
                return effects;
            }
        }
        effects.0.values_mut().for_each(|effect| *effect = Effect { tags: true, ends: true });
        effects
    }

    fn of_rule(&self, rule: &Rule) -> Effect {
        let tags = rule.tag.is_some();
        match &rule.action {
            Action::Pass | Action::Block(_) => Effect { tags, ends: false },
            Action::Match => Effect { tags, ends: rule.quick },
            Action::Anchor(call) => match self.0.get(&*call.path).filter(|_| !call.wildcard) {
                Some(inner) => Effect { tags: tags || inner.tags, ends: inner.ends },
                None => Effect { tags: true, ends: true },
            },
        }
    }
}

const fn decides(rule: &Rule) -> bool {
    matches!(rule.action, Action::Pass | Action::Block(_))
}

/// For each rule whether and why it is dead.
fn find(rules: &[Rule], effects: &Effects<'_>, budget: &mut Budget) -> Vec<Option<Dead>> {
    let criteria: Vec<_> = rules.iter().map(Criteria::new).collect();
    let is_block = |rule: &Rule| matches!(rule.action, Action::Block(_));
    let entry = |at: usize, tags| Entry {
        rule: at as u32,
        criteria: criteria[at],
        tags,
        keeps_state: rules[at].action == Action::Pass && rules[at].state != KeepState::No,
    };
    let mut dead = vec![None; rules.len()];
    let is_dead = |dead: Option<Dead>| dead.is_some_and(|dead| dead.extent == Extent::All);
    let mut index = Index::default();
    let mut tags = 0;
    for (i, rule) in rules.iter().enumerate() {
        let found = index.covering(&criteria[i], tags, is_block(rule), budget);
        dead[i] = found.map(|(by, extent)| Dead { why: Why::Shadowed, by, extent });
        tags += u32::from(effects.of_rule(rule).tags);
        if rule.quick && !matches!(rule.action, Action::Anchor(_)) && !is_dead(dead[i]) {
            index.insert(entry(i, tags), budget);
        }
        if budget.is_spent() {
            return dead;
        }
    }
    index.clear();
    tags = 0;
    for (i, rule) in rules.iter().enumerate().rev() {
        // A tag and `log (matches)` have their effect although another rule decides.
        let has_effect = rule.tag.is_some() || rule.log.is_some_and(|log| log.matches);
        if decides(rule) && !rule.quick && !has_effect && !is_dead(dead[i]) {
            let found = index.covering(&criteria[i], tags, is_block(rule), budget);
            let found = found.map(|(by, extent)| Dead { why: Why::Overridden, by, extent });
            if dead[i].is_none() || is_dead(found) {
                dead[i] = found;
            }
        }
        let effect = effects.of_rule(rule);
        if effect.ends {
            index.clear();
        }
        tags += u32::from(effect.tags);
        if decides(rule) && !is_dead(dead[i]) {
            index.insert(entry(i, tags), budget);
        }
        if budget.is_spent() {
            return dead;
        }
    }
    dead
}

/// Whether two rules do the same, wherever they stand.
fn are_equal(one: &Rule, other: &Rule) -> bool {
    let bare = |rule: &Rule| Rule { source: Source::default(), label: None, ..rule.clone() };
    bare(one) == bare(other)
}

/// One finding for each written rule of which nothing is left.
fn report(subject: &Subject<'_>, scope: &Scope<'_>, dead: &[Option<Dead>], sink: &mut Sink<'_>) {
    let rules = scope.rules;
    let mut behind_all: Vec<(u32, usize)> = Vec::new();
    let mut start = 0;
    while let Some(first) = rules.get(start) {
        let source = first.source;
        let count = rules[start..].iter().take_while(|rule| rule.source == source).count();
        let part = start..start + count;
        start += count;
        let reasons: Vec<Dead> = dead[part.clone()].iter().flatten().copied().collect();
        if reasons.len() < count {
            twice_in_one(rules, dead, part, sink);
            continue;
        }
        let by_others: Vec<Dead> =
            reasons.iter().copied().filter(|dead| !part.contains(&(dead.by as usize))).collect();
        let Some(&main) = by_others.first() else { continue };
        let killer = &rules[main.by as usize];
        if main.why == Why::Shadowed && matches_all(killer) {
            match behind_all.last_mut() {
                Some((by, hidden)) if *by == main.by => *hidden += 1,
                _ => behind_all.push((main.by, 1)),
            }
            continue;
        }
        written(subject, rules, part, &by_others, main, sink);
    }
    for (by, hidden) in behind_all {
        let rule = &rules[by as usize];
        let rest = if hidden == 1 { "the rule".to_owned() } else { format!("the {hidden} rules") };
        let words = Words::new(
            format!("{rest} after this one can never be reached"),
            "it is `quick`, so it decides at once, and it matches every packet",
        )
        .help("remove `quick`, or move the rule to the end");
        sink.at(&BEHIND_ALL, rule.source, words);
    }
}

fn matches_all(rule: &Rule) -> bool {
    let criteria = Criteria::new(rule);
    criteria.is_broad()
        && criteria.direction.is_none()
        && criteria.interface.is_none()
        && criteria.family.is_none()
        && criteria.flags.is_none()
}

/// A written rule all of whose rules are dead.
fn written(
    subject: &Subject<'_>,
    rules: &[Rule],
    part: std::ops::Range<usize>,
    by_others: &[Dead],
    main: Dead,
    sink: &mut Sink<'_>,
) {
    let rule = &rules[part.start];
    let killer = &rules[main.by as usize];
    if part.len() == 1 && are_equal(rule, killer) {
        // The later of the two is the surprise.
        let (earlier, later) =
            if main.by as usize > part.start { (rule, killer) } else { (killer, rule) };
        let words = Words::new(
            format!("this rule is the same as that in {}", subject.name(earlier.source)),
            "one of the two never decides anything",
        )
        .help("remove one of them");
        sink.at(&DUPLICATE, later.source, words);
        return;
    }
    let mut killers: Vec<&Rule> = Vec::new();
    for dead in by_others {
        let killer = &rules[dead.by as usize];
        if !killers.iter().any(|known| known.source == killer.source) {
            killers.push(killer);
        }
    }
    let more = killers.len().saturating_sub(NAMED);
    let mut names: Vec<String> =
        killers.iter().take(NAMED).map(|killer| subject.quote(killer)).collect();
    if more > 0 {
        names.push(format!("{more} more"));
    }
    let names = names.join(", ");
    let beginnings = by_others.iter().any(|dead| dead.extent == Extent::Beginnings);
    let words = match (main.why, beginnings) {
        (Why::Shadowed, false) => {
            let what = match rule.action {
                Action::Anchor(_) => "this anchor is never asked",
                _ => "this rule is never reached",
            };
            Words::new(
                format!("{what}: a `quick` rule before it takes all its packets"),
                format!("{names} matches everything that this one could match, and is `quick`"),
            )
        }
        (Why::Shadowed, true) => Words::new(
            "no new connection is ever blocked by this rule: a `quick` rule before it passes them",
            format!("{names} matches all packets that could begin one here, and is `quick`"),
        ),
        (Why::Overridden, false) => Words::new(
            "this rule never decides anything: a later rule always has the last word",
            format!("{names} matches everything that this one matches, and the last match wins"),
        ),
        (Why::Overridden, true) => Words::new(
            "no new connection is ever blocked by this rule: a later rule always passes them",
            format!("{names} matches all packets that could begin one, and the last match wins"),
        ),
    };
    let words = match main.why {
        Why::Shadowed => {
            words.help("put the more special rule first, or remove `quick` from the other")
        }
        Why::Overridden => words.help("put the general rule first, or give this one `quick`"),
    };
    let lint = if main.why == Why::Shadowed { &SHADOWED } else { &OVERRIDDEN };
    sink.at(lint, rule.source, words);
}

/// A list that names the same thing twice.
fn twice_in_one(
    rules: &[Rule],
    dead: &[Option<Dead>],
    part: std::ops::Range<usize>,
    sink: &mut Sink<'_>,
) {
    let twice = part.clone().find(|&i| {
        dead[i].is_some_and(|dead| {
            let by = dead.by as usize;
            part.contains(&by) && are_equal(&rules[i], &rules[by])
        })
    });
    let Some(i) = twice else { return };
    let words = Words::new(
        "a list in this rule names the same thing twice",
        format!(
            "`{}` comes out of it more than once",
            super::subject::shorten(&rules[i].to_string())
        ),
    );
    sink.at(&DUPLICATE, rules[i].source, words);
}
