//! `table <name> ...` (pf.conf(5), TABLES).

use std::fmt::Write;
use std::ops::ControlFlow;

use ipnet::IpNet;
use nom::combinator::{cut, opt};
use nom::sequence::{pair, preceded};
use nom::{Err, Parser};

use super::entries;
use super::grammar::{self, Host, HostRest, Input, Parsed, list, plain, word};
use super::lexer::{Kind, Token};
use super::notes::{Notes, TableMention};
use super::resolve::Resolver;
use super::words::{self, nearest, shorten, with_hint};
use super::{Reader, shown};
use crate::rules::{Address, Family, Source};
use crate::source::{SourceFile, Span};
use crate::tables::{Table, TableEntry};

/// The most bytes that the table files of one run may have together.
pub const MAX_TABLE_TEXT: usize = 64 << 20;

/// The most entries that the tables of one run may have together.
pub const MAX_TABLE_ENTRIES: usize = 4 << 20;

/// pf's `PF_TABLE_NAME_SIZE` less its closing zero.
const LONGEST_NAME: usize = 31;

/// The words that may follow a table's name.
pub(super) const OPTIONS: [&str; 4] = ["persist", "const", "counters", "file"];

/// Where entries come from, in the order of the text, which the echo keeps.
enum Part {
    Braces(Vec<TableEntry>),
    File { path: String, name: String, at: Span },
}

impl Reader<'_, '_> {
    /// `table <name> [persist] [const] [counters] { ... } file "..."`, in any order as in pf. A table
    /// that is declared again replaces the one before.
    pub(super) fn table(&mut self, words: &[Token<'_>]) {
        let Some(name) = self.table_name(words) else { return };
        let mut table = Table {
            name: name.text.to_string(),
            source: Source {
                file: words[0].span.file,
                line: self.report.sources.line(words[0].span.file, words[0].span.start),
            },
            ..Table::default()
        };
        let Some(parts) = self.table_parts(&mut table, words) else { return };
        if !self.scope.is_inline() {
            // Tables in braces are printed there.
            self.echo(echo(&table, &parts));
        }
        let mention = TableMention {
            name: table.name.clone(),
            anchor: self.scope.path.clone(),
            span: name.span,
        };
        Notes::push(&mut self.report.notes.tables, mention);
        for part in parts {
            let entries = table.entries.get_or_insert_default();
            match part {
                Part::Braces(list) => {
                    self.entries += list.len();
                    entries.extend(list);
                }
                Part::File { name, at, .. } => {
                    if let Some(more) = self.table_file(&name, at) {
                        entries.extend(more);
                    }
                }
            }
            if self.entries > MAX_TABLE_ENTRIES {
                let message =
                    format!("the tables have more than {MAX_TABLE_ENTRIES} entries together");
                return self.report.error(words[0].span, message);
            }
        }
        match self.scope.tables.iter_mut().find(|known| known.name == table.name) {
            Some(known) => *known = table,
            None => self.scope.tables.push(table),
        }
    }

    /// The word between `<` and `>`.
    fn table_name<'t, 's>(&mut self, words: &'t [Token<'s>]) -> Option<&'t Token<'s>> {
        let name = match words {
            [_, open, name, close, ..] if open.is_symbol("<") && close.is_symbol(">") => name,
            [_, open, name, ..] if open.is_symbol("<") && name.kind == Kind::Word => {
                let message = format!("expected `>`, found {}", shown(&words[3]));
                self.report.expected_at(&words[3], message, vec![">".into()], &self.macros);
                return None;
            }
            _ => {
                let message = format!(
                    "expected the name of the table, as in `table <bad>`, found {}",
                    shown(&words[1])
                );
                self.report.expected_at(&words[1], message, vec!["<name>".into()], &self.macros);
                return None;
            }
        };
        let message = match name.kind {
            Kind::Word | Kind::Quoted if name.text.len() > LONGEST_NAME => {
                format!("table name too long, max {LONGEST_NAME} chars")
            }
            Kind::Word if words::is_keyword(&name.text) => {
                format!("`{}` is a word of the language and cannot name a table", name.text)
            }
            Kind::Word | Kind::Quoted if is_name(&name.text) => return Some(name),
            _ => format!("{} is no name of a table", shown(name)),
        };
        self.report.error_at(name, message, &self.macros);
        None
    }

