//! The whole language against pf.conf(5) read literally: random rule sets with anchors, `match`,
//! tags, tables and every criterion, random packets, and an evaluator that recurses through the
//! model as the manual describes it and knows nothing of steps, ranks and classifiers.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use weir_config::rules::{
    Action, Address, Anchor, AnchorCall, Direction, Endpoint, Family, Flags, Interface, KeepState,
    Ports, Return, Rule, RuleSet, Tagged,
};
use weir_config::tables::{Table, TableEntry};
use weir_engine::frame::Owned;
use weir_engine::packet::{Packet, build};
use weir_engine::table::Tables;
use weir_engine::{Checksum, Engine, Meta, Outcome, PortIndex, Program, Verdict};

use crate::bridge::{Bridge, LAN, WAN, compile, ports};
use crate::random::Random;

const HOSTS: [&str; 6] =
    ["192.0.2.1", "192.0.2.200", "198.51.100.7", "2001:db8::1", "2001:db8::ffff", "fe80::7"];
const NETS: [&str; 6] = [
    "192.0.2.0/24",
    "192.0.2.128/25",
    "198.51.100.7/32",
    "2001:db8::/64",
    "2001:db8::1/128",
    "fe80::/10",
];
const PORTS: [u16; 4] = [22, 80, 81, 40_000];
const TAGS: [&str; 3] = ["red", "green", "blue"];
const TABLES: [&str; 3] = ["t", "u", "none"];
/// What an anchor may hold, and what it may call.
const ANCHORS: [&str; 5] = ["a", "a/b", "a/c", "a/b/d", "e"];

fn net(random: &mut Random) -> ipnet::IpNet {
    random.one_of(&NETS).parse().expect("a prefix")
}

fn endpoint(random: &mut Random, ported: bool) -> Endpoint {
    let address = match random.below(8) {
        0..4 => Address::Any,
        4 | 5 => Address::Prefix(net(random)),
        6 => {
            let (low, high) =
                random.one_of(&[("192.0.2.100", "198.51.100.7"), ("2001:db8::", "fe80::7")]);
            Address::Range(low.parse().expect("an address"), high.parse().expect("an address"))
        }
        _ => Address::Table(random.one_of(&TABLES).to_owned()),
    };
    let (a, b) = (random.one_of(&PORTS), random.one_of(&PORTS));
    let port = (ported && random.below(2) == 0).then(|| match random.below(4) {
        0 | 1 => Ports::Equal(a),
        2 => Ports::NotEqual(a),
        _ => Ports::Outside(a.min(b), a.max(b)),
    });
    Endpoint { not: address != Address::Any && random.below(4) == 0, address, port, os: None }
}

fn family(end: &Endpoint) -> Option<Family> {
    let ip = match &end.address {
        Address::Prefix(net) => net.addr(),
        Address::Range(low, _) => *low,
        _ => return None,
    };
    Some(if ip.is_ipv4() { Family::Inet } else { Family::Inet6 })
}

/// A rule of the main rule set (`path` empty) or an anchor, which may call anchors below it.
fn rule(random: &mut Random, path: &str) -> Rule {
    let below = |name: &&str| name.strip_prefix(path).is_some_and(|rest| !rest.is_empty());
    let callable: Vec<&str> = ANCHORS.into_iter().filter(below).collect();
    let action = match random.below(8) {
        0..2 => Action::Pass,
        2..5 => Action::Block(Return::Drop),
        5 => Action::Match,
        _ if callable.is_empty() => Action::Pass,
        _ => {
            let wildcard = random.below(4) == 0;
            let path = if wildcard { path } else { random.one_of(&callable) }.to_owned();
            let written = path.clone();
            Action::Anchor(Box::new(AnchorCall { written, path, wildcard, inline: false }))
        }
    };
    let protocol = random.one_of(&[None, None, Some(6), Some(17)]);
    let (from, to) = (endpoint(random, protocol.is_some()), endpoint(random, protocol.is_some()));
    let stateful = action == Action::Pass && random.below(2) == 0;
    let tag = |random: &mut Random| random.one_of(&TAGS).to_owned();
    Rule {
        direction: random.one_of(&[None, Some(Direction::In), Some(Direction::Out)]),
        quick: random.below(6) == 0,
        interface: (random.below(3) == 0).then(|| {
            let not = random.below(3) == 0;
            let name = random.one_of(&["lan", "wan", "eth1", "eth7"]).to_owned();
            Arc::new(Interface { not, name })
        }),
        received_on: (random.below(10) == 0)
            .then(|| Arc::new(Interface { not: false, name: "lan".to_owned() })),
        // The parser refuses pairs of different families; here they match nothing.
        family: family(&from).or(family(&to)),
        protocol,
        flags: (protocol != Some(17) && random.below(3) == 0)
            .then(|| random.one_of(&[Flags { set: 2, of: 0x12 }, Flags { set: 0x10, of: 0x10 }])),
        state: if stateful { KeepState::Keep } else { KeepState::No },
        tos: (random.below(12) == 0).then_some(0x10),
        tag: (random.below(6) == 0).then(|| tag(random)),
        tagged: (random.below(6) == 0)
            .then(|| Arc::new(Tagged { not: random.below(2) == 0, tag: tag(random) })),
        action,
        from,
        to,
        ..Rule::default()
    }
}

