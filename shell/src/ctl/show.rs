//! `-s`: listings in pfctl's formats or as JSON, printed as they come.

use std::io::{self, Write};

use serde::Serialize;

use super::{Failure, Outcome, Session, client, ended};
use crate::options::{Options, Show};
use crate::protocol::{Command, Info, Interface, Reply, StateCriterion};
use crate::rulesets::{self, Detail};
use crate::{print, table};

/// What `-s all` shows, with pfctl's headings and the names of the fields in its JSON.
const ALL: [(Show, &str, &str); 10] = [
    (Show::Ether, "ETHER RULES:", "ether"),
    (Show::Rules, "FILTER RULES:", "rules"),
    (Show::States, "STATES:", "states"),
    (Show::Sources, "SOURCES:", "sources"),
    (Show::Info, "INFO:", "info"),
    (Show::Labels, "LABEL COUNTERS:", "label"),
    (Show::Interfaces, "INTERFACES:", "interfaces"),
    (Show::Timeouts, "TIMEOUTS:", "timeouts"),
    (Show::Memory, "LIMITS:", "limits"),
    (Show::Tables, "TABLES:", "tables"),
];

/// An array of JSON that is written as its elements come, one a line.
#[derive(Default)]
pub(crate) struct Array {
    begun: bool,
}

impl Array {
    /// Adds elements.
    pub(crate) fn add<T: Serialize>(&mut self, out: &mut impl Write, all: &[T]) -> io::Result<()> {
        for element in all {
            write!(out, "{}", if self.begun { ",\n" } else { "[\n" })?;
            self.begun = true;
            serde_json::to_writer(&mut *out, element)?;
        }
        Ok(())
    }

    /// Ends it.
    pub(crate) fn end(self, out: &mut impl Write) -> io::Result<()> {
        write!(out, "{}", if self.begun { "\n]" } else { "[]" })
    }
}

impl<W: Write> Session<W> {
    pub(super) fn show(&mut self, show: Show) -> Outcome {
        match show {
            Show::All => return self.show_all(),
            Show::Running => return self.running(),
            Show::CreatorIds => return self.creator_ids(),
            _ => self.list(show)?,
        }
        if self.options.json {
            writeln!(self.out)?;
        }
        Ok(())
    }

    fn show_all(&mut self) -> Outcome {
        for (i, (show, title, name)) in ALL.into_iter().enumerate() {
            if self.options.json {
                write!(self.out, "{}\"{name}\":", if i == 0 { "{" } else { "," })?;
            } else {
                writeln!(self.out, "{}{title}", if i == 0 { "" } else { "\n" })?;
            }
            self.list(show)?;
        }
        if self.options.json {
            writeln!(self.out, "}}")?;
        }
        Ok(())
    }

    /// What asks for a listing.
    fn command(&self, show: Show) -> Command {
        let Options { anchor, recursive, interface, .. } = self.options.clone();
        match show {
            Show::Rules | Show::Labels => Command::RulesIn { anchor, recursive },
            Show::Ether => Command::EtherRules,
            Show::Anchors => Command::Anchors,
            Show::Tables => Command::Tables { anchor, recursive },
            Show::States => {
                let mut query = self.options.states.clone();
                query.criteria.extend(interface.map(StateCriterion::Interface));
                Command::States(query)
            }
            Show::Sources => Command::Sources(self.options.sources.clone()),
            Show::Interfaces => Command::Interfaces,
            Show::Timeouts => Command::Timeouts,
            Show::Memory => Command::Memory,
            Show::Info | Show::Running | Show::CreatorIds | Show::All => Command::Info,
        }
    }

