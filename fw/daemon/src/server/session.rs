//! One client: who it is, and the requests that it makes.

use std::io;

use tracing::{info, warn};
use weir_shell::protocol::{Access, Command, Done, Hello, Reply, Request, RuleListing, VERSION};

use super::connection::{Connection, Line};
use crate::control::{Control, Refused};
use crate::history::Author;
use crate::log::events;

/// One client.
pub(super) struct Session {
    pub(super) connection: Connection,
    /// User id of the process at the other end when it connected.
    pub(super) uid: u32,
    access: Access,
}

impl Session {
    pub(super) const fn new(connection: Connection, uid: u32, access: Access) -> Self {
        Self { connection, uid, access }
    }

    /// Answers requests until the client hangs up or breaks a bound.
    pub(super) fn serve(&mut self, control: &Control) -> io::Result<()> {
        self.connection.send(&Reply::Hello(Hello {
            version: VERSION,
            weir: env!("CARGO_PKG_VERSION").into(),
            access: self.access,
        }))?;
        loop {
            let line = match self.connection.read_line() {
                Ok(Line::Complete(line)) => line,
                Ok(Line::End) => return Ok(()),
                Err(error) => {
                    self.connection.send(&Reply::Error(error.to_string()))?;
                    return Err(error);
                }
            };
            let reply = match Request::read(&line) {
                Ok(command) if self.access == Access::Read && command.changes() => {
                    Reply::Error("permission denied: you may look, but change nothing".into())
                }
                Ok(Command::Capture(capture)) => match self.capture(control, &capture)? {
                    Some(refused) => refused,
                    None => return Ok(()),
                },
                Ok(Command::Follow(follow)) => match self.follow(control, &follow)? {
                    Some(reply) => reply,
                    None => return Ok(()),
                },
                Ok(command) => self.answer(control, command)?,
                Err(text) => Reply::Error(text),
            };
            self.connection.send(&reply)?;
            self.connection.give_back();
        }
    }

    /// Carries a command out; sends the lines of a listing and returns the one that ends it.
    fn answer(&mut self, control: &Control, command: Command) -> io::Result<Reply> {
        let uid = self.uid;
        let result = match command {
            Command::Load(load) => self.load(control, &load),
            Command::Rules => self.list(control.rules("", false).map(rules))?,
            Command::RulesIn { anchor, recursive } => {
                self.list(control.rules(&anchor, recursive).map(rules))?
            }
            Command::EtherRules => self.list(control.ether_rules().map(rules))?,
            Command::Anchors => {
                let anchors = control.anchors();
                self.list(Ok((anchors.len(), Reply::Anchors(anchors))))?
            }
            Command::Table(change) => self.change_table(control, &change)?,
            Command::Tables { anchor, recursive } => {
                let tables = control.tables(&anchor, recursive);
                self.list(tables.map(|tables| (tables.len(), Reply::Tables(tables))))?
            }
            Command::TableEntries { anchor, name } => self.pieces(|send| {
                control.table_entries(&anchor, &name, |entries| send(Reply::TableEntries(entries)))
            })?,
            Command::States(query) => {
                self.pieces(|send| control.states(&query, |states| send(Reply::States(states))))?
            }
            Command::Tally { hosts } => {
                let tally = control.tally(hosts);
                self.list(tally.map(|tally| (1, Reply::Tally(Box::new(tally)))))?
            }
            Command::Info => {
                self.list(control.info().map(|info| (1, Reply::Info(Box::new(info)))))?
            }
            Command::Interfaces => {
                let ports = control.interfaces();
                self.list(ports.map(|ports| (ports.len(), Reply::Interfaces(ports))))?
            }
            Command::Timeouts => {
                let timeouts = control.timeouts();
                self.list(Ok((timeouts.len(), Reply::Timeouts(timeouts))))?
            }
            Command::Memory => {
                let limits = control.memory();
                self.list(Ok((limits.len(), Reply::Memory(limits))))?
            }
            Command::Kill(kill) => control.kill(&kill).map(|count| {
                info!(target: events::STATES_KILLED, "user {uid} killed {count} states");
                done(count)
            }),
            Command::Sources(query) => self
                .pieces(|send| control.sources(&query, |sources| send(Reply::Sources(sources))))?,
            Command::KillSources { from } => control.kill_sources(&from).map(|count| {
                info!(target: events::SOURCES_KILLED, "user {uid} killed {count} sources");
                done(count)
            }),
            Command::Flush(what) => control.flush(&what, Author::User(uid)).map(|count| {
                warn!(target: events::FLUSHED, "user {uid} flushed {what}");
                done(count)
            }),
            Command::Enable => control.enable().map(|()| {
                warn!(target: events::FILTER_ENABLED, "user {uid} enabled filtering");
                done(0)
            }),
            Command::Explain(explain) => {
                let told = control.explain(&explain);
                self.list(told.map(|told| (1, Reply::Explanation(Box::new(told)))))?
            }
            Command::Commit(commit) => self.commit(control, commit),
            Command::Confirm { number } => self.confirm(control, number),
            Command::Rollback(rollback) => self.roll_back(control, &rollback),
            Command::History => {
                let past = control.past();
                self.list(past.map(|past| (past.entries.len(), Reply::History(past))))?
            }
            Command::RuleSet { number } => {
                let version = control.version(number);
                self.list(version.map(|version| (1, Reply::RuleSet(Box::new(version)))))?
            }
            Command::Files(files) => match control.files(&files, uid) {
                Ok(Some(file)) => self.list(Ok((1, Reply::File(file))))?,
                Ok(None) => Ok(done(0)),
                Err(refused) => Err(refused),
            },
            Command::Seat(request) => match control.seat(&request, uid) {
                Ok(Some(seat)) => self.list(Ok((1, Reply::Seat(seat))))?,
                Ok(None) => Ok(done(0)),
                Err(refused) => Err(refused),
            },
            // It takes the connection over before it comes here.
            Command::Capture(_) | Command::Follow(_) => {
                Err(Refused::Error("a stream is no listing".into()))
            }
            Command::Disable { .. } if uid != 0 => {
                Err(Refused::Error("permission denied: only root may disable filtering".into()))
            }
            Command::Disable { seconds } => control.disable(seconds).map(|()| {
                warn!(target: events::FILTER_DISABLED, "user {uid} DISABLED FILTERING: everything passes for {seconds} s");
                done(0)
            }),
        };
        Ok(result.unwrap_or_else(refusal))
    }
}

/// Why nothing was done.
pub(super) fn refusal(refused: Refused) -> Reply {
    match refused {
        Refused::Diagnostics(diagnostics) => Reply::Diagnostics(diagnostics),
        Refused::Cut(cut) => Reply::Cut(cut),
        Refused::Error(text) => Reply::Error(text),
    }
}

/// A listing of rules, and how many they are.
fn rules(listing: RuleListing) -> (usize, Reply) {
    (listing.rules.len(), Reply::Rules(listing))
}

/// The end of an answer that went well.
pub(super) const fn done(count: u64) -> Reply {
    Reply::Done(Done { count, note: None })
}
