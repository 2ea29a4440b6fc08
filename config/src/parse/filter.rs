//! What comes in any order at the end of a rule: pf's `filter_opts`. Grammar first, then what the
//! words mean; state options are in [`super::state`].

use nom::Err;
use nom::Parser;
use nom::branch::alt;
use nom::combinator::{map, opt};
use nom::sequence::{delimited, pair, preceded};

use super::grammar::{
    Fault, Input, InterfaceItem, Parsed, cut, first, interface, list, plain, separated, symbol,
    word,
};
use super::lexer::{Kind, Token};
use super::resolve::{Resolved, Resolver, decimal};
use super::state::{self, StateItem};
use super::words::{self, nearest, shorten, with_hint};
use crate::names;
use crate::rules::{KeepState, Probability, Rate, Scrub, SetFields, Tagged};

/// The options of a rule as written.
#[derive(Debug, Default)]
pub(super) struct Options<'t, 's> {
    pub(super) received_on: Option<InterfaceItem<'t, 's>>,
    pub(super) flags: Option<Flags<'t, 's>>,
    pub(super) icmp: Option<Icmp<'t, 's>>,
    pub(super) tos: Option<&'t Token<'s>>,
    pub(super) prio: Option<&'t Token<'s>>,
    pub(super) max_packet_rate: Option<RateSpec<'t, 's>>,
    pub(super) set: Vec<SetItem<'t, 's>>,
    pub(super) state: Option<State<'t, 's>>,
    pub(super) probability: Option<&'t Token<'s>>,
    pub(super) fragment: Option<&'t Token<'s>>,
    pub(super) scrub: Option<ScrubSpec<'t, 's>>,
    pub(super) allow_opts: Option<&'t Token<'s>>,
    pub(super) label: Option<&'t Token<'s>>,
    pub(super) once: Option<&'t Token<'s>>,
    pub(super) tag: Option<&'t Token<'s>>,
    pub(super) tagged: Option<TaggedSpec<'t, 's>>,
}

#[derive(Debug)]
pub(super) struct Flags<'t, 's> {
    pub(super) keyword: &'t Token<'s>,
    /// `None` is `any`.
    pub(super) masks: Option<(Option<&'t Token<'s>>, &'t Token<'s>)>,
}

#[derive(Debug)]
pub(super) struct Icmp<'t, 's> {
    pub(super) keyword: &'t Token<'s>,
    pub(super) items: Vec<IcmpItem<'t, 's>>,
}

#[derive(Debug)]
pub(super) struct IcmpItem<'t, 's> {
    pub(super) kind: &'t Token<'s>,
    pub(super) code: Option<&'t Token<'s>>,
}

/// `count/seconds`.
#[derive(Clone, Copy, Debug)]
pub(super) struct RateSpec<'t, 's> {
    pub(super) count: &'t Token<'s>,
    pub(super) seconds: &'t Token<'s>,
}

#[derive(Debug)]
pub(super) struct State<'t, 's> {
    pub(super) keyword: &'t Token<'s>,
    pub(super) keep: KeepState,
    pub(super) options: Vec<StateItem<'t, 's>>,
}

/// What `set` changes in a packet.
#[derive(Debug)]
pub(super) enum SetItem<'t, 's> {
    Prio { keyword: &'t Token<'s>, prio: &'t Token<'s>, low_delay: Option<&'t Token<'s>> },
    Tos { keyword: &'t Token<'s>, tos: &'t Token<'s> },
}

impl<'t, 's> SetItem<'t, 's> {
    pub(super) const fn keyword(&self) -> &'t Token<'s> {
        match self {
            Self::Prio { keyword, .. } | Self::Tos { keyword, .. } => keyword,
        }
    }
}

#[derive(Debug)]
pub(super) struct ScrubSpec<'t, 's> {
    pub(super) keyword: &'t Token<'s>,
    pub(super) items: Vec<ScrubItem<'t, 's>>,
}

