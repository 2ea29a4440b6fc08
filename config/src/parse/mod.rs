//! From rule files to a [`RuleSet`]: [`reading`] takes one file after the other, [`lexer`] cuts the
//! text into statements, [`macros`] replaces `$name`, [`grammar`] and [`set`] recognise the words
//! with nom, [`resolve`] looks names and addresses up, [`expand`] writes out what lists stand for;
//! [`anchor`], [`table`] and [`antispoof`] are for what surrounds the rules. An error spoils its
//! statement only, so that one run finds them all; a rule set comes out only if there is none.
//!
//! Limits: [`MAX_TEXT`], [`MAX_TABLE_TEXT`], [`MAX_TABLE_ENTRIES`], [`MAX_FILES`], [`MAX_DEPTH`],
//! [`MAX_WORDS`], [`MAX_VALUE`], [`MAX_EXPANSION`], [`MAX_RULES`], [`MAX_ANCHORS`],
//! [`MAX_ANCHOR_DEPTH`] and [`Diagnostics::MAX`]. Nothing recurses over the input.

mod anchor;
mod antispoof;
mod calls;
mod consistent;
mod effects;
mod entries;
mod ether;
mod ether_options;
mod expand;
mod filter;
mod grammar;
mod label;
mod lexer;
mod macros;
pub mod notes;
mod reading;
mod report;
mod resolve;
mod set;
mod state;
mod table;
mod vocabulary;
mod words;

use std::collections::{BTreeMap, HashSet};

use nom::Err;

use self::anchor::Scope;
pub use self::anchor::{MAX_ANCHOR_DEPTH, MAX_ANCHORS, anchor_path};
pub use self::calls::{CallFault, MAX_EVALUATED, check_calls};
pub(crate) use self::entries::entry;
pub use self::expand::MAX_RULES;
use self::grammar::{Fault, Stage};
pub use self::lexer::MAX_WORDS;
use self::lexer::{Ended, Kind, Token};
use self::macros::Macros;
pub use self::macros::{Defines, MAX_EXPANSION, MAX_VALUE};
use self::notes::Notes;
use self::reading::Agenda;
pub use self::reading::{MAX_DEPTH, MAX_FILES};
use self::report::Report;
use self::resolve::Resolver;
use self::set::Settings;
pub use self::table::{MAX_TABLE_ENTRIES, MAX_TABLE_TEXT};
pub use self::vocabulary::vocabulary;
use self::words::{STATEMENTS, refusal, rule_words};
pub(crate) use self::words::{nearest, shorten, synonym, with_hint};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::environment::{Environment, Texts};
use crate::ether::EtherRule;
use crate::names::protocol_by_name;
use crate::rules::{Anchor, RuleSet};
use crate::source::{SourceFile, Sources, Span};

/// The most bytes that the rule files of one run may have together, table files excepted.
pub const MAX_TEXT: usize = 32 << 20;

/// What became of the files.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// The rule set, if there was no error.
    pub rules: Option<RuleSet>,
    /// What `-v` prints while reading, in the order of the files: macros, `set` and `table` lines. It
    /// is there even if there are errors.
    pub echo: Vec<String>,
    /// What `load anchor` brought, in the order of reading.
    pub loaded: Vec<Loaded>,
    /// Errors and warnings in the order of the files.
    pub diagnostics: Diagnostics,
    /// Everything that was read, the rule file first, the others as they were named; what is named
    /// twice is here twice. [`Source::file`](crate::rules::Source::file) is an index into it.
    pub sources: Vec<SourceFile>,
    /// For lint.
    pub notes: Notes,
}

/// A file that `load anchor` brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The full path of the anchor that it fills.
    pub anchor: String,
    /// Its name.
    pub file: String,
    /// Its macros and tables, as [`Parsed::echo`] has those of the rule file.
    pub echo: Vec<String>,
}

impl Parsed {
    /// Of a rule file in which only this was found.
    pub fn refused(found: Diagnostic) -> Self {
        let main = SourceFile::new(&*found.place.file, "");
        let mut parsed = Self { sources: vec![main], ..Self::default() };
        parsed.diagnostics.push(found);
        parsed
    }
}

/// Reads a rule file and those that it names. Never panics; time and memory are bounded by the
/// limits above.
pub fn parse(main: &SourceFile, environment: Environment<'_>) -> Parsed {
    let sources = Sources::default();
    let mut reader = Reader::new(&sources, environment);
    reader.begin(main.clone());
    reader.read_all();
    let parsed = reader.finish();
    Parsed { sources: sources.into_files(), ..parsed }
}

