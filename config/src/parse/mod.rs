//! From rule files to a [`RuleSet`]: [`lexer`] cuts the text into statements, [`macros`] replaces
//! `$name`, [`grammar`] and [`set`] recognise the words with nom, [`resolve`] looks names and
//! addresses up, [`expand`] writes out what lists stand for. An error spoils its statement only, so
//! that one run finds them all; a rule set comes out only if there is none.
//!
//! Limits: [`MAX_TEXT`], [`MAX_WORDS`], [`MAX_VALUE`], [`MAX_EXPANSION`], [`MAX_RULES`] and
//! [`Diagnostics::MAX`]. Nothing recurses over the input.

mod consistent;
mod expand;
mod filter;
mod grammar;
mod label;
mod lexer;
mod macros;
mod report;
mod resolve;
mod set;
mod state;
mod words;

use nom::Err;

pub use self::expand::MAX_RULES;
use self::grammar::{Fault, Stage};
pub use self::lexer::MAX_WORDS;
use self::lexer::{Kind, Lexer, Token};
use self::macros::Macros;
pub use self::macros::{Defines, MAX_EXPANSION, MAX_VALUE};
use self::report::Report;
use self::resolve::Resolver;
use self::set::Settings;
use self::words::{STATEMENTS, refusal, rule_words};
pub(crate) use self::words::{nearest, shorten, synonym, with_hint};
use crate::diagnostic::Diagnostics;
use crate::names::protocol_by_name;
use crate::rules::{Rule, RuleSet};
use crate::source::{SourceFile, Sources, Span};

/// The most bytes that the files of one run may have together.
pub const MAX_TEXT: usize = 32 << 20;

/// What became of the files.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// The rule set, if there was no error.
    pub rules: Option<RuleSet>,
    /// What `-v` prints while reading, in the order of the files: macros and `set` lines. It is
    /// there even if there are errors.
    pub echo: Vec<String>,
    /// Errors and warnings in the order of the files.
    pub diagnostics: Diagnostics,
}

/// Reads rule files, one after the other as if they were one. Never panics; time and memory are
/// bounded by the limits above.
pub fn parse(files: &[SourceFile], defines: &Defines) -> Parsed {
    let size: usize = files.iter().map(|file| file.text.len()).sum();
    if size > MAX_TEXT {
        return too_large(files, size);
    }
    let sources = Sources::new(files);
    let mut reader = Reader {
        report: Report::new(&sources),
        macros: Macros::new(defines),
        settings: Settings::default(),
        rules: Vec::new(),
        echo: Vec::new(),
    };
    let (mut raw, mut words) = (Vec::new(), Vec::new());
    for file in 0..files.len() as u32 {
        let mut lexer = Lexer::new(file, sources.text(file));
        loop {
            let first = reader.report.found.kept();
            if reader.report.found.is_full() || !lexer.statement(&mut raw, &mut reader.report) {
                break;
            }
            reader.statement(&raw, &mut words);
            reader.report.found.sort_from(first);
        }
    }
    reader.finish()
}

fn too_large(files: &[SourceFile], size: usize) -> Parsed {
    let empty = files.iter().map(|file| SourceFile::new(&*file.name, "")).collect::<Vec<_>>();
    let sources = Sources::new(&empty);
    let mut report = Report::new(&sources);
    let message =
        format!("the rule files have {size} bytes, and {MAX_TEXT} is the most they may have");
    report.error(Span::default(), message);
    Parsed { rules: None, echo: Vec::new(), diagnostics: report.found }
}

/// What fills up statement by statement.
struct Reader<'r> {
    report: Report<'r>,
    macros: Macros,
    settings: Settings,
    rules: Vec<Rule>,
    echo: Vec<String>,
}