/// A word of `scrub (...)` and what follows it.
#[derive(Debug)]
pub(super) struct ScrubItem<'t, 's> {
    word: &'t Token<'s>,
    value: Option<&'t Token<'s>>,
}

#[derive(Debug)]
pub(super) struct TaggedSpec<'t, 's> {
    not: bool,
    pub(super) tag: &'t Token<'s>,
}

/// Every option up to the first word that is none, each at most once.
pub(super) fn options<'t, 's>(mut input: Input<'t, 's>) -> Parsed<'t, 's, Options<'t, 's>> {
    let mut found = Options::default();
    // pfctl prints `probability` between `keep state` and its options.
    let mut continued = false;
    loop {
        if let Some(state) = found.state.as_mut().filter(|_| continued && input[0].is_symbol("(")) {
            (input, state.options) = state_options(input)?;
        }
        let not = input[0].is_symbol("!");
        let at = &input[usize::from(not)];
        let (Kind::Word, negatable) = (&at.kind, matches!(&*at.text, "received-on" | "tagged"))
        else {
            return Ok((input, found));
        };
        if not && !negatable {
            return Ok((input, found));
        }
        let rest = &input[1 + usize::from(not)..];
        continued = &*at.text == "probability"
            && found
                .state
                .as_ref()
                .is_some_and(|state| state.keep != KeepState::No && state.options.is_empty());
        input = match &*at.text {
            "received-on" => {
                let (rest, item) = cut(interface).parse(rest)?;
                fill(&mut found.received_on, at, InterfaceItem { not, ..item })?;
                rest
            }
            "flags" => {
                let (rest, masks) = cut(flags).parse(rest)?;
                fill(&mut found.flags, at, Flags { keyword: at, masks })?;
                rest
            }
            "icmp-type" | "icmp6-type" if found.icmp.is_some() => {
                let message = "a rule has one `icmp-type` or `icmp6-type`; several types go into a \
                               list";
                return Err(Err::Failure(Fault::message(at, message)));
            }
            "icmp-type" | "icmp6-type" => {
                let (rest, items) = cut(list(icmp_item)).parse(rest)?;
                found.icmp = Some(Icmp { keyword: at, items });
                rest
            }
            "tos" => {
                let (rest, tos) = cut(plain(TOS)).parse(rest)?;
                fill(&mut found.tos, at, tos)?;
                rest
            }
            "prio" => {
                let (rest, prio) = cut(plain(PRIO)).parse(rest)?;
                fill(&mut found.prio, at, prio)?;
                rest
            }
            "max-pkt-rate" => {
                let (rest, rate) = cut(rate).parse(rest)?;
                fill(&mut found.max_packet_rate, at, rate)?;
                rest
            }
            "set" => {
                let (rest, items) = cut(set_items).parse(rest)?;
                found.set.extend(items);
                rest
            }
            "keep" | "no" | "modulate" | "synproxy" if found.state.is_some() => {
                let message = "a rule says once what it does about state";
                return Err(Err::Failure(Fault::message(at, message)));
            }
            "keep" | "no" | "modulate" | "synproxy" => {
                let (rest, state) = cut(|rest| state(at, rest)).parse(rest)?;
                found.state = Some(state);
                rest
            }
            "probability" => {
                let (rest, value) = cut(plain("a probability")).parse(rest)?;
                fill(&mut found.probability, at, value)?;
                rest
            }
            "fragment" => {
                fill(&mut found.fragment, at, at)?;
                rest
            }
            "scrub" => {
                let items = delimited(symbol("("), separated(scrub_item), symbol(")"));
                let (rest, items) = cut(items).parse(rest)?;
                fill(&mut found.scrub, at, ScrubSpec { keyword: at, items })?;
                rest
            }
            "allow-opts" => {
                fill(&mut found.allow_opts, at, at)?;
                rest
            }
            "label" => {
                let (rest, label) = cut(plain("a label")).parse(rest)?;
                fill(&mut found.label, at, label)?;
                rest
            }
            "once" => {
                fill(&mut found.once, at, at)?;
                rest
            }
            "tag" => {
                let (rest, tag) = cut(plain("a tag")).parse(rest)?;
                fill(&mut found.tag, at, tag)?;
                rest
            }
            "tagged" => {
                let (rest, tag) = cut(plain("a tag")).parse(rest)?;
                fill(&mut found.tagged, at, TaggedSpec { not, tag })?;
                rest
            }
            _ => return Ok((input, found)),
        };
    }
}

