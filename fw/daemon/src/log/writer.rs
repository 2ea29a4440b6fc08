//! The thread that takes records from the workers and tells them.
//!
//! A worker never waits: a record that finds its ring full is counted as lost. Each rule is held to
//! its rate, and all together to [`RATE`](super::pace::RATE) lines a second; what exceeds that is
//! counted, and told in a line. The file in pf's format gets every record.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use tracing::info;
use weir_engine::LogRecord;

use super::events;
use super::fields;
use super::message::{Event, Kind, LoggedPacket, Message, Severity};
use super::pace::{More, Pace, RATE, RulePace, SECOND};
use super::ring::{RING, RecordReceiver};
use super::sinks::Sinks;
use super::teller::{self, Teller, grouped};
use crate::clock::Clock;

/// How long the writer rests when there is nothing to tell.
const REST: Duration = Duration::from_millis(20);

/// Tells the records of all workers.
pub struct Writer {
    /// From each worker.
    pub rings: Vec<RecordReceiver>,
    /// Whom to.
    pub sinks: Arc<Sinks>,
    /// The engine's clock.
    pub clock: Clock,
    /// What puts records into words.
    pub teller: Teller,
    /// Lines a second that one rule may have; `None`: no bound of its own.
    pub rate: Option<u32>,
}

/// Both bounds on lines a second.
#[derive(Debug)]
struct Paces {
    rules: RulePace,
    all: Pace,
}

impl Writer {
    /// Tells on a thread of its own until [`Writing::finish`].
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub fn start(mut self) -> io::Result<Writing> {
        let (alive, ended) = bounded(0);
        let stop: Arc<AtomicBool> = Arc::default();
        let told_to_stop = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("weir-log".into()).spawn(move || {
            let _alive: Sender<()> = alive;
            let mut paces = self.paces(Instant::now());
            while !told_to_stop.load(Ordering::Relaxed) {
                if !self.tell_waiting(&mut paces, Instant::now()) {
                    std::thread::park_timeout(REST);
                }
            }
            self.tell_rest(&mut paces, Instant::now());
        })?;
        Ok(Writing { thread, ended, stop })
    }

    /// Tells all that is left, and all that would be told when the second is over.
    fn tell_rest(&mut self, paces: &mut Paces, now: Instant) {
        self.tell_waiting(paces, now);
        self.tell_waiting(paces, now + 2 * SECOND);
    }

    fn paces(&self, now: Instant) -> Paces {
        Paces { rules: RulePace::new(self.rate, now), all: Pace::new(now) }
    }

    /// Tells what waits; returns whether there was something.
    fn tell_waiting(&mut self, paces: &mut Paces, now: Instant) -> bool {
        let mut taken = false;
        self.sinks.tell_more_events(self.clock.since_epoch(self.clock.now()), now);
        for more in paces.rules.take(now) {
            self.tell_more(&more);
        }
        for i in 0..self.rings.len() {
            // A ring's worth at most: a worker that goes on logging must not keep us from the others.
            for _ in 0..RING {
                let Some(record) = self.rings[i].take() else { break };
                taken = true;
                self.tell(record, paces, now);
            }
            let ring = &mut self.rings[i];
            let lost = ring.unreported();
            if lost > 0 && paces.all.may_report(now) {
                ring.report(lost);
                let text = format!("{lost} log records of worker {i} lost: its ring was full");
                self.tell_lost(text);
            }
        }
        if let Some(count) = paces.all.take_held_back(now) {
            self.tell_lost(format!(
                "{count} more log records not written: more than {RATE} a second"
            ));
        }
        taken
    }

    fn tell(&self, record: LogRecord, paces: &mut Paces, now: Instant) {
        let message = || {
            let packet = LoggedPacket::new(record, &self.teller);
            Arc::new(Message::packet(self.clock.since_epoch(record.time), packet))
        };
        if record.is_debug {
            if paces.all.admits(now) {
                info!(target: events::STATE_MISMATCH, "refused by its state: {}", message().text());
            } else {
                self.sinks.hold_back();
            }
            return;
        }
        let recorded = self.sinks.records().then(|| {
            let message = message();
            self.sinks.record(&message);
            message
        });
        if paces.rules.admits(&record, now) && paces.all.admits(now) {
            self.sinks.tell(&recorded.unwrap_or_else(message));
        } else {
            self.sinks.hold_back();
        }
    }

    /// One line for all that a rule has logged beyond its rate.
    fn tell_more(&self, more: &More) {
        let mut text = String::new();
        let mut fields = Vec::new();
        match &more.last {
            Some(last) => {
                let rule = self.teller.rule_of(last);
                let role = self.teller.role(last.at);
                teller::tell_head(last, rule.as_ref(), role, &mut text);
                fields = fields::of_judgement(last, rule.as_ref(), role);
            }
            None => text.push_str("many rules:"),
        }
        let _ = write!(text, " {} more like this", grouped(more.count));
        fields.push(("count", more.count.to_string()));
        let (kind, severity) = (Kind::Packets, Severity::Notice);
        self.notice(Event { name: events::MORE, kind, severity, text, fields });
    }

    /// Who wants anything is told that something is missing.
    fn tell_lost(&self, text: String) {
        let (kind, severity) = (Kind::Both, Severity::Warning);
        self.notice(Event { name: events::LOG_LOST, kind, severity, text, fields: Vec::new() });
    }

    /// Something that belongs among the logged packets.
    fn notice(&self, event: Event) {
        let time = self.clock.since_epoch(self.clock.now());
        self.sinks.tell(&Arc::new(Message::event(time, event)));
    }
}

