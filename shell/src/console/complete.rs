//! Completion and hints, from the table of commands.

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hint, Hinter};
use rustyline::validate::Validator;
use rustyline::{Context, Helper, Result};
use std::borrow::Cow;

use super::criteria::{self, Next};
use super::pattern::{Argument, Kind, Place};
use super::resolve::Walk;
use super::seen::Seen;
use super::terminal::Manner;
use super::tree::Tree;
use super::words;

/// Helps with the line that is being typed.
#[derive(Debug)]
pub(crate) struct Assistant {
    pub(crate) seen: Seen,
    pub(crate) manner: Manner,
}

/// What stands before the word at the cursor, and the word.
struct At {
    walk: Walk,
    begun: String,
    start: usize,
}

/// Looks at a line up to the cursor; `None` where no command can be.
fn look(line: &str) -> Option<At> {
    let mut words = words::split(line).ok()?;
    let last = if line.ends_with(char::is_whitespace) { None } else { words.pop() };
    let mut walk = Walk::new(Tree::get());
    // Where help explains commands, commands are completed.
    let explained = words.first().is_some_and(|word| word.text == "help");
    for word in words.iter().skip(explained.into()) {
        walk.take(&word.text).ok()?;
    }
    let (begun, start) = last.map_or((String::new(), line.len()), |word| (word.text, word.start));
    Some(At { walk, begun, start })
}

/// What may stand at the cursor.
enum Candidate {
    Word(&'static str),
    /// An argument, as it is named.
    Argument(Kind, String),
}

/// What may stand at the cursor, words first.
fn expected(at: &At) -> Vec<Candidate> {
    let (mut words, mut arguments) = (Vec::new(), Vec::new());
    for place in at.walk.expected() {
        match place {
            Place::Word(word) => words.push(Candidate::Word(word)),
            Place::Argument(Argument {
                name, kind: kind @ (Kind::Which | Kind::Whose), ..
            }) => match criteria::after(&at.walk.given(name), kind) {
                Next::Words(known) => words.extend(known.into_iter().map(Candidate::Word)),
                Next::Named(kind) => {
                    let name = format!("{kind:?}").to_uppercase();
                    arguments.push(Candidate::Argument(kind, name));
                }
                Next::Free => {}
            },
            Place::Argument(argument) => {
                arguments.push(Candidate::Argument(argument.kind, place.to_string()));
            }
        }
    }
    words.extend(arguments);
    words
}

/// What the word at the cursor may become.
fn candidates(at: &At, seen: &Seen) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for candidate in expected(at) {
        match candidate {
            Candidate::Word(word) if word.starts_with(&at.begun) => found.push(word.to_owned()),
            Candidate::Word(_) => {}
            Candidate::Argument(kind, _) => found.extend(seen.names(kind, &at.begun)),
        }
    }
    found
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let Some(at) = look(&line[..pos]) else { return Ok((pos, Vec::new())) };
        let pairs = candidates(&at, &self.seen)
            .into_iter()
            .map(|word| Pair { replacement: word.clone() + " ", display: word })
            .collect();
        Ok((at.start, pairs))
    }
}

/// What may be typed next: shown behind the cursor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    text: String,
    /// The part of it that the right arrow takes over.
    rest: Option<String>,
}

impl Hint for Shown {
    fn display(&self) -> &str {
        &self.text
    }

    fn completion(&self) -> Option<&str> {
        self.rest.as_deref()
    }
}

/// What is shown behind a line.
fn hint(line: &str) -> Option<Shown> {
    if line.trim().is_empty() {
        return None;
    }
    let at = look(line)?;
    let expected = expected(&at);
    if at.begun.is_empty() && at.start == line.len() {
        let mut text = String::new();
        for candidate in expected.iter().take(6) {
            text += if text.is_empty() { "" } else { " | " };
            text += match candidate {
                Candidate::Word(word) => word,
                Candidate::Argument(_, name) => name,
            };
        }
        text += if expected.len() > 6 { " | ..." } else { "" };
        return (!text.is_empty()).then_some(Shown { text, rest: None });
    }
    let mut words = expected.iter().filter_map(|candidate| match candidate {
        Candidate::Word(word) => word.strip_prefix(&*at.begun),
        Candidate::Argument(..) => None,
    });
    match (words.next(), words.next()) {
        (Some(rest), None) if !rest.is_empty() => {
            Some(Shown { text: rest.to_owned(), rest: Some(rest.to_owned()) })
        }
        _ => None,
    }
}

impl Hinter for Assistant {
    type Hint = Shown;

    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<Shown> {
        if pos == line.len() { hint(line) } else { None }
    }
}

impl Highlighter for Assistant {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        // Fainter than what is typed; a VT100 can only underline.
        match self.manner {
            Manner::Dumb => hint.into(),
            Manner::Vt100 => format!("\x1b[4m{hint}\x1b[m").into(),
            Manner::Full => format!("\x1b[2m{hint}\x1b[m").into(),
        }
    }
}

impl Validator for Assistant {}

impl Helper for Assistant {}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn offered(line: &str) -> (usize, Vec<String>) {
        let seen = Seen::new(Path::new("/nonexistent/weir.sock"));
        let at = look(line).unwrap();
        (at.start, candidates(&at, &seen))
    }

    #[test]
    fn words_are_completed_where_they_may_stand() {
        assert_eq!(offered("sho"), (0, vec!["show".into()]));
        assert_eq!(offered("show st"), (5, vec!["states".into()]));
        assert_eq!(offered("sh in"), (3, vec!["info".into(), "interfaces".into()]));
        assert_eq!(offered("table bad fl").1, ["flush"]);
        assert_eq!(offered("help tab").1, ["table"]);
        assert_eq!(offered("capture on ").1, ["lan", "wan"], "known without the daemon");
        assert_eq!(offered("show states h").1, ["host"]);
        assert_eq!(offered("sh st detail not state EST").1, ["ESTABLISHED"]);
        assert_eq!(offered("show sources sort con").1, ["connections"]);
        assert_eq!(offered("log fo").1, ["follow"]);
        assert!(look("nonsense here").is_none() && look("show \"sta").is_none());
    }

    #[test]
    fn hints_tell_what_follows() {
        let shown = |line: &str| hint(line).map(|hint| hint.text);
        assert_eq!(shown("show stat").as_deref(), Some("es"));
        assert_eq!(hint("show stat").unwrap().rest.as_deref(), Some("es"));
        assert_eq!(shown("table ").as_deref(), Some("TABLE"));
        assert_eq!(shown("table bad add ").as_deref(), Some("ADDRESS..."));
        assert_eq!(shown("kill 192.0.2.1 ").as_deref(), Some("to"));
        assert_eq!(shown("sh in"), None, "two words begin like that");
        assert_eq!(shown("show states host ").as_deref(), Some("ADDRESS"));
        assert_eq!(shown("show states sort byt").as_deref(), Some("es"));
        assert_eq!(shown("show states"), None);
        assert_eq!(shown(""), None);
        assert!(shown("show ").unwrap().ends_with(" | ..."));
    }
}
