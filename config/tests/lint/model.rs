//! pf.conf(5) read literally: random rule sets, random packets, and an evaluator that knows nothing
//! of how lint compares rules.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use weir_config::ether::EtherRule;
use weir_config::rules::{
    Action, Address, Anchor, AnchorCall, Direction, Endpoint, Family, Flags, IcmpMatch, Interface,
    KeepState, Log, Ports, Probability, Rate, Return, Rule, RuleSet, Source, Tagged,
};

/// A xorshift generator (Marsaglia 2003): the same seed, the same run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 33) as usize) % end
    }

    fn one_of<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// True once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

const NAMES: [&str; 5] = ["lan", "wan", "eth0", "eth1", "eth7"];
const PORTS: [u16; 6] = [0, 1, 80, 81, 65_534, 65_535];
const TAGS: [&str; 2] = ["A", "B"];
const TABLES: [&str; 2] = ["t", "u"];
const PATHS: [&str; 3] = ["a", "a/b", "c"];

fn ports(random: &mut Random) -> Option<Ports> {
    if random.below(3) > 0 {
        return None;
    }
    let (a, b) = (random.one_of(&PORTS), random.one_of(&PORTS));
    let (low, high) = (a.min(b), a.max(b));
    Some(match random.below(9) {
        0 => Ports::Equal(a),
        1 => Ports::NotEqual(a),
        2 => Ports::Less(a),
        3 => Ports::LessEqual(a),
        4 => Ports::Greater(a),
        5 => Ports::GreaterEqual(a),
        6 => Ports::Range(low, high),
        7 => Ports::Inside(low, high),
        _ => Ports::Outside(low, high),
    })
}

fn endpoint(random: &mut Random, family: Option<Family>, ported: bool) -> Endpoint {
    let nets: &[&str] = match family {
        Some(Family::Inet) => {
            &["192.0.2.0/24", "192.0.2.0/25", "192.0.2.7/32", "128.0.0.0/1", "198.51.100.0/24"]
        }
        Some(Family::Inet6) => &["2001:db8::/32", "2001:db8::/64", "2001:db8::7/128", "8000::/1"],
        None => &[],
    };
    let (mut not, address) = match random.below(8) {
        0 => (random.once_in(3), Address::Table(random.one_of(&TABLES).to_owned())),
        1..=3 if !nets.is_empty() => {
            (random.once_in(3), Address::Prefix(random.one_of(nets).parse().unwrap()))
        }
        4 if family == Some(Family::Inet) => {
            let ends = random.one_of(&[
                ("192.0.2.0", "192.0.2.127"),
                ("192.0.2.5", "198.51.100.9"),
                ("0.0.0.0", "192.0.2.7"),
            ]);
            let (low, high) = (ends.0.parse().unwrap(), ends.1.parse().unwrap());
            (random.once_in(3), Address::Range(low, high))
        }
        _ => (false, Address::Any),
    };
    not &= address != Address::Any;
    let port = if ported { ports(random) } else { None };
    Endpoint { not, address, port, os: None }
}

fn interface(random: &mut Random, every: usize) -> Option<Arc<Interface>> {
    let name = random.one_of(&NAMES).to_owned();
    random.once_in(every).then(|| Arc::new(Interface { not: random.once_in(3), name }))
}

