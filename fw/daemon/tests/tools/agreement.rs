//! What the tools say is what the firewall does: random rules and packets in words, each packet also
//! sent as a real frame through a real engine.

use std::sync::Arc;

use weir_config::options::Timeout;
use weir_config::probe::{Probe, packet};
use weir_config::rules::{Action, Anchor, AnchorCall, Rule, RuleSet};
use weir_config::tables::{Table, TableEntry};
use weir_config::{Defines, SourceFile, parse_one};
use weir_daemon::tools::fate::{self, Fate, Question};
use weir_daemon::tools::frame::{self, frame};
use weir_daemon::tools::policy::{Policy, Ports};
use weir_engine::frame::Owned;
use weir_engine::{Engine, Instant, LogRecord, Reason, Releases, Setup, Shared, Verdict};

/// xorshift (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}

/// A rule in words; not every combination is one.
fn line(random: &mut Random) -> String {
    let action = ["pass", "pass", "block", "block return", "match"];
    let mut rule = random.one_of(&action).to_owned();
    let mut add = |words: &[&str]| {
        rule.push(' ');
        rule += random.one_of(words);
    };
    add(&["", "", "in", "out"]);
    add(&["", "", "", "quick"]);
    add(&["", "", "", "on lan", "on wan", "on ! wan"]);
    add(&["", "", "inet", "inet6"]);
    add(&["", "", "proto tcp", "proto udp", "proto icmp", "proto icmp6", "proto 47"]);
    add(&["from any", "from 192.0.2.0/24", "from <t>", "from ! <u>", "from 2001:db8::/64"]);
    add(&["to any", "to any", "to ! 192.0.2.1", "to <u>", "to 2001:db8::1 - fe80::7"]);
    add(&["", "", "port 53", "port 1:1023", "port != 80"]);
    add(&["", "", "", "flags S/SA", "flags any", "icmp-type echoreq", "icmp6-type 1 code 4"]);
    add(&["", "", "", "", "tos 0x10", "prio 3", "prio 5"]);
    add(&["", "", "", "no state"]);
    add(&["", "", "allow-opts"]);
    add(&["", "", "tag red", "tag blue"]);
    add(&["", "", "", "tagged red", "! tagged blue"]);
    rule
}

/// Some rules, as many as ask for it and are rules.
fn some_rules(random: &mut Random, count: usize) -> Vec<Rule> {
    let mut rules = Vec::new();
    while rules.len() < count {
        let line = format!("{}\n", line(random));
        let parsed = parse_one(&SourceFile::new("line", line), &Defines::default());
        rules.extend(parsed.rules.into_iter().flat_map(|set| set.rules));
    }
    rules
}

fn table(name: &str, entries: &[&str]) -> Table {
    let entry = |text: &&str| TableEntry {
        not: text.starts_with('!'),
        net: text.trim_start_matches('!').parse().unwrap(),
        timeout: None,
    };
    let entries = Some(entries.iter().map(entry).collect());
    Table { name: name.into(), entries, ..Table::default() }
}

