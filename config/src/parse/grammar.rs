//! The grammar on words, as nom parsers over the slice of a statement's tokens. What they build
//! still holds the words themselves; [`super::resolve`] turns them into numbers and addresses, so
//! that one statement can have many errors there.
//!
//! The slice always ends with [`Kind::End`], which no parser consumes: `input[0]` exists.

use nom::branch::alt;
use nom::combinator::{map, opt, value};
use nom::error::{ErrorKind, ParseError};
use nom::sequence::{delimited, pair, preceded};
use nom::{Err, IResult, Parser};

use super::filter::{self, Options};
use super::lexer::{Kind, Token};
use super::words;
use crate::rules::{Direction, Family};

pub(super) type Input<'t, 's> = &'t [Token<'s>];
pub(super) type Parsed<'t, 's, T> = IResult<Input<'t, 's>, T, Fault<'t, 's>>;

/// Where the grammar gave up.
#[derive(Debug)]
pub(super) struct Fault<'t, 's> {
    /// The first word that does not fit.
    pub(super) at: &'t Token<'s>,
    /// What fits there.
    pub(super) expected: Vec<&'static str>,
    /// A better sentence than "expected ...".
    pub(super) message: Option<String>,
}

impl<'t, 's> Fault<'t, 's> {
    pub(super) fn expected(at: &'t Token<'s>, expected: &'static str) -> Self {
        Self { at, expected: vec![expected], message: None }
    }

    pub(super) fn message(at: &'t Token<'s>, message: impl Into<String>) -> Self {
        Self { at, expected: Vec::new(), message: Some(message.into()) }
    }
}

impl Fault<'_, '_> {
    fn or_expected(mut self, expected: &'static str) -> Self {
        if self.message.is_none() {
            self.expected.push(expected);
        }
        self
    }
}

impl<'t, 's> ParseError<Input<'t, 's>> for Fault<'t, 's> {
    fn from_error_kind(input: Input<'t, 's>, _: ErrorKind) -> Self {
        Self { at: &input[0], expected: Vec::new(), message: None }
    }

    fn append(_: Input<'t, 's>, _: ErrorKind, other: Self) -> Self {
        other
    }

    /// The alternative that got further knows better; equal ones both say what they expected.
    fn or(mut self, mut other: Self) -> Self {
        match self.at.span.start.cmp(&other.at.span.start) {
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Equal => {
                self.expected.append(&mut other.expected);
                self.message = self.message.or(other.message);
                self
            }
        }
    }
}

/// A rule as written.
#[derive(Debug)]
pub(super) struct RuleLine<'t, 's> {
    pub(super) keyword: &'t Token<'s>,
    pub(super) verb: Verb<'t, 's>,
    pub(super) direction: Option<Direction>,
    pub(super) log: Option<Log<'t, 's>>,
    pub(super) quick: bool,
    pub(super) interfaces: Vec<InterfaceItem<'t, 's>>,
    pub(super) family: Option<Family>,
    pub(super) protocols: Vec<&'t Token<'s>>,
    pub(super) from: Side<'t, 's>,
    pub(super) os: Vec<&'t Token<'s>>,
    pub(super) to: Side<'t, 's>,
    pub(super) options: Options<'t, 's>,
    /// How far the fixed order of the words got, to name what is missing or misplaced.
    pub(super) stage: Stage,
}

/// The fixed order of the words of a rule; whatever comes last comes in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Action,
    Direction,
    Log,
    Interface,
    Family,
    Protocol,
    Hosts,
    Options,
}

#[derive(Debug)]
pub(super) enum Verb<'t, 's> {
    Pass,
    /// `None`: what `set block-policy` says.
    Block(Option<Answer<'t, 's>>),
    Match,
    /// The conditions on an anchor rule.
    Anchor,
}

/// What `block` answers.
#[derive(Debug)]
pub(super) enum Answer<'t, 's> {
    Drop,
    Return,
    Rst { ttl: Option<&'t Token<'s>> },
    Icmp { v4: Option<&'t Token<'s>>, v6: Option<&'t Token<'s>> },
}

