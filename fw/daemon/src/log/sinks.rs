//! Everybody who wants to be told.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::events;
use super::hub::Hub;
use super::message::{Event, Kind, Message, Severity, Subject};
use super::outlet::{Outlet, Queue};
use super::pace::EventPace;
use super::teller::{escape, grouped};
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
    /// Of weir's own messages.
    events: Mutex<EventPace>,
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
            let put = match message.subject {
                Subject::Packet(_) => Outlet::put_crowd,
                Subject::Event(_) => Outlet::put,
            };
            put(packet_log, Arc::clone(message));
        }
        self.tell_others(message);
    }

    /// Tells what weir has said on standard error, unless it says the same all the time.
    pub(super) fn tell_event(&self, message: Message) {
        if self.events.lock().admits(message.name(), Instant::now()) {
            self.tell_others(&Arc::new(message));
        } else {
            self.hold_back();
        }
    }

    /// Tells how many of weir's own messages were held back in seconds that are over.
    pub(super) fn tell_more_events(&self, time: u64, now: Instant) {
        let more = self.events.lock().take(now);
        for (name, count) in more {
            let text = format!("{} more messages like this: {name}", grouped(count));
            let fields = vec![("of", name.to_owned()), ("count", count.to_string())];
            let (kind, severity) = (Kind::Events, Severity::Notice);
            let event = Event { name: events::MORE, kind, severity, text, fields };
            self.tell_others(&Arc::new(Message::event(time, event)));
        }
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

    /// Records and messages that nobody was told of because of a rate.
    pub fn held_back(&self) -> u64 {
        self.held_back.load(Ordering::Relaxed)
    }

    /// What the packet log and the file in pf's format have lost, whichever there are.
    pub fn lost(&self) -> [Option<u64>; 2] {
        [self.packet_log.as_ref().map(Outlet::lost), self.pflog.as_ref().map(Pflog::lost)]
    }

    /// Waits until everything is written that was told before, but no longer than `patience` in all.
    /// Tells who has not written everything.
    pub fn drain(&self, patience: Duration) -> Vec<&str> {
        let packet_log = self.packet_log.iter().map(|log| ("the packet log", log.begin_drain()));
        let pflog = self.pflog.iter().map(|pflog| ("pflog", pflog.begin_drain()));
        let servers = self.servers.iter().map(|server| (server.name(), server.begin_drain()));
        // All have begun before the first is waited for.
        let drains: Vec<_> = packet_log.chain(pflog).chain(servers).collect();
        let deadline = Instant::now() + patience;
        let late = drains
            .into_iter()
            .filter_map(|(name, drain)| (!drain.finish(deadline)).then_some(name));
        late.collect()
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
