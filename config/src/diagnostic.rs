//! What is wrong with a text and where: one value for each finding, which travels as JSON between
//! daemon and client, and two forms for people: one line (`FILE:LINE:COL: message`) and the source
//! line underlined.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing of the text is used.
    Error,
    /// The text is used as it is; somebody should look.
    Warning,
}

/// A place in a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Name of the file as the caller gave it.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// First byte in the file, from 0.
    pub start: u32,
    /// Byte behind the last one in the file; on the same line as `start`.
    pub end: u32,
    /// The line, cut to a window around the place if it is very long.
    pub excerpt: String,
    /// The bytes of `excerpt` to underline: first, and the one behind the last.
    pub underline: [u32; 2],
}

impl Place {
    /// For a finding that is counted but not kept.
    pub(crate) fn nowhere() -> Self {
        Self {
            file: String::new(),
            line: 0,
            column: 0,
            start: 0,
            end: 0,
            excerpt: String::new(),
            underline: [0, 0],
        }
    }

    /// `underline` as a range that is valid for `excerpt` even if this came over a socket.
    pub(crate) fn marked(&self) -> Range<usize> {
        let boundary = |at: u32| {
            let mut at = (at as usize).min(self.excerpt.len());
            while !self.excerpt.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = boundary(self.underline[0]);
        start..boundary(self.underline[1]).max(start)
    }
}

/// Something to know besides the message, with the place it speaks of if there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// One sentence.
    pub message: String,
    /// Where, e.g. the definition of a macro.
    pub place: Option<Place>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Complete by itself, one line.
    pub message: String,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What could have stood there instead; empty if that is no list of words.
    pub expected: Vec<String>,
    /// More.
    pub notes: Vec<Note>,
}

impl Diagnostic {
    /// The source line underlined, with everything known; several lines, no newline at the end.
    pub fn render(&self, colour: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = level.primary_title(&*self.message).element(snippet(
            &self.place,
            AnnotationKind::Primary,
            self.expected_text(),
        ));
        for note in &self.notes {
            group = group.element(Level::NOTE.message(&*note.message));
            if let Some(place) = &note.place {
                group = group.element(snippet(place, AnnotationKind::Context, None));
            }
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }

    /// The source line with the place underlined, what was expected there, and the notes: what follows
    /// the message on a terminal. No newline at the end.
    pub fn underlined(&self) -> String {
        let marked = self.place.marked();
        let before = self.place.excerpt[..marked.start].chars();
        let indent: String = before.map(|c| if c == '\t' { c } else { ' ' }).collect();
        let width = self.place.excerpt[marked].chars().count().max(1);
        let expected = self.expected_text().unwrap_or_default();
        // A rule file from elsewhere must not speak to the terminal.
        let safe =
            |c: char| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
        let line: String = self.place.excerpt.chars().map(safe).collect();
        let mut text = format!("    {line}\n    {indent}{}", "^".repeat(width));
        if !expected.is_empty() {
            text = format!("{text} {expected}");
        }
        for note in &self.notes {
            text = format!("{text}\n    note: {}", note.message);
        }
        text
    }

    fn expected_text(&self) -> Option<String> {
        match self.expected.as_slice() {
            [] => None,
            [one] => Some(format!("expected {one}")),
            many => Some(format!("expected one of {}", many.join(", "))),
        }
    }
}

/// The form for stderr: one line, `FILE:LINE:COL: message`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, line, column, .. } = &self.place;
        write!(f, "{file}:{line}:{column}: ")?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        f.write_str(&self.message)
    }
}

fn snippet(
    place: &Place,
    kind: AnnotationKind,
    label: Option<String>,
) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
    let mut annotation = kind.span(place.marked());
    if let Some(label) = label {
        annotation = annotation.label(label);
    }
    Snippet::source(&*place.excerpt)
        .path(&*place.file)
        .line_start(place.line as usize)
        .annotation(annotation)
}

/// The findings of one run in the order of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    errors: u32,
    warnings: u32,
    omitted: u32,
}

impl Diagnostics {
    /// The most errors, and the most warnings, that are kept. Reading stops after so many errors, so
    /// that garbage fills neither memory nor time.
    pub const MAX: usize = 1000;

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let kept = match diagnostic.severity {
            Severity::Error => {
                self.errors = self.errors.saturating_add(1);
                self.errors as usize <= Self::MAX
            }
            Severity::Warning => {
                self.warnings = self.warnings.saturating_add(1);
                self.warnings as usize <= Self::MAX
            }
        };
        if kept {
            self.list.push(diagnostic);
        } else {
            self.omitted = self.omitted.saturating_add(1);
        }
    }

    /// Whether an error is among them.
    pub const fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// How many were found beyond [`Diagnostics::MAX`] before reading stopped.
    pub const fn omitted(&self) -> u32 {
        self.omitted
    }

    /// Those that are kept.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many errors were found.
    pub(crate) const fn errors(&self) -> u32 {
        self.errors
    }

    /// Whether no more errors will be kept.
    pub(crate) const fn is_full(&self) -> bool {
        self.errors as usize >= Self::MAX
    }

    /// By place: what the scanner of a statement finds would otherwise come before its words. Those
    /// of several files stay apart.
    pub(crate) fn sort_from(&mut self, first: usize) {
        let Some(tail) = self.list.get_mut(first..) else { return };
        if tail.len() < 2 {
            return;
        }
        let mut files: Vec<String> = Vec::new();
        for found in &*tail {
            if !files.contains(&found.place.file) {
                files.push(found.place.file.clone());
            }
        }
        tail.sort_by_key(|found| {
            let file = files.iter().position(|file| *file == found.place.file);
            (file, found.place.start)
        });
    }

    pub(crate) fn kept(&self) -> usize {
        self.list.len()
    }

    /// The long form of all of them.
    pub fn render(&self, colour: bool) -> String {
        let mut text: String =
            self.list.iter().map(|diagnostic| diagnostic.render(colour) + "\n\n").collect();
        if let Some(end) = self.end() {
            text.push_str(&end);
            text.push('\n');
        }
        text
    }

    /// What is said last if not everything is shown.
    pub fn end(&self) -> Option<String> {
        if self.is_full() {
            return Some(format!("too many errors: reading stopped after {}", Self::MAX));
        }
        (self.omitted > 0).then(|| format!("{} more warnings are not shown", self.omitted))
    }
}

/// One line each.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.list {
            writeln!(f, "{diagnostic}")?;
        }
        if let Some(end) = self.end() {
            writeln!(f, "{end}")?;
        }
        Ok(())
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