/// `log` with what stands in its parentheses.
#[derive(Debug)]
pub(super) struct Log<'t, 's> {
    pub(super) keyword: &'t Token<'s>,
    pub(super) items: Vec<LogItem<'t, 's>>,
}

#[derive(Debug)]
pub(super) struct LogItem<'t, 's> {
    pub(super) word: &'t Token<'s>,
    /// Behind `to`.
    pub(super) target: Option<&'t Token<'s>>,
}

#[derive(Debug)]
pub(super) struct InterfaceItem<'t, 's> {
    pub(super) not: bool,
    pub(super) name: &'t Token<'s>,
}

/// What stands behind `from` or `to`.
#[derive(Debug, Default)]
pub(super) struct Side<'t, 's> {
    pub(super) hosts: Vec<Host<'t, 's>>,
    pub(super) ports: Vec<Port<'t, 's>>,
}

#[derive(Debug)]
pub(super) struct Host<'t, 's> {
    pub(super) not: Option<&'t Token<'s>>,
    pub(super) kind: HostKind,
    pub(super) first: &'t Token<'s>,
    pub(super) rest: HostRest<'t, 's>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostKind {
    Address,
    /// `<name>`; nothing follows.
    Table,
    /// `(interface)`.
    Dynamic,
}

#[derive(Debug)]
pub(super) enum HostRest<'t, 's> {
    None,
    Mask(&'t Token<'s>),
    RangeEnd(&'t Token<'s>),
}

/// `[op] port` or `port op port`; the operator's text is the token's.
#[derive(Debug)]
pub(super) struct Port<'t, 's> {
    pub(super) operator: Option<&'t Token<'s>>,
    pub(super) first: &'t Token<'s>,
    pub(super) second: Option<&'t Token<'s>>,
}

/// A rule, and what of the statement it does not understand.
pub(super) fn rule<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, RuleLine<'t, 's>> {
    let keyword = &input[0];
    let (input, verb) = action(input)?;
    conditions(keyword, verb, input)
}

/// The words behind the name of an anchor (or behind `anchor`, if it has none) up to the brace or
/// the end of the statement; `keyword` is the word `anchor`. [`super::expand::expand_anchor`] makes
/// rules of it.
pub(super) fn anchor<'t, 's>(
    keyword: &'t Token<'s>,
    input: Input<'t, 's>,
) -> Parsed<'t, 's, RuleLine<'t, 's>> {
    conditions(keyword, Verb::Anchor, input)
}

fn conditions<'t, 's>(
    keyword: &'t Token<'s>,
    verb: Verb<'t, 's>,
    input: Input<'t, 's>,
) -> Parsed<'t, 's, RuleLine<'t, 's>> {
    let mut stage = Stage::Action;
    let mut reached = |found: bool, at: Stage| {
        if found {
            stage = at;
        }
    };
    let (input, direction) = opt(direction).parse(input)?;
    reached(direction.is_some(), Stage::Direction);
    let (input, (log, quick)) = log_quick(input)?;
    reached(log.is_some() || quick, Stage::Log);
    let (input, interfaces) = opt(preceded(word("on"), cut(list(interface)))).parse(input)?;
    reached(interfaces.is_some(), Stage::Interface);
    let (input, family) = opt(family).parse(input)?;
    reached(family.is_some(), Stage::Family);
    let (input, protocols) =
        opt(preceded(word("proto"), cut(list(plain("a protocol"))))).parse(input)?;
    reached(protocols.is_some(), Stage::Protocol);
    let before = input.len();
    let (input, (from, os, to)) = hosts(input)?;
    reached(input.len() < before, Stage::Hosts);
    let before = input.len();
    let (input, options) = filter::options(input)?;
    reached(input.len() < before, Stage::Options);
    let interfaces = interfaces.unwrap_or_default();
    let protocols = protocols.unwrap_or_default();
    Ok((
        input,
        RuleLine {
            keyword,
            verb,
            direction,
            log,
            quick,
            interfaces,
            family,
            protocols,
            from,
            os,
            to,
            options,
            stage,
        },
    ))
}

fn action<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Verb<'t, 's>> {
    alt((
        map(word("pass"), |_| Verb::Pass),
        map(preceded(word("block"), opt(answer)), Verb::Block),
        map(word("match"), |_| Verb::Match),
    ))
    .parse(input)
}

fn answer<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Answer<'t, 's>> {
    let code = || plain("an ICMP code");
    let ttl = delimited(
        symbol("("),
        cut(preceded(word("ttl"), plain("a time to live"))),
        cut(symbol(")")),
    );
    alt((
        map(word("drop"), |_| Answer::Drop),
        map(word("return"), |_| Answer::Return),
        map(preceded(word("return-rst"), opt(ttl)), |ttl| Answer::Rst { ttl }),
        map(
            pair(
                word("return-icmp"),
                opt(delimited(
                    symbol("("),
                    cut(pair(code(), opt(preceded(opt(symbol(",")), code())))),
                    cut(symbol(")")),
                )),
            ),
            |(_, codes)| {
                let (v4, v6) = codes.map_or((None, None), |(v4, v6)| (Some(v4), v6));
                Answer::Icmp { v4, v6 }
            },
        ),
        map(
            pair(word("return-icmp6"), opt(delimited(symbol("("), cut(code()), cut(symbol(")"))))),
            |(_, v6)| Answer::Icmp { v4: None, v6 },
        ),
    ))
    .parse(input)
}

pub(super) fn direction<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Direction> {
    alt((value(Direction::In, word("in")), value(Direction::Out, word("out")))).parse(input)
}

/// `log` and `quick`, each at most once, in either order.
fn log_quick<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, (Option<Log<'t, 's>>, bool)> {
    let (input, first) = opt(word("quick")).parse(input)?;
    let (input, log) = opt(log).parse(input)?;
    if first.is_some() {
        return Ok((input, (log, true)));
    }
    let (input, second) = opt(word("quick")).parse(input)?;
    Ok((input, (log, second.is_some())))
}

fn log<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Log<'t, 's>> {
    let (input, keyword) = word("log")(input)?;
    if !input[0].is_symbol("(") {
        return Ok((input, Log { keyword, items: Vec::new() }));
    }
    map(delimited(symbol("("), cut(separated(log_item)), cut(symbol(")"))), move |items| Log {
        keyword,
        items,
    })
    .parse(input)
}

fn log_item<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, LogItem<'t, 's>> {
    let word_at_hand = &input[0];
    let to = preceded(word("to"), cut(plain("a log interface, `pflog0` to `pflog15`")));
    map(alt((map(to, Some), map(log_word, |_| None))), move |target| LogItem {
        word: word_at_hand,
        target,
    })
    .parse(input)
}

fn log_word<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, &'t Token<'s>> {
    alt((word("all"), word("matches"), plain("another option"))).parse(input)
}

pub(super) fn interface<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, InterfaceItem<'t, 's>> {
    let refused = match &*input[0].text {
        "rdomain" => "`rdomain` is not available on a transparent bridge",
        "any" => "`on any` is said by leaving `on` out",
        _ => "",
    };
    if input[0].kind == Kind::Word && !refused.is_empty() {
        return Err(Err::Failure(Fault::message(&input[0], refused)));
    }
    map(pair(opt(symbol("!")), plain("an interface, `lan` or `wan`")), |(not, name)| {
        InterfaceItem { not: not.is_some(), name }
    })
    .parse(input)
}

fn family<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Family> {
    alt((value(Family::Inet, word("inet")), value(Family::Inet6, word("inet6")))).parse(input)
}

/// `all`, or `from`, `os` and `to`, each of which may be missing.
#[allow(clippy::type_complexity)]
fn hosts<'t, 's>(
    input: Input<'t, 's>,
) -> Parsed<'t, 's, (Side<'t, 's>, Vec<&'t Token<'s>>, Side<'t, 's>)> {
    let (input, all) = opt(word("all")).parse(input)?;
    if all.is_some() {
        return Ok((input, (Side::default(), Vec::new(), Side::default())));
    }
    let (input, from) = opt(preceded(word("from"), cut(side))).parse(input)?;
    let (input, os) =
        opt(preceded(word("os"), cut(list(plain("an operating system"))))).parse(input)?;
    let (input, to) = opt(preceded(word("to"), cut(side))).parse(input)?;
    Ok((input, (from.unwrap_or_default(), os.unwrap_or_default(), to.unwrap_or_default())))
}

fn side<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Side<'t, 's>> {
    let ports = |input| preceded(word("port"), cut(list(port))).parse(input);
    if input[0].is_word("port") {
        return map(ports, |ports| Side { hosts: Vec::new(), ports }).parse(input);
    }
    map(pair(list(host), opt(ports)), |(hosts, ports)| Side {
        hosts,
        ports: ports.unwrap_or_default(),
    })
    .parse(input)
}

pub(super) fn host<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Host<'t, 's>> {
    let (input, not) = opt(symbol("!")).parse(input)?;
    if input[0].is_symbol("<") {
        let (input, first) = table(input)?;
        return Ok((input, Host { not, kind: HostKind::Table, first, rest: HostRest::None }));
    }
    if not.is_some() && input[0].is_symbol("{") {
        let message = "`!` cannot stand before a list: it belongs to a single address";
        return Err(Err::Failure(Fault::message(&input[0], message)));
    }
    let (input, (kind, first)) = if input[0].is_symbol("(") {
        let name = delimited(symbol("("), cut(plain("an interface")), cut(symbol(")")));
        map(name, |name| (HostKind::Dynamic, name)).parse(input)?
    } else if input[0].is_word("urpf-failed") {
        (&input[1..], (HostKind::Address, &input[0]))
    } else {
        let address = alt((word("any"), plain("an address")));
        map(address, |first| (HostKind::Address, first)).parse(input)?
    };
    let rest = alt((
        map(preceded(symbol("/"), cut(plain("a prefix length"))), HostRest::Mask),
        map(preceded(symbol("-"), cut(plain("the last address"))), HostRest::RangeEnd),
    ));
    let (input, rest) = opt(rest).parse(input)?;
    Ok((input, Host { not, kind, first, rest: rest.unwrap_or(HostRest::None) }))
}

/// `<name>`.
pub(super) fn table<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, &'t Token<'s>> {
    delimited(symbol("<"), cut(plain("the name of a table")), cut(symbol(">"))).parse(input)
}

fn port<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Port<'t, 's>> {
    let unary =
        alt((symbol("="), symbol("!="), symbol("<="), symbol(">="), symbol("<"), symbol(">")));
    let binary = alt((symbol("><"), symbol("<>")));
    let (input, operator) = opt(unary).parse(input)?;
    let (input, first) = plain("a port")(input)?;
    if operator.is_some() {
        return Ok((input, Port { operator, first, second: None }));
    }
    let (input, second) = opt(pair(binary, cut(plain("a port")))).parse(input)?;
    Ok(match second {
        Some((operator, second)) => {
            (input, Port { operator: Some(operator), first, second: Some(second) })
        }
        None => (input, Port { operator: None, first, second: None }),
    })
}

/// One item, or a list of them in braces: commas may be left out, lists may stand in lists, which
/// means nothing more than if their items stood there. No recursion, so no depth is too deep.
pub(super) fn list<'t, 's: 't, T>(
    mut item: impl FnMut(Input<'t, 's>) -> Parsed<'t, 's, T>,
) -> impl FnMut(Input<'t, 's>) -> Parsed<'t, 's, Vec<T>> {
    move |mut input| {
        if !input[0].is_symbol("{") {
            return map(&mut item, |one| vec![one]).parse(input);
        }
        let mut items = Vec::new();
        let mut open = Vec::new();
        let mut wanted = None;
        loop {
            let at = &input[0];
            if at.is_symbol("{") {
                open.push(at);
                wanted = Some("the list is empty");
                input = &input[1..];
            } else if at.is_symbol("}") {
                if let Some(message) = wanted {
                    return Err(Err::Failure(Fault::message(at, message)));
                }
                input = &input[1..];
                open.pop();
                if open.is_empty() {
                    return Ok((input, items));
                }
            } else if at.is_symbol(",") && wanted.is_none() {
                wanted = Some("a comma stands before the end of the list");
                input = &input[1..];
            } else if let (Kind::End, Some(&brace)) = (at.kind, open.last()) {
                let message = "the `{` is never closed";
                return Err(Err::Failure(Fault::message(brace, message)));
            } else {
                let (rest, one) = cut(&mut item).parse(input).map_err(|fault| {
                    fault.map(|fault| if wanted.is_none() { fault.or_expected("}") } else { fault })
                })?;
                items.push(one);
                wanted = None;
                input = rest;
            }
        }
    }
}