    /// Options go into the table; what it is filled with is returned.
    fn table_parts(&mut self, table: &mut Table, words: &[Token<'_>]) -> Option<Vec<Part>> {
        let mut parts = Vec::new();
        let mut input = &words[4..];
        let mut fine = true;
        while input[0].kind != Kind::End {
            let at = &input[0];
            match (at.kind, &*at.text) {
                (Kind::Word, "persist") => table.persist = true,
                (Kind::Word, "const") => table.constant = true,
                (Kind::Word, "counters") => table.counters = true,
                (Kind::Word, "file") => {
                    let name = self.file_name(input, 1)?;
                    let Token { text, span, .. } = &input[1];
                    parts.push(Part::File { path: text.to_string(), name, at: *span });
                    input = &input[1..];
                }
                (Kind::Symbol, "{") if input[1].is_symbol("}") => {
                    parts.push(Part::Braces(Vec::new()));
                    input = &input[1..];
                }
                (Kind::Symbol, "{") => {
                    let (rest, items) = match list(item)(input) {
                        Ok(read) => read,
                        Err(Err::Error(fault) | Err::Failure(fault)) => {
                            self.fault(fault, OPTIONS.into_iter());
                            return None;
                        }
                        Err(Err::Incomplete(_)) => {
                            self.incomplete(words);
                            return None;
                        }
                    };
                    let mut resolver = Resolver { report: &mut self.report, macros: &self.macros };
                    match resolver.all(&items, resolve) {
                        Some(entries) => parts.push(Part::Braces(entries)),
                        None => fine = false,
                    }
                    input = rest;
                    continue;
                }
                _ => {
                    let message = format!("unexpected {}", shown(at));
                    let near = nearest(&at.text, OPTIONS.into_iter());
                    let near = near.filter(|_| at.kind == Kind::Word);
                    let expected = OPTIONS.iter().chain(&["{"]).map(ToString::to_string).collect();
                    let message = with_hint(message, "", near);
                    self.report.expected_at(at, message, expected, &self.macros);
                    return None;
                }
            }
            input = &input[1..];
        }
        fine.then_some(parts)
    }

    /// The entries of a table file; all that is wrong with it is reported.
    fn table_file(&mut self, name: &str, at: Span) -> Option<Vec<TableEntry>> {
        let text = self.text_of(name, at)?;
        self.table_text = self.table_text.saturating_add(text.len());
        if self.table_text > MAX_TABLE_TEXT {
            let shown = shorten(name);
            let message =
                format!("with `{shown}` the table files have more than {MAX_TABLE_TEXT} bytes");
            self.report.error(at, message);
            return None;
        }
        let file = self.report.sources.add(SourceFile::new(name, text), Some(at));
        let reading = self.report.sources.reading(file);
        let room = MAX_TABLE_ENTRIES.saturating_sub(self.entries);
        let mut entries = Vec::new();
        entries::read(&reading.file.text, |range, entry| {
            match entry {
                Ok(entry) => entries.push(entry),
                Err(message) => {
                    let (start, end) = (range.start as u32, range.end as u32);
                    self.report.error(Span { file, start, end }, message);
                }
            }
            if entries.len() > room || self.report.found.is_full() {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        self.entries += entries.len();
        Some(entries)
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:@+".contains(c))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
}

/// An address with the time after which it goes.
type Item<'t, 's> = (Host<'t, 's>, Option<&'t Token<'s>>);

fn item<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Item<'t, 's>> {
    let timeout = preceded(word("timeout"), cut(plain("a number of seconds")));
    pair(grammar::host, opt(timeout)).parse(input)
}

fn resolve(resolver: &mut Resolver<'_, '_>, item: &Item<'_, '_>) -> Option<TableEntry> {
    let (host, timeout) = item;
    if let HostRest::RangeEnd(at) = host.rest {
        return resolver.error(at, "a table holds addresses and prefixes, no ranges");
    }
    if host.first.is_word("any") {
        return resolver.error(host.first, "`any` cannot be in a table: write `0/0` or `::/0`");
    }
    let resolved = resolver.host(host)?;
    let net = match (resolved.address, resolved.family) {
        (Address::Prefix(net), _) => net,
        (Address::Any, Some(Family::Inet)) => IpNet::V4(ipnet::Ipv4Net::default()),
        (Address::Any, Some(Family::Inet6)) => IpNet::V6(ipnet::Ipv6Net::default()),
        _ => return resolver.error(host.first, "a table holds addresses and prefixes only"),
    };
    let timeout = match timeout {
        Some(at) => match entries::seconds(&at.text) {
            Ok(seconds) => Some(seconds),
            Err(message) => return resolver.error(at, message),
        },
        None => None,
    };
    Some(TableEntry { not: resolved.not, net, timeout })
}

/// The line that -v prints: options first, adjacent braces joined.
fn echo(table: &Table, parts: &[Part]) -> String {
    let mut line = table.head();
    let mut open = false;
    for part in parts {
        match part {
            Part::Braces(entries) => {
                if !open {
                    line.push_str(" {");
                    open = true;
                }
                for entry in entries {
                    // Writing to a String cannot fail.
                    let _ = write!(line, " {entry}");
                }
            }
            Part::File { path, .. } => {
                line.push_str(if open { " }" } else { "" });
                open = false;
                let _ = write!(line, " file \"{path}\"");
            }
        }
    }
    line.push_str(if open { " }" } else { "" });
    line
}
