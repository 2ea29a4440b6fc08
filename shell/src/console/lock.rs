//! The lock of the console: the password that the daemon knows, asked for at the start, by `lock`, and
//! when nobody has touched a key for as long as the settings say.
//!
//! Whoever walks away may leave the shell anywhere: at the prompt, in a listing, in a live view. So
//! the guard is a thread that watches when the terminal was last read from, and what it does is to
//! replace the whole process by a shell that has just begun: locked, with nothing left of the old one
//! but its lines. Only the editor, which has a text to lose, locks itself.

use std::env;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::fstat;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{OptionalActions, tcsetattr};

use super::child::Interrupts;
use super::own::{self, Refusal};
use super::past;
use super::prompt::{Line, plain};
use super::terminal::{Manner, Terminal, write};
use crate::dial;
use crate::protocol::{Seat, SeatRequest};

/// How often the guard looks.
const ROUND: Duration = Duration::from_secs(1);

/// What the guard must know of the shell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    /// The editor locks itself.
    pub(crate) holds: Arc<AtomicBool>,
    /// The process that runs; 0 if there is none.
    pub(crate) child: Arc<AtomicI32>,
}

/// The lock.
#[derive(Debug)]
pub(crate) struct Lock {
    pub(crate) watched: Watched,
    /// What the daemon has said once it could be asked.
    seat: Option<Seat>,
    /// The descriptor of the kept lines, for a shell that begins anew.
    past: Option<OwnedFd>,
    /// The guard watches.
    guarded: bool,
}

impl Lock {
    /// Open until the daemon can be asked.
    pub(crate) fn new(past: Option<OwnedFd>) -> Self {
        Self { watched: Watched::default(), seat: None, past, guarded: false }
    }

    /// Makes sure that whoever sits here may; `false` if the terminal is gone. While the daemon cannot be
    /// asked nobody is known ([`Lock::knows`]).
    pub(crate) fn check(
        &mut self,
        socket: &Path,
        terminal: &Terminal,
        interrupts: &mut Interrupts,
    ) -> io::Result<bool> {
        if self.seat.is_some() {
            return Ok(true);
        }
        let Ok(seat) = own::seat(socket) else { return Ok(true) };
        if seat.password && !unlock(socket, terminal, interrupts)? {
            return Ok(false);
        }
        self.renew(socket, terminal)?;
        Ok(true)
    }

    /// Whether it is known that whoever sits here may.
    pub(crate) const fn knows(&self) -> bool {
        self.seat.is_some()
    }

    /// Learns what was just changed; whoever changed it may stay.
    pub(crate) fn renew(&mut self, socket: &Path, terminal: &Terminal) -> io::Result<()> {
        let Ok(seat) = own::seat(socket) else { return Ok(()) };
        self.seat = Some(seat);
        if seat.password && seat.idle > 0 && !self.guarded {
            self.guarded = self.guard(terminal, Duration::from_secs(seat.idle.into()))?;
        }
        Ok(())
    }

    /// Whether a password is asked for.
    pub(crate) fn has_password(socket: &Path) -> bool {
        own::seat(socket).is_ok_and(|seat| seat.password)
    }

    /// Forgets who sits here.
    pub(crate) fn close(&mut self) {
        self.seat = None;
    }

    /// How long nobody may touch a key.
    pub(crate) fn idle(&self) -> Option<Duration> {
        let seat = self.seat.filter(|seat| seat.password && seat.idle > 0)?;
        Some(Duration::from_secs(seat.idle.into()))
    }

