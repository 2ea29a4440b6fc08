//! Network namespaces for the tests of the ports: hosts, and between them the box with `lan0` and
//! `wan0`. Needs root and `ip`. Names carry the process id and a number, so that any number of labs
//! stand side by side; all of it goes with the [`Lab`], also on panic.

// Not every test that includes this uses all of it.
#![allow(dead_code)]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use weir_hw::{Frame, Io, Prepared, Wanted, WorkerPorts, open, prepare};

/// How long anything may take that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Two host namespaces around the box.
pub(crate) struct Lab {
    prefix: String,
}

/// The namespaces of a [`Lab`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    /// `eth0`, the other end of `lan0`.
    Client,
    /// `lan0` and `wan0`.
    Box,
    /// `eth0`, the other end of `wan0`.
    Server,
}

impl Lab {
    /// Interfaces are up on the hosts and down in the box; none has an address.
    pub(crate) fn new(queues: u32, mtu: u32) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let lab = Self { prefix: format!("wh{}x{number}", std::process::id()) };
        for at in [At::Client, At::Box, At::Server] {
            command(&["ip", "netns", "add", &lab.namespace(at)]);
            lab.inside(at, || {
                // A new namespace inherits this from the machine.
                std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
                // Hosts without addresses are to be silent.
                std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
            });
        }
        let queues = queues.to_string();
        for (at, port) in [(At::Client, "lan0"), (At::Server, "wan0")] {
            let (host, inner) = (lab.namespace(at), lab.namespace(At::Box));
            command(&[
                "ip",
                "link",
                "add",
                "eth0",
                "netns",
                &host,
                "numrxqueues",
                &queues,
                "numtxqueues",
                &queues,
                "type",
                "veth",
                "peer",
                "name",
                port,
                "netns",
                &inner,
                "numrxqueues",
                &queues,
                "numtxqueues",
                &queues,
            ]);
            let mtu = mtu.to_string();
            lab.run(At::Box, &["ip", "link", "set", port, "mtu", &mtu]);
            lab.run(at, &["ip", "link", "set", "eth0", "mtu", &mtu, "up"]);
        }
        lab
    }

    /// With addresses on the hosts: `10.0.0.1` and `fd00::1` at the client, .2 at the server.
    pub(crate) fn with_addresses(queues: u32, mtu: u32) -> Self {
        let lab = Self::new(queues, mtu);
        lab.address(At::Client, "eth0", 1);
        lab.address(At::Server, "eth0", 2);
        lab
    }

    fn address(&self, at: At, interface: &str, host: u8) {
        self.inside(at, || {
            let path = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
            std::fs::write(path, "0").unwrap();
        });
        for address in [format!("10.0.0.{host}/24"), format!("fd00::{host}/64")] {
            let family = if address.contains(':') { "-6" } else { "-4" };
            let mut words = vec!["ip", family, "addr", "add", &address, "dev", interface];
            if family == "-6" {
                words.push("nodad");
            }
            self.run(at, &words);
        }
        self.run(at, &["ip", "link", "set", interface, "up"]);
    }

    /// Lets the hosts finish their checksums themselves.
    pub(crate) fn finish_checksums(&self) {
        for at in [At::Client, At::Server] {
            self.run(at, &["ethtool", "-K", "eth0", "tx", "off"]);
        }
    }

    pub(crate) fn namespace(&self, at: At) -> String {
        let end = match at {
            At::Client => "c",
            At::Box => "b",
            At::Server => "s",
        };
        format!("{}{end}", self.prefix)
    }

    /// Runs a command there, which has to succeed, and returns what it prints.
    pub(crate) fn run(&self, at: At, words: &[&str]) -> String {
        let namespace = self.namespace(at);
        let mut all = vec!["ip", "netns", "exec", &namespace];
        all.extend(words);
        command(&all)
    }

    /// Calls `f` on a thread of its own in that namespace.
    pub(crate) fn inside<T: Send>(&self, at: At, f: impl FnOnce() -> T + Send) -> T {
        let path = PathBuf::from("/run/netns").join(self.namespace(at));
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let file = File::open(&path).unwrap();
                move_into_link_name_space(
                    std::os::fd::AsFd::as_fd(&file),
                    Some(LinkNameSpaceType::Network),
                )
                .unwrap();
                f()
            });
            match thread.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for at in [At::Client, At::Box, At::Server] {
            let _ = Command::new("ip")
                .args(["netns", "del", &self.namespace(at)])
                .stderr(Stdio::null())
                .status();
        }
    }
}

