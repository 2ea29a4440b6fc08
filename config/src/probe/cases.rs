//! Lists of cases: a packet and what has to become of it, one a line.

use std::fmt;

use super::Probe;
use super::read::{Reader, Seen, is_packet_word, shown};
use super::words::{Quoted, Word, cut};
use crate::diagnostic::Diagnostics;
use crate::parse::{MAX_TEXT, nearest, synonym, with_hint};
use crate::source::{SourceFile, Span};

/// A packet and what has to become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// `pass` or `block`.
    pub passes: bool,
    /// The packet.
    pub packet: Probe,
    /// `by`: the rule that has to decide.
    pub by: Option<By>,
    /// The line in its file, from 1.
    pub line: u32,
}

/// Which rule has to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// `by "label"`: one with this label.
    Label(String),
    /// `by @14`, `by @anchor/3`: the one with this number.
    Rule {
        /// The anchor's full path without a leading slash; empty for the main rule set.
        anchor: String,
        /// Its number there, from 0.
        number: u32,
    },
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(f, "\"{label}\""),
            Self::Rule { anchor, number } if anchor.is_empty() => write!(f, "@{number}"),
            Self::Rule { anchor, number } => write!(f, "@{anchor}/{number}"),
        }
    }
}

/// What a file of cases holds.
#[derive(Clone, Debug, Default)]
pub struct Cases {
    /// The cases without an error, in order.
    pub list: Vec<Case>,
    /// What is wrong with the others.
    pub diagnostics: Diagnostics,
}

/// Reads a file of cases. Never panics; reading stops at [`Diagnostics::MAX`] errors.
pub fn cases(file: &SourceFile) -> Cases {
    if file.text.len() > MAX_TEXT {
        let mut reader = Reader::new(&file.name, "");
        let size = file.text.len();
        let message = format!("the file has {size} bytes, and {MAX_TEXT} is the most it may have");
        reader.error(Span::default(), message, &[]);
        return Cases { list: Vec::new(), diagnostics: reader.found };
    }
    let text = file.text.strip_prefix('\u{feff}').unwrap_or(&file.text);
    let mut reader = Reader::new(&file.name, text);
    let (mut list, mut words, mut start) = (Vec::new(), Vec::new(), 0);
    for line in text.split('\n') {
        reader.line += 1;
        cut(line, 0, start, &mut words);
        start += line.len() as u32 + 1;
        if !words.is_empty() {
            list.extend(reader.case(&words));
        }
        if reader.found.is_full() {
            break;
        }
    }
    Cases { list, diagnostics: reader.found }
}

impl<'t> Reader<'t> {
    fn case(&mut self, words: &[Word<'t>]) -> Option<Case> {
        let (first, mut rest) = words.split_first()?;
        let passes = match first.text {
            _ if first.quoted != Quoted::No => None,
            "pass" => Some(true),
            "block" => Some(false),
            _ => None,
        };
        if passes.is_none() {
            let at = shown(first);
            let message = if first.is("match") || first.is("anchor") {
                format!("{at} decides nothing: a case begins with `pass` or `block`")
            } else if is_packet_word(first) {
                format!("a case begins with `pass` or `block`, {at} comes behind it")
            } else {
                let near = nearest(first.text, ["pass", "block"].into_iter())
                    .or_else(|| synonym(first.text));
                let message = format!("a case begins with `pass` or `block`, not with {at}");
                with_hint(message, "", near)
            };
            self.error(first.span, message, &["pass", "block"]);
            if is_packet_word(first) {
                rest = words;
            }
        }
        let mut seen = Seen::default();
        let packet = self.words(rest, first.span, &mut seen, true);
        Some(Case { passes: passes?, packet: packet?, by: seen.by, line: self.line })
    }
}
