//! The consoles: on each terminal somebody is met again when the last has left.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process_group};

use super::console::Role;
use super::pace::Pace;

/// The console on one terminal.
#[derive(Debug)]
struct Seat {
    terminal: PathBuf,
    taken: Option<(Pid, Role)>,
    pace: Pace,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Seats(Vec<Seat>);

impl Seats {
    /// On these terminals; nobody is there yet.
    pub(super) fn new(terminals: &[PathBuf]) -> Self {
        let now = Instant::now();
        let seat = |terminal: &PathBuf| Seat {
            terminal: terminal.clone(),
            taken: None,
            pace: Pace::new(now),
        };
        Self(terminals.iter().map(seat).collect())
    }

    /// Starts whoever is to be met where nobody is, and sends those home who are not to be met any more.
    pub(super) fn step(&mut self, now: Instant, role: Role, weir: &Path) {
        for seat in &mut self.0 {
            match seat.taken {
                Some((pid, other)) if other != role => {
                    // Its group is its session's first, and has what it has started on the terminal.
                    let _ = kill_process_group(pid, Signal::HUP);
                }
                None if seat.pace.is_over(now) => seat.fill(now, role, weir),
                Some(_) | None => {}
            }
        }
    }

    /// A process has ended; whether it was one of ours.
    pub(super) fn ended(&mut self, pid: Pid, now: Instant) -> bool {
        let Some(seat) =
            self.0.iter_mut().find(|seat| seat.taken.is_some_and(|(taken, _)| taken == pid))
        else {
            return false;
        };
        seat.taken = None;
        seat.pace.ended(now);
        true
    }

    /// Whether somebody is met anywhere.
    pub(super) fn any(&self) -> bool {
        self.0.iter().any(|seat| seat.taken.is_some())
    }
}

impl Seat {
    fn fill(&mut self, now: Instant, role: Role, weir: &Path) {
        self.pace.started(now);
        let started = Command::new(weir)
            .args(["box", "console"])
            .arg(&self.terminal)
            .arg(role.word())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.taken = started
            .ok()
            .and_then(|child| Pid::from_raw(child.id().cast_signed()))
            .map(|pid| (pid, role));
        if self.taken.is_none() {
            self.pace.ended(now);
        }
    }
}
