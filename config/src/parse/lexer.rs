//! From text to statements: words, symbols, quoted strings and macro uses with their spans, cut at
//! the line ends that pf.conf(5) cuts at. The character level is nom's; every lexeme knows where it
//! stands, so that each message can underline it.
//!
//! What pf's scanner does in silence is said here: a blank after the backslash that should continue
//! a line, a comment whose backslash swallows the next line, a backslash that glues two words.

use std::borrow::Cow;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{anychar, char, line_ending};
use nom::combinator::{map, recognize};
use nom::sequence::{pair, preceded, terminated};
use nom::{IResult, Parser};

use super::notes::{ContinuedComment, LintComment, Notes};
use super::report::Report;
use super::words;
use crate::source::Span;

/// The most words and symbols that a statement may have: enough for a list of a million hosts.
pub const MAX_WORDS: usize = 2_000_000;

/// A word of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token<'s> {
    pub(super) kind: Kind,
    pub(super) text: Cow<'s, str>,
    pub(super) span: Span,
    /// The macro it came from, as an index into [`super::macros::Macros`].
    pub(super) via: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword, name, number, address ...: not in quotes.
    Word,
    /// What stood between quotes.
    Quoted,
    /// `$name`; the text is the name.
    Macro,
    /// `{ } ( ) < > ! = / , -` and the operators made of them.
    Symbol,
    /// A character that has no place in a rule file.
    Stray,
    /// The end of the statement.
    End,
}

impl Token<'_> {
    pub(super) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word
    }

    pub(super) fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.text == symbol
    }
}

/// What nom recognises; borrowed from the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lexeme<'s> {
    Blank,
    /// `\` at the end of a line; true if blanks stand between it and the line end.
    Continuation(bool),
    Comment,
    Newline,
    Token(Kind, &'s str),
    /// An opening quote; what follows is read by [`quoted`].
    Quote(char),
}

type Lexed<'s, T> = IResult<&'s str, T>;

const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

const fn is_word_start(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':')
}

/// pf's `allowed_in_string`.
const fn is_word(c: char) -> bool {
    c.is_ascii_graphic()
        && !matches!(
            c,
            '(' | ')' | '{' | '}' | '<' | '>' | '!' | '=' | '/' | '#' | ',' | '\\' | '"' | '\''
        )
}

/// Whether the text, written without quotes, is read as one word.
pub(super) fn is_one_word(text: &str) -> bool {
    text.starts_with(is_word_start) && text.chars().all(is_word)
}

/// The first byte says which parser it is for: trying them in turn would make every word cost all.
fn lexeme(input: &str) -> Lexed<'_, Lexeme<'_>> {
    let stray =
        |input| map(recognize(anychar), |text| Lexeme::Token(Kind::Stray, text)).parse(input);
    let Some(&first) = input.as_bytes().first() else { return stray(input) };
    match first {
        b' ' | b'\t' | b'\r' => alt((
            map(line_ending, |_| Lexeme::Newline),
            map(take_while1(is_blank), |_| Lexeme::Blank),
        ))
        .parse(input),
        b'\n' => Ok((&input[1..], Lexeme::Newline)),
        b'$' => alt((
            map(
                preceded(char('$'), take_while1(|c: char| c.is_ascii_alphanumeric() || c == '_')),
                |name| Lexeme::Token(Kind::Macro, name),
            ),
            stray,
        ))
        .parse(input),
        b'"' | b'\'' => map(alt((char('"'), char('\''))), Lexeme::Quote).parse(input),
        b'#' => map(take_while(|c| c != '\n'), |_| Lexeme::Comment).parse(input),
        b'\\' => alt((continuation, stray)).parse(input),
        _ if is_word_start(char::from(first)) => {
            map(take_while_from(is_word_start, is_word), |text| Lexeme::Token(Kind::Word, text))
                .parse(input)
        }
        _ => alt((map(operator, |text| Lexeme::Token(Kind::Symbol, text)), stray)).parse(input),
    }
}

fn take_while_from(
    first: fn(char) -> bool,
    rest: fn(char) -> bool,
) -> impl FnMut(&str) -> Lexed<'_, &str> {
    move |input| {
        recognize(pair(nom::character::complete::satisfy(first), take_while(rest))).parse(input)
    }
}

