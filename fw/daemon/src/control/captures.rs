//! Captures on the running firewall: a tap on every worker for as long as somebody looks.

use std::sync::Arc;

use tracing::warn;
use weir_config::{Defines, SourceFile, parse_one};
use weir_engine::{Filter, PortIndex, PortNames};
use weir_hw::pcap::ng::{Direction, Interface, Note, Writer};
use weir_hw::pcap::{Record, file};
use weir_shell::protocol::{Capture, CaptureBegun, MAX_FILTER};

use super::{Control, Refused};
use crate::log::Teller;
use crate::mailbox::Letter;
use crate::tap::{MAX_TAPS, Sighting, TapReceiver, Way, Wish, tap};
use crate::verdict::tell_verdict;

/// Frames of one worker that wait for whoever looks at most, and their bytes.
const FRAMES: usize = 8192;
const BYTES: usize = 4 << 20;

/// Captures that run, by the ids of their taps.
#[derive(Debug, Default)]
pub(super) struct Captures {
    running: Vec<u64>,
    next: u64,
}

/// A capture that runs; it ends when this goes out of scope.
pub struct Watch<'c> {
    control: &'c Control,
    id: u64,
    taps: Vec<TapReceiver>,
    teller: Teller,
    snap: u32,
    /// What was taken and is not written yet, and room for the bytes of one.
    taken: Vec<(Sighting, Vec<u8>)>,
    /// Frames written, by port.
    written: [u64; 2],
}

impl Control {
    /// Begins a capture.
    ///
    /// # Errors
    /// When the filter is wrong, there are as many captures as there can be, or a worker does not
    /// answer.
    pub fn watch(&self, capture: &Capture) -> Result<Watch<'_>, Refused> {
        let ports = match &capture.port {
            None => u8::MAX,
            Some(name) => {
                1 << crate::tools::frame::port(name, &self.parts.ports).map_err(Refused::Error)?.0
            }
        };
        let filter = packets(&capture.filter, &self.parts.ports, capture.both_ways)?;
        let snap = if capture.snap == 0 { file::LONGEST as u32 } else { capture.snap };
        let snap = snap.min(file::LONGEST as u32);
        let wish = Wish { ports, ways: [true; 2], filter, snap, decisions: false };
        let id = {
            let mut captures = self.captures.lock();
            if captures.running.len() == MAX_TAPS {
                let text = format!("{MAX_TAPS} captures are running: there can be no more");
                return Err(Refused::Error(text));
            }
            captures.next += 1;
            let id = captures.next;
            captures.running.push(id);
            id
        };
        let teller = Teller {
            roles: self.parts.ports.0.iter().map(|port| port.role.clone()).collect(),
            programs: Arc::clone(&self.parts.programs),
        };
        // From here on what goes out of scope ends the capture.
        let mut watch = Watch {
            control: self,
            id,
            taps: Vec::new(),
            teller,
            snap,
            taken: Vec::new(),
            written: [0; 2],
        };
        for mailbox in &self.parts.mailboxes {
            let (sender, receiver) = tap(id, wish.clone(), FRAMES, BYTES);
            let unplaced = mailbox.ask(|reply| Letter::Watch(sender, reply))?;
            if unplaced.is_some() {
                return Err(Refused::Error("a worker has no place for another capture".into()));
            }
            watch.taps.push(receiver);
        }
        Ok(watch)
    }
}

/// The packets that are wanted; all frames if nothing is said.
pub(super) fn packets(
    text: &str,
    ports: &PortNames,
    both_ways: bool,
) -> Result<Option<Arc<Filter>>, Refused> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > MAX_FILTER || text.contains(['\n', '\r', '\\']) {
        let text = format!("a filter is one line of {MAX_FILTER} bytes at most");
        return Err(Refused::Error(text));
    }
    let file = SourceFile::new("filter", format!("match {text}\n"));
    let parsed = parse_one(&file, &Defines::default());
    let Some(rules) = parsed.rules else {
        return Err(Refused::Diagnostics(parsed.diagnostics));
    };
    let filter = Filter::compile(&rules.rules, ports, both_ways);
    filter.map(|filter| Some(Arc::new(filter))).map_err(|error| Refused::Error(error.to_string()))
}

impl Watch<'_> {
    /// What is told to the client before the packets.
    pub fn begun(&self) -> CaptureBegun {
        CaptureBegun { snap: self.snap }
    }

    /// The ports, as the capture's interfaces.
    pub fn interfaces(&self) -> Vec<Interface> {
        let ports = self.control.parts.ports.0.iter();
        ports
            .map(|port| Interface { name: port.role.clone(), description: port.interface.clone() })
            .collect()
    }

    /// Writes packets that were seen since the last call, in the order of time, at most `most` bytes
    /// of them more or less and `count` packets. Returns how many.
    pub fn write_some(&mut self, writer: &mut Writer<Vec<u8>>, most: usize, count: u64) -> u64 {
        let mut size = 0;
        for tap in &mut self.taps {
            let mut bytes = Vec::new();
            while size < most
                && let Some(sighting) = tap.take(&mut bytes)
            {
                size += bytes.len() + size_of::<Sighting>();
                self.taken.push((sighting, std::mem::take(&mut bytes)));
            }
        }
        self.taken.sort_by_key(|(sighting, _)| sighting.time);
        let mut written = 0;
        for (sighting, bytes) in self.taken.drain(..).take(count.try_into().unwrap_or(usize::MAX)) {
            let time = self.control.parts.clock.since_epoch(sighting.time);
            let Sighting { length, captured, port: PortIndex(port), way, .. } = sighting;
            let mut comment = String::new();
            tell_verdict(&self.teller, &sighting, &mut comment);
            let outbound = way == Way::Left;
            let direction = if outbound { Direction::Outbound } else { Direction::Inbound };
            let note = Note { direction: Some(direction), comment: &comment };
            let record = Record { time, length, captured };
            // What writes into memory does not fail.
            let _ = writer.write(port.into(), record, std::iter::once(&bytes[..]), note);
            self.written[usize::from(port & 1)] += 1;
            written += 1;
        }
        written
    }

    /// Whether packets wait to be written.
    pub fn has_more(&self) -> bool {
        self.taps.iter().any(|tap| !tap.is_empty())
    }

    /// Writes what was counted.
    pub fn write_statistics(&self, writer: &mut Writer<Vec<u8>>) {
        let clock = &self.control.parts.clock;
        let time = clock.since_epoch(clock.now());
        for (port, (written, lost)) in (0..).zip(self.written.iter().zip(self.lost())) {
            let _ = writer.statistics(port, time, written + lost, lost);
        }
    }

    /// Packets that were written, by port.
    pub const fn written(&self) -> [u64; 2] {
        self.written
    }

    /// Packets that found no room, by port.
    pub fn lost(&self) -> [u64; 2] {
        let mut sum = [0; 2];
        for lost in self.taps.iter().map(TapReceiver::lost) {
            sum[0] += lost[0];
            sum[1] += lost[1];
        }
        sum
    }

    /// Nothing more is copied from now on; what was copied can still be written.
    pub fn stop(&self) {
        for mailbox in &self.control.parts.mailboxes {
            // It comes back to be freed here.
            if let Err(error) = mailbox.ask(|reply| Letter::Unwatch(self.id, reply)) {
                warn!("a capture was not ended: {error}");
            }
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.stop();
        self.control.captures.lock().running.retain(|&id| id != self.id);
    }
}
