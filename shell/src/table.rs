//! `-t TABLE -T COMMAND` and `-s Tables`, to the letter of pfctl: what it prints where, and its exit
//! status 2 for a `test` that not all addresses pass.

use std::ffi::OsStr;
use std::io::{self, Write};

use serde::Serialize;
use weir_config::tables::TableEntry;

use crate::ctl::names::Names;
use crate::ctl::show::Array;
use crate::ctl::{Failure, Outcome, Session};
use crate::protocol::{
    self, Command, Feedback, Reply, Table, TableAction, TableChange, TableFeedback, TableOutcome,
};
use crate::{print, source};

/// What `-T` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableCommand {
    /// `show`.
    Show,
    /// `expire`, whose argument is the first one behind the options.
    Expire,
    /// Any other.
    Change(TableAction),
}

/// pfctl's commands, in the order in which it looks for one that begins with what was typed. `load`,
/// which goes with `-f` and without `-t`, is not among them.
const COMMANDS: [(&str, TableCommand); 9] = [
    ("kill", TableCommand::Change(TableAction::Kill)),
    ("flush", TableCommand::Change(TableAction::Flush)),
    ("add", TableCommand::Change(TableAction::Add)),
    ("delete", TableCommand::Change(TableAction::Delete)),
    ("replace", TableCommand::Change(TableAction::Replace)),
    ("show", TableCommand::Show),
    ("test", TableCommand::Change(TableAction::Test)),
    ("zero", TableCommand::Change(TableAction::Zero)),
    ("expire", TableCommand::Expire),
];

impl TableCommand {
    /// The command that begins with what was typed.
    pub(crate) fn from_typed(typed: &str) -> Option<Self> {
        let mut commands = COMMANDS.iter();
        let found = commands.find(|(name, _)| !typed.is_empty() && name.starts_with(typed))?;
        Some(found.1)
    }

    /// Whether addresses, or for `expire` a number, may stand behind the options.
    pub(crate) const fn takes_arguments(self) -> bool {
        !matches!(self, Self::Show | Self::Change(TableAction::Kill | TableAction::Flush))
    }
}

/// What became of a table, as `--json` tells it.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    outcome: &'a TableOutcome,
    /// With `-n` nothing was changed.
    dry_run: bool,
    /// What became of each address, with `-v`.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    feedback: &'a [TableFeedback],
}

impl<W: Write> Session<W> {
    /// Carries out `-T`.
    pub(crate) fn table(&mut self, command: TableCommand) -> Outcome {
        let action = match command {
            TableCommand::Show => return self.show_table(),
            TableCommand::Expire => TableAction::Expire { seconds: self.age()? },
            TableCommand::Change(action) => action,
        };
        let verbose = self.options.verbose;
        let addresses =
            if command == TableCommand::Expire { Vec::new() } else { self.addresses()? };
        let change = TableChange {
            name: self.options.table.clone().unwrap_or_default(),
            anchor: self.options.anchor.clone(),
            action,
            addresses,
            dry_run: self.options.no_action,
            feedback: verbose > 0,
        };
        let mut outcome = TableOutcome::default();
        let mut feedback: Vec<TableFeedback> = Vec::new();
        self.ask(Command::Table(change), |_, reply| {
            match reply {
                Reply::TableOutcome(told) => outcome = told,
                // pfctl prints it behind the summary.
                Reply::TableFeedback(told) => feedback.extend(told),
                _ => {}
            }
            Ok(())
        })?;
        let test = action == TableAction::Test;
        feedback.retain(|address| {
            let told = if test { address.feedback == Feedback::Match } else { address.is_told() };
            verbose > 1 || told
        });
        if self.options.json {
            let dry_run = self.options.no_action;
            let told = Told { outcome: &outcome, dry_run, feedback: &feedback };
            serde_json::to_writer(&mut self.out, &told).map_err(io::Error::from)?;
            writeln!(self.out)?;
        } else {
            let dummy = if self.options.no_action { " (dummy)" } else { "" };
            for line in summary(action, &outcome) {
                self.say(&format!("{line}{dummy}."));
            }
            for address in &feedback {
                writeln!(self.out, "{}", line(address, test && verbose > 1))?;
            }
        }
        if test && outcome.matched < outcome.addresses {
            self.out.flush()?;
            return Err(Failure::NotAllMatch);
        }
        Ok(())
    }

    /// The argument of `-T expire`.
    fn age(&self) -> io::Result<u64> {
        match self.options.arguments.as_slice() {
            [seconds] => seconds.parse().map_err(|_| {
                io::Error::other(format!("-T expire {seconds}: expected a number of seconds"))
            }),
            _ => Err(io::Error::other("-T expire needs a number of seconds")),
        }
    }

