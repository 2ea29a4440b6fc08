//! `!` before addresses of one family, where the other family was forgotten.

use super::criteria::{Criteria, Hosts};
use super::subject::{Scope, Subject};
use super::{Family as Group, Lint, Sink, Words};
use crate::rules::{Action, Family, Rule, Source};

const ONE_FAMILY: Lint = Lint {
    name: "negated-one-family",
    summary: "a block with `!` before addresses of one family leaves the other family alone",
    explanation: "\
An address makes its rule one for its family, with `!` too. A rule that blocks everything but a prefix
blocks, of that family alone, everything but it; of the other family it blocks nothing, and what a
broader rule passes still passes.

    block in log
    pass in on lan
    block in on lan from ! 192.0.2.0/24      # any IPv6 source passes

Say what may come of the other family as well (`block in on lan from ! 2001:db8::/32`), ask a table
with the prefixes of both (`! <ours>`), or write `inet` if IPv4 alone is meant.",
};

pub(super) const FAMILY: Group = Group { lints: &[ONE_FAMILY], check };

/// Pass rules that each block is compared with.
const COMPARED: usize = 64;

fn check(subject: &Subject<'_>, sink: &mut Sink<'_>) {
    for scope in subject.scopes() {
        // What anchors say of a packet is not looked at.
        if scope.rules.iter().any(|rule| matches!(rule.action, Action::Anchor(_))) {
            continue;
        }
        for family in [Family::Inet, Family::Inet6] {
            check_scope(subject, &scope, family, sink);
        }
    }
}

/// Finds blocks that leave this family alone.
fn check_scope(subject: &Subject<'_>, scope: &Scope<'_>, left: Family, sink: &mut Sink<'_>) {
    let blocks = |rule: &Rule| matches!(rule.action, Action::Block(_));
    let of_left = |rule: &Rule| Criteria::new(rule).family == Some(left);
    // Somebody has thought of this family.
    if scope.rules.iter().any(|rule| blocks(rule) && of_left(rule)) {
        return;
    }
    let of_both = |rule: &Rule| blocks(rule) && Criteria::new(rule).family.is_none();
    let after = scope.rules.iter().rposition(of_both).map_or(0, |last| last + 1);
    let passing: Vec<_> = scope.rules[after..]
        .iter()
        .filter(|rule| rule.action == Action::Pass)
        .map(|rule| (rule, Criteria::new(rule)))
        .filter(|(_, criteria)| criteria.family.is_none_or(|family| family == left))
        .take(COMPARED)
        .collect();
    let mut last: Option<Source> = None;
    for rule in scope.rules.iter().filter(|rule| blocks(rule)) {
        let Some(meant) = other_family(rule, left) else { continue };
        let passes = passing.iter().find(|(_, criteria)| criteria.covers_beginnings(&meant));
        let Some((passes, _)) = passes else { continue };
        let span = subject.span(rule.source);
        if last == Some(rule.source) || says_family(subject.lines.piece(span)) {
            continue;
        }
        last = Some(rule.source);
        let (of, other) = match left {
            Family::Inet => ("IPv6", "IPv4"),
            Family::Inet6 => ("IPv4", "IPv6"),
        };
        let words = Words::new(
            format!("this is a rule for {of}: it blocks nothing of {other}"),
            format!("{} passes {other} from and to every address", subject.quote(passes)),
        );
        let help = format!(
            "add a rule with the prefixes of {other}, ask a table that has both, or write the \
             family if {of} alone is meant"
        );
        sink.span(&ONE_FAMILY, span, words.help(help));
    }
}

/// What the rule would ask of a packet of that family, if its `!` were about both.
fn other_family(rule: &Rule, left: Family) -> Option<Criteria<'_>> {
    let criteria = Criteria::new(rule);
    let is_negated = |hosts: Hosts<'_>| matches!(hosts, Hosts::Span { not: true, .. });
    let open = |hosts| if is_negated(hosts) { Hosts::Any } else { hosts };
    let (from, to) = (open(criteria.from), open(criteria.to));
    let negated = is_negated(criteria.from) || is_negated(criteria.to);
    // An address without `!` beside it means its family.
    let only = !matches!(from, Hosts::Span { .. }) && !matches!(to, Hosts::Span { .. });
    let of_one = criteria.family.is_some_and(|family| family != left);
    (negated && only && of_one).then_some(Criteria { family: Some(left), from, to, ..criteria })
}

/// Whether a statement has `inet` or `inet6` written in it.
fn says_family(statement: &str) -> bool {
    statement.split_whitespace().any(|word| matches!(word, "inet" | "inet6"))
}
