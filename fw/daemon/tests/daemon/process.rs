//! The running process between two real interfaces: what signals and a stuck terminal do to it.
//! Needs root and `ip`.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::house::wait_for;

const WEIR: &str = env!("CARGO_BIN_EXE_weir");

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// `weir run` in a network namespace of its own.
pub(crate) struct Process {
    child: Child,
    namespace: String,
    pub(crate) directory: TempDir,
    /// What a shell does first, in the namespace and with mounts of its own.
    first: &'static str,
}

impl Process {
    /// Starts it with the rules that `rules` puts into the file that it is given the name of.
    fn start(stderr: impl Into<Stdio>, rules: impl FnOnce(PathBuf)) -> Self {
        Self::start_after(":", stderr, rules)
    }

    /// The same, after what a shell does first in the folder that the state directory is in.
    pub(crate) fn start_after(
        first: &'static str,
        stderr: impl Into<Stdio>,
        rules: impl FnOnce(PathBuf),
    ) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("wd{}x{number}", std::process::id());
        ip(&["netns", "add", &namespace]);
        for port in ["lan0", "wan0"] {
            let peer = format!("{port}-peer");
            ip(&["-n", &namespace, "link", "add", port, "type", "veth", "peer", "name", &peer]);
        }
        // A new namespace may inherit this from the machine.
        let off = ["netns", "exec", &namespace, "sysctl", "-qw", "net.ipv4.ip_forward=0"];
        ip(&off);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("weir.toml"), "").unwrap();
        rules(directory.path().join("weir.conf"));
        let child = spawn(&namespace, &directory, first, stderr);
        Self { child, namespace, directory, first }
    }

    /// `kill -9`, and another one on what is left.
    pub(crate) fn killed_and_restarted(&mut self, stderr: impl Into<Stdio>) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(&self.namespace, &self.directory, self.first, stderr);
    }

    /// What it logs.
    pub(crate) fn log(&mut self) -> std::process::ChildStderr {
        self.child.stderr.take().unwrap()
    }

    /// Runs another subcommand on its socket.
    pub(crate) fn weir(&self, arguments: &[&str]) -> Output {
        let socket = self.directory.path().join("sock");
        Command::new(WEIR).args(arguments).arg("--socket").arg(socket).output().unwrap()
    }

    pub(crate) fn ctl(&self, arguments: &[&str]) -> Output {
        Command::new(WEIR)
            .args(["ctl", "--socket"])
            .arg(self.directory.path().join("sock"))
            .args(arguments)
            .output()
            .unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Waits until it serves its socket.
    fn serves(&self) {
        wait_for("an answer", || self.ctl(&["-si"]).status.success());
    }

    /// Waits until it forwards.
    pub(crate) fn forwards(&mut self) {
        wait_for("rules", || {
            String::from_utf8_lossy(&self.ctl(&["-si"]).stdout).starts_with("Status: Enabled")
        });
        let mut line = String::new();
        BufReader::new(self.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("weir: forwarding lan=lan0 wan=wan0 io=packet"), "{line}");
    }

    fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait_for("the end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
    }
}

fn spawn(namespace: &str, directory: &TempDir, first: &str, stderr: impl Into<Stdio>) -> Child {
    let file = |name| directory.path().join(name);
    let script = format!("set -e; {first}; exec \"$0\" \"$@\"");
    Command::new("ip")
        .args(["netns", "exec", namespace, "sh", "-c", &script])
        .args([WEIR, "run", "--io", "packet", "--lan", "lan0", "--wan", "wan0"])
        .arg("--config")
        .arg(file("weir.toml"))
        .arg("--rules")
        .arg(file("weir.conf"))
        .arg("--socket")
        .arg(file("sock"))
        .arg("--state-dir")
        .arg(file("state"))
        .current_dir(directory.path())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap()
}

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn pass(file: PathBuf) {
    std::fs::write(file, "pass\n").unwrap();
}

/// The writing end of a pipe that holds no more, and the end that nobody reads.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    let mut file = File::from(OwnedFd::from(writer));
    while file.write(&[b'x'; 4096]).is_ok() {}
    while file.write(b"x").is_ok() {}
    let writer = OwnedFd::from(file);
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (reader.into(), writer)
}

#[test]
fn a_terminal_that_is_stuck_stops_neither_control_nor_the_end() {
    let (_reader, writer) = full_pipe();
    let mut weir = Process::start(writer, pass);
    weir.forwards();
    let rules = weir.directory.path().join("weir.conf");
    // Each of these is logged.
    for _ in 0..3 {
        let load = weir.ctl(&["-f", rules.to_str().unwrap()]);
        assert!(load.status.success(), "{load:?}");
    }
    let flush = weir.ctl(&["-F", "states"]);
    assert!(flush.status.success(), "{flush:?}");
    weir.signal(Signal::TERM);
    assert!(weir.ended().success());
}

#[test]
fn a_load_that_takes_for_ever_keeps_nobody_from_stopping_it() {
    let mut weir = Process::start(Stdio::null(), |file| {
        // Opening it waits for somebody who writes.
        assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
    });
    weir.serves();
    for _ in 0..100 {
        weir.signal(Signal::HUP);
    }
    let info = weir.ctl(&["-si"]);
    assert!(String::from_utf8_lossy(&info.stdout).starts_with("Status: "), "{info:?}");
    weir.signal(Signal::TERM);
    assert!(weir.ended().success());
}

#[test]
fn the_end_of_a_deadline_is_logged() {
    let mut weir = Process::start(Stdio::piped(), pass);
    weir.forwards();
    let said = weir.ctl(&["-d", "1"]);
    assert!(said.status.success(), "{said:?}");
    let mut lines = BufReader::new(weir.child.stderr.take().unwrap()).lines();
    let told = lines.any(|line| line.unwrap().contains("FILTERING IS ENABLED AGAIN"));
    assert!(told, "it is said when it is over");
    weir.signal(Signal::TERM);
    assert!(weir.ended().success());
    let rest: String = lines.map_while(Result::ok).collect();
    assert!(!rest.contains("ENABLED AGAIN"), "once: {rest}");
}

#[test]
fn a_reload_by_signal_is_said_and_a_broken_one_changes_nothing() {
    let mut weir = Process::start(Stdio::piped(), pass);
    weir.forwards();
    let mut lines = BufReader::new(weir.child.stderr.take().unwrap()).lines();
    let mut said = |what: &str| assert!(lines.any(|line| line.unwrap().contains(what)), "{what}");
    let rules = weir.directory.path().join("weir.conf");
    std::fs::write(&rules, "block\npass proto udp\n").unwrap();
    weir.signal(Signal::HUP);
    said("2 rules in force");
    std::fs::write(&rules, "blok\n").unwrap();
    weir.signal(Signal::HUP);
    said("nothing was changed");
    let listed = weir.ctl(&["-sr"]).stdout;
    assert!(String::from_utf8_lossy(&listed).contains("pass proto udp"), "{listed:?}");
    weir.signal(Signal::TERM);
    assert!(weir.ended().success());
}
