//! From one written rule to the rules it stands for, in pf's order (pfctl, `expand_rule`): the
//! outermost loop is the interface, then protocol, ICMP type, source, destination, source port,
//! destination port. Families are inferred from addresses; pairs of different families are left out
//! in silence.

use std::rc::Rc;

use super::grammar::{RuleLine, Verb};
use super::resolve::{ResolvedHost, Resolver};
use crate::names::{self, ICMP, ICMP6, TCP, UDP};
use crate::options::BlockPolicy;
use crate::rules::{
    Action, Address, AnchorCall, Endpoint, Family, Flags, IcmpMatch, Interface, KeepState, Log,
    Ports, Return, Rule, Source,
};

/// The most rules that a rule set may expand to.
pub const MAX_RULES: usize = 1_000_000;

/// pf's `PF_RULE_LABEL_SIZE` less its closing zero.
const LONGEST_LABEL: usize = 63;

/// `flags S/SA`.
const SYN_OF_SYN_ACK: Flags = Flags { set: 0x02, of: 0x12 };

/// Every criterion of a rule with its words looked up, lists still lists. An empty list of things
/// that were not written is a list of one `None`, so that the loops need no special case.
struct Resolved {
    action: Action,
    log: Option<Log>,
    interfaces: Vec<Option<Interface>>,
    protocols: Vec<Option<u8>>,
    icmp: Vec<Option<IcmpMatch>>,
    from: Vec<ResolvedHost>,
    to: Vec<ResolvedHost>,
    from_ports: Vec<Option<Ports>>,
    to_ports: Vec<Option<Ports>>,
    flags: Option<Flags>,
    state: KeepState,
    label: Option<String>,
}

/// Appends what the rule stands for to `rules`, or says why it cannot.
pub(super) fn expand(
    line: &RuleLine<'_, '_>,
    policy: BlockPolicy,
    rules: &mut Vec<Rule>,
    resolver: &mut Resolver<'_, '_>,
) {
    expand_as(line, None, policy, rules, resolver);
}

/// Appends the rules that call an anchor under the conditions of `line`, which
/// [`super::grammar::anchor`] read: one, or several if there are lists in it.
pub(super) fn expand_anchor(
    line: &RuleLine<'_, '_>,
    call: &AnchorCall,
    rules: &mut Vec<Rule>,
    resolver: &mut Resolver<'_, '_>,
) {
    expand_as(line, Some(call), BlockPolicy::Drop, rules, resolver);
}

fn expand_as(
    line: &RuleLine<'_, '_>,
    call: Option<&AnchorCall>,
    policy: BlockPolicy,
    rules: &mut Vec<Rule>,
    resolver: &mut Resolver<'_, '_>,
) {
    let Some(resolved) = resolve(line, call, policy, resolver) else { return };
    if !consistent(line, &resolved, resolver) {
        return;
    }
    let pairs = pairs(line.family, &resolved.from, &resolved.to);
    let count = resolved.count(&pairs);
    if count == 0 {
        resolver.error::<()>(line.keyword, "the rule expands to no valid combination");
        return;
    }
    if count.saturating_add(rules.len() as u64) > MAX_RULES as u64 {
        let message = format!(
            "this rule expands to {count} rules, and a rule set may have {MAX_RULES} at most"
        );
        resolver.error::<()>(line.keyword, message);
        return;
    }
    build(line, &resolved, &pairs, rules, resolver);
}

