//! `set`: options that hold for the whole rule set.

use std::sync::Arc;

use nom::Parser;
use nom::branch::alt;
use nom::combinator::{map, opt, value};
use nom::sequence::{delimited, pair, preceded};

use super::ether_options::{self, LinkLine};
use super::grammar::{
    Input, InterfaceItem, Parsed, any_word, cut, interface, list, plain, separated, symbol, word,
};
use super::lexer::Token;
use super::resolve::{Resolved, Resolver, decimal};
use super::state::{self, StateItem};
use super::words::{nearest, refusal, shorten, with_hint};
use crate::options::{
    BlockPolicy, DebugLevel, Limit, Named, Options, Reassemble, StatePolicy, Syncookies, Timeout,
    Timeouts,
};
use crate::rules::StateOptions;

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
    Optimization(&'t Token<'s>),
    RulesetOptimization(&'t Token<'s>),
    Debug(&'t Token<'s>),
    SrcConnCount(&'t Token<'s>),
    Fingerprints(&'t Token<'s>),
    LogInterface(&'t Token<'s>),
    HostId(&'t Token<'s>),
    Reassemble(Reassemble),
    Syncookies(SyncookiesSpec<'t, 's>),
    StateDefaults(Vec<StateItem<'t, 's>>),
    /// An option of layer 2.
    Link(LinkLine<'t, 's>),
    /// An option that only its name is known of.
    Unknown(&'t Token<'s>),
}

#[derive(Debug)]
pub(super) enum SyncookiesSpec<'t, 's> {
    Never,
    Always,
    /// With `start` and `end`, each with its share.
    Adaptive(Vec<(&'t Token<'s>, &'t Token<'s>)>),
}

/// The words that can stand behind `set`.
pub(super) const NAMES: &[&str] = &[
    "limit",
    "timeout",
    "block-policy",
    "state-policy",
    "skip",
    "optimization",
    "ruleset-optimization",
    "debug",
    "src-conn-count",
    "fingerprints",
    "loginterface",
    "hostid",
    "reassemble",
    "syncookies",
    "state-defaults",
    "link-control",
    "neighbour-guard",
    "neighbour-mac-check",
    "router-guard",
    "dhcp-guard",
];

pub(super) fn set<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, SetLine<'t, 's>> {
    let name = || cut(plain("a name"));
    preceded(
        word("set"),
        cut(alt((
            alt((
                map(preceded(word("limit"), cut(list(limit))), SetLine::Limit),
                map(preceded(word("timeout"), cut(list(timeout))), SetLine::Timeout),
                map(preceded(word("block-policy"), cut(block_policy)), SetLine::BlockPolicy),
                map(preceded(word("state-policy"), cut(state_policy)), SetLine::StatePolicy),
                map(
                    preceded(pair(word("skip"), cut(word("on"))), cut(list(interface))),
                    SetLine::Skip,
                ),
                map(preceded(word("optimization"), name()), SetLine::Optimization),
                map(preceded(word("ruleset-optimization"), name()), SetLine::RulesetOptimization),
                map(preceded(word("debug"), name()), SetLine::Debug),
                map(preceded(word("src-conn-count"), cut(count)), SetLine::SrcConnCount),
            )),
            alt((
                map(preceded(word("fingerprints"), cut(plain("a file"))), SetLine::Fingerprints),
                map(preceded(word("loginterface"), cut(plain(PORT))), SetLine::LogInterface),
                map(preceded(word("hostid"), cut(plain("a number"))), SetLine::HostId),
                map(preceded(word("reassemble"), cut(reassemble)), SetLine::Reassemble),
                map(preceded(word("syncookies"), cut(syncookies)), SetLine::Syncookies),
                map(
                    preceded(word("state-defaults"), cut(separated(state::item))),
                    SetLine::StateDefaults,
                ),
                map(ether_options::link, SetLine::Link),
                map(plain("another option"), SetLine::Unknown),
            )),
        ))),
    )
    .parse(input)
}

const PORT: &str = "an interface, `lan` or `wan`, or `none`";

/// `all` is a word of rules too.
fn count<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, &'t Token<'s>> {
    alt((word("established"), word("open"), word("all"))).parse(input)
}

fn reassemble<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Reassemble> {
    let on = alt((value(true, word("yes")), value(false, word("no"))));
    map(pair(on, opt(word("no-df"))), |(on, no_df)| Reassemble { on, no_df: no_df.is_some() })
        .parse(input)
}

fn syncookies<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, SyncookiesSpec<'t, 's>> {
    let share = pair(alt((word("start"), word("end"))), cut(plain("a share, like `25%`")));
    let shares = delimited(symbol("("), cut(separated(share)), cut(symbol(")")));
    alt((
        map(word("never"), |_| SyncookiesSpec::Never),
        map(word("always"), |_| SyncookiesSpec::Always),
        map(preceded(word("adaptive"), opt(shares)), |shares| {
            SyncookiesSpec::Adaptive(shares.unwrap_or_default())
        }),
    ))
    .parse(input)
}

