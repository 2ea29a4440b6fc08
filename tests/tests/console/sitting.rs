//! Somebody at a terminal: the real shell on a pseudo-terminal, its output read by a VT100.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};
use weir_tests::lab::{PATIENCE, binary};

/// What came out of the terminal so far.
struct Seen {
    screen: vt100::Parser,
    bytes: Vec<u8>,
    open: bool,
}

/// A shell with a terminal; both end with it.
pub(crate) struct Sitting {
    child: Child,
    keyboard: std::fs::File,
    /// Kept open, so that its settings can be looked at.
    terminal: std::os::fd::OwnedFd,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

/// How a shell is started.
pub(crate) struct Seat<'a> {
    pub(crate) term: &'a str,
    pub(crate) rows: u16,
    pub(crate) columns: u16,
    pub(crate) home: &'a Path,
}

impl Sitting {
    /// Starts `weir shell` for a socket.
    pub(crate) fn begin(seat: &Seat<'_>, socket: &Path) -> Self {
        let size = Winsize { ws_row: seat.rows, ws_col: seat.columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("a pseudo-terminal");
        let end = || pty.slave.try_clone().expect("a descriptor");
        // setsid gives it the terminal, so that Ctrl-C reaches it.
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(binary())
            .args(["shell", "--socket"])
            .arg(socket)
            .env("TERM", seat.term)
            .env("HOME", seat.home)
            .env_remove("COLUMNS")
            .env_remove("LINES")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("setsid");
        let screen = vt100::Parser::new(seat.rows, seat.columns, 0);
        let seen =
            Arc::new((Mutex::new(Seen { screen, bytes: Vec::new(), open: true }), Condvar::new()));
        let mut output = std::fs::File::from(pty.master.try_clone().expect("a descriptor"));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                let length = output.read(&mut chunk).unwrap_or(0);
                let mut seen = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                seen.screen.process(&chunk[..length]);
                seen.bytes.extend_from_slice(&chunk[..length]);
                seen.open = length > 0;
                shared.1.notify_all();
                if length == 0 {
                    return;
                }
            }
        });
        Self { child, keyboard: pty.master.into(), terminal: pty.slave, seen }
    }

    /// Types something.
    pub(crate) fn keys(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("the terminal is there");
    }

    /// Types a line.
    pub(crate) fn line(&mut self, text: &str) {
        self.keys(text);
        self.keys("\r");
    }

    /// Waits until the screen is as wanted, and returns it.
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let give_up = Instant::now() + PATIENCE;
        let mut seen = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let screen = seen.screen.screen().contents();
            if wanted(&screen) {
                return screen;
            }
            let left = give_up.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && seen.open, "{what}: not on this screen:\n{screen}");
            let waited = self.seen.1.wait_timeout(seen, left);
            seen = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a text on the screen.
    pub(crate) fn see(&self, text: &str) -> String {
        self.until(text, |screen| screen.contains(text))
    }

    /// Waits for the prompt in the last line that is not empty.
    pub(crate) fn prompt(&self) -> String {
        self.until("the prompt", |screen| {
            screen
                .lines()
                .rev()
                .find(|line| !line.trim().is_empty())
                .is_some_and(|line| line.trim_end() == "weir>")
        })
    }

    /// Where the cursor is: row and column, from 0.
    pub(crate) fn cursor(&self) -> (u16, u16) {
        let seen = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.screen.screen().cursor_position()
    }

    /// Everything that was written to the terminal.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.seen.0.lock().unwrap_or_else(PoisonError::into_inner).bytes.clone()
    }

    /// Whether the terminal echoes and knows lines, as programs expect it.
    pub(crate) fn is_calm(&self) -> bool {
        let settings = tcgetattr(self.terminal.as_fd()).expect("a terminal");
        settings.local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    /// The shell, which `setsid` has become, and its children: what of their command lines begins so.
    pub(crate) fn processes(&self, begin: &str) -> Vec<i32> {
        let first = self.child.id().cast_signed();
        std::iter::once(first)
            .chain(descendants(first))
            .filter(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                line.contains(begin)
            })
            .collect()
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> ExitStatus {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < give_up, "the shell does not end");
            std::thread::yield_now();
        }
    }
}

impl Drop for Sitting {
    fn drop(&mut self) {
        for pid in descendants(self.child.id().cast_signed()) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processes below one.
fn descendants(parent: i32) -> Vec<i32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let mut found = Vec::new();
    for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
        found.push(child);
        found.extend(descendants(child));
    }
    found
}
