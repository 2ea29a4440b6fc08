//! From one written rule to the rules it stands for, in pf's order (pfctl, `expand_rule`): the
//! outermost loop is the interface, then protocol, ICMP type, source, destination, source port,
//! destination port. Families are inferred from addresses; pairs of different families are left out
//! in silence.

use std::rc::Rc;
use std::sync::Arc;

use super::consistent::{consistent, family_fits};
use super::grammar::{RuleLine, Verb};
use super::label;
use super::lexer::Token;
use super::resolve::{Resolved as Found, ResolvedHost, Resolver};
use super::set::Settings;
use crate::names::TCP;
use crate::options::BlockPolicy;
use crate::rules::{
    Action, Address, AnchorCall, Endpoint, Family, Flags, IcmpMatch, Interface, KeepState, Log,
    Ports, Probability, Rate, Return, Rule, Scrub, SetFields, Source, StateOptions, Tagged,
};

/// The most rules that a rule set may expand to.
pub const MAX_RULES: usize = 1_000_000;

/// The highest `max-pkt-rate`: packets are counted in 1/256 in 32 bits.
const MOST_PACKETS: u32 = u32::MAX / 256;

/// `flags S/SA`.
const SYN_OF_SYN_ACK: Flags = Flags { set: 0x02, of: 0x12 };

/// Every criterion of a rule with its words looked up, lists still lists. An empty list of things
/// that were not written is a list of one `None`, so that the loops need no special case.
pub(super) struct Resolved {
    pub(super) action: Action,
    log: Option<Log>,
    interfaces: Vec<Option<Arc<Interface>>>,
    pub(super) protocols: Vec<Option<u8>>,
    pub(super) icmp: Vec<Option<IcmpMatch>>,
    from: Vec<ResolvedHost>,
    to: Vec<ResolvedHost>,
    from_ports: Vec<Option<Ports>>,
    to_ports: Vec<Option<Ports>>,
    os: Vec<Option<Arc<str>>>,
    flags: Option<Flags>,
    state: KeepState,
    label: Option<String>,
    tag: Option<String>,
    /// What every rule of the expansion has alike.
    same: Same,
}

struct Same {
    received_on: Option<Arc<Interface>>,
    tos: Option<u8>,
    prio: Option<u8>,
    max_packet_rate: Option<Rate>,
    set: SetFields,
    state_options: Arc<StateOptions>,
    probability: Option<Probability>,
    scrub: Scrub,
    tagged: Option<Arc<Tagged>>,
}

/// Appends what the rule stands for to `rules`, or says why it cannot.
pub(super) fn expand(
    line: &RuleLine<'_, '_>,
    settings: &Settings,
    rules: &mut Vec<Rule>,
    resolver: &mut Resolver<'_, '_>,
) {
    let action = match &line.verb {
        Verb::Pass => Some(Action::Pass),
        Verb::Match | Verb::Anchor => Some(Action::Match),
        Verb::Block(None) => Some(Action::Block(match settings.options.block_policy {
            BlockPolicy::Drop => Return::Drop,
            BlockPolicy::Return => Return::Auto,
        })),
        Verb::Block(Some(answer)) => resolver.answer(answer).map(Action::Block),
    };
    expand_as(line, action, settings.state_defaults.as_ref(), rules, resolver);
}

/// Appends the rules that call an anchor under the conditions of `line`, which
/// [`super::grammar::anchor`] read: one, or several if there are lists in it.
pub(super) fn expand_anchor(
    line: &RuleLine<'_, '_>,
    call: &AnchorCall,
    rules: &mut Vec<Rule>,
    resolver: &mut Resolver<'_, '_>,
) {
    expand_as(line, Some(Action::Anchor(Box::new(call.clone()))), None, rules, resolver);
}

