//! The editor on a terminal without a cursor, in the manner of ed(1): a few of its commands, on the
//! one text that there is.

use std::io;
use std::ops::Range;

use super::super::child::Interrupts;
use super::super::pager::Pager;
use super::super::prompt::{Line, plain};
use super::super::terminal::Terminal;
use super::text::Text;
use super::{Desk, Note};

/// What `h` says.
const HELP: &str = "\
N, $, .  go to a line: its number, the last, this one     /TEXT   go to the next line with TEXT
p n      show lines, with their numbers: 3,7n  ,n         a i c   add behind, before, instead of
d        delete lines                                             lines, until one that is a dot
s/A/B/   put B for the first A of each line               w q Q   write, leave, leave unwritten
";

/// A command: on which lines, what, and the rest.
#[derive(Debug, PartialEq, Eq)]
struct Order<'l> {
    /// None was given: the current line, or all there are where that makes more sense.
    range: Option<Range<usize>>,
    letter: Option<char>,
    rest: &'l str,
}

/// Edits until the author leaves.
pub(super) fn edit(
    terminal: &Terminal,
    interrupts: &Interrupts,
    mut text: Text,
    desk: &mut dyn Desk,
) -> io::Result<()> {
    let say = |text: &str| Pager::show(terminal, text);
    say(&format!("{}: {} lines; h for help\n", desk.title(), text.lines().len()))?;
    loop {
        let line = match plain(terminal, interrupts, ":")? {
            Line::Typed(line) => line,
            Line::Cancelled => continue,
            Line::End if text.changed => {
                say("not written; Q leaves without writing\n")?;
                continue;
            }
            Line::End => return Ok(()),
        };
        if let Some(sought) = line.strip_prefix('/') {
            let found = !sought.is_empty() && text.find(sought);
            say(&if found {
                numbered(&text, text.row..text.row + 1)
            } else {
                "not found\n".into()
            })?;
            continue;
        }
        let Some(Order { range, letter, rest }) = read(&line, &text) else {
            say("? (h for help)\n")?;
            continue;
        };
        let here = text.row..text.row + 1;
        let given = range.clone().unwrap_or_else(|| here.clone());
        match (letter, rest) {
            (None, "") => {
                text.go(given.end.saturating_sub(1), 0);
                say(&numbered(&text, text.row..text.row + 1))?;
            }
            (Some('p'), "") => {
                let lines: Vec<_> =
                    text.lines()[given].iter().map(|line| line.clone() + "\n").collect();
                say(&lines.concat())?;
            }
            (Some('n'), "") => say(&numbered(&text, given))?,
            (Some('d'), "") => text.replace(given, Vec::new()),
            (Some(letter @ ('a' | 'i' | 'c')), "") => {
                let Some(lines) = typed(terminal, interrupts)? else { continue };
                let place = match letter {
                    'a' if is_empty(&text) => 0..1,
                    'a' => given.end..given.end,
                    'i' => given.start..given.start,
                    _ => given,
                };
                text.replace(place, lines);
            }
            (Some('s'), rest) => match substitute(&text.lines()[given.clone()], rest) {
                Some(lines) => {
                    text.replace(given, lines);
                    say(&numbered(&text, text.row..text.row + 1))?;
                }
                None => say("not found, or not s/A/B/\n")?,
            },
            (Some('w'), "") => {
                let written = desk.write(&text.whole());
                text.changed &= !written.kept;
                for note in &written.notes {
                    say(&noted(note))?;
                }
                say(if written.kept { "written\n" } else { "NOT written\n" })?;
            }
            (Some('q'), "") if text.changed => say("not written; Q leaves without writing\n")?,
            (Some('q' | 'Q'), "") => return Ok(()),
            (Some('h'), "") => say(HELP)?,
            _ => say("? (h for help)\n")?,
        }
    }
}

