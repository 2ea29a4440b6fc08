//! The daemon's own files and its guarded seat, asked for by the shell.

use std::io;
use std::path::Path;

use weir_config::{Diagnostics, SourceFile};

use crate::check::{self, refuse_unbuilt};
use crate::client::Client;
use crate::protocol::{
    Access, Command, Files, Load, OwnFile, Reply, Seat, SeatRequest, Source, StoreRules,
};
use crate::source::Disk;

/// Why a file was not written.
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

/// Asks; what comes before the end of the answer goes to `each`.
fn ask(socket: &Path, command: Command, mut each: impl FnMut(Reply)) -> Result<(), Refusal> {
    let end = Client::connect(socket)?.ask(command, |reply| {
        each(reply);
        Ok(())
    })?;
    match end {
        Reply::Error(text) => Err(Refusal::Other(text)),
        Reply::Diagnostics(found) => Err(Refusal::Faults(found)),
        _ => Ok(()),
    }
}

/// Reads one of the daemon's files.
pub(crate) fn file(socket: &Path, which: Files) -> Result<OwnFile, Refusal> {
    let mut found = None;
    ask(socket, Command::Files(which), |reply| {
        if let Reply::File(file) = reply {
            found = Some(file);
        }
    })?;
    found.ok_or_else(|| Refusal::Other("the daemon has sent no file".into()))
}

/// Changes one of them.
pub(crate) fn change(socket: &Path, which: Files) -> Result<(), Refusal> {
    ask(socket, Command::Files(which), drop)
}

/// How the console is guarded. It is not, against those who may only look: their shell can do no more
/// than any other client of theirs.
pub(crate) fn seat(socket: &Path) -> Result<Seat, Refusal> {
    if Client::connect(socket)?.access() == Access::Read {
        return Ok(Seat { password: false, idle: 0 });
    }
    let mut found = None;
    ask(socket, Command::Seat(SeatRequest::Ask), |reply| {
        if let Reply::Seat(seat) = reply {
            found = Some(seat);
        }
    })?;
    found.ok_or_else(|| Refusal::Other("the daemon does not say who may sit here".into()))
}

/// Tries or changes the password; the error is for the person.
pub(crate) fn password(socket: &Path, request: SeatRequest) -> Result<(), String> {
    ask(socket, Command::Seat(request), drop).map_err(|refusal| match refusal {
        Refusal::Other(text) => text,
        Refusal::Faults(found) => found.to_string(),
    })
}

/// Has the daemon write its rule file, if the text has no errors; it was made from `file`. Tells what
/// is to be warned of.
pub(crate) fn store_rules(
    socket: &Path,
    file: &OwnFile,
    text: &str,
) -> Result<Diagnostics, Refusal> {
    let main = SourceFile::new(&*file.path, text);
    let terms = Load::default();
    let mut checked = check::read(&main, &mut Disk, &terms, &Client::connect(socket)?.prefixes()?)
        .map_err(Refusal::Other)?;
    refuse_unbuilt(&mut checked);
    if checked.rules.is_none() {
        return Err(Refusal::Faults(checked.diagnostics));
    }
    let mut sources: Vec<Source> = Vec::new();
    for file in &checked.sources {
        if sources.iter().all(|known| known.name != file.name) {
            sources.push(Source { name: file.name.clone(), text: file.text.clone() });
        }
    }
    let load = Load { sources, ..terms };
    let version = Some(file.version.clone());
    change(socket, Files::StoreRules(StoreRules { load, version }))?;
    Ok(checked.diagnostics)
}