/// Reads a rule file for the main rule set that names no others and needs nothing besides.
pub fn parse_one(main: &SourceFile, defines: &Defines) -> Parsed {
    let mut files = Texts::default();
    parse(main, Environment { files: &mut files, defines, prefixes: &[], anchor: "" })
}

/// What fills up statement by statement.
struct Reader<'r, 'e> {
    environment: Environment<'e>,
    report: Report<'r>,
    macros: Macros,
    settings: Settings,
    /// The main rule set's, while a file is loaded into an anchor.
    main_settings: Option<Settings>,
    agenda: Agenda,
    /// The rule set that statements go into.
    scope: Scope,
    /// Those around it, which wait for its end.
    outer: Vec<Scope>,
    /// Those that are complete.
    anchors: BTreeMap<String, Anchor>,
    /// The paths of all anchors that this run gives rules to.
    filled: HashSet<String>,
    /// Bodies in braces so far, which number the anchors without a name.
    bodies: u32,
    /// Bytes of rule files and of table files so far, entries of tables, rules.
    text: usize,
    table_text: usize,
    entries: usize,
    rules: usize,
    ether: Vec<EtherRule>,
    echo: Vec<String>,
    loaded: Vec<Loaded>,
}

impl<'r, 'e> Reader<'r, 'e> {
    fn new(sources: &'r Sources, environment: Environment<'e>) -> Self {
        Self {
            report: Report::new(sources),
            macros: Macros::new(environment.defines),
            settings: Settings::default(),
            main_settings: None,
            agenda: Agenda::default(),
            scope: Scope::new(environment.anchor.to_owned()),
            outer: Vec::new(),
            anchors: BTreeMap::new(),
            filled: HashSet::from([environment.anchor.to_owned()]),
            bodies: 0,
            text: 0,
            table_text: 0,
            entries: 0,
            rules: 0,
            ether: Vec::new(),
            echo: Vec::new(),
            loaded: Vec::new(),
            environment,
        }
    }
}

impl Reader<'_, '_> {
    fn finish(mut self) -> Parsed {
        let Scope { path, tables, rules, .. } = self.scope;
        let mut set = RuleSet { anchors: self.anchors, ether: self.ether, ..RuleSet::default() };
        if path.is_empty() {
            set.options = self.main_settings.unwrap_or(self.settings).finish();
            (set.tables, set.rules) = (tables, rules);
        } else {
            set.anchors.insert(path, Anchor { tables, rules });
        }
        if !self.report.found.has_errors()
            && let Err(found) = check_calls(&set)
        {
            let written = self.report.notes.rules.iter().find(|rule| rule.source == found.source);
            let span = written.map_or_else(Span::default, |rule| rule.span);
            self.report.error(span, found.message);
        }
        self.macros.into_notes(&mut self.report.notes.macros);
        let rules = (!self.report.found.has_errors()).then_some(set);
        let Report { found: diagnostics, notes, .. } = self.report;
        let Self { echo, loaded, .. } = self;
        Parsed { rules, echo, loaded, diagnostics, sources: Vec::new(), notes }
    }

    /// Takes a statement; the index of the file to go on with, if it includes one.
    fn statement<'s>(
        &mut self,
        raw: &[Token<'s>],
        ended: Ended,
        words: &mut Vec<Token<'s>>,
    ) -> Option<u32> {
        if ended == Ended::BodyCloses {
            self.report.take_spoilt();
            self.close_body();
            return None;
        }
        if self.report.take_spoilt() {
            self.macros.spoil(raw);
        } else if raw[0].kind != Kind::Symbol && raw[1].is_symbol("=") {
            self.definition(raw);
        } else if self.macros.expand(raw, words, &mut self.report).is_ok() {
            // The brace is the last word before the end.
            let brace = (ended == Ended::BodyOpens).then(|| words.remove(words.len() - 2).span);
            match (&words[0].kind, &*words[0].text) {
                (Kind::Word, "pass" | "block" | "match") => self.rule(words),
                (Kind::Word, "ether") => self.ether(words),
                (Kind::Word, "set") => self.set(words),
                (Kind::Word, "anchor") if self.anchor(words, brace) => return None,
                (Kind::Word, "anchor") | (Kind::End, _) => {}
                (Kind::Word, "table") => self.table(words),
                (Kind::Word, "antispoof") => self.antispoof(words),
                (Kind::Word, "load") => self.load_anchor(words),
                (Kind::Word, "include") => return self.include(words),
                _ => self.unknown_statement(words),
            }
        }
        if ended == Ended::BodyOpens {
            self.open_lost_body(raw[raw.len() - 2].span);
        }
        None
    }

