//! Commands that are subcommands of `weir`: each runs in a process of its own, so that whatever
//! becomes of it, the shell and its terminal stay as they were.
//!
//! The process is in the shell's process group: Ctrl-C ends it and only interrupts the shell.

use std::io::{self, Read, pipe};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTSTP};

use super::pager::{Flow, Pager};
use super::spool::{Spool, Taken};
use super::terminal::{Terminal, wait, write};
use crate::dial;

/// How long an interrupted command may take to end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How commands are started.
#[derive(Debug)]
pub(crate) struct Starter {
    /// The daemon's socket.
    pub(crate) socket: PathBuf,
    /// The descriptor of the keeper.
    pub(crate) keeper: Option<i32>,
}

impl Starter {
    /// `weir` with these arguments.
    pub(crate) fn weir(&self, arguments: &[String]) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("weir").args(arguments).stdin(Stdio::null());
        if let Some(number) = self.keeper {
            command.env(dial::KEEPER, number.to_string());
        }
        command
    }
}

/// Keeps the interrupts of the shell: Ctrl-C while no line is read.
#[derive(Debug)]
pub(crate) struct Interrupts(UnixStream);

impl Interrupts {
    /// From now on SIGINT ends nothing, and SIGTSTP leads past no lock.
    pub(crate) fn catch() -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(SIGINT, theirs)?;
        signal_hook::flag::register(SIGTSTP, Arc::default())?;
        Ok(Self(ours))
    }

    /// Whether there was one since it was last asked.
    pub(crate) fn take(&self) -> bool {
        let mut some = false;
        while matches!((&self.0).read(&mut [0; 64]), Ok(1..)) {
            some = true;
        }
        some
    }

    /// What can be waited for.
    pub(crate) fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Runs a command and shows what it writes, a page at a time if `stops`. `None` if it was interrupted,
/// or its reader has seen enough.
pub(crate) fn show(
    mut command: Command,
    terminal: &Terminal,
    interrupts: &Interrupts,
    watched: &AtomicI32,
    stops: bool,
) -> io::Result<Option<ExitStatus>> {
    let (output, theirs) = pipe()?;
    command.stdout(theirs.try_clone()?).stderr(theirs);
    interrupts.take();
    let mut child = command.spawn()?;
    watched.store(child.id().cast_signed(), Ordering::Release);
    // It holds the writing ends.
    drop(command);
    let mut stopped = false;
    let spool = Spool::start(output, stops);
    let flow = spool.and_then(|spool| copy(&spool, terminal, interrupts, stops, &mut stopped));
    let ended = match flow {
        Ok(Flow::More) => child.wait().map(|status| (!stopped).then_some(status)),
        Ok(Flow::Enough) => end(&mut child).map(|()| None),
        Err(error) => end(&mut child).and(Err(error)),
    };
    watched.store(0, Ordering::Release);
    terminal.settle();
    ended
}

/// Runs a command that has the terminal to itself.
pub(crate) fn lend(
    mut command: Command,
    terminal: &Terminal,
    interrupts: &Interrupts,
    watched: &AtomicI32,
) -> io::Result<ExitStatus> {
    let mut child = command.stdin(Stdio::inherit()).spawn()?;
    watched.store(child.id().cast_signed(), Ordering::Release);
    let status = child.wait();
    watched.store(0, Ordering::Release);
    interrupts.take();
    match &status {
        Ok(status) if status.signal().is_none() => terminal.settle(),
        _ => terminal.tidy(),
    }
    status
}

/// Has the keeper run a verb of `weir box` that has the terminal to itself; meanwhile the guard sleeps,
/// since the shell could not end it. `None` if a signal has ended it.
pub(crate) fn lend_as_root(
    keeper: BorrowedFd<'_>,
    words: &[String],
    terminal: &Terminal,
    interrupts: &Interrupts,
    holds: &AtomicBool,
) -> io::Result<Option<i32>> {
    holds.store(true, Ordering::Release);
    let ended = run_as_root(keeper, words);
    holds.store(false, Ordering::Release);
    interrupts.take();
    match &ended {
        Ok(Some(_)) => terminal.settle(),
        _ => terminal.tidy(),
    }
    ended
}

/// Has the keeper run a verb of `weir box` with our standard streams. `None` if a signal has ended it.
pub(crate) fn run_as_root(keeper: BorrowedFd<'_>, words: &[String]) -> io::Result<Option<i32>> {
    let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
    dial::run(keeper, words, [input.as_fd(), output.as_fd(), errors.as_fd()])
}

fn copy(
    output: &Spool,
    terminal: &Terminal,
    interrupts: &Interrupts,
    stops: bool,
    stopped: &mut bool,
) -> io::Result<Flow> {
    let mut pager = Pager::new(terminal, stops);
    let mut deadline: Option<Instant> = None;
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(Flow::Enough);
        }
        let on = [output.descriptor(), interrupts.descriptor()];
        let [readable, interrupted] = wait(on, left)?;
        if interrupted && interrupts.take() {
            if stops {
                write("^C\r\n")?;
                return Ok(Flow::Enough);
            }
            *stopped = true;
            // What it has to say at its end is shown, for a while.
            deadline.get_or_insert_with(|| Instant::now() + LAST_WORDS);
        }
        if !readable {
            continue;
        }
        let Taken { bytes, ended, cut } = output.take();
        let flow = pager.feed(&bytes)?;
        if flow == Flow::Enough {
            return Ok(flow);
        }
        if ended {
            let flow = pager.finish()?;
            if cut {
                write("(there is more than a screen is made for: ask for less)\r\n")?;
            }
            return Ok(flow);
        }
    }
}

/// Ends a process that nobody listens to any more.
fn end(child: &mut Child) -> io::Result<()> {
    if child.try_wait()?.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}
