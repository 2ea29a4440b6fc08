//! The lock of the console: the password that the daemon knows, asked for at the start, by `lock`, and
//! when nobody has touched a key for as long as the settings say.
//!
//! Whoever walks away may leave the shell anywhere: at the prompt, in a listing, in a live view. So
//! the guard is a thread that watches when the terminal was last read from, and what it does is to
//! replace the whole process by a shell that has just begun: locked, with nothing left of the old one
//! but its lines. Only the editor, which has a text to lose, locks itself.

use std::env;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::fstat;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{OptionalActions, tcsetattr};

use super::child::Interrupts;
use super::own::Daemon;
use super::past;
use super::prompt::{Line, plain};
use super::terminal::{Terminal, write};
use crate::dial::{self, Left};
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
    /// Seconds that nobody may touch a key; 0: any number.
    idle: Arc<AtomicU32>,
}

/// The lock.
#[derive(Debug)]
pub(crate) struct Lock {
    pub(crate) watched: Watched,
    /// What the daemon has said when it could be asked last.
    seat: Option<Seat>,
    /// The kept lines, for a shell that begins anew.
    past: Option<Left>,
    /// The guard watches.
    guarded: bool,
}

impl Lock {
    /// Open until the daemon can be asked.
    pub(crate) const fn new(watched: Watched, past: Option<Left>) -> Self {
        Self { watched, seat: None, past, guarded: false }
    }

    /// Makes sure that whoever sits here may; `false` if the terminal is gone. Whoever was let in before
    /// the password was set, or another one was, is asked for it. While the daemon cannot be asked nobody
    /// new is known ([`Lock::knows`]).
    pub(crate) fn check(
        &mut self,
        daemon: &Daemon,
        terminal: &Terminal,
        interrupts: &Interrupts,
    ) -> io::Result<bool> {
        let Ok(seat) = daemon.seat() else { return Ok(true) };
        let trusted = self.seat.as_ref().is_some_and(|known| known.version == seat.version);
        if seat.password && !trusted && !unlock(daemon, terminal, interrupts)? {
            return Ok(false);
        }
        self.learn(seat, terminal)?;
        Ok(true)
    }

    /// Whether it is known that whoever sits here may.
    pub(crate) const fn knows(&self) -> bool {
        self.seat.is_some()
    }

    /// Learns what was just changed; whoever changed it may stay.
    pub(crate) fn renew(&mut self, daemon: &Daemon, terminal: &Terminal) -> io::Result<()> {
        daemon.seat().map_or(Ok(()), |seat| self.learn(seat, terminal))
    }

    fn learn(&mut self, seat: Seat, terminal: &Terminal) -> io::Result<()> {
        let idle = if seat.password { seat.idle } else { 0 };
        self.watched.idle.store(idle, Ordering::Release);
        self.seat = Some(seat);
        if idle > 0 && !self.guarded {
            self.guard(terminal)?;
            self.guarded = true;
        }
        Ok(())
    }

    /// Forgets who sits here.
    pub(crate) fn close(&mut self) {
        self.seat = None;
    }

    /// How long nobody may touch a key.
    pub(crate) fn idle(&self) -> Option<Duration> {
        let idle = self.watched.idle.load(Ordering::Acquire);
        (idle > 0).then(|| Duration::from_secs(idle.into()))
    }

    /// Starts the guard.
    fn guard(&mut self, terminal: &Terminal) -> io::Result<()> {
        let input = terminal.input().try_clone_to_owned()?;
        let past = self.past.take();
        let (watched, manner, before) =
            (self.watched.clone(), terminal.manner, terminal.settings());
        let watch = move || {
            wait_until_idle(&input, &watched);
            let child = watched.child.load(Ordering::Acquire);
            if let Some(pid) = Pid::from_raw(child).filter(|_| child > 0) {
                let _ = kill_process(pid, Signal::KILL);
            }
            let _ = tcsetattr(&input, OptionalActions::Flush, &before);
            let _ = write(manner.clean());
            // Never back here, unless the kernel has no memory for it: then nobody stays.
            let error = begin_anew(past.as_ref());
            eprintln!("weir shell: {error}");
            std::process::exit(1);
        };
        std::thread::Builder::new().name("weir-guard".into()).spawn(watch)?;
        Ok(())
    }
}

/// Returns when nothing was read from a terminal for a time. The kernel says when it last was, to eight
/// seconds (`tty_update_time`).
fn wait_until_idle(input: &OwnedFd, watched: &Watched) {
    let touched = || fstat(input).map(|found| found.st_atime).unwrap_or_default();
    let (mut last, mut since) = (touched(), Instant::now());
    loop {
        std::thread::sleep(ROUND);
        let now = touched();
        let idle = watched.idle.load(Ordering::Acquire);
        if now != last || idle == 0 || watched.holds.load(Ordering::Acquire) {
            (last, since) = (now, Instant::now());
        }
        if idle > 0 && since.elapsed() >= Duration::from_secs(idle.into()) {
            return;
        }
    }
}

/// Replaces this process by a shell that has just begun.
fn begin_anew(past: Option<&Left>) -> io::Error {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("weir").args(env::args_os().skip(1));
    if let Some(number) = dial::number() {
        command.env(dial::KEEPER, number.to_string());
    }
    if let Some(Left { descriptor, number }) = past
        && (descriptor.as_raw_fd() != *number || fcntl_setfd(descriptor, FdFlags::empty()).is_ok())
    {
        command.env(past::KEPT, number.to_string());
    }
    command.exec()
}

/// Asks for the password until it is right; `false` if the terminal is gone.
pub(crate) fn unlock(
    daemon: &Daemon,
    terminal: &Terminal,
    interrupts: &Interrupts,
) -> io::Result<bool> {
    // To the end: what is typed while a password is looked at is one, too.
    let _silent = terminal.silent();
    loop {
        let password = match read(terminal, interrupts, "Password: ")? {
            Line::Typed(password) => password,
            Line::Cancelled => continue,
            Line::End => return Ok(false),
        };
        let request = SeatRequest::Login { password };
        match daemon.password(request) {
            Ok(()) => return Ok(true),
            Err(text) => write(&format!("{text}\r\n"))?,
        }
    }
}

/// Changes the password; tells the one from now on.
pub(crate) fn change(
    daemon: &Daemon,
    terminal: &Terminal,
    interrupts: &Interrupts,
) -> io::Result<Result<String, String>> {
    let seat = match daemon.seat() {
        Ok(seat) => seat,
        Err(refusal) => return Ok(Err(refusal.to_string())),
    };
    let nothing = || Ok(Err("the password was not changed".into()));
    let _silent = terminal.silent();
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
    let request = SeatRequest::Change { old, new: new.clone() };
    Ok(daemon.password(request).map(|()| new))
}

/// Reads a password; `None` if it is given up.
fn ask(terminal: &Terminal, interrupts: &Interrupts, prompt: &str) -> io::Result<Option<String>> {
    Ok(match read(terminal, interrupts, prompt)? {
        Line::Typed(text) => Some(text),
        Line::Cancelled | Line::End => None,
    })
}

/// Reads a line that nobody sees, and ends it.
fn read(terminal: &Terminal, interrupts: &Interrupts, prompt: &str) -> io::Result<Line> {
    let line = plain(terminal, interrupts, prompt);
    write("\r\n")?;
    line
}
