//! Warnings about rule sets that are valid and wrong (`weir check`).
//!
//! A family of warnings is one file here and one line in [`FAMILIES`]. A warning has a name, which
//! is part of weir's interface: `# lint: allow NAME` on the line of a finding, or in the comment
//! right above it, silences it there, `# lint: allow-file NAME` before the first statement silences
//! it in the whole file ([`allow`]).
//!
//! A false alarm costs more than a missed trap: what cannot be proven from the text is not said.
//! Content that anchors get while weir runs, and what is in tables, is unknown. Work is bounded; what
//! was not looked at for that reason is told in [`Report::unchecked`].

mod allow;
mod baseline;
mod criteria;
mod family;
mod index;
mod limits;
mod lines;
mod lists;
mod names;
mod nothing;
mod policy;
mod reach;
mod render;
mod states;
mod subject;
mod text;

use serde::Serialize;

pub use self::subject::Ports;
use self::subject::Subject;
use crate::diagnostic::Place;
use crate::notes::Notes;
use crate::rules::{RuleSet, Source};
use crate::source::{SourceFile, Span};

/// One kind of warning.
#[derive(Debug)]
pub struct Lint {
    /// By which it is silenced.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// What the trap is and what to do, with an example.
    pub explanation: &'static str,
}

/// Warnings that are found together.
struct Family {
    lints: &'static [Lint],
    check: fn(&Subject<'_>, &mut Sink<'_>),
}

const FAMILIES: &[Family] = &[
    text::FAMILY,
    lists::FAMILY,
    family::FAMILY,
    nothing::FAMILY,
    reach::FAMILY,
    policy::FAMILY,
    states::FAMILY,
    limits::FAMILY,
    names::FAMILY,
];

/// All warnings there are.
pub fn lints() -> impl Iterator<Item = &'static Lint> {
    FAMILIES.iter().flat_map(|family| family.lints).chain(allow::LINTS)
}

/// The most findings that are kept.
pub const MAX_FINDINGS: usize = 1000;

/// One warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The name of its [`Lint`].
    pub name: &'static str,
    /// One sentence without a full stop.
    pub message: String,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// Why that is a trap here.
    pub why: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order of the text.
    pub findings: Vec<Finding>,
    /// How many more there were beyond [`MAX_FINDINGS`].
    pub omitted: u32,
    /// What was not looked at because it would have taken too long; a sentence each.
    pub unchecked: Vec<String>,
}

/// Looks for traps in a rule set.
///
/// `sources` are the files that were read, in the order that [`Source::file`] counts them; `ports`
/// says which interfaces the roles have, as far as that is known.
pub fn lint(rules: &RuleSet, notes: &Notes, sources: &[SourceFile], ports: &Ports) -> Report {
    let subject = Subject::new(rules, notes, sources, ports);
    let mut sink = Sink { subject: &subject, found: Vec::new(), omitted: 0, unchecked: Vec::new() };
    for family in FAMILIES {
        (family.check)(&subject, &mut sink);
    }
    let Sink { mut found, omitted, unchecked, .. } = sink;
    allow::silence(&subject, &mut found);
    found.sort_by_key(|found| (found.span.file, found.span.start, found.finding.name));
    Report { findings: found.into_iter().map(|found| found.finding).collect(), omitted, unchecked }
}

/// A finding that may still be silenced.
struct Found {
    finding: Finding,
    span: Span,
}

/// Where the families put what they find.
struct Sink<'s> {
    subject: &'s Subject<'s>,
    found: Vec<Found>,
    omitted: u32,
    unchecked: Vec<String>,
}

/// What is said about a trap.
struct Words {
    message: String,
    why: String,
    help: Option<String>,
}

impl Words {
    fn new(message: impl Into<String>, why: impl Into<String>) -> Self {
        Self { message: message.into(), why: why.into(), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Sink<'_> {
    /// A finding about a statement.
    fn at(&mut self, lint: &Lint, source: Source, words: Words) {
        self.span(lint, self.subject.span(source), words);
    }

    /// A finding about a piece of text.
    fn span(&mut self, lint: &Lint, span: Span, words: Words) {
        // One more than is kept of each kind would be noise; what is silenced does not count.
        if self.found.len() >= MAX_FINDINGS {
            self.omitted = self.omitted.saturating_add(1);
            return;
        }
        let Words { message, why, help } = words;
        let place = self.subject.lines.place(span);
        self.found
            .push(Found { finding: Finding { name: lint.name, message, place, why, help }, span });
    }

    /// How many names a misspelt one may be compared with; none for what will not be shown.
    fn compared(&self) -> usize {
        const MOST: usize = 1000;
        if self.found.len() < MAX_FINDINGS { MOST } else { 0 }
    }

    /// Says that something was too much work.
    fn unchecked(&mut self, what: impl Into<String>) {
        self.unchecked.push(what.into());
    }
}
