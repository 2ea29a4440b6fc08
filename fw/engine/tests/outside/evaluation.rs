//! The compiled rules agree with pf.conf(5) read literally: random rule sets, random packets, and an
//! evaluator that knows nothing of masks and ranges.

use std::net::IpAddr;

use weir_config::rules::{
    Action, Address, Direction, Endpoint, Family, Flags, KeepState, Rule, RuleSet,
};
use weir_config::{Defines, SourceFile, parse_one};
use weir_engine::Reason;
use weir_engine::packet::{build, icmp};

use crate::bridge::{Bridge, LAN, WAN};
use crate::random::Random;

const PORTS: [u16; 6] = [0, 1, 80, 81, 65_534, 65_535];
const HOSTS: [&str; 6] =
    ["192.0.2.1", "192.0.2.200", "198.51.100.7", "2001:db8::1", "2001:db8::ffff", "fe80::7"];
const FLAGS: [u8; 6] = [0x02, 0x12, 0x10, 0x11, 0x04, 0xc2];

/// What a rule looks at.
struct Seen {
    source: IpAddr,
    destination: IpAddr,
    ports: [u16; 2],
    protocol: u8,
    flags: u8,
    icmp: (u8, u8),
}

fn line(random: &mut Random) -> String {
    let mut rule = random.one_of(&["pass", "block", "block drop", "pass"]).to_owned();
    rule += random.one_of(&["", " in", " out"]);
    rule += random.one_of(&["", "", "", " quick"]);
    rule += random.one_of(&["", "", " on lan", " on wan", " on ! lan", " on ! eth1", " on eth7"]);
    let family = random.one_of(&["", "", " inet", " inet6"]);
    rule += family;
    let protocol = random.one_of(&["", "tcp", "udp", "{ tcp udp }", "icmp", "icmp6", "47"]);
    if !protocol.is_empty() {
        rule = format!("{rule} proto {protocol}");
    }
    let hosts: &[&str] = match family {
        " inet" => &["any", "192.0.2.1", "! 192.0.2.0/24", "192.0.2.100 - 198.51.100.7", "0/0"],
        " inet6" => &["any", "2001:db8::/64", "! 2001:db8::1", "2001:db8::1 - fe80::"],
        _ => &["any", "192.0.2.1", "! 192.0.2.0/24", "2001:db8::/64", "! fe80::/10"],
    };
    let ported = protocol.contains("tcp") || protocol.contains("udp");
    for side in ["from", "to"] {
        rule = format!("{rule} {side} {}", random.one_of(hosts));
        if ported && random.below(2) == 0 {
            let (a, b) = (random.one_of(&PORTS), random.one_of(&PORTS));
            let (low, high) = (a.min(b), a.max(b));
            let port = match random.below(9) {
                0 => format!("{a}"),
                1 => format!("!= {a}"),
                2 => format!("< {a}"),
                3 => format!("<= {a}"),
                4 => format!("> {a}"),
                5 => format!(">= {a}"),
                6 => format!("{low}:{high}"),
                7 => format!("{low} >< {high}"),
                _ => format!("{low} <> {high}"),
            };
            rule = format!("{rule} port {port}");
        }
    }
    if matches!(protocol, "" | "tcp") {
        rule +=
            random.one_of(&["", "", " flags any", " flags S/SA", " flags /R", " flags SEW/FSEW"]);
    }
    match (protocol, family) {
        ("icmp", " inet") => {
            rule += random.one_of(&["", " icmp-type echoreq", " icmp-type unreach code 3"]);
        }
        ("icmp6", " inet6") => {
            rule += random.one_of(&["", " icmp6-type echoreq", " icmp6-type 1 code 3"]);
        }
        _ => {}
    }
    rule + random.one_of(&["", "", " no state"])
}

fn rules(random: &mut Random) -> RuleSet {
    let skip = random.one_of(&["", "", "", "set skip on lan\n", "set skip on { eth0 eth1 }\n"]);
    let mut text = skip.to_owned();
    for _ in 0..=random.below(8) {
        let rule = line(random);
        // Not every combination is a rule: the parser says which.
        if parse_one(&SourceFile::new("line", format!("{rule}\n")), &Defines::default())
            .rules
            .is_some()
        {
            text += &rule;
            text.push('\n');
        }
    }
    let parsed = parse_one(&SourceFile::new("all", text), &Defines::default());
    parsed.rules.unwrap_or_else(|| panic!("{}", parsed.diagnostics.render(false)))
}

