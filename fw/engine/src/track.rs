//! A packet of a known flow: its state's tracker says whether it fits, and what follows from that is
//! done here. An ICMP error belongs to the flow of the packet that it quotes.

use weir_config::options::Timeout;
use weir_config::rules::Direction;

use crate::effects::Effects;
use crate::engine::Engine;
use crate::flow::Path;
use crate::frame::{Checksum, Frames};
use crate::judge::{Lane, Round, Verdict, may_have_options};
use crate::log::LogSink;
use crate::packet::{Packet, Quote, Tcp, Transport, checksum, protocol, tcp};
use crate::reason::Reason;
use crate::state::entry::{Entry, flag};
use crate::state::tcp::Segment;
use crate::state::{datagram, tcp as tracker};

impl Engine {
    /// A packet of a known flow. `None`: it ended the state and is to be judged as a new flow's.
    pub(crate) fn track<F: Frames, L: LogSink>(
        &mut self,
        round: &Round<'_>,
        frames: &mut F,
        i: usize,
        flow: &Lane,
        entry: u32,
        log: &mut L,
    ) -> Option<Verdict> {
        let mut packet = &flow.packet;
        let state = self.table.get_mut(entry);
        let from = flow.sender(state);
        if packet.options
            && !state.has(flag::ALLOW_OPTS)
            && !may_have_options(packet, frames.head(i))
        {
            return Some(self.block(packet, Direction::In, Reason::IpOptions));
        }
        if state.has(flag::RATED) && from == 0 {
            let rules = state.rules;
            if self.exceeds_rate(round, rules) {
                return Some(self.block(packet, Direction::In, Reason::PacketRate));
            }
        }
        let stripped;
        let state = self.table.get_mut(entry);
        let tracked = match packet.transport {
            Transport::Tcp(header) => {
                if tracker::opens(&header) && tracker::is_over(&state.peers) {
                    self.end(entry);
                    return None;
                }
                let limited = state.has(flag::LIMITED);
                if limited {
                    let rules = state.rules;
                    let shut = self.shut_out(round, frames, i, packet, &header, entry, from);
                    if shut.is_some() {
                        return shut;
                    }
                    if tracker::opens(&header) && verify(packet, &header, frames, i).is_ok() {
                        stripped = self.strip_fast_open(frames, i, packet, rules);
                        packet = stripped.as_ref().unwrap_or(packet);
                    }
                }
                let timely = if self.table.get(entry).has(flag::NORMALISED) {
                    self.inspect(round, frames.head(i), packet, &header, (entry, from))
                } else {
                    Ok(())
                };
                match timely {
                    Ok(()) if limited => {
                        self.track_limited(round, frames, i, packet, &header, entry, from)
                    }
                    Ok(()) => {
                        let state = self.table.get_mut(entry);
                        track_tcp(state, from, packet, &header, frames, i)
                    }
                    Err(reason) => Tracked::Refused(reason),
                }
            }
            _ => Tracked::Moves(datagram::track(&mut state.peers, from, packet.protocol)),
        };
        let state = self.table.get_mut(entry);
        let logged = state.has(flag::LOG_ALL);
        let changed = state.has(flag::EFFECTS);
        let normalised = state.has(flag::NORMALISED);
        let counted = state.has(flag::COUNTS_TABLES);
        let records = state.rules;
        let mut ends = matches!(tracked, Tracked::Forgotten(_));
        if let Tracked::Moves(timeout) = tracked {
            state.touched = round.tick;
            if state.timeout != timeout as u8 || !state.has(flag::PROVEN) {
                ends = !self.change_phase(round, entry, packet.protocol, timeout);
            }
        }
        let verdict = match tracked {
            Tracked::Moves(_) | Tracked::Stands | Tracked::Forgotten(None) => {
                let state = self.table.get_mut(entry);
                state.packets[from] += 1;
                state.bytes[from] += u64::from(packet.length);
                // The initiator's packets arrive by the arriving rule's port; answers leave by it.
                self.records.count(records[0], from, packet.length);
                self.records.count(records[1], 1 - from, packet.length);
                if changed {
                    let effects = Effects::unpack(self.table.effects(entry));
                    self.apply(effects, packet, frames, i);
                }
                if normalised {
                    let moves = matches!(tracked, Tracked::Moves(_));
                    self.normalise(round, frames, i, flow, (entry, from), moves);
                }
                if counted {
                    self.count_tables(round, packet, from, records);
                }
                self.forward(packet)
            }
            Tracked::Refused(reason) | Tracked::Forgotten(Some(reason)) => {
                self.block(packet, Direction::In, reason)
            }
        };
        if ends {
            self.end(entry);
        }
        if logged {
            self.log_tracked(round, frames, i, packet, (records, from), verdict, log);
        }
        Some(verdict)
    }

    /// Logs a packet of a state with `log (all)`.
    #[expect(clippy::too_many_arguments, reason = "a log record says all of this")]
    fn log_tracked<F: Frames, L: LogSink>(
        &self,
        round: &Round<'_>,
        frames: &F,
        i: usize,
        packet: &Packet,
        (records, from): ([u32; 2], usize),
        verdict: Verdict,
        log: &mut L,
    ) {
        let direction = if from == 0 { Direction::In } else { Direction::Out };
        let at = if from == 0 { packet.port } else { Path::across(packet.port).to };
        // A `match log (all)` is not remembered: the rule that let the state begin stands for it.
        let rules = || records.into_iter().filter_map(|record| self.records.number(record));
        let rule =
            rules().find(|&rule| round.program.compiled(rule).log_all).or_else(|| rules().next());
        self.log(round, frames, i, packet, rule, (at, direction), verdict, log);
    }

