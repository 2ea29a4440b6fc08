//! The device under test: the real binary in the firewall's namespace.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;

use super::process::{Output, Process};
use super::{Lab, PATIENCE, eventually};

/// What moves weir's frames (`--io`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// Whatever weir finds best.
    Auto,
    /// `AF_XDP`.
    Xdp,
    /// `AF_PACKET`.
    Packet,
}

impl fmt::Display for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Xdp => "xdp",
            Self::Packet => "packet",
        })
    }
}

/// How weir is started.
#[derive(Clone, Debug)]
pub struct WeirOptions {
    /// `--io`.
    pub io: Io,
    /// `--workers`.
    pub workers: u32,
    /// Text of the rule file.
    pub rules: String,
    /// `--lan`.
    pub lan: String,
    /// Text of the settings file.
    pub settings: String,
}

impl WeirOptions {
    /// One worker.
    pub fn new(io: Io, rules: &str) -> Self {
        let (rules, lan) = (rules.to_owned(), Lab::LAN.to_owned());
        Self { io, workers: 1, rules, lan, settings: String::new() }
    }
}

/// The two ways to load new rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// `kill -HUP`.
    Hangup,
    /// `weir ctl -f`.
    Ctl,
}

/// A running `weir run`; killed when it goes out of scope.
#[derive(Debug)]
pub struct Weir {
    process: Process,
    rules: PathBuf,
    socket: PathBuf,
    /// The line that it printed when it began to forward.
    pub greeting: String,
}

impl Weir {
    /// Starts weir between the lab's cables and waits until it forwards and the hosts see their
    /// links.
    pub fn start(lab: &Lab, options: &WeirOptions) -> Self {
        let mut weir = Self::launch(lab, options);
        weir.greeting = weir.process.wait_line("weir: forwarding");
        lab.wait_links();
        weir
    }

    /// Starts weir without waiting for anything.
    pub fn launch(lab: &Lab, options: &WeirOptions) -> Self {
        let rules = lab.folder().join("weir.conf");
        let socket = lab.folder().join("weir.sock");
        write(&rules, &options.rules);
        // This machine's own settings, if it has any, are not to be read.
        let settings = lab.folder().join("weir.toml");
        write(&settings, &options.settings);
        let mut command = lab.firewall.command(&binary().to_string_lossy());
        command
            .args(["run", "--lan", &options.lan, "--wan", Lab::WAN])
            .args(["--io", &options.io.to_string(), "--workers", &options.workers.to_string()])
            .arg("--share-cores")
            .arg("--config")
            .arg(&settings)
            .arg("--rules")
            .arg(&rules)
            .arg("--socket")
            .arg(&socket)
            .arg("--state-dir")
            .arg(lab.folder().join("state"));
        Self { process: Process::start(&mut command), rules, socket, greeting: String::new() }
    }

    /// The process, to look at its log or to end it.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What its process takes of something that proc(5) names in `status`, in KiB: `VmRSS`, memory in
    /// use; `VmData`, memory that it has asked for.
    pub fn memory(&self, what: &str) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        status
            .lines()
            .find_map(|line| line.strip_prefix(what)?.strip_prefix(':'))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or_else(|| panic!("no {what} in:\n{status}"))
    }

    /// Everything it has logged so far.
    pub fn log(&self) -> Vec<String> {
        self.process.lines()
    }

    /// Waits for a line of its log.
    pub fn wait_log(&self, text: &str) -> String {
        self.process.wait_line(text)
    }

    /// As [`Weir::wait_log`], for those who can do without: `None` if the line does not come.
    pub fn log_line(&self, text: &str) -> Option<String> {
        self.process.line_within(PATIENCE, |line| line.contains(text))
    }

    /// Its control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Runs `weir ctl` with these flags.
    pub fn ctl(&self, flags: &[&str]) -> Output {
        Output::of(Command::new(binary()).arg("ctl").arg("--socket").arg(&self.socket).args(flags))
    }

    /// Runs `weir ctl`, which must succeed; returns what it printed.
    pub fn show(&self, flags: &[&str]) -> String {
        self.ctl(flags).expect_success()
    }

    /// The number behind `name` in `-s info`: a counter's total, or `current entries`.
    pub fn counter(&self, name: &str) -> u64 {
        counter_in(&self.show(&["-s", "info"]), name)
    }

    /// Writes a new rule file and loads it. Returns what `ctl` said; for a hangup nothing, once the
    /// log says how it went.
    pub fn reload(&mut self, how: Reload, rules: &str) -> Option<Output> {
        write(&self.rules, rules);
        match how {
            Reload::Ctl => Some(self.ctl(&["-f", &self.rules.to_string_lossy()])),
            Reload::Hangup => {
                let before = self.log().len();
                self.process.signal(Signal::HUP);
                eventually("a log line about the reload", || {
                    self.log().iter().skip(before).any(|line| {
                        line.contains("rules in force") || line.contains("nothing was changed")
                    })
                });
                None
            }
        }
    }

    /// Sends SIGTERM and waits for the end; `None` when `limit` is over.
    pub fn stop(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.process.signal(Signal::TERM);
        self.process.wait(limit)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Waits for the end of a weir that cannot run, and returns how it ended and what it said.
    pub fn refusal(&mut self) -> (ExitStatus, String) {
        self.process.finish(PATIENCE)
    }
}

/// The number behind `name` in a listing of `-s info`, for those who look at several at a time.
pub fn counter_in(info: &str, name: &str) -> u64 {
    info.lines()
        .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(char::is_whitespace))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in:\n{info}"))
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The binary under test: `$WEIR_BIN`, else the release build in our own target folder.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("WEIR_BIN") {
        return path.into();
    }
    let ourselves = std::env::current_exe().expect("/proc is mounted");
    let path = ourselves
        .ancestors()
        .skip(1)
        .map(|folder| folder.join("release/weir"))
        .find(|path| path.is_file());
    path.expect("no release/weir in the target folder: run `make weir` or set WEIR_BIN")
}
