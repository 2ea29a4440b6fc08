//! The texts a rule set is read from, and positions in them.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Place, Severity};

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

    /// A file of that name as it was read.
    ///
    /// # Errors
    /// At its first byte that is not UTF-8.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self, Box<Diagnostic>> {
        let name = name.into();
        match checked_text(bytes) {
            Ok(text) => Ok(Self { name, text }),
            Err(NotText { shown, at, message }) => {
                let sources = Sources::default();
                let file = sources.add(Self { name, text: shown }, None);
                let place = sources.place(Span { file, start: at, end: at + 1 });
                let (expected, notes) = (Vec::new(), Vec::new());
                let severity = Severity::Error;
                Err(Box::new(Diagnostic { severity, message, place, expected, notes }))
            }
        }
    }
}

/// Why bytes are no text.
pub(crate) struct NotText {
    /// What can be shown of them: all up to the end of the line that is wrong, or some of it.
    pub(crate) shown: String,
    /// Where in that the first wrong byte is.
    pub(crate) at: u32,
    /// What it is.
    pub(crate) message: String,
}

/// Bytes as text, if they are UTF-8; shorter than 4 GiB.
pub(crate) fn checked_text(bytes: Vec<u8>) -> Result<String, NotText> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let rest = &bytes[at..bytes.len().min(at + EXCERPT)];
        let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let shown = String::from_utf8_lossy(&bytes[..at + line.len()]).into_owned();
        let message = format!("found the byte {:#04x}, which is not UTF-8 text", bytes[at]);
        NotText { shown, at: at as u32, message }
    })
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

/// The offsets at which the lines of a text begin, found when they are first asked for.
#[derive(Debug, Default)]
struct Lines(OnceCell<Vec<u32>>);

impl Lines {
    /// The line of an offset, counted from 1, and where it begins.
    fn find(&self, text: &str, offset: u32) -> (u32, u32) {
        let starts = self.0.get_or_init(|| {
            let newlines = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
            std::iter::once(0).chain(newlines.map(|(at, _)| at as u32 + 1)).collect()
        });
        let line = starts.partition_point(|&start| start <= offset);
        (line as u32, starts[line.saturating_sub(1)])
    }
}

/// Finds lines and columns in the files that a run has read.
#[derive(Debug)]
pub struct Places<'s> {
    files: &'s [SourceFile],
    lines: Vec<Lines>,
}

impl<'s> Places<'s> {
    /// In these files, in the order in which they were read.
    pub fn new(files: &'s [SourceFile]) -> Self {
        Self { files, lines: files.iter().map(|_| Lines::default()).collect() }
    }

    /// The place of a span; `None` if there is no such file.
    pub fn place(&self, span: Span) -> Option<Place> {
        let file = self.files.get(span.file as usize)?;
        let line = self.lines.get(span.file as usize)?.find(&file.text, span.start);
        Some(Place::in_text(&file.name, &file.text, line, span))
    }

    /// The line of a span's beginning, from 1; `None` if there is no such file.
    pub fn line(&self, span: Span) -> Option<u32> {
        let file = self.files.get(span.file as usize)?;
        Some(self.lines.get(span.file as usize)?.find(&file.text, span.start).0)
    }
}

/// The files of one run, more of them as they are named. A file that is read twice is here twice.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    files: RefCell<Vec<Rc<Reading>>>,
}

/// A file as it is read once.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) file: SourceFile,
    lines: Lines,
    /// What names it: the path in another file's statement.
    pub(crate) named_at: Option<Span>,
}

/// Characters of a source line that a message carries at most; the rest of a longer line is cut.
const EXCERPT: usize = 160;

impl Sources {
    /// Adds a file, shorter than 4 GiB; returns its index.
    pub(crate) fn add(&self, file: SourceFile, named_at: Option<Span>) -> u32 {
        let mut files = self.files.borrow_mut();
        files.push(Rc::new(Reading { file, lines: Lines::default(), named_at }));
        files.len() as u32 - 1
    }

    pub(crate) fn count(&self) -> usize {
        self.files.borrow().len()
    }

    pub(crate) fn reading(&self, file: u32) -> Rc<Reading> {
        Rc::clone(&self.files.borrow()[file as usize])
    }

    /// The line of an offset, counted from 1.
    pub(crate) fn line(&self, file: u32, offset: u32) -> u32 {
        let reading = self.reading(file);
        reading.lines.find(&reading.file.text, offset).0
    }

    /// `FILE:LINE`, for messages that name a second place.
    pub(crate) fn file_and_line(&self, span: Span) -> String {
        let line = self.line(span.file, span.start);
        format!("{}:{line}", self.reading(span.file).file.name)
    }

    pub(crate) fn place(&self, span: Span) -> Place {
        let reading = self.reading(span.file);
        let SourceFile { name, text } = &reading.file;
        Place::in_text(name, text, reading.lines.find(text, span.start), span)
    }

    /// Where the file was named, where the file of that place was named, and so on.
    pub(crate) fn chain(&self, file: u32) -> impl Iterator<Item = Span> + '_ {
        std::iter::successors(self.reading(file).named_at, |at| self.reading(at.file).named_at)
    }

    /// The texts, in the order in which they were read.
    pub(crate) fn into_files(self) -> Vec<SourceFile> {
        let files = self.files.into_inner().into_iter();
        files
            .map(|reading| match Rc::try_unwrap(reading) {
                Ok(reading) => reading.file,
                Err(shared) => shared.file.clone(),
            })
            .collect()
    }
}

impl Place {
    /// The place of a span in a text; its line, from 1, and where that begins are known.
    pub(crate) fn in_text(name: &str, text: &str, line: (u32, u32), span: Span) -> Self {
        /// Further than any excerpt reaches: the end of the line does not matter behind that.
        const AHEAD: usize = 64 * EXCERPT;
        let start = floor_char(text, span.start as usize);
        let (line, line_start) = (line.0, floor_char(text, line.1 as usize).min(start));
        let ahead = floor_char(text, start + AHEAD);
        let line_end = text[start..ahead].find('\n').map_or(ahead, |at| start + at);
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
