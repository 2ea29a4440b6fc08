//! `weir box`: what the console does to the appliance itself, as root. The shell has its keeper run
//! these; none of them does anything on a machine that weir has not started.

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
    /// Stop weir and start it again: it goes by changed settings
    Restart,
}

/// Does it.
pub fn main(arguments: &Arguments) -> ExitCode {
    let done = appliance().and_then(|()| match arguments.verb {
        Verb::Reboot => tell(Signal::TERM),
        Verb::Poweroff => tell(Signal::USR2),
        Verb::Restart => tell(Signal::HUP),
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
    if weir_shell::appliance::is_one() {
        return Ok(());
    }
    Err(io::Error::other(
        "weir is not what this machine was started by: use the means of its operating system",
    ))
}

/// Tells the first process, by the signals of busybox's init.
fn tell(signal: Signal) -> io::Result<()> {
    Ok(kill_process(Pid::INIT, signal)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_done_to_a_machine_that_weir_has_not_started() {
        let refusal = appliance().unwrap_err().to_string();
        assert!(refusal.starts_with("weir is not what this machine was started by"), "{refusal}");
    }
}