fn operator(input: &str) -> Lexed<'_, &str> {
    alt((
        alt((tag("!="), tag("<="), tag(">="), tag("<>"), tag("><"))),
        alt((tag("{"), tag("}"), tag("("), tag(")"), tag("<"), tag(">"))),
        alt((tag("!"), tag("="), tag("/"), tag(","), tag("-"))),
    ))
    .parse(input)
}

fn continuation(input: &str) -> Lexed<'_, Lexeme<'_>> {
    let end_of_text = |input: &'_ str| -> bool { input.is_empty() };
    let (rest, blanks) = preceded(char('\\'), take_while(is_blank)).parse(input)?;
    if end_of_text(rest) {
        return Ok((rest, Lexeme::Continuation(false)));
    }
    let (rest, _) = char('\n').parse(rest)?;
    Ok((rest, Lexeme::Continuation(!matches!(blanks, "" | "\r"))))
}

/// A string after its opening quote, up to the closing one, which is consumed: the text without the
/// backslashes that escape the quote or a blank and without line ends, as pf reads it. `None` if it
/// is never closed.
fn quoted(input: &str, quote: char) -> Option<(usize, Cow<'_, str>)> {
    let plain = |c: char| c != quote && c != '\\' && c != '\n';
    let simple: Lexed<'_, &str> = terminated(take_while(plain), char(quote)).parse(input);
    if let Ok((rest, text)) = simple {
        return Some((input.len() - rest.len(), Cow::Borrowed(text)));
    }
    let mut text = String::new();
    let mut rest = input;
    loop {
        let piece: Lexed<'_, &str> = take_while(plain).parse(rest);
        let (after, piece) = piece.ok()?;
        text.push_str(piece);
        let mut following = after.chars();
        match following.next()? {
            '\\' => match following.clone().next()? {
                c if c == quote || c == ' ' || c == '\t' => {
                    text.push(c);
                    following.next();
                }
                '\n' => {
                    following.next();
                }
                _ => text.push('\\'),
            },
            '\n' => {}
            _ => return Some((input.len() - following.as_str().len(), Cow::Owned(text))),
        }
        rest = following.as_str();
    }
}

/// Whether a string that goes on over line ends was more likely never meant to: a line inside it
/// begins as a statement does.
fn swallows_a_statement(raw: &str) -> bool {
    raw.lines().skip(1).any(|line| {
        let start: Lexed<'_, &str> =
            preceded(take_while(is_blank), take_while_from(is_word_start, is_word)).parse(line);
        start.is_ok_and(|(rest, word)| {
            let rest = rest.trim_start_matches(is_blank);
            rest.starts_with('=') && !rest.starts_with("==")
                || words::begins_statement(word)
                    && (rest.is_empty() || rest.len() < line.trim_start().len() - word.len())
        })
    })
}

/// How far a file has been read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    offset: usize,
    /// Bytes that were looked at for a closing quote. Where a quote is left open its text is read
    /// again, and that must not add up to the square of the file's length.
    scanned: usize,
    /// Bodies of anchors that are open in this file.
    bodies: u32,
}

/// Why a statement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// At the end of its line.
    Line,
    /// At the brace behind an anchor, which is its last word: the rules in it follow.
    BodyOpens,
    /// It is the brace that ends such a body.
    BodyCloses,
}

/// Cuts one file into statements.
pub(super) struct Lexer<'s> {
    file: u32,
    text: &'s str,
    rest: &'s str,
    scanned: usize,
    bodies: u32,
}

impl<'s> Lexer<'s> {
    /// Begins where an earlier one stopped.
    pub(super) fn new(file: u32, text: &'s str, from: Cursor) -> Self {
        let rest = match from.offset {
            0 => text.strip_prefix('\u{feff}').unwrap_or(text),
            offset => &text[offset..],
        };
        Self { file, text, rest, scanned: from.scanned, bodies: from.bodies }
    }

    pub(super) const fn cursor(&self) -> Cursor {
        Cursor {
            offset: self.text.len() - self.rest.len(),
            scanned: self.scanned,
            bodies: self.bodies,
        }
    }

    fn offset(&self) -> u32 {
        (self.text.len() - self.rest.len()) as u32
    }

