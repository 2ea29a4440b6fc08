//! What the rule set as a whole says: its default, and the two halves of every way.
//!
//! A packet is judged arriving on one port and leaving by the other; it passes if neither blocks it
//! and at least one passes it.

use super::baseline::Baseline;
use super::criteria::Criteria;
use super::index::Budget;
use super::subject::{Side, Subject};
use super::{Family as Group, Lint, Sink, Words};
use crate::names::ICMP6;
use crate::rules::{Action, Direction, Family, Rule, Source};

const NO_DEFAULT: Lint = Lint {
    name: "no-default-block",
    summary: "no rule says what becomes of packets that no other rule speaks about",
    explanation: "\
A packet that no rule speaks about is blocked by weir, but silently: nothing is logged, no `return` is
sent. (pf would pass it.)

    pass in on lan
    pass in on wan proto tcp to any port ssh

And if the last word is a broad `pass`, everything passes that no other rule thinks of. A policy is
easiest to trust if its first rule blocks everything and the others say what may pass: begin with
`block in log`.",
};

const BARE_PASS_OUT: Lint = Lint {
    name: "bare-pass-out",
    summary: "`pass out` without `on` lets in what arrives from wan as well",
    explanation: "\
On a host `pass out` means what the host itself sends. On a bridge every packet that crosses leaves
by some port: what comes from wan leaves by lan. A packet passes if neither half blocks it and one
passes it, so where no rule blocks what arrives on wan, this is enough to let it in.

    pass in on lan
    pass out                   # opens wan to lan too

Write `pass out on wan`, or begin with `block in`.",
};

const ONE_SIDED: Lint = Lint {
    name: "one-sided",
    summary: "what a rule passes on one port is always blocked on the other",
    explanation: "\
A packet is judged twice: arriving (`in on` its port) and leaving (`out on` the other). A block in
either stops it. A rule set that blocks both halves by default must pass both.

    block all
    pass in on lan proto tcp to any port https      # blocked leaving by wan

Let the default speak about arriving packets only (`block in`), or pass the other half too
(`pass out on wan proto tcp to any port https`).",
};

const IPV4_ONLY: Lint = Lint {
    name: "ipv4-only",
    summary: "every pass rule is for IPv4, and no rule mentions IPv6",
    explanation: "\
Addresses in a rule make it a rule for their family. If all pass rules are for IPv4, IPv6 is decided
by the default alone, perhaps without anybody having thought of it.

    block in log
    pass in on lan from 192.0.2.0/24

Say what should become of it: `block in log quick inet6`, or rules with the IPv6 prefixes. If the
network has no IPv6, `# lint: allow-file ipv4-only` says so.",
};

const IPV6_OPEN: Lint = Lint {
    name: "ipv6-open",
    summary: "IPv4 is blocked by default, IPv6 passes",
    explanation: "\
The default block is for IPv4 only, and a broad pass rule lets all of IPv6 through.

    pass
    block in on wan inet

Leave `inet` out of the block.",
};

const SKIPS_ALL: Lint = Lint {
    name: "skips-everything",
    summary: "`set skip on` both ports: nothing is filtered",
    explanation: "\
A port with `set skip` abstains. If both do, every packet crosses the bridge unjudged, whatever the
rules say.

    set skip on { lan wan }",
};

const ICMP6_BLOCKED: Lint = Lint {
    name: "icmp6-blocked",
    summary: "all ICMPv6 is blocked, router advertisements among it",
    explanation: "\
Neighbour solicitations and advertisements always pass, and ICMP errors that belong to a connection
pass with its state, so path MTU discovery works. But router solicitations and advertisements (RFC
4861) follow the rules: without them the hosts find no router and have no address.

    block in quick inet6 proto icmp6

    pass in quick on lan inet6 proto icmp6 icmp6-type routersol no state
    pass in quick on wan inet6 proto icmp6 icmp6-type routeradv no state    # before the block",
};

pub(super) const FAMILY: Group = Group {
    lints: &[NO_DEFAULT, BARE_PASS_OUT, ONE_SIDED, IPV4_ONLY, IPV6_OPEN, SKIPS_ALL, ICMP6_BLOCKED],
    check,
};