/// One item after the other up to what can be none, commas between them or not (pf's `comma`).
pub(super) fn separated<'t, 's: 't, P>(
    mut item: P,
) -> impl FnMut(Input<'t, 's>) -> Parsed<'t, 's, Vec<P::Output>>
where
    P: Parser<Input<'t, 's>, Error = Fault<'t, 's>>,
{
    move |input| {
        let (mut input, one) = item.parse(input)?;
        let mut items = vec![one];
        loop {
            let comma = input[0].is_symbol(",");
            if !comma && !matches!(input[0].kind, Kind::Word | Kind::Quoted) {
                return Ok((input, items));
            }
            let (rest, one) = item.parse(&input[usize::from(comma)..])?;
            items.push(one);
            input = rest;
        }
    }
}

/// From here on an error is the user's, not a sign to try something else.
pub(super) fn cut<'t, 's: 't, P>(
    parser: P,
) -> impl Parser<Input<'t, 's>, Output = P::Output, Error = Fault<'t, 's>>
where
    P: Parser<Input<'t, 's>, Error = Fault<'t, 's>>,
{
    nom::combinator::cut(parser)
}

/// That keyword.
pub(super) fn word<'t, 's: 't>(
    word: &'static str,
) -> impl Fn(Input<'t, 's>) -> Parsed<'t, 's, &'t Token<'s>> {
    move |input| match &input[0] {
        at if at.is_word(word) => Ok((&input[1..], at)),
        at => Err(Err::Error(Fault::expected(at, word))),
    }
}