    /// `name = value`
    fn definition(&mut self, raw: &[Token<'_>]) {
        if raw[0].kind == Kind::Macro {
            let message = format!("a macro is defined without the `$`: `{} = ...`", raw[0].text);
            return self.report.error(raw[0].span, message);
        }
        let echo = self.macros.define(raw, &mut self.report);
        if let Some(line) = echo {
            self.echo(line);
        }
    }

    /// What `-v` prints of the file that is being read.
    fn echo(&mut self, line: String) {
        self.loaded.last_mut().map_or(&mut self.echo, |loaded| &mut loaded.echo).push(line);
    }

    /// What is to be done whenever a statement may have made rules; `before` is how many there were.
    fn wrote(&mut self, words: &[Token<'_>], before: usize) {
        let made = &self.scope.rules[before..];
        self.rules += made.len();
        if self.rules > MAX_RULES && !made.is_empty() {
            let message = format!("the rule set has more than {MAX_RULES} rules with its anchors");
            self.report.error(words[0].span, message);
        }
        notes::rules(&mut self.report.notes, words, &self.scope.path, before, made);
    }

    /// The statement must end at that word.
    fn statement_ends(&mut self, words: &[Token<'_>], at: usize) -> Option<()> {
        if words[at].kind == Kind::End {
            return Some(());
        }
        let message = format!("unexpected {}: the statement ends before it", shown(&words[at]));
        self.report.error_at(&words[at], message, &self.macros);
        None
    }

    fn rule(&mut self, words: &[Token<'_>]) {
        if self.environment.prefixes.iter().all(|port| port.nets.is_empty())
            && let Some(at) = words.iter().find(|word| word.is_word("urpf-failed"))
        {
            let message = "`urpf-failed` needs to know which networks are behind the ports: give \
                           `lan_prefixes` and `wan_prefixes` in the settings file";
            return self.report.error_at(at, message, &self.macros);
        }
        let before = self.scope.rules.len();
        match grammar::rule(words) {
            Ok((rest, line)) if rest[0].kind == Kind::End => {
                let mut resolver = Resolver { report: &mut self.report, macros: &self.macros };
                expand::expand(&line, &self.settings, &mut self.scope.rules, &mut resolver);
            }
            Ok((rest, line)) => self.unexpected(rest, line.stage),
            Err(Err::Error(fault) | Err::Failure(fault)) => self.fault(fault, rule_words()),
            Err(Err::Incomplete(_)) => self.incomplete(words),
        }
        self.wrote(words, before);
    }

    fn ether(&mut self, words: &[Token<'_>]) {
        if !self.scope.path.is_empty() {
            let message = "`ether` rules cannot stand in an anchor";
            return self.report.error_at(&words[0], message, &self.macros);
        }
        match ether::ether(words) {
            Ok((rest, line)) if rest[0].kind == Kind::End => {
                let mut resolver = Resolver { report: &mut self.report, macros: &self.macros };
                ether::expand(&line, &mut self.ether, &mut resolver);
            }
            Ok((rest, _)) => {
                let (message, expected) = ether::unexpected(&rest[0]);
                self.report.expected_at(&rest[0], message, expected, &self.macros);
            }
            Err(Err::Error(fault) | Err::Failure(fault)) => {
                self.fault(fault, ether::WORDS.iter().copied());
            }
            Err(Err::Incomplete(_)) => self.incomplete(words),
        }
    }

    fn set(&mut self, words: &[Token<'_>]) {
        if !self.scope.path.is_empty() {
            let message = "`set` holds for the whole rule set and cannot stand in an anchor";
            return self.report.error_at(&words[0], message, &self.macros);
        }
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
            Kind::Symbol if text == "}" => "this `}` closes nothing".to_owned(),
            _ => format!("unexpected {} at the beginning of a statement", shown(first)),
        };
        let expected = vec![
            "pass".into(),
            "block".into(),
            "match".into(),
            "ether".into(),
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
    let order = "pass|block|match, in|out, log, quick, on, inet|inet6, proto, from .. os .. to, then \
                 the rest";
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
