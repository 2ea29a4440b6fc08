//! The terminal that the shell sits at: what it can do, how large it is, and its settings, which are
//! the same after everything as they were before.

use std::env;
use std::io::{self, Stdin, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, isatty,
    tcgetattr, tcgetwinsize, tcsetattr,
};

/// What may be written to the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Text alone, no escape sequence ever (TERM=dumb, or none).
    Dumb,
    /// What a VT100 knows: cursor, erasing, reverse video; no colours, no private modes.
    Vt100,
    /// What today's emulators know.
    Full,
}

impl Manner {
    /// By the value of TERM.
    fn of(term: Option<&str>) -> Self {
        match term {
            None | Some("" | "dumb" | "unknown" | "emacs" | "cons25") => Self::Dumb,
            Some(name) if name.starts_with("vt") => Self::Vt100,
            Some(_) => Self::Full,
        }
    }
}

impl Manner {
    /// What makes an empty screen of any: the main one, plain letters, a cursor.
    pub(crate) const fn clean(self) -> &'static str {
        match self {
            Self::Dumb => "\r\n",
            Self::Vt100 => "\x1b[m\x1b[H\x1b[2J",
            Self::Full => "\x1b[?1049l\x1b[?25h\x1b[m\x1b[H\x1b[2J",
        }
    }
}

/// Columns and rows if the terminal does not say, as serial lines do not.
const SIZE: (u16, u16) = (80, 24);

/// The terminal on standard input and output.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// What it can do.
    pub(crate) manner: Manner,
    /// As it was when the shell began.
    before: Termios,
    /// As it is while the shell and its commands run: lines, echo, and no keys that suspend a command
    /// or kill the shell.
    calm: Termios,
    stdin: Stdin,
}

impl Terminal {
    /// `None` where standard input or output is none.
    pub(crate) fn find() -> Option<Self> {
        let stdin = io::stdin();
        if !isatty(&stdin) || !isatty(io::stdout()) {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut calm = before.clone();
        // Whatever a program before us has left behind.
        calm.input_modes.insert(InputModes::ICRNL);
        calm.output_modes.insert(OutputModes::OPOST | OutputModes::ONLCR);
        calm.local_modes
            .insert(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN);
        calm.special_codes[SpecialCodeIndex::VSUSP] = 0;
        calm.special_codes[SpecialCodeIndex::VQUIT] = 0;
        let manner = Manner::of(env::var("TERM").ok().as_deref());
        let found = Self { manner, before, calm, stdin };
        found.settle();
        Some(found)
    }

    /// Columns and rows.
    pub(crate) fn size(&self) -> (u16, u16) {
        let said = tcgetwinsize(&self.stdin).map(|size| (size.ws_col, size.ws_row));
        let set = |name: &str| env::var(name).ok()?.parse::<u16>().ok();
        let (columns, rows) = said.unwrap_or_default();
        let known = |size: u16, name: &str, usual: u16| match size {
            0 => set(name).filter(|&size| size > 0).unwrap_or(usual),
            size => size,
        };
        (known(columns, "COLUMNS", SIZE.0).max(20), known(rows, "LINES", SIZE.1).max(4))
    }

    /// Sets it to what commands expect, whatever the last one has left behind.
    pub(crate) fn settle(&self) {
        // A terminal that is gone has no settings.
        let _ = tcsetattr(&self.stdin, OptionalActions::Drain, &self.calm);
    }

    /// Puts away what a program that died has left on the screen.
    pub(crate) fn tidy(&self) {
        self.settle();
        let _ = write(self.manner.clean());
    }

    /// Every byte as it is typed, without echo, until the guard is dropped.
    pub(crate) fn raw(&self) -> Raw<'_> {
        self.unsettle();
        Raw(self)
    }

    /// As [`Terminal::raw`], for whoever holds its guard.
    pub(crate) fn unsettle(&self) {
        let mut raw = self.calm.clone();
        raw.make_raw();
        let _ = tcsetattr(&self.stdin, OptionalActions::Drain, &raw);
    }

    /// Lines without echo, until the guard is dropped; what was typed before and what nobody has read at
    /// its end are thrown away, so that a secret is never taken for something else.
    pub(crate) fn silent(&self) -> Silent<'_> {
        let mut silent = self.calm.clone();
        silent.local_modes.remove(rustix::termios::LocalModes::ECHO);
        let _ = tcsetattr(&self.stdin, OptionalActions::Flush, &silent);
        Silent(self)
    }

    /// As it was when the shell began, for those who replace the shell.
    pub(crate) fn settings(&self) -> Termios {
        self.before.clone()
    }

    /// Standard input.
    pub(crate) fn input(&self) -> BorrowedFd<'_> {
        self.stdin.as_fd()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.stdin, OptionalActions::Drain, &self.before);
    }
}

/// The terminal is not in its usual mode.
#[derive(Debug)]
pub(crate) struct Raw<'t>(&'t Terminal);

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        self.0.settle();
    }
}

/// The terminal does not echo.
#[derive(Debug)]
pub(crate) struct Silent<'t>(&'t Terminal);

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        let Self(terminal) = self;
        let _ = tcsetattr(&terminal.stdin, OptionalActions::Flush, &terminal.calm);
    }
}

/// Writes to the terminal at once.
pub(crate) fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Waits until one of some descriptors can be read or is at its end; tells which. Without a limit it
/// waits for ever.
pub(crate) fn wait<const N: usize>(
    on: [BorrowedFd<'_>; N],
    limit: Option<Duration>,
) -> io::Result<[bool; N]> {
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let mut polled = on.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut polled, left.as_ref()) {
            Ok(_) => return Ok(polled.map(|fd| !fd.revents().is_empty())),
            // A signal is nobody's key, and no time has passed by it.
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Manner;

    #[test]
    fn what_a_terminal_can_do_is_known_by_its_name() {
        for (term, manner) in [
            (None, Manner::Dumb),
            (Some("dumb"), Manner::Dumb),
            (Some("vt100"), Manner::Vt100),
            (Some("vt220"), Manner::Vt100),
            (Some("linux"), Manner::Full),
            (Some("tmux-256color"), Manner::Full),
        ] {
            assert_eq!(Manner::of(term), manner, "{term:?}");
        }
    }
}
