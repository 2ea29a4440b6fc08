//! Flow records for a collector (`keep state (pflow)`): IPFIX (RFC 7011) over UDP, a record for each
//! connection when it ends, with both directions (RFC 5103).
//!
//! Workers put records into rings and never wait; one thread packs them into messages and sends these.
//! What finds no room in a ring, and what the kernel does not take, is lost and counted. While the
//! collector is not there nothing is sent but the templates, now and then, and records wait in the rings:
//! UDP tells of that with the error that the next datagram gets.

mod message;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use rtrb::{Consumer, Producer, RingBuffer};
use tracing::{info, warn};
use weir_engine::FlowRecord;

use self::message::Messages;
use crate::clock::Clock;
use crate::log::events;
use crate::namespace::Namespace;

/// Records that wait for the exporter at most, of each worker.
const RING: usize = 4096;

/// How long the exporter rests when there is nothing to send, and so how long a record waits at most.
const REST: Duration = Duration::from_millis(200);

/// Between two attempts to reach a collector that was not there: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a collector that was not there must have taken everything before it is said to be back.
const STEADY: Duration = Duration::from_secs(5);

/// How often templates are sent again: a collector that was restarted knows none (RFC 7011, 8.1).
const TEMPLATES: Duration = Duration::from_secs(60);

/// A worker's end of a ring.
#[derive(Debug)]
pub struct FlowSender {
    ring: Option<Producer<FlowRecord>>,
    counts: Arc<Counts>,
}

/// What became of records.
#[derive(Debug, Default)]
pub struct Counts {
    sent: AtomicU64,
    lost: AtomicU64,
}

impl Counts {
    /// Records that were handed to the kernel; some of these may be lost, too.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Records that were lost, the engines' own losses excepted.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl FlowSender {
    /// For workers whose records nobody wants.
    pub fn nowhere() -> Self {
        Self { ring: None, counts: Arc::default() }
    }

