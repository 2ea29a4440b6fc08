//! Network namespaces by name, as `ip netns` makes them.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::process::{Output, Process};

/// Where `ip netns` keeps its names.
const FOLDER: &str = "/run/netns";
/// Begin of every name: a namespace that begins like this is ours.
const PREFIX: &str = "weirlab";

/// A network namespace; deleted when it goes out of scope.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a new one. Its name is unique: `weirlab-PID-COUNT-ROLE`.
    pub fn new(role: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}-{}-{count}-{role}", std::process::id());
        Output::of(Command::new("ip").args(["netns", "add", &name])).expect_success();
        Self { name }
    }

    /// Deletes the namespaces of labs whose process is no more, and ends what still runs in them.
    pub fn sweep() {
        delete_those_of(|pid| !Path::new("/proc").join(pid).exists());
    }

    /// Deletes all namespaces of this process, for a signal handler's thread that will end it.
    pub fn remove_all() {
        let ourselves = std::process::id().to_string();
        delete_those_of(|pid| pid == ourselves);
    }

    /// Its name, for `ip netns exec`.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// A command that will run in here.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a command to its end; for those that may fail.
    pub fn run(&self, command: &[&str]) -> Output {
        let (program, arguments) = command.split_first().expect("a command");
        Output::of(self.command(program).args(arguments))
    }

    /// Starts a command that goes on; it is ended when the [`Process`] goes out of scope.
    pub fn start(&self, command: &[&str]) -> Process {
        let (program, arguments) = command.split_first().expect("a command");
        Process::start(self.command(program).args(arguments))
    }

    /// Runs `ip` in here, which must succeed; returns what it printed.
    pub fn ip(&self, arguments: &[&str]) -> String {
        Output::of(Command::new("ip").args(["-n", &self.name]).args(arguments)).expect_success()
    }

    /// Sets a sysctl in here.
    pub fn sysctl(&self, key: &str, value: &str) {
        self.within(|| std::fs::write(format!("/proc/sys/{}", key.replace('.', "/")), value))
            .unwrap_or_else(|error| panic!("{}: {key} = {value}: {error}", self.name));
    }

    /// Calls `f` on a thread that is in this namespace. Sockets that it opens stay here wherever
    /// they are used, threads that it starts stay here too.
    pub fn within<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter().unwrap_or_else(|error| panic!("entering {}: {error}", self.name));
                f()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn enter(&self) -> io::Result<()> {
        let namespace = File::open(self.path())?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        delete(&self.name);
    }
}

fn delete_those_of(owner: impl Fn(&str) -> bool) {
    let Ok(entries) = std::fs::read_dir(FOLDER) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').nth(1));
        if pid.is_some_and(&owner) {
            delete(&name);
        }
    }
}

/// Ends what still runs in a namespace of ours and deletes it.
fn delete(name: &str) {
    if let Ok(output) = Command::new("ip").args(["netns", "pids", name]).output() {
        for pid in String::from_utf8_lossy(&output.stdout).split_whitespace() {
            // A thread of our own that is inside (a service) is not to be ended like this.
            if pid != std::process::id().to_string() {
                let _ = Command::new("kill").args(["-KILL", pid]).output();
            }
        }
    }
    let _ = Command::new("ip").args(["netns", "delete", name]).output();
}
