//! The handshake with the server: the state is in the phase that pf calls PROXY:DST.
//!
//! A server that is not [known](super::learned) is asked first: a SYN offers it every option, whatever
//! the client was told. Its answer is reset and says what it knows, and the SYN with the client's
//! options follows. The first SYN has a sequence number far from the client's, so that a RST for what
//! it has begun, late or twice, does nothing to the connection, and a server that has not seen the RST
//! answers the second SYN with what it still has (RFC 9293, 3.10.7.4), which gets another one.

use std::ops::ControlFlow;

use weir_config::options::Timeout;
use weir_config::rules::Direction;

use super::answer::{Offer, flow};
use super::learned::Server;
use super::pending::Pending;
use super::segment::{Segment, TcpOptions, is_plain};
use crate::effects::Effects;
use crate::engine::Engine;
use crate::frame::Frames;
use crate::judge::Verdict;
use crate::lane::Arrival;
use crate::lifecycle::Ending;
use crate::log::LogSink;
use crate::packet::tcp::flags;
use crate::packet::{ECN, Packet, Tcp, Transport};
use crate::reason::Reason;
use crate::reflect::Towards;
use crate::state::entry::flag;
use crate::state::tcp as tracker;
use crate::state::wheel::{TICKS_PER_SECOND, is_due};
use crate::track::verify;

/// SYNs that a server gets at most.
const SYNS: u8 = 5;
/// How far from the beginning of its connection a client's segment may lie that is dropped because the
/// server is not there: no more than it may have in flight.
const NEAR: u32 = 1 << 20;

impl Engine {
    /// Whether the server of a state has not answered yet.
    #[inline]
    pub(crate) fn is_asking(&self, entry: u32) -> bool {
        let state = self.table.get(entry);
        state.has(flag::TRANSLATED) && tracker::asks(&state.peers)
    }

