//! `weir shell`: the console's face.
//!
//! One table of commands (`tree`) says what can be typed; lines are understood (`resolve`), completed
//! and hinted (`complete`, with names that the daemon knows: `seen`) and explained (`help`) by it. A
//! command is a subcommand of `weir` in a process of its own (`child`), shown by a pager (`pager`), or
//! something that the shell does itself. Before the first line the shell gives up all privileges
//! (`keeper`); it speaks only the control protocol.

mod act;
mod child;
mod complete;
mod criteria;
mod desk;
mod editor;
mod help;
mod keeper;
pub(crate) mod keys;
mod lock;
mod options;
mod own;
mod pager;
mod past;
mod pattern;
mod prompt;
mod question;
mod resolve;
mod seen;
mod session;
mod spool;
pub(crate) mod terminal;
mod tree;
mod words;

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::termios::isatty;

use self::options::{Options, Wish};
use self::past::Past;
use self::session::Session;
pub(crate) use self::terminal::wait;

/// Runs the shell; `arguments` are those behind `weir shell`.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match options::parse(arguments) {
        Ok(Wish::Run(options)) => options,
        Ok(Wish::Keep(socket)) => return keeper::main(&socket),
        Ok(Wish::Help) => {
            print!("{}", options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(text) => {
            eprintln!("weir shell: {text}\n{}", options::USAGE.trim_end());
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir shell: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> io::Result<ExitCode> {
    let terminal = if options.command.is_empty() { terminal::Terminal::find() } else { None };
    // What a person types is no script, wherever its output goes.
    if options.command.is_empty() && terminal.is_none() && isatty(io::stdin()) {
        let text = "commands are typed at a terminal, but what they show goes elsewhere: name one \
                    command, as in `weir shell show states`";
        return Err(io::Error::other(text));
    }
    // Opened with the rights of whoever has started the shell, the last thing that is.
    let (past, complaint) = match terminal.as_ref().and(history_file(&options)) {
        None => (Past::default(), None),
        Some(path) => match Past::inherited().transpose().unwrap_or_else(|| Past::open(&path)) {
            Ok(past) => (past, None),
            Err(error) => {
                let text = format!("what is typed will not be kept: {}: {error}", path.display());
                (Past::default(), Some(text))
            }
        },
    };
    let keeper = keeper::part(&options.socket)?;
    let starter = child::Starter { socket: options.socket, keeper };
    let mut session = Session::new(starter, terminal, past)?;
    if let Some(text) = complaint {
        session::complain(&text);
    }
    if options.command.is_empty() { session.serve() } else { session.once(&options.command) }
}

/// Where typed lines are kept.
fn history_file(options: &Options) -> Option<PathBuf> {
    match &options.history {
        Some(path) if path.as_os_str().is_empty() => None,
        Some(path) => Some(path.clone()),
        None => {
            let home = env::home_dir().filter(|home| home.is_absolute() && home.is_dir())?;
            Some(home.join(".weir_history"))
        }
    }
}
