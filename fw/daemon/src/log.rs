//! The log of packets: from the workers through lock-free rings to one thread that formats and
//! writes a line each, as tcpdump would.
//!
//! A worker never waits: a record that finds its ring full is counted as lost. The writer holds
//! itself to [`RATE`] lines a second; what exceeds that is counted, too. Losses are reported in the
//! log itself. Bytes from the wire reach the log only as what tcpdump would say about them, and
//! whatever is not printable is escaped.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer, RingBuffer};
use weir_config::rules::Direction;
use weir_engine::{LogAction, LogRecord};

use crate::clock::Clock;
use crate::rules::Programs;

/// Records that wait for the writer at most, of each worker.
const RING: usize = 4096;

/// Lines a second at most.
const RATE: u64 = 2000;

/// How long the writer rests when there is nothing to write.
const REST: Duration = Duration::from_millis(20);

/// A worker's end.
#[derive(Debug)]
pub struct RecordSender {
    ring: Producer<LogRecord>,
    lost: Arc<AtomicU64>,
}

/// The writer's end of one worker's ring.
#[derive(Debug)]
pub struct RecordReceiver {
    ring: Consumer<LogRecord>,
    lost: Arc<AtomicU64>,
    reported: u64,
}

/// A ring for one worker.
pub fn ring() -> (RecordSender, RecordReceiver) {
    let (producer, consumer) = RingBuffer::new(RING);
    let lost = Arc::new(AtomicU64::new(0));
    (
        RecordSender { ring: producer, lost: Arc::clone(&lost) },
        RecordReceiver { ring: consumer, lost, reported: 0 },
    )
}

impl RecordSender {
    /// Passes a record on, or counts it as lost if there is no room.
    #[inline]
    pub fn send(&mut self, record: &LogRecord) {
        if self.ring.push(*record).is_err() {
            // Only this worker writes the counter.
            self.lost.store(self.lost.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// Records that found no room.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Opens the log file, to be appended to; `None` is standard error.
///
/// # Errors
/// When the file cannot be opened.
pub fn open(path: Option<&Path>) -> io::Result<Box<dyn Write + Send>> {
    match path {
        None => Ok(Box::new(io::stderr())),
        Some(path) => {
            let file: File = OpenOptions::new().append(true).create(true).open(path)?;
            Ok(Box::new(file))
        }
    }
}

/// Formats and writes the records of all workers.
pub struct Writer {
    /// From each worker.
    pub rings: Vec<RecordReceiver>,
    /// Where lines go.
    pub out: Box<dyn Write + Send>,
    /// The engine's clock.
    pub clock: Clock,
    /// Roles of the ports, by index.
    pub roles: Vec<String>,
    /// The programs that rule numbers belong to.
    pub programs: Arc<Programs>,
    /// Records that were not written because of the rate bound.
    pub held_back: Arc<AtomicU64>,
}

impl Writer {
    /// Writes on a thread of its own until `stop`, then what is left.
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub fn start(mut self, stop: Arc<AtomicBool>) -> io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("weir-log".into()).spawn(move || {
            let mut pace = Pace::new(Instant::now());
            loop {
                let last = stop.load(Ordering::Relaxed);
                let wrote = self.write_waiting(&mut pace, Instant::now());
                if last {
                    break;
                }
                if !wrote {
                    std::thread::park_timeout(REST);
                }
            }
        })
    }

    /// Writes what waits; tells whether there was something. A log that cannot be written must not
    /// stop the bridge: the records count as held back.
    fn write_waiting(&mut self, pace: &mut Pace, now: Instant) -> bool {
        let mut lines = String::new();
        let mut taken = false;
        for i in 0..self.rings.len() {
            while lines.len() < 1 << 16
                && let Ok(record) = self.rings[i].ring.pop()
            {
                taken = true;
                if pace.admits(now) {
                    self.format(&record, &mut lines);
                } else {
                    self.held_back.fetch_add(1, Ordering::Relaxed);
                }
            }
            let ring = &mut self.rings[i];
            let lost = ring.lost.load(Ordering::Relaxed);
            if lost != ring.reported && pace.may_report(now) {
                let _ = writeln!(
                    lines,
                    "{} weir: {} log records of worker {i} lost: its ring was full",
                    self.clock.date(self.clock.now()),
                    lost - ring.reported
                );
                ring.reported = lost;
            }
        }
        if let Some(count) = pace.take_held_back(now) {
            let _ = writeln!(
                lines,
                "{} weir: {count} more log records not written: more than {RATE} a second",
                self.clock.date(self.clock.now()),
            );
        }
        if !lines.is_empty() {
            let _ = self.out.write_all(lines.as_bytes()).and_then(|()| self.out.flush());
        }
        taken
    }

    /// One line, as tcpdump prints pflog: date, rule, reason, label, action, direction, port, packet.
    fn format(&self, record: &LogRecord, line: &mut String) {
        let _ = write!(line, "{} rule ", self.clock.date(record.time));
        if record.rule == u32::MAX {
            line.push_str("none");
        } else {
            let _ = write!(line, "{}", record.rule);
            if let Some(label) = self.programs.label(record.epoch, record.rule) {
                line.push_str(" \"");
                escape(&label, line);
                line.push('"');
            }
        }
        if let Some(reason) = record.reason {
            let _ = write!(line, "/{reason}");
        }
        let action = match record.action {
            LogAction::Pass => "pass",
            LogAction::Block => "block",
        };
        let direction = match record.direction {
            Direction::In => "in",
            Direction::Out => "out",
        };
        let role = self.roles.get(record.at.0 as usize).map_or("?", String::as_str);
        let _ = write!(line, ": {action} {direction} on {role}: ");
        escape(&crate::describe::describe(record), line);
        line.push('\n');
    }
}

/// Appends `text` with everything that is not a printable ASCII character escaped, so that a packet
/// cannot write to a terminal or forge a line.
fn escape(text: &str, to: &mut String) {
    for character in text.chars() {
        if character == ' ' || character.is_ascii_graphic() {
            to.push(character);
        } else {
            to.extend(character.escape_default());
        }
    }
}

/// Holds the writer to [`RATE`] lines in each second.
#[derive(Debug)]
struct Pace {
    second: Instant,
    lines: u64,
    held_back: u64,
    reported: Option<Instant>,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { second: now, lines: 0, held_back: 0, reported: None }
    }

    fn admits(&mut self, now: Instant) -> bool {
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.lines = 0;
        }
        let admitted = self.lines < RATE;
        if admitted {
            self.lines += 1;
        } else {
            self.held_back += 1;
        }
        admitted
    }

    /// Whether a loss may be reported: at most once a second.
    fn may_report(&mut self, now: Instant) -> bool {
        let due = self.reported.is_none_or(|at| now.duration_since(at) >= Duration::from_secs(1));
        if due {
            self.reported = Some(now);
        }
        due
    }

    /// How many lines were held back in a second that is over.
    fn take_held_back(&mut self, now: Instant) -> Option<u64> {
        let over = now.duration_since(self.second) >= Duration::from_secs(1);
        (over && self.held_back > 0).then(|| std::mem::take(&mut self.held_back))
    }
}