    /// What stands behind the options and in the file of `-f`.
    fn addresses(&self) -> io::Result<Vec<String>> {
        let mut all = Vec::new();
        read(&self.options.arguments.join(" "), &mut all).map_err(io::Error::other)?;
        if let Some(file) = &self.options.file {
            read_file(file, &mut all)?;
        }
        Ok(all)
    }

    fn show_table(&mut self) -> Outcome {
        let name = self.options.table.clone().unwrap_or_default();
        let command = Command::TableEntries { name, anchor: self.options.anchor.clone() };
        let (verbose, json) = (self.options.verbose, self.options.json);
        let mut array = Array::default();
        let names = std::mem::take(&mut self.names);
        self.ask(command, |out, reply| match reply {
            Reply::TableEntries(entries) if json => array.add(out, &entries),
            Reply::TableEntries(entries) => {
                entries.iter().try_for_each(|entry| show_entry(out, entry, verbose, &names))
            }
            _ => Ok(()),
        })?;
        if json {
            array.end(&mut self.out)?;
            writeln!(self.out)?;
        }
        Ok(())
    }
}

impl TableFeedback {
    /// Whether `-v` shows it.
    const fn is_told(&self) -> bool {
        !matches!(self.feedback, Feedback::None)
    }
}

/// Reads addresses as a table file has them, each with what belongs to it.
fn read(text: &str, all: &mut Vec<String>) -> Result<(), String> {
    for (number, line) in text.lines().enumerate() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace().peekable();
        while let Some(word) = words.next() {
            let mut address = word.to_owned();
            if word == "!" {
                address.push_str(words.next().unwrap_or_default());
            }
            if words.next_if_eq(&"timeout").is_some() {
                address.push_str(" timeout ");
                address.push_str(words.next().unwrap_or_default());
            }
            let entry: TableEntry =
                address.parse().map_err(|error| format!("{}: {error}", number + 1))?;
            all.push(entry.to_string());
        }
    }
    Ok(())
}

fn read_file(file: &OsStr, all: &mut Vec<String>) -> io::Result<()> {
    let source = source::read(file)?;
    read(&source.text, all).map_err(|error| io::Error::other(format!("{}:{error}", source.name)))
}

/// What pfctl says of a change.
fn summary(action: TableAction, told: &TableOutcome) -> Vec<String> {
    let TableOutcome { addresses, added, deleted, changed, cleared, matched, .. } = told;
    let mut lines = Vec::new();
    if told.created {
        lines.push("1 table created".into());
    }
    match action {
        TableAction::Add if *changed > 0 => {
            lines.push(format!("{added}/{addresses} addresses added"));
            lines.push(format!("{changed} addresses changed"));
        }
        TableAction::Add => lines.push(format!("{added}/{addresses} addresses added")),
        TableAction::Delete => lines.push(format!("{deleted}/{addresses} addresses deleted")),
        TableAction::Replace => {
            for (count, what) in [(added, "added"), (deleted, "deleted"), (changed, "changed")] {
                if *count > 0 {
                    lines.push(format!("{count} addresses {what}"));
                }
            }
            if *added + *deleted + *changed == 0 {
                lines.push("no changes".into());
            }
        }
        TableAction::Test => lines.push(format!("{matched}/{addresses} addresses match")),
        TableAction::Zero if *addresses == 0 => {
            lines.push(format!("{cleared} table/stats cleared"));
        }
        TableAction::Zero => lines.push(format!("{cleared}/{addresses} addresses cleared")),
        TableAction::Expire { .. } => {
            lines.push(format!("{deleted}/{addresses} addresses expired"));
        }
        TableAction::Flush => lines.push(format!("{deleted} addresses deleted")),
        TableAction::Kill => lines.push(format!("{deleted} table deleted")),
    }
    lines
}

/// An address with what became of it; with `entry` also the entry that it was found in.
fn line(told: &TableFeedback, entry: bool) -> String {
    let sign = match told.feedback {
        Feedback::None | Feedback::NotMatch => ' ',
        Feedback::Match => 'M',
        Feedback::Added => 'A',
        Feedback::Deleted => 'D',
        Feedback::Changed => 'C',
        Feedback::Cleared => 'Z',
        Feedback::Duplicate => 'X',
        Feedback::Conflict => 'Y',
    };
    let line = format!("{sign} {}", signed(&told.address));
    match &told.entry {
        _ if !entry => line,
        Some(found) => format!("{line}\t{}", signed(found)),
        None => format!("{line}\t nomatch"),
    }
}

/// With a blank where the `!` would stand.
fn signed(address: &str) -> String {
    if address.starts_with('!') { address.to_owned() } else { format!(" {address}") }
}

