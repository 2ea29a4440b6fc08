//! One end of a TCP connection, as correct as RFC 9293 wants it and no smarter than the simulation
//! needs: it sends a number of bytes and a FIN, repeats what is not acknowledged, and lets its peer
//! wait now and then. Positions count from the SYN, which is 0; the first byte is 1.

use std::collections::BTreeMap;

use weir_engine::packet::tcp::flags::{ACK, FIN, PSH, SYN, URG};

use crate::random::Random;

/// Most bytes in a segment, or in a train of them.
const TRAINS: [u64; 5] = [536, 1_448, 1_448, 8_948, 64_000];

/// A segment on its way.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) flags: u8,
    pub(crate) position: u64,
    /// What it acknowledges.
    pub(crate) ack: u64,
    /// As in the header.
    pub(crate) window: u16,
    pub(crate) payload: u64,
    /// Window scale option.
    pub(crate) scale: Option<u8>,
    /// What was received ahead of what it acknowledges, up to four blocks (RFC 2018).
    pub(crate) early: Vec<(u64, u64)>,
}

impl Segment {
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Position behind it.
    pub(crate) fn end(&self) -> u64 {
        self.position + self.payload + u64::from(self.has(SYN)) + u64::from(self.has(FIN))
    }
}

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent traits of a host")]
pub(crate) struct Endpoint {
    initiates: bool,
    /// Position of the FIN.
    last: u64,
    /// One of [`TRAINS`].
    train: u64,
    // Sending.
    unacknowledged: u64,
    next: u64,
    window: u64,
    congestion: u64,
    duplicates: u32,
    // Receiving.
    pub(crate) expected: u64,
    early: BTreeMap<u64, u64>,
    peer_fin: Option<u64>,
    buffer: u64,
    edge: u64,
    stalled: bool,
    shrinks: bool,
    offered: Option<u8>,
    scaling: bool,
    peer_scale: u8,
    synchronised: bool,
    fast_open: u64,
    /// The FIN waits until the peer's has come.
    closes_last: bool,
}

impl Endpoint {
    pub(crate) fn new(initiates: bool, random: &mut Random) -> Self {
        let offered = (random.below(5) > 0).then(|| random.below(15) as u8);
        let shift = u32::from(offered.unwrap_or(0));
        let largest = 65_535_u64 << shift;
        let buffer = (1_500_u64 << random.below(12)).clamp(2 << shift, largest);
        let size = match random.below(40) {
            0..4 => 0,
            4 => 400_000,
            _ => {
                let most = 2_000 << random.below(5);
                random.below(most) as u64
            }
        };
        Self {
            initiates,
            last: 1 + size,
            train: random.one_of(&TRAINS),
            unacknowledged: 0,
            next: 0,
            window: 1,
            congestion: 14_480,
            duplicates: 0,
            expected: 0,
            early: BTreeMap::new(),
            peer_fin: None,
            buffer,
            edge: 0,
            stalled: false,
            shrinks: random.below(8) == 0,
            offered,
            scaling: false,
            peer_scale: 0,
            synchronised: false,
            fast_open: if initiates && random.below(5) == 0 { size.min(1_000) } else { 0 },
            closes_last: !initiates && random.below(3) == 0,
        }
    }

    /// Everything was sent and acknowledged, and all of the peer was received.
    pub(crate) fn is_done(&self) -> bool {
        self.unacknowledged > self.last && self.peer_fin.is_some_and(|fin| self.expected > fin)
    }

    /// Whether it waits to be spoken to.
    pub(crate) fn is_server(&self) -> bool {
        !self.initiates
    }

    /// Whether its handshake is complete.
    pub(crate) fn is_synchronised(&self) -> bool {
        self.synchronised
    }

    /// It sends no data with its SYN, and more than fits a closed window with it.
    pub(crate) fn opens_plainly(&mut self) {
        self.fast_open = 0;
        self.last = self.last.max(100);
    }

    /// Says with which window scale it opens.
    pub(crate) fn offer(&mut self, scale: Option<u8>) {
        self.offered = scale;
        self.buffer = self.buffer.min(65_535 << scale.unwrap_or(0)).max(2 << scale.unwrap_or(0));
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.unacknowledged
    }

    fn segment(&mut self, flags: u8, position: u64, payload: u64) -> Segment {
        let syn = flags & SYN != 0;
        let shift = if self.scaling && !syn { self.offered.unwrap_or(0) } else { 0 };
        let room = if self.stalled { 0 } else { self.buffer };
        let room =
            if self.shrinks { room } else { room.max(self.edge.saturating_sub(self.expected)) };
        let window = (room >> shift).min(65_535);
        self.edge = self.edge.max(self.expected + (window << shift));
        let ack = if self.expected > 0 { ACK } else { 0 };
        let scale = if syn { self.offered } else { None };
        let window = window as u16;
        let early = if syn || ack == 0 { 0 } else { 4 };
        let early = self.early.iter().take(early).map(|(&from, &to)| (from, to)).collect();
        Segment { flags: flags | ack, position, ack: self.expected, window, payload, scale, early }
    }

    pub(crate) fn open(&mut self) -> Segment {
        self.next = self.next.max(1 + self.fast_open);
        self.segment(SYN, 0, self.fast_open)
    }

