//! The command line of the one binary.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::ports::list;
use crate::tools::{capture, changes, check, explain, log, test};
use crate::{bench, replay, run};

/// A transparent bridge firewall.
#[derive(Debug, Parser)]
#[command(name = "weir", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bridge and filter two network interfaces, in the foreground
    Run(run::Arguments),
    /// Control a running weir with pfctl's flags; also as `weirctl`
    #[command(disable_help_flag = true)]
    Ctl(Rest),
    /// List, show and compare the rule sets that were in force: list, show [N [FILE]], diff [A [B]]
    History(changes::Arguments),
    /// Put rules in force: [confirmed [TIME]] [force] [FILE] [comment ...]
    Commit(changes::Arguments),
    /// Keep what was committed until it is confirmed
    Confirm(changes::Arguments),
    /// Go back: [N] [confirmed [TIME]] [force] [comment ...]
    Rollback(changes::Arguments),
    /// Check rule files: errors, and warnings of traps
    Check(check::Arguments),
    /// Walk a packet through the rules and tell why it passes or not
    Explain(explain::Arguments),
    /// Test a rule file against lists of cases
    Test(test::Arguments),
    /// Send packets of capture files through the firewall, in their own time
    Replay(replay::Arguments),
    /// Measure the worker loop in memory
    Bench(bench::Arguments),
    /// List network interfaces and recommend which two to bridge
    Nics(list::Arguments),
    /// The interactive shell: commands in words, completion, help
    #[command(disable_help_flag = true)]
    Shell(Rest),
    /// Capture packets of the running firewall, with their verdicts
    Capture(capture::Arguments),
    /// Print what the running firewall has logged, and follow what it logs
    Log(log::Arguments),
    /// What the bridge does at the moment: rates, states, hosts, rules, drops
    #[command(disable_help_flag = true)]
    Top(Rest),
    /// The first process of the appliance
    #[command(hide = true)]
    Init,
    /// Act on the appliance itself; the console's shell has these as commands
    #[command(hide = true)]
    Box(weir_image::verbs::Arguments),
}

/// Arguments that clap leaves alone.
#[derive(Debug, clap::Args)]
struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    arguments: Vec<OsString>,
}

/// Runs the binary with the arguments of the process, the program's own name first. The name
/// `weirctl` stands for `weir ctl`.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    if name.is_some_and(|name| name == "weirctl") {
        return weir_shell::ctl::main(arguments.drain(1..));
    }
    let matches = Cli::command().get_matches_from(arguments);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cli.command {
        Command::Run(arguments) => run::main(arguments),
        Command::Ctl(rest) => weir_shell::ctl::main(rest.arguments),
        Command::Explain(arguments) => explain::main(&arguments),
        Command::Test(arguments) => test::main(&arguments),
        Command::Bench(arguments) => bench::main(&arguments),
        Command::Check(arguments) => check::main(&arguments),
        Command::History(arguments) => changes::main("history", &arguments),
        Command::Commit(arguments) => changes::main("commit", &arguments),
        Command::Confirm(arguments) => changes::main("confirm", &arguments),
        Command::Rollback(arguments) => changes::main("rollback", &arguments),
        Command::Nics(arguments) => list::main(&arguments),
        Command::Replay(arguments) => replay::main(&arguments),
        Command::Capture(arguments) => capture::main(&arguments),
        Command::Shell(rest) => weir_shell::console::main(rest.arguments),
        Command::Log(arguments) => log::main(&arguments),
        Command::Top(rest) => weir_shell::top::main(rest.arguments),
        Command::Init => weir_image::init::main(),
        Command::Box(arguments) => weir_image::verbs::main(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