    fn span_from(&self, start: u32) -> Span {
        Span { file: self.file, start, end: self.offset() }
    }

    /// Reads the next statement into `tokens`, an [`Kind::End`] last; `None` at the end of the file.
    /// Inside braces line ends count as blanks, unless the next line begins a statement: then a
    /// brace was forgotten, and the parser says so. The body of an anchor is statements of its own.
    pub(super) fn statement(
        &mut self,
        tokens: &mut Vec<Token<'s>>,
        report: &mut Report<'_>,
    ) -> Option<Ended> {
        tokens.clear();
        let mut depth = 0_u32;
        let mut line_begins = false;
        loop {
            let start = self.offset();
            let before = self.rest;
            let Ok((rest, lexeme)) = lexeme(self.rest) else {
                return self.end(tokens, start);
            };
            self.rest = rest;
            match lexeme {
                Lexeme::Blank => {}
                Lexeme::Comment => {
                    let comment = &before[..before.len() - rest.len()];
                    self.comment(comment, start, report);
                }
                Lexeme::Continuation(blank) => self.continued(blank, start, tokens, report),
                Lexeme::Newline if tokens.is_empty() => {}
                Lexeme::Newline if depth == 0 => return self.end(tokens, start),
                Lexeme::Newline => line_begins = true,
                Lexeme::Quote(quote) => {
                    line_begins = false;
                    self.string(quote, start, tokens, report);
                }
                Lexeme::Token(kind, text) => {
                    if line_begins && kind == Kind::Word && cuts(text, rest) {
                        self.rest = before;
                        return self.end(tokens, last_end(tokens));
                    }
                    line_begins = false;
                    let symbol = if kind == Kind::Symbol { text } else { "" };
                    let closes = symbol == "}" && depth == 0 && self.bodies > 0;
                    if closes && !tokens.is_empty() {
                        self.rest = before;
                        return self.end(tokens, last_end(tokens));
                    }
                    let opens = symbol == "{" && depth == 0 && opens_body(tokens);
                    match symbol {
                        "{" => depth = depth.saturating_add(1),
                        "}" => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    let span = self.span_from(start);
                    if tokens.len() >= MAX_WORDS {
                        let message = format!(
                            "the statement has more than {MAX_WORDS} words: the rest of the file \
                             was not read"
                        );
                        report.error(span, message);
                        report.spoil();
                        self.rest = "";
                        return self.end(tokens, last_end(tokens));
                    }
                    tokens.push(Token { kind, text: Cow::Borrowed(text), span, via: None });
                    if opens || closes {
                        self.bodies = if opens { self.bodies + 1 } else { self.bodies - 1 };
                        self.end(tokens, span.end);
                        return Some(if opens { Ended::BodyOpens } else { Ended::BodyCloses });
                    }
                }
            }
        }
    }

    fn end(&self, tokens: &mut Vec<Token<'s>>, at: u32) -> Option<Ended> {
        if tokens.is_empty() {
            return None;
        }
        // Point behind the last word rather than behind a comment.
        let at = last_end(tokens).min(at);
        let span = Span { file: self.file, start: at, end: at };
        tokens.push(Token { kind: Kind::End, text: Cow::Borrowed(""), span, via: None });
        Some(Ended::Line)
    }

    /// pf reads a backslash at the end of a comment as a continuation: the next line is comment too.
    fn comment(&mut self, mut comment: &'s str, mut start: u32, report: &mut Report<'_>) {
        self.lint_comment(comment, start, report);
        loop {
            let Some(body) = comment.strip_suffix("\\\r").or_else(|| comment.strip_suffix('\\'))
            else {
                return;
            };
            let Some(next) = self.rest.strip_prefix('\n') else { return };
            let length = next.find('\n').unwrap_or(next.len());
            let (swallowed, rest) = next.split_at(length);
            self.rest = rest;
            let meaning = swallowed.trim_start();
            let swallows = !meaning.is_empty() && !meaning.starts_with('#');
            let at = start + body.len() as u32;
            let span = Span { file: self.file, start: at, end: at + 1 };
            if swallows {
                report.warning(
                    span,
                    "the comment ends with a backslash, so the next line is part of it and has no \
                     effect",
                );
            }
            let note = ContinuedComment { span, swallows };
            Notes::push(&mut report.notes.continued_comments, note);
            start = self.offset() - length as u32;
            comment = swallowed;
        }
    }

    fn lint_comment(&self, comment: &str, start: u32, report: &mut Report<'_>) {
        let Some(text) = comment.trim_start_matches('#').trim_start().strip_prefix("lint:") else {
            return;
        };
        let before = &self.text[..start as usize];
        let line = before.rfind('\n').map_or(before, |at| &before[at + 1..]);
        let note = LintComment {
            span: Span { file: self.file, start, end: start + comment.trim_end().len() as u32 },
            text: text.trim().to_owned(),
            alone: line.trim_start_matches('\u{feff}').trim().is_empty(),
        };
        Notes::push(&mut report.notes.lint_comments, note);
    }

    fn continued(&self, blank: bool, start: u32, tokens: &[Token<'s>], report: &mut Report<'_>) {
        let span = Span { file: self.file, start, end: start + 1 };
        if blank {
            report.error(
                span,
                "a blank follows the backslash, so the line does not continue: remove the blank",
            );
            return;
        }
        let glued = tokens.last().filter(|last| last.kind == Kind::Word && last.span.end == start);
        if let (Some(last), true) = (glued, self.rest.starts_with(is_word)) {
            let message = format!(
                "the backslash joins `{}` and the first word of the next line to one word: put a \
                 blank before it",
                words::shorten(&last.text)
            );
            report.error(span, message);
        }
    }

    fn string(
        &mut self,
        quote: char,
        start: u32,
        tokens: &mut Vec<Token<'s>>,
        report: &mut Report<'_>,
    ) {
        let patient = self.scanned <= 4 * self.text.len();
        let found = if patient { quoted(self.rest, quote) } else { None };
        self.scanned += found.as_ref().map_or(self.rest.len(), |(length, _)| *length);
        let found = found.filter(|(length, _)| !swallows_a_statement(&self.rest[..*length]));
        if let Some((length, text)) = found {
            self.rest = &self.rest[length..];
            let span = self.span_from(start);
            tokens.push(Token { kind: Kind::Quoted, text, span, via: None });
            return;
        }
        let line_end = self.rest.find('\n').unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(line_end);
        self.rest = rest;
        let span = self.span_from(start);
        report.error(span, "the quoted string is never closed");
        tokens.push(Token { kind: Kind::Quoted, text: Cow::Borrowed(text), span, via: None });
        report.spoil();
    }
}

fn last_end(tokens: &[Token<'_>]) -> u32 {
    tokens.last().map_or(0, |last| last.span.end)
}

/// Whether a word at the beginning of a line shows that the braces before it were left open.
fn cuts(word: &str, rest: &str) -> bool {
    words::begins_statement(word)
        || rest.trim_start_matches(is_blank).starts_with('=')
            && !rest.trim_start_matches(is_blank).starts_with("==")
}

/// Whether a brace behind these words holds the rules of an anchor: it does not if the last of them
/// asks for a list.
fn opens_body(tokens: &[Token<'_>]) -> bool {
    let [first, .., last] = tokens else {
        return matches!(tokens, [only] if words::opens_block(&only.text) && only.kind == Kind::Word);
    };
    first.kind == Kind::Word
        && words::opens_block(&first.text)
        && !(last.kind == Kind::Word && words::takes_list(&last.text))
}

/// The words of a macro's value. Line ends are blanks there and a comment sign is no comment: what
/// follows the macro in the rule must not vanish.
pub(super) fn value(text: &str) -> Vec<(Kind, String)> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Ok((after, lexeme)) = lexeme(rest) {
        rest = after;
        match lexeme {
            Lexeme::Blank | Lexeme::Newline | Lexeme::Continuation(_) => {}
            Lexeme::Comment => {
                words.push((Kind::Stray, "#".to_owned()));
                break;
            }
            Lexeme::Token(kind, text) => words.push((kind, text.to_owned())),
            Lexeme::Quote(quote) => {
                let Some((length, text)) = quoted(rest, quote) else {
                    words.push((Kind::Stray, quote.to_string()));
                    break;
                };
                words.push((Kind::Quoted, text.into_owned()));
                rest = &rest[length..];
            }
        }
    }
    words
}
