//! Rules that no packet can match.

use std::collections::HashSet;

use super::criteria::{Criteria, FlagSet, PortSet};
use super::subject::{Scope, Side, Subject};
use super::{Family as Group, Lint, Sink, Words};
use crate::names::TCP;
use crate::rules::{Action, Address, Direction, Endpoint, Family, Rule};
use crate::tables::Table;

const NOTHING: Lint = Lint {
    name: "matches-nothing",
    summary: "no packet can match the rule",
    explanation: "\
What the rule asks for cannot occur: a port range with nothing in it, a port that the bridge does not
have, a tag that no rule gives, a table that is empty and stays so, TCP flags that no host sends, a
packet that leaves by the port it came in on.

    pass in on wan proto tcp to any port 80 >< 81    # above 80 and below 81
    block in on lan tagged GUEST                     # and no rule says `tag GUEST`

Correct the criterion, or remove the rule.",
};

const NOT_A_PORT: Lint = Lint {
    name: "unknown-interface",
    summary: "`on` names something that is no port of the bridge",
    explanation: "\
A bridge has the ports `lan` and `wan`; an interface name stands for the port that has it. A rule for
another name never matches (with `!` it always does), and pf's grammar allows any name, so a slip of
the finger is no error.

    block in on lna          # did you mean lan?

Which interfaces are the ports is read from the settings file, or given by --lan and --wan.",
};

pub(super) const FAMILY: Group = Group { lints: &[NOTHING, NOT_A_PORT], check };

fn check(subject: &Subject<'_>, sink: &mut Sink<'_>) {
    let given: HashSet<&str> = subject
        .all_rules()
        .filter_map(|rule| rule.tag.as_deref())
        .chain(subject.rules.ether.iter().filter_map(|rule| rule.tag.as_deref()))
        .collect();
    for scope in subject.scopes() {
        let mut start = 0;
        while let Some(first) = scope.rules.get(start) {
            let same = |rule: &&Rule| rule.source == first.source;
            let part = &scope.rules[start..];
            let part = &part[..part.iter().take_while(same).count()];
            start += part.len();
            interfaces(subject, part, sink);
            // Of a list, one item that can match is enough.
            let why: Option<Vec<String>> =
                part.iter().map(|rule| impossible(subject, &scope, rule, &given)).collect();
            if let Some(why) = why.as_deref().and_then(<[String]>::first) {
                let what = match first.action {
                    Action::Anchor(_) => "no packet can reach this anchor",
                    _ => "no packet can match this rule",
                };
                sink.at(&NOTHING, first.source, Words::new(what, why.clone()));
            }
        }
    }
}

/// Names that no port has.
fn interfaces(subject: &Subject<'_>, part: &[Rule], sink: &mut Sink<'_>) {
    let mut told: Vec<&str> = Vec::new();
    for rule in part {
        for on in [&rule.interface, &rule.received_on].into_iter().flatten() {
            if told.contains(&&*on.name) {
                continue;
            }
            told.push(&on.name);
            if let Some(words) = interface(subject, &on.name, on.not) {
                sink.at(&NOT_A_PORT, rule.source, words);
            }
        }
        if told.len() > 16 {
            return;
        }
    }
}

fn interface(subject: &Subject<'_>, name: &str, not: bool) -> Option<Words> {
    let effect = if not { "the rule holds on every port" } else { "the rule never matches" };
    let near = Side::BOTH.into_iter().map(Side::name).find(|role| is_slip(name, role));
    let is_known_port = !subject.ports.is_none(name)
        && (Side::BOTH.iter().any(|&side| subject.ports.is(name, side) == Some(true))
            || subject.ports.others.iter().any(|other| other == name));
    if is_known_port || near.is_none() && !subject.ports.is_none(name) {
        return None;
    }
    let words = Words::new(
        format!("`{name}` is no port of this bridge"),
        format!("its ports are `lan` and `wan` and the interfaces that have these roles: {effect}"),
    );
    Some(match near {
        Some(role) => words.help(format!("did you mean `{role}`?")),
        None => words,
    })
}