    /// Starts the guard.
    fn guard(&self, terminal: &Terminal, idle: Duration) -> io::Result<bool> {
        let input = terminal.input().try_clone_to_owned()?;
        let past = self.past.as_ref().map(OwnedFd::try_clone).transpose()?;
        let (watched, manner, before) =
            (self.watched.clone(), terminal.manner, terminal.settings());
        let watch = move || {
            wait_until_idle(&input, idle, &watched.holds);
            let child = watched.child.load(Ordering::Acquire);
            if let Some(pid) = Pid::from_raw(child).filter(|_| child > 0) {
                let _ = kill_process(pid, Signal::KILL);
            }
            let _ = tcsetattr(&input, OptionalActions::Flush, &before);
            let clear = if manner == Manner::Dumb { "\r\n" } else { "\x1b[m\x1b[H\x1b[2J" };
            let _ = write(clear);
            // Never back here, unless the kernel has no memory for it: then nobody stays.
            let error = begin_anew(past.as_ref());
            eprintln!("weir shell: {error}");
            std::process::exit(1);
        };
        std::thread::Builder::new().name("weir-guard".into()).spawn(watch)?;
        Ok(true)
    }
}

/// Returns when nothing was read from a terminal for a time. The kernel says when it last was, to eight
/// seconds.
fn wait_until_idle(input: &OwnedFd, idle: Duration, holds: &AtomicBool) {
    let touched = || fstat(input).map(|found| found.st_atime).unwrap_or_default();
    let (mut last, mut since) = (touched(), Instant::now());
    loop {
        std::thread::sleep(ROUND);
        let now = touched();
        if now != last || holds.load(Ordering::Acquire) {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() >= idle {
            return;
        }
    }
}

/// Replaces this process by a shell that has just begun.
fn begin_anew(past: Option<&OwnedFd>) -> io::Error {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("weir").args(env::args_os().skip(1));
    if let Some(number) = dial::number() {
        command.env(dial::KEEPER, number.to_string());
    }
    if let Some(past) = past
        && fcntl_setfd(past.as_fd(), FdFlags::empty()).is_ok()
    {
        command.env(past::KEPT, std::os::fd::AsRawFd::as_raw_fd(past).to_string());
    }
    command.exec()
}

/// Asks for the password until it is right; `false` if the terminal is gone.
pub(crate) fn unlock(
    socket: &Path,
    terminal: &Terminal,
    interrupts: &mut Interrupts,
) -> io::Result<bool> {
    loop {
        let password = match read(terminal, interrupts, "Password: ")? {
            Line::Typed(password) => password,
            Line::Cancelled => continue,
            Line::End => return Ok(false),
        };
        let request = SeatRequest::Login { password };
        match own::password(socket, request) {
            Ok(()) => return Ok(true),
            Err(text) => write(&format!("{text}\r\n"))?,
        }
    }
}

/// Changes the password.
pub(crate) fn change(
    socket: &Path,
    terminal: &Terminal,
    interrupts: &mut Interrupts,
) -> io::Result<Result<(), String>> {
    let seat = match own::seat(socket) {
        Ok(seat) => seat,
        Err(Refusal::Other(text)) => return Ok(Err(text)),
        Err(Refusal::Faults(found)) => return Ok(Err(found.to_string())),
    };
    let nothing = || Ok(Err("the password was not changed".into()));
    let old = if seat.password {
        match ask(terminal, interrupts, "Password until now: ")? {
            Some(old) => old,
            None => return nothing(),
        }
    } else {
        String::new()
    };
    let Some(new) = ask(terminal, interrupts, "New password (empty: none is asked for): ")? else {
        return nothing();
    };
    let Some(again) = ask(terminal, interrupts, "The same again: ")? else { return nothing() };
    if new != again {
        return Ok(Err("they differ: the password was not changed".into()));
    }
    let request = SeatRequest::Change { old, new };
    Ok(own::password(socket, request))
}

/// Reads a password; `None` if it is given up.
fn ask(
    terminal: &Terminal,
    interrupts: &mut Interrupts,
    prompt: &str,
) -> io::Result<Option<String>> {
    Ok(match read(terminal, interrupts, prompt)? {
        Line::Typed(text) => Some(text),
        Line::Cancelled | Line::End => None,
    })
}

/// Reads a line without showing it.
fn read(terminal: &Terminal, interrupts: &mut Interrupts, prompt: &str) -> io::Result<Line> {
    let silent = terminal.silent();
    let line = plain(terminal, interrupts, prompt);
    drop(silent);
    write("\r\n")?;
    line
}
