//! Log servers: each has a queue and a thread of its own, a connection that is made again when it
//! breaks, and counts of what became of messages.
//!
//! A message that cannot be sent waits until it can; those behind it wait in the queue, and what finds
//! no room there is lost, counted, and told to that server as soon as it hears again. Syslog knows no
//! acknowledgements: what was on its way when a TCP connection broke may have arrived or not, and only
//! the message that could not be handed to the kernel as a whole is sent again.

mod format;
mod tls;
mod transport;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tracing::{info, warn};
use weir_config::settings::{Format, Server, Syslog};

use self::format::Formatter;
use self::transport::{Connection, Transport};
use crate::log::events;
use crate::log::message::{Event, Kind, Message, Severity, Subject};
use crate::log::outlet::{Drain, Outlet, Queue};
use crate::namespace::Namespace;

/// Between two attempts to reach a server: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a server that was away must take messages before it is said to hear again.
const STEADY: Duration = Duration::from_secs(5);
/// How long a server that was away may take to hang up on a new connection, as those do that do not like
/// our certificate: in TLS 1.3 they say so when our handshake is long over.
const SECOND_THOUGHTS: Duration = Duration::from_millis(500);

/// A log server.
#[derive(Debug)]
pub struct LogServer {
    name: String,
    severity: u8,
    packets: bool,
    events: bool,
    outlet: Outlet<Arc<Message>>,
    health: Arc<Health>,
}

/// How it fares.
#[derive(Debug, Default)]
struct Health {
    sent: AtomicU64,
    connected: AtomicBool,
}

impl LogServer {
    /// Begins to send to a server, once there is something to send. One with an address is in that
    /// network namespace.
    ///
    /// # Errors
    /// When a certificate or key cannot be read, or the kernel gives no thread.
    pub fn start(settings: &Syslog, namespace: &Namespace) -> Result<Self, String> {
        let name = name(&settings.to);
        let transport = Transport::new(settings, namespace.clone())
            .map_err(|error| format!("{name}: {error}"))?;
        let formatter = Formatter::new(settings);
        let health: Arc<Health> = Arc::default();
        let sender = Sender {
            name: name.clone(),
            transport,
            formatter,
            health: Arc::clone(&health),
            connection: None,
            down: false,
            pause: FIRST_PAUSE,
            hears_since: None,
        };
        let outlet =
            Outlet::start("weir-syslog", settings.queue as usize, move |queue| sender.serve(queue))
                .map_err(|error| format!("{name}: {error}"))?;
        let &Syslog { severity, packets, events, .. } = settings;
        Ok(Self { name, severity, packets, events, outlet, health })
    }

    /// Sends a message, if it is one that the server is to get. Never waits.
    pub fn tell(&self, message: &Arc<Message>) {
        let wanted = match message.kind() {
            Kind::Packets => self.packets,
            Kind::Events => self.events,
            Kind::Both => true,
        };
        if !wanted || message.severity() as u8 > self.severity {
            return;
        }
        match message.subject {
            Subject::Packet(_) => self.outlet.put_crowd(Arc::clone(message)),
            Subject::Event(_) => self.outlet.put(Arc::clone(message)),
        }
    }

    /// What the settings call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Messages that were handed to the kernel; some of these may be lost, too.
    pub fn sent(&self) -> u64 {
        self.health.sent.load(Ordering::Relaxed)
    }

    /// Messages that were lost.
    pub fn lost(&self) -> u64 {
        self.outlet.lost()
    }

    /// Messages that wait.
    pub fn waiting(&self) -> usize {
        self.outlet.waiting()
    }

    /// Whether the last attempt to reach it succeeded.
    pub fn is_connected(&self) -> bool {
        self.health.connected.load(Ordering::Relaxed)
    }

    /// Begins to wait until all messages are sent.
    pub fn begin_drain(&self) -> Drain<Arc<Message>> {
        self.outlet.begin_drain()
    }
}

/// As the settings have it.
fn name(server: &Server) -> String {
    match server {
        Server::Unix(path) => format!("unix:{}", path.display()),
        Server::Udp(address) => format!("udp:{address}"),
        Server::Tcp(address) => format!("tcp:{address}"),
        Server::Tls(address) => format!("tls:{address}"),
    }
}

/// The thread's side.
struct Sender {
    name: String,
    transport: Transport,
    formatter: Formatter,
    health: Arc<Health>,
    connection: Option<Connection>,
    /// It was told that the server cannot be reached.
    down: bool,
    /// Before the next attempt, if this one fails.
    pause: Duration,
    /// Since when every message was taken.
    hears_since: Option<Instant>,
}

impl Sender {
    fn serve(mut self, mut queue: Queue<Arc<Message>>) {
        let mut bytes = Vec::new();
        while let Some(message) = queue.take() {
            self.formatter.format(&message, &mut bytes);
            self.send(&bytes, &queue);
            let lost = queue.newly_lost();
            if lost > 0 {
                let text = format!("{lost} messages for this log server were lost");
                let event = Event {
                    name: events::LOG_LOST,
                    kind: Kind::Both,
                    severity: Severity::Warning,
                    text,
                    fields: Vec::new(),
                };
                self.formatter.format(&Message::event(message.time, event), &mut bytes);
                self.send(&bytes, &queue);
            }
        }
    }

    /// Sends a message, however long it takes.
    fn send(&mut self, message: &[u8], queue: &Queue<Arc<Message>>) {
        loop {
            let failed = match self.try_send(message) {
                Ok(()) => {
                    self.health.sent.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Err(error) => error,
            };
            if transport::is_too_long(&failed) {
                queue.lose(1);
                return;
            }
            if matches!(self.connection, Some(Connection::Udp(_)))
                && failed.kind() == io::ErrorKind::ConnectionRefused
            {
                // That is what became of the message before: handed over, and lost behind the kernel.
                queue.lose(1);
            }
            (self.connection, self.hears_since) = (None, None);
            self.health.connected.store(false, Ordering::Relaxed);
            if !std::mem::replace(&mut self.down, true) {
                let name = &self.name;
                warn!(target: events::LOG_SERVER_DOWN, "log server {name}: {failed}; messages wait");
            }
            std::thread::sleep(self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn try_send(&mut self, message: &[u8]) -> io::Result<()> {
        let is_new = self.connection.is_none();
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.transport.connect()?),
        };
        if is_new && self.down {
            connection.wait_for_end(SECOND_THOUGHTS);
        }
        // It would take what we send to it and throw it away.
        if connection.has_ended() {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "it has hung up"));
        }
        connection.send(message)?;
        self.health.connected.store(true, Ordering::Relaxed);
        // One message that was taken says little: UDP tells of it with the next.
        if self.hears_since.get_or_insert_with(Instant::now).elapsed() >= STEADY {
            self.pause = FIRST_PAUSE;
            if std::mem::replace(&mut self.down, false) {
                info!(target: events::LOG_SERVER_UP, "log server {}: it hears again", self.name);
            }
        }
        Ok(())
    }
}

/// Whether messages have structured data.
const fn is_structured(format: Format) -> bool {
    matches!(format, Format::Rfc5424)
}
