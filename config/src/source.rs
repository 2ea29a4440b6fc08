//! The texts a rule set is read from, and positions in them.

use serde::{Deserialize, Serialize};

use crate::diagnostic::Place;

/// A rule file, read by the caller: weir's configuration code opens nothing itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// As it shall appear in messages: the path as typed, or `stdin`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl SourceFile {
    /// A file of that name with that text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }
}

/// A piece of one file, in bytes, end excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Index of the file in the order in which the files were read.
    pub file: u32,
    /// First byte, from 0.
    pub start: u32,
    /// The byte behind the last one.
    pub end: u32,
}

/// The files of one run with their line tables.
pub(crate) struct Sources<'s> {
    files: &'s [SourceFile],
    /// For each file the offsets at which its lines begin.
    lines: Vec<Vec<u32>>,
}

/// Characters of a source line that a message carries at most; the rest of a longer line is cut.
const EXCERPT: usize = 160;

impl<'s> Sources<'s> {
    /// Texts must be shorter than 4 GiB.
    pub(crate) fn new(files: &'s [SourceFile]) -> Self {
        let lines = files
            .iter()
            .map(|file| {
                let newlines = file.text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
                std::iter::once(0).chain(newlines.map(|(at, _)| at as u32 + 1)).collect()
            })
            .collect();
        Self { files, lines }
    }

    pub(crate) fn text(&self, file: u32) -> &'s str {
        &self.files[file as usize].text
    }

    /// The line of an offset, counted from 1.
    pub(crate) fn line(&self, file: u32, offset: u32) -> u32 {
        self.lines[file as usize].partition_point(|&start| start <= offset) as u32
    }

    /// `FILE:LINE`, for messages that name a second place.
    pub(crate) fn file_and_line(&self, span: Span) -> String {
        format!("{}:{}", self.files[span.file as usize].name, self.line(span.file, span.start))
    }

    pub(crate) fn place(&self, span: Span) -> Place {
        let file = &self.files[span.file as usize];
        Place::in_text(&file.name, &file.text, self.line(span.file, span.start), span)
    }
}

impl Place {
    /// The place of a span in a text whose line (from 1) is known.
    pub(crate) fn in_text(name: &str, text: &str, line: u32, span: Span) -> Self {
        let start = floor_char(text, span.start as usize);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = floor_char(text, span.end as usize).clamp(start, line_end);
        let from = window_start(text, line_start, start);
        let to = window_end(text, from, line_end);
        let excerpt = text[from..to].trim_end_matches('\r').to_owned();
        let within = |at: usize| (at.min(to) - from).min(excerpt.len()) as u32;
        Self {
            file: name.to_owned(),
            line,
            column: column(&text[line_start..start]),
            start: start as u32,
            end: end as u32,
            underline: [within(start), within(end)],
            excerpt,
        }
    }
}

/// In characters; in bytes behind the first 64 KiB of a line, which nobody counts and which would
/// make a thousand messages slow.
fn column(before: &str) -> u32 {
    const COUNTED: usize = 1 << 16;
    let counted = floor_char(before, COUNTED);
    (before[..counted].chars().count() + before.len() - counted + 1) as u32
}

/// The last character boundary at or before `at`.
fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Where the excerpt begins: at the line's start unless the place would fall out of the window.
fn window_start(text: &str, line_start: usize, start: usize) -> usize {
    if start - line_start <= EXCERPT / 2 {
        return line_start;
    }
    floor_char(text, start - EXCERPT / 2).max(line_start)
}

fn window_end(text: &str, from: usize, line_end: usize) -> usize {
    floor_char(text, (from + EXCERPT).min(line_end)).max(from)
}