/// A rule set with tables and two anchors, one inside the other.
fn rule_set(random: &mut Random) -> RuleSet {
    let mut set = RuleSet {
        tables: vec![
            table("t", &["192.0.2.0/25", "!192.0.2.1/32", "fe80::/10"]),
            table("u", &["192.0.2.200/32", "2001:db8::/127"]),
        ],
        ..RuleSet::default()
    };
    let skip = [vec![], vec![], vec![], vec!["lan"], vec!["lan", "wan"]];
    if random.below(3) == 0 {
        let lines = [
            "ether block on lan vlan 5\n",
            "ether pass in tag blue\n",
            "ether pass vlan none\n",
            "ether block proto pppoe-session\n",
            "ether block vlan none proto ip\n",
            "ether pass in quick from 02:00:00:00:00:0a tag red\n",
        ];
        let text: String = (0..2).map(|_| random.one_of(&lines)).collect();
        let parsed = parse_one(&SourceFile::new("ether", text), &Defines::default());
        set.ether = parsed.rules.unwrap_or_else(|| panic!("{}", parsed.diagnostics)).ether;
    }
    set.options.skip = skip[random.below(5)].iter().map(ToString::to_string).collect();
    set.options.reassemble.on = random.below(2) == 0;
    // Who waits, waits in vain.
    set.options.timeouts.set(Timeout::Frag, 0);
    let count = random.below(8);
    set.rules = some_rules(random, count);
    // Otherwise most packets would meet no rule at all.
    let first = ["", "", "block\n", "pass allow-opts\n", "pass no state\n"][random.below(5)];
    let parsed = parse_one(&SourceFile::new("first", first), &Defines::default());
    set.rules.splice(0..0, parsed.rules.into_iter().flat_map(|set| set.rules));
    for (path, parent) in [("a/b", "a"), ("a", "")] {
        let count = random.below(4);
        let content = some_rules(random, count);
        let tables = vec![table("u", &["198.51.100.7/32"])];
        let anchor: &mut Anchor = set.anchors.entry(path.into()).or_default();
        anchor.rules.splice(0..0, content);
        anchor.tables = if path == "a" { tables } else { Vec::new() };
        let mut call = some_rules(random, 1).remove(0);
        let call_of =
            AnchorCall { path: path.into(), wildcard: false, inline: false, written: path.into() };
        call = Rule {
            action: Action::Anchor(Box::new(call_of)),
            direction: call.direction,
            quick: call.quick,
            interface: call.interface,
            family: call.family,
            from: call.from,
            ..Rule::default()
        };
        let within = match parent {
            "" => &mut set.rules,
            parent => &mut set.anchors.entry(parent.into()).or_default().rules,
        };
        let at = random.below(within.len() + 1);
        within.insert(at, call);
    }
    set
}

/// A packet in words.
fn probe(random: &mut Random) -> Probe {
    let (hosts, v6): (&[&str], bool) = if random.below(2) == 0 {
        (&["192.0.2.1", "192.0.2.200", "192.0.2.17", "198.51.100.7", "224.0.0.1"], false)
    } else {
        (&["2001:db8::1", "2001:db8::2", "fe80::7", "ff02::1"], true)
    };
    // The last is no host: as a source it is refused before the rules.
    let hosts_only = random.below(8);
    let sources = if hosts_only > 0 { &hosts[..hosts.len() - 1] } else { hosts };
    let (source, destination) = (random.one_of(sources), random.one_of(hosts));
    let port = random.one_of(&["53", "53", "80", "1023", "1", "1", "0"]);
    let transport = match (random.below(6), v6) {
        (0 | 1, _) => {
            let flags = random.one_of(&["S", "S", "S", "SA", "A", "FA", "R", "SF"]);
            format!("to {destination} port {port} flags {flags}")
        }
        (2 | 3, _) => format!("to {destination} port {port} proto udp"),
        (4, false) => {
            let kind = random.one_of(&["echoreq", "unreach code 3", "redir", "routersol"]);
            format!("to {destination} icmp-type {kind}")
        }
        (4, true) => {
            let kinds = ["echoreq", "unreach code 4", "neighbrsol", "routeradv", "130"];
            format!("to {destination} icmp6-type {}", random.one_of(&kinds))
        }
        _ => format!("to {destination} proto {}", random.one_of(&["47", "2", "132"])),
    };
    let mut words = format!("in on {} from {source} {transport}", random.one_of(&["lan", "wan"]));
    for choice in [
        &["", "", "", "vlan 5", "vlan 9.5", "vlan 5 prio 5", "prio 5"][..],
        &["", "", "", "pppoe 9"],
        &["", "", "", "ether from 02:00:00:00:00:0a", "ether to 02:00:00:00:00:0b"],
        &["", "", "", "", "", "", "options"],
        &["", "", "", "", "", "", "", "", "", "", "", "fragment"],
        &["", "", "tos 0x10"],
        &["", "", "", "length 600", "ttl 1"],
    ] {
        words.push(' ');
        words += random.one_of(choice);
    }
    packet("random", &words).unwrap_or_else(|found| panic!("{words}\n{found}"))
}

struct Firewall {
    engine: Engine,
    log: Vec<LogRecord>,
}