const TOS: &str = "a type of service";
const PRIO: &str = "a priority, 0 to 7";

/// Each option stands once in a rule.
fn fill<'t, 's, T>(
    slot: &mut Option<T>,
    at: &'t Token<'s>,
    value: T,
) -> Result<(), Err<Fault<'t, 's>>> {
    if slot.is_some() {
        let message = format!("`{}` stands twice in this rule", at.text);
        return Err(Err::Failure(Fault::message(at, message)));
    }
    *slot = Some(value);
    Ok(())
}

#[allow(clippy::type_complexity)]
fn flags<'t, 's>(
    input: Input<'t, 's>,
) -> Parsed<'t, 's, Option<(Option<&'t Token<'s>>, &'t Token<'s>)>> {
    let mask = || plain("the flags to look at, out of FSRPAUEW");
    if input[0].is_word("any") {
        return Ok((&input[1..], None));
    }
    if input[0].is_symbol("/") {
        return map(mask(), |mask| Some((None, mask))).parse(&input[1..]);
    }
    let (input, set) = plain("`any`, or flags out of FSRPAUEW and `/`")(input)?;
    map(preceded(symbol("/"), mask()), |mask| Some((Some(set), mask))).parse(input)
}

fn icmp_item<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, IcmpItem<'t, 's>> {
    let code = preceded(word("code"), cut(plain("an ICMP code")));
    map(pair(plain("an ICMP type"), opt(code)), |(kind, code)| IcmpItem { kind, code }).parse(input)
}

/// `100/10`.
pub(super) fn rate<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, RateSpec<'t, 's>> {
    map(
        pair(plain("a number"), preceded(symbol("/"), plain("a number of seconds"))),
        |(count, seconds)| RateSpec { count, seconds },
    )
    .parse(input)
}

/// `set prio 5`, or several in parentheses.
fn set_items<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Vec<SetItem<'t, 's>>> {
    alt((
        delimited(symbol("("), cut(separated(set_item)), cut(symbol(")"))),
        map(set_item, |item| vec![item]),
    ))
    .parse(input)
}

fn set_item<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, SetItem<'t, 's>> {
    let (input, keyword) = first(input)?;
    let two = delimited(
        symbol("("),
        cut(pair(plain(PRIO), preceded(opt(symbol(",")), plain(PRIO)))),
        cut(symbol(")")),
    );
    let prio =
        alt((map(two, |(one, two)| (one, Some(two))), map(plain(PRIO), |prio| (prio, None))));
    alt((
        map(preceded(word("prio"), cut(prio)), move |(prio, low_delay)| SetItem::Prio {
            keyword,
            prio,
            low_delay,
        }),
        map(preceded(word("tos"), cut(plain(TOS))), move |tos| SetItem::Tos { keyword, tos }),
    ))
    .parse(input)
}

/// What follows `keep`, `no`, `modulate` or `synproxy`.
fn state<'t, 's>(keyword: &'t Token<'s>, input: Input<'t, 's>) -> Parsed<'t, 's, State<'t, 's>> {
    let keep = match &*keyword.text {
        "no" => KeepState::No,
        "modulate" => KeepState::Modulate,
        "synproxy" => KeepState::Synproxy,
        _ => KeepState::Keep,
    };
    let (input, _) = word("state")(input)?;
    if keep == KeepState::No || !input[0].is_symbol("(") {
        return Ok((input, State { keyword, keep, options: Vec::new() }));
    }
    map(state_options, move |options| State { keyword, keep, options }).parse(input)
}