/// That symbol.
pub(super) fn symbol<'t, 's: 't>(
    symbol: &'static str,
) -> impl Fn(Input<'t, 's>) -> Parsed<'t, 's, &'t Token<'s>> {
    move |input| match &input[0] {
        at if at.is_symbol(symbol) => Ok((&input[1..], at)),
        at => Err(Err::Error(Fault::expected(at, symbol))),
    }
}

/// Any word, also a keyword: the resolver says what is wrong with it.
pub(super) fn any_word<'t, 's: 't>(
    expected: &'static str,
) -> impl Fn(Input<'t, 's>) -> Parsed<'t, 's, &'t Token<'s>> {
    move |input| match &input[0] {
        at if at.kind == Kind::Word => Ok((&input[1..], at)),
        at => Err(Err::Error(Fault::expected(at, expected))),
    }
}

/// Any name or number, in quotes or not, but no keyword; the argument says what it should be.
pub(super) fn plain<'t, 's: 't>(
    expected: &'static str,
) -> impl Fn(Input<'t, 's>) -> Parsed<'t, 's, &'t Token<'s>> {
    move |input| match &input[0] {
        at if at.kind == Kind::Quoted => Ok((&input[1..], at)),
        at if at.kind == Kind::Word && !words::is_keyword(&at.text) => Ok((&input[1..], at)),
        at => Err(Err::Error(Fault::expected(at, expected))),
    }
}