/// Reads a command; `None` if it is none, or names lines that are not there.
fn read<'l>(line: &'l str, text: &Text) -> Option<Order<'l>> {
    let count = text.lines().len();
    let line = line.trim();
    let split = line.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(line.len());
    let (lines, rest) = line.split_at(split);
    let number = |name: &str| match name.trim() {
        "." => Some(text.row + 1),
        "$" => Some(count),
        digits => digits.parse::<usize>().ok().filter(|number| (1..=count).contains(number)),
    };
    let range = match lines.trim().split_once(',') {
        None if lines.trim().is_empty() => None,
        None => number(lines).map(|line| Some(line - 1..line))?,
        Some((first, last)) => {
            let first = if first.trim().is_empty() { 1 } else { number(first)? };
            let last = if last.trim().is_empty() { count } else { number(last)? };
            Some((first <= last).then_some(first - 1..last)?)
        }
    };
    let mut letters = rest.chars();
    let letter = letters.next();
    Some(Order { range, letter, rest: letters.as_str() })
}

/// Lines that are typed until one that is a dot; none if that is given up.
fn typed(terminal: &Terminal, interrupts: &Interrupts) -> io::Result<Option<Vec<String>>> {
    let mut lines = Vec::new();
    loop {
        match plain(terminal, interrupts, "")? {
            Line::Typed(line) if line == "." => return Ok(Some(lines)),
            Line::Typed(line) => lines.push(line),
            Line::Cancelled => return Ok(None),
            Line::End => return Ok(Some(lines)),
        }
    }
}

/// The lines with `/A/B/` done; `None` if it is nothing of the kind, or A is nowhere.
fn substitute(lines: &[String], order: &str) -> Option<Vec<String>> {
    let mark = order.chars().next().filter(|mark| !mark.is_alphanumeric())?;
    let mut parts = order[mark.len_utf8()..].split(mark);
    let (old, new, rest) = (parts.next()?, parts.next()?, parts.next().unwrap_or_default());
    let any = lines.iter().any(|line| line.contains(old));
    if old.is_empty() || !rest.is_empty() || parts.next().is_some() || !any {
        return None;
    }
    Some(lines.iter().map(|line| line.replacen(old, new, 1)).collect())
}

fn is_empty(text: &Text) -> bool {
    text.lines() == [""]
}

fn numbered(text: &Text, range: Range<usize>) -> String {
    let start = range.start;
    let lines = text.lines()[range].iter().zip(start + 1..);
    lines.fold(String::new(), |text, (line, number)| text + &format!("{number}\t{line}\n"))
}

fn noted(note: &Note) -> String {
    match note.line {
        Some(line) => format!("{line}:{}: {}\n", note.column, note.message),
        None => format!("{}\n", note.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_named_as_ed_names_them() {
        let mut text = Text::new("a\nb\nc\nd\n");
        text.go(1, 0);
        let order = |line| read(line, &text).map(|it| (it.range, it.letter, it.rest));
        assert_eq!(order("3"), Some((Some(2..3), None, "")));
        assert_eq!(order("2,$d"), Some((Some(1..4), Some('d'), "")));
        assert_eq!(order(",n"), Some((Some(0..4), Some('n'), "")));
        assert_eq!(order(".,3p"), Some((Some(1..3), Some('p'), "")));
        assert_eq!(order("s/a/b/"), Some((None, Some('s'), "/a/b/")));
        for wrong in ["5p", "0", "3,2p", "!ls"] {
            assert_eq!(order(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn words_are_put_for_others() {
        let lines = ["pass in on wan".to_owned(), "block".to_owned()];
        assert_eq!(substitute(&lines, "/wan/lan/").unwrap(), ["pass in on lan", "block"]);
        assert_eq!(substitute(&lines, "/ in/").unwrap(), ["pass on wan", "block"]);
        assert_eq!(substitute(&lines, "|on|off|").unwrap()[0], "pass in off wan");
        for wrong in ["", "/x/y/", "//y/", "/pass/x/g", "apass", "/pass"] {
            assert_eq!(substitute(&lines, wrong), None, "{wrong}");
        }
    }
}