fn state_options<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Vec<StateItem<'t, 's>>> {
    delimited(symbol("("), cut(separated(state::item)), cut(symbol(")"))).parse(input)
}

const SCRUB: &[&str] = &["no-df", "random-id", "min-ttl", "max-mss", "reassemble"];

fn scrub_item<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, ScrubItem<'t, 's>> {
    let (input, word) = plain("a `scrub` option")(input)?;
    let wanted = match &*word.text {
        "min-ttl" => "a time to live",
        "max-mss" => "a maximum segment size",
        "reassemble" => "`tcp`",
        "no-df" | "random-id" => return Ok((input, ScrubItem { word, value: None })),
        text => {
            let message = format!("unknown `scrub` option `{}`", shorten(text));
            let message = words::refusal(text)
                .unwrap_or_else(|| with_hint(message, "", nearest(text, SCRUB.iter().copied())));
            return Err(Err::Failure(Fault::message(word, message)));
        }
    };
    map(cut(plain(wanted)), move |value| ScrubItem { word, value: Some(value) }).parse(input)
}

impl Resolver<'_, '_> {
    /// A type of service: pf's and the Differentiated Services' names (RFC 2474, RFC 2597), a
    /// decimal or a `0x` number.
    pub(super) fn tos(&mut self, at: &Token<'_>) -> Resolved<u8> {
        let text = &*at.text;
        let number = match text.strip_prefix("0x") {
            Some(hex) if !hex.is_empty() && hex.len() <= 8 => u64::from_str_radix(hex, 16).ok(),
            _ => decimal(text),
        };
        let known = match number {
            Some(number) => u8::try_from(number).ok(),
            None => names::tos_by_name(text),
        };
        if known.is_some() {
            return known;
        }
        let message = format!(
            "`{}` is no type of service: expected a name or a number up to 255",
            shorten(text)
        );
        self.error(at, with_hint(message, "", nearest(text, names::tos_names())))
    }

    /// A priority of 802.1Q.
    pub(super) fn prio(&mut self, at: &Token<'_>) -> Resolved<u8> {
        self.number(at, "priority", 7).map(|prio| prio as u8)
    }

    /// Both numbers from 1; `what` names the first.
    pub(super) fn rate(&mut self, rate: &RateSpec<'_, '_>, what: &str, max: u32) -> Resolved<Rate> {
        let count = self.positive(rate.count, what, max);
        let seconds =
            self.positive(rate.seconds, "number of seconds", crate::options::Timeouts::MAX_SECONDS);
        Some(Rate { count: count?, seconds: seconds? })
    }

    /// A number from 1 to `max`.
    pub(super) fn positive(&mut self, at: &Token<'_>, what: &str, max: u32) -> Resolved<u32> {
        match self.number(at, what, max)? {
            0 => self.error(at, format!("0 is no {what}: expected a number from 1 to {max}")),
            number => Some(number),
        }
    }

    /// What `set` writes; each field once in a rule.
    pub(super) fn set_fields(&mut self, items: &[SetItem<'_, '_>]) -> Resolved<SetFields> {
        let mut fields = SetFields::default();
        let mut fine = true;
        for item in items {
            let keyword = item.keyword();
            let twice = match item {
                SetItem::Prio { prio, low_delay, .. } => {
                    let prio = self.prio(prio);
                    let low_delay = match low_delay {
                        Some(at) => self.prio(at).map(Some),
                        None => Some(None),
                    };
                    let (Some(prio), Some(low_delay)) = (prio, low_delay) else {
                        fine = false;
                        continue;
                    };
                    let low_delay = low_delay.filter(|&low_delay| low_delay != prio);
                    fields.prio.replace((prio, low_delay)).is_some()
                }
                SetItem::Tos { tos, .. } => {
                    let Some(tos) = self.tos(tos) else {
                        fine = false;
                        continue;
                    };
                    fields.tos.replace(tos).is_some()
                }
            };
            if twice {
                let message = format!("`set {}` stands twice in this rule", keyword.text);
                self.error::<()>(keyword, message);
                fine = false;
            }
        }
        fine.then_some(fields)
    }

