//! `weir history`, `weir commit`, `weir confirm` and `weir rollback`: the words go to the client side
//! of the control protocol, as they do in the interactive shell.

use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use weir_shell::changes::{Action, Failure, Operator};
use weir_shell::protocol::SOCKET;

/// The command line.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// See weir(8)
    #[arg(value_name = "WORD")]
    words: Vec<String>,
    /// Where the daemon listens
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
    /// Print listings as JSON
    #[arg(long)]
    json: bool,
    /// Also if too many live connections are cut; the word force says the same
    #[arg(long)]
    force: bool,
    /// Define a macro for a rule file that is read, as `weir ctl -D` does
    #[arg(short = 'D', value_name = "NAME=VALUE")]
    macros: Vec<String>,
}

/// Runs the subcommand of that name: 0 if it was done, 1 if not, 2 if it makes no sense.
pub fn main(name: &str, arguments: &Arguments) -> ExitCode {
    let mut words: Vec<&str> = arguments.words.iter().map(String::as_str).collect();
    if arguments.force {
        words.insert(0, "force");
    }
    let action = match name {
        "history" => Action::history(&words),
        "commit" => Action::commit(&words),
        "confirm" => Action::confirm(&words),
        _ => Action::rollback(&words),
    };
    let action = match action {
        Ok(action) => action,
        Err(text) => {
            eprintln!("weir {name}: {text}");
            return ExitCode::from(2);
        }
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let done = Operator::connect(&arguments.socket, &mut out, arguments.json, &arguments.macros)
        .map_err(Failure::from)
        .and_then(|mut operator| operator.run(&action));
    match done.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        // `weir history | head`
        Err(Failure::Error(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Diagnostics(diagnostics)) => {
            eprint!("{diagnostics}");
            if io::stderr().is_terminal() {
                diagnostics.iter().for_each(|one| eprintln!("{}", one.underlined()));
            }
            ExitCode::FAILURE
        }
        Err(failure) => {
            eprintln!("weir {name}: {failure}");
            ExitCode::FAILURE
        }
    }
}