/// The letters of a role in another order or case.
fn is_slip(name: &str, role: &str) -> bool {
    let letters = |text: &str| {
        let mut letters: Vec<u8> = text.bytes().map(|byte| byte.to_ascii_lowercase()).collect();
        letters.sort_unstable();
        letters
    };
    name != role && name.len() == role.len() && letters(name) == letters(role)
}

/// Why a rule matches nothing, if so.
fn impossible(
    subject: &Subject<'_>,
    scope: &Scope<'_>,
    rule: &Rule,
    given: &HashSet<&str>,
) -> Option<String> {
    let criteria = Criteria::new(rule);
    ports(rule)
        .or_else(|| way(subject, &criteria))
        .or_else(|| flags(rule))
        .or_else(|| fragment(rule))
        .or_else(|| table(subject, scope, rule, &rule.from))
        .or_else(|| table(subject, scope, rule, &rule.to))
        .or_else(|| tag(subject, rule, given))
}

fn ports(rule: &Rule) -> Option<String> {
    let written = [rule.from.port, rule.to.port].into_iter().flatten();
    let empty = written.into_iter().find(|&ports| PortSet::new(ports).is_empty())?;
    Some(format!("there is no port `{}`", empty.to_string().trim()))
}

/// `received-on` against `on`: what leaves came in by the other port.
fn way(subject: &Subject<'_>, criteria: &Criteria<'_>) -> Option<String> {
    let (on, received) = (criteria.interface?, criteria.received_on?);
    let both = |on_side: Side, received_side: Side| {
        subject.ports.holds(Some(on), on_side) != Some(false)
            && subject.ports.holds(Some(received), received_side) != Some(false)
    };
    let arriving = Side::BOTH.into_iter().any(|side| both(side, side));
    let leaving = Side::BOTH.into_iter().any(|side| both(side, side.other()));
    match criteria.direction {
        Some(Direction::In) if !arriving => {
            Some("a packet that arrives on a port was received on that port".to_owned())
        }
        Some(Direction::Out) if !leaving && subject.ports.others.is_empty() => {
            Some("a packet leaves by the other port than the one it was received on".to_owned())
        }
        None if !arriving && !leaving => {
            Some("no packet is both on and received on these ports".to_owned())
        }
        _ => None,
    }
}

fn flags(rule: &Rule) -> Option<String> {
    let flags = rule.flags.filter(|flags| flags.of != 0)?;
    let only_tcp = rule.protocol == Some(TCP);
    (only_tcp && FlagSet::new(flags).is_empty()).then(|| {
        format!(
            "no host sends TCP packets with `flags {flags}`; weir drops them as malformed before \
             it asks the rules"
        )
    })
}

fn fragment(rule: &Rule) -> Option<String> {
    let ports = rule.from.port.is_some() || rule.to.port.is_some();
    (rule.fragment && (ports || rule.icmp.is_some())).then(|| {
        let what = if ports { "ports" } else { "an ICMP type" };
        format!("only the first fragment of a datagram has {what}, and it is judged reassembled")
    })
}

/// A table that is empty for ever, or holds the wrong family only.
fn table(subject: &Subject<'_>, scope: &Scope<'_>, rule: &Rule, end: &Endpoint) -> Option<String> {
    let Address::Table(name) = &end.address else { return None };
    let table: &Table = subject.table(scope.path, name).filter(|table| table.constant)?;
    if end.not {
        return None;
    }
    let place = subject.name(table.source);
    let mut entries = table.entries.iter().flatten().filter(|entry| !entry.not).peekable();
    if entries.peek().is_none() {
        return Some(format!("table <{name}> is `const` and has no entries ({place})"));
    }
    let family = rule.family?;
    let fits = |inet: bool| inet == (family == Family::Inet);
    entries
        .all(|entry| !fits(entry.net.addr().is_ipv4()))
        .then(|| format!("table <{name}> is `const` and has no {family} entries ({place})"))
}

fn tag(subject: &Subject<'_>, rule: &Rule, given: &HashSet<&str>) -> Option<String> {
    let tagged = rule.tagged.as_ref().filter(|tagged| !tagged.not)?;
    let unknown = !subject.is_open && !given.contains(&*tagged.tag);
    unknown.then(|| format!("no rule gives a packet the tag `{}`", tagged.tag))
}
