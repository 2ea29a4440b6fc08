//! `max-idle` and `min-rate`: TCP connections that make no progress, or too little of it, are reset.
//! They are what slow header and slow read attacks are made of: each looks alive to a time-out that any
//! packet winds up, and holds a place of the server for hours.
//!
//! Progress is data that its receiver has acknowledged, each byte of it once, in both directions
//! together. Keep-alives and the answers to them, probes of a closed window, window updates and whatever
//! is sent again bring none (RFC 9293, 3.8.4 and 3.8.6.1); nor does data that nobody takes. A FIN counts
//! as a byte. Where a rule is `sloppy`, numbers are not followed, and data counts as it comes.
//!
//! For `min-rate` a clock runs, in periods that follow each other, and stands still while the connection
//! rests: all that was sent has been acknowledged, the responder had the last word, and the initiator's
//! window is open. That is how a connection looks between two requests or keystrokes, or between two
//! messages of a server. A client that sends its request bit by bit had the last word; one that reads bit
//! by bit must shut its window, or leave data unacknowledged, to keep the server waiting.
//!
//! A connection is watched from its completed handshake until both ends have sent their FIN. Either the
//! next packet finds that it has failed, which then ends here, or the wheel does; both hosts get a RST,
//! and whatever they still send is answered with another (`source/connection.rs`).
//!
//! A state that is watched has a record at its place in a table beside the state table, made when the
//! first rule asks. It knows where the hosts are: when the wheel ends a connection, there is no frame at
//! hand that says so.

#![forbid(unsafe_code)]

use std::sync::Arc;

use weir_config::options::Timeout;
use weir_config::rules::Rate;
use zerocopy::FromZeros;

use crate::encapsulation::Encapsulation;
use crate::engine::Engine;
use crate::flow::Path;
use crate::lane::{Arrival, Round};
use crate::lifecycle::distinct;
use crate::packet::{Packet, Tcp};
use crate::reason::Reason;
use crate::reflect::{self, Towards};
use crate::ruleset::Program;
use crate::source::RuleLimits;
use crate::state::entry::{NONE, Peer, flag};
use crate::state::tcp as tracker;
use crate::state::wheel::{TICKS_PER_SECOND, is_due};

/// What is known of the progress of a connection.
#[derive(Clone, Copy, Debug, FromZeros)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Record {
    /// How far what each end has sent was acknowledged, if `heard`.
    acknowledged: [u32; 2],
    /// Tick of the last progress, of the completed handshake at first.
    advanced: u32,
    /// Ticks of the period of `min-rate` that have passed before the clock last stood still.
    passed: u32,
    /// Tick from which on it runs again, if `running`.
    since: u32,
    /// Bytes of progress in the period.
    moved: u32,
    heard: [bool; 2],
    /// The handshake is complete, and one end at least has not sent its FIN.
    watched: bool,
    running: bool,
    /// The initiator had the last word.
    asked: bool,
    /// The initiator's window is shut.
    shut: bool,
    encapsulation: Encapsulation,
}

/// The records of a worker's states, by entry. Empty until a rule asks for them.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    records: Vec<Record>,
}

