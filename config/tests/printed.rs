//! What is printed parses to itself: random rule sets, printed, read again and compared in
//! everything but where they stood.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use weir_config::options::{
    BlockPolicy, DebugLevel, Limit, Limits, Named, Optimization, Options, Reassemble,
    RulesetOptimization, SrcConnCount, StatePolicy, Syncookies, Timeout, Timeouts,
};
use weir_config::rules::{
    Action, Address, Direction, Endpoint, Family, Flags, IcmpMatch, Interface, KeepState, Log,
    Overload, OverloadFlush, Ports, Probability, Rate, Return, Rule, RuleSet, Scrub, SetFields,
    Source, SourceTrack, StateOptions, Tagged,
};
use weir_config::{Defines, SourceFile, names, parse_one};

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    any::<u128>().prop_map(Ipv6Addr::from)
}

/// Names that no word of the language begins like.
fn name() -> impl Strategy<Value = String> {
    "x[a-zA-Z0-9_.-]{0,20}"
}

fn address(family: Option<Family>) -> BoxedStrategy<Address> {
    match family {
        None => prop_oneof![Just(Address::Any), name().prop_map(Address::Table)].boxed(),
        Some(Family::Inet) => prop_oneof![
            Just(Address::Any),
            name().prop_map(Address::Table),
            (v4(), 1..=32_u8).prop_map(|(address, bits)| Address::Prefix(IpNet::V4(
                Ipv4Net::new(address, bits).unwrap().trunc()
            ))),
            (v4(), v4()).prop_map(|(a, b)| Address::Range(a.min(b).into(), a.max(b).into())),
        ]
        .boxed(),
        Some(Family::Inet6) => prop_oneof![
            Just(Address::Any),
            name().prop_map(Address::Table),
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
    prop_oneof![
        2 => Just(Action::Pass),
        1 => answer().prop_map(Action::Block),
        1 => Just(Action::Match),
    ]
}

fn interface() -> impl Strategy<Value = Arc<Interface>> {
    let name = "x[a-z0-9_.@-]{0,14}";
    (any::<bool>(), name).prop_map(|(not, name)| Arc::new(Interface { not, name }))
}

fn log() -> impl Strategy<Value = Log> {
    (any::<bool>(), any::<bool>(), 0..16_u8).prop_map(|(all, matches, to)| Log { all, matches, to })
}

fn rate(most: u32) -> impl Strategy<Value = Rate> {
    (1..=most, 1..=Timeouts::MAX_SECONDS).prop_map(|(count, seconds)| Rate { count, seconds })
}

/// As a text with six digits behind the point stands for it.
fn probability() -> impl Strategy<Value = Probability> {
    (0..=100_000_000_u32).prop_map(|millionths| {
        let share = f64::from(millionths) / 1e6 * 0.01;
        let draws = (share * f64::from(u32::MAX) + 0.5).floor();
        #[allow(clippy::cast_sign_loss)]
        Probability((draws as u32).max(1))
    })
}

fn set_fields() -> impl Strategy<Value = SetFields> {
    let prio = (0..8_u8, option::of(0..8_u8))
        .prop_map(|(prio, other)| (prio, other.filter(|&other| other != prio)));
    (option::of(prio), option::of(any::<u8>())).prop_map(|(prio, tos)| SetFields { prio, tos })
}

fn scrub() -> impl Strategy<Value = Scrub> {
    (any::<bool>(), any::<bool>(), option::of(1..=u8::MAX), option::of(1..=u16::MAX), any::<bool>())
        .prop_map(|(no_df, random_id, min_ttl, max_mss, reassemble_tcp)| Scrub {
            no_df,
            random_id,
            min_ttl,
            max_mss,
            reassemble_tcp,
        })
}

/// The time-outs that a rule may have.
fn rule_timeouts() -> impl Strategy<Value = Vec<(Timeout, u32)>> {
    vec((0..Timeout::ALL.len(), 1..=Timeouts::MAX_SECONDS), 0..4).prop_map(|picks| {
        Timeout::ALL
            .into_iter()
            .enumerate()
            .filter(|(_, timeout)| !matches!(timeout, Timeout::Frag | Timeout::Interval))
            .filter_map(|(at, timeout)| {
                let (_, value) = picks.iter().find(|(pick, _)| *pick == at)?;
                Some((timeout, *value))
            })
            .collect()
    })
}

/// State options with everything that the parser adds to them.
fn state_options() -> impl Strategy<Value = StateOptions> {
    let flush = prop_oneof![
        Just(OverloadFlush::No),
        Just(OverloadFlush::Rule),
        Just(OverloadFlush::Global)
    ];
    let policy = prop_oneof![Just(StatePolicy::IfBound), Just(StatePolicy::Floating)];
    let track = prop_oneof![Just(SourceTrack::Rule), Just(SourceTrack::Global)];
    let number = || option::weighted(0.2, 1..=u32::MAX);
    (
        (number(), number(), number(), number(), option::weighted(0.2, rate(4_294_967))),
        (any::<bool>(), any::<bool>(), any::<bool>(), option::of(policy), option::of(track)),
        (option::of((name(), flush)), number(), option::weighted(0.2, rate(u32::MAX))),
        rule_timeouts(),
    )
        .prop_map(
            |(
                (max, max_src_states, max_src_conn, max_src_nodes, max_src_conn_rate),
                (no_sync, sloppy, pflow, policy, track),
                (overload, max_idle, min_rate),
                mut timeouts,
            )| {
                let max_idle = max_idle.map(|seconds| seconds.min(Timeouts::MAX_SECONDS));
                if let Some(max @ 10..) = max
                    && !timeouts.iter().any(|(timeout, _)| timeout.counts_states())
                {
                    timeouts.push((Timeout::AdaptiveStart, max / 10 * 6));
                    timeouts.push((Timeout::AdaptiveEnd, (max / 10).saturating_mul(12)));
                }
                if let Some(rate) = max_src_conn_rate {
                    let written = timeouts.iter().find(|(at, _)| *at == Timeout::SrcTrack);
                    let seconds = written.map_or(0, |&(_, seconds)| seconds).max(rate.seconds);
                    timeouts.retain(|(at, _)| *at != Timeout::SrcTrack);
                    timeouts.push((Timeout::SrcTrack, seconds));
                }
                timeouts.sort_by_key(|&(timeout, _)| timeout as u8);
                let limited = max_src_conn.is_some() || max_src_conn_rate.is_some();
                let overload = overload.filter(|_| limited || min_rate.is_some());
                let source_track = match track {
                    _ if limited || max_src_nodes.is_some() || overload.is_some() => {
                        Some(SourceTrack::Rule)
                    }
                    None if max_src_states.is_some() => Some(SourceTrack::Global),
                    track => track,
                };
                StateOptions {
                    max,
                    no_sync,
                    source_track,
                    max_src_states,
                    max_src_conn,
                    max_src_conn_rate,
                    max_src_nodes,
                    overload: overload.map(|(table, flush)| Overload { table, flush }),
                    max_idle,
                    min_rate,
                    policy,
                    sloppy,
                    pflow,
                    timeouts,
                }
            },
        )
}

/// What goes with every protocol and family.
fn free_options() -> impl Strategy<Value = Rule> {
    let tagged = (any::<bool>(), name()).prop_map(|(not, tag)| Arc::new(Tagged { not, tag }));
    (
        (
            option::of(prop_oneof![Just(Direction::In), Just(Direction::Out)]),
            option::of(log()),
            any::<bool>(),
            option::of(interface()),
            option::of(interface()),
        ),
        (
            option::of(any::<u8>()),
            option::of(0..8_u8),
            option::of(rate(u32::MAX / 256)),
            set_fields(),
        ),
        (option::of(probability()), any::<bool>(), scrub(), any::<bool>(), any::<bool>()),
        (
            option::of("[ !#-&(-\\[\\]-~]{1,30}"),
            option::of(name()),
            option::of(tagged),
            state_options(),
        ),
    )
        .prop_map(
            |(
                (direction, log, quick, interface, received_on),
                (tos, prio, max_packet_rate, set),
                (probability, fragment, scrub, allow_opts, once),
                (label, tag, tagged, state_options),
            )| Rule {
                direction,
                log,
                quick,
                interface,
                received_on,
                tos,
                prio,
                max_packet_rate,
                set,
                probability,
                fragment,
                scrub,
                allow_opts,
                once,
                label: label.filter(|label| !label.contains('$')),
                tag,
                tagged,
                state_options: Arc::new(state_options),
                ..Rule::default()
            },
        )
}

/// What hangs together is made together: family, protocol and everything that depends on them.
fn rule() -> impl Strategy<Value = Rule> {
    let family = prop_oneof![Just(None), Just(Some(Family::Inet)), Just(Some(Family::Inet6))];
    let protocol = option::of(prop_oneof![Just(1), Just(6), Just(17), Just(58), 1..=u8::MAX]);
    let state = prop_oneof![
        Just(KeepState::No),
        Just(KeepState::Keep),
        Just(KeepState::Modulate),
        Just(KeepState::Synproxy)
    ];
    (family, protocol, free_options(), state)
        .prop_flat_map(|(family, protocol, free, state)| {
            let protocol = match (protocol, family) {
                (Some(names::ICMP), Some(Family::Inet6)) => Some(names::ICMP6),
                (Some(names::ICMP6), Some(Family::Inet)) => Some(names::ICMP),
                _ => protocol,
            };
            let ported = matches!(protocol, Some(names::TCP | names::UDP)) && !free.fragment;
            (
                Just(Rule { family, protocol, state, ..free }),
                action(),
                (endpoint(family, ported), endpoint(family, ported), option::of("[ !#-~]{1,31}")),
                option::of(flags()),
                option::of((any::<u8>(), option::of(any::<u8>()))),
            )
        })
        .prop_map(|(rule, action, (from, to, os), flags, icmp)| {
            let os = os.filter(|os| !os.contains('\\'));
            fitting(rule, action, (from, to, os), flags, icmp)
        })
}

/// Leaves out of the parts what does not go together.
fn fitting(
    free: Rule,
    action: Action,
    (from, to, os): (Endpoint, Endpoint, Option<String>),
    flags: Option<Flags>,
    icmp: Option<(u8, Option<u8>)>,
) -> Rule {
    let (family, protocol) = (free.family, free.protocol);
    let action = match (action, protocol, family) {
        (Action::Block(Return::Rst { .. }), protocol, _) if protocol != Some(names::TCP) => {
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
    let may_be_tcp = matches!(protocol, None | Some(names::TCP));
    let state = match free.state {
        _ if action != Action::Pass => KeepState::No,
        KeepState::Modulate | KeepState::Synproxy if !may_be_tcp => KeepState::Keep,
        state => state,
    };
    let mut state_options = free.state_options;
    match state {
        KeepState::No => state_options = Arc::default(),
        KeepState::Keep => {}
        KeepState::Modulate | KeepState::Synproxy => {
            Arc::make_mut(&mut state_options).sloppy = false;
        }
    }
    let flags = match flags {
        _ if free.fragment || !may_be_tcp => None,
        None if state != KeepState::No => Some(Flags { set: 0, of: 0 }),
        flags => flags,
    };
    let of_icmp = match family {
        Some(Family::Inet) => protocol == Some(names::ICMP),
        Some(Family::Inet6) => protocol == Some(names::ICMP6),
        None => false,
    };
    let icmp = icmp.filter(|_| of_icmp && !free.fragment);
    Rule {
        from: Endpoint { os: os.map(Into::into).filter(|_| protocol == Some(names::TCP)), ..from },
        to,
        flags,
        icmp: icmp.map(|(kind, code)| IcmpMatch { kind, code }),
        state,
        state_options,
        allow_opts: free.allow_opts && action == Action::Pass,
        once: free.once && action != Action::Match,
        action,
        ..free
    }
}

fn choice<T: Named + std::fmt::Debug>() -> impl Strategy<Value = T> {
    proptest::sample::select(T::ALL)
}

fn syncookies() -> impl Strategy<Value = Syncookies> {
    prop_oneof![
        Just(Syncookies::Never),
        Just(Syncookies::Always),
        (2..=100_u8, 1..100_u8)
            .prop_map(|(start, end)| Syncookies::Adaptive { start, end: end.min(start - 1) }),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    (
        (
            vec((choice::<Limit>(), 1..=Limits::MAX_TAILS), 0..5),
            vec((0..Timeout::ALL.len(), 0..=Timeouts::MAX_SECONDS), 0..5),
            choice::<Optimization>(),
        ),
        (any::<bool>(), any::<bool>(), vec("y[a-z0-9]{0,10}", 0..3)),
        (choice::<RulesetOptimization>(), choice::<DebugLevel>(), choice::<SrcConnCount>()),
        (option::of("[ !#-Z^-~]{1,40}"), option::of("y[a-z0-9]{0,10}"), option::of(1..=u32::MAX)),
        (syncookies(), any::<bool>(), any::<bool>()),
    )
        .prop_map(
            |(
                (limits, timeouts, optimization),
                (policy, floating, mut skip),
                (ruleset_optimization, debug, src_conn_count),
                (fingerprints, log_interface, host_id),
                (syncookies, on, no_df),
            )| {
                // What follows from limits and profile is the parser's business.
                let mut text = format!("set optimization {}\n", optimization.name());
                for (limit, value) in limits {
                    let _ = writeln!(text, "set limit {} {value}", limit.name());
                }
                let parsed = parse_one(&SourceFile::new("limit", text), &Defines::default());
                let mut options = parsed.rules.expect("limits").options;
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
                Options {
                    skip,
                    ruleset_optimization,
                    debug,
                    src_conn_count,
                    fingerprints,
                    log_interface,
                    host_id,
                    syncookies,
                    reassemble: Reassemble { on, no_df },
                    ..options
                }
            },
        )
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