    /// Prints one listing as it comes.
    fn list(&mut self, show: Show) -> Outcome {
        let command = self.command(show);
        let only_counts = match show {
            Show::States => self.options.states.count,
            Show::Sources => self.options.sources.count,
            _ => false,
        };
        let Options { verbose, json, debug, recursive, .. } = self.options;
        let detail = Detail { verbose, debug, recursive };
        let above = self.options.anchor.clone();
        let interface = self.options.interface.clone();
        let is_array = json && matches!(show, Show::States | Show::Sources) && !only_counts;
        let mut array = Array::default();
        let (out, names) = (&mut self.out, &self.names);
        let end = client(&mut self.client, &self.options)?.ask(command, |reply| {
            if !json {
                return match reply {
                    Reply::Rules(listing) if show == Show::Labels => {
                        rulesets::labels(out, &listing, detail)
                    }
                    Reply::Rules(listing) => rulesets::rules(out, &listing, detail),
                    Reply::Anchors(paths) => rulesets::anchors(out, &paths, &above, verbose),
                    Reply::States(states) => {
                        states.iter().try_for_each(|state| print::state(out, state, verbose, names))
                    }
                    Reply::Sources(sources) => {
                        sources.iter().try_for_each(|source| print::source(out, source, verbose))
                    }
                    Reply::Info(info) => print::info(out, &info, verbose),
                    Reply::Interfaces(ports) => {
                        let mut ports = ports.iter().filter(|port| port.is(interface.as_deref()));
                        ports.try_for_each(|port| print::interface(out, port, verbose))
                    }
                    Reply::Timeouts(timeouts) => {
                        timeouts.iter().try_for_each(|timeout| print::timeout(out, timeout))
                    }
                    Reply::Memory(limits) => {
                        limits.iter().try_for_each(|limit| print::limit(out, limit))
                    }
                    Reply::Tables(tables) => table::tables(out, &tables, verbose, debug),
                    _ => Ok(()),
                };
            }
            match reply {
                Reply::Rules(listing) if show == Show::Labels => {
                    let labelled = rulesets::labelled(&listing, detail)?;
                    let rules: Vec<_> = labelled.iter().map(|(_, rule)| rule).collect();
                    serde_json::to_writer(&mut *out, &rules)?;
                }
                Reply::Rules(listing) => serde_json::to_writer(&mut *out, &listing)?,
                Reply::Anchors(paths) => serde_json::to_writer(&mut *out, &paths)?,
                Reply::Tables(tables) => serde_json::to_writer(&mut *out, &tables)?,
                Reply::States(states) => array.add(out, &states)?,
                Reply::Sources(sources) => array.add(out, &sources)?,
                Reply::Info(info) => serde_json::to_writer(&mut *out, &info)?,
                Reply::Interfaces(ports) => {
                    let ports: Vec<_> =
                        ports.iter().filter(|port| port.is(interface.as_deref())).collect();
                    serde_json::to_writer(&mut *out, &ports)?;
                }
                Reply::Timeouts(timeouts) => serde_json::to_writer(&mut *out, &timeouts)?,
                Reply::Memory(limits) => serde_json::to_writer(&mut *out, &limits)?,
                _ => {}
            }
            Ok(())
        })?;
        let done = ended(end)?;
        if is_array {
            array.end(out)?;
        }
        if only_counts {
            // A number is JSON, too; `show` ends its line.
            write!(out, "{}{}", done.count, if json { "" } else { "\n" })?;
        }
        if let Some(note) = done.note {
            self.out.flush()?;
            self.say(&note);
        }
        Ok(())
    }

    fn info(&mut self) -> Result<Info, Failure> {
        let mut found = None;
        self.ask(Command::Info, |_, reply| {
            if let Reply::Info(info) = reply {
                found = Some(*info);
            }
            Ok(())
        })?;
        found.ok_or_else(|| io::Error::other("the daemon told nothing").into())
    }

    /// Whether packets are judged, also by the exit status.
    fn running(&mut self) -> Outcome {
        let running = self.info()?.status != "disabled";
        if self.options.json {
            writeln!(self.out, "{{\"running\":{running}}}")?;
        } else {
            writeln!(self.out, "{}", if running { "Enabled" } else { "Disabled" })?;
        }
        self.out.flush()?;
        if running { Ok(()) } else { Err(Failure::Told) }
    }

    /// States are made by workers: their numbers are the ids.
    fn creator_ids(&mut self) -> Outcome {
        let workers: Vec<_> = self.info()?.workers.iter().map(|worker| worker.worker).collect();
        if self.options.json {
            serde_json::to_writer(&mut self.out, &workers).map_err(io::Error::from)?;
            writeln!(self.out)?;
            return Ok(());
        }
        writeln!(self.out, "Creator IDs:")?;
        for worker in workers {
            writeln!(self.out, "{worker:08x}")?;
        }
        Ok(())
    }
}

impl Interface {
    /// Whether `-i` means it.
    fn is(&self, name: Option<&str>) -> bool {
        name.is_none_or(|name| self.name == name || self.role == name)
    }
}