fn packet(random: &mut Random) -> (Seen, Vec<u8>) {
    let of = if random.below(2) == 0 { &HOSTS[..3] } else { &HOSTS[3..] };
    let host = |random: &mut Random| -> IpAddr { random.one_of(of).parse().unwrap() };
    let (source, destination) = (host(random), host(random));
    // Port 0 is no destination.
    let ports = [random.one_of(&PORTS), random.one_of(&PORTS[1..])];
    let ends = ((source, ports[0]), (destination, ports[1]));
    let (v4, kind) = (source.is_ipv4(), random.below(5));
    let mut seen = Seen { source, destination, ports, protocol: 0, flags: 0, icmp: (0, 0) };
    let built = match kind {
        0 | 1 => {
            (seen.protocol, seen.flags) = (6, random.one_of(&FLAGS));
            build::tcp(ends.0, ends.1, seen.flags)
        }
        2 => {
            seen.protocol = 17;
            build::udp(ends.0, ends.1)
        }
        3 => {
            let request = random.below(2) == 0;
            seen.protocol = if v4 { 1 } else { 58 };
            seen.icmp = match (v4, request) {
                (true, true) => (icmp::v4::ECHO, 0),
                (true, false) => (icmp::v4::REDIRECT, 1),
                (false, true) => (icmp::v6::ECHO, 0),
                (false, false) => (icmp::v6::ROUTER_ADVERTISEMENT, 0),
            };
            build::icmp(source, destination, seen.icmp.0, seen.icmp.1).ttl(255)
        }
        _ => {
            seen.protocol = 47;
            build::other(source, destination, 47)
        }
    };
    (seen, built.frame())
}

fn endpoint_matches(end: &Endpoint, address: IpAddr, port: u16) -> bool {
    let inside = match &end.address {
        Address::Table(_) | Address::UrpfFailed => unreachable!("not in these rule sets"),
        Address::Any => true,
        Address::Prefix(net) => net.contains(&address),
        Address::Range(low, high) => {
            low.is_ipv4() == address.is_ipv4() && (*low..=*high).contains(&address)
        }
    };
    inside != end.not && end.port.is_none_or(|ports| ports.matches(port))
}

fn matches(rule: &Rule, seen: &Seen, direction: Direction, names: [&str; 2]) -> bool {
    let interface = rule
        .interface
        .as_ref()
        .is_none_or(|interface| names.contains(&&*interface.name) != interface.not);
    let family = rule.family.is_none_or(|family| (family == Family::Inet) == seen.source.is_ipv4());
    let flags = match rule.flags {
        Some(Flags { set, of }) if seen.protocol == 6 => seen.flags & of == set,
        _ => true,
    };
    let icmp = rule.icmp.is_none_or(|icmp| {
        icmp.kind == seen.icmp.0 && icmp.code.is_none_or(|code| code == seen.icmp.1)
    });
    rule.direction.is_none_or(|written| written == direction)
        && interface
        && family
        && rule.protocol.is_none_or(|protocol| protocol == seen.protocol)
        && endpoint_matches(&rule.from, seen.source, seen.ports[0])
        && endpoint_matches(&rule.to, seen.destination, seen.ports[1])
        && flags
        && icmp
}

/// `set skip` holds for the port.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Skipped;

/// What pf.conf(5) says of one side: `Err` if the port is skipped.
fn side<'r>(
    set: &'r RuleSet,
    seen: &Seen,
    direction: Direction,
    names: [&str; 2],
) -> Result<Option<&'r Rule>, Skipped> {
    if set.options.skip.iter().any(|skipped| names.contains(&&**skipped)) {
        return Err(Skipped);
    }
    let mut last = None;
    for rule in &set.rules {
        if matches(rule, seen, direction, names) {
            last = Some(rule);
            if rule.quick {
                break;
            }
        }
    }
    Ok(last)
}

#[test]
fn the_rules_mean_what_the_manual_says() {
    let mut random = Random(3);
    let (mut passed, mut blocked, mut kept) = (0, 0, 0);
    let mut bridge = Bridge::without_rules(1);
    for _ in 0..1_500 {
        let set = rules(&mut random);
        bridge.load(&set.to_string());
        for _ in 0..12 {
            let (seen, frame) = packet(&mut random);
            let from_wan = random.below(2) == 0;
            let (lan, wan) = (["lan", "eth0"], ["wan", "eth1"]);
            let (port, here, there) = if from_wan { (WAN, wan, lan) } else { (LAN, lan, wan) };
            let sides =
                [side(&set, &seen, Direction::In, here), side(&set, &seen, Direction::Out, there)];
            let spoken: Vec<_> = sides.into_iter().flatten().flatten().collect();
            let may_pass = sides == [Err(Skipped); 2]
                || !spoken.is_empty() && spoken.iter().all(|rule| rule.action == Action::Pass);
            bridge.forget_states();
            let verdict = bridge.send(port, &frame);
            let context = || format!("{set}{:x?} from {port:?}: {verdict:?}", &frame[14..]);
            assert_eq!(verdict.is_none(), may_pass, "{}", context());
            if !may_pass {
                let by_rule = spoken.iter().any(|rule| rule.action != Action::Pass);
                assert_eq!(verdict == Some(Reason::BlockRule), by_rule, "{}", context());
                blocked += 1;
                continue;
            }
            passed += 1;
            // Redirects and router advertisements are no flows.
            let flow = !matches!((seen.protocol, seen.icmp.0), (1, icmp::v4::REDIRECT) | (58, 134));
            let keeps = flow
                && !spoken.is_empty()
                && spoken.iter().all(|rule| rule.state == KeepState::Keep);
            assert_eq!(bridge.states().len(), usize::from(keeps), "{}", context());
            kept += u32::from(keeps);
        }
    }
    assert!(passed > 2_000 && blocked > 2_000 && kept > 300, "{passed} {blocked} {kept}");
}