    /// What may be sent now.
    fn send(&mut self, random: &mut Random, out: &mut Vec<Segment>) {
        if !self.synchronised {
            return;
        }
        let may_close = !self.closes_last || self.peer_fin.is_some_and(|fin| self.expected > fin);
        let limit = self.unacknowledged + self.window.min(self.congestion);
        while self.next < self.last && self.next < limit {
            let payload = (self.last - self.next).min(self.train).min(limit - self.next);
            let position = self.next;
            self.next += payload;
            let mut flags = random.one_of(&[0, PSH, PSH, URG]);
            if self.next == self.last && may_close && random.below(2) == 0 {
                flags |= FIN;
                self.next += 1;
            }
            out.push(self.segment(flags, position, payload));
        }
        if self.next == self.last && may_close {
            self.next += 1;
            out.push(self.segment(FIN, self.last, 0));
        }
    }

    /// The oldest of what is not acknowledged, again.
    fn repeat(&mut self, out: &mut Vec<Segment>) {
        if !self.synchronised {
            let syn = if self.initiates { self.open() } else { self.segment(SYN, 0, 0) };
            out.push(syn);
            return;
        }
        let from = self.unacknowledged;
        if from >= self.next {
            return;
        }
        let data = self.next.min(self.last).saturating_sub(from);
        let payload = data.min(self.train).min(self.window);
        let fin = from + payload == self.last && self.next > self.last;
        if payload > 0 || fin {
            out.push(self.segment(if fin { FIN } else { 0 }, from, payload));
        }
    }

    /// Time has passed without progress.
    pub(crate) fn timer(&mut self, random: &mut Random, out: &mut Vec<Segment>) {
        self.stalled = self.synchronised && random.below(4) == 0;
        self.congestion = (self.congestion / 2).max(1_448);
        if random.below(10) == 0 {
            // Another path, another MTU.
            self.train = random.one_of(&TRAINS);
        }
        if !self.synchronised && self.expected == 0 && !self.initiates {
            return;
        }
        let before = out.len();
        self.repeat(out);
        self.send(random, out);
        if out.len() == before && self.synchronised {
            if self.window == 0 && self.next < self.last && random.below(2) == 0 {
                // A window probe of one byte (RFC 9293, 3.8.6.1).
                let position = self.unacknowledged;
                self.next = self.next.max(position + 1);
                out.push(self.segment(0, position, 1));
            } else {
                // A keep-alive, or a probe as Linux sends it; some with a byte of garbage.
                let payload =
                    if self.unacknowledged == self.next { random.below(2) as u64 } else { 0 };
                out.push(self.segment(0, self.next - 1, payload));
            }
        }
    }

    pub(crate) fn receive(
        &mut self,
        segment: &Segment,
        random: &mut Random,
        out: &mut Vec<Segment>,
    ) {
        let before = self.expected;
        if segment.has(SYN) && !self.synchronised {
            self.scaling = self.offered.is_some() && segment.scale.is_some();
            self.peer_scale = if self.scaling { segment.scale.unwrap_or(0) } else { 0 };
            self.expected = self.expected.max(1);
        }
        if self.expected == 0 {
            return; // a server that has not seen the SYN
        }
        let opened = !self.synchronised && segment.has(ACK) && segment.ack >= 1;
        self.synchronised |= opened;
        if self.synchronised && segment.has(ACK) {
            self.acknowledge(segment, out);
        }
        if segment.payload > 0 || segment.has(FIN) {
            self.accept(segment);
        }
        if !self.synchronised {
            // A SYN alone: its answer, or a simultaneous opening.
            self.next = self.next.max(1);
            out.push(self.segment(SYN, 0, 0));
            if segment.payload > 0 && !self.initiates {
                // Fast Open: data before the handshake is over (RFC 7413).
                let payload = (self.last - 1).min(1_448 * random.below(6) as u64);
                let payload = payload.min(u64::from(segment.window));
                if payload > 0 && self.next == 1 {
                    self.next += payload;
                    out.push(self.segment(0, 1, payload));
                }
            }
            return;
        }
        let sent = out.len();
        self.send(random, out);
        let news = segment.end() > segment.position || opened;
        let delayed = self.expected > before && self.early.is_empty() && random.below(2) == 0;
        if out.len() == sent && news && !(delayed && segment.payload > 0 && !segment.has(FIN)) {
            let position = self.next;
            out.push(self.segment(0, position, 0));
        }
    }

    fn acknowledge(&mut self, segment: &Segment, out: &mut Vec<Segment>) {
        if segment.ack > self.next || segment.ack < self.unacknowledged {
            return;
        }
        let shift = if segment.has(SYN) { 0 } else { self.peer_scale };
        let window = u64::from(segment.window) << shift;
        if segment.ack > self.unacknowledged {
            self.congestion = (self.congestion + segment.ack - self.unacknowledged).min(4 << 20);
            self.unacknowledged = segment.ack;
            self.window = window;
            if self.duplicates >= 3 {
                self.repeat(out);
            }
            self.duplicates = 0;
        } else {
            self.window = window;
            self.duplicates += u32::from(segment.payload == 0 && self.next > segment.ack);
            if self.duplicates == 3 {
                self.repeat(out);
            }
        }
    }

    fn accept(&mut self, segment: &Segment) {
        let start = segment.position + u64::from(segment.has(SYN));
        let end = start + segment.payload;
        if segment.has(FIN) {
            self.peer_fin = Some(end);
        }
        // Garbage of keep-alives is old, so it is never taken.
        if end > self.expected && end <= self.edge.max(self.expected + self.buffer) {
            let longest = self.early.entry(start).or_insert(end);
            *longest = end.max(*longest);
        }
        while let Some((&start, &end)) = self.early.first_key_value()
            && start <= self.expected
        {
            self.early.pop_first();
            self.expected = self.expected.max(end);
        }
        if self.peer_fin == Some(self.expected) {
            self.expected += 1;
        }
    }
}
