//! Everybody who wants to be told.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::hub::Hub;
use super::message::{Message, Subject};
use super::outlet::{Outlet, Queue};
use super::teller::escape;
use crate::clock::Date;
use crate::pflog::Pflog;
use crate::syslog::LogServer;

/// Messages that wait for the packet log at most.
const WAITING: usize = 8192;

/// Everybody who wants to be told.
#[derive(Debug, Default)]
pub struct Sinks {
    packet_log: Option<Outlet<Arc<Message>>>,
    pflog: Option<Pflog>,
    servers: Vec<LogServer>,
    hub: Hub,
    held_back: AtomicU64,
}

impl Sinks {
    /// These, and those who follow.
    pub fn new(
        packet_log: Option<Outlet<Arc<Message>>>,
        pflog: Option<Pflog>,
        servers: Vec<LogServer>,
    ) -> Self {
        Self { packet_log, pflog, servers, ..Self::default() }
    }

    /// A packet was logged, whether it is told or not.
    pub(super) fn record(&self, message: &Arc<Message>) {
        if let Some(pflog) = &self.pflog {
            pflog.put(Arc::clone(message));
        }
    }

    /// Whether somebody keeps every packet that is logged.
    pub(super) const fn records(&self) -> bool {
        self.pflog.is_some()
    }

    /// Tells of a logged packet, or of those that are not told.
    pub(super) fn tell(&self, message: &Arc<Message>) {
        if let Some(packet_log) = &self.packet_log {
            packet_log.put(Arc::clone(message));
        }
        self.tell_others(message);
    }

    /// Tells what weir has said on standard error.
    pub(super) fn tell_event(&self, message: Message) {
        self.tell_others(&Arc::new(message));
    }

    fn tell_others(&self, message: &Arc<Message>) {
        for server in &self.servers {
            server.tell(message);
        }
        self.hub.tell(message);
    }

    /// Those who follow.
    pub const fn hub(&self) -> &Hub {
        &self.hub
    }

    /// The log servers.
    pub fn servers(&self) -> &[LogServer] {
        &self.servers
    }

    /// Counts a record that nobody is told of.
    pub(super) fn hold_back(&self) {
        self.held_back.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that nobody was told of because of a rate.
    pub fn held_back(&self) -> u64 {
        self.held_back.load(Ordering::Relaxed)
    }

    /// What the packet log and the file in pf's format have lost, whichever there are.
    pub fn lost(&self) -> [Option<u64>; 2] {
        [self.packet_log.as_ref().map(Outlet::lost), self.pflog.as_ref().map(Pflog::lost)]
    }

    /// Waits until everything is written that was told before, but no longer than `patience` in all.
    pub fn drain(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let left = || deadline.saturating_duration_since(Instant::now());
        if let Some(packet_log) = &self.packet_log {
            packet_log.drain(left());
        }
        if let Some(pflog) = &self.pflog {
            pflog.drain(left());
        }
        for server in &self.servers {
            server.drain(left());
        }
    }
}

/// Opens the packet log, to be appended to; `None` is standard error.
///
/// # Errors
/// When the file cannot be opened, or the kernel gives no thread.
pub fn open(path: Option<&Path>) -> io::Result<Outlet<Arc<Message>>> {
    match path {
        None => start(io::stderr()),
        Some(path) => {
            let file: File = OpenOptions::new().append(true).create(true).open(path)?;
            start(file)
        }
    }
}

/// A packet log that writes there.
pub(super) fn start(mut out: impl Write + Send + 'static) -> io::Result<Outlet<Arc<Message>>> {
    Outlet::start("weir-packet-log", WAITING, move |mut queue: Queue<Arc<Message>>| {
        let mut lines = String::new();
        while let Some(message) = queue.take() {
            lines.clear();
            let mut count = 1;
            line(&message, &mut lines);
            while lines.len() < 1 << 16
                && let Some(message) = queue.take_waiting()
            {
                line(&message, &mut lines);
                count += 1;
            }
            let lost = queue.newly_lost();
            if lost > 0 {
                let _ = writeln!(
                    lines,
                    "{} weir: {lost} log messages lost: nobody took them",
                    Date::since_epoch(Duration::from_nanos(message.time)),
                );
            }
            // A log that cannot be written must not stop the bridge.
            if out.write_all(lines.as_bytes()).and_then(|()| out.flush()).is_err() {
                queue.lose(count);
            }
        }
    })
}

/// A line of the packet log.
fn line(message: &Message, to: &mut String) {
    let _ = write!(to, "{} ", Date::since_epoch(Duration::from_nanos(message.time)));
    match &message.subject {
        Subject::Packet(_) => to.push_str(message.text()),
        Subject::Event(event) => {
            to.push_str("weir: ");
            escape(&event.text, to);
        }
    }
    to.push('\n');
}