/// A [`Writer`] on its thread.
#[derive(Debug)]
pub struct Writing {
    thread: JoinHandle<()>,
    /// Disconnected when the thread ends.
    ended: Receiver<()>,
    stop: Arc<AtomicBool>,
}

impl Writing {
    /// When the workers have ended: waits until everything is told, but no longer than `patience`.
    pub fn finish(self, patience: Duration) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        let _ = self.ended.recv_timeout(patience);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;
    use std::time::{Duration, Instant as Moment};

    use parking_lot::Mutex;
    use weir_config::rules::Direction;
    use weir_config::{Defines, SourceFile, parse_one};
    use weir_engine::packet::build::tcp;
    use weir_engine::{
        Instant, LogAction, LogRecord, PeerView, PortIndex, PortName, PortNames, Program, Reason,
        StateNote,
    };

    use super::super::ring::{RecordSender, ring};
    use super::super::sinks::{self, Sinks};
    use super::super::teller::{escape, grouped};
    use super::{RATE, RING, Teller, Writer};
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
        /// What was written since the last call, when all is.
        fn take(&self, writer: &Writer) -> String {
            writer.sinks.drain(Duration::from_secs(60));
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
            sinks: Arc::new(Sinks::new(
                Some(sinks::start(paper.clone()).unwrap()),
                None,
                Vec::new(),
            )),
            rate: None,
            clock: Clock::start(),
            teller: Teller {
                roles: vec!["lan".into(), "wan".into()].into(),
                programs: Arc::new(programs),
            },
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
        let mut paces = writer.paces(now);
        for (rule, epoch) in [(1, 2), (1, 1), (0, 2), (u32::MAX, 2), (7, 2), (1, 0), (1, 9)] {
            sender.send(&record(rule, epoch));
        }
        assert!(writer.tell_waiting(&mut paces, now));
        let text = paper.take(&writer);
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
        assert!(!writer.tell_waiting(&mut paces, now));
        assert_eq!(paper.take(&writer), "");
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
        let mut paces = writer.paces(now);
        writer.tell_waiting(&mut paces, now);
        let text = paper.take(&writer);
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
        let mut paces = writer.paces(start);
        for _ in 0..RING + 3 {
            sender.send(&record(0, 2));
        }
        assert_eq!(sender.lost(), 3);
        while writer.tell_waiting(&mut paces, start) {}
        let text = paper.take(&writer);
        assert_eq!(text.lines().filter(|line| line.contains("block-rule")).count() as u64, RATE);
        let lost = "weir: 3 log records of worker 0 lost";
        assert_eq!(text.lines().filter(|line| line.contains(lost)).count(), 1, "{text}");
        let held_back = RING as u64 - RATE;
        assert_eq!(writer.sinks.held_back(), held_back);
        assert!(!text.contains("more log records not written"), "the second is not over");
        let later = start + Duration::from_secs(1);
        writer.tell_waiting(&mut paces, later);
        let text = paper.take(&writer);
        assert!(
            text.contains(&format!("weir: {held_back} more log records not written")),
            "{text}"
        );
        sender.send(&record(0, 2));
        writer.tell_waiting(&mut paces, later);
        assert_eq!(paper.take(&writer).lines().count(), 1, "a new second, a new allowance");
    }

    #[test]
    fn the_end_tells_what_the_next_second_would_have_told() {
        let (mut sender, mut writer, paper) = writer();
        writer.rate = Some(3);
        let now = Moment::now();
        let mut paces = writer.paces(now);
        writer.tell_waiting(&mut paces, now);
        for _ in 0..RING + 5 {
            sender.send(&record(1, 2));
        }
        writer.tell_rest(&mut paces, now);
        let text = paper.take(&writer);
        assert!(text.contains(&format!(" {} more like this", grouped(RING as u64 - 3))), "{text}");
        assert!(text.contains("weir: 5 log records of worker 0 lost"), "{text}");
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
        writer.sinks = Arc::new(Sinks::new(Some(sinks::start(Full).unwrap()), None, Vec::new()));
        sender.send(&record(0, 2));
        let now = Moment::now();
        let mut paces = writer.paces(now);
        assert!(writer.tell_waiting(&mut paces, now));
        writer.sinks.drain(Duration::from_secs(60));
        assert_eq!(writer.sinks.lost(), [Some(1), None]);
    }

    #[test]
    fn a_rule_that_logs_much_says_how_much_more_there_was() {
        let (mut sender, mut writer, paper) = writer();
        writer.rate = Some(3);
        let start = Moment::now();
        let mut paces = writer.paces(start);
        for _ in 0..1207 {
            sender.send(&record(1, 2));
        }
        sender.send(&record(0, 2));
        writer.tell_waiting(&mut paces, start);
        let text = paper.take(&writer);
        assert_eq!(text.lines().count(), 4, "three of the rule, and the other's: {text}");
        assert_eq!(writer.sinks.held_back(), 1204);
        let later = start + Duration::from_secs(1);
        sender.send(&record(1, 2));
        writer.tell_waiting(&mut paces, later);
        let text = paper.take(&writer);
        let lines: Vec<_> = text.lines().collect();
        let more = "weir: rule 1 \"we\\u{1b}b\"/block-rule: block in on wan: 1,204 more like this";
        assert!(lines[0].ends_with(more), "{text}");
        assert_eq!(lines.len(), 2, "and the second is over: {text}");
        // Nothing is told twice, and rules that are quiet are forgotten.
        writer.tell_waiting(&mut paces, later + Duration::from_secs(5));
        assert_eq!(paper.take(&writer), "");
        let numbers = [0_u32, 999, 1000, 100_000, 10_000_000].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,000", "100,000", "10,000,000"]);
    }
}
