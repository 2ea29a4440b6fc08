//! `weir history`, `weir commit`, `weir confirm` and `weir rollback`: changes of the rules that are
//! kept, compared and taken back. The interactive shell runs the same actions.

mod difference;
mod lines;
mod words;

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

use weir_config::Diagnostics;

use crate::check::refuse_unbuilt;
use crate::client::Client;
use crate::protocol::{
    Command, Commit, Cut, Done, Entry, Expanded, Fate, History, Load, Reply, Rollback, Terms,
};
use crate::source::{self, Gathered};
use difference::{Difference, Version};
pub use words::{Action, CONFIRM_SECONDS, Side};

/// Why an action was not done.
#[derive(Debug)]
pub enum Failure {
    /// The rules have errors.
    Diagnostics(Box<Diagnostics>),
    /// They would cut too many states.
    Cut(Cut),
    /// Anything else.
    Error(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Error(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Diagnostics(diagnostics) => f.write_str(diagnostics.to_string().trim_end()),
            Self::Cut(cut) => write!(
                f,
                "nothing was changed: {cut}, and more than {} % have to be forced (`force`)",
                cut.limit
            ),
            Self::Error(error) => error.fmt(f),
        }
    }
}

/// What an action is done with.
pub struct Operator<'a> {
    client: Client,
    out: &'a mut dyn Write,
    /// Listings are printed as JSON.
    json: bool,
    /// `name=value` as `-D` takes it, for rule files that are read here.
    macros: &'a [String],
}

