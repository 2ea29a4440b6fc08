//! Commands and processes with their output.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

/// What a finished command said.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Runs a command to its end, without a standard input.
    pub fn of(command: &mut Command) -> Self {
        let shown = format!("{command:?}");
        let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| {
            panic!("{shown}: {error} (`make deps` installs what is needed)")
        });
        Self {
            command: shown,
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Whether it ended with status 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Its standard output; panics with everything it said unless it ended with status 0.
    pub fn expect_success(self) -> String {
        assert!(
            self.success(),
            "{}: {}\n{}{}",
            self.command,
            self.status,
            self.stdout,
            self.stderr
        );
        self.stdout
    }
}

/// The lines that a process has printed so far.
#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    /// Streams that are still open.
    open: usize,
}

/// A process that runs beside us; killed when it goes out of scope.
#[derive(Debug)]
pub struct Process {
    child: Child,
    command: String,
    lines: Arc<(Mutex<Lines>, Condvar)>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts a command without a standard input; what it prints on either stream is collected line
    /// by line.
    pub fn start(command: &mut Command) -> Self {
        Self::start_on(command, Stdio::null())
    }

    /// As [`Process::start`], for programs that end at the end of their input: it does not come
    /// before the `Process` goes out of scope.
    pub fn start_with_open_input(command: &mut Command) -> Self {
        Self::start_on(command, Stdio::piped())
    }

    fn start_on(command: &mut Command, input: Stdio) -> Self {
        let shown = format!("{command:?}");
        let mut child = command
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{shown}: {error} (`make deps` installs what is needed)")
            });
        let lines = Arc::new((Mutex::new(Lines { lines: Vec::new(), open: 2 }), Condvar::new()));
        let stdout = child.stdout.take().expect("piped above");
        let stderr = child.stderr.take().expect("piped above");
        let readers = vec![collect(stdout, lines.clone()), collect(stderr, lines.clone())];
        Self { child, command: shown, lines, readers }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.0.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    /// Waits for a line that `wanted` accepts and returns it; `None` when `limit` is over or the
    /// process has closed its streams without printing one.
    pub fn line_within(&self, limit: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + limit;
        let (lock, changed) = &*self.lines;
        let mut lines = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = 0;
        loop {
            if let Some(line) = lines.lines[seen..].iter().find(|line| wanted(line)) {
                return Some(line.clone());
            }
            seen = lines.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || lines.open == 0 {
                return None;
            }
            lines = changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a line that contains `text`; panics with everything printed if it does not come.
    pub fn wait_line(&self, text: &str) -> String {
        self.line_within(PATIENCE, |line| line.contains(text)).unwrap_or_else(|| {
            panic!("{} did not print {text:?} but:\n{}", self.command, self.lines().join("\n"))
        })
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end; `None` when `limit` is over.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let mut status = None;
        super::within(limit, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        if status.is_some() {
            for reader in self.readers.drain(..) {
                let _ = reader.join();
            }
        }
        status
    }

    /// Waits for its end, however it ends, and returns what it said on both streams together.
    /// Panics when `limit` is over.
    pub fn finish(&mut self, limit: Duration) -> (ExitStatus, String) {
        let status = self
            .wait(limit)
            .unwrap_or_else(|| panic!("{} still runs after {limit:?}", self.command));
        (status, self.lines().join("\n"))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{}: {error}", self.command));
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn collect(stream: impl Read + Send + 'static, to: Arc<(Mutex<Lines>, Condvar)>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            to.0.lock().unwrap_or_else(PoisonError::into_inner).lines.push(text);
            to.1.notify_all();
            line.clear();
        }
        to.0.lock().unwrap_or_else(PoisonError::into_inner).open -= 1;
        to.1.notify_all();
    })
}
