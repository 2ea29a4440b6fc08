//! What comes in any order at the end of a rule: pf's `filter_opts`. Grammar first, then what the
//! words mean; state options are in [`super::state`].

use nom::Err;
use nom::Parser;
use nom::combinator::{map, opt};
use nom::sequence::{delimited, pair, preceded};

use super::effects::{self, ScrubSpec, SetItem};
use super::grammar::{
    Fault, Input, InterfaceItem, Parsed, cut, interface, list, plain, separated, symbol, word,
};
use super::lexer::{Kind, Token};
use super::resolve::{Resolved, Resolver, decimal};
use super::state::{self, StateItem};
use super::words::{self, nearest, shorten, with_hint};
use crate::names;
use crate::rules::{KeepState, Probability, Rate, Tagged};

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
        if at.kind != Kind::Word || not && !matches!(&*at.text, "received-on" | "tagged") {
            return Ok((input, found));
        }
        let Some(rest) = option(at, not, &input[1 + usize::from(not)..], &mut found)? else {
            return Ok((input, found));
        };
        input = rest;
        continued = &*at.text == "probability"
            && found
                .state
                .as_ref()
                .is_some_and(|state| state.keep != KeepState::No && state.options.is_empty());
    }
}

/// Reads the option that begins with `at`, `input` being what follows; `None` if it begins none.
fn option<'t, 's>(
    at: &'t Token<'s>,
    not: bool,
    input: Input<'t, 's>,
    found: &mut Options<'t, 's>,
) -> Result<Option<Input<'t, 's>>, Err<Fault<'t, 's>>> {
    let alone = Ok((input, at));
    let rest = match &*at.text {
        "received-on" => {
            let item = map(cut(interface), |item| InterfaceItem { not, ..item }).parse(input);
            fill(&mut found.received_on, at, item)?
        }
        "flags" => {
            let flags = map(cut(flags), |masks| Flags { keyword: at, masks }).parse(input);
            fill(&mut found.flags, at, flags)?
        }
        "icmp-type" | "icmp6-type" if found.icmp.is_some() => {
            let message =
                "a rule has one `icmp-type` or `icmp6-type`; several types go into a list";
            return Err(Err::Failure(Fault::message(at, message)));
        }
        "icmp-type" | "icmp6-type" => {
            let icmp = map(cut(list(icmp_item)), |items| Icmp { keyword: at, items }).parse(input);
            fill(&mut found.icmp, at, icmp)?
        }
        "tos" => fill(&mut found.tos, at, cut(plain(TOS)).parse(input))?,
        "prio" => fill(&mut found.prio, at, cut(plain(PRIO)).parse(input))?,
        "max-pkt-rate" => fill(&mut found.max_packet_rate, at, cut(rate).parse(input))?,
        "set" => {
            let (rest, items) = cut(effects::set_items).parse(input)?;
            found.set.extend(items);
            rest
        }
        "keep" | "no" | "modulate" | "synproxy" if found.state.is_some() => {
            let message = "a rule says once what it does about state";
            return Err(Err::Failure(Fault::message(at, message)));
        }
        "keep" | "no" | "modulate" | "synproxy" => {
            fill(&mut found.state, at, cut(|input| state(at, input)).parse(input))?
        }
        "probability" => {
            fill(&mut found.probability, at, cut(plain("a probability")).parse(input))?
        }
        "fragment" => fill(&mut found.fragment, at, alone)?,
        "scrub" => {
            let items = cut(effects::scrub_items);
            let scrub = map(items, |items| ScrubSpec { keyword: at, items }).parse(input);
            fill(&mut found.scrub, at, scrub)?
        }
        "allow-opts" => fill(&mut found.allow_opts, at, alone)?,
        "label" => fill(&mut found.label, at, cut(plain("a label")).parse(input))?,
        "once" => fill(&mut found.once, at, alone)?,
        "tag" => fill(&mut found.tag, at, cut(plain("a tag")).parse(input))?,
        "tagged" => {
            let tagged = map(cut(plain("a tag")), |tag| TaggedSpec { not, tag }).parse(input);
            fill(&mut found.tagged, at, tagged)?
        }
        _ => return Ok(None),
    };
    Ok(Some(rest))
}

pub(super) const TOS: &str = "a type of service";
pub(super) const PRIO: &str = "a priority, 0 to 7";

/// Each option stands once in a rule.
fn fill<'t, 's, T>(
    slot: &mut Option<T>,
    at: &'t Token<'s>,
    parsed: Parsed<'t, 's, T>,
) -> Result<Input<'t, 's>, Err<Fault<'t, 's>>> {
    let (rest, value) = parsed?;
    if slot.replace(value).is_some() {
        let message = format!("`{}` stands twice in this rule", at.text);
        return Err(Err::Failure(Fault::message(at, message)));
    }
    Ok(rest)
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
                // From 0 to u32::MAX, since the share is between 0 and 1.
                #[allow(clippy::cast_sign_loss)]
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
