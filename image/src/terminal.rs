//! The console as the verbs see it: questions, progress that a serial line can show, and bytes as they
//! are.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::upgrade::write::Progress;
use crate::upgrade::xmodem::Line;

/// The longest answer, in bytes.
const ANSWER: u64 = 256;

/// Asks a question and reads a line.
///
/// # Errors
/// When nobody answers.
pub(crate) fn ask(question: &str) -> io::Result<String> {
    let mut out = io::stdout().lock();
    write!(out, "{question} ")?;
    out.flush()?;
    let mut answer = String::new();
    if io::stdin().lock().take(ANSWER).read_line(&mut answer)? == 0 {
        return Err(io::Error::other("nobody answers: nothing was done"));
    }
    Ok(answer.trim().to_owned())
}

/// Asks a question that only `yes` agrees to.
///
/// # Errors
/// When the answer is another.
pub(crate) fn agree(question: &str) -> io::Result<()> {
    // Something that was pasted before may have left empty lines.
    for _ in 0..3 {
        match &*ask(&format!("{question} (yes or no)"))? {
            "yes" => return Ok(()),
            "" => {}
            _ => break,
        }
    }
    Err(io::Error::other("nothing was done"))
}

/// Percentages, on one line for each step.
#[derive(Debug, Default)]
pub(crate) struct Percent {
    shown: Option<(String, u64)>,
}

impl Progress for Percent {
    fn step(&mut self, what: &str, done: u64, all: u64) {
        let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100);
        let now = (what.to_owned(), percent);
        if self.shown.as_ref() == Some(&now) {
            return;
        }
        self.shown = Some(now);
        let mut out = io::stdout().lock();
        let end = if percent == 100 { "\n" } else { "" };
        // A console that is gone stops nothing.
        let _ = write!(out, "\r{what} {percent:3} %{end}").and_then(|()| out.flush());
    }
}

/// The modes of the terminal, until it is dropped.
#[derive(Debug)]
pub(crate) struct Modes {
    before: Option<Termios>,
}

impl Modes {
    /// Lines as before, but what is typed is not shown.
    ///
    /// # Errors
    /// When the terminal does not take it.
    pub(crate) fn silent() -> io::Result<Self> {
        Self::change(|modes| modes.local_modes.remove(LocalModes::ECHO))
    }

    /// Bytes as they are.
    ///
    /// # Errors
    /// When the terminal does not take it.
    pub(crate) fn raw() -> io::Result<Self> {
        Self::change(Termios::make_raw)
    }

    fn change(change: impl FnOnce(&mut Termios)) -> io::Result<Self> {
        if !io::stdin().is_terminal() {
            return Ok(Self { before: None });
        }
        let before = tcgetattr(io::stdin())?;
        let mut modes = before.clone();
        change(&mut modes);
        tcsetattr(io::stdin(), OptionalActions::Flush, &modes)?;
        Ok(Self { before: Some(before) })
    }
}

impl Drop for Modes {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, before);
        }
    }
}

/// The bytes of the terminal.
#[derive(Debug)]
pub(crate) struct Bytes {
    _raw: Modes,
    buffer: [u8; 4096],
    /// What of it was not taken yet.
    waiting: std::ops::Range<usize>,
}

impl Bytes {
    /// From now on.
    ///
    /// # Errors
    /// When the terminal does not take it.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { _raw: Modes::raw()?, buffer: [0; 4096], waiting: 0..0 })
    }
}

impl Line for Bytes {
    fn read(&mut self, patience: Duration) -> io::Result<Option<u8>> {
        if self.waiting.is_empty() {
            let stdin = io::stdin();
            let mut waited = [PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
            let patience = Timespec {
                tv_sec: patience.as_secs().cast_signed(),
                tv_nsec: i64::from(patience.subsec_nanos()),
            };
            if poll(&mut waited, Some(&patience))? == 0 {
                return Ok(None);
            }
            let length = rustix::io::read(&stdin, &mut self.buffer[..])?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.waiting = 0..length;
        }
        Ok(self.waiting.next().map(|at| self.buffer[at]))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }
}
