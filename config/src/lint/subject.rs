//! What is looked at: the rule set, its text, and what is known of the ports.

use std::collections::{HashMap, HashSet};

use super::criteria::On;
use super::lines::Lines;
use crate::notes::Notes;
use crate::rules::{Action, Address, AnchorCall, Rule, RuleSet, Source};
use crate::source::{SourceFile, Span};
use crate::tables::Table;

/// The interface of each role, where it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// The interface that is `lan`.
    pub lan: Option<String>,
    /// The interface that is `wan`.
    pub wan: Option<String>,
    /// Further names that an `on` may have, such as that of the management port.
    pub others: Vec<String>,
}

/// One side of the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Lan,
    Wan,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Lan, Self::Wan];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Lan => Self::Wan,
            Self::Wan => Self::Lan,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Wan => "wan",
        }
    }
}

impl Ports {
    /// Whether a name means that side; `None` if that is not known.
    pub(super) fn is(&self, name: &str, side: Side) -> Option<bool> {
        match name {
            "lan" => return Some(side == Side::Lan),
            "wan" => return Some(side == Side::Wan),
            _ => {}
        }
        let interface = match side {
            Side::Lan => &self.lan,
            Side::Wan => &self.wan,
        };
        interface.as_ref().map(|interface| interface == name)
    }

    /// Whether an `on` holds at that side; `None` if that is not known.
    pub(super) fn holds(&self, on: Option<On<'_>>, side: Side) -> Option<bool> {
        match on {
            None => Some(true),
            Some(on) => self.is(on.name, side).map(|is| is != on.not),
        }
    }

    /// Whether no port has that name, if that is known.
    pub(super) fn is_none(&self, name: &str) -> bool {
        Side::BOTH.iter().all(|&side| self.is(name, side) == Some(false))
            && !self.others.iter().any(|other| other == name)
    }
}

/// A rule set on its own: the main one or that of an anchor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'r> {
    /// Empty for the main rule set.
    pub(super) path: &'r str,
    pub(super) tables: &'r [Table],
    pub(super) rules: &'r [Rule],
}

pub(super) struct Subject<'s> {
    pub(super) rules: &'s RuleSet,
    pub(super) notes: &'s Notes,
    pub(super) lines: Lines<'s>,
    pub(super) ports: &'s Ports,
    /// Statements of rules by file and line.
    statements: HashMap<(u32, u32), Span>,
    /// The same, in the order of the text.
    ordered: Vec<Span>,
    /// Names of tables that some rule asks for an address.
    pub(super) asked_tables: HashSet<&'s str>,
    /// Rules may come in while weir runs that nothing is known about.
    pub(super) is_open: bool,
}

impl<'s> Subject<'s> {
    pub(super) fn new(
        rules: &'s RuleSet,
        notes: &'s Notes,
        files: &'s [SourceFile],
        ports: &'s Ports,
    ) -> Self {
        let written = notes.rules.iter();
        let statements =
            written.map(|rule| ((rule.source.file, rule.source.line), rule.span)).collect();
        let mut ordered: Vec<Span> = notes.rules.iter().map(|rule| rule.span).collect();
        ordered.sort_by_key(|span| (span.file, span.start));
        let mut subject = Self {
            rules,
            notes,
            lines: Lines::new(files),
            ports,
            statements,
            ordered,
            asked_tables: HashSet::new(),
            is_open: false,
        };
        let ends = subject.all_rules().flat_map(|rule| [&rule.from, &rule.to]);
        subject.asked_tables = ends
            .filter_map(|end| match &end.address {
                Address::Table(name) => Some(&**name),
                _ => None,
            })
            .collect();
        subject.is_open = subject.scopes().any(|scope| {
            scope.rules.iter().any(|rule| match &rule.action {
                Action::Anchor(call) => !subject.is_known(call),
                _ => false,
            })
        });
        subject
    }

    /// The main rule set, then the anchors in the order of their paths.
    pub(super) fn scopes(&self) -> impl Iterator<Item = Scope<'s>> + use<'s> {
        let rules = self.rules;
        let main = Scope { path: "", tables: &rules.tables, rules: &rules.rules };
        let anchors = rules.anchors.iter();
        std::iter::once(main).chain(anchors.map(|(path, anchor)| Scope {
            path,
            tables: &anchor.tables,
            rules: &anchor.rules,
        }))
    }

    /// Every rule.
    pub(super) fn all_rules(&self) -> impl Iterator<Item = &'s Rule> + use<'s> {
        self.scopes().flat_map(|scope| scope.rules)
    }

    /// Whether an anchor's content stands in the files. With a wildcard it never does: another
    /// anchor can be added.
    pub(super) fn is_known(&self, call: &AnchorCall) -> bool {
        !call.wildcard && self.rules.anchors.contains_key(&call.path)
    }

    /// The rules of a known anchor.
    pub(super) fn called(&self, call: &AnchorCall) -> Option<&'s [Rule]> {
        if call.wildcard {
            return None;
        }
        self.rules.anchors.get(&call.path).map(|anchor| &*anchor.rules)
    }

    /// The table that a name in an anchor means.
    pub(super) fn table(&self, path: &str, name: &str) -> Option<&'s Table> {
        let rules = self.rules;
        let in_list = |tables: &'s [Table]| tables.iter().find(|table| table.name == name);
        let mut path = path;
        while !path.is_empty() {
            let found = rules.anchors.get(path).and_then(|anchor| in_list(&anchor.tables));
            if found.is_some() {
                return found;
            }
            path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
        in_list(&rules.tables)
    }

    /// The statement that stands there.
    pub(super) fn span(&self, source: Source) -> Span {
        let statement = self.statements.get(&(source.file, source.line));
        statement.copied().unwrap_or_else(|| self.lines.statement(source.file, source.line))
    }

    /// The statement that a piece of text belongs to, or the piece itself.
    pub(super) fn statement_around(&self, piece: Span) -> Span {
        /// The body of an anchor is part of its statement: those around may begin far above.
        const TRIED: usize = 64;
        let at = (piece.file, piece.start);
        let end = self.ordered.partition_point(|span| (span.file, span.start) <= at);
        let before = self.ordered[..end].iter().rev().take(TRIED);
        let around = before.copied().find(|span| span.file == piece.file && span.end > piece.start);
        around.unwrap_or(piece)
    }

    /// Whether no rule of its file stands before a piece of text.
    pub(super) fn is_before_rules(&self, piece: Span) -> bool {
        let first = self.ordered.partition_point(|span| span.file < piece.file);
        self.ordered
            .get(first)
            .is_none_or(|span| span.file != piece.file || span.start > piece.start)
    }

    /// `FILE:LINE`, to name another place.
    pub(super) fn name(&self, source: Source) -> String {
        format!("{}:{}", self.lines.name(source.file), source.line)
    }

    /// `` `text` (FILE:LINE)``, the rule as it is printed.
    pub(super) fn quote(&self, rule: &Rule) -> String {
        format!("`{}` ({})", shorten(&rule.to_string()), self.name(rule.source))
    }
}

/// A rule that is quoted in a sentence must not fill the screen.
pub(super) fn shorten(text: &str) -> String {
    const MOST: usize = 100;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{} ...", &text[..at]),
        None => text.to_owned(),
    }
}