impl<'a> Operator<'a> {
    /// Connects to the daemon.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub fn connect(
        socket: &Path,
        out: &'a mut dyn Write,
        json: bool,
        macros: &'a [String],
    ) -> io::Result<Self> {
        Ok(Self { client: Client::connect(socket)?, out, json, macros })
    }

    /// Does it and prints what comes of it.
    ///
    /// # Errors
    /// Why it was not done.
    pub fn run(&mut self, action: &Action) -> Result<(), Failure> {
        match action {
            Action::List => self.list(),
            Action::Show { side, file } => self.show(side, file.as_deref()),
            Action::Diff { from, to } => self.diff(from, to),
            Action::Commit { file, terms } => self.commit(file.as_deref(), terms),
            Action::Confirm { number } => {
                let done = self.act(Command::Confirm { number: *number })?;
                self.note(&done)?;
                Ok(writeln!(self.out, "change {} is confirmed", done.count)?)
            }
            Action::Rollback { number, terms } => {
                let rollback = Rollback { number: *number, terms: terms.clone() };
                let done = self.act(Command::Rollback(rollback))?;
                self.note(&done)?;
                writeln!(self.out, "{} rules in force", done.count)?;
                let rules_file = self.history()?.rules_file;
                Ok(writeln!(self.out, "{rules_file} is as it was: the next start loads that")?)
            }
        }
    }

    fn commit(&mut self, file: Option<&str>, terms: &Terms) -> Result<(), Failure> {
        let rules_file = self.history()?.rules_file;
        let name = file.unwrap_or(&rules_file);
        let Gathered { load, mut checked } = self.gather(name)?;
        refuse_unbuilt(&mut checked);
        if checked.rules.is_none() {
            return Err(Failure::Diagnostics(Box::new(checked.diagnostics)));
        }
        if !checked.diagnostics.is_empty() {
            write!(self.out, "{}", checked.diagnostics)?;
        }
        let done = self.act(Command::Commit(Commit { load, terms: terms.clone() }))?;
        self.note(&done)?;
        writeln!(self.out, "{} rules in force", done.count)?;
        if name != rules_file && name != "-" {
            writeln!(self.out, "the next start loads {rules_file}, not {name}")?;
        }
        Ok(())
    }

    fn note(&mut self, done: &Done) -> io::Result<()> {
        match &done.note {
            Some(note) => writeln!(self.out, "{note}"),
            None => Ok(()),
        }
    }

    /// Reads a rule file as `weir ctl -f` does.
    fn gather(&mut self, file: &str) -> io::Result<Gathered> {
        let prefixes = self.client.prefixes()?;
        let terms = Load { macros: self.macros.to_vec(), ..Load::default() };
        source::gather(OsStr::new(file), terms, &prefixes)
    }

    fn list(&mut self) -> Result<(), Failure> {
        let history = self.history()?;
        if self.json {
            serde_json::to_writer(&mut *self.out, &history).map_err(io::Error::from)?;
            return Ok(writeln!(self.out)?);
        }
        for entry in &history.entries {
            list_entry(self.out, entry, history.confirm_within)?;
        }
        for damaged in &history.damaged {
            writeln!(self.out, "{}", plain(damaged))?;
        }
        Ok(())
    }

    fn show(&mut self, side: &Side, file: Option<&str>) -> Result<(), Failure> {
        let (version, entry) = self.version(side)?;
        if let Some(name) = file {
            let mut sources = version.loads.iter().flat_map(|load| &load.sources);
            let Some(source) = sources.find(|source| source.name == name) else {
                let text = format!("{} has no file {name}", version.title);
                return Err(io::Error::other(text).into());
            };
            return Ok(self.out.write_all(source.text.as_bytes())?);
        }
        if self.json {
            let shown = crate::protocol::Version {
                entry,
                loads: version.loads,
                rules: version.rules,
                refused: version.refused,
            };
            serde_json::to_writer(&mut *self.out, &shown).map_err(io::Error::from)?;
            return Ok(writeln!(self.out)?);
        }
        if let Some(entry) = &entry {
            list_entry(self.out, entry, None)?;
        }
        for load in &version.loads {
            for definition in &load.macros {
                writeln!(self.out, "# --- -D {}", plain(definition))?;
            }
            for source in &load.sources {
                let anchor = match &*load.anchor {
                    "" => String::new(),
                    anchor => format!(", anchor {anchor}"),
                };
                writeln!(self.out, "# --- {}{anchor}", plain(&source.name))?;
                write!(self.out, "{}", source.text)?;
            }
        }
        Ok(())
    }

    fn diff(&mut self, from: &Side, to: &Side) -> Result<(), Failure> {
        let (old, _) = self.version(from)?;
        let (new, _) = self.version(to)?;
        let difference = Difference::between(&old, &new);
        if self.json {
            serde_json::to_writer(&mut *self.out, &difference).map_err(io::Error::from)?;
            return Ok(writeln!(self.out)?);
        }
        if difference.is_empty() {
            return Ok(writeln!(self.out, "{} and {} are the same", old.title, new.title)?);
        }
        Ok(write!(self.out, "{difference}")?)
    }

    /// One of two sides, and what is known of it if it is kept.
    fn version(&mut self, side: &Side) -> Result<(Version, Option<Entry>), Failure> {
        let (number, title) = match side {
            Side::Running => (None, "running".to_owned()),
            Side::Number(number) => (Some(*number), number.to_string()),
            Side::RuleFile => {
                let file = self.history()?.rules_file;
                return Ok((self.file(&file)?, None));
            }
            Side::Path(path) => return Ok((self.file(path)?, None)),
        };
        let mut found = None;
        let end = self.client.ask(Command::RuleSet { number }, |reply| {
            if let Reply::RuleSet(version) = reply {
                found = Some(*version);
            }
            Ok(())
        })?;
        ended(end)?;
        let crate::protocol::Version { entry, loads, rules, refused } = found.unwrap_or_default();
        Ok((Version { title, loads, rules, refused, is_file: false }, entry))
    }

    /// A rule file as it would be loaded.
    fn file(&mut self, file: &str) -> Result<Version, Failure> {
        let Gathered { load, checked } = self.gather(file)?;
        let mut version = Version {
            title: "file".into(),
            loads: vec![load],
            is_file: true,
            ..Version::default()
        };
        match checked.rules {
            None => version.refused = Some(checked.diagnostics.to_string().trim_end().to_owned()),
            Some(rules) => {
                let print = |rules: &[weir_config::rules::Rule]| {
                    rules.iter().map(ToString::to_string).collect()
                };
                version.rules.push(Expanded { anchor: String::new(), rules: print(&rules.rules) });
                version.rules.extend(rules.anchors.iter().map(|(path, anchor)| Expanded {
                    anchor: path.clone(),
                    rules: print(&anchor.rules),
                }));
            }
        }
        Ok(version)
    }

    fn history(&mut self) -> Result<History, Failure> {
        let mut history = History::default();
        let end = self.client.ask(Command::History, |reply| {
            if let Reply::History(told) = reply {
                history = told;
            }
            Ok(())
        })?;
        ended(end)?;
        Ok(history)
    }

    fn act(&mut self, command: Command) -> Result<Done, Failure> {
        ended(self.client.ask(command, |_| Ok(()))?)
    }
}

/// What the last line of an answer says.
fn ended(reply: Reply) -> Result<Done, Failure> {
    match reply {
        Reply::Done(done) => Ok(done),
        Reply::Diagnostics(diagnostics) => Err(Failure::Diagnostics(Box::new(diagnostics))),
        Reply::Cut(cut) => Err(Failure::Cut(cut)),
        Reply::Error(text) => Err(io::Error::other(text).into()),
        _ => Err(io::Error::other("the daemon ended an answer with a listing").into()),
    }
}

/// One line, and one more for the comment.
fn list_entry(out: &mut dyn Write, entry: &Entry, confirm_within: Option<u64>) -> io::Result<()> {
    let Entry { number, date, by, rules, what, comment, fate, .. } = entry;
    let fate = match (fate, confirm_within) {
        (Fate::Kept, _) => String::new(),
        (Fate::Pending, Some(seconds)) => format!(" [pending, undone in {seconds} s]"),
        (Fate::Pending, None) => " [pending]".into(),
        (Fate::Undone, _) => " [undone]".into(),
    };
    let plural = if *rules == 1 { "" } else { "s" };
    let (by, what) = (plain(by), plain(what));
    writeln!(out, "{number:>5}  {date}  {by:<8} {what}{fate} ({rules} rule{plural})")?;
    if comment.is_empty() {
        return Ok(());
    }
    writeln!(out, "{:>5}  # {}", "", plain(comment))
}

/// Text of other users, without anything that a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
