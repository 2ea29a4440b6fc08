//! `set`: options that hold for the whole rule set.

use nom::Parser;
use nom::branch::alt;
use nom::combinator::{cut, map, value};
use nom::sequence::{pair, preceded};

use super::ether_options::{self, LinkLine};
use super::grammar::{Input, InterfaceItem, Parsed, interface, list, plain, word};
use super::lexer::Token;
use super::resolve::Resolver;
use super::words::{nearest, refusal, shorten, with_hint};
use crate::options::{BlockPolicy, Options, StatePolicy, Timeout, Timeouts};

/// A `set` line as written.
#[derive(Debug)]
pub(super) enum SetLine<'t, 's> {
    /// Name and value of each limit.
    Limit(Vec<(&'t Token<'s>, &'t Token<'s>)>),
    /// Name and value of each time-out.
    Timeout(Vec<(&'t Token<'s>, &'t Token<'s>)>),
    BlockPolicy(BlockPolicy),
    StatePolicy(StatePolicy),
    Skip(Vec<InterfaceItem<'t, 's>>),
    /// An option of layer 2.
    Link(LinkLine<'t, 's>),
    /// An option that only its name is known of.
    Unknown(&'t Token<'s>),
}

/// The words that can stand behind `set`.
#[rustfmt::skip]
pub(super) const NAMES: &[&str] = &[
    "limit", "timeout", "block-policy", "state-policy", "skip", "link-control", "neighbour-guard",
    "neighbour-mac-check", "router-guard", "dhcp-guard",
];

pub(super) fn set<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, SetLine<'t, 's>> {
    preceded(
        word("set"),
        cut(alt((
            map(preceded(word("limit"), cut(list(limit))), SetLine::Limit),
            map(preceded(word("timeout"), cut(list(timeout))), SetLine::Timeout),
            map(preceded(word("block-policy"), cut(block_policy)), SetLine::BlockPolicy),
            map(preceded(word("state-policy"), cut(state_policy)), SetLine::StatePolicy),
            map(preceded(pair(word("skip"), cut(word("on"))), cut(list(interface))), SetLine::Skip),
            map(ether_options::link, SetLine::Link),
            map(plain("another option"), SetLine::Unknown),
        ))),
    )
    .parse(input)
}

fn limit<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, (&'t Token<'s>, &'t Token<'s>)> {
    pair(plain("`states`"), cut(plain("a number"))).parse(input)
}

fn timeout<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, (&'t Token<'s>, &'t Token<'s>)> {
    pair(plain("a time-out"), cut(plain("a number of seconds"))).parse(input)
}

fn block_policy<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, BlockPolicy> {
    alt((value(BlockPolicy::Drop, word("drop")), value(BlockPolicy::Return, word("return"))))
        .parse(input)
}

fn state_policy<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, StatePolicy> {
    alt((
        value(StatePolicy::IfBound, word("if-bound")),
        value(StatePolicy::Floating, word("floating")),
    ))
    .parse(input)
}

/// The options as they fill up line by line.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) options: Options,
    adaptive: [Option<u32>; 2],
}

impl Settings {
    /// The options, the adaptive pair following `set limit states` unless it was set (pf.conf(5)).
    pub(super) fn finish(mut self) -> Options {
        self.options.timeouts.follow_limit(self.options.limits.states);
        for (timeout, value) in
            [Timeout::AdaptiveStart, Timeout::AdaptiveEnd].into_iter().zip(self.adaptive)
        {
            if let Some(value) = value {
                self.options.timeouts.set(timeout, value);
            }
        }
        self.options
    }

