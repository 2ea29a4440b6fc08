//! State options: `keep state (...)` and `set state-defaults` (pf.conf(5), STATEFUL FILTERING), and
//! what the parser adds to them.

use nom::Err;
use nom::Parser;
use nom::branch::alt;
use nom::combinator::{map, opt, value};
use nom::sequence::preceded;

use super::filter::{RateSpec, rate};
use super::grammar::{Fault, Input, Parsed, cut, plain, table, word};
use super::lexer::{Kind, Token};
use super::resolve::{Resolved, Resolver};
use super::words::{nearest, refusal, shorten, with_hint};
use crate::options::{StatePolicy, Timeout, Timeouts};
use crate::rules::{Overload, OverloadFlush, SourceTrack, StateOptions};

/// One option as written, and its first word.
#[derive(Debug)]
pub(super) struct StateItem<'t, 's> {
    pub(super) at: &'t Token<'s>,
    option: StateOption<'t, 's>,
}

#[derive(Debug)]
enum StateOption<'t, 's> {
    Max(&'t Token<'s>),
    NoSync,
    SourceTrack(Option<SourceTrack>),
    MaxSrcStates(&'t Token<'s>),
    MaxSrcConn(&'t Token<'s>),
    MaxSrcConnRate(RateSpec<'t, 's>),
    MaxSrcNodes(&'t Token<'s>),
    Overload(&'t Token<'s>, OverloadFlush),
    MaxIdle(&'t Token<'s>),
    MinRate(RateSpec<'t, 's>),
    Policy(StatePolicy),
    Sloppy,
    Pflow,
    Timeout(Timeout, &'t Token<'s>),
}

/// The words that begin a state option, besides the time-outs.
pub(super) const WORDS: &[&str] = &[
    "max",
    "no-sync",
    "source-track",
    "max-src-states",
    "max-src-conn",
    "max-src-conn-rate",
    "max-src-nodes",
    "overload",
    "max-idle",
    "min-rate",
    "if-bound",
    "floating",
    "sloppy",
    "pflow",
];

/// One state option.
pub(super) fn item<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, StateItem<'t, 's>> {
    let at = &input[0];
    if at.kind != Kind::Word {
        return Err(Err::Error(Fault::expected(at, "a state option")));
    }
    let rest = &input[1..];
    let number = || cut(plain("a number"));
    let (rest, option) = match &*at.text {
        "max" => map(number(), StateOption::Max).parse(rest)?,
        "no-sync" => (rest, StateOption::NoSync),
        "source-track" => map(opt(source_track), StateOption::SourceTrack).parse(rest)?,
        "max-src-states" => map(number(), StateOption::MaxSrcStates).parse(rest)?,
        "max-src-conn" => map(number(), StateOption::MaxSrcConn).parse(rest)?,
        "max-src-conn-rate" => map(cut(rate), StateOption::MaxSrcConnRate).parse(rest)?,
        "max-src-nodes" => map(number(), StateOption::MaxSrcNodes).parse(rest)?,
        "overload" => {
            let (rest, name) = cut(table).parse(rest)?;
            map(flush, move |flush| StateOption::Overload(name, flush)).parse(rest)?
        }
        "max-idle" => map(cut(plain("a number of seconds")), StateOption::MaxIdle).parse(rest)?,
        "min-rate" => map(cut(rate), StateOption::MinRate).parse(rest)?,
        "if-bound" => (rest, StateOption::Policy(StatePolicy::IfBound)),
        "floating" => (rest, StateOption::Policy(StatePolicy::Floating)),
        "sloppy" => (rest, StateOption::Sloppy),
        "pflow" => (rest, StateOption::Pflow),
        name => match Timeout::from_name(name) {
            Some(timeout) => {
                let seconds = cut(plain("a number of seconds"));
                map(seconds, move |at| StateOption::Timeout(timeout, at)).parse(rest)?
            }
            None => return Err(Err::Failure(Fault::message(at, unknown(name)))),
        },
    };
    Ok((rest, StateItem { at, option }))
}

fn unknown(name: &str) -> String {
    refusal(name).unwrap_or_else(|| {
        let timeouts = Timeout::ALL.iter().map(|timeout| timeout.name());
        let near = nearest(name, WORDS.iter().copied().chain(timeouts));
        with_hint(format!("unknown state option `{}`", shorten(name)), "", near)
    })
}

fn source_track<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, SourceTrack> {
    alt((value(SourceTrack::Rule, word("rule")), value(SourceTrack::Global, word("global"))))
        .parse(input)
}

fn flush<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, OverloadFlush> {
    map(opt(preceded(word("flush"), opt(word("global")))), |flush| match flush {
        None => OverloadFlush::No,
        Some(None) => OverloadFlush::Rule,
        Some(Some(_)) => OverloadFlush::Global,
    })
    .parse(input)
}

/// `PF_THRESHOLD_MAX`.
const MAX_CONN_RATE: u32 = u32::MAX / 1000;

/// The longest name of a table (`PF_TABLE_NAME_SIZE` less its closing zero).
pub(super) const LONGEST_TABLE: usize = 31;

