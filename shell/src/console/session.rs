//! One sitting at the console: lines in, commands done.

mod acts;

use std::io::{self, BufReader, Stdin, Write};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Instant;

use super::act;
use super::child::{self, Interrupts, Starter};
use super::complete::Assistant;
use super::help;
use super::lock::{Lock, Watched};
use super::own::Daemon;
use super::past::Past;
use super::prompt::{self, Edited, Line};
use super::question;
use super::resolve::{Resolved, resolve};
use super::seen::Seen;
use super::terminal::{Manner, Terminal, write};
use super::tree::{Action, Own, Tree};
use super::words::{Typed, Unclosed};
use crate::dial;
use crate::options::{Options, Refusal};

/// Names that a line of pfctl's flags may begin with.
const PFCTL: [&str; 3] = ["pfctl", "weirctl", "ctl"];

/// Why a command has to wait.
const UNKNOWN: &str =
    "weir cannot be asked whether a password is needed: only `help` and `exit` work until it can";

/// What is wrong with a line that ends inside of a quotation.
const UNCLOSED: &str = "a quotation mark is not closed";

/// How a command went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// Well.
    Well,
    /// Badly; its exit status.
    Badly(u8),
    /// It ends the shell.
    Exit,
}

/// The shell at work.
pub(super) struct Session {
    starter: Starter,
    daemon: Daemon,
    past: Past,
    console: Option<Console>,
}

/// A person at a terminal.
struct Console {
    terminal: Terminal,
    interrupts: Interrupts,
    /// `None` where the terminal has no cursor.
    edited: Option<Edited>,
    lock: Lock,
}

impl Session {
    /// Without a terminal it does as a script says.
    pub(super) fn new(
        starter: Starter,
        terminal: Option<Terminal>,
        past: Past,
    ) -> io::Result<Self> {
        let mut interrupt = None;
        let console = match terminal {
            None => None,
            Some(terminal) => {
                let interrupts = Interrupts::catch()?;
                interrupt = Some(interrupts.descriptor().try_clone_to_owned()?);
                let seen = Seen::new(&starter.socket);
                let edited = match terminal.manner {
                    Manner::Dumb => None,
                    manner => Some(Edited::new(Assistant { seen, manner }, past.lines())?),
                };
                let lock = Lock::new(Watched::default(), past.legacy()?);
                Some(Console { terminal, interrupts, edited, lock })
            }
        };
        let daemon = Daemon::new(&starter.socket, interrupt);
        Ok(Self { starter, daemon, past, console })
    }

    /// Does what lines say until there are no more.
    pub(super) fn serve(&mut self) -> io::Result<ExitCode> {
        if self.console.is_some() { self.converse() } else { self.follow_script() }
    }

    /// Does one command.
    pub(super) fn once(&mut self, words: &[String]) -> io::Result<ExitCode> {
        Ok(match self.act(&Typed::given(words))? {
            Done::Well | Done::Exit => ExitCode::SUCCESS,
            Done::Badly(status) => ExitCode::from(status),
        })
    }

    fn converse(&mut self) -> io::Result<ExitCode> {
        write("weir. `help` lists the commands.\n")?;
        loop {
            // Once somebody is known, nobody waits for a slow daemon before he may type.
            if !self.knows() && !self.may_go_on()? {
                return Ok(ExitCode::SUCCESS);
            }
            let line = match self.read_line()? {
                Line::Typed(line) => line,
                Line::Cancelled => continue,
                Line::End => return Ok(ExitCode::SUCCESS),
            };
            let Ok(typed) = Typed::read(&line) else {
                complain(UNCLOSED);
                continue;
            };
            if typed.words.is_empty() {
                continue;
            }
            // The daemon may have come back meanwhile, or the password is another.
            if !self.may_go_on()? {
                return Ok(ExitCode::SUCCESS);
            }
            if self.is_interrupted()? {
                continue;
            }
            if is_understood(&typed.words)
                && self.past.keep(&line)
                && let Some(Console { edited: Some(edited), .. }) = &mut self.console
            {
                edited.keep(&line);
            }
            if !self.is_open_to(&typed.words) {
                complain(UNKNOWN);
                continue;
            }
            match self.act(&typed) {
                Ok(Done::Exit) => return Ok(ExitCode::SUCCESS),
                Ok(_) => {}
                // One command: the next may do better. If the terminal is gone, no line comes.
                Err(error) => complain(&error.to_string()),
            }
        }
    }

    /// Whether a line is for anybody, or whoever sits here is known to be allowed what he types.
    fn is_open_to(&self, words: &[String]) -> bool {
        let found = resolve(Tree::get(), words.iter().map(String::as_str));
        let harmless = found
            .is_ok_and(|found| matches!(found.entry.action, Action::Own(Own::Help | Own::Exit)));
        harmless || self.knows()
    }

