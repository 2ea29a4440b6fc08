//! What a replay prints: packets with their verdicts, the log, statistics; as text or JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;
use weir_engine::packet::describe::describe;
use weir_engine::{LogRecord, PortIndex, Reason, Verdict};
use weir_shell::protocol::{Info, Interface, RuleListing};
use weir_shell::rulesets::{self, Detail};

use super::feed::Counts;
use crate::clock::Clock;
use crate::log::Teller;
use crate::tap::{Sighting, Way};
use crate::verdict::{tell, word};

/// One packet of `--verbose`, with `--json`.
#[derive(Serialize)]
struct PacketLine<'a> {
    /// Its number in the order of the replay, from 1; absent where a datagram in fragments is decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    packet: Option<u64>,
    time: String,
    port: &'a str,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// The rules that decided, arriving and leaving, as logs call them.
    rules: [Option<String>; 2],
    text: String,
}

/// One record of the log, with `--json`.
#[derive(Serialize)]
struct LogLine<'a> {
    time: String,
    log: &'a str,
}

/// The statistics, with `--json`.
#[derive(Serialize)]
struct Statistics<'a> {
    packets: PacketCounts<'a>,
    info: &'a Info,
    rules: &'a RuleListing,
    interfaces: &'a [Interface],
}

#[derive(Serialize)]
struct PacketCounts<'a> {
    /// By the port they arrived at, and by the port they left by.
    arrived: BTreeMap<&'static str, u64>,
    left: BTreeMap<&'static str, u64>,
    nanoseconds: u64,
    verdicts: &'a BTreeMap<&'static str, u64>,
    cut: u64,
    late: u64,
    outbound: u64,
    empty: u64,
}

/// What came of it all.
pub(super) struct End<'a> {
    pub(super) counts: &'a Counts,
    pub(super) info: &'a Info,
    pub(super) rules: &'a RuleListing,
    pub(super) interfaces: &'a [Interface],
    /// Verdicts that were not counted, for want of room.
    pub(super) unseen: u64,
}

/// Prints.
pub(super) struct Report<W> {
    pub(super) out: W,
    pub(super) teller: Teller,
    pub(super) clock: Clock,
    pub(super) verbose: bool,
    pub(super) json: bool,
    /// Packets by verdict.
    pub(super) verdicts: BTreeMap<&'static str, u64>,
    /// Frames that have left, by port.
    pub(super) left: [u64; 2],
}

impl<W: Write> Report<W> {
    /// A frame was decided; `number` is that of the packet at hand.
    pub(super) fn packet(
        &mut self,
        number: u64,
        sighting: &Sighting,
        bytes: &[u8],
    ) -> io::Result<()> {
        let (verdict, number) = match sighting.way {
            Way::Arrived(verdict) => (verdict, Some(number)),
            Way::Decided(verdict) => (verdict, None),
            Way::Left | Way::Elsewhere => return Ok(()),
        };
        // A fragment is counted when its datagram is decided.
        if !matches!(verdict, Verdict::Hold(_)) {
            *self.verdicts.entry(word(verdict).0).or_default() += 1;
        }
        if !self.verbose {
            return Ok(());
        }
        let time = self.clock.date(sighting.time).to_string();
        if self.json {
            let (verdict, reason) = word(verdict);
            let name = |rule| self.teller.programs.rule(sighting.epoch, rule).number;
            let line = PacketLine {
                packet: number,
                time,
                port: self.teller.role(sighting.port),
                verdict,
                reason: reason.map(Reason::name),
                rules: sighting.rules.map(|rule| rule.map(name)),
                text: describe(bytes, sighting.length).to_string(),
            };
            return json(&mut self.out, &line);
        }
        let mut line = String::new();
        tell(&self.teller, sighting, bytes, &mut line);
        match number {
            Some(number) => writeln!(self.out, "#{number} {time} {line}"),
            None => writeln!(self.out, "   {time} {line}"),
        }
    }

    /// A record of the log.
    pub(super) fn log(&mut self, record: &LogRecord) -> io::Result<()> {
        let time = self.clock.date(record.time).to_string();
        let mut line = String::new();
        self.teller.tell(record, &mut line);
        if record.is_debug {
            line.insert_str(0, "refused by its state: ");
        }
        if self.json {
            return json(&mut self.out, &LogLine { time, log: &line });
        }
        let mark = if self.verbose { "log " } else { "" };
        writeln!(self.out, "{mark}{time} {line}")
    }

    /// A frame has left.
    pub(super) const fn left(&mut self, port: PortIndex) {
        self.left[(port.0 & 1) as usize] += 1;
    }

    /// The statistics.
    pub(super) fn end(&mut self, end: &End<'_>) -> io::Result<()> {
        let End { counts, info, rules, interfaces, unseen } = end;
        let (begin, last) = counts.times.unwrap_or_default();
        let nanos = last - begin;
        if self.json {
            let by_port = |[lan, wan]: [u64; 2]| BTreeMap::from([("lan", lan), ("wan", wan)]);
            let packets = PacketCounts {
                arrived: by_port(counts.packets),
                left: by_port(self.left),
                nanoseconds: nanos,
                verdicts: &self.verdicts,
                cut: counts.cut,
                late: counts.late,
                outbound: counts.sent,
                empty: counts.empty,
            };
            return json(&mut self.out, &Statistics { packets, info, rules, interfaces });
        }
        let out = &mut self.out;
        let [lan, wan] = counts.packets;
        let (seconds, micros) = (nanos / 1_000_000_000, nanos / 1000 % 1_000_000);
        writeln!(
            out,
            "replayed: {} packets of {seconds}.{micros:06} s, {lan} at lan and {wan} at wan",
            lan + wan
        )?;
        let [lan, wan] = self.left;
        writeln!(out, "left: {lan} by lan and {wan} by wan")?;
        let verdicts: Vec<_> =
            self.verdicts.iter().map(|(word, count)| format!("{word} {count}")).collect();
        writeln!(out, "verdicts: {}", verdicts.join(", "))?;
        for (count, what) in [
            (*unseen, "more verdicts were not counted: too many at one moment"),
            (counts.cut, "packets are not whole in the file: zeros stand for what is missing"),
            (counts.late, "packets are older than one before them, and came at its time"),
            (counts.sent, "frames were sent and did not arrive: left out"),
            (counts.empty, "frames have no byte in the file: left out"),
        ] {
            if count > 0 {
                writeln!(out, "{count} {what}")?;
            }
        }
        for reason in info.reasons.iter().filter(|reason| reason.count > 0) {
            writeln!(out, "dropped: {} {} ({})", reason.count, reason.name, reason.description)?;
        }
        writeln!(
            out,
            "states: {} made, {} ended, {} there; sent by weir itself: {}",
            info.inserts,
            info.removals,
            info.states,
            info.reflected + info.crafted
        )?;
        if info.handed_over > 0 {
            writeln!(out, "handed to another worker: {}", info.handed_over)?;
        }
        if info.log_lost > 0 {
            writeln!(out, "log records lost: {}", info.log_lost)?;
        }
        rulesets::rules(out, rules, Detail { verbose: 1, recursive: true, ..Detail::default() })
    }
}

fn json(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    writeln!(out)
}