/// What the rules of a state demand, each with the limits of the rule that does.
#[derive(Default)]
struct Demands<'a> {
    /// Ticks.
    idle: Option<(u32, &'a Arc<RuleLimits>)>,
    rate: Option<(Rate, &'a Arc<RuleLimits>)>,
}

impl Watched {
    /// Makes room for the records of so many states, if there is none. Memory is taken by those that
    /// are used only, a page at a time.
    pub(crate) fn reserve(&mut self, states: u32) {
        if self.records.is_empty() {
            // Out of memory the process would end; its table has been allocated the same way.
            self.records = Record::new_vec_zeroed(states as usize).unwrap_or_default();
        }
    }

    /// A state begins with a packet; `head` is its frame.
    pub(crate) fn begin(&mut self, entry: u32, packet: &Packet, head: &[u8]) {
        if let Some(record) = self.records.get_mut(entry as usize) {
            record.zero();
            record.encapsulation = Encapsulation::new(packet, head);
        }
    }
}

/// The first tick in which so many have surely passed since `from`, which may have been at its end.
const fn end(from: u32, ticks: u32) -> u32 {
    from.wrapping_add(ticks).wrapping_add(1)
}

/// Ticks of the period of a `min-rate`.
const fn period(rate: Rate) -> u32 {
    rate.seconds.saturating_mul(TICKS_PER_SECOND)
}

impl Record {
    /// The connection stands.
    const fn watch(&mut self, tick: u32) {
        self.watched = true;
        self.advanced = tick;
    }

    /// Takes it into account that a segment of peer `from` has come: `spoken` bytes of data that were
    /// new, and `moved` of progress.
    const fn hear(&mut self, from: usize, [spoken, moved]: [u32; 2], tick: u32) {
        if spoken > 0 {
            self.asked = from == 0;
        }
        if moved > 0 {
            self.advanced = tick;
        }
        self.moved = self.moved.saturating_add(moved);
    }

    /// Lets the clock run, or stand still because the connection rests.
    const fn run(&mut self, rests: bool, tick: u32) {
        if rests && self.running {
            self.passed += tick.wrapping_sub(self.since);
        } else if !rests && !self.running {
            self.since = tick;
        }
        self.running = !rests;
    }

    /// The tick in which the period ends, if the clock goes on.
    const fn end_of_period(&self, rate: Rate) -> u32 {
        end(self.since, period(rate).saturating_sub(self.passed))
    }

    /// Whether nothing is under way.
    fn rests(&self, peers: &[Peer; 2], sloppy: bool) -> bool {
        let open = |of: usize| self.heard[of] && self.acknowledged[of] != peers[of].seq_lo;
        !self.asked && !self.shut && (sloppy || !open(0) && !open(1))
    }

    /// Takes an acknowledgement of what end `of` has sent; the bytes that it brings.
    const fn acknowledge(&mut self, of: usize, ack: u32) -> u32 {
        let bytes = if self.heard[of] { ack.wrapping_sub(self.acknowledged[of]) } else { 0 };
        if bytes.cast_signed() < 0 {
            return 0;
        }
        self.heard[of] = true;
        self.acknowledged[of] = ack;
        bytes
    }

    /// The tick in which it fails, or a period is over, unless there is progress before.
    fn due(&self, demands: &Demands<'_>) -> Option<u32> {
        let idle = demands.idle.map(|(ticks, _)| end(self.advanced, ticks));
        let rate = demands.rate.filter(|_| self.running);
        let rate = rate.map(|(rate, _)| self.end_of_period(rate));
        match (idle, rate) {
            _ if !self.watched => None,
            (Some(idle), Some(rate)) => Some(earlier(idle, rate)),
            (idle, rate) => idle.or(rate),
        }
    }

    /// Ends a period that is over. Fails if too little has moved in it, or nothing for too long.
    fn judge(&mut self, tick: u32, demands: &Demands<'_>) -> Result<(), Reason> {
        if !self.watched {
            return Ok(());
        }
        if let Some((rate, _)) = demands.rate {
            while self.running && is_due(self.end_of_period(rate), tick) {
                if self.moved < rate.count {
                    return Err(Reason::MinRate);
                }
                (self.since, self.passed, self.moved) = (self.end_of_period(rate), 0, 0);
            }
        }
        match demands.idle {
            Some((ticks, _)) if is_due(end(self.advanced, ticks), tick) => Err(Reason::MaxIdle),
            _ => Ok(()),
        }
    }
}

const fn earlier(a: u32, b: u32) -> u32 {
    if is_due(a, b) { a } else { b }
}

impl Engine {
    /// Whether TCP states of these rules are watched.
    pub(crate) fn demands_progress(&self, rules: [u32; 2]) -> bool {
        let demands = self.demands(rules);
        demands.idle.is_some() || demands.rate.is_some()
    }

    /// As with all state options, what the arriving rule leaves open is taken from the leaving one.
    fn demands(&self, rules: [u32; 2]) -> Demands<'_> {
        let limits = || distinct(rules).filter_map(|record| self.records.limits(record));
        Demands {
            idle: limits().find_map(|limits| Some((limits.max_idle()?, limits))),
            rate: limits().find_map(|limits| Some((limits.min_rate()?, limits))),
        }
    }

    /// The connection stands, and no segment of its ends has said so: weir has made the handshake.
    pub(crate) fn watch(&mut self, entry: u32, tick: u32) {
        let state = self.table.get(entry);
        if !state.has(flag::PROGRESS) {
            return;
        }
        if let Some(record) = self.watched.records.get_mut(entry as usize) {
            record.watch(tick);
            record.heard = [true; 2];
            record.acknowledged = state.peers.map(|peer| peer.seq_lo);
            record.run(record.rests(&state.peers, state.has(flag::SLOPPY)), tick);
        }
    }

    /// Before a segment of a connection that is watched is tracked: fails if the connection has, which
    /// is reset then.
    pub(crate) fn judge_progress(&mut self, round: &Round<'_>, entry: u32) -> Result<(), Reason> {
        self.judge_watched(entry, round.tick, round.program)
    }

    /// After a segment of peer `from` was tracked, which has moved the ends on from `before`, and by which
    /// `timeout` runs from now: counts what it acknowledges. `head` is its frame.
    pub(crate) fn count_progress(
        &mut self,
        arrival: &Arrival<'_>,
        head: &[u8],
        header: &Tcp,
        (entry, from): (u32, usize),
        before: &[Peer; 2],
        timeout: Timeout,
    ) {
        let &Arrival { round, packet, .. } = arrival;
        let Some(record) = self.watched.records.get_mut(entry as usize) else { return };
        let state = self.table.get(entry);
        // The number of an empty segment is not looked at otherwise.
        if tracker::quotes(&state.peers, from, header.seq) {
            record.encapsulation.follow(packet, head, from);
        }
        // Once both have sent their FIN, all data has passed.
        let watched = matches!(timeout, Timeout::TcpEstablished | Timeout::TcpClosing);
        let was = (record.watched, record.running);
        if watched && !record.watched {
            record.watch(round.tick);
        }
        record.watched = watched;
        let taken = tracker::acknowledged(&state.peers, from, header);
        let taken = taken.map_or(0, |ack| record.acknowledge(1 - from, ack));
        let sloppy = state.has(flag::SLOPPY);
        let sent = state.peers[from].seq_lo.wrapping_sub(before[from].seq_lo);
        let bytes = if sloppy { [packet.payload; 2] } else { [sent, taken] };
        if from == 0 {
            record.shut = tracker::is_shut(&state.peers[0], header.window);
        }
        if watched {
            record.hear(from, bytes, round.tick);
            record.run(record.rests(&state.peers, sloppy), round.tick);
        }
        if (record.watched, record.running) != was {
            let due = self.next_look(entry, round.program);
            self.table.reschedule(entry, due);
        }
    }

    /// The wheel has come to a state that is watched: one that has failed is reset.
    pub(crate) fn look_at_progress(&mut self, entry: u32, tick: u32, program: &Program) {
        if let Err(reason) = self.judge_watched(entry, tick, program) {
            self.note(reason);
        }
        let due = self.next_look(entry, program);
        self.table.requeue(entry, due);
    }

    /// The tick in which a state ends, or its progress is looked at, if no packet comes.
    pub(crate) fn next_look(&self, entry: u32, program: &Program) -> u32 {
        let state = self.table.get(entry);
        let deadline = self.deadline(state, program);
        let record = self.watched.records.get(entry as usize);
        match record.filter(|_| state.has(flag::PROGRESS)) {
            Some(record) => record
                .due(&self.demands(state.rules))
                .map_or(deadline, |due| earlier(due, deadline)),
            None => deadline,
        }
    }

    fn judge_watched(&mut self, entry: u32, tick: u32, program: &Program) -> Result<(), Reason> {
        let Some(record) = self.watched.records.get(entry as usize) else { return Ok(()) };
        let mut record = *record;
        let demands = self.demands(self.table.get(entry).rules);
        let judged = record.judge(tick, &demands);
        let failed = match judged {
            Ok(()) => None,
            Err(Reason::MinRate) => demands.rate.map(|(_, limits)| Arc::clone(limits)),
            Err(_) => demands.idle.map(|(_, limits)| Arc::clone(limits)),
        };
        record.watched &= judged.is_ok();
        self.watched.records[entry as usize] = record;
        if let (Err(reason), Some(limits)) = (judged, failed) {
            self.give_up(&record, entry, tick, program);
            self.accuse(entry, &limits, reason);
        }
        judged
    }

    /// Counts a failure for its rule. A host that falls silent may have left; one that is slow is told
    /// to `overload`.
    fn accuse(&mut self, entry: u32, limits: &Arc<RuleLimits>, reason: Reason) {
        limits.refuse(reason);
        if reason == Reason::MinRate {
            let rules = self.table.get(entry).rules;
            let nodes = distinct(rules).zip(self.table.sources(entry));
            let sure = !self.table.get(entry).has(flag::UNHEARD);
            for (record, node) in nodes.filter(|&(_, node)| node != NONE) {
                if self.records.limits(record).is_some_and(|own| Arc::ptr_eq(own, limits)) {
                    self.reported |= self.shared.sources().report(node, limits, reason, sure);
                }
            }
        }
    }

    /// Resets a connection: a RST for each host, and for whatever it still sends.
    fn give_up(&mut self, record: &Record, entry: u32, tick: u32, program: &Program) {
        let state = self.table.get(entry);
        let (peers, packet) = (state.peers, record.encapsulation.packet(state));
        let Path { from: here, to: there } = record.encapsulation.path();
        let seq = |of: usize| record.next_of(of, &peers);
        let link = record.encapsulation.bytes();
        self.craft(there, |room| {
            reflect::reset_for(room, link, &packet, Towards::Receiver, seq(0))
        });
        self.craft(here, |room| reflect::reset_for(room, link, &packet, Towards::Sender, seq(1)));
        self.refuse_further(entry, tick, program);
    }
}

impl Record {
    /// What the host on the other side of end `of` expects of it next, in the numbers that it knows.
    const fn next_of(&self, of: usize, peers: &[Peer; 2]) -> u32 {
        let own = if self.heard[of] { self.acknowledged[of] } else { peers[of].seq_lo };
        own.wrapping_add(peers[of].seq_diff)
    }
}