/// What pfctl calls the counters of [`Table::traffic`].
const COUNTERS: [[&str; 4]; 2] = [
    ["In/Block:", "In/Match:", "In/Pass:", "In/XPass:"],
    ["Out/Block:", "Out/Match:", "Out/Pass:", "Out/XPass:"],
];

fn traffic<const N: usize>(out: &mut impl Write, traffic: &[[[u64; 2]; N]; 2]) -> io::Result<()> {
    for (names, counts) in COUNTERS.iter().zip(traffic) {
        for (name, [packets, bytes]) in names.iter().zip(counts) {
            writeln!(out, "\t{name:<12} [ Packets: {packets:<18} Bytes: {bytes:<18} ]")?;
        }
    }
    Ok(())
}

/// `-T show`.
fn show_entry(
    out: &mut impl Write,
    entry: &protocol::TableEntry,
    verbose: u8,
    names: &Names,
) -> io::Result<()> {
    write!(out, "  {}", signed(&entry.address))?;
    // Only of hosts, as pfctl does.
    if names.are_asked()
        && let Ok(address) = entry.address.trim_start_matches('!').parse()
    {
        write!(out, "\t({})", names.of(address).as_deref().unwrap_or("?"))?;
    }
    writeln!(out)?;
    if verbose == 0 {
        return Ok(());
    }
    writeln!(out, "\tCleared:     {}", print::ago(entry.cleared))?;
    if let Some(seconds) = entry.expires {
        writeln!(out, "\tExpires:     {}", print::within(seconds))?;
    }
    entry.traffic.as_ref().map_or(Ok(()), |counted| traffic(out, counted))
}