    /// Whether it is known that whoever sits here may.
    fn knows(&self) -> bool {
        self.console.as_ref().is_none_or(|console| console.lock.knows())
    }

    /// Whether there was a Ctrl-C while the daemon was asked.
    fn is_interrupted(&self) -> io::Result<bool> {
        let some = self.console.as_ref().is_some_and(|console| console.interrupts.take());
        if some {
            write("\r\n")?;
        }
        Ok(some)
    }

    /// Whether whoever sits here may; `false` if nobody does.
    fn may_go_on(&mut self) -> io::Result<bool> {
        let Some(Console { terminal, interrupts, lock, .. }) = &mut self.console else {
            return Ok(true);
        };
        interrupts.take();
        lock.check(&self.daemon, terminal, interrupts)
    }

    fn read_line(&mut self) -> io::Result<Line> {
        let Some(console) = &mut self.console else { return Ok(Line::End) };
        console.terminal.settle();
        match &mut console.edited {
            Some(edited) => edited.read(),
            None => prompt::plain(&console.terminal, &console.interrupts, "weir> "),
        }
    }

    fn follow_script(&mut self) -> io::Result<ExitCode> {
        let mut input: BufReader<Stdin> = BufReader::new(io::stdin());
        let mut number = 0_u64;
        loop {
            number += 1;
            let Line::Typed(line) = prompt::scripted(&mut input)? else {
                return Ok(ExitCode::SUCCESS);
            };
            let failed = match Typed::read(&line) {
                Err(Unclosed) => {
                    complain(UNCLOSED);
                    2
                }
                Ok(typed) if typed.words.is_empty() => continue,
                Ok(typed) => match self.act(&typed)? {
                    Done::Well => continue,
                    Done::Exit => return Ok(ExitCode::SUCCESS),
                    Done::Badly(status) => status,
                },
            };
            complain(&format!("stopped at line {number}: {}", line.trim().escape_debug()));
            return Ok(ExitCode::from(failed));
        }
    }

    fn act(&mut self, typed: &Typed) -> io::Result<Done> {
        let words = &*typed.words;
        if let Some(flags) = flags(words) {
            return self.control(flags);
        }
        if let Some((mark, before)) = words.split_last()
            && mark == "?"
        {
            return self.tell(help::next(before).map_err(|mistake| mistake.to_string()));
        }
        match resolve(Tree::get(), words.iter().map(String::as_str)) {
            Ok(found) => self.carry_out(&found, typed),
            Err(mistake) => {
                complain(&mistake.to_string());
                Ok(Done::Badly(2))
            }
        }
    }

    /// pfctl's flags.
    fn control(&mut self, flags: &[String]) -> io::Result<Done> {
        if flags.iter().any(|flag| flag.starts_with("--socket")) {
            complain("this shell speaks to one daemon: the one that its own --socket names");
            return Ok(Done::Badly(2));
        }
        match Options::parse(flags.iter().map(Into::into)) {
            Ok(options) if options.file.as_deref() == Some("-".as_ref()) => {
                complain("there is no standard input to read: name a file");
                Ok(Done::Badly(2))
            }
            Err(Refusal::Usage(text)) => {
                complain(&format!("{text} (-h lists the flags)"));
                Ok(Done::Badly(2))
            }
            _ => {
                let socket = ["ctl".into(), "--socket".into(), self.socket()];
                let words = [&socket[..], flags].concat();
                self.run_meant(&words, true, 1)
            }
        }
    }

    /// As [`Session::run`], if it is what the person means.
    fn run_meant(&mut self, words: &[String], stops: bool, failing: i32) -> io::Result<Done> {
        let flags = words.split_first().filter(|(first, _)| *first == "ctl");
        let options = match flags.map(|(_, flags)| Options::parse(flags.iter().map(Into::into))) {
            // Without the flags, which nobody has typed.
            Some(Err(Refusal::Usage(text))) => {
                complain(&text);
                return Ok(Done::Badly(2));
            }
            options => options.and_then(Result::ok),
        };
        if let Some(question) = options.as_ref().and_then(question::before) {
            if !self.confirms(question)? {
                return Ok(Done::Badly(1));
            }
            // The daemon may have come back while the question stood there.
            if !self.may_go_on()? {
                return Ok(Done::Exit);
            }
        }
        self.run(words, stops, failing)
    }

    fn socket(&self) -> String {
        self.starter.socket.display().to_string()
    }