fn resolve(
    line: &RuleLine<'_, '_>,
    call: Option<&AnchorCall>,
    policy: BlockPolicy,
    resolver: &mut Resolver<'_, '_>,
) -> Option<Resolved> {
    let or_none = |list: Vec<_>| if list.is_empty() { vec![None] } else { list };
    let any = || vec![ResolvedHost { not: false, address: Address::Any, family: None }];
    let action = match &line.verb {
        Verb::Pass => Some(Action::Pass),
        Verb::Block(None) => Some(Action::Block(match policy {
            BlockPolicy::Drop => Return::Drop,
            BlockPolicy::Return => Return::Auto,
        })),
        Verb::Match => Some(Action::Match),
        Verb::Anchor => Some(Action::Anchor(call.cloned().unwrap_or_default())),
        Verb::Block(Some(answer)) => resolver.answer(answer).map(Action::Block),
    };
    let log = match &line.log {
        Some(words) => resolver.log(words).map(Some),
        None => Some(None),
    };
    let interfaces =
        resolver.all(&line.interfaces, |resolver, item| resolver.interface(item).map(Some));
    let protocols = resolver.all(&line.protocols, |resolver, at| resolver.protocol(at));
    let from = resolver.all(&line.from.hosts, |resolver, host| resolver.host(host));
    let from_ports = resolver.all(&line.from.ports, |resolver, port| resolver.port(port).map(Some));
    let to = resolver.all(&line.to.hosts, |resolver, host| resolver.host(host));
    let to_ports = resolver.all(&line.to.ports, |resolver, port| resolver.port(port).map(Some));
    let flags = match &line.options.flags {
        Some(spec) => resolver.flags(spec).map(Some),
        None => Some(None),
    };
    let icmp = match &line.options.icmp {
        Some(icmp) => resolver.icmp(icmp).map(|(_, items)| items.into_iter().map(Some).collect()),
        None => Some(vec![None]),
    };
    let label = match line.options.label {
        Some(at) => resolver.label(at).map(Some),
        None => Some(None),
    };
    let action = action?;
    let (from, to) = (from?, to?);
    let passes = action == Action::Pass;
    Some(Resolved {
        action,
        log: log?,
        interfaces: match interfaces? {
            list if list.is_empty() => vec![None],
            list => list,
        },
        protocols: match protocols? {
            list if list.is_empty() => vec![None],
            list => list,
        },
        icmp: icmp?,
        from: if from.is_empty() { any() } else { from },
        to: if to.is_empty() { any() } else { to },
        from_ports: or_none(from_ports?),
        to_ports: or_none(to_ports?),
        flags: flags?,
        state: match line.options.state {
            Some((_, state)) if passes => state,
            None if passes => KeepState::Keep,
            _ => KeepState::No,
        },
        label: label?,
    })
}

/// What fits together whatever the expansion (pfctl, `filter_consistent`).
fn consistent(line: &RuleLine<'_, '_>, rule: &Resolved, resolver: &mut Resolver<'_, '_>) -> bool {
    let mut fine = true;
    let mut fault = |resolver: &mut Resolver<'_, '_>, at, message: String| {
        resolver.error::<()>(at, message);
        fine = false;
    };
    let tcp = rule.protocols.contains(&Some(TCP)) || rule.protocols == [None];
    if let Some(flags) = line.options.flags.as_ref().filter(|flags| flags.masks.is_some() && !tcp) {
        fault(resolver, flags.keyword, "flags only apply to tcp".to_owned());
    }
    let ports = line.from.ports.first().or(line.to.ports.first());
    let not_ported = rule.protocols.iter().find(|&&protocol| !has_ports(protocol));
    if let (Some(port), Some(&protocol)) = (ports, not_ported) {
        let message = match protocol {
            None => "port only applies to tcp and udp: the rule needs a `proto`".to_owned(),
            Some(protocol) => {
                format!("port only applies to tcp and udp, not to {}", protocol_text(protocol))
            }
        };
        fault(resolver, port.first, message);
    }
    if let Action::Block(Return::Rst { .. }) = rule.action
        && rule.protocols.iter().any(|&protocol| protocol != Some(TCP))
    {
        let message = "return-rst only applies to tcp: the rule needs `proto tcp`";
        fault(resolver, line.keyword, message.to_owned());
    }
    if let Some((at, KeepState::Keep)) = line.options.state
        && rule.action != Action::Pass
    {
        fault(resolver, at, "keep state makes no sense on a block rule".to_owned());
    }
    if let Some(icmp) = &line.options.icmp {
        let (protocol, name) =
            if icmp.keyword.text == "icmp6-type" { (ICMP6, "icmp6") } else { (ICMP, "icmp") };
        if rule.protocols.iter().any(|&written| written != Some(protocol)) {
            let message = format!("{} needs `proto {name}` and no other", icmp.keyword.text);
            fault(resolver, icmp.keyword, message);
        }
    }
    fine
}

const fn has_ports(protocol: Option<u8>) -> bool {
    matches!(protocol, Some(TCP | UDP))
}