const FAMILIES: [Family; 2] = [Family::Inet, Family::Inet6];

/// What the search for the other halves may cost: a unit is a comparison.
const UNITS: u64 = 20_000_000;

fn check(subject: &Subject<'_>, sink: &mut Sink<'_>) {
    let skips = |side| {
        subject.rules.options.skip.iter().any(|name| subject.ports.is(name, side) == Some(true))
    };
    if Side::BOTH.into_iter().all(skips) {
        let words = Words::new(
            "`set skip` holds for both ports: every packet passes unjudged",
            "no rule has an effect while both abstain",
        );
        let source = subject.rules.options.sources.get("skip");
        sink.at(&SKIPS_ALL, source.unwrap_or(Source { file: 0, line: 1 }), words);
        return;
    }
    let halves = Halves::new(subject, skips);
    let wan_opens = bare_pass_out(subject, &halves, sink);
    if !wan_opens {
        default(subject, &halves, sink);
    }
    one_sided(subject, &halves, sink);
    icmp6(subject, sink);
}

/// The defaults of all halves of all ways.
struct Halves<'r>(Vec<((Direction, Side, Family), Baseline<'r>)>);

impl<'r> Halves<'r> {
    fn new(subject: &Subject<'r>, skips: impl Fn(Side) -> bool) -> Self {
        let mut all = Vec::new();
        for direction in [Direction::In, Direction::Out] {
            for side in Side::BOTH {
                for family in FAMILIES {
                    let baseline = if skips(side) {
                        Baseline { rule: None, is_certain: true }
                    } else {
                        Baseline::of(subject, direction, side, family)
                    };
                    all.push(((direction, side, family), baseline));
                }
            }
        }
        Self(all)
    }