    /// `20%` or `0.2`, as pf rounds it.
    pub(super) fn probability(&mut self, at: &Token<'_>) -> Resolved<Probability> {
        let (text, scale) = match at.text.strip_suffix('%') {
            Some(text) => (text, 0.01),
            None => (&*at.text, 1.0),
        };
        let plain = text.starts_with(|c: char| c.is_ascii_digit())
            && text.len() <= 32
            && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match text.parse::<f64>() {
            Ok(share) if plain && share * scale <= 1.0 => {
                let draws = (share * scale * f64::from(u32::MAX) + 0.5).floor();
                // At most u32::MAX, since the share is at most 1.
                Some(Probability((draws as u32).max(1)))
            }
            _ => {
                let message = format!(
                    "`{}` is no probability: expected 0% to 100%, or 0 to 1",
                    shorten(&at.text)
                );
                self.error(at, message)
            }
        }
    }

    /// What `scrub (...)` asks for, each thing once.
    pub(super) fn scrub(&mut self, spec: &ScrubSpec<'_, '_>) -> Resolved<Scrub> {
        let mut scrub = Scrub::default();
        self.all(&spec.items, |resolver, ScrubItem { word, value }| {
            let twice = match (&*word.text, value) {
                ("no-df", _) => std::mem::replace(&mut scrub.no_df, true),
                ("random-id", _) => std::mem::replace(&mut scrub.random_id, true),
                ("min-ttl", Some(at)) => {
                    let ttl = resolver.positive(at, "time to live", 255)?;
                    scrub.min_ttl.replace(ttl as u8).is_some()
                }
                ("max-mss", Some(at)) => {
                    let size = resolver.positive(at, "maximum segment size", 65_535)?;
                    scrub.max_mss.replace(size as u16).is_some()
                }
                (_, Some(at)) if !at.text.eq_ignore_ascii_case("tcp") => {
                    let message = format!(
                        "`reassemble` only goes with `tcp` here, not with `{}`",
                        shorten(&at.text)
                    );
                    return resolver.error(at, message);
                }
                _ => std::mem::replace(&mut scrub.reassemble_tcp, true),
            };
            if twice {
                return resolver.error(word, format!("`{}` stands twice here", word.text));
            }
            Some(())
        })?;
        Some(scrub)
    }

    /// `[!] tagged`.
    pub(super) fn tagged(&mut self, spec: &TaggedSpec<'_, '_>) -> Resolved<Tagged> {
        Some(Tagged { not: spec.not, tag: self.tag(spec.tag)? })
    }

    /// A tag as written; the macros of labels are replaced later.
    pub(super) fn tag(&mut self, at: &Token<'_>) -> Resolved<String> {
        let text = &*at.text;
        // `$nr` and its kin are checked when they have been replaced.
        if text.contains('$') || self.check_name(at, text, "tag", super::label::LONGEST).is_some() {
            return Some(text.to_owned());
        }
        None
    }

    /// A name that is printed without quotes, and must be readable then.
    pub(super) fn check_name(
        &mut self,
        at: &Token<'_>,
        text: &str,
        what: &str,
        longest: usize,
    ) -> Resolved<()> {
        if text.len() > longest {
            let message =
                format!("`{}` is too long: a {what} has at most {longest} bytes", shorten(text));
            return self.error(at, message);
        }
        if words::is_keyword(text) {
            let message = format!("`{text}` is a word of the language and cannot be a {what}");
            return self.error(at, message);
        }
        if !super::lexer::is_one_word(text) {
            let message = format!(
                "`{}` cannot be a {what}: use letters, digits, `_`, `-` and `.`",
                shorten(text)
            );
            return self.error(at, message);
        }
        Some(())
    }
}
