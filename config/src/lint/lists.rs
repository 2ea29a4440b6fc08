//! `{ !a, !b }`: each item of a list is a rule of its own, and together they match everything.

use std::collections::HashMap;

use super::criteria::{Criteria, Hosts, On, PortSet};
use super::subject::Subject;
use super::{Family, Lint, Sink, Words};
use crate::rules::{Ports, Rule};
use crate::source::Span;

const NEGATED_LIST: Lint = Lint {
    name: "negated-list",
    summary: "a list with `!` in it matches more than it seems to",
    explanation: "\
A list stands for one rule an item. A packet matches if it matches any of them, so an address that
one `!` leaves out is let in by the next item.

    block in on wan from { !192.0.2.0/24, !198.51.100.0/24 }     # blocks everything

blocks 192.0.2.1 as well, since that is not in 198.51.100.0/24. What was meant is a table, which is
asked once:

    table <partners> const { 192.0.2.0/24, 198.51.100.0/24 }
    block in on wan from ! <partners>

The same holds for `port { != 80, != 443 }` and `on { ! lan, ! wan }`.",
};

pub(super) const FAMILY: Family = Family { lints: &[NEGATED_LIST], check };

/// The parts of a rule that can be a list with `!` in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Interface,
    From,
    To,
    FromPort,
    ToPort,
}

impl Part {
    const ALL: [Self; 5] = [Self::Interface, Self::From, Self::To, Self::FromPort, Self::ToPort];

    fn is_negated(self, rule: &Rule) -> bool {
        let port = |ports| matches!(ports, Some(Ports::NotEqual(_) | Ports::Outside(..)));
        match self {
            Self::Interface => rule.interface.as_ref().is_some_and(|on| on.not),
            Self::From => rule.from.not,
            Self::To => rule.to.not,
            Self::FromPort => port(rule.from.port),
            Self::ToPort => port(rule.to.port),
        }
    }

    /// The criteria without this part, by which the items of one list find each other.
    fn without<'r>(self, criteria: &Criteria<'r>) -> Criteria<'r> {
        let mut rest = *criteria;
        match self {
            Self::Interface => rest.interface = None,
            Self::From => rest.from = Hosts::Any,
            Self::To => rest.to = Hosts::Any,
            Self::FromPort => rest.from_port = None,
            Self::ToPort => rest.to_port = None,
        }
        rest
    }
}

fn check(subject: &Subject<'_>, sink: &mut Sink<'_>) {
    for scope in subject.scopes() {
        let mut start = 0;
        while let Some(first) = scope.rules.get(start) {
            let rest = &scope.rules[start..];
            let count = rest.iter().take_while(|rule| rule.source == first.source).count();
            start += count;
            if count < 2 {
                continue;
            }
            for part in Part::ALL {
                if !rest[..count].iter().any(|rule| part.is_negated(rule)) {
                    continue;
                }
                if let Some(message) = trap(part, &rest[..count]) {
                    let words = Words::new(
                        message,
                        "each item is a rule of its own: what one `!` leaves out, another item \
                         lets in",
                    );
                    let words = match part {
                        Part::From | Part::To => words.help(
                            "put the addresses into a table and ask `! <table>`, or write a `quick` \
                             rule for the exceptions before this one",
                        ),
                        _ => words.help("write a `quick` rule for the exceptions before this one"),
                    };
                    sink.span(&NEGATED_LIST, place(subject, subject.span(first.source)), words);
                    break;
                }
            }
        }
    }
}

/// The list itself, if the statement has only one with `!` in it.
fn place(subject: &Subject<'_>, statement: Span) -> Span {
    let lists = &subject.notes.negated_lists;
    let at = |span: &Span| (span.file, span.start);
    let from = lists.partition_point(|list| at(&list.span) < at(&statement));
    let mut inside = lists[from..]
        .iter()
        .take_while(|list| list.span.file == statement.file && list.span.start < statement.end);
    match (inside.next(), inside.next()) {
        (Some(only), None) => only.span,
        _ => statement,
    }
}

/// What the list matches although it should not.
fn trap(part: Part, rules: &[Rule]) -> Option<String> {
    let mut lists: HashMap<Criteria<'_>, List<'_>> = HashMap::new();
    for rule in rules {
        let criteria = Criteria::new(rule);
        lists.entry(part.without(&criteria)).or_default().add(part, &criteria);
    }
    let mut traps: Vec<String> = lists.values().filter_map(List::trap).collect();
    traps.sort_unstable();
    traps.into_iter().next()
}

/// One list, its items taken together.
#[derive(Default)]
struct List<'r> {
    /// The first of the items with `!`.
    negated: Option<Hosts<'r>>,
    /// A second one, other than the first.
    another: bool,
    /// Items without `!`, as many as are looked at.
    plain: Vec<Hosts<'r>>,
    ports: Vec<PortSet>,
    not_on: Vec<On<'r>>,
}

/// How many items of a list are compared.
const COMPARED: usize = 1000;

impl<'r> List<'r> {
    fn add(&mut self, part: Part, criteria: &Criteria<'r>) {
        match part {
            Part::Interface => {
                if let Some(on) = criteria.interface.filter(|on| on.not)
                    && !self.not_on.contains(&on)
                    && self.not_on.len() < 2
                {
                    self.not_on.push(on);
                }
            }
            Part::From => self.add_hosts(criteria.from),
            Part::To => self.add_hosts(criteria.to),
            Part::FromPort | Part::ToPort => {
                let ports =
                    if part == Part::FromPort { criteria.from_port } else { criteria.to_port };
                if self.ports.len() < COMPARED {
                    self.ports.extend(ports);
                }
            }
        }
    }

    fn add_hosts(&mut self, hosts: Hosts<'r>) {
        let not = matches!(hosts, Hosts::Span { not: true, .. } | Hosts::Table { not: true, .. });
        if !not {
            if self.plain.len() < COMPARED {
                self.plain.push(hosts);
            }
            return;
        }
        match self.negated {
            None => self.negated = Some(hosts),
            Some(first) => self.another |= first != hosts,
        }
    }

    fn trap(&self) -> Option<String> {
        if self.not_on.len() > 1 {
            return Some("the list holds on every port".to_owned());
        }
        if self.ports.len() > 1 && PortSet::are_all(&self.ports) {
            return Some("the list matches every port number".to_owned());
        }
        if self.another {
            return Some("the list matches the addresses that it should leave out".to_owned());
        }
        let negated = self.negated?;
        // `{ !10/8, 10.1/16 }` says what it means; the others do not.
        let undoes = |plain: &Hosts<'_>| plain.covers(inverted(negated));
        let idle = |plain: &Hosts<'_>| negated.covers(*plain);
        if self.plain.iter().any(undoes) {
            Some("the list matches every address: another item takes the `!` back".to_owned())
        } else if self.plain.iter().any(idle) {
            Some("an item of the list adds nothing to the one with the `!`".to_owned())
        } else {
            None
        }
    }
}

/// What a `!` leaves out.
fn inverted(hosts: Hosts<'_>) -> Hosts<'_> {
    match hosts {
        Hosts::Span { not, first, last } => Hosts::Span { not: !not, first, last },
        Hosts::Table { not, name } => Hosts::Table { not: !not, name },
        other => other,
    }
}
