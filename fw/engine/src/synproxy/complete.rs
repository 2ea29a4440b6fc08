//! The ACK that proves a client: the rules are asked about the SYN that it stands for, and the server
//! hears of the connection if they and their limits allow it.

use weir_config::options::Timeout;
use weir_config::rules::{Direction, KeepState};

use super::answer::{Offer, flow};
use super::cookie::{Fails, Good, Proven};
use super::pending::Pending;
use super::segment::{Segment, is_plain, rebuilt};
use crate::admit::{Beginning, Spending};
use crate::engine::Engine;
use crate::frame::{Checksum, Frames};
use crate::judge::Verdict;
use crate::lane::{Arrival, Lane};
use crate::lifecycle::Ending;
use crate::log::LogSink;
use crate::packet::tcp::flags;
use crate::packet::{Packet, Tcp, Transport, checksum};
use crate::reason::Reason;
use crate::reflect::Towards;
use crate::ruleset::Decision;
use crate::state::entry::{Peer, flag};
use crate::state::tcp as tracker;
use crate::state::wheel::TICKS_PER_SECOND;

impl Engine {
    /// A segment that no state knows. `None`: it does not complete a handshake that weir has answered.
    pub(crate) fn complete_handshake<F: Frames, L: LogSink>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        log: &mut L,
    ) -> Option<Verdict> {
        let Transport::Tcp(header) = arrival.packet.transport else { return None };
        if !self.synproxy.expected.has(flow(arrival.lane)) || self.is_late(arrival, &header) {
            return None;
        }
        let proven = self.prove(arrival, frames, &header)?;
        Some(self.admit_proven(arrival, frames, &header, &proven, log))
    }

    /// The RST of a client that has given up before its SYN was answered, or has never sent it: there is
    /// nothing that it could end, and it is no attack.
    pub(crate) fn judge_given_up(&mut self, arrival: &Arrival<'_>) -> Option<Verdict> {
        let &Arrival { lane, packet, .. } = arrival;
        let Transport::Tcp(header) = packet.transport else { return None };
        let gives_up = header.flags & (flags::SYN | flags::RST) == flags::RST
            && packet.payload == 0
            && self.synproxy.expected.has(flow(lane));
        gives_up.then(|| {
            self.counters.late += 1;
            self.block(packet, Direction::In, Reason::TcpLate)
        })
    }

    /// Whether a segment completes a handshake that weir has answered.
    pub(super) fn prove<F: Frames>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &F,
        header: &Tcp,
    ) -> Option<Proven> {
        let &Arrival { round, i, lane, packet } = arrival;
        let head = frames.head(i);
        if header.flags & flags::RST != 0 {
            // Whoever never asked says so: it is not asked again.
            self.synproxy.resend.forget(lane.hash);
        }
        if header.flags & (flags::SYN | flags::RST | flags::ACK) != flags::ACK
            || !is_plain(packet, head)
        {
            return None;
        }
        let server = self.server(packet);
        let echo = Offer::of(packet, head).stamps.map(|[_, echo]| echo);
        let good = Good {
            scales: self.shared.learned().promised(server, round.now),
            only_plain: self.synproxy.expected.is_exhausted(server),
        };
        // Some put a byte of garbage into a probe (RFC 9293, 3.8.4).
        let empty = packet.payload <= 1;
        let checked = self.synproxy.secrets.check(flow(lane), header, empty, echo, good);
        let proven = match checked {
            Ok(proven) => proven,
            Err(fails) => {
                match fails {
                    Fails::Expired => self.counters.synproxy.expired += 1,
                    Fails::Invalid => self.counters.synproxy.invalid += 1,
                }
                if echo.is_none() {
                    self.synproxy.expected.was_wrong(server);
                }
                return None;
            }
        };
        let verified =
            frames.meta(i).checksum == Checksum::Valid || checksum::verify(packet, frames, i);
        verified.then(|| {
            self.counters.synproxy.valid += 1;
            self.synproxy.resend.forget(lane.hash);
            proven
        })
    }

    /// A client has shown itself: what do the rules and their limits say of its SYN?
    pub(super) fn admit_proven<F: Frames, L: LogSink>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        header: &Tcp,
        proven: &Proven,
        log: &mut L,
    ) -> Verdict {
        let &Arrival { round, i, lane, packet } = arrival;
        let client_stamp = Offer::of(packet, frames.head(i)).stamps.map_or(0, |[value, _]| value);
        let known = self.shared.learned().get(self.server(packet), round.now).is_some();
        let pending = Pending::new(proven, packet, header, frames.head(i), client_stamp, !known);
        let syn = pending.syn();
        let syn = Lane {
            packet: rebuilt(packet, pending.seq, &Segment { flags: pending.syn_flags(), ..syn }),
            key: lane.key,
            hash: lane.hash,
            candidate: lane.candidate,
            sender_is_lower: lane.sender_is_lower,
            link_tag: lane.link_tag,
            step: lane.step,
        };
        let mut findings = self.findings.take().unwrap_or_default();
        let asked = Arrival::new(round, i, &syn);
        let decision = self.ask(&asked, &mut findings, Spending::All);
        let verdict = if decision.passes {
            match self.open_proven(&asked, frames, pending, &decision) {
                Ok(verdict) => {
                    // Only now: whoever is sent away may come with the same cookie again.
                    let [now, before] = &mut self.synproxy.open;
                    let oldest = if *before > 0 { before } else { now };
                    *oldest = oldest.saturating_sub(1);
                    verdict
                }
                Err(reason) => {
                    let limited = !matches!(reason, Reason::TcpNoState | Reason::SynproxyUnfit);
                    self.counters.synproxy.surplus += u64::from(limited);
                    let dropped = self.block(packet, Direction::In, reason);
                    self.send_away(frames, i, packet, header, dropped)
                }
            }
        } else {
            let direction =
                if decision.blocked_by == Some(1) { Direction::Out } else { Direction::In };
            self.block(packet, direction, decision.reason.unwrap_or(Reason::NoRule))
        };
        self.tell(arrival, frames, &decision, &findings, verdict, log);
        self.findings = Some(findings);
        if decision.passes {
            return verdict;
        }
        // The client was told that it is connected: silence, or an ICMP error, would leave it waiting.
        self.send_away(frames, i, packet, header, verdict)
    }

    /// Makes the state, and the ACK into the client's SYN for the server.
    fn open_proven<F: Frames>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        mut pending: Pending,
        decision: &Decision,
    ) -> Result<Verdict, Reason> {
        let &Arrival { round, i, packet, .. } = arrival;
        if decision.keeps == KeepState::No {
            return Err(Reason::TcpNoState);
        }
        let mut peers = <[Peer; 2]>::default();
        tracker::ask(&mut peers, pending.seq.wrapping_add(1));
        let timeout = Timeout::TcpOpening;
        let beginning = Beginning { peers, timeout, modulated: false, proxied: true };
        let begun = self.begin_state(arrival, decision, &beginning, frames.head(i))?;
        // A time-out of 0 leaves no time to ask the server.
        let entry = begun.ok_or(Reason::StateLimit)?;
        let state = self.table.get_mut(entry);
        state.flags |= flag::UNHEARD;
        if state.has(flag::LIMITED)
            && let Err(reason) = self.connect(round, entry)
        {
            self.end(entry, Ending::Over, round.tick);
            return Err(reason);
        }
        pending.clamp_mss(decision.effects.max_mss());
        pending.due = round.tick.wrapping_add(TICKS_PER_SECOND + 1);
        self.table.reschedule(entry, pending.due);
        if let Some(place) = self.synproxy.pending.get_mut(entry as usize) {
            *place = pending;
        }
        let Some(written) = pending.syn().over(frames, i, packet, Towards::Receiver) else {
            self.end(entry, Ending::Over, round.tick);
            return Err(Reason::SynproxyUnfit);
        };
        if !decision.effects.is_none() {
            self.apply(decision.effects, &written, frames, i);
        }
        let written_over = Arrival { packet: &written, ..*arrival };
        self.change(&written_over, frames, (entry, 0), true);
        if let Some(place) = self.synproxy.pending.get_mut(entry as usize) {
            place.clock = self.splices.get(entry).clock[0];
        }
        Ok(self.forward(&written))
    }

    /// Makes the ACK of a connection that may not be into a RST for the client.
    fn send_away<F: Frames>(
        &mut self,
        frames: &mut F,
        i: usize,
        packet: &Packet,
        header: &Tcp,
        verdict: Verdict,
    ) -> Verdict {
        let Verdict::Drop(reason) = verdict else { return verdict };
        if Segment::reset(header.ack).over(frames, i, packet, Towards::Sender).is_none() {
            return verdict;
        }
        self.counters.reflected += 1;
        Verdict::Reflect(reason)
    }
}
