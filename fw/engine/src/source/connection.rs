//! The part of limits in the life of a state: what it takes of them when it begins, its handshake
//! that is refused when it would be one connection too many, and its place that becomes free when
//! the server has let go.
//!
//! The client's first acceptable ACK decides, bare or with data: until a server has seen it, its
//! `accept` does not return. If the limits refuse the connection, that segment ends here, both hosts
//! get a RST, and whatever they still send is answered with another. A place becomes free by the
//! server's FIN or RST; a RST of the client counts only if the server will believe it: it is exact
//! and lives as long as the handshake's segments did. The longest-lived of these is the measure: at
//! least one SYN has reached the server, and a RST that lives as long does, too; a SYN that died on its
//! way, sent before the one that arrived, proves nothing. What the server sends after a RST of its
//! client is answered, so that no server holds a connection that counts no more.

use std::sync::Arc;

use weir_config::options::{SrcConnCount, Timeout};
use weir_config::rules::Direction;

use super::fast_open;
use super::limits::RuleLimits;
use super::node::Source;
use crate::engine::Engine;
use crate::flow::Path;
use crate::frame::{Checksum, Frames};
use crate::judge::Verdict;
use crate::lane::{Arrival, Round};
use crate::lifecycle::distinct;
use crate::packet::tcp::flags;
use crate::packet::{Packet, Tcp, checksum, protocol};
use crate::reason::Reason;
use crate::reflect::{self, Towards};
use crate::ruleset::Program;
use crate::shared::Shared;
use crate::state::entry::{Entry, Links, NONE, Peer, flag};
use crate::state::tcp as tracker;
use crate::time::Instant;

/// Half-open states that may have to make room for one source.
const EVICTIONS: u32 = 8;

/// What a state that is to begin has taken of the limits of its rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    /// Records of the rules that have limits, as [`distinct`] counts them.
    records: [u32; 2],
    /// Nodes of its source for these rules.
    nodes: [u32; 2],
    /// It counts as a connection already.
    half_open: bool,
}

impl Claim {
    /// Nothing: no rule has limits.
    const NONE: Self = Self { records: [NONE; 2], nodes: [NONE; 2], half_open: false };

    /// The bits of [`flag`] that it gives a state.
    pub(crate) fn flags(&self) -> u16 {
        let limited = if self.nodes == [NONE; 2] { 0 } else { flag::LIMITED };
        limited | if self.half_open { flag::CONNECTED } else { 0 }
    }

    /// The nodes.
    pub(crate) const fn nodes(&self) -> [u32; 2] {
        self.nodes
    }
}

impl Engine {
    /// Takes what a new state needs of the limits of its rules, or nothing.
    pub(crate) fn claim(
        &mut self,
        round: &Round<'_>,
        packet: &Packet,
        records: [u32; 2],
    ) -> Result<Claim, Reason> {
        let mut claim = Claim::NONE;
        if !round.program.has_limits() {
            return Ok(claim);
        }
        let is_tcp = packet.protocol == protocol::TCP;
        let open = round.program.options().src_conn_count == SrcConnCount::Open;
        for (at, record) in distinct(records).enumerate() {
            let Some(limits) = self.records.limits(record).map(Arc::clone) else { continue };
            let claimed = if limits.reserve_state() {
                claim.records[at] = record;
                self.claim_node(round, packet, &limits, claim.nodes[0], is_tcp && open)
            } else {
                Err(Reason::MaxStates)
            };
            match claimed {
                Ok(node) => claim.nodes[at] = node,
                Err(reason) => {
                    limits.refuse(reason);
                    claim.half_open = is_tcp && open;
                    self.unclaim(&claim);
                    return Err(reason);
                }
            }
        }
        claim.half_open = is_tcp && open && claim.nodes != [NONE; 2];
        Ok(claim)
    }

    /// Gives back what a state has taken that was not made.
    pub(crate) fn unclaim(&self, claim: &Claim) {
        for record in claim.records {
            if let Some(limits) = self.records.limits(record) {
                limits.release_state();
            }
        }
        for node in claim.nodes.into_iter().filter(|&node| node != NONE) {
            self.shared.sources().release(node, claim.half_open, [0; 2], self.advanced());
        }
    }

