//! Anchors (pf.conf(5), ANCHORS): their names, their rules in braces, and `load anchor`.

use nom::Err;

use super::expand;
use super::grammar;
use super::lexer::{Kind, Token};
use super::reading::Load;
use super::resolve::Resolver;
use super::words::{self, shorten};
use super::{Reader, shown};
use crate::rules::{Action, Anchor, AnchorCall, Rule};
use crate::source::Span;
use crate::tables::Table;

/// How deep anchors may nest (pfctl, `PFCTL_ANCHOR_STACK_DEPTH`).
pub const MAX_ANCHOR_DEPTH: usize = 64;

/// How many anchors with content a rule set may have.
pub const MAX_ANCHORS: usize = 65_536;

/// The longest part of an anchor's path: pf's `PF_ANCHOR_NAME_SIZE` less its closing zero.
const LONGEST_PART: usize = 63;

/// The longest path: pf's `MAXPATHLEN` less its closing zero.
const LONGEST_PATH: usize = 1023;

/// A rule set that is being filled: the main one or that of an anchor.
#[derive(Default)]
pub(super) struct Scope {
    /// Empty for the main rule set.
    pub(super) path: String,
    pub(super) tables: Vec<Table>,
    pub(super) rules: Vec<Rule>,
    /// For rules in braces.
    body: Option<Body>,
}

/// The braces behind an anchor rule.
struct Body {
    brace: Span,
    /// The first of the rules that call it, in the scope around it; `None` if the anchor rule is
    /// wrong, and nothing of what follows counts.
    caller: Option<usize>,
}

impl Scope {
    pub(super) fn new(path: String) -> Self {
        Self { path, ..Self::default() }
    }

    /// Whether the rules stand in braces.
    pub(super) const fn is_inline(&self) -> bool {
        self.body.is_some()
    }
}

/// An anchor's path as it is written in a rule.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    /// From the main rule set, without a leading slash; with `wildcard` that of the parent.
    path: String,
    wildcard: bool,
}

