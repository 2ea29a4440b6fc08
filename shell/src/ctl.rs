//! `weir ctl`: what the flags ask for, one after the other, in pfctl's order. Listings are in `show`,
//! what is removed in `remove`.

pub(crate) mod names;
mod remove;
pub(crate) mod show;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;
use weir_config::options::{DebugLevel, Named};
use weir_config::{Diagnostics, Loaded, PortPrefixes};

use self::names::Names;
use crate::check::refuse_unbuilt;
use crate::client::Client;
use crate::options::{Options, Refusal};
use crate::protocol::{Command, Done, Flush, Load, Part, Reply, Source};
use crate::source::{self, Gathered};

/// Why the command ended early.
pub(crate) enum Failure {
    /// `-T test` found addresses that are not in the table.
    NotAllMatch,
    /// Everything about it is on standard error already.
    Told,
    /// Still to be said.
    Error(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Error(error)
    }
}

pub(crate) type Outcome = Result<(), Failure>;

/// Runs the command; `arguments` are those behind `weir ctl`.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(Refusal::Help) => {
            let _ = writeln!(io::stdout(), "{}", Refusal::Help);
            return ExitCode::SUCCESS;
        }
        Err(refusal) => {
            complain(&refusal);
            return ExitCode::FAILURE;
        }
    };
    let stdout = io::stdout().lock();
    let names = if options.resolve == Some(true) { Names::of_machine() } else { Names::default() };
    let mut session = Session { options, client: None, names, out: BufWriter::new(stdout) };
    let outcome = session.run().and_then(|()| Ok(session.out.flush()?));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // `weir ctl -ss | head`
        Err(Failure::Error(error))
            if error.kind() == io::ErrorKind::BrokenPipe && session.options.only_lists() =>
        {
            ExitCode::SUCCESS
        }
        Err(Failure::NotAllMatch) => ExitCode::from(2),
        Err(failure) => {
            // What was listed before the failure is worth seeing.
            let _ = session.out.flush();
            if let Failure::Error(error) = failure {
                complain(&format_args!("weir ctl: {error}"));
            }
            ExitCode::FAILURE
        }
    }
}

/// Something that was done, as `--json` tells it.
#[derive(Serialize)]
struct Report<'a> {
    /// What it was.
    done: &'static str,
    /// To how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    /// What else there is to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
}

pub(crate) struct Session<W: Write> {
    pub(crate) options: Options,
    client: Option<Client>,
    /// For `-r`.
    pub(crate) names: Names,
    pub(crate) out: W,
}

impl<W: Write> Session<W> {
    fn run(&mut self) -> Outcome {
        if let Some(command) = self.options.table_command {
            return self.table(command);
        }
        if self.options.no_action {
            self.read_rules()?;
            return Ok(self.report("check", None, "")?);
        }
        if let Some(seconds) = self.options.disable {
            self.act(Command::Disable { seconds })?;
            let text = format!(
                "weir disabled: EVERYTHING PASSES unjudged for {seconds} seconds (-e ends it)"
            );
            self.report("disable", None, &text)?;
        }
        if let Some(show) = self.options.show {
            self.show(show)?;
        }
        if self.options.zero {
            let Options { anchor, recursive, .. } = self.options.clone();
            self.act(Command::Flush(Flush::RuleCounters { anchor, recursive }))?;
            self.report("zero", None, "")?;
        }
        if let Some(what) = self.options.flush {
            self.flush(what)?;
        }
        if !self.options.kill.is_empty() {
            self.kill()?;
        }
        if !self.options.kill_sources.is_empty() {
            self.kill_sources()?;
        }
        if self.options.file.is_some() {
            self.load()?;
        }
        if let Some(level) = self.options.debug_level {
            self.set_debug(level)?;
        }
        if self.options.enable {
            self.act(Command::Enable)?;
            self.report("enable", None, "weir enabled")?;
        }
        Ok(())
    }

    /// A message that `-q` holds back; pfctl writes them to standard error.
    pub(crate) fn say(&self, text: &str) {
        if !self.options.quiet {
            complain(&text);
        }
    }

    /// What was done: as an object on standard output with `--json`, else as a message if there is
    /// anything to say.
    pub(crate) fn report(
        &mut self,
        done: &'static str,
        count: Option<u64>,
        text: &str,
    ) -> io::Result<()> {
        if self.options.json {
            let note = (!text.is_empty()).then_some(text);
            serde_json::to_writer(&mut self.out, &Report { done, count, note })?;
            return writeln!(self.out);
        }
        if !text.is_empty() {
            self.say(text);
        }
        Ok(())
    }