fn protocol_text(protocol: u8) -> String {
    names::protocol_name(protocol).map_or_else(|| protocol.to_string(), str::to_owned)
}

/// A source with every destination that it can be paired with, so that the loops never visit a
/// pair in vain: lists of a million addresses of either family would keep them busy for ever.
struct Pairs<'h> {
    from: &'h ResolvedHost,
    to: Rc<Vec<&'h ResolvedHost>>,
}

fn pairs<'h>(
    written: Option<Family>,
    from: &'h [ResolvedHost],
    to: &'h [ResolvedHost],
) -> Vec<Pairs<'h>> {
    let fit = |one: Option<Family>, other: Option<Family>| {
        one.is_none() || other.is_none() || one == other
    };
    let fitting = |family| {
        let fits = |host: &&ResolvedHost| fit(host.family, family) && fit(host.family, written);
        Rc::new(to.iter().filter(fits).collect::<Vec<_>>())
    };
    let (any, inet, inet6) =
        (fitting(None), fitting(Some(Family::Inet)), fitting(Some(Family::Inet6)));
    from.iter()
        .filter(|host| fit(host.family, written))
        .map(|from| {
            let to = match from.family {
                None => &any,
                Some(Family::Inet) => &inet,
                Some(Family::Inet6) => &inet6,
            };
            Pairs { from, to: Rc::clone(to) }
        })
        .filter(|pairs| !pairs.to.is_empty())
        .collect()
}

