//! What the shell does itself with the daemon's files: the rules are edited, the settings shown and
//! changed.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_config::{Diagnostic, Diagnostics};

use super::child::Interrupts;
use super::editor::{self, Desk, Note, Written};
use super::lock;
use super::own::{Daemon, Refusal};
use super::terminal::{Manner, Terminal};
use crate::protocol::{Files, OwnFile, Setting};

/// Edits the rule file.
pub(super) fn edit_rules(
    daemon: &Daemon,
    terminal: &Terminal,
    interrupts: &Interrupts,
    (holds, idle): (&AtomicBool, Option<Duration>),
) -> io::Result<Result<(), String>> {
    let file = match daemon.file(Files::Rules) {
        Ok(file) => file,
        Err(refusal) => return Ok(Err(refusal.to_string())),
    };
    let text = file.text.clone();
    let mut desk = Rules { daemon, interrupts, terminal, file, idle };
    // The editor of lines waits for its next line without a limit: the guard stays awake.
    holds.store(terminal.manner != Manner::Dumb, Ordering::Release);
    let edited = editor::edit(terminal, interrupts, &text, &mut desk);
    holds.store(false, Ordering::Release);
    edited.map(Ok)
}

/// The rule file on the desk.
struct Rules<'s> {
    daemon: &'s Daemon,
    interrupts: &'s Interrupts,
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
        match self.daemon.store_rules(&self.file, text) {
            Ok(warnings) => {
                let mut notes = self.notes(&warnings);
                match self.daemon.file(Files::Rules) {
                    Ok(file) => self.file = file,
                    Err(refusal) => notes.push(about_all(refusal.to_string())),
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
        if lock::unlock(self.daemon, self.terminal, self.interrupts)? {
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
pub(super) fn settings(daemon: &Daemon) -> Result<String, String> {
    let file = daemon.file(Files::Settings).map_err(|refusal| refusal.to_string())?;
    if file.text.is_empty() {
        return Ok(format!("{} is not there, or empty: all defaults hold.\n", file.path));
    }
    Ok(format!("# {}\n{}\n", file.path, file.text.trim_end()))
}

/// Changes a key; tells what comes of it.
pub(super) fn set(
    daemon: &Daemon,
    key: &str,
    value: Option<String>,
) -> Result<&'static str, String> {
    let setting = Setting { key: key.to_owned(), value };
    daemon.change(Files::Set(setting)).map_err(|refusal| refusal.to_string())?;
    Ok(match key {
        // It is asked for before each command.
        "shell.idle_lock" => "written; shells go by it from their next command on\n",
        _ => "written; weir goes by it when it is started again\n",
    })
}
