//! What is printed parses to itself: random rule sets, printed, read again and compared in
//! everything but where they stood.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use weir_config::options::{BlockPolicy, Options, StatePolicy, Timeout, Timeouts};
use weir_config::rules::{
    Action, Address, Direction, Endpoint, Family, Flags, IcmpMatch, Interface, KeepState, Log,
    Ports, Return, Rule, RuleSet, Source,
};
use weir_config::{Defines, SourceFile, names, parse_one};

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    any::<u128>().prop_map(Ipv6Addr::from)
}

fn address(family: Option<Family>) -> BoxedStrategy<Address> {
    match family {
        None => Just(Address::Any).boxed(),
        Some(Family::Inet) => prop_oneof![
            Just(Address::Any),
            (v4(), 1..=32_u8).prop_map(|(address, bits)| Address::Prefix(IpNet::V4(
                Ipv4Net::new(address, bits).unwrap().trunc()
            ))),
            (v4(), v4()).prop_map(|(a, b)| Address::Range(a.min(b).into(), a.max(b).into())),
        ]
        .boxed(),
        Some(Family::Inet6) => prop_oneof![
            Just(Address::Any),
            (v6(), 1..=128_u8).prop_map(|(address, bits)| Address::Prefix(IpNet::V6(
                Ipv6Net::new(address, bits).unwrap().trunc()
            ))),
            (v6(), v6()).prop_map(|(a, b)| Address::Range(a.min(b).into(), a.max(b).into())),
        ]
        .boxed(),
    }
}

fn ports() -> impl Strategy<Value = Ports> {
    (0..8_u8, any::<u16>(), any::<u16>()).prop_map(|(kind, a, b)| {
        let (low, high) = (a.min(b), a.max(b));
        match kind {
            0 => Ports::NotEqual(a),
            1 => Ports::Less(a),
            2 => Ports::LessEqual(a),
            3 => Ports::Greater(a),
            4 => Ports::GreaterEqual(a),
            5 if low < high => Ports::Range(low, high),
            6 => Ports::Inside(low, high),
            7 => Ports::Outside(low, high),
            _ => Ports::Equal(a),
        }
    })
}

fn endpoint(family: Option<Family>, ported: bool) -> impl Strategy<Value = Endpoint> {
    let port = if ported { option::of(ports()).boxed() } else { Just(None).boxed() };
    (any::<bool>(), address(family), port).prop_map(|(not, address, port)| Endpoint {
        not: not && address != Address::Any,
        address,
        port,
        os: None,
    })
}

fn flags() -> impl Strategy<Value = Flags> {
    (any::<u8>(), 1..=u8::MAX).prop_map(|(set, of)| Flags { set: set & of, of })
}