fn tables(random: &mut Random) -> Vec<Table> {
    TABLES[..2]
        .iter()
        .filter(|_| random.below(3) > 0)
        .collect::<Vec<_>>()
        .into_iter()
        .map(|name| Table {
            name: (*name).to_owned(),
            entries: Some(
                (0..random.below(4))
                    .map(|_| TableEntry {
                        not: random.below(3) == 0,
                        net: net(random),
                        timeout: None,
                    })
                    .collect(),
            ),
            ..Table::default()
        })
        .collect()
}

fn set(random: &mut Random) -> RuleSet {
    let mut anchors = BTreeMap::new();
    for path in ANCHORS {
        if random.below(4) > 0 {
            let rules = (0..random.below(4)).map(|_| rule(random, path)).collect();
            anchors.insert(path.to_owned(), Anchor { tables: tables(random), rules });
        }
    }
    let rules = (0..=random.below(10)).map(|_| rule(random, "")).collect();
    RuleSet { tables: tables(random), rules, anchors, ..RuleSet::default() }
}

/// A packet as the manual speaks of it.
struct Seen {
    source: IpAddr,
    destination: IpAddr,
    ports: [u16; 2],
    protocol: u8,
    flags: u8,
    tos: u8,
}

fn packet(random: &mut Random) -> (Seen, Vec<u8>) {
    let of = if random.below(2) == 0 { &HOSTS[..3] } else { &HOSTS[3..] };
    let mut host = || random.one_of(of).parse::<IpAddr>().expect("an address");
    let (source, destination) = (host(), host());
    let ports = [random.one_of(&PORTS), random.one_of(&PORTS)];
    let (from, to) = ((source, ports[0]), (destination, ports[1]));
    let flags = random.one_of(&[2, 2, 0x10, 0x11]);
    let tos = random.one_of(&[0, 0, 0x10]);
    let (protocol, built) = match random.below(5) {
        0..3 => (6, build::tcp(from, to, flags)),
        3 => (17, build::udp(from, to)),
        _ => (47, build::other(source, destination, 47)),
    };
    (Seen { source, destination, ports, protocol, flags, tos }, built.tos(tos).frame())
}