fn expand_as(
    line: &RuleLine<'_, '_>,
    action: Option<Action>,
    defaults: Option<&Arc<StateOptions>>,
    rules: &mut Vec<Rule>,
    resolver: &mut Resolver<'_, '_>,
) {
    let Some(resolved) = resolve(line, action, defaults, resolver) else { return };
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

/// A thing that was not written is there and none; one that is wrong is not there.
fn written<I, T>(item: Option<I>, look_up: impl FnOnce(I) -> Found<T>) -> Found<Option<T>> {
    match item {
        Some(item) => look_up(item).map(Some),
        None => Some(None),
    }
}

/// Looks everything up before it gives up, so that all errors are found.
fn resolve(
    line: &RuleLine<'_, '_>,
    action: Option<Action>,
    defaults: Option<&Arc<StateOptions>>,
    resolver: &mut Resolver<'_, '_>,
) -> Option<Resolved> {
    let or_none = |list: Vec<_>| if list.is_empty() { vec![None] } else { list };
    let or_any = |list: Vec<_>| {
        let any = ResolvedHost { not: false, address: Address::Any, family: None };
        if list.is_empty() { vec![any] } else { list }
    };
    let options = &line.options;
    let log = written(line.log.as_ref(), |log| resolver.log(&log.items));
    let interfaces = resolver.all(&line.interfaces, |resolver, item| {
        resolver.interface(item).map(|on| Some(Arc::new(on)))
    });
    let protocols = resolver.all(&line.protocols, |resolver, at| resolver.protocol(at));
    let from = resolver.all(&line.from.hosts, |resolver, host| resolver.host(host));
    let from_ports = resolver.all(&line.from.ports, |resolver, port| resolver.port(port).map(Some));
    let os = resolver.all(&line.os, |resolver, at| resolver.os(at).map(|os| Some(os.into())));
    let to = resolver.all(&line.to.hosts, |resolver, host| resolver.destination(host));
    let to_ports = resolver.all(&line.to.ports, |resolver, port| resolver.port(port).map(Some));
    let received_on = written(options.received_on.as_ref(), |item| resolver.interface(item));
    let flags = written(options.flags.as_ref(), |spec| resolver.flags(spec));
    let icmp = match &options.icmp {
        Some(icmp) => resolver.icmp(icmp).map(|(_, items)| items.into_iter().map(Some).collect()),
        None => Some(vec![None]),
    };
    let tos = written(options.tos, |at| resolver.tos(at));
    let prio = written(options.prio, |at| resolver.prio(at));
    let max_packet_rate = written(options.max_packet_rate, |rate| {
        resolver.rate(&rate, "number of packets", MOST_PACKETS)
    });
    let set = resolver.set_fields(&options.set);
    let state_options =
        written(options.state.as_ref(), |state| resolver.state_options(&state.options));
    let probability = written(options.probability, |at| resolver.probability(at));
    let scrub = written(options.scrub.as_ref(), |spec| resolver.scrub(spec));
    let label = written(options.label, |at| resolver.label(at));
    let tag = written(options.tag, |at| resolver.tag(at));
    let tagged = written(options.tagged.as_ref(), |spec| resolver.tagged(spec));
    let action = action?;
    let passes = action == Action::Pass;
    Some(Resolved {
        state: match &options.state {
            Some(state) if passes => state.keep,
            None if passes => KeepState::Keep,
            _ => KeepState::No,
        },
        same: Same {
            received_on: received_on?.map(Arc::new),
            tos: tos?,
            prio: prio?,
            max_packet_rate: max_packet_rate?,
            set: set?,
            // The defaults hold where nothing is said about state.
            state_options: match state_options? {
                Some(written) => Arc::new(written),
                None => defaults.filter(|_| passes).cloned().unwrap_or_default(),
            },
            probability: probability?,
            scrub: scrub?.unwrap_or_default(),
            tagged: tagged?.map(Arc::new),
        },
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
        from: or_any(from?),
        to: or_any(to?),
        from_ports: or_none(from_ports?),
        to_ports: or_none(to_ports?),
        os: match os? {
            list if list.is_empty() => vec![None],
            list => list,
        },
        flags: flags?,
        label: label?,
        tag: tag?,
    })
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
            self.os.len(),
        ]
        .into_iter()
        .fold(pairs, |count, length| count.saturating_mul(length as u64))
    }

    /// The flags of a rule of that protocol: those written, else the implied ones.
    fn flags(&self, protocol: Option<u8>, fragment: bool) -> Option<Flags> {
        if fragment || !matches!(protocol, None | Some(TCP)) {
            return None;
        }
        let stateful = self.action == Action::Pass && self.state != KeepState::No;
        match self.flags {
            // `flags any` is worth a word only where it replaces the implied ones.
            Some(Flags { of: 0, .. }) if !stateful => None,
            None if stateful => Some(SYN_OF_SYN_ACK),
            flags => flags,
        }
    }

    /// What a rule of that protocol does about state: only TCP has sequence numbers.
    const fn state(&self, protocol: Option<u8>) -> KeepState {
        match (self.state, protocol) {
            (KeepState::Modulate | KeepState::Synproxy, Some(protocol)) if protocol != TCP => {
                KeepState::Keep
            }
            (state, _) => state,
        }
    }

    /// One rule of the expansion, without what names the loops' addresses and ports.
    fn rule(
        &self,
        line: &RuleLine<'_, '_>,
        interface: Option<&Arc<Interface>>,
        protocol: Option<u8>,
        family: Option<Family>,
        source: Source,
    ) -> Rule {
        let options = &line.options;
        Rule {
            action: of_family(&self.action, family),
            direction: line.direction,
            log: self.log,
            quick: line.quick,
            interface: interface.cloned(),
            received_on: self.same.received_on.clone(),
            family,
            protocol,
            from: Endpoint::default(),
            to: Endpoint::default(),
            flags: self.flags(protocol, options.fragment.is_some()),
            icmp: None,
            tos: self.same.tos,
            prio: self.same.prio,
            max_packet_rate: self.same.max_packet_rate,
            set: self.same.set,
            state: self.state(protocol),
            state_options: Arc::clone(&self.same.state_options),
            probability: self.same.probability,
            fragment: options.fragment.is_some(),
            scrub: self.same.scrub,
            allow_opts: options.allow_opts.is_some(),
            label: None,
            once: options.once.is_some(),
            tag: self.tag.clone(),
            tagged: self.same.tagged.clone(),
            source,
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
    let source = resolver.source(line.keyword);
    for interface in &resolved.interfaces {
        for &protocol in &resolved.protocols {
            for &icmp in &resolved.icmp {
                for Pairs { from, to } in pairs {
                    for to in to.iter() {
                        let family = line.family.or(from.family).or(to.family);
                        if !family_fits(line, resolved, protocol, family, resolver) {
                            return;
                        }
                        for &from_port in &resolved.from_ports {
                            for &to_port in &resolved.to_ports {
                                for os in &resolved.os {
                                    let mut rule = resolved.rule(
                                        line,
                                        interface.as_ref(),
                                        protocol,
                                        family,
                                        source,
                                    );
                                    rule.icmp = icmp;
                                    rule.from =
                                        Endpoint { os: os.clone(), ..endpoint(from, from_port) };
                                    rule.to = endpoint(to, to_port);
                                    if !add_names(resolved, &mut rule, line, rules.len(), resolver)
                                    {
                                        return;
                                    }
                                    rules.push(rule);
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

/// Gives the rule its label and replaces the macros in its tags (pf.conf(5), `label`).
fn add_names(
    resolved: &Resolved,
    rule: &mut Rule,
    line: &RuleLine<'_, '_>,
    number: usize,
    resolver: &mut Resolver<'_, '_>,
) -> bool {
    let replaced = |text: &String, rule: &Rule| {
        if text.contains('$') { Some(label::replace(text, rule, number)) } else { None }
    };
    let mut name = |at: Option<&Token<'_>>, text: &str, what| {
        let at = at.unwrap_or(line.keyword);
        resolver.check_name(at, text, what, label::LONGEST).is_some()
    };
    if let Some(text) = rule.tag.as_ref().and_then(|text| replaced(text, rule)) {
        if !name(line.options.tag, &text, "tag") {
            return false;
        }
        rule.tag = Some(text);
    }
    let tag = rule.tagged.as_ref().map(|tagged| &tagged.tag);
    if let Some(text) = tag.and_then(|text| replaced(text, rule)) {
        let at = line.options.tagged.as_ref().map(|tagged| tagged.tag);
        if !name(at, &text, "tag") {
            return false;
        }
        if let Some(tagged) = &mut rule.tagged {
            Arc::make_mut(tagged).tag = text;
        }
    }
    if let Some(text) = &resolved.label {
        let text = replaced(text, rule).unwrap_or_else(|| text.clone());
        if text.len() > label::LONGEST {
            let message = format!("the label is longer than {} bytes", label::LONGEST);
            resolver.error::<()>(line.options.label.unwrap_or(line.keyword), message);
            return false;
        }
        rule.label = (!text.is_empty()).then_some(text);
    }
    true
}