/// Checks an anchor's name that is written inside the anchor `inside`.
fn name(written: &str, inside: &str) -> Result<Name, String> {
    let shown = shorten(written);
    if written.is_empty() {
        return Err("anchor name must not be empty".to_owned());
    }
    let (mut path, relative) = match written.strip_prefix('/') {
        Some(absolute) => (String::new(), absolute),
        None => (inside.to_owned(), written),
    };
    let parts = match relative.strip_suffix('*') {
        Some("") => "",
        Some(parent) => parent.strip_suffix('/').ok_or_else(|| star(&shown))?,
        None => relative,
    };
    let wildcard = relative.ends_with('*');
    for part in parts.split('/').take(if parts.is_empty() && wildcard { 0 } else { usize::MAX }) {
        if part.is_empty() {
            return Err(format!("`{shown}`: a part of the anchor's path is empty"));
        }
        if matches!(part, "." | "..") {
            return Err(format!(
                "`{shown}`: write the path from the main rule set, as in \"/a/b\""
            ));
        }
        if part.starts_with('_') {
            return Err("anchor names beginning with '_' are reserved for internal use".to_owned());
        }
        if part.contains('*') {
            return Err(star(&shown));
        }
        if part.contains(|c: char| matches!(c, '"' | '\\') || c.is_control()) {
            return Err(
                "an anchor's name cannot contain quotes, backslashes or control characters"
                    .to_owned(),
            );
        }
        if part.len() > LONGEST_PART {
            return Err(format!(
                "`{shown}`: a part of an anchor's path is longer than {LONGEST_PART} bytes"
            ));
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(part);
    }
    if path.len() > LONGEST_PATH {
        return Err(format!("the anchor's path is longer than {LONGEST_PATH} bytes"));
    }
    if path.split('/').count() > MAX_ANCHOR_DEPTH {
        return Err(format!("anchors may nest {MAX_ANCHOR_DEPTH} deep at most"));
    }
    Ok(Name { path, wildcard })
}

fn star(shown: &str) -> String {
    format!("`{shown}`: `*` stands for all anchors below a path, alone or at its end behind a `/`")
}

/// The path of an anchor as the command line names it.
///
/// # Errors
/// In words, if no anchor can have that path.
pub fn anchor_path(written: &str) -> Result<String, String> {
    let name = name(written, "")?;
    if name.wildcard {
        return Err(format!("`{}` names many anchors", shorten(written)));
    }
    Ok(name.path)
}

impl Reader<'_, '_> {
    /// `anchor ["name"] [conditions]`, and the brace behind it if there is one; true if the rules
    /// that follow are in it.
    pub(super) fn anchor(&mut self, words: &[Token<'_>], brace: Option<Span>) -> bool {
        let named = match words[1].kind {
            Kind::Quoted => true,
            Kind::Word => !words::is_keyword(&words[1].text),
            _ => false,
        };
        let call =
            if named { self.called(&words[1], brace) } else { self.unnamed(&words[0], brace) };
        let Some(call) = call else { return false };
        let rest = &words[if named { 2 } else { 1 }..];
        if named && rest[0].is_symbol("/") {
            let message = "an anchor's path with slashes in it must be put into quotes";
            self.report.error_at(&rest[0], message, &self.macros);
            return false;
        }
        let before = self.scope.rules.len();
        match grammar::anchor(&words[0], rest) {
            Ok((rest, line)) if rest[0].kind == Kind::End => {
                let mut resolver = Resolver { report: &mut self.report, macros: &self.macros };
                expand::expand_anchor(&line, &call, &mut self.scope.rules, &mut resolver);
            }
            Ok((rest, line)) => self.unexpected(rest, line.stage),
            Err(Err::Error(fault) | Err::Failure(fault)) => {
                self.fault(fault, words::rule_words());
            }
            Err(Err::Incomplete(_)) => self.incomplete(words),
        }
        self.wrote(words, before);
        if self.scope.rules.len() == before {
            return false;
        }
        let Some(brace) = brace else { return false };
        let body = Some(Body { brace, caller: Some(before) });
        self.enter(Scope { path: call.path, body, ..Scope::default() });
        true
    }

    /// The call of an anchor that has a name.
    fn called(&mut self, at: &Token<'_>, brace: Option<Span>) -> Option<AnchorCall> {
        let inline = brace.is_some();
        let written = &*at.text;
        let name = match name(written, &self.scope.path) {
            _ if inline && written.contains(['/', '*']) => {
                Err("anchor paths containing '/' or '*' cannot be used for inline anchors"
                    .to_owned())
            }
            Ok(name) if inline => {
                let again = format!("inline anchor '{}' already exists", shorten(written));
                self.fill(&name.path, again).map(|()| name)
            }
            name => name,
        };
        match name {
            Ok(Name { path, wildcard }) => {
                if inline {
                    self.bodies += 1;
                }
                Some(AnchorCall { path, wildcard, inline, written: written.to_owned() })
            }
            Err(message) => {
                self.report.error_at(at, message, &self.macros);
                None
            }
        }
    }

    /// The call of an anchor without a name. As in pf they are numbered among all anchors in braces.
    fn unnamed(&mut self, keyword: &Token<'_>, brace: Option<Span>) -> Option<AnchorCall> {
        if brace.is_none() {
            let message = "anchors without explicit rules must specify a name";
            self.report.error_at(keyword, message, &self.macros);
            return None;
        }
        self.bodies += 1;
        let inside = &self.scope.path;
        let slash = if inside.is_empty() { "" } else { "/" };
        let path = format!("{inside}{slash}_{}", self.bodies);
        if path.len() > LONGEST_PATH || path.split('/').count() > MAX_ANCHOR_DEPTH {
            let message = format!("anchors may nest {MAX_ANCHOR_DEPTH} deep at most");
            self.report.error_at(keyword, message, &self.macros);
            return None;
        }
        if let Err(message) = self.fill(&path, format!("the anchor `{path}` exists already")) {
            self.report.error_at(keyword, message, &self.macros);
            return None;
        }
        Some(AnchorCall { path, wildcard: false, inline: true, written: String::new() })
    }

    /// The rules in the braces at `brace` belong to an anchor rule that is wrong: they are read for
    /// their errors only.
    pub(super) fn open_lost_body(&mut self, brace: Span) {
        let path = self.scope.path.clone();
        let body = Some(Body { brace, caller: None });
        self.enter(Scope { path, body, ..Scope::default() });
    }

    /// What follows fills another rule set; the one that was being filled waits.
    pub(super) fn enter(&mut self, scope: Scope) {
        self.outer.push(std::mem::replace(&mut self.scope, scope));
    }

    /// Ends what [`Reader::enter`] began.
    fn leave(&mut self) -> Option<Scope> {
        let outer = self.outer.pop()?;
        Some(std::mem::replace(&mut self.scope, outer))
    }

    /// `}`
    pub(super) fn close_body(&mut self) {
        let Some(scope) = self.leave() else { return };
        let Some(caller) = scope.body.and_then(|body| body.caller) else { return };
        let empty = scope.rules.is_empty() && scope.tables.is_empty();
        let mut first = true;
        for rule in &mut self.scope.rules[caller..] {
            let Action::Anchor(call) = &mut rule.action else { continue };
            if call.path != scope.path {
                continue;
            }
            // pfctl prints the rules once, and no braces around none; but without a name they are
            // all there is to the anchor.
            call.inline = call.written.is_empty() || first && !empty;
            first = false;
        }
        if !empty {
            let anchor = Anchor { tables: scope.tables, rules: scope.rules };
            self.anchors.insert(scope.path, anchor);
        }
    }

    /// At the end of a file: the bodies that were begun in it, when `outer` rule sets were waiting.
    pub(super) fn close_forgotten(&mut self, outer: usize) {
        while self.outer.len() > outer && self.scope.body.is_some() {
            if let Some(body) = &self.scope.body {
                self.report.error(body.brace, "the `{` is never closed");
            }
            self.close_body();
        }
    }

    /// Keeps the anchor whose file is at its end.
    pub(super) fn keep_loaded(&mut self) {
        if let Some(Scope { path, tables, rules, .. }) = self.leave() {
            self.anchors.insert(path, Anchor { tables, rules });
        }
    }

    /// Notes that the anchor gets its rules here; a message if it cannot.
    fn fill(&mut self, path: &str, again: String) -> Result<(), String> {
        if self.filled.len() >= MAX_ANCHORS {
            return Err(format!("a rule set may have {MAX_ANCHORS} anchors with rules at most"));
        }
        if self.filled.insert(path.to_owned()) { Ok(()) } else { Err(again) }
    }

    /// `load anchor "name" from "file"`.
    pub(super) fn load_anchor(&mut self, words: &[Token<'_>]) {
        for (at, word) in [(1, "anchor"), (3, "from")] {
            // The name and the file may be missing.
            let Some(token) = words.get(at) else { return self.incomplete(words) };
            if !token.is_word(word) {
                let message = format!("expected `{word}`, found {}", shown(token));
                return self.report.expected_at(
                    token,
                    message,
                    vec![word.to_owned()],
                    &self.macros,
                );
            }
            if at == 1 && !matches!(words[2].kind, Kind::Quoted | Kind::Word) {
                let message = format!("expected the name of an anchor, found {}", shown(&words[2]));
                return self.report.error_at(&words[2], message, &self.macros);
            }
        }
        let at = &words[2];
        let anchor = match name(&at.text, &self.scope.path) {
            Ok(name) if name.wildcard => Err("a file is loaded into one anchor".to_owned()),
            Ok(Name { path, .. }) => Ok(path),
            Err(message) => Err(message),
        };
        let anchor = match anchor {
            Ok(path) => Some(path),
            Err(message) => {
                self.report.error_at(at, message, &self.macros);
                None
            }
        };
        let file = self.file_name(words, 4);
        let ends = file.is_some().then(|| self.statement_ends(words, 5)).flatten();
        let (Some(anchor), Some(file), Some(())) = (anchor, file, ends) else { return };
        let again = format!("the anchor `{}` gets its rules twice", shorten(&anchor));
        match self.fill(&anchor, again) {
            Ok(()) => self.agenda.loads.push_back(Load { anchor, file, at: words[4].span }),
            Err(message) => self.report.error_at(at, message, &self.macros),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Name, name};

    fn path(written: &str, inside: &str) -> (String, bool) {
        let Name { path, wildcard } = name(written, inside).expect("a name");
        (path, wildcard)
    }

    #[test]
    fn names_are_paths() {
        assert_eq!(path("a", ""), ("a".into(), false));
        assert_eq!(path("a/b", "x/y"), ("x/y/a/b".into(), false));
        assert_eq!(path("/a/b", "x/y"), ("a/b".into(), false));
        assert_eq!(path("*", ""), (String::new(), true));
        assert_eq!(path("*", "x"), ("x".into(), true));
        assert_eq!(path("a/*", "x"), ("x/a".into(), true));
        assert_eq!(path("/*", "x"), (String::new(), true));
    }

    #[test]
    fn names_that_none_can_have() {
        for written in ["", "/", "a//b", "a/", "..", "a/../b", "_1", "a/_b", "a*", "*/a", "a\"b"] {
            assert!(name(written, "").is_err(), "{written}");
        }
        assert!(name(&"a".repeat(63), "").is_ok());
        assert!(name(&"a".repeat(64), "").is_err());
        assert!(name(&["a"; 64].join("/"), "").is_ok());
        assert!(name(&["a"; 64].join("/"), "b").is_err());
    }
}
