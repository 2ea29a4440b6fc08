//! What commands there are, and what each does.

use std::fmt::Write as _;

use super::criteria;
use super::pattern::{Argument, Kind, Place};
use super::resolve::{Mistake, Walk};
use super::tree::{Entry, Tree};

/// What is said without a command to explain.
const GENERAL: &str = "\
Words may be cut short, and Tab completes them. A line that ends in `?` tells
what may follow, `help COMMAND` explains a command with an example. pfctl's
flags work too: -ss, -t bad -T show.

";

/// All commands, or those that begin with some words.
pub(crate) fn help(begin: &[String]) -> Result<String, Mistake> {
    let mut walk = Walk::new(Tree::get());
    for word in begin {
        walk.take_as_written(word)?;
    }
    let entries: Vec<_> = walk.entries().collect();
    if begin.is_empty() {
        return Ok(GENERAL.to_owned() + &list(&entries));
    }
    Ok(match *entries.as_slice() {
        [entry] => explained(entry),
        _ => match entries.iter().find(|entry| is_whole(entry, begin.len())) {
            Some(entry) => explained(entry) + "\nMore:\n" + &list(&others(&entries, entry)),
            None => list(&entries),
        },
    })
}

fn others(entries: &[&'static Entry], but: &Entry) -> Vec<&'static Entry> {
    entries.iter().copied().filter(|entry| entry.pattern != but.pattern).collect()
}

/// Whether so many words are all of a command.
fn is_whole(entry: &Entry, words: usize) -> bool {
    entry.pattern.split(' ').filter(|word| !word.starts_with('[')).count() == words
}

/// Each command and what it does, within 80 columns.
fn list(entries: &[&Entry]) -> String {
    let mut text = String::new();
    for entry in entries {
        row(&mut text, entry.pattern, entry.help);
    }
    text
}

/// A name and what it means.
fn row(text: &mut String, name: &str, about: &str) {
    let mut column = 0;
    let _ = write!(text, "  {name:24}");
    if name.len() > 24 {
        text.push_str("\n                          ");
    }
    for word in about.split(' ') {
        if column + word.len() > 51 {
            column = 0;
            text.push_str("\n                          ");
        }
        let _ = write!(text, "{}{word}", if column == 0 { "  " } else { " " });
        column += word.len() + 1;
    }
    text.push('\n');
}

fn explained(entry: &Entry) -> String {
    let mut text = format!("{}\n    {}\n", entry.pattern, entry.help);
    let mut told = Vec::new();
    for place in super::pattern::read(entry.pattern).unwrap_or_default() {
        if let Place::Argument(argument) = place
            && !told.contains(&argument.name)
        {
            told.push(argument.name);
            let optional = if argument.optional { ", may be left out" } else { "" };
            let kind = argument.kind.description();
            let _ = writeln!(text, "    {}: {kind}{optional}", argument.name);
        }
    }
    let _ = writeln!(text, "example:\n    {}", entry.example);
    text
}

/// What may follow some words.
pub(crate) fn next(words: &[String]) -> Result<String, Mistake> {
    let mut walk = Walk::new(Tree::get());
    for word in words {
        walk.take(word)?;
    }
    let mut text = String::new();
    for place in walk.expected() {
        let about = match place {
            Place::Word(_) => {
                let mut on = walk.clone();
                on.take(&place.to_string())?;
                let mut entries = on.entries();
                match (entries.next(), entries.next()) {
                    (Some(only), None) => only.help,
                    _ => "...",
                }
            }
            Place::Argument(argument) => argument.kind.description(),
        };
        if let Place::Argument(Argument { kind: kind @ (Kind::Which | Kind::Whose), .. }) = place {
            for (word, behind, about) in criteria::explained(kind) {
                row(&mut text, &format!("{word} {behind}"), about);
            }
            continue;
        }
        let _ = writeln!(text, "  {:16}  {about}", place.to_string());
    }
    if let Ok(found) = walk.finish() {
        let _ = writeln!(text, "  {:16}  {}", "Enter", found.entry.help);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn all_commands_are_listed_within_eighty_columns() {
        let text = help(&[]).unwrap();
        for (entry, _) in Tree::get().entries() {
            assert!(text.contains(entry.pattern), "{}", entry.pattern);
        }
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn a_command_is_explained_with_an_example() {
        let text = help(&words("table bad add")).unwrap();
        assert_eq!(
            text,
            "table TABLE add ADDRESS...\n    add addresses to a table\n    TABLE: the name of a \
             table\n    ADDRESS: an address or network\nexample:\n    table bad add 192.0.2.7 \
             198.51.100.0/24\n"
        );
        assert!(help(&words("show states")).unwrap().contains("More:\n  show states detail"));
        assert!(help(&words("show")).unwrap().lines().count() > 10);
        assert!(help(&words("shw")).is_err());
    }

    #[test]
    fn what_may_follow_is_told() {
        let text = next(&words("show states")).unwrap();
        assert!(text.contains("\n  proto PROTOCOL            by name or number\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let text = next(&words("kill 192.0.2.1")).unwrap();
        assert!(text.starts_with("  to                remove the states from one host"), "{text}");
        assert!(
            text.ends_with(
                "  Enter             remove the states that a host or network has begun\n"
            )
        );
    }
}
