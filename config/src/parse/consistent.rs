//! What fits together in a rule (pfctl's `rule_consistent`).

use super::expand::Resolved;
use super::grammar::{RuleLine, Verb};
use super::lexer::Token;
use super::resolve::Resolver;
use crate::names::{self, ICMP, ICMP6, TCP, UDP};
use crate::rules::{Action, Family, KeepState, Return};

/// Whether the parts of the rule go together whatever they expand to; says each thing that does not.
pub(super) fn consistent(
    line: &RuleLine<'_, '_>,
    rule: &Resolved,
    resolver: &mut Resolver<'_, '_>,
) -> bool {
    let before = resolver.report.found.errors();
    protocol(line, rule, resolver);
    state(line, rule, resolver);
    let options = &line.options;
    if let (Some(at), false) = (options.allow_opts, matches!(line.verb, Verb::Pass | Verb::Anchor))
    {
        resolver.error::<()>(at, "allow-opts only goes with pass rules");
    }
    if let (Some(at), Verb::Match) = (options.once, &line.verb) {
        resolver.error::<()>(at, "once does not go with match rules");
    }
    if let Some(at) = options.fragment {
        let with = [
            (line.from.ports.first().or(line.to.ports.first()).map(|port| port.first), "ports"),
            (
                options.flags.as_ref().filter(|flags| flags.masks.is_some()).map(|f| f.keyword),
                "flags",
            ),
            (options.icmp.as_ref().map(|icmp| icmp.keyword), "ICMP types"),
        ];
        if let Some((_, what)) = with.iter().find(|(at, _)| at.is_some()) {
            let message =
                format!("fragments have no {what}: `fragment` only goes with IP header fields");
            resolver.error::<()>(at, message);
        }
    }
    if let Verb::Anchor = line.verb {
        anchor(line, resolver);
    }
    resolver.report.found.errors() == before
}

/// What belongs to one protocol only.
fn protocol(line: &RuleLine<'_, '_>, rule: &Resolved, resolver: &mut Resolver<'_, '_>) {
    let only_tcp = rule.protocols.iter().all(|&protocol| protocol == Some(TCP));
    let tcp = rule.protocols.contains(&Some(TCP)) || rule.protocols == [None];
    if let Some(flags) = line.options.flags.as_ref().filter(|flags| flags.masks.is_some() && !tcp) {
        resolver.error::<()>(flags.keyword, "flags only apply to tcp");
    }
    if let (Some(os), false) = (line.os.first(), only_tcp) {
        resolver.error::<()>(os, "os only applies to tcp: the rule needs `proto tcp`");
    }
    let ports = line.from.ports.first().or(line.to.ports.first());
    let not_ported = rule.protocols.iter().find(|&&protocol| !matches!(protocol, Some(TCP | UDP)));
    if let (Some(port), Some(&protocol)) = (ports, not_ported) {
        let message = match protocol {
            None => "port only applies to tcp and udp: the rule needs a `proto`".to_owned(),
            Some(protocol) => {
                format!(
                    "port only applies to tcp and udp, not to {}",
                    names::protocol_text(protocol)
                )
            }
        };
        resolver.error::<()>(port.first, message);
    }
    if let (Action::Block(Return::Rst { .. }), false) = (&rule.action, only_tcp) {
        let message = "return-rst only applies to tcp: the rule needs `proto tcp`";
        resolver.error::<()>(line.keyword, message);
    }
    if let Some(icmp) = &line.options.icmp {
        let (protocol, name) =
            if icmp.keyword.text == "icmp6-type" { (ICMP6, "icmp6") } else { (ICMP, "icmp") };
        if rule.protocols.iter().any(|&written| written != Some(protocol)) {
            let message = format!("{} needs `proto {name}` and no other", icmp.keyword.text);
            resolver.error::<()>(icmp.keyword, message);
        }
    }
}

/// What is said about state.
fn state(line: &RuleLine<'_, '_>, rule: &Resolved, resolver: &mut Resolver<'_, '_>) {
    let Some(state) = &line.options.state else { return };
    if let Verb::Anchor = line.verb {
        resolver.error::<()>(state.keyword, "an anchor says nothing about state: its rules do");
    } else if state.keep != KeepState::No && rule.action != Action::Pass {
        let message = format!("`{} state` only goes with pass rules", state.keyword.text);
        resolver.error::<()>(state.keyword, message);
    }
    let rewritten = matches!(state.keep, KeepState::Modulate | KeepState::Synproxy);
    let sloppy = state.options.iter().find(|item| item.at.text == "sloppy");
    if let (true, Some(item)) = (rewritten, sloppy) {
        let message = format!("`sloppy` does not go with `{} state`", state.keyword.text);
        resolver.error::<()>(item.at, message);
    }
}

/// An anchor rule has conditions, a tag and a label, and no effects of its own (pfctl's
/// `anchorrule`).
fn anchor(line: &RuleLine<'_, '_>, resolver: &mut Resolver<'_, '_>) {
    let options = &line.options;
    let set = options.set.first().map(super::effects::SetItem::keyword);
    let effects: [Option<&Token<'_>>; 5] = [
        line.log.as_ref().map(|log| log.keyword),
        set,
        options.scrub.as_ref().map(|scrub| scrub.keyword),
        options.allow_opts,
        options.once,
    ];
    for at in effects.into_iter().flatten() {
        let what = if Some(at) == set { format!("set {}", at.text) } else { at.text.to_string() };
        resolver.error::<()>(at, format!("`{what}` cannot stand on an anchor: its rules have it"));
    }
}

/// ICMP belongs to one family, `ICMPv6` to the other, and a type to one of them.
pub(super) fn family_fits(
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
