//! Flow records for a collector (`keep state (pflow)`): IPFIX (RFC 7011) over UDP, a record for each
//! connection when it ends, with both directions (RFC 5103).
//!
//! Workers put records into rings and never wait; one thread packs them into messages and sends these.
//! What finds no room in a ring, and what the kernel does not take, is lost and counted.

mod message;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer, RingBuffer};
use tracing::{info, warn};
use weir_engine::FlowRecord;

use self::message::Messages;
use crate::clock::Clock;
use crate::log::events;

/// Records that wait for the exporter at most, of each worker.
const RING: usize = 4096;

/// How long the exporter rests when there is nothing to send, and so how long a record waits at most.
const REST: Duration = Duration::from_millis(200);

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
    /// Records that were sent.
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
    messages: Messages,
    clock: Clock,
    socket: Option<UdpSocket>,
    /// It was said that the collector cannot be reached.
    down: bool,
    templates_sent: Option<Instant>,
}

impl Exporter {
    /// To a collector, for an observation domain.
    pub fn new(collector: SocketAddr, domain: u32, clock: Clock) -> Self {
        Self {
            rings: Vec::new(),
            counts: Arc::default(),
            collector,
            messages: Messages::new(domain),
            clock,
            socket: None,
            down: false,
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

    /// Sends on a thread of its own until `stop`, then what is left.
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub fn start(mut self, stop: Arc<AtomicBool>) -> io::Result<()> {
        std::thread::Builder::new().name("weir-ipfix".into()).spawn(move || {
            loop {
                let last = stop.load(Ordering::Relaxed);
                self.export(Instant::now());
                if last {
                    break;
                }
                std::thread::sleep(REST);
            }
        })?;
        Ok(())
    }

    /// Sends what waits.
    fn export(&mut self, now: Instant) {
        let stale = self.templates_sent.is_none_or(|at| now.duration_since(at) >= TEMPLATES);
        if stale {
            let message = self.messages.templates(self.seconds());
            if self.send(&message) {
                self.templates_sent = Some(now);
            }
        }
        for ring in 0..self.rings.len() {
            while let Ok(record) = self.rings[ring].pop() {
                if !self.messages.add(&record, &self.clock) {
                    self.finish();
                    // One fits into an empty message.
                    self.messages.add(&record, &self.clock);
                }
            }
        }
        self.finish();
    }

    fn finish(&mut self) {
        let Some((message, records)) = self.messages.finish(self.seconds()) else { return };
        let counter = if self.send(&message) { &self.counts.sent } else { &self.counts.lost };
        counter.fetch_add(records, Ordering::Relaxed);
    }

    /// Seconds since 1970, as message headers have them until 2106.
    fn seconds(&self) -> u32 {
        (self.clock.since_epoch(self.clock.now()) / 1_000_000_000) as u32
    }

    /// Sends a message; tells whether the kernel has taken it.
    fn send(&mut self, message: &[u8]) -> bool {
        let sent = self.try_send(message);
        let collector = self.collector;
        match &sent {
            Err(error) => {
                self.socket = None;
                // Who comes back may be another who knows no templates.
                self.templates_sent = None;
                if !std::mem::replace(&mut self.down, true) {
                    warn!(target: events::COLLECTOR, "flow collector {collector}: {error}");
                }
            }
            Ok(()) if std::mem::replace(&mut self.down, false) => {
                info!(target: events::COLLECTOR, "flow collector {collector}: takes records again");
            }
            Ok(()) => {}
        }
        sent.is_ok()
    }

    fn try_send(&mut self, message: &[u8]) -> io::Result<()> {
        let socket = if let Some(socket) = &self.socket {
            socket
        } else {
            let any: SocketAddr = match self.collector {
                SocketAddr::V4(_) => ([0; 4], 0).into(),
                SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
            };
            let socket = UdpSocket::bind(any)?;
            socket.connect(self.collector)?;
            socket.set_nonblocking(true)?;
            self.socket.insert(socket)
        };
        socket.send(message).map(drop)
    }
}
