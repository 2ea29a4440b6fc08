//! `# lint: allow NAME`: warnings that the owner has thought about.

use std::collections::HashMap;

use super::subject::Subject;
use super::{Finding, Found, Lint, lints};
use crate::notes::LintComment;
use crate::parse::nearest;
use crate::source::Span;

const UNUSED_ALLOW: Lint = Lint {
    name: "unused-allow",
    summary: "a comment silences a warning that is not given",
    explanation: "\
`# lint: allow NAME[, NAME ...]` silences warnings of these names on its own line or, if it has a line
for itself, on the next one that is no comment. `# lint: allow-file NAME`, before the first rule,
silences them in the whole file. Where there is nothing to silence the comment is out of date, or it
stands in the wrong place.

    # lint: allow mid-connection-state
    pass in on lan proto tcp flags S/SA",
};

const UNKNOWN_ALLOW: Lint = Lint {
    name: "unknown-allow",
    summary: "a `# lint:` comment that cannot be understood",
    explanation: "\
A comment that begins with `lint:` goes on with `allow` or `allow-file` and names of warnings with
commas between them, which `weir check --list` shows.

    # lint: allow one-side, duplicate-rules

was meant to be `# lint: allow one-sided, duplicate-rule`. Reasons go into a comment of their own.",
};

pub(super) const LINTS: &[Lint] = &[UNUSED_ALLOW, UNKNOWN_ALLOW];

/// One name in one comment.
struct Allow<'s> {
    name: &'s str,
    span: Span,
    /// `None`: the whole file.
    line: Option<u32>,
    used: bool,
}

/// Takes the findings away that a comment allows, and adds one for each comment that allows none.
pub(super) fn silence(subject: &Subject<'_>, found: &mut Vec<Found>) {
    let mut allows = Vec::new();
    let mut wrong = Vec::new();
    for comment in &subject.notes.lint_comments {
        if let Err(fault) = read(subject, comment, &mut allows) {
            wrong.push(finding(subject, &UNKNOWN_ALLOW, comment.span, fault));
        }
    }
    // By file and name, so that a thousand of each are no million comparisons.
    let mut by_name: HashMap<(u32, &str), Vec<usize>> = HashMap::new();
    for (i, allow) in allows.iter().enumerate() {
        by_name.entry((allow.span.file, allow.name)).or_default().push(i);
    }
    found.retain(|found| {
        let key = (found.span.file, found.finding.name);
        let statement = subject.statement_around(found.span);
        let lines = subject.lines.line(key.0, statement.start)
            ..=subject.lines.line(key.0, statement.end.max(statement.start));
        let mut is_silenced = false;
        for &i in by_name.get(&key).into_iter().flatten() {
            let allow = &mut allows[i];
            if allow.line.is_none_or(|line| lines.contains(&line)) {
                allow.used = true;
                is_silenced = true;
            }
        }
        !is_silenced
    });
    for allow in allows.iter().filter(|allow| !allow.used) {
        let message = format!("there is no `{}` to silence here", allow.name);
        wrong.push(finding(subject, &UNUSED_ALLOW, allow.span, message));
    }
    wrong.truncate(super::MAX_FINDINGS);
    found.append(&mut wrong);
}

fn finding(subject: &Subject<'_>, lint: &'static Lint, span: Span, message: String) -> Found {
    let finding = Finding {
        name: lint.name,
        message,
        place: subject.lines.place(span),
        why: lint.summary.to_owned(),
        help: None,
    };
    Found { finding, span }
}

/// Understands one comment.
fn read<'s>(
    subject: &Subject<'s>,
    comment: &'s LintComment,
    allows: &mut Vec<Allow<'s>>,
) -> Result<(), String> {
    let (verb, names) = comment.text.split_once(char::is_whitespace).unwrap_or((&comment.text, ""));
    let line = match verb {
        "allow" => Some(meant_line(subject, comment)),
        "allow-file" if subject.is_before_rules(comment.span) => None,
        "allow-file" => {
            return Err("`allow-file` must stand before the first rule of the file".to_owned());
        }
        _ => return Err("`allow` or `allow-file` is missing behind `lint:`".to_owned()),
    };
    if names.trim().is_empty() {
        return Err(format!("`{verb}` needs the name of a warning"));
    }
    let mut unknown = None;
    for name in names.split(',').map(str::trim) {
        if lints().any(|lint| lint.name == name) {
            allows.push(Allow { name, span: comment.span, line, used: false });
        } else if unknown.is_none() {
            let message = format!("no warning is named `{}`", super::subject::shorten(name));
            unknown = Some(match nearest(name, lints().map(|lint| lint.name)) {
                Some(near) => format!("{message}, did you mean `{near}`?"),
                None => message,
            });
        }
    }
    unknown.map_or(Ok(()), Err)
}

/// The line that a comment speaks of: its own or, past further comments, the next one.
fn meant_line(subject: &Subject<'_>, comment: &LintComment) -> u32 {
    /// How far a comment may go on below.
    const MOST: u32 = 100;
    let file = comment.span.file;
    let own = subject.lines.line(file, comment.span.start);
    if !comment.alone {
        return own;
    }
    let is_comment = |line: &u32| subject.lines.text(file, *line).1.trim_start().starts_with('#');
    (own + 1..own + MOST).find(|line| !is_comment(line)).unwrap_or(own + 1)
}
