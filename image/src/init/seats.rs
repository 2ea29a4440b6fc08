//! The consoles: on each terminal somebody is met again when the last has left.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::console::Role;

/// Whoever left after so long left on purpose.
const VISIT: Duration = Duration::from_secs(2);

/// The pause after a visit that was shorter: the first, doubled each time, and the longest.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The console on one terminal.
#[derive(Debug)]
struct Seat {
    terminal: PathBuf,
    taken: Option<(Pid, Role)>,
    since: Instant,
    /// Short visits in a row.
    short: u32,
    /// Nobody is met before.
    until: Option<Instant>,
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
            since: now,
            short: 0,
            until: None,
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
                Some(_) => {}
                None if seat.until.is_some_and(|until| now < until) => {}
                None => seat.fill(now, role, weir),
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
        seat.leave(now);
        true
    }

    /// Whether somebody is met anywhere.
    pub(super) fn any(&self) -> bool {
        self.0.iter().any(|seat| seat.taken.is_some())
    }
}

impl Seat {
    fn fill(&mut self, now: Instant, role: Role, weir: &Path) {
        self.since = now;
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
            self.leave(now);
        }
    }

    fn leave(&mut self, now: Instant) {
        self.short = if now.duration_since(self.since) < VISIT { self.short + 1 } else { 0 };
        let pause = match self.short.checked_sub(1) {
            None => Duration::ZERO,
            Some(doubled) => PAUSE.saturating_mul(1 << doubled.min(10)).min(LONGEST_PAUSE),
        };
        self.until = Some(now + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_is_not_there_is_tried_less_and_less_often() {
        let mut seats = Seats::new(&["/dev/null".into()]);
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let seat = &mut seats.0[0];
            seat.since = now;
            seat.leave(now);
            pauses.push(seat.until.expect("a pause") - now);
            now = seat.until.expect("a pause");
        }
        assert_eq!((pauses[0], pauses[1]), (PAUSE, PAUSE * 2));
        assert_eq!(pauses.last(), Some(&LONGEST_PAUSE));
        let seat = &mut seats.0[0];
        seat.since = now;
        seat.leave(now + VISIT);
        assert_eq!((seat.until, seat.short), (Some(now + VISIT), 0), "at once");
    }
}
