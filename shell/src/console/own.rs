//! The daemon's own files and its guarded seat, asked for by the shell.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_config::{Diagnostics, SourceFile};

use crate::check::{self, refuse_unbuilt};
use crate::client::{Client, PATIENCE};
use crate::protocol::{
    Access, Command, Done, Files, Load, OwnFile, Reply, Seat, SeatRequest, StoreRules,
};
use crate::source::{Disk, sent};

/// How long what is only looked up may take.
const GLANCE: Duration = Duration::from_secs(3);

/// Why something was not done.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It has errors.
    Faults(Diagnostics),
    /// Anything else.
    Other(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Other(error.to_string())
    }
}

/// As it is told to the person.
impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Faults(found) => f.write_str(found.to_string().trim_end()),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// Rules that were read and may be sent.
struct Prepared {
    load: Load,
    /// What is to be warned of.
    warnings: Diagnostics,
}

/// The daemon, as the shell itself asks it; commands that it starts have connections of their own.
#[derive(Debug)]
pub(crate) struct Daemon {
    socket: PathBuf,
    /// Waiting for an answer ends when it can be read.
    interrupt: Option<OwnedFd>,
}

impl Daemon {
    /// Behind a socket; `interrupt` can be read when the person has had enough.
    pub(crate) fn new(socket: &Path, interrupt: Option<OwnedFd>) -> Self {
        Self { socket: socket.to_owned(), interrupt }
    }

    fn connect(&self, patience: Duration) -> io::Result<Client> {
        let interrupt = self.interrupt.as_ref().map(OwnedFd::try_clone).transpose()?;
        Client::connect_until(&self.socket, patience, interrupt)
    }

    /// Looks one of its files up.
    pub(crate) fn file(&self, which: Files) -> Result<OwnFile, Refusal> {
        let mut found = None;
        ask(&mut self.connect(GLANCE)?, Command::Files(which), |reply| {
            if let Reply::File(file) = reply {
                found = Some(file);
            }
        })?;
        found.ok_or_else(|| Refusal::Other("the daemon has sent no file".into()))
    }

    /// Changes one of them.
    pub(crate) fn change(&self, which: Files) -> Result<(), Refusal> {
        ask(&mut self.connect(PATIENCE)?, Command::Files(which), drop).map(drop)
    }

    /// How the console is guarded. It is not, against those who may only look: their shell can do no
    /// more than any other client of theirs.
    pub(crate) fn seat(&self) -> Result<Seat, Refusal> {
        let mut client = self.connect(GLANCE)?;
        if client.access() == Access::Read {
            return Ok(Seat::default());
        }
        let mut found = None;
        ask(&mut client, Command::Seat(SeatRequest::Ask), |reply| {
            if let Reply::Seat(seat) = reply {
                found = Some(seat);
            }
        })?;
        found.ok_or_else(|| Refusal::Other("the daemon does not say who may sit here".into()))
    }

    /// Tries or changes the password; the error is for the person.
    pub(crate) fn password(&self, request: SeatRequest) -> Result<(), String> {
        let ask = || ask(&mut self.connect(PATIENCE)?, Command::Seat(request), drop);
        ask().map(drop).map_err(|refusal| refusal.to_string())
    }

    /// Has the daemon write its rule file, if the text has no errors; it was made from `file`. Tells
    /// what is to be warned of.
    pub(crate) fn store_rules(&self, file: &OwnFile, text: &str) -> Result<Diagnostics, Refusal> {
        let Prepared { load, warnings } = self.prepare(&file.path, text)?;
        let version = Some(file.version.clone());
        self.change(Files::StoreRules(StoreRules { load, version }))?;
        Ok(warnings)
    }

    /// Puts the rule file in force as the daemon has it: the shell may not be allowed to read it. Tells
    /// what is to be warned of, and what the daemon says.
    pub(crate) fn load_rules(&self) -> Result<(Diagnostics, Done), Refusal> {
        let OwnFile { path, text, .. } = self.file(Files::Rules)?;
        if text.is_empty() {
            let text = format!("{path} is not there, or empty; `flush rules` blocks everything");
            return Err(Refusal::Other(text));
        }
        let Prepared { load, warnings } = self.prepare(&path, &text)?;
        let done = ask(&mut self.connect(PATIENCE)?, Command::Load(load), drop)?;
        Ok((warnings, done))
    }

    /// Reads rules, and the files that they name.
    fn prepare(&self, path: &str, text: &str) -> Result<Prepared, Refusal> {
        let main = SourceFile::new(path, text);
        let terms = Load::default();
        let prefixes = self.connect(PATIENCE)?.prefixes()?;
        let mut checked =
            check::read(&main, &mut Disk, &terms, &prefixes).map_err(Refusal::Other)?;
        refuse_unbuilt(&mut checked);
        if checked.rules.is_none() {
            return Err(Refusal::Faults(checked.diagnostics));
        }
        let load = Load { sources: sent(&checked.sources), ..terms };
        Ok(Prepared { load, warnings: checked.diagnostics })
    }
}

/// Asks; what comes before the end of the answer goes to `each`.
fn ask(
    client: &mut Client,
    command: Command,
    mut each: impl FnMut(Reply),
) -> Result<Done, Refusal> {
    let end = client.ask(command, |reply| {
        each(reply);
        Ok(())
    })?;
    match end {
        Reply::Done(done) => Ok(done),
        Reply::Error(text) => Err(Refusal::Other(text)),
        Reply::Diagnostics(found) => Err(Refusal::Faults(found)),
        _ => Err(Refusal::Other("the daemon ended an answer with a listing".into())),
    }
}
