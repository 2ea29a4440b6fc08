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

use crossbeam::channel::{Receiver, Sender, bounded};
use rtrb::{Consumer, Producer, RingBuffer};
use tracing::info;
use weir_config::rules::Direction;
use weir_engine::packet::describe::describe;
use weir_engine::packet::protocol;
use weir_engine::{LogAction, LogRecord, PortIndex, StateNote};

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

impl RecordReceiver {
    /// The next record, for those who write them down themselves.
    pub fn take(&mut self) -> Option<LogRecord> {
        self.ring.pop().ok()
    }
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
    /// What puts records into words.
    pub teller: Teller,
    /// Records that were not written because of the rate bound.
    pub held_back: Arc<AtomicU64>,
}

/// Puts records into words.
#[derive(Clone)]
pub struct Teller {
    /// Roles of the ports, by index.
    pub roles: Vec<String>,
    /// The programs that rule numbers belong to.
    pub programs: Arc<Programs>,
}

impl Writer {
    /// Writes on a thread of its own until `stop`, then what is left.
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub fn start(mut self, stop: Arc<AtomicBool>) -> io::Result<Writing> {
        let (alive, ended) = bounded(0);
        let thread = std::thread::Builder::new().name("weir-log".into()).spawn(move || {
            let _alive: Sender<()> = alive;
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
        })?;
        Ok(Writing { thread, ended })
    }