fn command(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The `forward` example, running in the box. `cargo test` builds it along with the tests, but not
/// when `--test` names one of them.
pub(crate) struct Forwarder {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// What it printed up to `forward: forwarding`.
    pub(crate) greeting: String,
}

impl Forwarder {
    /// Starts it between `lan0` and `wan0`; it forwards when this returns.
    pub(crate) fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let mut started = Self::spawn(lab, arguments, ["lan0", "wan0"]);
        while !started.greeting.contains("forward: forwarding") {
            let mut line = String::new();
            let length = started.stdout.read_line(&mut line).unwrap();
            assert!(length > 0, "ended early: {}", started.rest());
            started.greeting.push_str(&line);
        }
        started
    }

    fn spawn(lab: &Lab, arguments: &[&str], ports: [&str; 2]) -> Self {
        // target/PROFILE/deps/TEST-HASH -> target/PROFILE/examples/forward
        let mut program = std::env::current_exe().unwrap();
        program.pop();
        program.pop();
        program.push("examples/forward");
        let mut child = Command::new("ip")
            .args(["netns", "exec", &lab.namespace(At::Box)])
            .arg(program)
            .args(arguments)
            .args(ports)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdin, stdout, greeting: String::new() }
    }

    /// Expects it to refuse to start, and returns its complaint.
    pub(crate) fn refused(lab: &Lab, arguments: &[&str]) -> String {
        Self::refused_between(lab, arguments, ["lan0", "wan0"])
    }

    /// As [`Forwarder::refused`], between these ports.
    pub(crate) fn refused_between(lab: &Lab, arguments: &[&str], ports: [&str; 2]) -> String {
        let mut started = Self::spawn(lab, arguments, ports);
        let said = started.rest();
        assert!(!started.child.wait().unwrap().success(), "{said}");
        said
    }

    fn rest(&mut self) -> String {
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }

    /// Stops it; every buffer has come back then.
    pub(crate) fn stop(mut self) -> String {
        self.stdin = None;
        let said = self.rest();
        assert!(self.child.wait().unwrap().success(), "{said}");
        Self::assert_buffers(&said);
        said
    }

    /// Waits until it ends by itself with an error.
    pub(crate) fn failed(mut self) -> String {
        let said = self.rest();
        assert!(!self.child.wait().unwrap().success(), "{said}");
        Self::assert_buffers(&said);
        said
    }

    fn assert_buffers(said: &str) {
        let line = said.lines().find(|line| line.ends_with("buffers free")).expect(said);
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[1], words[3], "{said}");
    }

    /// kill -9
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Both hosts' raw interfaces in one place: frames in here come out there.
pub(crate) struct Wire {
    ends: [(Prepared, WorkerPorts); 2],
}

impl Wire {
    /// Takes the `eth0` of client and server over.
    pub(crate) fn new(lab: &Lab) -> Self {
        let end = |at| {
            lab.inside(at, || {
                // A port needs a pair; the second one stays unused.
                let words = ["ip", "link", "add", "idle0", "type", "veth", "peer", "name", "idle1"];
                command(&words);
                let prepared = prepare(&["eth0", "idle0"]).unwrap();
                let mut prepared: [Prepared; 2] = prepared.try_into().unwrap();
                let mut opened = open(&Wanted::new(Io::Packet, 1), &mut prepared).unwrap();
                let [eth0, _] = prepared;
                (eth0, opened.workers.remove(0))
            })
        };
        Self { ends: [end(At::Client), end(At::Server)] }
    }

    /// Sends frames into one end (0 client, 1 server), as fast as the other end takes them, and
    /// returns as many as come out of there.
    pub(crate) fn through(&mut self, from: usize, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut came = Vec::new();
        let mut sent = 0;
        let deadline = Instant::now() + PATIENCE;
        while came.len() < frames.len() && Instant::now() < deadline {
            // Never more on the way than the smallest ring between the ends holds.
            while sent < frames.len() && sent < came.len() + 64 {
                self.send(from, &frames[sent]);
                sent += 1;
            }
            self.receive(1 - from, &mut came);
        }
        came
    }

    pub(crate) fn send(&mut self, from: usize, frame: &[u8]) {
        let WorkerPorts { pool, ports, .. } = &mut self.ends[from].1;
        let mut queue = VecDeque::from([pool.copy(frame).unwrap()]);
        let before = ports[0].stats().unsendable;
        let deadline = Instant::now() + PATIENCE;
        while ports[0].transmit(pool, &mut queue).unwrap() == 0 && !queue.is_empty() {
            assert!(Instant::now() < deadline, "cannot send");
        }
        assert_eq!(ports[0].stats().unsendable, before, "{} bytes", frame.len());
    }

    /// Waits a moment for frames.
    pub(crate) fn receive(&mut self, at: usize, came: &mut Vec<Vec<u8>>) {
        let WorkerPorts { pool, ports, .. } = &mut self.ends[at].1;
        let mut frames: Vec<Frame> = Vec::new();
        if ports[0].receive(pool, 0, &mut frames, 64).unwrap() == 0 {
            let mut waits =
                [PollFd::from_borrowed_fd(ports[0].descriptor().unwrap(), PollFlags::IN)];
            let moment = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            let _ = poll(&mut waits, Some(&moment));
        }
        for frame in frames {
            came.push(pool.segments(&frame).flatten().copied().collect());
            pool.release(frame);
        }
    }
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::yield_now();
    }
}