fn limit<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, (&'t Token<'s>, &'t Token<'s>)> {
    pair(any_word("a limit"), cut(plain("a number"))).parse(input)
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
    /// `set state-defaults`: the state options of rules that say nothing about state.
    pub(super) state_defaults: Option<Arc<StateOptions>>,
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

    /// Takes over a line, whose first word is `set`, and echoes it as -v does. A line with an error
    /// changes nothing and is reported.
    pub(super) fn apply(
        &mut self,
        set: &Token<'_>,
        line: &SetLine<'_, '_>,
        resolver: &mut Resolver<'_, '_>,
        echo: &mut Vec<String>,
    ) {
        let source = resolver.source(set);
        for (name, text) in self.take(line, resolver).unwrap_or_default() {
            self.options.sources.insert(name, source);
            // pf does not echo `state-defaults`: the rules show what came of it.
            if !text.is_empty() {
                echo.push(format!("set {text}"));
            }
        }
    }

    /// The names of what was set, each with its text behind `set`.
    fn take(
        &mut self,
        line: &SetLine<'_, '_>,
        resolver: &mut Resolver<'_, '_>,
    ) -> Resolved<Vec<(&'static str, String)>> {
        let options = &mut self.options;
        let (name, text) = match line {
            SetLine::Limit(items) => {
                let values = resolver
                    .all(items, |resolver, &(name, number)| limit_value(name, number, resolver))?;
                return Some(values.into_iter().map(|value| self.limit(value)).collect());
            }
            SetLine::Timeout(items) => {
                let values = resolver.all(items, |resolver, &(name, number)| {
                    timeout_value(name, number, resolver)
                })?;
                return Some(values.into_iter().map(|value| self.timeout(value)).collect());
            }
            SetLine::BlockPolicy(policy) => {
                options.block_policy = *policy;
                ("block-policy", policy.to_string())
            }
            SetLine::StatePolicy(policy) => {
                options.state_policy = *policy;
                ("state-policy", policy.to_string())
            }
            SetLine::Skip(items) => ("skip on", self.skip(items, resolver)?),
            SetLine::Optimization(at) => {
                options.optimization = choice(at, "optimization", resolver)?;
                options.timeouts.follow(options.optimization);
                ("optimization", options.optimization.name().to_owned())
            }
            SetLine::RulesetOptimization(at) => {
                options.ruleset_optimization = choice(at, "ruleset-optimization", resolver)?;
                ("ruleset-optimization", options.ruleset_optimization.name().to_owned())
            }
            SetLine::Debug(at) => {
                options.debug = debug_level(at, resolver)?;
                ("debug", options.debug.name().to_owned())
            }
            SetLine::SrcConnCount(at) => {
                options.src_conn_count = choice(at, "src-conn-count", resolver)?;
                ("src-conn-count", options.src_conn_count.name().to_owned())
            }
            SetLine::Fingerprints(at) => {
                let file = resolver.quotable(at, "the name of a file")?;
                let text = format!("\"{file}\"");
                options.fingerprints = Some(file);
                ("fingerprints", text)
            }
            SetLine::LogInterface(at) => {
                let name = resolver.interface_name(at)?;
                options.log_interface = (name != "none").then(|| name.clone());
                ("loginterface", name)
            }
            SetLine::HostId(at) => {
                let id = host_id(at, resolver)?;
                options.host_id = Some(id);
                ("hostid", format!("{id:#010x}"))
            }
            SetLine::Reassemble(how) => {
                options.reassemble = *how;
                ("reassemble", how.to_string())
            }
            SetLine::Syncookies(spec) => {
                options.syncookies = syncookies_value(spec, resolver)?;
                ("syncookies", options.syncookies.to_string())
            }
            SetLine::StateDefaults(items) => {
                let defaults = resolver.state_options(items)?;
                if self.state_defaults.replace(Arc::new(defaults)).is_some() {
                    // pf's words.
                    return resolver.error(items[0].at, "cannot redefine state-defaults");
                }
                ("state-defaults", String::new())
            }
            SetLine::Link(line) => return line.take(&mut options.link, resolver),
            SetLine::Unknown(name) => {
                let message = refusal(&name.text).unwrap_or_else(|| {
                    let message = format!("unknown option `{}`", shorten(&name.text));
                    with_hint(message, "", nearest(&name.text, NAMES.iter().copied()))
                });
                return resolver.error(name, message);
            }
        };
        let text = if text.is_empty() { text } else { format!("{name} {text}") };
        Some(vec![(if name == "skip on" { "skip" } else { name }, text)])
    }

    fn limit(&mut self, (limit, value): (Limit, u32)) -> (&'static str, String) {
        self.options.limits.set(limit, value);
        (limit.name(), format!("limit {} {value}", limit.name()))
    }

    fn timeout(&mut self, (timeout, value): (Timeout, u32)) -> (&'static str, String) {
        self.options.timeouts.set(timeout, value);
        match timeout {
            Timeout::AdaptiveStart => self.adaptive[0] = Some(value),
            Timeout::AdaptiveEnd => self.adaptive[1] = Some(value),
            _ => {}
        }
        (timeout.name(), format!("timeout {timeout} {value}"))
    }

    /// `none` takes back what earlier lines said.
    fn skip(
        &mut self,
        items: &[InterfaceItem<'_, '_>],
        resolver: &mut Resolver<'_, '_>,
    ) -> Resolved<String> {
        if let [only] = items
            && !only.not
            && only.name.text == "none"
        {
            self.options.skip.clear();
            return Some("none".to_owned());
        }
        let names = resolver.all(items, |resolver, item| {
            if item.not {
                return resolver.error(item.name, "`set skip on !` is not supported");
            }
            resolver.interface_name(item.name)
        })?;
        let text = format!("{{ {} }}", names.join(" "));
        let mut seen: std::collections::HashSet<String> =
            self.options.skip.iter().cloned().collect();
        self.options.skip.extend(names.into_iter().filter(|name| seen.insert(name.clone())));
        Some(text)
    }
}