/// One evaluation as the manual tells it.
struct Reading<'a> {
    set: &'a RuleSet,
    seen: &'a Seen,
    here: [&'a str; 2],
    arrived: [&'a str; 2],
    direction: Direction,
    tag: Option<String>,
    /// Path of the anchor and number of the rule that decides so far.
    last: Option<(String, u32)>,
    asked: &'a mut HashMap<(String, u32), u64>,
}

impl Reading<'_> {
    /// `true`: the evaluation ends.
    fn ask(&mut self, path: &str) -> bool {
        let rules = if path.is_empty() {
            &self.set.rules
        } else if let Some(anchor) = self.set.anchors.get(path) {
            &anchor.rules
        } else {
            return false;
        };
        for (number, rule) in (0..).zip(rules) {
            *self.asked.entry((path.to_owned(), number)).or_default() += 1;
            if !self.matches(rule, path) {
                continue;
            }
            if let Some(tag) = &rule.tag {
                self.tag = Some(tag.clone());
            }
            if let Action::Anchor(call) = &rule.action {
                let before = self.last.take();
                let ended = self.called(call).iter().any(|path| self.ask(path));
                let decided = self.last.is_some();
                self.last = self.last.take().or(before);
                if ended || decided && rule.quick {
                    return true;
                }
                continue;
            }
            if rule.action != Action::Match {
                self.last = Some((path.to_owned(), number));
            }
            if rule.quick {
                return true;
            }
        }
        false
    }

    fn called(&self, call: &AnchorCall) -> Vec<String> {
        if !call.wildcard {
            return vec![call.path.clone()];
        }
        let depth = if call.path.is_empty() { 0 } else { call.path.split('/').count() };
        let inside = |path: &&String| {
            path.split('/').count() == depth + 1
                && (call.path.is_empty() || path.starts_with(&format!("{}/", call.path)))
        };
        self.set.anchors.keys().filter(inside).cloned().collect()
    }

    fn matches(&self, rule: &Rule, path: &str) -> bool {
        let seen = self.seen;
        let named = |on: &Option<Arc<Interface>>, port: [&str; 2]| {
            on.as_ref().is_none_or(|on| port.contains(&&*on.name) != on.not)
        };
        let flags =
            rule.flags.is_none_or(|Flags { set, of }| seen.protocol != 6 || seen.flags & of == set);
        let tagged = rule
            .tagged
            .as_ref()
            .is_none_or(|tagged| (self.tag.as_ref() == Some(&tagged.tag)) != tagged.not);
        rule.direction.is_none_or(|direction| direction == self.direction)
            && named(&rule.interface, self.here)
            && named(&rule.received_on, self.arrived)
            && rule.family.is_none_or(|family| (family == Family::Inet) == seen.source.is_ipv4())
            && rule.protocol.is_none_or(|protocol| protocol == seen.protocol)
            && self.holds(&rule.from, seen.source, seen.ports[0], path)
            && self.holds(&rule.to, seen.destination, seen.ports[1], path)
            && flags
            && rule.tos.is_none_or(|tos| tos == seen.tos)
            && tagged
    }

    fn holds(&self, end: &Endpoint, address: IpAddr, port: u16, path: &str) -> bool {
        let inside = match &end.address {
            Address::Any => true,
            Address::Prefix(net) => net.contains(&address),
            Address::Range(low, high) => {
                low.is_ipv4() == address.is_ipv4() && (*low..=*high).contains(&address)
            }
            Address::Table(name) => self.table(name, path).is_some_and(|table| {
                let entries = table.entries.iter().flatten();
                let longest = entries
                    .filter(|entry| entry.net.contains(&address))
                    .max_by_key(|entry| entry.net.prefix_len());
                longest.is_some_and(|entry| !entry.not)
            }),
            Address::UrpfFailed => unreachable!("not in these rule sets"),
        };
        inside != end.not && end.port.is_none_or(|ports| ports.matches(port))
    }

    fn table(&self, name: &str, path: &str) -> Option<&Table> {
        let parts: Vec<&str> = path.split('/').collect();
        for depth in (1..=parts.len()).rev() {
            let anchor = self.set.anchors.get(&parts[..depth].join("/"));
            let found = anchor.and_then(|anchor| anchor.tables.iter().find(|t| t.name == name));
            if found.is_some() {
                return found;
            }
        }
        self.set.tables.iter().find(|table| table.name == name)
    }
}

fn parsed(port: PortIndex, frame: &[u8]) -> Packet {
    let length = frame.len() as u32;
    let meta = Meta { port, checksum: Checksum::Unknown, gso_size: 0, length };
    Packet::parse(frame, &meta).expect("a whole packet")
}

fn place(program: &Program, rule: Option<u32>) -> Option<(String, u32)> {
    rule.map(|rule| program.place(rule)).map(|place| (place.anchor.to_owned(), place.number))
}

/// Two entries for one prefix, one with `!`, mean nothing: the second is refused in practice.
fn is_sensible(set: &RuleSet) -> bool {
    let tables = set.anchors.values().flat_map(|anchor| &anchor.tables).chain(&set.tables);
    tables.flat_map(|table| &table.entries).all(|entries| {
        entries.iter().all(|a| !entries.iter().any(|b| a.net == b.net && a.not != b.not))
    })
}

