//! `weir ctl`: what the flags ask for, one after the other, in pfctl's order.

use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::net::IpAddr;
use std::process::ExitCode;

use ipnet::IpNet;
use weir_config::{Diagnostics, Loaded, PortPrefixes};

use crate::check::refuse_unbuilt;
use crate::client::Client;
use crate::options::{FlushWhat, Options, Refusal, Show};
use crate::print;
use crate::protocol::{Command, Done, Flush, Kill, Load, Reply};
use crate::rulesets::{self, Detail};
use crate::source::{self, Gathered};
use crate::table;

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
            println!("{}", Refusal::Help);
            return ExitCode::SUCCESS;
        }
        Err(refusal) => {
            eprintln!("{refusal}");
            return ExitCode::from(2);
        }
    };
    let stdout = io::stdout().lock();
    let mut session = Session { options, client: None, out: BufWriter::new(stdout), titles: 0 };
    let outcome = session.run().and_then(|()| Ok(session.out.flush()?));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // `weir ctl -ss | head`
        Err(Failure::Error(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(Failure::NotAllMatch) => ExitCode::from(2),
        Err(failure) => {
            // What was listed before the failure is worth seeing.
            let _ = session.out.flush();
            if let Failure::Error(error) = failure {
                eprintln!("weir ctl: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

pub(crate) struct Session<W: Write> {
    pub(crate) options: Options,
    client: Option<Client>,
    pub(crate) out: W,
    /// Headings printed by `-s all`.
    titles: u32,
}

impl<W: Write> Session<W> {
    fn run(&mut self) -> Outcome {
        if let Some(command) = self.options.table_command {
            return self.table(command);
        }
        if self.options.no_action {
            return self.read_rules().map(drop);
        }
        if let Some(seconds) = self.options.disable {
            self.act(Command::Disable { seconds })?;
            self.say(&format!(
                "weir disabled: EVERYTHING PASSES unjudged for {seconds} seconds (-e ends it)"
            ));
        }
        if let Some(show) = self.options.show {
            self.show(show)?;
        }
        if self.options.zero {
            let Options { anchor, recursive, .. } = self.options.clone();
            self.act(Command::Flush(Flush::RuleCounters { anchor, recursive }))?;
        }
        if let Some(what) = self.options.flush {
            self.flush(what)?;
        }
        if !self.options.kill.is_empty() {
            self.kill()?;
        }
        if let Some(from) = &self.options.kill_sources {
            let from = host(from)?;
            let count = self.act(Command::KillSources { from })?.count;
            self.say(&format!("killed {count} src nodes from 1 sources and 0 destinations"));
        }
        if self.options.file.is_some() {
            self.load()?;
        }
        if self.options.enable {
            self.act(Command::Enable)?;
            self.say("weir enabled");
        }
        Ok(())
    }

    /// A message that `-q` holds back; pfctl writes them to standard error.
    pub(crate) fn say(&self, text: &str) {
        if !self.options.quiet {
            eprintln!("{text}");
        }
    }

    fn load(&mut self) -> Outcome {
        let load = self.read_rules()?;
        let done = self.act(Command::Load(load))?;
        if let Some(note) = done.note {
            self.say(&note);
        }
        Ok(())
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
                    eprintln!("\nLoading anchor {anchor} from {file}");
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

    fn kill(&mut self) -> Outcome {
        let (kill, hosts) = match self.options.kill.as_slice() {
            [what, id] if what == "id" => (Kill::Id(state_id(id)?), false),
            [what, label] if what == "label" => (Kill::Label(label.clone()), false),
            [from] => (Kill::Hosts { from: host(from)?, to: None }, true),
            [from, to, ..] => (Kill::Hosts { from: host(from)?, to: Some(host(to)?) }, true),
            [] => return Ok(()),
        };
        let both = self.options.kill.len() > 1;
        let count = self.act(Command::Kill(kill))?.count;
        if hosts {
            let destinations = usize::from(both);
            self.say(&format!(
                "killed {count} states from 1 sources and {destinations} destinations"
            ));
        } else {
            self.say(&format!("killed {count} states"));
        }
        Ok(())
    }

    fn flush(&mut self, what: FlushWhat) -> Outcome {
        let each = match what {
            // An anchor has neither states nor statistics of its own.
            FlushWhat::All if !self.options.anchor.is_empty() => {
                &[FlushWhat::Rules, FlushWhat::Tables][..]
            }
            FlushWhat::All => &[
                FlushWhat::Rules,
                FlushWhat::States,
                FlushWhat::Sources,
                FlushWhat::Info,
                FlushWhat::Tables,
            ],
            _ => &[what],
        };
        for what in each {
            let Options { anchor, recursive, .. } = self.options.clone();
            let flush = match what {
                FlushWhat::Rules if anchor.is_empty() && !recursive => Flush::Rules,
                FlushWhat::Rules => Flush::RulesIn { anchor, recursive },
                FlushWhat::States => Flush::States,
                FlushWhat::Sources => Flush::Sources,
                FlushWhat::Reset => Flush::Options,
                FlushWhat::Tables => Flush::Tables { anchor, recursive },
                FlushWhat::Info | FlushWhat::All => Flush::Info,
            };
            let count = self.act(Command::Flush(flush))?.count;
            match what {
                FlushWhat::Rules => self.say("rules cleared"),
                FlushWhat::States => self.say(&format!("{count} states cleared")),
                FlushWhat::Sources => self.say("source tracking entries cleared"),
                FlushWhat::Reset => self.say("weir: options reset"),
                FlushWhat::Tables => self.say(&format!("{count} tables deleted.")),
                FlushWhat::Info | FlushWhat::All => self.say("weir: statistics cleared"),
            }
        }
        Ok(())
    }

    fn show(&mut self, show: Show) -> Outcome {
        const ALL: [(Show, &str); 10] = [
            (Show::Ether, "ETHER RULES:"),
            (Show::Rules, "FILTER RULES:"),
            (Show::States, "STATES:"),
            (Show::Sources, "SOURCES:"),
            (Show::Info, "INFO:"),
            (Show::Labels, "LABEL COUNTERS:"),
            (Show::Interfaces, "INTERFACES:"),
            (Show::Timeouts, "TIMEOUTS:"),
            (Show::Memory, "LIMITS:"),
            (Show::Tables, "TABLES:"),
        ];
        if show != Show::All {
            self.list(show)?;
            if self.options.json {
                writeln!(self.out)?;
            }
            return Ok(());
        }
        for (i, (show, title)) in ALL.into_iter().enumerate() {
            if self.options.json {
                let name =
                    title.trim_end_matches(':').replace("FILTER ", "").replace(" COUNTERS", "");
                let name = name.replace("ETHER RULES", "ether");
                let name = name.to_lowercase();
                write!(self.out, "{}\"{name}\":", if i == 0 { "{" } else { "," })?;
            } else {
                self.titles += 1;
                let gap = if self.titles > 1 { "\n" } else { "" };
                writeln!(self.out, "{gap}{title}")?;
            }
            self.list(show)?;
        }
        if self.options.json {
            writeln!(self.out, "}}")?;
        }
        Ok(())
    }

    /// Prints one listing as it comes.
    fn list(&mut self, show: Show) -> Outcome {
        let command = match show {
            Show::Rules | Show::Labels => {
                let Options { anchor, recursive, .. } = self.options.clone();
                Command::RulesIn { anchor, recursive }
            }
            Show::Ether => Command::EtherRules,
            Show::Anchors => Command::Anchors,
            Show::Tables => {
                let Options { anchor, recursive, .. } = self.options.clone();
                Command::Tables { anchor, recursive }
            }
            Show::States => Command::States,
            Show::Sources => Command::Sources,
            Show::Info => Command::Info,
            Show::Interfaces => Command::Interfaces,
            Show::Timeouts => Command::Timeouts,
            Show::Memory | Show::All => Command::Memory,
        };
        let Options { verbose, json, debug, recursive, .. } = self.options;
        let detail = Detail { verbose, debug, recursive };
        let above = self.options.anchor.clone();
        let mut first = true;
        let out = &mut self.out;
        let is_array = json && matches!(show, Show::States | Show::Sources);
        if is_array {
            write!(out, "[")?;
        }
        let end = client(&mut self.client, &self.options)?.ask(command, |reply| {
            if json {
                match reply {
                    Reply::Rules(listing) if show == Show::Labels => {
                        let labelled = rulesets::labelled(&listing, detail)?;
                        let rules: Vec<_> = labelled.iter().map(|(_, rule)| rule).collect();
                        serde_json::to_writer(&mut *out, &rules)?;
                    }
                    Reply::Rules(listing) => serde_json::to_writer(&mut *out, &listing)?,
                    Reply::Anchors(paths) => serde_json::to_writer(&mut *out, &paths)?,
                    Reply::Tables(tables) => serde_json::to_writer(&mut *out, &tables)?,
                    Reply::States(states) => {
                        for state in &states {
                            write!(out, "{}", if first { "\n" } else { ",\n" })?;
                            first = false;
                            serde_json::to_writer(&mut *out, state)?;
                        }
                    }
                    Reply::Sources(sources) => {
                        for source in &sources {
                            write!(out, "{}", if first { "\n" } else { ",\n" })?;
                            first = false;
                            serde_json::to_writer(&mut *out, source)?;
                        }
                    }
                    Reply::Info(info) => serde_json::to_writer(&mut *out, &info)?,
                    Reply::Interfaces(ports) => serde_json::to_writer(&mut *out, &ports)?,
                    Reply::Timeouts(timeouts) => serde_json::to_writer(&mut *out, &timeouts)?,
                    Reply::Memory(limits) => serde_json::to_writer(&mut *out, &limits)?,
                    _ => {}
                }
                return Ok(());
            }
            match reply {
                Reply::Rules(listing) if show == Show::Labels => {
                    rulesets::labels(out, &listing, detail)
                }
                Reply::Rules(listing) => rulesets::rules(out, &listing, detail),
                Reply::Anchors(paths) => rulesets::anchors(out, &paths, &above, verbose),
                Reply::States(states) => {
                    states.iter().try_for_each(|state| print::state(out, state, verbose))
                }
                Reply::Sources(sources) => {
                    sources.iter().try_for_each(|source| print::source(out, source, verbose))
                }
                Reply::Info(info) => print::info(out, &info, verbose),
                Reply::Interfaces(ports) => {
                    ports.iter().try_for_each(|port| print::interface(out, port, verbose))
                }
                Reply::Timeouts(timeouts) => {
                    timeouts.iter().try_for_each(|timeout| print::timeout(out, timeout))
                }
                Reply::Memory(limits) => {
                    limits.iter().try_for_each(|limit| print::limit(out, limit))
                }
                Reply::Tables(tables) => table::tables(out, &tables, verbose, debug),
                _ => Ok(()),
            }
        })?;
        ended(end)?;
        if is_array {
            write!(out, "{}]", if first { "" } else { "\n" })?;
        }
        Ok(())
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

/// On a terminal every message is followed by its line, underlined; elsewhere a message is a line.
fn tell(diagnostics: &Diagnostics) {
    if !io::stderr().is_terminal() {
        eprint!("{diagnostics}");
        return;
    }
    for diagnostic in diagnostics {
        eprintln!("{diagnostic}\n{}", diagnostic.underlined());
    }
    if let Some(end) = diagnostics.end() {
        eprintln!("{end}");
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

/// An address or a prefix, checked here for the sake of a good message. Names are not looked up.
fn host(text: &str) -> io::Result<String> {
    if text.parse::<IpNet>().is_ok() || text.parse::<IpAddr>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err(io::Error::other(format!("-k {text}: neither an address nor a prefix")))
    }
}

/// The id of a state, with or without the `/creator` that pfctl takes.
fn state_id(text: &str) -> io::Result<String> {
    let id = text.split_once('/').map_or(text, |(id, _)| id);
    u64::from_str_radix(id.trim_start_matches("0x"), 16)
        .map(|id| format!("{id:016x}"))
        .map_err(|_| io::Error::other(format!("-k id -k {text}: not the id of a state")))
}