    /// A segment of a connection whose server has not answered yet. `None`: it ended the state and is
    /// to be judged as a new flow's.
    pub(crate) fn track_asking<F: Frames, L: LogSink>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        entry: u32,
        log: &mut L,
    ) -> Option<Verdict> {
        let &Arrival { i, lane, packet, .. } = arrival;
        let from = lane.sender(self.table.get(entry));
        let known = self.synproxy.pending.get(entry as usize).copied();
        let (Transport::Tcp(header), Some(pending)) = (packet.transport, known) else {
            return Some(self.block(packet, Direction::In, Reason::SynproxyUnfit));
        };
        if from == 1 && packet.port != pending.encapsulation.path().to {
            // A floating state would let the client speak for its server.
            return Some(self.block(packet, Direction::In, Reason::SynproxyServer));
        }
        if let Err(reason) = verify(packet, &header, frames, i) {
            return Some(self.block(packet, Direction::In, reason));
        }
        if !is_plain(packet, frames.head(i)) {
            return Some(self.block(packet, Direction::In, Reason::SynproxyUnfit));
        }
        if from == 0 {
            self.hear_client(arrival, frames, &header, (entry, pending), log)
        } else {
            let heard = self.hear_server(arrival, frames, &header, entry, pending);
            Some(heard.unwrap_or_else(|reason| self.block(packet, Direction::In, reason)))
        }
    }

    fn hear_client<F: Frames, L: LogSink>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        header: &Tcp,
        (entry, pending): (u32, Pending),
        log: &mut L,
    ) -> Option<Verdict> {
        let &Arrival { round, i, lane, packet } = arrival;
        let next = pending.seq.wrapping_add(1);
        if header.flags & flags::RST != 0 {
            if header.seq != next {
                return Some(self.block(packet, Direction::In, Reason::TcpBadReset));
            }
            // Without the acknowledgement of what the server never said.
            let written = pending.reset_server().over(frames, i, packet, Towards::Receiver);
            let verdict = self.pass_written(entry, &written.unwrap_or(*packet), frames, i);
            self.end(entry, Ending::Over, round.tick);
            return Some(verdict);
        }
        if tracker::opens(header) {
            if header.seq == pending.seq {
                return Some(self.block(packet, Direction::In, Reason::SynproxyWait));
            }
            self.stop_asking(entry, &pending, round.tick);
            return None;
        }
        let near = header.seq.wrapping_sub(next).wrapping_add(NEAR) <= 2 * NEAR;
        if !near
            && self.synproxy.expected.has(flow(lane))
            && let Some(proven) = self.prove(arrival, frames, header)
        {
            // Another connection from the same port.
            self.stop_asking(entry, &pending, round.tick);
            return Some(self.admit_proven(arrival, frames, header, &proven, log));
        }
        let stamps = Offer::of(packet, frames.head(i)).stamps;
        if near && let Some(place) = self.synproxy.pending.get_mut(entry as usize) {
            place.window = header.window;
            if packet.port == place.encapsulation.path().from {
                place.encapsulation.follow(packet, frames.head(i), 0);
            }
            if let Some([value, _]) = stamps
                && value.wrapping_sub(place.client_stamp).cast_signed() > 0
            {
                place.client_stamp = value;
            }
        }
        Some(self.block(packet, Direction::In, Reason::SynproxyWait))
    }

    /// The client begins anew: its server is not left with a connection that no limit counts.
    fn stop_asking(&mut self, entry: u32, pending: &Pending, tick: u32) {
        self.craft_pending(entry, Towards::Receiver, &pending.reset_server());
        self.end(entry, Ending::Over, tick);
    }

    fn hear_server<F: Frames>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        header: &Tcp,
        entry: u32,
        pending: Pending,
    ) -> Result<Verdict, Reason> {
        let &Arrival { round, i, packet, .. } = arrival;
        let set = header.flags & (flags::SYN | flags::ACK | flags::RST);
        let acknowledges = header.flags & flags::ACK != 0;
        let exact = acknowledges && header.ack == pending.next();
        if set & flags::RST != 0 {
            if !exact {
                return Err(Reason::SynproxyServer);
            }
            if pending.overcharges() {
                self.ask_again(entry, round.tick.wrapping_add(1));
                return Err(Reason::SynproxyServer);
            }
            self.counters.synproxy.refused += 1;
            let written = pending
                .reset_client()
                .over(frames, i, packet, Towards::Receiver)
                .ok_or(Reason::SynproxyUnfit)?;
            let verdict = self.pass_written(entry, &written, frames, i);
            self.end(entry, Ending::Over, round.tick);
            return Ok(verdict);
        }
        if acknowledges && !(exact && set & flags::SYN != 0) {
            // It has a connection of before: as RFC 9293, 3.10.7.3 wants it. One that expects what the
            // SYN has, too, does not answer that with a SYN.
            let answer = Segment::reset(header.ack)
                .over(frames, i, packet, Towards::Sender)
                .ok_or(Reason::SynproxyUnfit)?;
            self.ask_again(entry, round.tick.wrapping_add(1));
            return Ok(self.answered(packet, &answer));
        }
        if set != flags::SYN | flags::ACK {
            return Err(Reason::SynproxyServer);
        }
        let offer = Offer::of(packet, frames.head(i));
        if let Some(place) = self.synproxy.pending.get_mut(entry as usize) {
            place.encapsulation.follow(packet, frames.head(i), 1);
        }
        match self.compare(round, packet, &pending, &offer) {
            ControlFlow::Continue(()) => {
                self.establish(arrival, frames, header, (entry, pending), &offer)
            }
            ControlFlow::Break(lacks) => {
                let reset = pending.reset_server();
                if lacks {
                    self.counters.synproxy.lacking += 1;
                    self.craft_pending(entry, Towards::Sender, &pending.reset_client());
                    self.end(entry, Ending::Over, round.tick);
                } else if let Some(place) = self.synproxy.pending.get_mut(entry as usize) {
                    place.has_asked();
                    let syn = place.syn();
                    self.craft_pending(entry, Towards::Receiver, &syn);
                    self.ask_again(entry, round.tick.wrapping_add(TICKS_PER_SECOND + 1));
                }
                let answer =
                    reset.over(frames, i, packet, Towards::Sender).ok_or(Reason::SynproxyUnfit)?;
                Ok(self.answered(packet, &answer))
            }
        }
    }

    /// The server is there: it gets its ACK, and the client the server's window.
    fn establish<F: Frames>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        header: &Tcp,
        (entry, pending): (u32, Pending),
        offer: &Offer,
    ) -> Result<Verdict, Reason> {
        let &Arrival { round, i, packet, .. } = arrival;
        let terms = pending.terms();
        let server_stamp = offer.stamps.map_or(0, |[value, _]| value);
        let client_scale = terms.scales.map(|(client, _)| client);
        let promised = terms.scales.map_or(0, |(_, server)| server);
        let scale = offer.scale.unwrap_or(0);
        if let Some(splice) = self.splices.get_mut(entry) {
            splice.window[1] = scale.cast_signed() - promised.cast_signed();
            if terms.stamps {
                splice.clock[1] = pending.stamp.wrapping_sub(server_stamp);
            }
        }
        if self.table.get(entry).has(flag::NORMALISED) {
            self.normalise(arrival, frames, (entry, 1), true);
        }
        let window = u32::from(header.window) >> promised;
        let update = Segment {
            seq: pending.cookie.wrapping_add(1),
            ack: header.ack,
            flags: flags::ACK,
            window: window as u16,
            options: TcpOptions::of_ack(
                terms.stamps.then_some([pending.stamp, pending.client_stamp]),
            ),
            ttl: packet.ttl,
            tos: packet.tos & !ECN,
        };
        self.craft_pending(entry, Towards::Receiver, &pending.ack(header.seq, server_stamp));
        let written =
            update.over(frames, i, packet, Towards::Receiver).ok_or(Reason::SynproxyUnfit)?;

        let state = self.table.get_mut(entry);
        state.peers[1].seq_diff = pending.cookie.wrapping_sub(header.seq);
        tracker::establish(
            &mut state.peers,
            [
                tracker::End {
                    next: pending.seq.wrapping_add(1),
                    window: u32::from(pending.window) << client_scale.unwrap_or(0),
                    scale: client_scale,
                },
                tracker::End {
                    next: header.seq.wrapping_add(1),
                    window: header.window.into(),
                    scale: offer.scale,
                },
            ],
        );
        state.touched = round.tick;
        state.packets[1] += 1;
        state.bytes[1] += u64::from(written.length);
        let records = state.rules;
        self.records.count(records[0], 1, written.length);
        self.records.count(records[1], 0, written.length);
        if let Some(place) = self.synproxy.pending.get_mut(entry as usize) {
            place.server_next = header.seq.wrapping_add(1);
        }
        self.table.set_timeout(entry, Timeout::TcpEstablished);
        self.table.prove(entry);
        self.watch(entry, round.tick);
        let due = self.next_look(entry, round.program);
        self.table.requeue(entry, due);
        Ok(self.pass_written(entry, &written, frames, i))
    }

    /// A segment that was written over the other end's passes, changed as the rules want.
    fn pass_written<F: Frames>(
        &mut self,
        entry: u32,
        written: &Packet,
        frames: &mut F,
        i: usize,
    ) -> Verdict {
        if self.table.get(entry).has(flag::EFFECTS) {
            let effects = Effects::unpack(self.table.effects(entry));
            self.apply(effects, written, frames, i);
        }
        self.forward(written)
    }

    /// Whether the client of a connection whose handshake weir has made acknowledges what its server
    /// has sent since.
    pub(crate) fn acknowledges_data(&self, entry: u32, header: &Tcp) -> bool {
        let Some(pending) = self.synproxy.pending.get(entry as usize) else { return false };
        let sent = self.table.get(entry).peers[1].seq_lo.wrapping_sub(pending.server_next);
        let acknowledged = header.ack.wrapping_sub(pending.server_next);
        header.flags & flags::ACK != 0 && (1..=sent).contains(&acknowledged)
    }

    /// The SYN goes out again in this tick.
    fn ask_again(&mut self, entry: u32, tick: u32) {
        if let Some(pending) = self.synproxy.pending.get_mut(entry as usize) {
            pending.due = tick;
            self.table.requeue(entry, tick);
        }
    }

    /// The wheel has come to a state that is not over: when is it to look again? Until a server has
    /// answered it gets its SYN again.
    pub(crate) fn look_again(&mut self, entry: u32, deadline: u32, tick: u32) -> u32 {
        let Some(mut pending) = self.synproxy.pending.get(entry as usize).copied() else {
            return deadline;
        };
        if is_due(pending.due, tick) {
            if pending.sent >= SYNS {
                return deadline;
            }
            pending.due = tick.wrapping_add(TICKS_PER_SECOND << pending.sent);
            pending.repeat();
            pending.sent += u8::from(self.craft_pending(entry, Towards::Receiver, &pending.syn()));
            self.synproxy.pending[entry as usize] = pending;
        }
        if is_due(deadline, pending.due) { deadline } else { pending.due }
    }

    /// A state ends before its server has answered: both ends hear of it, unless they have said so
    /// themselves.
    pub(crate) fn give_up_asking(&mut self, entry: u32, ending: Ending) {
        if ending == Ending::Over || !self.is_asking(entry) {
            return;
        }
        let Some(pending) = self.synproxy.pending.get(entry as usize).copied() else { return };
        if ending == Ending::TimedOut {
            self.counters.synproxy.silent += 1;
            if pending.terms().ecn {
                // Something on the way may have begun to swallow what offers it.
                let state = self.table.get(entry);
                let client = pending.encapsulation.packet(state);
                let (address, port) = (client.destination, client.destination_port);
                let server = Server::new(self.key, state.key().tags(), address, port);
                self.shared.learned().forget(server, self.advanced());
            }
        }
        self.craft_pending(entry, Towards::Sender, &pending.reset_client());
        self.craft_pending(entry, Towards::Receiver, &pending.reset_server());
    }

    /// Queues a segment for the server of a pending state (the receiver of its SYN), or for its client,
    /// changed as its rules want all segments of the connection to be. `false`: there is no room.
    fn craft_pending(&mut self, entry: u32, towards: Towards, segment: &Segment) -> bool {
        let Some(pending) = self.synproxy.pending.get(entry as usize).copied() else {
            return false;
        };
        let path = pending.encapsulation.path();
        let port = if towards == Towards::Sender { path.from } else { path.to };
        if !self.outbox.has_room(1) {
            self.note(Reason::OutputFull);
            return false;
        }
        let Self { table, outbox, counters, chance, .. } = self;
        let state = table.get(entry);
        let effects = state.has(flag::EFFECTS).then(|| Effects::unpack(table.effects(entry)));
        let queued = outbox.push(port, |room| {
            let length = pending.write(state, segment, towards, room)?;
            if let Some(effects) = effects {
                effects.apply_to_crafted(port, &mut room[..length], chance);
            }
            Some(length)
        });
        counters.crafted += u64::from(queued);
        queued
    }
}