    /// Passes a record on, or counts it as lost. Never waits.
    pub fn send(&mut self, record: FlowRecord) {
        if let Some(ring) = &mut self.ring
            && ring.push(record).is_err()
        {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sends what workers put into their rings.
#[derive(Debug)]
pub struct Exporter {
    rings: Vec<Consumer<FlowRecord>>,
    counts: Arc<Counts>,
    collector: SocketAddr,
    namespace: Namespace,
    messages: Messages,
    clock: Clock,
    socket: Option<UdpSocket>,
    /// It was said that the collector cannot be reached.
    down: bool,
    /// Nothing is sent before then, and how long the next pause is.
    rests_until: Option<Instant>,
    pause: Duration,
    /// Since when it takes what it is sent, and how many records were in the last message.
    takes_since: Option<Instant>,
    last: u64,
    templates_sent: Option<Instant>,
}

/// An [`Exporter`] on its thread.
#[derive(Debug)]
pub struct Exporting {
    thread: JoinHandle<()>,
    /// Disconnected when the thread ends.
    ended: Receiver<()>,
    stop: Arc<AtomicBool>,
}

impl Exporting {
    /// When the workers have ended: waits until what is left is sent, but no longer than `patience`.
    pub fn finish(self, patience: Duration) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        let _ = self.ended.recv_timeout(patience);
    }
}

impl Exporter {
    /// To a collector in that network namespace, for an observation domain.
    pub fn new(collector: SocketAddr, namespace: Namespace, domain: u32, clock: Clock) -> Self {
        Self {
            rings: Vec::new(),
            counts: Arc::default(),
            collector,
            namespace,
            messages: Messages::new(domain),
            clock,
            socket: None,
            down: false,
            rests_until: None,
            pause: FIRST_PAUSE,
            takes_since: None,
            last: 0,
            templates_sent: None,
        }
    }

    /// A ring for another worker.
    pub fn ring(&mut self) -> FlowSender {
        let (producer, consumer) = RingBuffer::new(RING);
        self.rings.push(consumer);
        FlowSender { ring: Some(producer), counts: Arc::clone(&self.counts) }
    }

    /// What becomes of records.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Sends on a thread of its own until [`Exporting::finish`].
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub fn start(mut self) -> io::Result<Exporting> {
        let (alive, ended) = bounded(0);
        let stop: Arc<AtomicBool> = Arc::default();
        let told_to_stop = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("weir-ipfix".into()).spawn(move || {
            let _alive: Sender<()> = alive;
            while !told_to_stop.load(Ordering::Relaxed) {
                self.export(Instant::now());
                std::thread::park_timeout(REST);
            }
            self.export(Instant::now());
        })?;
        Ok(Exporting { thread, ended, stop })
    }

    /// Sends what waits, unless the collector was not there just now.
    fn export(&mut self, now: Instant) {
        if self.rests_until.is_some_and(|until| now < until) {
            return;
        }
        self.rests_until = None;
        let refused = self.socket.as_ref().and_then(|socket| socket.take_error().ok().flatten());
        if let Some(error) = refused {
            self.fail(&error, now);
            return;
        }
        let stale = self.templates_sent.is_none_or(|at| now.duration_since(at) >= TEMPLATES);
        if stale {
            let message = self.messages.templates(self.seconds());
            if !self.send(&message, 0, now) {
                return;
            }
            self.templates_sent = Some(now);
        }
        // Whoever is asked after a pause is given time to say no before records are spent on it.
        if self.down && stale {
            return;
        }
        for ring in 0..self.rings.len() {
            while let Ok(record) = self.rings[ring].pop() {
                if !self.messages.add(&record, &self.clock) {
                    let goes_on = self.finish(now);
                    // One fits into an empty message.
                    self.messages.add(&record, &self.clock);
                    if !goes_on {
                        return;
                    }
                }
            }
        }
        self.finish(now);
    }

    /// Sends the message under way; `false` if the collector is not there.
    fn finish(&mut self, now: Instant) -> bool {
        let Some((message, records)) = self.messages.finish(self.seconds()) else { return true };
        self.send(&message, records, now)
    }

    /// Seconds since 1970, as message headers have them until 2106.
    fn seconds(&self) -> u32 {
        (self.clock.since_epoch(self.clock.now()) / 1_000_000_000) as u32
    }

    /// Sends a message of so many records, or counts them as lost; `false` if the collector is not there.
    fn send(&mut self, message: &[u8], records: u64, now: Instant) -> bool {
        let counts = Arc::clone(&self.counts);
        match self.try_send(message) {
            Ok(()) => {
                counts.sent.fetch_add(records, Ordering::Relaxed);
                self.last = records;
                let since = *self.takes_since.get_or_insert(now);
                if self.down && now.duration_since(since) >= STEADY {
                    (self.down, self.pause) = (false, FIRST_PAUSE);
                    let collector = self.collector;
                    info!(target: events::COLLECTOR, "flow collector {collector}: takes records again");
                }
                true
            }
            // The network is there, and has no room at the moment.
            Err(error) if has_no_room(&error) => {
                counts.lost.fetch_add(records, Ordering::Relaxed);
                true
            }
            Err(error) => {
                counts.lost.fetch_add(records, Ordering::Relaxed);
                self.fail(&error, now);
                false
            }
        }
    }

    /// Sends nothing for a while.
    fn fail(&mut self, error: &io::Error, now: Instant) {
        let before = std::mem::take(&mut self.last);
        if error.kind() == io::ErrorKind::ConnectionRefused {
            // That is what became of the message before: handed over, and lost behind the kernel.
            self.counts.lost.fetch_add(before, Ordering::Relaxed);
        }
        if !std::mem::replace(&mut self.down, true) {
            let collector = self.collector;
            warn!(target: events::COLLECTOR, "flow collector {collector}: {error}; records wait");
        }
        // Who comes back may be another who knows no templates.
        (self.socket, self.templates_sent, self.takes_since) = (None, None, None);
        self.rests_until = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn try_send(&mut self, message: &[u8]) -> io::Result<()> {
        let socket = if let Some(socket) = &self.socket {
            socket
        } else {
            let collector = self.collector;
            let any: SocketAddr = match collector {
                SocketAddr::V4(_) => ([0; 4], 0).into(),
                SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
            };
            let socket = self.namespace.within(|| {
                let socket = UdpSocket::bind(any)?;
                socket.connect(collector)?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            })?;
            self.socket.insert(socket)
        };
        socket.send(message).map(drop)
    }
}

/// Whether an error says that a queue is full, and nothing of the collector.
fn has_no_room(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error())
}

#[cfg(test)]
mod tests {
    use weir_engine::packet::{Address, Network, Tags};
    use weir_engine::{FlowEnd, PeerView, PortIndex, StateView};

    use super::*;

    fn record() -> FlowRecord {
        let peer = PeerView {
            state: "MULTIPLE",
            seq_lo: 0,
            seq_hi: 0,
            seq_diff: 0,
            window: 0,
            scale: None,
        };
        let now = weir_engine::Instant(0);
        let state = StateView {
            id: 1,
            port: PortIndex::LAN,
            network: Network::Ipv4,
            protocol: 17,
            tags: Tags::default(),
            source: Address::default(),
            source_port: 1,
            destination: Address::default(),
            destination_port: 2,
            peers: [peer; 2],
            age: 0,
            idle: 0,
            expires: 0,
            packets: [1; 2],
            bytes: [28; 2],
            rules: [None; 2],
        };
        FlowRecord { state, begun: now, last: now, end: FlowEnd::Idle }
    }

    #[test]
    fn records_wait_for_a_collector_that_is_not_there() {
        // An address that nobody else takes a port of meanwhile.
        let any: SocketAddr = ([127, 77, 0, 1], 0).into();
        let socket = UdpSocket::bind(any).unwrap();
        let address = socket.local_addr().unwrap();
        drop(socket);
        let mut exporter = Exporter::new(address, Namespace::default(), 1, Clock::start());
        let mut ring = exporter.ring();
        let mut now = Instant::now();
        // Nobody answers a datagram before it is sent.
        while exporter.rests_until.is_none() {
            exporter.export(now);
            std::thread::yield_now();
        }
        assert!(exporter.down);
        ring.send(record());
        exporter.export(now);
        let counted = |exporter: &Exporter| (exporter.counts.sent(), exporter.counts.lost());
        assert_eq!((counted(&exporter), exporter.rings[0].slots()), ((0, 0), 1), "it waits");
        // It is back: templates first, then what has waited, and after a while that is believed.
        let collector = UdpSocket::bind(address).unwrap();
        collector.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        now += 2 * LONGEST_PAUSE;
        exporter.export(now);
        assert_eq!((counted(&exporter), exporter.templates_sent), ((0, 0), Some(now)));
        now += REST;
        exporter.export(now);
        assert_eq!((counted(&exporter), exporter.down), ((1, 0), true));
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut message = [0; 2048];
            collector.recv(&mut message).unwrap();
            kinds.push(u16::from_be_bytes([message[16], message[17]]));
        }
        assert_eq!(kinds, [2, 256], "sets of templates and of records");
        now += STEADY;
        ring.send(record());
        exporter.export(now);
        assert_eq!(
            (counted(&exporter), exporter.down, exporter.pause),
            ((2, 0), false, FIRST_PAUSE)
        );
    }
}