impl Reader<'_> {
    fn finish(self) -> Parsed {
        let rules = (!self.report.found.has_errors()).then(|| RuleSet {
            options: self.settings.finish(),
            rules: self.rules,
            ..RuleSet::default()
        });
        Parsed { rules, echo: self.echo, diagnostics: self.report.found }
    }

    fn statement<'s>(&mut self, raw: &[Token<'s>], words: &mut Vec<Token<'s>>) {
        if self.report.take_spoilt() {
            self.macros.spoil(raw);
            return;
        }
        if raw[0].kind != Kind::Symbol && raw[1..].first().is_some_and(|at| at.is_symbol("=")) {
            if raw[0].kind == Kind::Macro {
                let message =
                    format!("a macro is defined without the `$`: `{} = ...`", raw[0].text);
                self.report.error(raw[0].span, message);
            } else {
                self.echo.extend(self.macros.define(raw, &mut self.report));
            }
            return;
        }
        if self.macros.expand(raw, words, &mut self.report).is_err() {
            return;
        }
        let first = &words[0];
        match (&first.kind, &*first.text) {
            (Kind::Word, "pass" | "block" | "match") => self.rule(words),
            (Kind::Word, "set") => self.set(words),
            (Kind::End, _) => {}
            _ => self.unknown_statement(words),
        }
    }

    fn rule(&mut self, words: &[Token<'_>]) {
        match grammar::rule(words) {
            Ok((rest, line)) if rest[0].kind == Kind::End => {
                let mut resolver = Resolver { report: &mut self.report, macros: &self.macros };
                expand::expand(&line, &self.settings, &mut self.rules, &mut resolver);
            }
            Ok((rest, line)) => self.unexpected(rest, line.stage),
            Err(Err::Error(fault) | Err::Failure(fault)) => self.fault(fault, rule_words()),
            Err(Err::Incomplete(_)) => self.incomplete(words),
        }
    }

    fn set(&mut self, words: &[Token<'_>]) {
        match set::set(words) {
            Ok((rest, line)) => {
                let mut resolver = Resolver { report: &mut self.report, macros: &self.macros };
                let unknown = matches!(line, set::SetLine::Unknown(_));
                if rest[0].kind == Kind::End || unknown {
                    self.settings.apply(&words[0], &line, &mut resolver, &mut self.echo);
                } else {
                    let message =
                        format!("unexpected {}: the `set` ends before it", shown(&rest[0]));
                    resolver.error::<()>(&rest[0], message);
                }
            }
            Err(Err::Error(fault) | Err::Failure(fault)) => {
                self.fault(fault, set::NAMES.iter().copied());
            }
            Err(Err::Incomplete(_)) => self.incomplete(words),
        }
    }

    /// nom's streaming parsers alone say `Incomplete`, and the grammar uses none. Should that ever
    /// change, the statement must not vanish.
    fn incomplete(&mut self, words: &[Token<'_>]) {
        self.report.error(words[0].span, "this statement could not be read to its end");
    }

    /// A statement that begins with something else.
    fn unknown_statement(&mut self, words: &[Token<'_>]) {
        let (first, text) = (&words[0], &*words[0].text);
        let message = match first.kind {
            Kind::Word if text == "no" && words[1].kind == Kind::Word => {
                // The old `no nat`, `no rdr`, `no scrub`.
                refusal(&words[1].text).unwrap_or_else(|| "`no` begins no statement".to_owned())
            }
            Kind::Word if text == "load" && words[1].is_word("anchor") => {
                "`load anchor` is not built yet".to_owned()
            }
            Kind::Word if text == "scrub" => {
                "`scrub` as a rule is not part of the language any more: write `match ... scrub (...)`"
                    .to_owned()
            }
            Kind::Word if words::continues_rule(text) => {
                format!(
                    "`{text}` cannot begin a statement: does the line before lack a `\\` at its end?"
                )
            }
            Kind::Word => refusal(text).unwrap_or_else(|| {
                let message = format!("unknown statement `{}`", shorten(text));
                let near = synonym(text)
                    .or_else(|| nearest(text, STATEMENTS.iter().copied()));
                with_hint(message, "", near)
            }),
            Kind::Stray => stray(first),
            _ => format!("unexpected {} at the beginning of a statement", shown(first)),
        };
        let expected = vec![
            "pass".into(),
            "block".into(),
            "match".into(),
            "set".into(),
            "name = \"value\"".into(),
        ];
        self.report.expected_at(first, message, expected, &self.macros);
    }

    /// A word behind the last one that the rule could use.
    fn unexpected(&mut self, rest: &[Token<'_>], stage: Stage) {
        let at = &rest[0];
        let text = &*at.text;
        let expected = expected_after(stage);
        let message = if at.kind == Kind::Stray {
            stray(at)
        } else if at.is_symbol(",") {
            "unexpected `,`: a list needs braces around it".to_owned()
        } else if at.kind != Kind::Word {
            format!("unexpected {}", shown(at))
        } else if stage < Stage::Protocol && protocol_by_name(text).is_some() {
            format!("unexpected {}, did you mean `proto {text}`?", shown(at))
        } else if let Some(message) = refusal(text) {
            message
        } else if let Some(option) = words::parentheses(text) {
            format!("`{text}` belongs into the parentheses of `{option}`")
        } else if words::is_keyword(text) {
            out_of_place(text)
        } else {
            let message = format!("unexpected {}", shown(at));
            let near =
                nearest(text, expected.iter().copied()).or_else(|| nearest(text, rule_words()));
            with_hint(message, "", near)
        };
        let expected = expected.into_iter().map(str::to_owned).collect();
        self.report.expected_at(at, message, expected, &self.macros);
    }

    /// The grammar's own complaint.
    fn fault(&mut self, fault: Fault<'_, '_>, known: impl Iterator<Item = &'static str>) {
        let Fault { at, mut expected, message } = fault;
        expected.dedup();
        let message = message.unwrap_or_else(|| {
            if at.kind == Kind::Stray {
                return stray(at);
            }
            let wanted = match expected.as_slice() {
                [] => "something else".to_owned(),
                [one] => quoted(one),
                [many @ .., last] => {
                    let many: Vec<_> = many.iter().map(|word| quoted(word)).collect();
                    format!("{} or {}", many.join(", "), quoted(last))
                }
            };
            if at.kind == Kind::Word
                && let Some(message) = refusal(&at.text)
            {
                return message;
            }
            let message = format!("expected {wanted}, found {}", shown(at));
            let mut keywords =
                expected.iter().copied().filter(|word| !word.contains(' ')).peekable();
            let near = if keywords.peek().is_some() {
                nearest(&at.text, keywords)
            } else {
                nearest(&at.text, known)
            };
            with_hint(message, "", near.filter(|near| at.kind == Kind::Word && *near != at.text))
        });
        let expected = expected.into_iter().map(str::to_owned).collect();
        self.report.expected_at(at, message, expected, &self.macros);
    }
}

/// A word as messages name it.
fn shown(at: &Token<'_>) -> String {
    match at.kind {
        Kind::End => "the end of the line".to_owned(),
        Kind::Quoted => format!("\"{}\"", shorten(&at.text)),
        Kind::Macro => format!("`${}`", shorten(&at.text)),
        _ => format!("`{}`", shorten(&at.text)),
    }
}

/// A character that only comments and quotes may have.
fn stray(at: &Token<'_>) -> String {
    match at.text.chars().next() {
        Some('\\') => "a backslash only stands at the end of a line, or in quotes".to_owned(),
        Some('$') => "a macro's name is missing behind the `$`".to_owned(),
        Some(c) if !c.is_ascii_graphic() => {
            format!("the character U+{:04X} can only stand in quotes and comments", u32::from(c))
        }
        _ => format!("unexpected {}", shown(at)),
    }
}

/// Keywords and symbols in backquotes, descriptions as they are.
fn quoted(expected: &str) -> String {
    if expected.contains(' ') || expected.contains('`') {
        expected.to_owned()
    } else {
        format!("`{expected}`")
    }
}

fn out_of_place(word: &str) -> String {
    let order = "pass|block, in|out, log, quick, on, inet|inet6, proto, from .. to, then the rest";
    format!("`{word}` is out of place here: the order of a rule is {order}")
}

/// What can stand in a rule behind that stage.
fn expected_after(stage: Stage) -> Vec<&'static str> {
    const AT: &[(Stage, &[&str])] = &[
        (Stage::Direction, &["in", "out"]),
        (Stage::Log, &["log", "quick"]),
        (Stage::Interface, &["on"]),
        (Stage::Family, &["inet", "inet6"]),
        (Stage::Protocol, &["proto"]),
        (Stage::Hosts, &["all", "from", "to"]),
    ];
    let later =
        AT.iter().filter(|(at, _)| *at > stage).flat_map(|(_, words)| words.iter().copied());
    later
        .chain([
            "flags",
            "icmp-type",
            "icmp6-type",
            "tos",
            "keep state",
            "no state",
            "scrub",
            "label",
            "tag",
            "tagged",
        ])
        .collect()
}
