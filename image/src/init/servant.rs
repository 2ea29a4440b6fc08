//! A process without a terminal that is kept alive: what looks after the management port.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Pid;

use super::pace::Pace;

/// One such process.
#[derive(Debug)]
pub(super) struct Servant {
    words: &'static [&'static str],
    taken: Option<Pid>,
    pace: Pace,
}

impl Servant {
    /// `weir` with these words; it is not there yet.
    pub(super) fn new(words: &'static [&'static str]) -> Self {
        Self { words, taken: None, pace: Pace::new(Instant::now()) }
    }

    /// Starts it where it is not there.
    pub(super) fn step(&mut self, now: Instant, weir: &Path) {
        if self.taken.is_some() || !self.pace.is_over(now) {
            return;
        }
        self.pace.started(now);
        let started = Command::new(weir)
            .args(self.words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.taken = started.ok().and_then(|child| Pid::from_raw(child.id().cast_signed()));
        if self.taken.is_none() {
            self.pace.ended(now);
        }
    }

    /// A process has ended; whether it was this one.
    pub(super) fn ended(&mut self, pid: Pid, now: Instant) -> bool {
        let ours = self.taken == Some(pid);
        if ours {
            self.taken = None;
            self.pace.ended(now);
        }
        ours
    }
}
