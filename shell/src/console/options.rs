//! The command line of `weir shell`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::keeper;
use crate::protocol::SOCKET;

/// How to call it.
pub(super) const USAGE: &str = "\
usage: weir shell [--socket PATH] [--history FILE] [COMMAND ...]
  COMMAND          do this one command, and leave with its exit status
  --socket PATH    where the daemon listens, /run/weir/weir.sock if not given
  --history FILE   where lines are kept, ~/.weir_history if not given; '' keeps none
Without a command the shell reads commands from the terminal, or from standard input, where the
first one that fails ends it with its exit status. `help` explains them.
";

/// What is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The shell.
    Run(Options),
    /// Its other half.
    Keep(PathBuf),
    /// An explanation.
    Help,
}

/// How the shell runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// The daemon's socket.
    pub(super) socket: PathBuf,
    /// Where lines are kept; empty is nowhere.
    pub(super) history: Option<PathBuf>,
    /// The one command.
    pub(super) command: Vec<String>,
}

/// Reads the arguments behind `weir shell`.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Wish, String> {
    let mut arguments = arguments.into_iter();
    let mut options = Options { socket: SOCKET.into(), history: None, command: Vec::new() };
    while let Some(argument) = arguments.next() {
        let (name, given) = match argument.to_str() {
            Some(text) if text.starts_with("--") => match text.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.into())),
                None => (text.to_owned(), None),
            },
            _ => (String::new(), None),
        };
        let mut value = || {
            let value: Option<OsString> = given.clone().or_else(|| arguments.next());
            value.map(PathBuf::from).ok_or_else(|| format!("{name} needs a path"))
        };
        match &*name {
            "--socket" => options.socket = value()?,
            "--history" => options.history = Some(value()?),
            "--help" => return Ok(Wish::Help),
            keeper::ARGUMENT => return Ok(Wish::Keep(value()?)),
            _ if argument == "-h" => return Ok(Wish::Help),
            "" => {
                let words = std::iter::once(argument).chain(arguments.by_ref());
                for word in words {
                    let word = word.into_string();
                    let word = word.map_err(|word| format!("{} is not UTF-8", word.display()))?;
                    options.command.push(word);
                }
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(Wish::Run(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Wish, String> {
        parse(line.split(' ').filter(|word| !word.is_empty()).map(Into::into))
    }

    #[test]
    fn options_come_before_the_command() {
        let Ok(Wish::Run(options)) = read("--socket=/s --history /h show --x") else {
            panic!("options")
        };
        assert_eq!((options.socket, options.history), ("/s".into(), Some("/h".into())));
        assert_eq!(options.command, ["show", "--x"]);
        let Ok(Wish::Run(options)) = read("-ss") else { panic!("pfctl's flags") };
        assert_eq!(options.command, ["-ss"]);
        assert_eq!(read("--keeper /s"), Ok(Wish::Keep("/s".into())));
        assert_eq!(read("--help"), Ok(Wish::Help));
        assert!(read("--socket").is_err() && read("--sock x").is_err());
    }
}