    /// A TCP segment of a connection with limits.
    #[expect(clippy::too_many_arguments, reason = "a segment, and where it belongs")]
    fn track_limited<F: Frames>(
        &mut self,
        round: &Round<'_>,
        frames: &F,
        i: usize,
        packet: &Packet,
        header: &Tcp,
        entry: u32,
        from: usize,
    ) -> Tracked {
        let state = self.table.get_mut(entry);
        let before = state.peers;
        let tracked = track_tcp(state, from, packet, header, frames, i);
        if let Tracked::Moves(_) = tracked
            && let Err(reason) = self.follow(round, frames, i, packet, header, entry, from, &before)
        {
            return Tracked::Refused(reason);
        }
        tracked
    }

    /// A state's time-out changes with its phase. `false`: to 0, so that the state ends with this packet.
    fn change_phase(
        &mut self,
        round: &Round<'_>,
        entry: u32,
        protocol: u8,
        timeout: Timeout,
    ) -> bool {
        let state = self.table.get_mut(entry);
        state.timeout = timeout as u8;
        let proven = match protocol {
            protocol::TCP => tracker::is_proven(&state.peers),
            _ => datagram::is_proven(&state.peers),
        };
        if proven {
            self.table.prove(entry);
        }
        let state = self.table.get(entry);
        let deadline = self.deadline(state, round.program);
        let lasts = self.whole_ticks(state.rules, state.timeout, round.program) > 0;
        self.table.reschedule(entry, deadline);
        lasts
    }

    /// An ICMP error about a known flow. It has to go to the host that sent the quoted packet, and
    /// to speak of a segment that may be on its way (RFC 5927, 4.1).
    pub(crate) fn judge_error(&mut self, flow: &Lane, quote: &Quote, entry: u32) -> Verdict {
        let packet = &flow.packet;
        let state = self.table.get_mut(entry);
        let from = flow.sender(state);
        if packet.options && !state.has(flag::ALLOW_OPTS) {
            return self.block(packet, Direction::In, Reason::IpOptions);
        }
        if packet.destination != quote.source {
            return self.block(packet, Direction::In, Reason::IcmpUnmatched);
        }
        if quote.protocol == protocol::TCP && !tracker::quotes(&state.peers, from, quote.seq) {
            return self.block(packet, Direction::In, Reason::IcmpWindow);
        }
        // It travels against the packet that it quotes.
        state.packets[1 - from] += 1;
        state.bytes[1 - from] += u64::from(packet.length);
        let rules = state.rules;
        self.records.count(rules[0], 1 - from, packet.length);
        self.records.count(rules[1], from, packet.length);
        self.forward(packet)
    }
}

/// What a packet of a known flow is to its state.
#[derive(Clone, Copy)]
enum Tracked {
    /// It fits; this time-out runs from now.
    Moves(Timeout),
    /// It passes and changes nothing.
    Stands,
    /// It does not fit.
    Refused(Reason),
    /// It shows that the responder has no such connection any more, so the state ends. A RST tells
    /// the initiator so and passes; an answer to a new SYN waits until that has come again and the
    /// rules have been asked about it.
    Forgotten(Option<Reason>),
}

/// A TCP segment of a known connection.
#[inline]
fn track_tcp<F: Frames>(
    state: &mut Entry,
    from: usize,
    packet: &Packet,
    header: &Tcp,
    frames: &F,
    i: usize,
) -> Tracked {
    if let Err(reason) = verify(packet, header, frames, i) {
        return Tracked::Refused(reason);
    }
    let segment = segment(packet, header, frames.head(i));
    let peers = &mut state.peers;
    if tracker::opens(header) && from == 0 && tracker::unanswered(peers) {
        // The SYN again, or another attempt from the same port.
        return Tracked::Moves(tracker::begin(peers, &segment));
    }
    if tracker::resynchronises(peers, from, &segment) {
        if tracker::opens(header) {
            state.after_syn = header.seq.wrapping_add(1);
        }
        return Tracked::Stands;
    }
    match tracker::track(peers, from, &segment) {
        Ok(timeout) => Tracked::Moves(timeout),
        Err(_)
            if state.after_syn != 0
                && tracker::answers_anew(peers, from, header, state.after_syn) =>
        {
            let resets = header.flags & tcp::flags::RST != 0;
            Tracked::Forgotten((!resets).then_some(Reason::TcpBadSyn))
        }
        Err(_) if tracker::resets_late(peers, from, header) => Tracked::Stands,
        Err(reason) => Tracked::Refused(reason),
    }
}

/// SYN, FIN and RST count only with a right checksum: the host would ignore them otherwise.
#[inline]
pub(crate) fn verify<F: Frames>(
    packet: &Packet,
    header: &Tcp,
    frames: &F,
    i: usize,
) -> Result<(), Reason> {
    let matters = header.flags & (tcp::flags::SYN | tcp::flags::FIN | tcp::flags::RST) != 0;
    if matters && frames.meta(i).checksum != Checksum::Valid && !checksum::verify(packet, frames, i)
    {
        return Err(Reason::TcpChecksum);
    }
    Ok(())
}

#[inline]
pub(crate) fn segment(packet: &Packet, header: &Tcp, head: &[u8]) -> Segment {
    let scale = if header.flags & tcp::flags::SYN == 0 {
        None
    } else {
        packet.tcp_options(head).window_scale()
    };
    Segment { header: *header, payload: packet.payload, scale }
}
