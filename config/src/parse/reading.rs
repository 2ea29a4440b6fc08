//! The files of a run: the rule file, those it includes, those it loads into anchors. Included files
//! are read where they are named, loaded ones when the rule file is at its end (pfctl,
//! `pfctl_load_anchors`). Nothing recurses: files that are half read wait on a stack.

use std::collections::VecDeque;
use std::rc::Rc;

use super::lexer::{Cursor, Kind, Lexer, Token};
use super::macros::Macros;
use super::words::shorten;
use super::{Loaded, MAX_TEXT, Reader, Scope};
use crate::source::{NotText, Reading, SourceFile, Span, checked_text};

/// How deep files may name each other.
pub const MAX_DEPTH: usize = 16;

/// How many files one run may read; a file that is named twice counts twice.
pub const MAX_FILES: usize = 10_000;

/// A rule file that is half read.
pub(super) struct Open {
    file: u32,
    reading: Rc<Reading>,
    cursor: Cursor,
    /// How many rule sets waited when it began: it can go back to none of them.
    outer: usize,
}

/// `load anchor`, until its turn comes.
pub(super) struct Load {
    /// The path of the anchor.
    pub(super) anchor: String,
    /// The name of the file.
    pub(super) file: String,
    /// Where that stands.
    pub(super) at: Span,
}

/// What is read next.
#[derive(Default)]
pub(super) struct Agenda {
    pub(super) open: Vec<Open>,
    pub(super) loads: VecDeque<Load>,
}

impl Reader<'_, '_> {
    /// Begins with the rule file.
    pub(super) fn begin(&mut self, main: SourceFile) {
        let size = main.text.len();
        if size > MAX_TEXT {
            self.report.sources.add(SourceFile::new(main.name, ""), None);
            let message = format!(
                "the rule files have {size} bytes, and {MAX_TEXT} is the most they may have"
            );
            return self.report.error(Span::default(), message);
        }
        self.text = size;
        let file = self.report.sources.add(main, None);
        self.open(file);
    }

    fn open(&mut self, file: u32) {
        let open = Open {
            file,
            reading: self.report.sources.reading(file),
            cursor: Cursor::default(),
            outer: self.outer.len(),
        };
        self.agenda.open.push(open);
    }

    /// Reads all there is to read.
    pub(super) fn read_all(&mut self) {
        while !self.report.found.is_full() {
            if let Some(open) = self.agenda.open.pop() {
                self.read(open);
            } else if let Some(load) = self.agenda.loads.pop_front() {
                self.keep_loaded();
                self.load_file(load);
            } else {
                break;
            }
        }
        self.keep_loaded();
    }

    /// Reads a file to its end or to the next `include`.
    fn read(&mut self, mut open: Open) {
        let reading = Rc::clone(&open.reading);
        let mut lexer = Lexer::new(open.file, &reading.file.text, open.cursor);
        let (mut raw, mut words) = (Vec::new(), Vec::new());
        loop {
            let first = self.report.found.kept();
            if self.report.found.is_full() {
                return;
            }
            let Some(ended) = lexer.statement(&mut raw, &mut self.report) else { break };
            let included = self.statement(&raw, ended, &mut words);
            self.report.found.sort_from(first);
            if let Some(file) = included {
                open.cursor = lexer.cursor();
                self.agenda.open.push(open);
                return self.open(file);
            }
        }
        let first = self.report.found.kept();
        self.close_forgotten(open.outer);
        self.report.found.sort_from(first);
    }

    /// Reads a file into an anchor. As in pf it knows the macros of -D only, and has its own
    /// defaults.
    fn load_file(&mut self, load: Load) {
        let Some(file) = self.read_rules(&load.file, load.at) else { return };
        let macros = std::mem::replace(&mut self.macros, Macros::new(self.environment.defines));
        macros.into_notes(&mut self.report.notes.macros);
        let settings = std::mem::take(&mut self.settings);
        self.main_settings.get_or_insert(settings);
        self.bodies = 0;
        let Load { anchor, file: name, .. } = load;
        self.loaded.push(Loaded { anchor: anchor.clone(), file: name, echo: Vec::new() });
        self.enter(Scope::new(anchor));
        self.open(file);
    }

