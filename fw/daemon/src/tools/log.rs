//! `weir log`: what the running firewall has logged, and what it logs.

use std::io;
use std::net::Shutdown;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use weir_shell::log::{begin, print};
use weir_shell::protocol::{Follow, SOCKET};

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
    /// At most so many of the lines that are remembered (the last 1000)
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
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // `weir log | head` is no mistake.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir log: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let &Arguments { follow, last, json, ref socket, ref filter } = arguments;
    let mut lines = begin(socket, Follow { follow, last, filter: filter.join(" ") })?;
    let stream = lines.stream().try_clone()?;
    let enough = Arc::new(AtomicBool::new(false));
    let said = Arc::clone(&enough);
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("weir-signals".into()).spawn(move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            said.store(true, Ordering::Release);
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
        if signals.next().is_some() {
            std::process::exit(130);
        }
    })?;
    match print(&mut lines, json, &mut io::stdout().lock()) {
        Err(error)
            if error.kind() == io::ErrorKind::UnexpectedEof && enough.load(Ordering::Acquire) =>
        {
            Ok(())
        }
        printed => printed,
    }
}