fn rule(random: &mut Random, line: u32, path: &str) -> Rule {
    let action = match random.below(10) {
        0 => Action::Match,
        1 => {
            let call = random.one_of(&PATHS).to_owned();
            // No recursion: an anchor calls only what comes later in the alphabet.
            let call = if *call > *path { call } else { "not/there".to_owned() };
            let wildcard = random.once_in(4);
            let written = call.clone();
            Action::Anchor(Box::new(AnchorCall { written, path: call, wildcard, inline: false }))
        }
        2..=5 => Action::Block(Return::Drop),
        _ => Action::Pass,
    };
    let family = random.one_of(&[None, None, Some(Family::Inet), Some(Family::Inet6)]);
    let protocol = random.one_of(&[None, None, Some(6), Some(17), Some(1)]);
    let ported = matches!(protocol, Some(6 | 17));
    let tcp = matches!(protocol, None | Some(6));
    let flags = random.one_of(&[
        None,
        None,
        Some(Flags { set: 0x02, of: 0x12 }),
        Some(Flags { set: 0, of: 0 }),
        Some(Flags { set: 0x10, of: 0x10 }),
        Some(Flags { set: 0x03, of: 0x03 }),
    ]);
    let icmp = random.one_of(&[
        None,
        Some(IcmpMatch { kind: 8, code: None }),
        Some(IcmpMatch { kind: 8, code: Some(0) }),
        Some(IcmpMatch { kind: 3, code: Some(1) }),
    ]);
    Rule {
        quick: random.once_in(3),
        direction: random.one_of(&[None, Some(Direction::In), Some(Direction::Out)]),
        log: random.once_in(6).then(|| Log { matches: random.once_in(3), ..Log::default() }),
        interface: interface(random, 3),
        received_on: interface(random, 12),
        family,
        protocol,
        from: endpoint(random, family, ported),
        to: endpoint(random, family, ported),
        flags: flags.filter(|_| tcp),
        icmp: icmp.filter(|_| protocol == Some(1)),
        tos: random.once_in(12).then(|| random.one_of(&[0x10, 0x20])),
        prio: random.once_in(12).then(|| random.one_of(&[3, 5])),
        fragment: random.once_in(12),
        probability: random.once_in(12).then_some(Probability(1 << 31)),
        max_packet_rate: random.once_in(15).then_some(Rate { count: 1, seconds: 1 }),
        once: random.once_in(15),
        tag: random.once_in(6).then(|| random.one_of(&TAGS).to_owned()),
        tagged: random.once_in(5).then(|| {
            Arc::new(Tagged { not: random.once_in(3), tag: random.one_of(&TAGS).to_owned() })
        }),
        state: if action == Action::Pass { KeepState::Keep } else { KeepState::No },
        action,
        source: Source { file: 0, line },
        ..Rule::default()
    }
}

/// A rule set, every rule of it on a line of its own.
pub(crate) fn rules(random: &mut Random) -> RuleSet {
    let mut line = 0;
    let mut some = |random: &mut Random, path: &str, most: usize| -> Vec<Rule> {
        let mut rules: Vec<Rule> = Vec::new();
        for _ in 0..=random.below(most) {
            line += 1;
            // Many are near relatives of one that stands there already.
            let known = (random.once_in(2) && !rules.is_empty())
                .then(|| rules[random.below(rules.len())].clone());
            let fresh = rule(random, line, path);
            rules.push(match known {
                Some(known) => relative(random, known, &fresh),
                None => fresh,
            });
        }
        rules
    };
    let main = some(random, "", 10);
    let mut anchors = BTreeMap::new();
    for path in PATHS {
        if random.once_in(2) {
            let rules = some(random, path, 4);
            anchors.insert(path.to_owned(), Anchor { rules, ..Anchor::default() });
        }
    }
    let ether = TAGS.into_iter().filter(|_| random.once_in(2)).map(layer_2).collect();
    RuleSet { rules: main, anchors, ether, ..RuleSet::default() }
}

/// A layer 2 rule that gives a tag.
fn layer_2(tag: &str) -> EtherRule {
    EtherRule {
        pass: true,
        direction: None,
        quick: false,
        interface: None,
        vlan: None,
        ethertype: None,
        from: None,
        to: None,
        l3_from: None,
        l3_to: None,
        label: None,
        tag: Some(tag.to_owned()),
        tagged: None,
        source: Source { file: 0, line: 90 },
    }
}