    fn load(&mut self) -> Outcome {
        let load = self.read_rules()?;
        let Done { count, note } = self.act(Command::Load(load))?;
        Ok(self.report("load", Some(count), note.as_deref().unwrap_or_default())?)
    }

    /// `-x` is what loading that one option is.
    fn set_debug(&mut self, level: DebugLevel) -> Outcome {
        let text = format!("set debug {}\n", level.name());
        let sources = vec![Source { name: "-x".into(), text }];
        let (part, merge) = (Part::Options, true);
        self.act(Command::Load(Load { sources, part, merge, ..Load::default() }))?;
        let text = format!("debug level set to '{}'", level.name());
        Ok(self.report("debug", None, &text)?)
    }

    /// Reads and checks the file of `-f`; prints the rules if `-v` asks for it.
    fn read_rules(&mut self) -> Result<Load, Failure> {
        let file = self.options.file.clone().unwrap_or_default();
        let terms = Load {
            sources: Vec::new(),
            macros: self.options.macros.clone(),
            anchor: self.options.anchor.clone(),
            part: self.options.part,
            merge: self.options.merge,
        };
        let prefixes = self.prefixes()?;
        let Gathered { load, mut checked } = source::gather(&file, terms, &prefixes)?;
        if self.options.verbose > 0 {
            for line in &checked.echo {
                writeln!(self.out, "{line}")?;
            }
            if let Some(rules) = &checked.rules {
                let numbered = self.options.verbose > 1;
                // What is loaded into an anchor is shown as a rule set of its own.
                write!(self.out, "{}", rules.printed(&load.anchor, numbered))?;
                for Loaded { anchor, file, echo } in &checked.loaded {
                    self.out.flush()?;
                    complain(&format_args!("\nLoading anchor {anchor} from {file}"));
                    for line in echo {
                        writeln!(self.out, "{line}")?;
                    }
                    write!(self.out, "{}", rules.printed(anchor, numbered))?;
                }
            }
            self.out.flush()?;
        }
        refuse_unbuilt(&mut checked);
        tell(&checked.diagnostics);
        if checked.rules.is_some() { Ok(load) } else { Err(Failure::Told) }
    }

    /// What the daemon knows to be behind the ports; nothing if only -n is asked for and no daemon
    /// is there.
    fn prefixes(&mut self) -> Result<Vec<PortPrefixes>, Failure> {
        let client = match client(&mut self.client, &self.options) {
            Ok(client) => client,
            Err(_) if self.options.no_action => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        Ok(client.prefixes()?)
    }

    /// Sends a command; each line of the answer goes to `each` with the output.
    pub(crate) fn ask(
        &mut self,
        command: Command,
        mut each: impl FnMut(&mut W, Reply) -> io::Result<()>,
    ) -> Outcome {
        let Self { client: connection, options, out, .. } = self;
        let end = client(connection, options)?.ask(command, |reply| each(out, reply))?;
        ended(end).map(drop)
    }

    /// Sends a command without a listing.
    fn act(&mut self, command: Command) -> Result<Done, Failure> {
        ended(client(&mut self.client, &self.options)?.ask(command, |_| Ok(()))?)
    }
}

/// The connection, made when it is first needed.
fn client<'a>(client: &'a mut Option<Client>, options: &Options) -> io::Result<&'a mut Client> {
    match client {
        Some(client) => Ok(client),
        None => Ok(client.insert(Client::connect(&options.socket)?)),
    }
}

/// A line on standard error, if somebody is there to read it: what is to be done is done anyway.
fn complain(line: &dyn fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// On a terminal every message is followed by its line, underlined; elsewhere a message is a line.
fn tell(diagnostics: &Diagnostics) {
    if !io::stderr().is_terminal() {
        let _ = write!(io::stderr(), "{diagnostics}");
        return;
    }
    for diagnostic in diagnostics {
        complain(&format_args!("{diagnostic}\n{}", diagnostic.underlined()));
    }
    if let Some(end) = diagnostics.end() {
        complain(&end);
    }
}

/// What the last line of an answer says.
fn ended(reply: Reply) -> Result<Done, Failure> {
    match reply {
        Reply::Done(done) => Ok(done),
        Reply::Error(text) => Err(io::Error::other(text).into()),
        Reply::Diagnostics(diagnostics) => {
            tell(&diagnostics);
            Err(Failure::Told)
        }
        _ => Err(io::Error::other("the daemon ended an answer with a listing").into()),
    }
}