    /// Takes a place among the states of the packet's source, if the rule tracks sources. A full
    /// table of sources makes room by forgetting one that is idle, or a half-open state.
    fn claim_node(
        &mut self,
        round: &Round<'_>,
        packet: &Packet,
        limits: &Arc<RuleLimits>,
        held: u32,
        half_open: bool,
    ) -> Result<u32, Reason> {
        if !limits.tracks() {
            return Ok(NONE);
        }
        let options = round.program.options();
        for _ in 0..EVICTIONS {
            let source = Source::new(packet.source, packet.network, limits);
            let sources = self.shared.sources();
            match sources.acquire(self.key, source, limits, options, held, half_open, round.now) {
                Err(Reason::SrcNodeLimit) => {}
                decided => return decided,
            }
            if sources.reclaim(round.now) {
                continue;
            }
            match self.table.oldest_unproven() {
                Some(oldest) if self.table.get(oldest).has(flag::LIMITED) => {
                    self.evict(round.tick);
                }
                _ => break,
            }
        }
        Err(Reason::SrcNodeLimit)
    }

    /// Takes Fast Open out of the SYN of a flow whose connections are limited; its checksum has been
    /// verified.
    pub(crate) fn strip_fast_open<F: Frames>(
        &self,
        frames: &mut F,
        i: usize,
        packet: &Packet,
        rules: [u32; 2],
    ) -> Option<Packet> {
        let limits = || distinct(rules).filter_map(|record| self.records.limits(record));
        if limits().any(|limits| limits.counts_connections()) {
            fast_open::strip(frames, i, packet)
        } else {
            None
        }
    }

