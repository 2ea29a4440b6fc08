//! `weir box`: what the console does to the appliance itself, as root. The shell has its keeper run
//! these; none of them does anything on a machine that weir has not started.

use std::fs;
use std::io;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use rustix::process::{Pid, Signal, kill_process};

/// The command line behind `weir box`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Stop everything and start the machine anew
    Reboot,
    /// Stop everything and switch the machine off
    Poweroff,
}

/// Does it.
pub fn main(arguments: &Arguments) -> ExitCode {
    let done = appliance().and_then(|()| match arguments.verb {
        Verb::Reboot => end(Signal::TERM),
        Verb::Poweroff => end(Signal::USR2),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Refuses on every machine whose first process is not `weir init`.
fn appliance() -> io::Result<()> {
    let first = fs::read("/proc/1/cmdline")?;
    let mut words = first.split(|&byte| byte == 0);
    if words.next().is_some_and(|name| name.ends_with(b"weir")) && words.next() == Some(b"init") {
        return Ok(());
    }
    Err(io::Error::other(
        "weir is not what this machine was started by: use the means of its operating system",
    ))
}

/// Asks the first process to end, by the signals of busybox's init.
fn end(signal: Signal) -> io::Result<()> {
    Ok(kill_process(Pid::INIT, signal)?)
}
