//! `weir box`: what the console does to the appliance itself, as root. The shell has its keeper run
//! these; none of them does anything on a machine that weir has not started.

use std::io;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use rustix::process::{Pid, Signal, kill_process};

use crate::disk::data;
use crate::init::console;
use crate::terminal::agree;
use crate::{backup, boot_password, clock, install, network, setup, upgrade};

/// The command line behind `weir box`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write settings, rules and password as text, or to a stick
    Backup(backup::Arguments),
    /// Have the boot loader ask for the password whose hash is on standard input
    #[command(hide = true)]
    BootPassword,
    /// Show the clock, or set it
    Clock(clock::Arguments),
    /// Be somebody at a terminal; what init starts there
    #[command(hide = true)]
    Console(console::Arguments),
    /// Remove all settings, rules and logs, and start anew
    FactoryReset,
    /// Copy weir to another disk of this machine
    Install,
    /// Show how the management port is
    Management,
    /// Look after the management port; what init starts
    #[command(hide = true)]
    Network,
    /// Stop everything and switch the machine off
    Poweroff,
    /// Stop everything and start the machine anew
    Reboot,
    /// Stop weir and start it again: it goes by changed settings
    Restart,
    /// Take the settings of a backup, and start anew
    Restore(backup::RestoreArguments),
    /// Hold the dialogue of the first start
    Setup(setup::Arguments),
    /// Write another version of weir to the slot that is not in use
    Upgrade(upgrade::Arguments),
}

/// Does it.
pub fn main(arguments: &Arguments) -> ExitCode {
    let done = appliance().and_then(|()| match &arguments.verb {
        Verb::Backup(arguments) => backup::main(arguments),
        Verb::BootPassword => boot_password::main(),
        Verb::Clock(arguments) => clock::main(arguments),
        Verb::Console(arguments) => console::main(arguments),
        Verb::FactoryReset => reset(),
        Verb::Install => install::main(),
        Verb::Management => network::show(),
        Verb::Network => network::main(),
        Verb::Poweroff => tell(Signal::USR2),
        Verb::Reboot => tell(Signal::TERM),
        Verb::Restart => tell(Signal::HUP),
        Verb::Restore(arguments) => backup::restore(arguments).and_then(|()| tell(Signal::TERM)),
        Verb::Setup(arguments) => setup::main(arguments),
        Verb::Upgrade(arguments) => upgrade::main(arguments),
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

/// Removes everything that was set, at the next start, which is at once.
fn reset() -> io::Result<()> {
    if data::noted() != "disk" {
        return Err(io::Error::other(
            "the data partition is not in use: choose `factory reset` in the menu of the boot loader",
        ));
    }
    agree("Shall all settings, rules, logs and the password be removed, and the box restart?")?;
    data::ask_for_reset()?;
    tell(Signal::TERM)
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