impl Firewall {
    fn new(now: Instant) -> Self {
        const STATES: u32 = 64;
        let memory = vec![0; Engine::memory_needed(STATES)].leak();
        let setup = Setup { worker: 0, workers: 1, key: [9; 16], states: STATES, now };
        let engine = Engine::new(setup, memory, Arc::new(Shared::default()));
        Self { engine, log: Vec::new() }
    }

    /// Why a frame is dropped, and how many states it makes.
    fn send(&mut self, policy: &Policy, probe: &Probe) -> (Option<Reason>, u32) {
        self.engine.kill(policy.now, 0, u32::MAX, &|_| true);
        let mut frames = Owned::new();
        frames.push(frame::port(&probe.port, &policy.ports).unwrap(), &frame(probe));
        let mut verdicts = Vec::new();
        self.engine.judge(policy.now, &mut frames, &mut verdicts, &mut self.log);
        self.log.clear();
        let reason = match verdicts[..] {
            [Verdict::Forward(_)] => None,
            // The answer to a blocked packet is another matter.
            [Verdict::Drop(Reason::ReflectLimit | Reason::ReflectUnfit)] => Some(Reason::BlockRule),
            [Verdict::Drop(reason) | Verdict::Reflect(reason)] => Some(reason),
            [Verdict::Hold(_)] => {
                // The set's time-out for it is 0.
                let mut releases = Releases::default();
                self.engine.advance(policy.now);
                self.engine.take_releases(&mut releases);
                let released = releases.next(&mut 0, 0).map(|(verdict, _)| verdict);
                assert_eq!(released, Some(Verdict::Drop(Reason::FragTimeout)));
                Some(Reason::FragTimeout)
            }
            ref other => panic!("{other:?}"),
        };
        (reason, self.engine.state_count())
    }
}

fn fates(policy: &Policy, probe: &Probe) -> [Fate; 2] {
    let bytes = frame(probe);
    let meta = frame::meta(&bytes, frame::port(&probe.port, &policy.ports).unwrap());
    let question = Question { head: &bytes, meta, link_tag: None };
    let decided = fate::decide(&policy.program, &policy.tables, policy.now, &question);
    let (told, _) = fate::explain(&policy.program, &policy.tables, policy.now, &question);
    [decided, told]
}

#[test]
fn the_tools_say_what_the_firewall_does() {
    let mut random = Random(0x0dd5_eed5);
    let mut firewall = Firewall::new(Instant::from_secs(1));
    let (mut passed, mut blocked, mut kept, mut early) = (0, 0, 0, 0);
    for _ in 0..400 {
        let set = rule_set(&mut random);
        let policy = Policy::compile(&set, Ports::default().names().unwrap(), Vec::new()).unwrap();
        // The engine has its own copy, so that neither can spoil the other.
        let twin = Policy::compile(&set, Ports::default().names().unwrap(), Vec::new()).unwrap();
        let _ = firewall.engine.install(policy.now, Arc::new(twin.program), Arc::new(twin.tables));
        for _ in 0..25 {
            let probe = probe(&mut random);
            let [decided, told] = fates(&policy, &probe);
            let (reason, states) = firewall.send(&policy, &probe);
            let context = || format!("{probe}\n{set:#?}");
            assert_eq!(decided, told, "{}", context());
            assert_eq!(decided.reason, reason, "{}", context());
            let (explanation, _) = {
                let bytes = frame(&probe);
                let port = frame::port(&probe.port, &policy.ports).unwrap();
                let meta = frame::meta(&bytes, port);
                let question = Question { head: &bytes, meta, link_tag: None };
                policy.teller(true).explain(probe.to_string(), &question)
            };
            assert_eq!(explanation.passes, reason.is_none(), "{}", context());
            let makes = explanation.makes.unwrap_or_default().starts_with("keep state: ");
            assert_eq!(u32::from(makes), states, "{}", context());
            passed += u32::from(reason.is_none());
            blocked += u32::from(reason == Some(Reason::BlockRule));
            early += u32::from(decided.decision.is_none());
            kept += states;
        }
    }
    assert!(
        passed > 1000 && blocked > 1000 && kept > 300 && early > 300,
        "{passed} passed, {blocked} blocked, {kept} states, {early} before the rules"
    );
}
