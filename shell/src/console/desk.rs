//! What the shell does itself with the daemon's files: the rules are edited, the settings shown and
//! changed.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_config::{Diagnostic, Diagnostics};

use super::child::Interrupts;
use super::editor::{self, Desk, Note, Written};
use super::lock;
use super::own::{self, Refusal};
use super::terminal::{Manner, Terminal};
use crate::protocol::{Files, OwnFile, Setting};

/// Edits the rule file.
pub(super) fn edit_rules(
    socket: &Path,
    terminal: &Terminal,
    interrupts: &mut Interrupts,
    (holds, idle): (&AtomicBool, Option<Duration>),
) -> io::Result<Result<(), String>> {
    let file = match own::file(socket, Files::Rules) {
        Ok(file) => file,
        Err(refusal) => return Ok(Err(words(&refusal))),
    };
    let text = file.text.clone();
    let mut desk = Rules { socket, terminal, file, idle };
    // The editor of lines waits for its next line without a limit: the guard stays awake.
    holds.store(terminal.manner != Manner::Dumb, Ordering::Release);
    let edited = editor::edit(terminal, interrupts, &text, &mut desk);
    holds.store(false, Ordering::Release);
    edited.map(Ok)
}

/// The rule file on the desk.
struct Rules<'s> {
    socket: &'s Path,
    terminal: &'s Terminal,
    /// As the daemon has it.
    file: OwnFile,
    idle: Option<Duration>,
}

impl Desk for Rules<'_> {
    fn title(&self) -> &str {
        &self.file.path
    }

    fn write(&mut self, text: &str) -> Written {
        match own::store_rules(self.socket, &self.file, text) {
            Ok(warnings) => {
                let mut notes = self.notes(&warnings);
                match own::file(self.socket, Files::Rules) {
                    Ok(file) => self.file = file,
                    Err(refusal) => notes.push(about_all(words(&refusal))),
                }
                Written { kept: true, notes }
            }
            Err(Refusal::Faults(found)) => Written { kept: false, notes: self.notes(&found) },
            Err(Refusal::Other(text)) => Written { kept: false, notes: vec![about_all(text)] },
        }
    }

    fn idle(&self) -> Option<Duration> {
        self.idle
    }

    fn lock(&mut self) -> io::Result<()> {
        let mut interrupts = Interrupts::catch()?;
        if lock::unlock(self.socket, self.terminal, &mut interrupts)? {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

impl Rules<'_> {
    fn notes(&self, found: &Diagnostics) -> Vec<Note> {
        found.iter().map(|fault| self.note(fault)).collect()
    }

    fn note(&self, fault: &Diagnostic) -> Note {
        let place = &fault.place;
        let mut message = fault.message.clone();
        if place.file != self.file.path {
            return about_all(format!("{}:{}:{}: {message}", place.file, place.line, place.column));
        }
        if !fault.expected.is_empty() && !message.contains("expected") {
            message.push_str("; expected ");
            message.push_str(&fault.expected.join(", "));
        }
        Note { line: Some(place.line as usize), column: place.column as usize, message }
    }
}

fn about_all(message: String) -> Note {
    Note { line: None, column: 1, message }
}

/// The settings file.
pub(super) fn settings(socket: &Path) -> Result<String, String> {
    let file = own::file(socket, Files::Settings).map_err(|refusal| words(&refusal))?;
    if file.text.is_empty() {
        return Ok(format!("{} is not there, or empty: all defaults hold.\n", file.path));
    }
    Ok(format!("# {}\n{}\n", file.path, file.text.trim_end()))
}

/// Changes a key; tells what comes of it.
pub(super) fn set(socket: &Path, key: &str, value: Option<String>) -> Result<&'static str, String> {
    let setting = Setting { key: key.to_owned(), value };
    own::change(socket, Files::Set(setting)).map_err(|refusal| words(&refusal))?;
    Ok(match key {
        // It is asked for when a shell begins.
        "shell.idle_lock" => "written; shells that begin from now on go by it\n",
        _ => "written; weir goes by it when it is started again\n",
    })
}

/// The path of a file of the daemon's.
pub(super) fn path(socket: &Path, which: Files) -> Result<String, String> {
    own::file(socket, which).map(|file| file.path).map_err(|refusal| words(&refusal))
}

fn words(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Faults(found) => found.to_string().trim_end().to_owned(),
        Refusal::Other(text) => text.clone(),
    }
}