    /// A segment of a connection that was reset: by weir, or, where connections are limited, by a client
    /// that the server may not have heard. `None`: it is to be tracked.
    pub(crate) fn shut_out<F: Frames>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        header: &Tcp,
        entry: u32,
        from: usize,
    ) -> Option<Verdict> {
        let &Arrival { round, i, packet, .. } = arrival;
        let state = self.table.get(entry);
        let refused = state.has(flag::REFUSED);
        let limited = state.has(flag::LIMITED);
        let resets = header.flags & flags::RST != 0;
        if !tracker::is_reset(&state.peers) || !refused && (!limited || from == 0 || resets) {
            return None;
        }
        let dropped = self.block(packet, Direction::In, Reason::AfterReset);
        if resets {
            return Some(dropped);
        }
        let answered = self
            .budget
            .spend(round.now)
            .and_then(|()| {
                reflect::reset(frames, i, packet, None).inspect_err(|_| self.budget.refund())
            })
            .is_ok();
        if !answered {
            return Some(dropped);
        }
        self.counters.reflected += 1;
        if from == 1 && round.program.options().src_conn_count != SrcConnCount::All {
            self.disconnect(entry);
        }
        Some(Verdict::Reflect(Reason::AfterReset))
    }

    /// After a segment of a connection with limits was tracked, and moved its ends on from `before`:
    /// has its handshake come to its end, or has it closed? Fails if it is one too many.
    pub(crate) fn follow<F: Frames>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &F,
        header: &Tcp,
        entry: u32,
        from: usize,
        before: &[Peer; 2],
    ) -> Result<(), Reason> {
        let &Arrival { round, i, packet, .. } = arrival;
        let unheard = self.table.get(entry).has(flag::UNHEARD);
        if from == 0 && unheard && self.acknowledges_data(entry, header) {
            self.table.get_mut(entry).flags &= !flag::UNHEARD;
            for node in self.table.sources(entry).into_iter().filter(|&node| node != NONE) {
                self.reported |= self.shared.sources().hear(node);
            }
        }
        let state = self.table.get_mut(entry);
        if tracker::is_proven(before) || !tracker::is_proven(&state.peers) {
            let closed = if header.flags & flags::RST == 0 {
                tracker::is_closing(&state.peers[1])
            } else {
                from == 1 || header.seq == before[0].seq_lo && packet.ttl >= self.table.ttl(entry)
            };
            if closed && round.program.options().src_conn_count != SrcConnCount::All {
                self.disconnect(entry);
            }
            return Ok(());
        }
        if frames.meta(i).checksum != Checksum::Valid && !checksum::verify(packet, frames, i) {
            // The server will not take it: the handshake is not complete.
            state.peers = *before;
            return Err(Reason::TcpChecksum);
        }
        if from == 0 {
            self.table.raise_ttl(entry, packet.ttl);
        }
        let connected = self.connect(round, entry);
        if connected.is_err() {
            self.turn_away(arrival, frames, header, entry, from, before);
        }
        connected
    }

    /// Counts a connection in for all of its rules, or for none.
    pub(crate) fn connect(&mut self, round: &Round<'_>, entry: u32) -> Result<(), Reason> {
        let state = self.table.get_mut(entry);
        let (counted, sure) = (state.has(flag::CONNECTED), !state.has(flag::UNHEARD));
        let rules = state.rules;
        let nodes = self.table.sources(entry);
        let sources = self.shared.sources();
        for (at, (record, node)) in distinct(rules).zip(nodes).enumerate() {
            let Some(limits) = self.records.limits(record).filter(|_| node != NONE) else {
                continue;
            };
            if let Err(reason) = sources.connect(node, limits, counted, round.now) {
                limits.refuse(reason);
                self.reported |= sources.report(node, limits, reason, sure);
                if at == 1 && nodes[0] != NONE && !counted {
                    sources.disconnect(nodes[0]);
                }
                return Err(reason);
            }
        }
        self.table.get_mut(entry).flags |= flag::CONNECTED;
        Ok(())
    }

    /// Counts a connection out.
    fn disconnect(&mut self, entry: u32) {
        let state = self.table.get_mut(entry);
        if state.has(flag::CONNECTED) {
            state.flags &= !flag::CONNECTED;
            for node in self.table.sources(entry).into_iter().filter(|&node| node != NONE) {
                self.shared.sources().disconnect(node);
            }
        }
    }

    /// Ends a connection whose handshake has just come to its end: both hosts get a RST.
    fn turn_away<F: Frames>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &F,
        header: &Tcp,
        entry: u32,
        from: usize,
        before: &[Peer; 2],
    ) {
        let &Arrival { round, i, packet, .. } = arrival;
        let Path { from: here, to: there } = Path::across(packet.port);
        // Each is what its receiver expects next, in the numbers that it knows: a half-open server has
        // seen nothing but the SYN.
        let (sender, receiver) = (&before[from], &before[1 - from]);
        let back = if header.flags & flags::ACK != 0 { header.ack } else { receiver.seq_lo };
        let forward = sender.seq_lo.wrapping_add(sender.seq_diff);
        let back = back.wrapping_add(receiver.seq_diff);
        let head = frames.head(i);
        self.craft(there, |room| {
            reflect::reset_for(room, head, packet, Towards::Receiver, forward)
        });
        self.craft(here, |room| reflect::reset_for(room, head, packet, Towards::Sender, back));
        self.refuse_further(entry, round.tick, round.program);
    }

    /// Both hosts of a connection were reset; from now on each of their segments is answered with
    /// another RST.
    pub(crate) fn refuse_further(&mut self, entry: u32, tick: u32, program: &Program) {
        self.disconnect(entry);
        let state = self.table.get_mut(entry);
        tracker::reset(&mut state.peers);
        state.flags |= flag::REFUSED;
        state.touched = tick;
        self.table.set_timeout(entry, Timeout::TcpClosed);
        let deadline = self.deadline(self.table.get(entry), program);
        self.table.reschedule(entry, deadline);
    }
}

/// What a state has taken of its sources' places is given back as it ends.
pub(crate) fn release(shared: &Shared, state: &Entry, links: &Links, now: Instant) {
    if !state.has(flag::LIMITED) {
        return;
    }
    let traffic = [state.packets.iter().sum(), state.bytes.iter().sum()];
    for node in links.sources.into_iter().filter(|&node| node != NONE) {
        shared.sources().release(node, state.has(flag::CONNECTED), traffic, now);
    }
}