/// One of the names that the option has.
fn choice<T: Named>(at: &Token<'_>, option: &str, resolver: &mut Resolver<'_, '_>) -> Resolved<T> {
    if let Some(choice) = T::from_name(&at.text) {
        return Some(choice);
    }
    let known: Vec<_> = T::ALL.iter().map(|choice| choice.name()).collect();
    let message = format!(
        "`{}` is no value of `set {option}`: expected {}",
        shorten(&at.text),
        known.join(", ")
    );
    resolver.error(at, message)
}

/// The levels were others in the past, and are in FreeBSD.
fn debug_level(at: &Token<'_>, resolver: &mut Resolver<'_, '_>) -> Resolved<DebugLevel> {
    let now = match &*at.text {
        "none" => "crit",
        "urgent" => "err",
        "misc" => "notice",
        "loud" => "debug",
        _ => return choice(at, "debug", resolver),
    };
    let message =
        format!("`{}` is not part of the language any more: write `{now}`", shorten(&at.text));
    resolver.error(at, message)
}

/// Decimal or `0x`, not 0.
fn host_id(at: &Token<'_>, resolver: &mut Resolver<'_, '_>) -> Resolved<u32> {
    let number = match at.text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => decimal(&at.text).and_then(|number| u32::try_from(number).ok()),
    };
    match number {
        Some(0) => resolver.error(at, "hostid must not be 0"),
        Some(id) => Some(id),
        None => {
            let message = format!("`{}` is no hostid: expected 32 bits", shorten(&at.text));
            resolver.error(at, message)
        }
    }
}

fn syncookies_value(
    spec: &SyncookiesSpec<'_, '_>,
    resolver: &mut Resolver<'_, '_>,
) -> Resolved<Syncookies> {
    let shares = match spec {
        SyncookiesSpec::Never => return Some(Syncookies::Never),
        SyncookiesSpec::Always => return Some(Syncookies::Always),
        SyncookiesSpec::Adaptive(shares) => shares,
    };
    let (mut start, mut end) = (None, None);
    resolver.all(shares, |resolver, &(name, at)| {
        let share = at.text.strip_suffix('%').and_then(decimal);
        let Some(share @ 1..=100) = share else {
            let message = format!("`{}` is no share: expected 1% to 100%", shorten(&at.text));
            return resolver.error(at, message);
        };
        let slot = if name.text == "start" { &mut start } else { &mut end };
        if slot.replace(share as u8).is_some() {
            return resolver.error(name, format!("`{}` stands twice here", name.text));
        }
        Some(())
    })?;
    let (start, end) =
        (start.unwrap_or(Syncookies::DEFAULT_START), end.unwrap_or(Syncookies::DEFAULT_END));
    match shares.first() {
        Some((name, _)) if start <= end => {
            let message = format!("`start` must be above `end`: {start}% is not above {end}%");
            resolver.error(name, message)
        }
        _ => Some(Syncookies::Adaptive { start, end }),
    }
}

fn limit_value(
    name: &Token<'_>,
    number: &Token<'_>,
    resolver: &mut Resolver<'_, '_>,
) -> Option<(Limit, u32)> {
    let Some(limit) = Limit::from_name(&name.text) else {
        let message = format!("unknown limit `{}`", shorten(&name.text));
        let near = nearest(&name.text, Limit::ALL.iter().map(|limit| limit.name()));
        return resolver.error(name, with_hint(message, "", near));
    };
    match (limit, resolver.number(number, "limit", u32::MAX)?) {
        (Limit::States, 0) => {
            resolver.error(number, "a limit of 0 states would stop all traffic that keeps state")
        }
        (_, value) => Some((limit, value)),
    }
}

/// Why a time-out that pf knows changes nothing, if it does not; `None` for those that work.
const fn idle(timeout: Timeout) -> Option<&'static str> {
    match timeout {
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
