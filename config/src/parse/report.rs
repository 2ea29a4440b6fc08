//! Where the parser's steps put what they find.

use crate::diagnostic::{Diagnostic, Diagnostics, Note, Severity};
use crate::source::{Sources, Span};

use super::lexer::Token;
use super::macros::Macros;
use super::notes::Notes;

/// Collects findings; knows the texts, so that every finding gets its line and column.
pub(super) struct Report<'s> {
    pub(super) sources: &'s Sources,
    pub(super) found: Diagnostics,
    pub(super) notes: Notes,
    /// The statement at hand is known to be broken: one message is enough.
    spoilt: bool,
}

impl<'s> Report<'s> {
    pub(super) fn new(sources: &'s Sources) -> Self {
        Self { sources, found: Diagnostics::default(), notes: Notes::default(), spoilt: false }
    }

    pub(super) fn error(&mut self, span: Span, message: impl Into<String>) {
        self.add(Severity::Error, span, message.into(), Vec::new(), Vec::new());
    }

    pub(super) fn warning(&mut self, span: Span, message: impl Into<String>) {
        self.add(Severity::Warning, span, message.into(), Vec::new(), Vec::new());
    }

    /// An error at a word; if a macro brought it, the message says which.
    pub(super) fn error_at(
        &mut self,
        token: &Token<'_>,
        message: impl Into<String>,
        macros: &Macros,
    ) {
        self.expected_at(token, message.into(), Vec::new(), macros);
    }

    pub(super) fn expected_at(
        &mut self,
        token: &Token<'_>,
        mut message: String,
        expected: Vec<String>,
        macros: &Macros,
    ) {
        let mut notes = Vec::new();
        if let Some(definition) = token.via.and_then(|via| macros.definition(via)) {
            let name = &definition.name;
            if let Some(span) = definition.span {
                let place = self.sources.file_and_line(span);
                message = format!("{message} (from macro `{name}`, {place})");
                notes.push(Note {
                    message: format!("`{name}` is defined here"),
                    place: Some(self.sources.place(span)),
                });
            } else {
                message = format!("{message} (from macro `{name}`, given by -D)");
            }
        }
        self.add(Severity::Error, token.span, message, expected, notes);
    }

    fn add(
        &mut self,
        severity: Severity,
        span: Span,
        mut message: String,
        expected: Vec<String>,
        mut notes: Vec<Note>,
    ) {
        let chain: Vec<_> = self.sources.chain(span.file).collect();
        if !chain.is_empty() && !self.found.is_full() {
            let places: Vec<_> = chain.iter().map(|&at| self.sources.file_and_line(at)).collect();
            message = format!("{message} (included from {})", places.join(", "));
            notes.extend(chain.iter().map(|&at| Note {
                message: "included from here".to_owned(),
                place: Some(self.sources.place(at)),
            }));
        }
        // Past the bound only the count matters; a place costs a walk along its line.
        let place = if self.found.is_full() {
            crate::diagnostic::Place::nowhere()
        } else {
            self.sources.place(span)
        };
        self.found.push(Diagnostic { severity, message, place, expected, notes });
    }

    /// Marks the statement at hand as broken; cleared by [`Report::take_spoilt`].
    pub(super) fn spoil(&mut self) {
        self.spoilt = true;
    }

    pub(super) fn take_spoilt(&mut self) -> bool {
        std::mem::take(&mut self.spoilt)
    }
}