/// `-s Tables`.
pub(crate) fn tables(
    out: &mut impl Write,
    tables: &[Table],
    verbose: u8,
    debug: bool,
) -> io::Result<()> {
    for table in tables.iter().filter(|table| table.active || debug) {
        if verbose > 0 {
            let flags = [
                (table.constant, 'c'),
                (table.persist, 'p'),
                (table.active, 'a'),
                // Only while pf loads rules.
                (false, 'i'),
                (table.referenced, 'r'),
                (table.anchors > 0, 'h'),
                (table.counters, 'C'),
            ];
            let flags: String = flags.iter().map(|&(on, c)| if on { c } else { '-' }).collect();
            write!(out, "{flags}\t")?;
        }
        write!(out, "{}", table.name)?;
        if !table.anchor.is_empty() {
            write!(out, "\t{}", table.anchor)?;
        }
        writeln!(out)?;
        if verbose > 1 {
            let [no_match, matched] = table.evaluations;
            writeln!(out, "\tAddresses:   {}", table.addresses)?;
            writeln!(out, "\tCleared:     {}", print::ago(table.cleared))?;
            let (anchors, rules) = (table.anchors, table.rules);
            writeln!(out, "\tReferences:  [ Anchors: {anchors:<18} Rules: {rules:<18} ]")?;
            writeln!(out, "\tEvaluations: [ NoMatch: {no_match:<18} Match: {matched:<18} ]")?;
            traffic(out, &table.traffic)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{COUNTERS, Names, TableCommand, line, read, show_entry, summary, tables};
    use crate::protocol::{Feedback, Table, TableAction, TableEntry, TableFeedback, TableOutcome};

    #[test]
    fn commands_may_be_cut_short() {
        assert_eq!(TableCommand::from_typed("s"), Some(TableCommand::Show));
        assert_eq!(TableCommand::from_typed("f"), Some(TableCommand::Change(TableAction::Flush)));
        assert_eq!(TableCommand::from_typed("expire"), Some(TableCommand::Expire));
        assert_eq!(TableCommand::from_typed("range"), None);
        assert_eq!(TableCommand::from_typed(""), None);
    }

    #[test]
    fn addresses_are_read_as_from_a_table_file() {
        let mut all = Vec::new();
        let text =
            "10.0.0.1 !10.1/16 # a comment\n\n2001:db8::/32 timeout 1h ; another\n! 10.2.0.0/16";
        read(text, &mut all).unwrap();
        assert_eq!(all, ["10.0.0.1", "!10.1.0.0/16", "2001:db8::/32 timeout 3600", "!10.2.0.0/16"]);
        for (text, place) in [("10.0.0.1\nx.example", "2: "), ("10.0.0.1 timeout", "1: ")] {
            let error = read(text, &mut all).unwrap_err();
            assert!(error.starts_with(place), "{error}");
        }
    }

    #[test]
    fn summaries_are_those_of_pfctl() {
        let told = TableOutcome { addresses: 3, added: 2, matched: 2, ..TableOutcome::default() };
        assert_eq!(summary(TableAction::Add, &told), ["2/3 addresses added"]);
        assert_eq!(summary(TableAction::Replace, &told), ["2 addresses added"]);
        assert_eq!(summary(TableAction::Test, &told), ["2/3 addresses match"]);
        assert_eq!(summary(TableAction::Delete, &told), ["0/3 addresses deleted"]);
        let created = TableOutcome { created: true, ..told };
        assert_eq!(summary(TableAction::Add, &created), ["1 table created", "2/3 addresses added"]);
        let none = TableOutcome::default();
        assert_eq!(summary(TableAction::Replace, &none), ["no changes"]);
        let one = TableOutcome { cleared: 1, deleted: 1, ..none };
        assert_eq!(summary(TableAction::Zero, &one), ["1 table/stats cleared"]);
        assert_eq!(summary(TableAction::Kill, &one), ["1 table deleted"]);
        assert_eq!(summary(TableAction::Flush, &one), ["1 addresses deleted"]);
    }

    #[test]
    fn what_became_of_an_address_prints_as_in_pfctl() {
        let told = |address: &str, feedback, entry: Option<&str>| TableFeedback {
            address: address.into(),
            feedback,
            entry: entry.map(Into::into),
        };
        assert_eq!(line(&told("1.1.1.1", Feedback::Added, None), false), "A  1.1.1.1");
        assert_eq!(line(&told("!1.1.1.0/24", Feedback::Deleted, None), false), "D !1.1.1.0/24");
        let found = told("1.1.1.1", Feedback::Match, Some("1.1.1.0/24"));
        assert_eq!(line(&found, true), "M  1.1.1.1\t 1.1.1.0/24");
        assert_eq!(line(&found, false), "M  1.1.1.1");
        let held = told("1.1.1.1", Feedback::NotMatch, Some("!1.1.1.1"));
        assert_eq!(line(&held, true), "   1.1.1.1\t!1.1.1.1");
        assert_eq!(line(&told("1.1.1.1", Feedback::None, None), true), "   1.1.1.1\t nomatch");
    }

    fn printed(print: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
        let mut out = Vec::new();
        print(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn entries_print_as_in_pfctl() {
        let mut entry = TableEntry {
            address: "1.1.1.1".into(),
            cleared: 90_061,
            expires: None,
            traffic: Some([[[1, 60], [0, 0], [2, 120]], [[0, 0]; 3]]),
        };
        assert_eq!(printed(|out| show_entry(out, &entry, 0, &Names::default())), "   1.1.1.1\n");
        assert_eq!(
            printed(|out| show_entry(out, &entry, 1, &Names::default())),
            "   1.1.1.1\n\tCleared:     1 days 01:01:01 ago\n\
             \tIn/Block:    [ Packets: 1                  Bytes: 60                 ]\n\
             \tIn/Match:    [ Packets: 0                  Bytes: 0                  ]\n\
             \tIn/Pass:     [ Packets: 2                  Bytes: 120                ]\n\
             \tOut/Block:   [ Packets: 0                  Bytes: 0                  ]\n\
             \tOut/Match:   [ Packets: 0                  Bytes: 0                  ]\n\
             \tOut/Pass:    [ Packets: 0                  Bytes: 0                  ]\n"
        );
        entry.address = "!1.1.1.1".into();
        entry.expires = Some(59);
        entry.traffic = None;
        assert_eq!(
            printed(|out| show_entry(out, &entry, 1, &Names::default())),
            "  !1.1.1.1\n\tCleared:     1 days 01:01:01 ago\n\tExpires:     in 0 days 00:00:59\n"
        );
    }

    #[test]
    fn tables_print_as_in_pfctl() {
        let mut table = Table {
            name: "regress".into(),
            anchor: "regress".into(),
            persist: true,
            constant: false,
            active: true,
            referenced: false,
            counters: false,
            addresses: 2,
            cleared: 5,
            anchors: 0,
            rules: 0,
            evaluations: [7, 1],
            traffic: [[[0, 0]; 4]; 2],
        };
        let line = |table: &Table, verbose| {
            printed(|out| tables(out, std::slice::from_ref(table), verbose, false))
        };
        assert_eq!(line(&table, 1), "-pa----\tregress\tregress\n");
        table.anchor.clear();
        table.referenced = true;
        table.persist = false;
        assert_eq!(line(&table, 0), "regress\n");
        assert_eq!(line(&table, 1), "--a-r--\tregress\n");
        let all = line(&table, 2);
        assert!(all.starts_with(
            "--a-r--\tregress\n\tAddresses:   2\n\tCleared:     0 days 00:00:05 ago\n\
             \tReferences:  [ Anchors: 0                  Rules: 0                  ]\n\
             \tEvaluations: [ NoMatch: 7                  Match: 1                  ]\n"
        ));
        assert_eq!(all.lines().count(), 5 + COUNTERS.iter().flatten().count());
        table.active = false;
        assert_eq!(line(&table, 2), "", "a table that only rules name is not shown");
    }
}