/// The known rule with some of its parts from the fresh one.
fn relative(random: &mut Random, known: Rule, fresh: &Rule) -> Rule {
    let mut rule = Rule { source: fresh.source, ..known };
    for _ in 0..=random.below(2) {
        match random.below(10) {
            0 => rule.direction = fresh.direction,
            1 => rule.interface.clone_from(&fresh.interface),
            2 => rule.quick = fresh.quick,
            3 if rule.family.is_some() => {
                rule.from = Endpoint { port: rule.from.port, ..Endpoint::default() };
            }
            4 if fresh.family == rule.family && fresh.protocol == rule.protocol => {
                rule.to.clone_from(&fresh.to);
            }
            5 if rule.icmp.is_none() && rule.flags.is_none() && rule.from.port.is_none() => {
                rule.to.port = None;
                rule.protocol = fresh.protocol;
            }
            6 => rule.tagged.clone_from(&fresh.tagged),
            7 => rule.tag.clone_from(&fresh.tag),
            8 if matches!(rule.protocol, None | Some(6)) && rule.action != Action::Match => {
                rule.action = Action::Pass;
                rule.flags = Some(Flags { set: 0x02, of: 0x12 });
            }
            _ if !matches!(rule.action, Action::Anchor(_)) => {
                rule.action = random.one_of(&[Action::Pass, Action::Block(Return::Drop)]);
            }
            _ => {}
        }
    }
    let keeps = rule.action == Action::Pass;
    rule.state = if keeps { KeepState::Keep } else { KeepState::No };
    rule
}

/// A packet as rules see it.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from_wan: bool,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ports: [u16; 2],
    flags: u8,
    icmp: (u8, u8),
    tos: u8,
    prio: u8,
    fragment: bool,
    /// From a layer 2 rule.
    pub(crate) tag: Option<String>,
    /// Which of the addresses are in which table.
    in_tables: [[bool; 2]; 2],
}

impl Packet {
    /// Whether a connection can begin with it.
    pub(crate) fn may_begin(&self) -> bool {
        !self.fragment && (self.protocol != 6 || self.flags & 0x12 == 0x02)
    }
}

pub(crate) fn packet(random: &mut Random, set: &RuleSet) -> Packet {
    const HOSTS: [&str; 5] = ["192.0.2.1", "192.0.2.7", "192.0.2.200", "198.51.100.7", "10.0.0.1"];
    const HOSTS6: [&str; 4] = ["2001:db8::1", "2001:db8::7", "2001:db8:1::1", "fe80::7"];
    let hosts: &[&str] = if random.once_in(2) { &HOSTS } else { &HOSTS6 };
    let host = |random: &mut Random| -> IpAddr { random.one_of(hosts).parse().unwrap() };
    let coin = |random: &mut Random| random.once_in(2);
    Packet {
        from_wan: coin(random),
        source: host(random),
        destination: host(random),
        protocol: random.one_of(&[6, 6, 17, 1, 47]),
        ports: [random.one_of(&PORTS), random.one_of(&PORTS)],
        // What a stack may send: SYN, SYN and ACK, ACK, FIN and ACK, RST, with ECN.
        flags: random.one_of(&[0x02, 0x12, 0x10, 0x11, 0x04, 0xc2]),
        icmp: random.one_of(&[(8, 0), (8, 1), (3, 1), (0, 0)]),
        tos: random.one_of(&[0, 0x10, 0x20]),
        prio: random.one_of(&[3, 5]),
        fragment: random.once_in(8),
        tag: set.ether.iter().filter(|_| coin(random)).find_map(|rule| rule.tag.clone()),
        in_tables: [[coin(random), coin(random)], [coin(random), coin(random)]],
    }
}

fn end_matches(end: &Endpoint, address: IpAddr, port: u16, packet: &Packet, side: usize) -> bool {
    let inside = match &end.address {
        Address::Any => true,
        Address::Prefix(net) => net.contains(&address),
        Address::Range(low, high) => {
            low.is_ipv4() == address.is_ipv4() && (*low..=*high).contains(&address)
        }
        Address::Table(name) => packet.in_tables[side][usize::from(name == TABLES[1])],
        Address::UrpfFailed => unreachable!("not in these rule sets"),
    };
    // A fragment has no ports.
    inside != end.not && end.port.is_none_or(|ports| !packet.fragment && ports.matches(port))
}

fn on(interface: Option<&Interface>, names: [&str; 2]) -> bool {
    interface.is_none_or(|on| names.contains(&&*on.name) != on.not)
}