    /// Takes over a line and echoes it as -v does. A line with an error changes nothing and is
    /// reported.
    pub(super) fn apply(
        &mut self,
        line: &SetLine<'_, '_>,
        resolver: &mut Resolver<'_, '_>,
        echo: &mut Vec<String>,
    ) {
        match line {
            SetLine::Limit(items) => {
                let Some(values) = resolver
                    .all(items, |resolver, &(name, number)| limit_value(name, number, resolver))
                else {
                    return;
                };
                for states in values {
                    self.options.limits.states = states;
                    echo.push(format!("set limit states {states}"));
                }
            }
            SetLine::Timeout(items) => {
                let Some(values) = resolver
                    .all(items, |resolver, &(name, number)| timeout_value(name, number, resolver))
                else {
                    return;
                };
                for (timeout, value) in values {
                    self.options.timeouts.set(timeout, value);
                    match timeout {
                        Timeout::AdaptiveStart => self.adaptive[0] = Some(value),
                        Timeout::AdaptiveEnd => self.adaptive[1] = Some(value),
                        _ => {}
                    }
                    echo.push(format!("set timeout {timeout} {value}"));
                }
            }
            SetLine::BlockPolicy(policy) => {
                self.options.block_policy = *policy;
                echo.push(format!("set block-policy {policy}"));
            }
            SetLine::StatePolicy(policy) => {
                self.options.state_policy = *policy;
                echo.push(format!("set state-policy {policy}"));
            }
            SetLine::Skip(items) => self.skip(items, resolver, echo),
            SetLine::Link(line) => line.apply(&mut self.options.link, resolver, echo),
            SetLine::Unknown(name) => {
                let message = refusal(&name.text).unwrap_or_else(|| {
                    let message = format!("unknown option `{}`", shorten(&name.text));
                    with_hint(message, "", nearest(&name.text, NAMES.iter().copied()))
                });
                resolver.error::<()>(name, message);
            }
        }
    }

    /// `none` takes back what earlier lines said.
    fn skip(
        &mut self,
        items: &[InterfaceItem<'_, '_>],
        resolver: &mut Resolver<'_, '_>,
        echo: &mut Vec<String>,
    ) {
        if let [only] = items
            && !only.not
            && only.name.text == "none"
        {
            self.options.skip.clear();
            echo.push("set skip on none".to_owned());
            return;
        }
        let names = resolver.all(items, |resolver, item| {
            if item.not {
                return resolver.error(item.name, "`set skip on !` is not supported");
            }
            resolver.interface_name(item.name)
        });
        let Some(names) = names else { return };
        echo.push(format!("set skip on {{ {} }}", names.join(" ")));
        let mut seen: std::collections::HashSet<String> =
            self.options.skip.iter().cloned().collect();
        self.options.skip.extend(names.into_iter().filter(|name| seen.insert(name.clone())));
    }
}

fn limit_value(
    name: &Token<'_>,
    number: &Token<'_>,
    resolver: &mut Resolver<'_, '_>,
) -> Option<u32> {
    const LATER: &[&str] =
        &["src-nodes", "frags", "tables", "table-entries", "pktdelay-pkts", "anchors"];
    if LATER.contains(&&*name.text) {
        return resolver.error(name, format!("`limit {}` is not built yet", name.text));
    }
    if name.text != "states" {
        let message = format!("unknown limit `{}`", shorten(&name.text));
        let near = nearest(&name.text, std::iter::once("states"));
        return resolver.error(name, with_hint(message, "", near));
    }
    match resolver.number(number, "limit", u32::MAX)? {
        0 => resolver.error(number, "a limit of 0 states would stop all traffic that keeps state"),
        states => Some(states),
    }
}

/// Why a time-out that pf knows changes nothing, if it does not; `None` for those that work.
const fn idle(timeout: Timeout) -> Option<&'static str> {
    match timeout {
        Timeout::AdaptiveStart | Timeout::AdaptiveEnd => {
            Some("time-outs do not shrink with the number of states yet")
        }
        Timeout::Frag => Some("fragments are not reassembled yet"),
        Timeout::TcpTsDiff => Some("TCP timestamps are not looked at yet"),
        Timeout::SrcTrack => Some("sources are not tracked yet"),
        Timeout::Interval => Some("states end by a timer each, not by sweeps"),
        _ => None,
    }
}

fn timeout_value(
    name: &Token<'_>,
    number: &Token<'_>,
    resolver: &mut Resolver<'_, '_>,
) -> Option<(Timeout, u32)> {
    let Some(timeout) = Timeout::from_name(&name.text) else {
        let message = format!("unknown time-out `{}`", shorten(&name.text));
        let known = Timeout::ALL.iter().map(|timeout| timeout.name());
        let message = with_hint(message, "", nearest(&name.text, known));
        return resolver.error(name, message);
    };
    if let Some(why) = idle(timeout) {
        resolver.warning(name, format!("`{timeout}` has no effect: {why}"));
    }
    let (what, max) = if timeout.counts_states() {
        ("number of states", u32::MAX)
    } else {
        ("number of seconds", Timeouts::MAX_SECONDS)
    };
    Some((timeout, resolver.number(number, what, max)?))
}