    /// Writes what waits; tells whether there was something. A log that cannot be written must not
    /// stop the bridge: the records count as held back.
    fn write_waiting(&mut self, pace: &mut Pace, now: Instant) -> bool {
        let mut lines = String::new();
        let mut taken = false;
        let mut formatted = 0;
        for i in 0..self.rings.len() {
            // A ring's worth at most: a worker that goes on logging must not keep us from the others.
            for _ in 0..RING {
                if lines.len() >= 1 << 16 {
                    break;
                }
                let Ok(record) = self.rings[i].ring.pop() else { break };
                taken = true;
                if !pace.admits(now) {
                    self.held_back.fetch_add(1, Ordering::Relaxed);
                } else if record.is_debug {
                    let mut line = String::new();
                    self.teller.tell(&record, &mut line);
                    info!("refused by its state: {line}");
                } else {
                    let _ = write!(lines, "{} ", self.clock.date(record.time));
                    self.teller.tell(&record, &mut lines);
                    lines.push('\n');
                    formatted += 1;
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
        if !lines.is_empty()
            && self.out.write_all(lines.as_bytes()).and_then(|()| self.out.flush()).is_err()
        {
            self.held_back.fetch_add(formatted, Ordering::Relaxed);
        }
        taken
    }
}

impl Teller {
    /// As tcpdump prints pflog: rule, label, reason, action, direction, port, packet; then the state
    /// that it belongs to, as it was.
    pub fn tell(&self, record: &LogRecord, line: &mut String) {
        let rule = (record.rule != u32::MAX).then_some(record.rule);
        self.rule(record.epoch, rule, line);
        if let Some(reason) = record.reason {
            let _ = write!(line, "/{reason}");
        }
        let action = match record.action {
            LogAction::Pass => "pass",
            LogAction::Block => "block",
            LogAction::Match => "match",
        };
        let direction = match record.direction {
            Direction::In => "in",
            Direction::Out => "out",
        };
        let role = self.role(record.at);
        let _ = write!(line, ": {action} {direction} on {role}: ");
        let head = &record.bytes[..usize::from(record.captured).min(record.bytes.len())];
        escape(&describe(head, record.length).to_string(), line);
        if let Some(state) = &record.state {
            describe_state(state, line);
        }
    }

    /// `rule 14 "label"`, `rule 3.webfarm.0` or `rule none`.
    pub fn rule(&self, epoch: u32, rule: Option<u32>, line: &mut String) {
        line.push_str("rule ");
        let Some(rule) = rule else {
            line.push_str("none");
            return;
        };
        let rule = self.programs.rule(epoch, rule);
        escape(&rule.number, line);
        if let Some(label) = rule.label {
            line.push_str(" \"");
            escape(&label, line);
            line.push('"');
        }
    }

    /// The role of a port.
    pub fn role(&self, port: PortIndex) -> &str {
        self.roles.get(usize::from(port.0)).map_or("?", String::as_str)
    }
}

/// The words of `-vss`: states, then for TCP sequence number, what is allowed beyond it, largest window
/// and window scale of each end, the responder first.
fn describe_state(state: &StateNote, line: &mut String) {
    let [initiator, responder] = &state.peers;
    let _ = write!(line, ", state {}:{}", responder.state, initiator.state);
    if state.protocol != protocol::TCP {
        return;
    }
    for peer in [responder, initiator] {
        let room = peer.seq_hi.wrapping_sub(peer.seq_lo);
        let _ = write!(line, " [{} + {room}]", peer.seq_lo);
        if peer.seq_diff != 0 {
            let _ = write!(line, "(+{})", peer.seq_diff);
        }
        let _ = write!(line, " win {}", peer.window);
        if let Some(scale) = peer.scale {
            let _ = write!(line, " wscale {scale}");
        }
    }
}

/// Appends `text` with everything that is not a printable ASCII character escaped, so that a packet
/// cannot write to a terminal or forge a line.
pub fn escape(text: &str, to: &mut String) {
    for character in text.chars() {
        if character == ' ' || character.is_ascii_graphic() {
            to.push(character);
        } else {
            to.extend(character.escape_default());
        }
    }
}

/// A [`Writer`] on its thread.
#[derive(Debug)]
pub struct Writing {
    thread: JoinHandle<()>,
    /// Disconnected when the thread ends.
    ended: Receiver<()>,
}

impl Writing {
    /// After `stop` was set: waits until everything is written, but no longer than `patience`, since
    /// whoever reads the log may be stuck.
    pub fn finish(self, patience: Duration) {
        self.thread.thread().unpark();
        let _ = self.ended.recv_timeout(patience);
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

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant as Moment};

    use parking_lot::Mutex;
    use weir_config::rules::Direction;
    use weir_config::{Defines, SourceFile, parse_one};
    use weir_engine::packet::build::tcp;
    use weir_engine::{
        Instant, LogAction, LogRecord, PeerView, PortIndex, PortName, PortNames, Program, Reason,
        StateNote,
    };

    use super::{Pace, RATE, RING, RecordSender, Teller, Writer, escape, ring};
    use crate::clock::Clock;
    use crate::rules::{Places, Programs};

    /// A writer's end that can be looked at.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock())).unwrap()
        }
    }

    fn writer() -> (RecordSender, Writer, Paper) {
        let (sender, receiver) = ring();
        let paper = Paper::default();
        let programs = Programs::default();
        for label in ["old", "we\u{1b}b"] {
            let text = "block\npass log label x\n";
            let parsed = parse_one(&SourceFile::new("test", text), &Defines::default());
            let mut rules = parsed.rules.unwrap_or_else(|| panic!("{}", parsed.diagnostics));
            rules.rules[1].label = Some(label.into());
            let port =
                PortName { role: "lan".into(), interface: "lan0".into(), prefixes: Vec::new() };
            let program = Program::compile(&rules, &PortNames(vec![port]), None).unwrap();
            let places = Places::new(&rules);
            programs.push(Arc::new(program), Arc::new(places));
        }
        let writer = Writer {
            rings: vec![receiver],
            out: Box::new(paper.clone()),
            clock: Clock::start(),
            teller: Teller {
                roles: vec!["lan".into(), "wan".into()],
                programs: Arc::new(programs),
            },
            held_back: Arc::new(AtomicU64::new(0)),
        };
        (sender, writer, paper)
    }

    fn record(rule: u32, epoch: u32) -> LogRecord {
        let source: std::net::SocketAddr = "192.0.2.1:40000".parse().unwrap();
        let destination: std::net::SocketAddr = "198.51.100.2:22".parse().unwrap();
        let frame = tcp(source, destination, 2).frame();
        let mut bytes = [0; 128];
        bytes[..frame.len()].copy_from_slice(&frame);
        LogRecord {
            time: Instant(1_500_000),
            port: PortIndex::WAN,
            at: PortIndex::WAN,
            direction: Direction::In,
            action: LogAction::Block,
            reason: Some(Reason::BlockRule),
            state: None,
            is_debug: false,
            rule,
            epoch,
            length: frame.len() as u32,
            captured: frame.len() as u16,
            network_offset: 14,
            bytes,
        }
    }

    #[test]
    fn a_line_says_who_what_where_and_why() {
        let (mut sender, mut writer, paper) = writer();
        let now = Moment::now();
        let mut pace = Pace::new(now);
        for (rule, epoch) in [(1, 2), (1, 1), (0, 2), (u32::MAX, 2), (7, 2), (1, 0), (1, 9)] {
            sender.send(&record(rule, epoch));
        }
        assert!(writer.write_waiting(&mut pace, now));
        let text = paper.take();
        let date = writer.clock.date(Instant(1_500_000)).to_string();
        let lines: Vec<_> =
            text.lines().map(|line| line.strip_prefix(&*date).expect("the date")).collect();
        let what = ": block in on wan: ";
        for (line, begin) in lines.iter().zip([
            " rule 1 \"we\\u{1b}b\"/block-rule",
            " rule 1 \"old\"/block-rule",
            " rule 0/block-rule",
            " rule none/block-rule",
            " rule 7/block-rule",
            " rule 1/block-rule",
            " rule 1/block-rule",
        ]) {
            let packet = line.strip_prefix(&format!("{begin}{what}"));
            let packet = packet.unwrap_or_else(|| panic!("{line}"));
            assert!(packet.contains("192.0.2.1.40000 > 198.51.100.2.22: Flags [S]"), "{packet}");
        }
        assert_eq!(lines.len(), 7);
        assert!(!writer.write_waiting(&mut pace, now));
        assert_eq!(paper.take(), "");
    }

    #[test]
    fn a_state_is_told_as_it_was() {
        let (mut sender, mut writer, paper) = writer();
        let peer = |state, seq_lo, scale: Option<u8>| PeerView {
            state,
            seq_lo,
            seq_hi: seq_lo.wrapping_add(64_240),
            seq_diff: u32::from(scale.is_none()) * 9,
            window: 502,
            scale,
        };
        let peers = [peer("ESTABLISHED", 1001, Some(7)), peer("CLOSING", u32::MAX, None)];
        let note = StateNote { protocol: 6, peers };
        sender.send(&LogRecord { state: Some(note), ..record(1, 2) });
        sender.send(&LogRecord { state: Some(StateNote { protocol: 17, ..note }), ..record(1, 2) });
        // Weir's own log has a line of its own.
        sender.send(&LogRecord { state: Some(note), is_debug: true, ..record(1, 2) });
        let now = Moment::now();
        writer.write_waiting(&mut Pace::new(now), now);
        let text = paper.take();
        let ends: Vec<_> =
            text.lines().map(|line| &line[line.find(", state").expect("a state")..]).collect();
        assert_eq!(
            ends,
            [
                ", state CLOSING:ESTABLISHED [4294967295 + 64240](+9) win 502 [1001 + 64240] win 502 \
                 wscale 7",
                ", state CLOSING:ESTABLISHED"
            ]
        );
    }

    #[test]
    fn text_from_outside_cannot_control_a_terminal() {
        let mut out = String::new();
        escape("a b\u{1b}[2J\n\u{7f}\u{9b}ä\\", &mut out);
        assert!(out.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{out}");
        assert!(out.starts_with("a b\\u{1b}[2J\\n"), "{out}");
    }

    #[test]
    fn what_is_lost_or_held_back_is_reported() {
        let (mut sender, mut writer, paper) = writer();
        let start = Moment::now();
        let mut pace = Pace::new(start);
        for _ in 0..RING + 3 {
            sender.send(&record(0, 2));
        }
        assert_eq!(sender.lost(), 3);
        while writer.write_waiting(&mut pace, start) {}
        let text = paper.take();
        assert_eq!(text.lines().filter(|line| line.contains("block-rule")).count() as u64, RATE);
        let lost = "weir: 3 log records of worker 0 lost";
        assert_eq!(text.lines().filter(|line| line.contains(lost)).count(), 1, "{text}");
        let held_back = RING as u64 - RATE;
        assert_eq!(writer.held_back.load(Ordering::Relaxed), held_back);
        assert!(!text.contains("more log records not written"), "the second is not over");
        let later = start + Duration::from_secs(1);
        writer.write_waiting(&mut pace, later);
        let text = paper.take();
        assert!(
            text.contains(&format!("weir: {held_back} more log records not written")),
            "{text}"
        );
        sender.send(&record(0, 2));
        writer.write_waiting(&mut pace, later);
        assert_eq!(paper.take().lines().count(), 1, "a new second, a new allowance");
    }

    #[test]
    fn a_log_that_cannot_be_written_stops_nothing() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut sender, mut writer, _) = writer();
        writer.out = Box::new(Full);
        sender.send(&record(0, 2));
        let now = Moment::now();
        assert!(writer.write_waiting(&mut Pace::new(now), now));
        assert_eq!(writer.held_back.load(Ordering::Relaxed), 1);
    }
}
