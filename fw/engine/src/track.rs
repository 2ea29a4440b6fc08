//! A packet of a known flow: its state's tracker says whether it fits, and what follows from that is
//! done here. An ICMP error belongs to the flow of the packet that it quotes.

use weir_config::options::{DebugLevel, Timeout};
use weir_config::rules::Direction;

use crate::effects::Effects;
use crate::engine::Engine;
use crate::flow::Path;
use crate::frame::{Checksum, Frames};
use crate::judge::{Verdict, may_have_options};
use crate::lane::{Arrival, Round};
use crate::lifecycle::Ending;
use crate::log::{LogSink, StateNote};
use crate::outcome::Event;
use crate::packet::{Packet, Quote, Sctp, Tcp, Transport, checksum, protocol, tcp};
use crate::reason::Reason;
use crate::splice;
use crate::state::entry::{Entry, Peer, flag};
use crate::state::tcp::Segment;
use crate::state::view::PeerView;
use crate::state::{datagram, sctp, tcp as tracker};

impl Engine {
    /// A packet of a known flow. `None`: it ended the state and is to be judged as a new flow's.
    #[inline(never)]
    pub(crate) fn track<F: Frames, L: LogSink>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        entry: u32,
        log: &mut L,
    ) -> Option<Verdict> {
        if self.is_asking(entry) {
            return self.track_asking(arrival, frames, entry, log);
        }
        let &Arrival { round, i, lane, packet } = arrival;
        let state = self.table.get_mut(entry);
        let from = lane.sender(state);
        if packet.options
            && !state.has(flag::ALLOW_OPTS)
            && !may_have_options(packet, frames.head(i))
        {
            return Some(self.refuse(arrival, frames, entry, Reason::IpOptions, log));
        }
        if state.has(flag::RATED) && from == 0 {
            let rules = state.rules;
            if self.exceeds_rate(round, rules) {
                return Some(self.refuse(arrival, frames, entry, Reason::PacketRate, log));
            }
        }
        let (stripped, plain);
        let mut arrival = arrival;
        let state = self.table.get_mut(entry);
        let logged = state.has(flag::LOG_ALL).then(|| note(packet.protocol, &state.peers));
        let tracked = match packet.transport {
            Transport::Tcp(header) => {
                if tracker::opens(&header) && tracker::is_over(&state.peers) {
                    self.end(entry, Ending::Over, round.tick);
                    return None;
                }
                let limited = state.has(flag::LIMITED | flag::PROGRESS);
                // What the tracker sees of it.
                let header = if state.has(flag::TRANSLATED) {
                    splice::own_space(&header, &state.peers[1 - from])
                } else {
                    header
                };
                if limited {
                    match self.before_tracking(arrival, frames, &header, entry, from) {
                        Ok(Some(packet)) => {
                            stripped = packet;
                            plain = Arrival { packet: &stripped, ..*arrival };
                            arrival = &plain;
                        }
                        Ok(None) => {}
                        Err(verdict) => return Some(verdict),
                    }
                }
                self.track_segment(arrival, frames, &header, (entry, from), limited)
            }
            Transport::Sctp(header) if verify_sctp(packet, &header, frames, i).is_err() => {
                Tracked::Refused(Reason::SctpChecksum)
            }
            Transport::Sctp(header) => {
                if sctp::opens(&header) && sctp::is_over(&state.peers) {
                    self.end(entry, Ending::Over, round.tick);
                    return None;
                }
                match sctp::track(&mut state.peers, from, &header) {
                    Ok(timeout) => Tracked::Moves(timeout),
                    Err(reason) => Tracked::Refused(reason),
                }
            }
            _ => Tracked::Moves(datagram::track(&mut state.peers, from, packet.protocol)),
        };
        let state = self.table.get_mut(entry);
        let records = state.rules;
        let mut ends = matches!(tracked, Tracked::Forgotten(_));
        if let Tracked::Moves(timeout) = tracked {
            state.touched = round.tick;
            if state.timeout != timeout as u8 || !state.has(flag::PROVEN) {
                self.learn(arrival, frames.head(i), from);
                ends = !self.change_phase(round, entry, packet.protocol, timeout);
            }
        }
        let verdict = match tracked {
            Tracked::Moves(_) | Tracked::Stands | Tracked::Forgotten(None) => {
                let moves = matches!(tracked, Tracked::Moves(_));
                self.pass_tracked(arrival, frames, (entry, from), moves)
            }
            Tracked::Refused(reason @ (Reason::TcpBadReset | Reason::TcpBadSyn)) => {
                self.challenge(arrival, frames, (entry, from), reason, log)
            }
            Tracked::Refused(reason) | Tracked::Forgotten(Some(reason)) => {
                self.refuse(arrival, frames, entry, reason, log)
            }
        };
        if ends {
            let forgotten = matches!(tracked, Tracked::Forgotten(_));
            let ending = if forgotten { Ending::Over } else { Ending::TimedOut };
            self.end(entry, ending, round.tick);
        }
        if logged.is_some() {
            self.log_tracked(arrival, frames, (records, from), (verdict, logged), log);
        }
        Some(verdict)
    }

    /// A TCP segment, its header in its end's own numbers.
    #[inline]
    fn track_segment<F: Frames>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        header: &Tcp,
        (entry, from): (u32, usize),
        limited: bool,
    ) -> Tracked {
        let i = arrival.i;
        let timely = if self.table.get(entry).has(flag::NORMALISED) {
            self.inspect(arrival, frames.head(i), header, (entry, from))
        } else {
            Ok(())
        };
        let tracked = match timely {
            Ok(()) if limited => self.track_limited(arrival, frames, header, entry, from),
            Ok(()) => {
                let state = self.table.get_mut(entry);
                track_tcp(state, from, arrival.packet, header, frames, i)
            }
            Err(reason) => Tracked::Refused(reason),
        };
        if let Tracked::Refused(Reason::TcpBadReset) = tracked
            && let Some(exact) = self.take_answer(arrival, frames, header, (entry, from))
        {
            return self.track_limited(arrival, frames, &exact, entry, from);
        }
        tracked
    }

    /// Nearly every packet there is: of a state for which nothing special is to be done and whose phase
    /// stays what it is, a datagram of UDP, or a segment inside the windows of an established connection
    /// that is neither SYN, FIN nor RST. `None`: it is something else, and is to be tracked.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "one test for all that is rare, and no call behind it"
    )]
    pub(crate) fn pass_ordinary(&mut self, arrival: &Arrival<'_>, entry: u32) -> Option<Verdict> {
        let &Arrival { round, lane, packet, .. } = arrival;
        let state = self.table.get_mut(entry);
        if state.flags & flag::SPECIAL != flag::PROVEN || packet.options {
            return None;
        }
        let from = lane.sender(state);
        match &packet.transport {
            Transport::Tcp(header)
                if state.timeout == Timeout::TcpEstablished as u8
                    && header.flags & (tcp::flags::SYN | tcp::flags::FIN | tcp::flags::RST)
                        == 0 =>
            {
                let segment = Segment { header: *header, payload: packet.payload, scale: None };
                tracker::track(&mut state.peers, from, &segment).ok()?;
            }
            Transport::Udp => {
                let timeout = datagram::track(&mut state.peers, from, packet.protocol);
                if state.timeout != timeout as u8 {
                    return None;
                }
            }
            _ => return None,
        }
        state.touched = round.tick;
        self.count(packet, entry, from);
        Some(self.forward(packet))
    }

    /// Counts a packet that its state lets pass.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "2 ns a frame otherwise")]
    fn count(&mut self, packet: &Packet, entry: u32, from: usize) {
        let state = self.table.get_mut(entry);
        state.packets[from] += 1;
        state.bytes[from] += u64::from(packet.length);
        // The initiator's packets arrive by the arriving rule's port; answers leave by it.
        let [arriving, leaving] = state.rules;
        self.records.count(arriving, from, packet.length);
        self.records.count(leaving, 1 - from, packet.length);
    }

    /// A packet that its state lets pass: counts it and does to it what the rules want.
    #[inline]
    fn pass_tracked<F: Frames>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        (entry, from): (u32, usize),
        moves: bool,
    ) -> Verdict {
        let &Arrival { round, i, packet, .. } = arrival;
        self.count(packet, entry, from);
        let state = self.table.get(entry);
        if state.has(flag::MORE_TO_DO) {
            let counted = state.has(flag::COUNTS_TABLES);
            let records = state.rules;
            if state.has(flag::EFFECTS) {
                let effects = Effects::unpack(self.table.effects(entry));
                self.apply(effects, packet, frames, i);
            }
            self.change(arrival, frames, (entry, from), moves);
            if counted {
                self.count_tables(round, packet, from, records);
            }
        }
        self.forward(packet)
    }

    /// What is done to a segment of peer `from` for the sake of its connection alone. `moves` says
    /// that the tracker has taken it into account.
    pub(crate) fn change<F: Frames>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        (entry, from): (u32, usize),
        moves: bool,
    ) {
        if self.table.get(entry).has(flag::NORMALISED) {
            self.normalise(arrival, frames, (entry, from), moves);
        }
        if self.table.get(entry).has(flag::TRANSLATED) {
            self.translate(frames, arrival.i, arrival.packet, (entry, from));
        }
    }

    /// Before a segment of a connection with limits, or whose progress is watched, is tracked: its
    /// verdict, if it ends here; else what is left of it without Fast Open, if that was there.
    fn before_tracking<F: Frames>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        header: &Tcp,
        entry: u32,
        from: usize,
    ) -> Result<Option<Packet>, Verdict> {
        if let Some(verdict) = self.shut_out(arrival, frames, header, entry, from) {
            return Err(verdict);
        }
        let &Arrival { i, packet, .. } = arrival;
        let state = self.table.get(entry);
        let rules = state.rules;
        if tracker::opens(header) && verify(packet, header, frames, i).is_ok() {
            if from == 0 && tracker::unanswered(&state.peers) {
                self.table.raise_ttl(entry, packet.ttl);
            }
            return Ok(self.strip_fast_open(frames, i, packet, rules));
        }
        Ok(None)
    }

    /// `log (all)` of a packet of a known flow.
    fn log_tracked<F: Frames, L: LogSink>(
        &self,
        arrival: &Arrival<'_>,
        frames: &F,
        (records, from): ([u32; 2], usize),
        (verdict, state): (Verdict, Option<StateNote>),
        log: &mut L,
    ) {
        let &Arrival { round, packet, .. } = arrival;
        let direction = if from == 0 { Direction::In } else { Direction::Out };
        let at = if from == 0 { packet.port } else { Path::across(packet.port).to };
        // A `match log (all)` is not remembered: the rule that let the state begin stands for it.
        let rules = || records.into_iter().filter_map(|record| self.records.number(record));
        let rule =
            rules().find(|&rule| round.program.compiled(rule).log_all).or_else(|| rules().next());
        let event = Event { rule, way: (at, direction), verdict, state, is_debug: false };
        self.log(arrival, frames, &event, log);
    }

    /// A TCP segment of a connection with limits, or whose progress is watched.
    fn track_limited<F: Frames>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &F,
        header: &Tcp,
        entry: u32,
        from: usize,
    ) -> Tracked {
        let (limited, watched) = {
            let state = self.table.get(entry);
            (state.has(flag::LIMITED), state.has(flag::PROGRESS))
        };
        if watched && let Err(reason) = self.judge_progress(arrival.round, entry) {
            return Tracked::Refused(reason);
        }
        let state = self.table.get_mut(entry);
        let before = state.peers;
        let tracked = track_tcp(state, from, arrival.packet, header, frames, arrival.i);
        let Tracked::Moves(timeout) = tracked else { return tracked };
        if limited && let Err(reason) = self.follow(arrival, frames, header, entry, from, &before) {
            return Tracked::Refused(reason);
        }
        if watched {
            let head = frames.head(arrival.i);
            self.count_progress(arrival, head, header, (entry, from), &before, timeout);
        }
        tracked
    }

    /// Drops a packet that its state refuses, and tells of it if `set debug` says so.
    pub(crate) fn refuse<F: Frames, L: LogSink>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &F,
        entry: u32,
        reason: Reason,
        log: &mut L,
    ) -> Verdict {
        let &Arrival { round, packet, .. } = arrival;
        if round.program.options().debug >= DebugLevel::Info
            && self.telling.spend(round.now).is_ok()
        {
            let state = self.table.get(entry);
            let event = Event {
                rule: state.rules.into_iter().find_map(|record| self.records.number(record)),
                way: (packet.port, Direction::In),
                verdict: Verdict::Drop(reason),
                state: Some(note(state.key().protocol(), &state.peers)),
                is_debug: true,
            };
            self.log(arrival, frames, &event, log);
        }
        self.block(packet, Direction::In, reason)
    }

    /// A state's time-out changes with its phase. `false`: to 0, so that the state ends with this packet.
    fn change_phase(
        &mut self,
        round: &Round<'_>,
        entry: u32,
        protocol: u8,
        timeout: Timeout,
    ) -> bool {
        self.table.set_timeout(entry, timeout);
        let state = self.table.get(entry);
        let proven = match protocol {
            protocol::TCP => tracker::is_proven(&state.peers),
            protocol::SCTP => sctp::is_proven(&state.peers),
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
    pub(crate) fn judge_error<F: Frames, L: LogSink>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        quote: &Quote,
        entry: u32,
        log: &mut L,
    ) -> Verdict {
        let packet = arrival.packet;
        let state = self.table.get_mut(entry);
        let from = arrival.lane.sender(state);
        if packet.options && !state.has(flag::ALLOW_OPTS) {
            return self.refuse(arrival, frames, entry, Reason::IpOptions, log);
        }
        if packet.destination != quote.source {
            return self.refuse(arrival, frames, entry, Reason::IcmpUnmatched, log);
        }
        let fits = match quote.protocol {
            protocol::TCP => {
                let seq = quote.seq.wrapping_sub(state.peers[from].seq_diff);
                state.has(flag::SLOPPY) || tracker::quotes(&state.peers, from, seq)
            }
            protocol::SCTP => sctp::quotes(&state.peers, from, quote.seq),
            _ => true,
        };
        if !fits {
            return self.refuse(arrival, frames, entry, Reason::IcmpWindow, log);
        }
        // It travels against the packet that it quotes.
        self.count(packet, entry, 1 - from);
        self.translate_quote(frames, arrival.i, packet, (entry, from));
        self.forward(packet)
    }
}

/// A state's peers as a log record shows them.
fn note(protocol: u8, peers: &[Peer; 2]) -> StateNote {
    StateNote { protocol, peers: peers.map(|peer| PeerView::new(&peer, protocol)) }
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
#[inline(never)]
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
    let sloppy = state.has(flag::SLOPPY);
    let peers = &mut state.peers;
    if sloppy {
        return Tracked::Moves(tracker::track_sloppily(peers, from, &segment));
    }
    if tracker::opens(header) {
        if from == 0 && tracker::unanswered(peers) {
            // The SYN again, or another attempt from the same port.
            return Tracked::Moves(tracker::begin(peers, &segment));
        }
        if tracker::contradicts(peers, from, header) {
            return Tracked::Refused(Reason::TcpBadSyn);
        }
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
            Tracked::Forgotten((!resets).then_some(Reason::TcpForgotten))
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

/// So do SCTP packets that move an association (RFC 9260, 6.8).
pub(crate) fn verify_sctp<F: Frames>(
    packet: &Packet,
    header: &Sctp,
    frames: &F,
    i: usize,
) -> Result<(), Reason> {
    if sctp::moves(header) && !checksum::verify(packet, frames, i) {
        return Err(Reason::SctpChecksum);
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