#[test]
fn anchors_matches_tags_and_tables_mean_what_the_manual_says() {
    let mut random = Random(7);
    let (mut passed, mut blocked, mut in_anchors, mut tagged) = (0, 0, 0, 0);
    let mut bridge = Bridge::without_rules(1);
    for round in 0..10_000 {
        let set = set(&mut random);
        if !is_sensible(&set) {
            continue;
        }
        let program = Program::compile(&set, &ports(), None).expect("a small rule set");
        let tables = Tables::declared(&program, bridge.now).expect("small tables");
        bridge.load_set(&set);
        let mut asked = HashMap::new();
        for _ in 0..16 {
            let (seen, frame) = packet(&mut random);
            let (lan, wan) = (["lan", "eth0"], ["wan", "eth1"]);
            let (port, here, there) =
                if random.below(2) == 0 { (WAN, wan, lan) } else { (LAN, lan, wan) };
            let mut reading = Reading {
                set: &set,
                seen: &seen,
                here,
                arrived: here,
                direction: Direction::In,
                tag: None,
                last: None,
                asked: &mut asked,
            };
            reading.ask("");
            let arriving = reading.last.take();
            (reading.here, reading.direction) = (there, Direction::Out);
            reading.ask("");
            let expected = [arriving, reading.last.take()];
            let tag = reading.tag.take();
            let action = |(anchor, number): &(String, u32)| {
                let rules = if anchor.is_empty() { &set.rules } else { &set.anchors[anchor].rules };
                rules[*number as usize].action.clone()
            };
            let actions: Vec<Action> = expected.iter().flatten().map(action).collect();
            let passes = !actions.is_empty() && actions.iter().all(|one| *one == Action::Pass);

            let packet = parsed(port, &frame);
            let decision = program.decide(&packet, None, &tables, bridge.now);
            let context = || format!("round {round}: {set:#?}\n{packet:?} from {port:?}");
            let found = decision.rules.map(|rule| place(&program, rule));
            assert_eq!(found, expected, "{}", context());
            assert_eq!(decision.passes, passes, "{}", context());
            assert_eq!(program.tag_name(decision.tag), tag.as_deref(), "{}", context());
            let trace = program.explain(&packet, None, &tables, bridge.now);
            assert_eq!(trace.decision, decision, "{}", context());
            for side in &trace.sides {
                // The winner is told to have matched, and nothing matched after `quick` won.
                let last = side.steps.iter().rposition(|step| step.outcome == Outcome::Matched);
                assert!(side.winner.is_none() || last.is_some());
            }
            bridge.forget_states();
            assert_eq!(bridge.send(port, &frame).is_none(), passes, "{}", context());
            passed += u32::from(passes);
            blocked += u32::from(!passes);
            in_anchors += u32::from(expected.iter().flatten().any(|(path, _)| !path.is_empty()));
            tagged += u32::from(tag.is_some());
        }
        let counters = bridge.engines[0].rule_counters();
        for (id, counted) in (0..program.rule_count()).zip(&counters) {
            let place = program.place(id);
            let times = asked.get(&(place.anchor.to_owned(), place.number)).copied().unwrap_or(0);
            assert_eq!(counted.evaluations, times, "round {round}: rule {id} of {set:#?}");
        }
        for engine in &mut bridge.engines {
            engine.clear_rule_counters(&|_| true);
        }
    }
    assert!(passed > 10_000 && blocked > 50_000, "{passed} {blocked}");
    assert!(in_anchors > 1_500 && tagged > 10_000, "{in_anchors} {tagged}");
}

/// Tables are asked for a batch together, before rules are: each packet gets the answers about its own
/// addresses.
#[test]
fn tables_are_asked_for_each_packet_of_a_batch() {
    let rules = "table <a> { 10.0.0.0/9, !10.0.1.0/24, 10.0.1.7 }\n\
         table <b> { 10.0.0.0/16 }\n table <c> { 10.0.0.0/12, !10.1.0.0/16 }\n\
         table <d> { 10.0.2.0/24 }\n table <e> { 10.0.0.1, 10.0.3.0/24 }\n\
         block\n pass proto { tcp udp } from <a> to <b> no state\n\
         pass inet from ! <c> to <c> no state\n block from <d>\n\
         pass from <e> to <e> no state\n block to <d>\n";
    let program = compile(rules);
    let mut random = Random(5);
    let (mut passed, mut blocked) = (0, 0);
    for _ in 0..50 {
        let mut bridge = Bridge::new(rules);
        let tables = Tables::declared(&program, bridge.now).unwrap();
        let mut frames = Owned::new();
        let mut expected = Vec::new();
        for _ in 0..Engine::BATCH {
            let mut address = || {
                let [net, host] = [4, 3].map(|bound| random.below(bound) as u8);
                [10, random.one_of(&[0, 0, 1, 200]), net, host]
            };
            let (from, to) = (address(), address());
            let frame = build::udp((from, 1_000), (to, 53)).frame();
            let port = random.one_of(&[LAN, WAN]);
            let decision = program.decide(&parsed(port, &frame), None, &tables, bridge.now);
            frames.push(port, &frame);
            expected.push(decision.passes);
        }
        let mut verdicts = Vec::new();
        bridge.engines[0].judge(bridge.now, &mut frames, &mut verdicts, &mut bridge.log);
        let found: Vec<_> =
            verdicts.iter().map(|verdict| matches!(verdict, Verdict::Forward(_))).collect();
        assert_eq!(found, expected);
        passed += found.iter().filter(|passes| **passes).count();
        blocked += found.iter().filter(|passes| !**passes).count();
    }
    assert!(passed > 500 && blocked > 500, "{passed} {blocked}");
}
