//! What a rule does to the packets that match it: `set (...)` and `scrub (...)`. Grammar first, then
//! what the words mean.

use nom::Err;
use nom::Parser;
use nom::branch::alt;
use nom::combinator::{map, opt};
use nom::sequence::{delimited, pair, preceded};

use super::filter::{PRIO, TOS};
use super::grammar::{Fault, Input, Parsed, cut, plain, separated, symbol, word};
use super::lexer::Token;
use super::resolve::{Resolved, Resolver};
use super::words::{self, nearest, shorten, with_hint};
use crate::rules::{Scrub, SetFields};

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

/// `set prio 5`, or several in parentheses.
pub(super) fn set_items<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Vec<SetItem<'t, 's>>> {
    alt((
        delimited(symbol("("), cut(separated(set_item)), cut(symbol(")"))),
        map(set_item, |item| vec![item]),
    ))
    .parse(input)
}

fn set_item<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, SetItem<'t, 's>> {
    let keyword = &input[0];
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

/// What stands behind `scrub`.
pub(super) fn scrub_items<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Vec<ScrubItem<'t, 's>>> {
    delimited(symbol("("), separated(scrub_item), symbol(")")).parse(input)
}

pub(super) const SCRUB: &[&str] = &["no-df", "random-id", "min-ttl", "max-mss", "reassemble"];

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
}