    /// `include "file"`: the index of the file to go on with.
    pub(super) fn include(&mut self, words: &[Token<'_>]) -> Option<u32> {
        let file = self.file_name(words, 1)?;
        self.statement_ends(words, 2)?;
        self.read_rules(&file, words[1].span)
    }

    /// The name of a file at that word: what messages call it and the caller reads it by.
    pub(super) fn file_name(&mut self, words: &[Token<'_>], at: usize) -> Option<String> {
        let token = &words[at];
        let path = &*token.text;
        let message = match token.kind {
            Kind::Quoted | Kind::Word if path.is_empty() => "the name of the file is empty",
            Kind::Quoted | Kind::Word if path.contains(char::is_control) => {
                "the name of a file cannot contain control characters"
            }
            Kind::Quoted | Kind::Word if words[at + 1].is_symbol("/") => {
                "a path with slashes in it must be put into quotes"
            }
            Kind::Quoted | Kind::Word => {
                let by = self.report.sources.reading(token.span.file);
                return Some(beside(&by.file.name, path));
            }
            _ => {
                let message =
                    format!("expected a file name in quotes, found {}", super::shown(token));
                let expected = vec!["a file name in quotes".to_owned()];
                self.report.expected_at(token, message, expected, &self.macros);
                return None;
            }
        };
        self.report.error_at(token, message, &self.macros);
        None
    }

    fn read_rules(&mut self, name: &str, at: Span) -> Option<u32> {
        let text = self.text_of(name, at)?;
        self.text = self.text.saturating_add(text.len());
        if self.text > MAX_TEXT {
            let message =
                format!("with `{}` the rule files have more than {MAX_TEXT} bytes", shorten(name));
            self.report.error(at, message);
            return None;
        }
        Some(self.report.sources.add(SourceFile::new(name, text), Some(at)))
    }

    /// Has a file read, unless that leads nowhere.
    pub(super) fn text_of(&mut self, name: &str, at: Span) -> Option<String> {
        let sources = self.report.sources;
        let mut names = 0;
        let mut above = Some(at);
        while let Some(span) = above {
            let reading = sources.reading(span.file);
            if reading.file.name == name {
                let message = format!("`{}` names itself, by way of this file", shorten(name));
                self.report.error(at, message);
                return None;
            }
            names += 1;
            above = reading.named_at;
        }
        let message = if names > MAX_DEPTH {
            format!("files may name each other {MAX_DEPTH} deep at most")
        } else if sources.count() >= MAX_FILES {
            format!("one run may read {MAX_FILES} files at most")
        } else {
            let by = &sources.reading(at.file).file.name;
            match self.environment.files.read(name, by).map(checked_text) {
                Ok(Ok(text)) => return Some(text),
                Ok(Err(NotText { shown, at: start, message })) => {
                    let file = sources.add(SourceFile::new(name, shown), Some(at));
                    self.report.error(Span { file, start, end: start + 1 }, message);
                    return None;
                }
                Err(error) => format!("{}: {error}", name.escape_debug()),
            }
        };
        self.report.error(at, message);
        None
    }
}

/// A path relative to the folder of the file `by`.
fn beside(by: &str, path: &str) -> String {
    match by.rsplit_once('/') {
        Some((folder, _)) if !path.starts_with('/') => format!("{folder}/{path}"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::beside;

    #[test]
    fn paths_begin_at_the_folder_of_the_file_that_names_them() {
        assert_eq!(beside("stdin", "a/b"), "a/b");
        assert_eq!(beside("/etc/weir/weir.conf", "hosts"), "/etc/weir/hosts");
        assert_eq!(beside("rules/weir.conf", "../hosts"), "rules/../hosts");
        assert_eq!(beside("/weir.conf", "hosts"), "/hosts");
        assert_eq!(beside("/etc/weir/weir.conf", "/srv/hosts"), "/srv/hosts");
    }
}
