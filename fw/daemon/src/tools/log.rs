//! `weir log`: what the running firewall has logged, and what it logs.

use std::io;
use std::net::Shutdown;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use weir_shell::log::{begin, print};
use weir_shell::protocol::{Follow, SOCKET};

use super::following::{end, end_on_signals};

/// Arguments of `weir log`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A filter is any of: packets, events, pass, block, match, rule NUMBER, label NAME, reason NAME, name NAME,
severity NAME (and graver), then the criteria of a rule:
  weir log -f block in on wan proto tcp to port 22
  weir log -n 20 events severity warning
  weir log rule 3.webfarm.0")]
pub struct Arguments {
    /// And what comes, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// At most so many of the lines that are remembered: 1000 of packets, 1000 others
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<u64>,
    /// A JSON object a line
    #[arg(long)]
    json: bool,
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
    /// Which lines; quoted or not
    #[arg(value_name = "FILTER", trailing_var_arg = true, allow_hyphen_values = true)]
    filter: Vec<String>,
}

/// Runs the command.
pub fn main(arguments: &Arguments) -> ExitCode {
    end("log", run(arguments))
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let &Arguments { follow, last, json, ref socket, ref filter } = arguments;
    let mut lines = begin(socket, Follow { follow, last, filter: filter.join(" ") })?;
    let interrupted = end_on_signals(lines.stream().try_clone()?, Shutdown::Both)?;
    match print(&mut lines, json, &mut io::stdout().lock()) {
        Err(error)
            if error.kind() == io::ErrorKind::UnexpectedEof
                && interrupted.load(Ordering::Acquire) =>
        {
            Ok(())
        }
        printed => printed,
    }
}