impl Resolver<'_, '_> {
    /// All options of one rule, with what follows from them; or what is wrong with them.
    pub(super) fn state_options(&mut self, items: &[StateItem<'_, '_>]) -> Resolved<StateOptions> {
        let mut options = StateOptions::default();
        let mut track = None;
        let mut overload = None;
        self.all(items, |resolver, item| {
            let twice = resolver.state_option(item, &mut options)?;
            match item.option {
                StateOption::SourceTrack(how) => track = Some((item.at, how)),
                StateOption::Overload(..) => overload = Some(item.at),
                _ => {}
            }
            if twice {
                return resolver.error(item.at, format!("`{}` stands twice here", item.at.text));
            }
            Some(())
        })?;
        if let Some(at) = overload
            && options.max_src_conn.is_none()
            && options.max_src_conn_rate.is_none()
            && options.min_rate.is_none()
        {
            let message = "`overload` needs `max-src-conn`, `max-src-conn-rate` or `min-rate`";
            return self.error(at, message);
        }
        options.source_track = self.source_track(&options, track)?;
        add_timeouts(&mut options);
        Some(options)
    }

    /// Takes one option over; true if it was there before.
    fn state_option(
        &mut self,
        item: &StateItem<'_, '_>,
        options: &mut StateOptions,
    ) -> Resolved<bool> {
        let what = &*item.at.text;
        let mut number = |at| self.positive(at, &format!("value of `{what}`"), u32::MAX);
        Some(match &item.option {
            StateOption::Max(at) => options.max.replace(number(at)?).is_some(),
            StateOption::NoSync => std::mem::replace(&mut options.no_sync, true),
            StateOption::SourceTrack(how) => {
                let how = how.unwrap_or(SourceTrack::Global);
                options.source_track.replace(how).is_some()
            }
            StateOption::MaxSrcStates(at) => options.max_src_states.replace(number(at)?).is_some(),
            StateOption::MaxSrcConn(at) => options.max_src_conn.replace(number(at)?).is_some(),
            StateOption::MaxSrcConnRate(rate) => {
                let rate = self.rate(rate, "number of connections", MAX_CONN_RATE)?;
                options.max_src_conn_rate.replace(rate).is_some()
            }
            StateOption::MaxSrcNodes(at) => options.max_src_nodes.replace(number(at)?).is_some(),
            StateOption::Overload(at, flush) => {
                let table = self.table_name(at)?;
                options.overload.replace(Overload { table, flush: *flush }).is_some()
            }
            StateOption::MaxIdle(at) => {
                let seconds = self.positive(at, "number of seconds", Timeouts::MAX_SECONDS)?;
                options.max_idle.replace(seconds).is_some()
            }
            StateOption::MinRate(rate) => {
                let rate = self.rate(rate, "number of bytes", u32::MAX)?;
                options.min_rate.replace(rate).is_some()
            }
            StateOption::Policy(policy) => options.policy.replace(*policy).is_some(),
            StateOption::Sloppy => std::mem::replace(&mut options.sloppy, true),
            StateOption::Pflow => std::mem::replace(&mut options.pflow, true),
            StateOption::Timeout(Timeout::Frag | Timeout::Interval, _) => {
                let message = format!("`{what}` is one for all states: use `set timeout`");
                return self.error(item.at, message);
            }
            StateOption::Timeout(timeout, at) => {
                let seconds = if timeout.counts_states() {
                    self.number(at, "number of states", u32::MAX)?
                } else {
                    self.positive(at, "number of seconds", Timeouts::MAX_SECONDS)?
                };
                let twice = options.timeouts.iter().any(|(known, _)| known == timeout);
                options.timeouts.push((*timeout, seconds));
                twice
            }
        })
    }

    /// `source-track` as it follows from the limits (pf.conf(5); pfctl's `pfrule`).
    fn source_track(
        &mut self,
        options: &StateOptions,
        written: Option<(&Token<'_>, Option<SourceTrack>)>,
    ) -> Resolved<Option<SourceTrack>> {
        let of_rule = [
            ("max-src-nodes", options.max_src_nodes.is_some()),
            ("max-src-conn", options.max_src_conn.is_some()),
            ("max-src-conn-rate", options.max_src_conn_rate.is_some()),
            // A source that is to go into a table has to be known.
            ("overload", options.overload.is_some()),
        ];
        let needs_rule = of_rule.iter().find(|(_, used)| *used);
        if let (Some((name, _)), Some((at, Some(SourceTrack::Global)))) = (needs_rule, written) {
            let message = format!("`{name}` does not go with `source-track global`");
            return self.error(at, message);
        }
        Some(match (needs_rule, written) {
            (Some(_), _) | (None, Some((_, Some(SourceTrack::Rule)))) => Some(SourceTrack::Rule),
            (None, Some(_)) => Some(SourceTrack::Global),
            (None, None) => options.max_src_states.map(|_| SourceTrack::Global),
        })
    }

    /// The name of a table behind `<`.
    pub(super) fn table_name(&mut self, at: &Token<'_>) -> Resolved<String> {
        self.check_name(at, &at.text, "table", LONGEST_TABLE)?;
        Some(at.text.clone().into_owned())
    }
}

/// The adaptive pair that `max` brings, and how long sources must be remembered for their rate; all
/// in the order of [`Timeout::ALL`].
fn add_timeouts(options: &mut StateOptions) {
    let timeouts = &mut options.timeouts;
    if let Some(max) = options.max
        && !timeouts.iter().any(|(timeout, _)| timeout.counts_states())
        && max >= 10
    {
        timeouts.push((Timeout::AdaptiveStart, max / 10 * 6));
        timeouts.push((Timeout::AdaptiveEnd, (max / 10).saturating_mul(12)));
    }
    if let Some(rate) = options.max_src_conn_rate {
        match timeouts.iter_mut().find(|(timeout, _)| *timeout == Timeout::SrcTrack) {
            Some((_, seconds)) => *seconds = rate.seconds.max(*seconds),
            None => timeouts.push((Timeout::SrcTrack, rate.seconds)),
        }
    }
    timeouts.sort_by_key(|&(timeout, _)| timeout as u8);
}