    fn get(&self, direction: Direction, side: Side, family: Family) -> Baseline<'r> {
        let found = self.0.iter().find(|(at, _)| *at == (direction, side, family));
        found.map_or(Baseline { rule: None, is_certain: false }, |(_, baseline)| *baseline)
    }

    /// What becomes of packets that arrive on that side and no particular rule speaks about.
    fn way(&self, from: Side, family: Family) -> Way<'r> {
        let arriving = self.get(Direction::In, from, family);
        let leaving = self.get(Direction::Out, from.other(), family);
        if !(arriving.is_certain && leaving.is_certain) {
            return Way::Unknown;
        }
        if let Some(rule) = arriving.block().or(leaving.block()) {
            return Way::Blocked(rule);
        }
        match arriving.pass().or(leaving.pass()) {
            Some(rule) => Way::Passes(rule),
            None => Way::Unspoken,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way<'r> {
    Blocked(&'r Rule),
    Passes(&'r Rule),
    Unspoken,
    Unknown,
}

fn default(subject: &Subject<'_>, halves: &Halves<'_>, sink: &mut Sink<'_>) {
    let Some(first) = subject.rules.rules.first() else { return };
    let ways: Vec<_> = Side::BOTH
        .into_iter()
        .flat_map(|from| FAMILIES.map(|family| (from, family, halves.way(from, family))))
        .collect();
    if ways.iter().any(|(_, _, way)| *way == Way::Unknown) {
        return;
    }
    let unspoken: Vec<_> = ways.iter().filter(|(_, _, way)| *way == Way::Unspoken).collect();
    if !unspoken.is_empty() {
        let both = |from: Side| {
            unspoken.iter().filter(|(unspoken, ..)| *unspoken == from).count() == FAMILIES.len()
        };
        let mut names: Vec<String> = Vec::new();
        for from in Side::BOTH.into_iter().filter(|&from| both(from)) {
            names.push(format!("from {} to {}", from.name(), from.other().name()));
        }
        for (from, family, _) in unspoken.iter().filter(|(from, ..)| !both(*from)) {
            let version = if *family == Family::Inet { "IPv4" } else { "IPv6" };
            names.push(format!("{version} from {} to {}", from.name(), from.other().name()));
        }
        let words = Words::new(
            format!("no rule says what becomes of other packets {}", names.join(" and ")),
            "weir blocks what no rule speaks about, without a log line and without an answer (pf \
             would pass it)",
        );
        sink.at(&NO_DEFAULT, first.source, words.help("begin with `block in log`"));
        return;
    }
    if let Way::Passes(rule) = halves.way(Side::Wan, Family::Inet) {
        let words = Words::new(
            "everything from wan to lan passes that no other rule blocks",
            "the last word on packets that no particular rule speaks about is this `pass`",
        );
        let words = words.help("begin with `block in log`, and pass what is wanted");
        sink.at(&NO_DEFAULT, rule.source, words);
    } else if let (Way::Blocked(block), Way::Passes(rule)) =
        (halves.way(Side::Wan, Family::Inet), halves.way(Side::Wan, Family::Inet6))
    {
        let words = Words::new(
            "all of IPv6 passes from wan to lan, although IPv4 is blocked by default",
            format!("{} is for IPv4 only", subject.quote(block)),
        );
        sink.at(&IPV6_OPEN, rule.source, words.help("leave `inet` out of the block"));
    } else {
        ipv4_only(subject, halves, sink);
    }
}

fn ipv4_only(subject: &Subject<'_>, halves: &Halves<'_>, sink: &mut Sink<'_>) {
    let mut first = None;
    for rule in subject.all_rules() {
        let family = Criteria::new(rule).family;
        if family == Some(Family::Inet6) || rule.action == Action::Pass && family.is_none() {
            return;
        }
        if rule.action == Action::Pass && first.is_none() {
            first = Some(rule);
        }
    }
    let Some(first) = first.filter(|_| !subject.is_open) else { return };
    let decided = match halves.way(Side::Lan, Family::Inet6) {
        Way::Blocked(rule) => format!("IPv6 is decided by {}", subject.quote(rule)),
        _ => "IPv6 is decided by no rule".to_owned(),
    };
    let words = Words::new(
        "every pass rule is for IPv4, and no rule mentions IPv6",
        format!("{decided}: all of it is blocked, except neighbour discovery"),
    );
    let help = "say so with `block in log inet6`, or add rules for IPv6";
    sink.at(&IPV4_ONLY, first.source, words.help(help));
}

/// Whether one was found.
fn bare_pass_out(subject: &Subject<'_>, halves: &Halves<'_>, sink: &mut Sink<'_>) -> bool {
    let is_open = FAMILIES.into_iter().any(|family| {
        let arriving = halves.get(Direction::In, Side::Wan, family);
        let leaving = halves.get(Direction::Out, Side::Lan, family);
        let unspoken = arriving.is_certain && arriving.rule.is_none();
        unspoken && leaving.is_certain && leaving.block().is_none()
    });
    // Of IPv4 alone or IPv6 alone it would be told wrongly.
    if !is_open {
        return false;
    }
    let mut last = None;
    for rule in &subject.rules.rules {
        let bare = rule.action == Action::Pass
            && rule.direction == Some(Direction::Out)
            && rule.interface.is_none()
            && rule.received_on.is_none()
            && rule.tagged.is_none();
        if !bare || last == Some(rule.source) {
            continue;
        }
        last = Some(rule.source);
        let words = Words::new(
            "`pass out` without `on` also lets in what arrives on wan",
            "on a bridge what comes from wan leaves by lan, and no rule blocks it when it arrives",
        );
        let help = "write `pass out on wan`, or block what arrives first: `block in`";
        sink.at(&BARE_PASS_OUT, rule.source, words.help(help));
    }
    last.is_some()
}

/// Half of a packet's way.
type Half = (Direction, Side);

const fn other_half((direction, side): Half) -> Half {
    match direction {
        Direction::In => (Direction::Out, side.other()),
        Direction::Out => (Direction::In, side.other()),
    }
}

const HALVES: [Half; 4] = [
    (Direction::In, Side::Lan),
    (Direction::In, Side::Wan),
    (Direction::Out, Side::Lan),
    (Direction::Out, Side::Wan),
];

/// Whether a rule may hold there; `None` if that is not known.
fn holds(subject: &Subject<'_>, criteria: &Criteria<'_>, (direction, side): Half) -> Option<bool> {
    if criteria.direction.is_some_and(|written| written != direction) {
        return Some(false);
    }
    subject.ports.holds(criteria.interface, side)
}

fn one_sided(subject: &Subject<'_>, halves: &Halves<'_>, sink: &mut Sink<'_>) {
    let mut budget = Budget::new(UNITS);
    let rules = &subject.rules.rules;
    // For each half the rules that may pass something there.
    let passing = HALVES.map(|half| {
        let may_pass = |rule: &&Rule| {
            matches!(rule.action, Action::Pass | Action::Anchor(_))
                && holds(subject, &Criteria::new(rule), half) != Some(false)
        };
        rules.iter().filter(may_pass).collect::<Vec<_>>()
    });
    let passing = |half: Half| {
        let at = HALVES.iter().position(|&known| known == half);
        at.map_or(&[][..], |at| &*passing[at])
    };
    let mut start = 0;
    while let Some(first) = rules.get(start) {
        let count = rules[start..].iter().take_while(|rule| rule.source == first.source).count();
        let part = &rules[start..start + count];
        start += count;
        if first.action != Action::Pass {
            continue;
        }
        // Of a list, one item that gets through is enough.
        let mut found = None;
        for rule in part {
            found = blocked_beyond(subject, halves, rule, passing, &mut budget);
            if found.is_none() {
                break;
            }
        }
        if budget.is_spent() {
            sink.unchecked("the rules are too many to look for each one's other half");
            return;
        }
        let Some(((direction, side), block)) = found else { continue };
        let other = match direction {
            Direction::In => format!("arrives on {}", side.name()),
            Direction::Out => format!("leaves by {}", side.name()),
        };
        let words = Words::new(
            format!("what this rule passes is always blocked where it {other}"),
            format!(
                "a packet is judged arriving and leaving; {} has the last word on what {other}, and \
                 no pass rule speaks about these packets there",
                subject.quote(block)
            ),
        );
        let word = if direction == Direction::In { "in" } else { "out" };
        let help = format!(
            "add the rule `pass {word} on {} ...`, or block by default in one direction only: \
             `block in`",
            side.name()
        );
        sink.at(&ONE_SIDED, first.source, words.help(help));
    }
}

/// The half on which everything that the rule passes is blocked, and the rule that blocks it.
fn blocked_beyond<'r>(
    subject: &Subject<'r>,
    halves: &Halves<'r>,
    rule: &'r Rule,
    passing: impl Fn(Half) -> &'r [&'r Rule],
    budget: &mut Budget,
) -> Option<(Half, &'r Rule)> {
    let criteria = Criteria::new(rule);
    let mut blocked = None;
    for half in HALVES {
        if !holds(subject, &criteria, half)? {
            continue;
        }
        let other = other_half(half);
        for family in FAMILIES {
            if criteria.family.is_some_and(|written| written != family) {
                continue;
            }
            let baseline = halves.get(other.0, other.1, family);
            let block = baseline.block().filter(|_| baseline.is_certain)?;
            for passing in passing(other) {
                if !budget.spend(1) || !Criteria::new(passing).disjoint(&criteria) {
                    return None;
                }
            }
            blocked = blocked.or(Some((other, block)));
        }
    }
    blocked
}

fn icmp6(subject: &Subject<'_>, sink: &mut Sink<'_>) {
    let all_of_it = |rule: &Rule| {
        let criteria = Criteria::new(rule);
        criteria.protocol == Some(ICMP6)
            && criteria.icmp.is_none()
            && Criteria { protocol: None, ..criteria }.is_broad()
    };
    let passes_some =
        |rule: &Rule| rule.action == Action::Pass && matches!(rule.protocol, Some(ICMP6));
    let blocks = |rule: &&Rule| matches!(rule.action, Action::Block(_)) && all_of_it(rule);
    let Some(rule) = subject.rules.rules.iter().find(blocks) else { return };
    if subject.is_open || subject.all_rules().any(passes_some) {
        return;
    }
    let words = Words::new(
        "this blocks router advertisements: hosts that configure themselves find no IPv6 router",
        "neighbour discovery passes by itself and errors pass with the state that they belong to, \
         but routersol and routeradv follow the rules",
    );
    let help = "pass routersol from lan and routeradv from wan, `no state`";
    sink.at(&ICMP6_BLOCKED, rule.source, words.help(help));
}