    fn carry_out(&mut self, found: &Resolved, typed: &Typed) -> io::Result<Done> {
        let (line, stops, failing) = match found.entry.action {
            Action::Run(line) => (line, true, 1),
            Action::Answer(line, most) => (line, true, most + 1),
            Action::Follow(line) => (line, false, 1),
            Action::Lend(line) => {
                let words = act::arguments(line, &self.socket(), found);
                return self.lend(&words);
            }
            Action::Machine(line, question) => {
                let words = act::arguments(line, &self.socket(), found);
                return self.act_on_machine(&words, question);
            }
            Action::Own(own) => return self.do_own(own, found, typed),
        };
        let words = act::arguments(line, &self.socket(), found);
        self.run_meant(&words, stops, failing)
    }

    /// Runs a subcommand, its output shown by the pager, which `stops` at each page or not. It fails
    /// with an exit status from `failing` on.
    fn run(&mut self, words: &[String], stops: bool, failing: i32) -> io::Result<Done> {
        let command: Command = self.starter.weir(words);
        let status = match &mut self.console {
            Some(Console { terminal, interrupts, lock, .. }) => {
                child::show(command, terminal, interrupts, &lock.watched.child, stops)?
            }
            None => Some({ command }.status()?),
        };
        let Some(status) = status else { return Ok(Done::Well) };
        Ok(judge(status, failing))
    }

    /// Runs a subcommand that has the terminal to itself.
    fn lend(&self, words: &[String]) -> io::Result<Done> {
        let mut command = self.starter.weir(words);
        let status = match &self.console {
            Some(Console { terminal, interrupts, lock, .. }) => {
                child::lend(command, terminal, interrupts, &lock.watched.child)?
            }
            None => command.stdin(Stdio::inherit()).status()?,
        };
        Ok(judge(status, 1))
    }

    /// Runs a verb of `weir box`, if it is what the person means.
    fn act_on_machine(&mut self, words: &[String], question: Option<&str>) -> io::Result<Done> {
        if let Some(question) = question {
            if !self.confirms(question)? {
                return Ok(Done::Badly(1));
            }
            if !self.may_go_on()? {
                return Ok(Done::Exit);
            }
        }
        let Some(keeper) = dial::keeper() else {
            return self.lend(&[&["box".to_owned()], words].concat());
        };
        let Some(Console { terminal, interrupts, lock, .. }) = &mut self.console else {
            return child::run_as_root(keeper, words).map(judge_verb);
        };
        let begun = Instant::now();
        let status = child::lend_as_root(keeper, words, terminal, interrupts, &lock.watched.holds);
        // The guard was asleep meanwhile: nobody knows who sits here after so long.
        if lock.idle().is_some_and(|idle| begun.elapsed() >= idle) {
            lock.close();
        }
        status.map(judge_verb)
    }

    /// Asks a person; a script has meant what it says.
    fn confirms(&mut self, question: &str) -> io::Result<bool> {
        let Some(Console { terminal, interrupts, .. }) = &mut self.console else {
            return Ok(true);
        };
        let question = format!("{question} Sure? [y/N] ");
        let answer = prompt::plain(terminal, interrupts, &question)?;
        Ok(
            matches!(answer, Line::Typed(text) if matches!(&*text.trim().to_lowercase(), "y" | "yes")),
        )
    }
}

/// Says what is wrong.
pub(super) fn complain(text: &str) {
    remark(&format!("weir shell: {text}"));
}

/// Says something that is no listing.
fn remark(text: &str) {
    // Where it cannot be said nobody sits.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Whether words are a command, and so no password that was typed at the wrong moment.
fn is_understood(words: &[String]) -> bool {
    flags(words).is_some_and(|flags| Options::parse(flags.iter().map(Into::into)).is_ok())
        || resolve(Tree::get(), words.iter().map(String::as_str)).is_ok()
}

/// How a subcommand went that fails with an exit status from `failing` on.
fn judge(status: ExitStatus, failing: i32) -> Done {
    match status.code() {
        Some(code) if code < failing => Done::Well,
        Some(code) => Done::Badly(u8::try_from(code).unwrap_or(1)),
        None => {
            complain(&format!("the command was ended: {status}"));
            Done::Badly(1)
        }
    }
}

/// How a verb of `weir box` went, by its exit status; `None` if a signal has ended it.
fn judge_verb(status: Option<i32>) -> Done {
    match status {
        Some(0) => Done::Well,
        Some(code) => Done::Badly(u8::try_from(code).unwrap_or(1)),
        None => {
            complain("the command was ended");
            Done::Badly(1)
        }
    }
}

/// The flags, if a line is one of pfctl's.
fn flags(words: &[String]) -> Option<&[String]> {
    let (first, rest) = words.split_first()?;
    if first.starts_with('-') {
        return Some(words);
    }
    if PFCTL.contains(&first.as_str()) {
        return Some(rest);
    }
    match rest.split_first() {
        Some((second, rest)) if first == "weir" && second == "ctl" => Some(rest),
        _ => None,
    }
}