fn answer() -> impl Strategy<Value = Return> {
    prop_oneof![
        Just(Return::Drop),
        Just(Return::Auto),
        option::of(1..=u8::MAX).prop_map(|ttl| Return::Rst { ttl }),
        (any::<u8>(), any::<u8>()).prop_map(|(v4, v6)| Return::Icmp { v4: Some(v4), v6: Some(v6) }),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![Just(Action::Pass), answer().prop_map(Action::Block)]
}

fn interface() -> impl Strategy<Value = Interface> {
    (any::<bool>(), "x[a-z0-9_.@-]{0,14}").prop_map(|(not, name)| Interface { not, name })
}

/// What hangs together is made together: family, protocol and everything that depends on them.
fn rule() -> impl Strategy<Value = Rule> {
    let family = prop_oneof![Just(None), Just(Some(Family::Inet)), Just(Some(Family::Inet6))];
    let protocol = option::of(prop_oneof![Just(1), Just(6), Just(17), Just(58), 1..=u8::MAX]);
    (family, protocol)
        .prop_flat_map(|(family, protocol)| {
            let protocol = match (protocol, family) {
                (Some(names::ICMP), Some(Family::Inet6)) => Some(names::ICMP6),
                (Some(names::ICMP6), Some(Family::Inet)) => Some(names::ICMP),
                _ => protocol,
            };
            let ported = matches!(protocol, Some(names::TCP | names::UDP));
            (
                Just((family, protocol)),
                (action(), option::of(prop_oneof![Just(Direction::In), Just(Direction::Out)])),
                (
                    option::of(any::<bool>().prop_map(|all| Log { all, ..Log::default() })),
                    any::<bool>(),
                ),
                option::of(interface()),
                (endpoint(family, ported), endpoint(family, ported)),
                (option::of(flags()), any::<bool>()),
                option::of((any::<u8>(), option::of(any::<u8>()))),
                option::of("[ !#-&(-\\[\\]-~]{1,30}"),
            )
        })
        .prop_map(
            |(
                (family, protocol),
                (action, direction),
                (log, quick),
                interface,
                hosts,
                (flags, keep),
                icmp,
                label,
            )| {
                let action = match (action, protocol, family) {
                    (Action::Block(Return::Rst { .. }), protocol, _)
                        if protocol != Some(names::TCP) =>
                    {
                        Action::Block(Return::Auto)
                    }
                    (Action::Block(Return::Icmp { v4, .. }), _, Some(Family::Inet)) => {
                        Action::Block(Return::Icmp { v4, v6: None })
                    }
                    (Action::Block(Return::Icmp { v6, .. }), _, Some(Family::Inet6)) => {
                        Action::Block(Return::Icmp { v4: None, v6 })
                    }
                    (action, ..) => action,
                };
                let stateful = action == Action::Pass && keep;
                let flags = match (protocol, flags) {
                    (None | Some(names::TCP), Some(flags)) => Some(flags),
                    (None | Some(names::TCP), None) if stateful => Some(Flags { set: 0, of: 0 }),
                    _ => None,
                };
                let of_icmp = match family {
                    Some(Family::Inet) => protocol == Some(names::ICMP),
                    Some(Family::Inet6) => protocol == Some(names::ICMP6),
                    None => false,
                };
                Rule {
                    action,
                    direction,
                    log,
                    quick,
                    interface,
                    family,
                    protocol,
                    from: hosts.0,
                    to: hosts.1,
                    flags,
                    icmp: icmp.filter(|_| of_icmp).map(|(kind, code)| IcmpMatch { kind, code }),
                    state: if stateful { KeepState::Keep } else { KeepState::No },
                    label: label.filter(|label| !label.contains('$')),
                    source: Source::default(),
                    ..Rule::default()
                }
            },
        )
}

fn options() -> impl Strategy<Value = Options> {
    (
        1..=u32::MAX,
        vec((0..Timeout::ALL.len(), 0..=Timeouts::MAX_SECONDS), 0..5),
        any::<bool>(),
        any::<bool>(),
        vec("y[a-z0-9]{0,10}", 0..3),
    )
        .prop_map(|(states, timeouts, policy, floating, mut skip)| {
            let text = format!("set limit states {states}\n");
            let parsed = parse_one(&SourceFile::new("limit", text), &Defines::default());
            let mut options = parsed.rules.expect("a limit").options;
            for (at, value) in timeouts {
                options.timeouts.set(Timeout::ALL[at], value);
            }
            if policy {
                options.block_policy = BlockPolicy::Return;
            }
            if floating {
                options.state_policy = StatePolicy::Floating;
            }
            skip.sort();
            skip.dedup();
            options.skip = skip;
            options
        })
}

/// As many cases as `PROPTEST_CASES` says, else `usual`.
fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|count| count.parse().ok());
    ProptestConfig::with_cases(asked.unwrap_or(usual))
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn a_rule_set_parses_to_itself(options in options(), rules in vec(rule(), 0..12)) {
        let set = RuleSet { options, rules, ..RuleSet::default() };
        let text = set.to_string();
        let parsed = parse_one(&SourceFile::new("printed", &*text), &Defines::default());
        prop_assert!(!parsed.diagnostics.has_errors(), "{}\n{}", parsed.diagnostics, text);
        let mut again = parsed.rules.expect("no errors");
        for rule in &mut again.rules {
            rule.source = Source::default();
        }
        prop_assert_eq!(again, set, "{}", text);
    }
}