/// One evaluation: the packet arriving, or leaving.
pub(crate) struct Evaluation<'s> {
    set: &'s RuleSet,
    packet: &'s Packet,
    direction: Direction,
    names: [&'static str; 2],
    received: [&'static str; 2],
    pub(crate) tag: Option<String>,
    /// The rule that decides.
    pub(crate) winner: Option<&'s Rule>,
    /// The lines of the rules that matched.
    pub(crate) matched: Vec<u32>,
}

impl<'s> Evaluation<'s> {
    /// What the rules say of one half of the packet's way, given the tag that it comes with.
    pub(crate) fn run(
        set: &'s RuleSet,
        packet: &'s Packet,
        direction: Direction,
        tag: Option<String>,
        random: &mut Random,
    ) -> Self {
        let (lan, wan) = (["lan", "eth0"], ["wan", "eth1"]);
        let (here, there) = if packet.from_wan { (wan, lan) } else { (lan, wan) };
        let names = if direction == Direction::In { here } else { there };
        let mut evaluation = Self {
            set,
            packet,
            direction,
            names,
            received: here,
            tag,
            winner: None,
            matched: Vec::new(),
        };
        evaluation.walk(&set.rules, random);
        evaluation
    }

    fn matches(&self, rule: &Rule, random: &mut Random) -> bool {
        let packet = self.packet;
        let family = rule.family.is_none_or(|f| (f == Family::Inet) == packet.source.is_ipv4());
        let flags = match rule.flags {
            Some(Flags { of: 0, .. }) | None => true,
            Some(Flags { set, of }) => {
                packet.protocol != 6 || !packet.fragment && packet.flags & of == set
            }
        };
        let icmp = rule.icmp.is_none_or(|icmp| {
            !packet.fragment
                && icmp.kind == packet.icmp.0
                && icmp.code.is_none_or(|code| code == packet.icmp.1)
        });
        let drawn = rule.probability.is_none() || random.once_in(2);
        let below_rate = rule.max_packet_rate.is_none() || random.once_in(2);
        let still_there = !rule.once || random.once_in(2);
        rule.direction.is_none_or(|written| written == self.direction)
            && on(rule.interface.as_deref(), self.names)
            && on(rule.received_on.as_deref(), self.received)
            && family
            && rule.protocol.is_none_or(|protocol| protocol == packet.protocol)
            && end_matches(&rule.from, packet.source, packet.ports[0], packet, 0)
            && end_matches(&rule.to, packet.destination, packet.ports[1], packet, 1)
            && flags
            && icmp
            && rule.tos.is_none_or(|tos| tos == packet.tos)
            && rule.prio.is_none_or(|prio| prio == packet.prio)
            && (!rule.fragment || packet.fragment)
            && rule
                .tagged
                .as_ref()
                .is_none_or(|tagged| (self.tag.as_deref() == Some(&*tagged.tag)) != tagged.not)
            && drawn
            && below_rate
            && still_there
    }

    /// True if a `quick` ended the evaluation.
    fn walk(&mut self, rules: &'s [Rule], random: &mut Random) -> bool {
        for rule in rules {
            if !self.matches(rule, random) {
                continue;
            }
            self.matched.push(rule.source.line);
            if let Some(tag) = &rule.tag {
                self.tag = Some(tag.clone());
            }
            match &rule.action {
                Action::Pass | Action::Block(_) => self.winner = Some(rule),
                Action::Match => {}
                Action::Anchor(call) => {
                    let before = self.winner.map(std::ptr::from_ref);
                    if self.call(call, random) {
                        return true;
                    }
                    // `quick` on an anchor: only if a rule in it decided.
                    if before == self.winner.map(std::ptr::from_ref) {
                        continue;
                    }
                }
            }
            if rule.quick {
                return true;
            }
        }
        false
    }

    fn call(&mut self, call: &AnchorCall, random: &mut Random) -> bool {
        let below = format!("{}/", call.path);
        let set = self.set;
        for (path, anchor) in &set.anchors {
            let is_meant = if call.wildcard {
                path.strip_prefix(&*below).is_some_and(|rest| !rest.contains('/'))
            } else {
                *path == call.path
            };
            if is_meant && self.walk(&anchor.rules, random) {
                return true;
            }
        }
        false
    }
}