impl Resolved {
    /// How many rules the loops will make, without making them.
    fn count(&self, pairs: &[Pairs<'_>]) -> u64 {
        let pairs = pairs.iter().map(|pairs| pairs.to.len() as u64).sum();
        [
            self.interfaces.len(),
            self.protocols.len(),
            self.icmp.len(),
            self.from_ports.len(),
            self.to_ports.len(),
        ]
        .into_iter()
        .fold(pairs, |count, length| count.saturating_mul(length as u64))
    }

    /// The flags of a rule of that protocol: those written, else the implied ones.
    fn flags(&self, protocol: Option<u8>) -> Option<Flags> {
        if !matches!(protocol, None | Some(TCP)) {
            return None;
        }
        let stateful = self.action == Action::Pass && self.state == KeepState::Keep;
        match self.flags {
            // `flags any` is worth a word only where it replaces the implied ones.
            Some(Flags { of: 0, .. }) if !stateful => None,
            None if stateful => Some(SYN_OF_SYN_ACK),
            flags => flags,
        }
    }
}

fn build(
    line: &RuleLine<'_, '_>,
    resolved: &Resolved,
    pairs: &[Pairs<'_>],
    rules: &mut Vec<Rule>,
    resolver: &mut Resolver<'_, '_>,
) {
    let span = line.keyword.span;
    let source =
        Source { file: span.file, line: resolver.report.sources.line(span.file, span.start) };
    for interface in &resolved.interfaces {
        for &protocol in &resolved.protocols {
            let flags = resolved.flags(protocol);
            for &icmp in &resolved.icmp {
                for Pairs { from, to } in pairs {
                    for to in to.iter() {
                        let family = line.family.or(from.family).or(to.family);
                        if !family_fits(line, resolved, protocol, family, resolver) {
                            return;
                        }
                        for &from_port in &resolved.from_ports {
                            for &to_port in &resolved.to_ports {
                                rules.push(Rule {
                                    action: of_family(&resolved.action, family),
                                    direction: line.direction,
                                    log: resolved.log,
                                    quick: line.quick,
                                    interface: interface.clone(),
                                    family,
                                    protocol,
                                    from: endpoint(from, from_port),
                                    to: endpoint(to, to_port),
                                    flags,
                                    icmp,
                                    state: resolved.state,
                                    label: None,
                                    source,
                                    ..Rule::default()
                                });
                                if let Some(label) = &resolved.label
                                    && !add_label(label, line, rules, resolver)
                                {
                                    return;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn endpoint(host: &ResolvedHost, port: Option<Ports>) -> Endpoint {
    Endpoint { not: host.not, address: host.address.clone(), port, os: None }
}

/// The code for the family that cannot occur is left out.
fn of_family(action: &Action, family: Option<Family>) -> Action {
    match (action, family) {
        (&Action::Block(Return::Icmp { v4, .. }), Some(Family::Inet)) => {
            Action::Block(Return::Icmp { v4, v6: None })
        }
        (&Action::Block(Return::Icmp { v6, .. }), Some(Family::Inet6)) => {
            Action::Block(Return::Icmp { v4: None, v6 })
        }
        _ => action.clone(),
    }
}

/// ICMP belongs to one family, `ICMPv6` to the other, and a type to one of them.
fn family_fits(
    line: &RuleLine<'_, '_>,
    resolved: &Resolved,
    protocol: Option<u8>,
    family: Option<Family>,
    resolver: &mut Resolver<'_, '_>,
) -> bool {
    let message = match (protocol, family) {
        (Some(ICMP), Some(Family::Inet6)) => {
            "proto icmp does not go with inet6: did you mean icmp6?"
        }
        (Some(ICMP6), Some(Family::Inet)) => {
            "proto icmp6 does not go with inet: did you mean icmp?"
        }
        (Some(ICMP), None) if resolved.icmp != [None] => "icmp-type needs the family `inet`",
        (Some(ICMP6), None) if resolved.icmp != [None] => "icmp6-type needs the family `inet6`",
        _ => return true,
    };
    let at = match (&line.options.icmp, family) {
        (Some(icmp), None) => icmp.keyword,
        _ => line.protocols.first().copied().unwrap_or(line.keyword),
    };
    resolver.error::<()>(at, message);
    false
}

/// Gives the last rule its label, the macros in it replaced (pf.conf(5), `label`).
fn add_label(
    label: &str,
    line: &RuleLine<'_, '_>,
    rules: &mut [Rule],
    resolver: &mut Resolver<'_, '_>,
) -> bool {
    let number = rules.len().saturating_sub(1);
    let Some(rule) = rules.last_mut() else { return true };
    let text = if label.contains('$') { label_text(label, rule, number) } else { label.to_owned() };
    if text.len() > LONGEST_LABEL {
        let message = format!("the label is longer than {LONGEST_LABEL} bytes");
        resolver.error::<()>(line.options.label.unwrap_or(line.keyword), message);
        return false;
    }
    rule.label = (!text.is_empty()).then_some(text);
    true
}

fn label_text(label: &str, rule: &Rule, number: usize) -> String {
    let mut text = String::with_capacity(label.len());
    let mut rest = label;
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let known: [(&str, &dyn Fn() -> String); 7] = [
            ("$if", &|| match &rule.interface {
                Some(interface) => interface.name.clone(),
                None => "any".to_owned(),
            }),
            ("$srcaddr", &|| label_address(&rule.from)),
            ("$dstaddr", &|| label_address(&rule.to)),
            ("$srcport", &|| label_port(rule.from.port)),
            ("$dstport", &|| label_port(rule.to.port)),
            ("$proto", &|| rule.protocol.map_or_else(|| "ip".to_owned(), protocol_text)),
            ("$nr", &|| number.to_string()),
        ];
        if let Some((name, value)) = known.iter().find(|(name, _)| rest.starts_with(name)) {
            text.push_str(&value());
            rest = &rest[name.len()..];
        } else {
            text.push('$');
            rest = &rest[1..];
        }
    }
    text + rest
}

fn label_address(side: &Endpoint) -> String {
    format!("{}{}", if side.not { "! " } else { "" }, side.address)
}

/// As pf writes it: a `28:29` range gives nothing.
fn label_port(port: Option<Ports>) -> String {
    match port {
        None | Some(Ports::Range(..)) => String::new(),
        Some(Ports::Equal(a)) => a.to_string(),
        Some(Ports::NotEqual(a)) => format!("!={a}"),
        Some(Ports::Less(a)) => format!("<{a}"),
        Some(Ports::LessEqual(a)) => format!("<={a}"),
        Some(Ports::Greater(a)) => format!(">{a}"),
        Some(Ports::GreaterEqual(a)) => format!(">={a}"),
        Some(Ports::Inside(a, b)) => format!("{a}><{b}"),
        Some(Ports::Outside(a, b)) => format!("{a}<>{b}"),
    }
}
