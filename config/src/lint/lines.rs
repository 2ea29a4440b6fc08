//! The files by their lines.

use crate::diagnostic::Place;
use crate::source::{SourceFile, Span};

/// The texts with the offsets at which their lines begin.
pub(super) struct Lines<'s> {
    files: &'s [SourceFile],
    starts: Vec<Vec<u32>>,
}

impl<'s> Lines<'s> {
    /// Texts must be shorter than 4 GiB.
    pub(super) fn new(files: &'s [SourceFile]) -> Self {
        let starts = files
            .iter()
            .map(|file| {
                let newlines = file.text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
                std::iter::once(0).chain(newlines.map(|(at, _)| at as u32 + 1)).collect()
            })
            .collect();
        Self { files, starts }
    }

    /// The line of an offset, from 1.
    pub(super) fn line(&self, file: u32, offset: u32) -> u32 {
        let starts = self.starts.get(file as usize);
        starts.map_or(1, |starts| starts.partition_point(|&start| start <= offset) as u32)
    }

    /// The text of a line (from 1) without its end, and its offset. Empty if there is none.
    pub(super) fn text(&self, file: u32, line: u32) -> (u32, &'s str) {
        let Some((starts, file)) =
            self.starts.get(file as usize).zip(self.files.get(file as usize))
        else {
            return (0, "");
        };
        let at = line.saturating_sub(1) as usize;
        let Some(&start) = starts.get(at) else { return (0, "") };
        let text = &file.text[start as usize..];
        (start, text.lines().next().unwrap_or_default())
    }

    /// A piece of text; empty if it is none.
    pub(super) fn piece(&self, span: Span) -> &'s str {
        let file = self.files.get(span.file as usize);
        file.and_then(|file| file.text.get(span.start as usize..span.end as usize))
            .unwrap_or_default()
    }

    /// A line without the blanks around it.
    pub(super) fn statement(&self, file: u32, line: u32) -> Span {
        let (start, text) = self.text(file, line);
        let trimmed = text.trim_start();
        let start = start + (text.len() - trimmed.len()) as u32;
        Span { file, start, end: start + trimmed.trim_end().len() as u32 }
    }

    pub(super) fn name(&self, file: u32) -> &'s str {
        self.files.get(file as usize).map_or("?", |file| &file.name)
    }

    pub(super) fn place(&self, span: Span) -> Place {
        match self.files.get(span.file as usize) {
            Some(file) => {
                let line = self.line(span.file, span.start);
                let (start, _) = self.text(span.file, line);
                Place::in_text(&file.name, &file.text, (line, start), span)
            }
            None => Place::nowhere(),
        }
    }
}
