//! One batch of frames' way through the firewall, top to bottom: parse, look up, judge.
//!
//! The three steps run over the batch like a pipeline, each [`DEPTH`] frames behind the one before,
//! so that the cache misses of the look-ups overlap with the work on other frames: parsing computes a
//! frame's flow hash and asks for its index line, looking up reads that line and asks for the entry,
//! judging finds the entry in the cache. A frame costs three misses; a core can have about sixteen
//! on their way, so bursts of them would stall it.

use std::sync::Arc;

use weir_config::options::Timeout;
use weir_config::rules::Direction;

use crate::counters::Tally;
use crate::effects::Effects;
use crate::engine::{Engine, deadline, tick};
use crate::flow::{FlowKey, Path, owner};
use crate::fragment::allow_fragments;
use crate::frame::{Checksum, Frames, Meta, PortIndex};
use crate::link::records::EtherRecords;
use crate::link::{LinkRules, Way};
use crate::log::{CAPTURE, LogAction, LogRecord, LogSink};
use crate::packet::{
    Fragment, Icmp, Network, Packet, Quote, Tcp, Transport, checksum, icmp, protocol, tcp,
};
use crate::prefetch;
use crate::reason::Reason;
use crate::ruleset::Program;
use crate::state::entry::{Entry, NONE, flag};
use crate::state::tcp::Segment;
use crate::state::wheel::is_due;
use crate::state::{datagram, tcp as tracker};
use crate::table::Tables;
use crate::time::Instant;

/// Frames between the steps of the pipeline.
const DEPTH: usize = 16;
/// How far ahead of the frame being parsed headers are asked for: a NIC leaves them in the last
/// level of the cache at best.
const AHEAD: usize = 8;

/// What is to be done with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It leaves by this port.
    Forward(PortIndex),
    /// It ends here.
    Drop(Reason),
    /// It was made into an answer, in place, and leaves by the port it came in by. The packet that
    /// it was is dropped for this reason.
    Reflect(Reason),
    /// Its flow belongs to another worker, which is to judge it.
    Handover(u16),
    /// It waits for the rest of its datagram in this slot, below [`Engine::FRAGMENTS`], until
    /// [`Engine::take_releases`] says what becomes of it.
    Hold(u32),
}

/// A frame between the steps. The slots are reused from batch to batch and filled in place.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) packet: Packet,
    pub(crate) key: FlowKey,
    pub(crate) hash: u64,
    /// The entry that probably is the flow's, or [`NONE`].
    pub(crate) candidate: u32,
    pub(crate) sender_is_lower: bool,
    /// The tag that a layer 2 rule has given, or 0.
    pub(crate) link_tag: u16,
    pub(crate) step: Step,
}

/// What the first step has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Not a frame that rules or states speak about.
    Decided(Verdict),
    /// ARP, or neighbour discovery of a host on the link: passes without a rule.
    Control,
    /// ICMP that neither asks nor reports an error: the rules decide about each one.
    Stateless,
    /// Part of a flow.
    Flow,
    /// Part of a datagram.
    Fragment(Fragment),
}

impl Lane {
    /// An unused slot.
    pub(crate) const BLANK: Self = Self {
        packet: Packet::BLANK,
        key: FlowKey::BLANK,
        hash: 0,
        candidate: NONE,
        sender_is_lower: false,
        link_tag: 0,
        step: Step::Control,
    };
}

/// What does not change within a batch.
pub(crate) struct Round<'a> {
    pub(crate) now: Instant,
    pub(crate) tick: u32,
    pub(crate) program: &'a Program,
    pub(crate) tables: &'a Tables,
    /// Layer 2, if it has rules or guards.
    pub(crate) link: Option<&'a LinkRules>,
}

impl Engine {
    /// Judges a batch of at most [`Engine::BATCH`] frames; fills `verdicts` with one for each.
    pub fn judge<F: Frames, L: LogSink>(
        &mut self,
        now: Instant,
        frames: &mut F,
        verdicts: &mut Vec<Verdict>,
        log: &mut L,
    ) {
        verdicts.clear();
        self.counters.judged += frames.len() as u64;
        if self.is_open(now) {
            verdicts.extend((0..frames.len()).map(|i| self.pass_unjudged(frames, i)));
            return;
        }
        let Some(program) = self.program.take() else {
            verdicts.resize(frames.len(), Verdict::Drop(Reason::NoRuleset));
            self.counters.reasons[Reason::NoRuleset as usize] += frames.len() as u64;
            return;
        };
        let tables = Arc::clone(&self.tables);
        let link = Some(program.link()).filter(|link| link.is_active());
        let round = Round { now, tick: tick(now), program: &program, tables: &tables, link };
        let mut lanes = std::mem::take(&mut self.lanes);
        for i in 0..AHEAD {
            prefetch_headers(frames, i);
        }
        for at in 0..frames.len() + 2 * DEPTH {
            if at < frames.len() {
                self.parse(&round, frames, at, &mut lanes[at]);
                if let Some(link) = round.link {
                    self.judge_link(link, &round, frames, at, &mut lanes[at]);
                }
            }
            if let Some(i) = at.checked_sub(DEPTH)
                && i < frames.len()
                && lanes[i].step == Step::Flow
            {
                lanes[i].candidate = self.table.candidate(lanes[i].hash);
            }
            if let Some(i) = at.checked_sub(2 * DEPTH) {
                let verdict = match lanes[i].step {
                    Step::Fragment(fragment) => {
                        self.collect(&round, frames, i, &lanes[i], &fragment, log)
                    }
                    _ => self.decide(&round, frames, i, &lanes[i], log),
                };
                verdicts.push(verdict);
            }
        }
        self.lanes = lanes;
        self.program = Some(program);
        self.settle_fragments(verdicts);
    }

    /// The filter is disabled: even what cannot be parsed passes.
    fn pass_unjudged<F: Frames>(&mut self, frames: &mut F, i: usize) -> Verdict {
        let meta = frames.meta(i);
        self.counters.unfiltered += 1;
        if meta.checksum == Checksum::MaybePartial
            && let Ok(packet) = Packet::parse(frames.head(i), &meta)
        {
            self.finish_checksum(frames, i, &packet);
        }
        Verdict::Forward(Path::across(meta.port).to)
    }

    /// Finishes a transport checksum that a host has left to hardware.
    #[inline]
    fn finish_checksum<F: Frames>(&mut self, frames: &mut F, i: usize, packet: &Packet) {
        if frames.meta(i).checksum == Checksum::MaybePartial
            && checksum::finish_partial(packet, frames, i)
        {
            self.counters.finished_checksums += 1;
        }
    }

    fn is_open(&mut self, now: Instant) -> bool {
        match self.open_until {
            Some(until) if now < until => true,
            Some(_) => {
                self.open_until = None;
                false
            }
            None => false,
        }
    }

    /// Step 1: descriptor, flow hash, owner.
    fn parse<F: Frames>(&mut self, round: &Round<'_>, frames: &F, i: usize, lane: &mut Lane) {
        prefetch_headers(frames, i + AHEAD);
        let meta = frames.meta(i);
        lane.link_tag = 0;
        if let Err(reason) = lane.packet.parse_from(frames.head(i), &meta) {
            let verdict = self.judge_foreign(round, frames.head(i), meta, reason);
            lane.step = Step::Decided(verdict);
            return;
        }
        lane.step = match lane.packet.transport {
            Transport::Fragment(fragment) => {
                let gathered = frames.is_gathered(i);
                self.place_fragment(round, &lane.packet, &fragment, gathered)
            }
            _ => self.place(round, lane),
        };
    }

    /// What is to be done with a packet; for part of a flow with key, hash and owner.
    #[inline]
    pub(crate) fn place(&self, round: &Round<'_>, lane: &mut Lane) -> Step {
        let packet = &lane.packet;
        let (path, floating) = (Path::across(packet.port), round.program.is_floating());
        (lane.key, lane.sender_is_lower) = match &packet.transport {
            Transport::Tcp(_) | Transport::Udp => FlowKey::of_packet(packet, path, floating),
            Transport::IcmpError(_, quote) => FlowKey::of_quote(packet, quote, path, floating),
            Transport::IcmpOther(icmp) => {
                let control = is_neighbour_discovery(packet, *icmp);
                return if control { Step::Control } else { Step::Stateless };
            }
            _ if packet.network == Network::Arp => return Step::Control,
            _ => FlowKey::of_packet(packet, path, floating),
        };
        lane.hash = lane.key.hash(self.key);
        let owner = owner(lane.hash, self.workers);
        if owner == self.worker {
            self.table.prefetch_index(lane.hash);
            Step::Flow
        } else {
            Step::Decided(Verdict::Handover(owner))
        }
    }

    /// Layer 2 of a packet that is ours to judge.
    fn judge_link<F: Frames>(
        &mut self,
        link: &LinkRules,
        round: &Round<'_>,
        frames: &F,
        i: usize,
        lane: &mut Lane,
    ) {
        if let Step::Decided(_) = lane.step {
            return;
        }
        let (packet, length) = (&lane.packet, frames.meta(i).length);
        let way = Way { path: Path::across(packet.port), tables: round.tables, now: round.now };
        // The worker that gathered it has counted it.
        let uncounted = &mut EtherRecords::default();
        let records = if frames.is_gathered(i) { uncounted } else { &mut self.ether };
        match link.judge(packet, frames.head(i), length, way, records) {
            Ok(tag) => lane.link_tag = tag,
            Err((direction, reason)) => {
                lane.step = Step::Decided(self.block(packet, direction, reason));
            }
        }
    }

    /// A frame that holds no packet, or a broken one: layer 2 alone decides.
    fn judge_foreign(
        &mut self,
        round: &Round<'_>,
        head: &[u8],
        meta: Meta,
        reason: Reason,
    ) -> Verdict {
        const OTHERS: usize = 2;
        let path @ Path { from, to } = Path::across(meta.port);
        let way = Way { path, tables: round.tables, now: round.now };
        let link = round.program.link();
        let judged = link.judge_foreign(reason, head, meta.length, way, &mut self.ether);
        let blocked_in = matches!(judged, Err((Direction::In, _)));
        let [arriving, leaving] = [blocked_in, judged.is_err()]
            .map(|blocked| if blocked { Outcome::Blocked } else { Outcome::Passed });
        self.tally(OTHERS, from, Direction::In, arriving).add(meta.length);
        if !blocked_in {
            self.tally(OTHERS, to, Direction::Out, leaving).add(meta.length);
        }
        match judged {
            Ok(()) => Verdict::Forward(to),
            Err((_, reason)) => Verdict::Drop(reason),
        }
    }

    /// Step 3: the verdict.
    pub(crate) fn decide<F: Frames, L: LogSink>(
        &mut self,
        round: &Round<'_>,
        frames: &mut F,
        i: usize,
        lane: &Lane,
        log: &mut L,
    ) -> Verdict {
        let packet = &lane.packet;
        let verdict = match lane.step {
            Step::Decided(verdict) => verdict,
            Step::Control => self.forward(packet),
            Step::Stateless | Step::Flow | Step::Fragment(_) => {
                self.finish_checksum(frames, i, packet);
                if round.program.skips(Path::across(packet.port)) {
                    self.forward(packet)
                } else if lane.step == Step::Flow {
                    self.judge_flow(round, frames, i, lane, log)
                } else {
                    if let Transport::Fragment(Fragment { dont_fragment: true, .. }) =
                        packet.transport
                    {
                        allow_fragments(frames.head_mut(i), packet);
                    }
                    self.admit(round, frames, i, lane, false, log)
                }
            }
        };
        match verdict {
            Verdict::Drop(reason) | Verdict::Reflect(reason) => self.note(reason),
            Verdict::Handover(_) => self.counters.handed_over += 1,
            Verdict::Forward(_) | Verdict::Hold(_) => {}
        }
        verdict
    }

    /// The state, if there is one, else the rules.
    fn judge_flow<F: Frames, L: LogSink>(
        &mut self,
        round: &Round<'_>,
        frames: &mut F,
        i: usize,
        flow: &Lane,
        log: &mut L,
    ) -> Verdict {
        let packet = &flow.packet;
        self.counters.searches += 1;
        let entry = self.find_live(round, flow);
        if let Transport::IcmpError(_, quote) = &packet.transport {
            return match entry {
                Some(entry) => self.judge_error(packet, quote, entry, flow.sender_is_lower),
                None => self.admit(round, frames, i, flow, false, log),
            };
        }
        if let Some(entry) = entry
            && let Some(verdict) = self.track(round, frames, i, flow, entry, log)
        {
            return verdict;
        }
        self.admit(round, frames, i, flow, true, log)
    }

    /// The flow's state; one whose time has come but which the wheel has not reached is ended here.
    #[inline]
    fn find_live(&mut self, round: &Round<'_>, flow: &Lane) -> Option<u32> {
        let entry = self.table.find(&flow.key, flow.hash, flow.candidate)?;
        let deadline = deadline(self.table.get(entry), round.program);
        if !is_due(deadline, round.tick) {
            return Some(entry);
        }
        self.end(entry);
        None
    }

    /// A packet of a known flow. `None`: it ended the state and is to be judged as a new flow's.
    fn track<F: Frames, L: LogSink>(
        &mut self,
        round: &Round<'_>,
        frames: &mut F,
        i: usize,
        flow: &Lane,
        entry: u32,
        log: &mut L,
    ) -> Option<Verdict> {
        let packet = &flow.packet;
        let state = self.table.get_mut(entry);
        let from = state.sender(flow.sender_is_lower);
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
        let state = self.table.get_mut(entry);
        let tracked = match packet.transport {
            Transport::Tcp(header) => {
                if tracker::opens(&header) && tracker::is_over(&state.peers) {
                    self.end(entry);
                    return None;
                }
                track_tcp(state, from, packet, &header, frames, i)
            }
            _ => Tracked::Moves(datagram::track(&mut state.peers, from, packet.protocol)),
        };
        let logged = state.has(flag::LOG_ALL);
        let changed = state.has(flag::EFFECTS);
        let counted = state.has(flag::COUNTS_TABLES);
        let records = state.rules;
        if let Tracked::Moves(timeout) = tracked {
            state.touched = round.tick;
            if state.timeout != timeout as u8 || !state.has(flag::PROVEN) {
                self.change_phase(round, entry, packet.protocol, timeout);
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
                if counted {
                    self.count_tables(round, packet, from, records);
                }
                self.forward(packet)
            }
            Tracked::Refused(reason) | Tracked::Forgotten(Some(reason)) => {
                self.block(packet, Direction::In, reason)
            }
        };
        if let Tracked::Forgotten(_) = tracked {
            self.end(entry);
        }
        if logged {
            let direction = if from == 0 { Direction::In } else { Direction::Out };
            let at = if from == 0 { packet.port } else { Path::across(packet.port).to };
            // A `match log (all)` is not remembered: the rule that let the state begin stands for it.
            let rules = || records.into_iter().filter_map(|record| self.records.number(record));
            let rule = rules()
                .find(|&rule| round.program.compiled(rule).log_all)
                .or_else(|| rules().next());
            self.log(round, frames, i, packet, rule, (at, direction), verdict, log);
        }
        Some(verdict)
    }

    /// A state's time-out changes with its phase.
    fn change_phase(&mut self, round: &Round<'_>, entry: u32, protocol: u8, timeout: Timeout) {
        let state = self.table.get_mut(entry);
        state.timeout = timeout as u8;
        let deadline = deadline(state, round.program);
        let proven = match protocol {
            protocol::TCP => tracker::is_proven(&state.peers),
            _ => datagram::is_proven(&state.peers),
        };
        self.table.reschedule(entry, deadline);
        if proven {
            self.table.prove(entry);
        }
    }

    /// An ICMP error about a known flow. It has to go to the host that sent the quoted packet, and
    /// to speak of a segment that may be on its way (RFC 5927, 4.1).
    fn judge_error(
        &mut self,
        packet: &Packet,
        quote: &Quote,
        entry: u32,
        sender_is_lower: bool,
    ) -> Verdict {
        let state = self.table.get_mut(entry);
        let from = state.sender(sender_is_lower);
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

    pub(crate) fn forward(&mut self, packet: &Packet) -> Verdict {
        let Path { from, to } = Path::across(packet.port);
        let family = family(packet);
        self.tally(family, from, Direction::In, Outcome::Passed).add(packet.length);
        self.tally(family, to, Direction::Out, Outcome::Passed).add(packet.length);
        Verdict::Forward(to)
    }

    /// Counts a packet that is blocked arriving, or after it arrived well, leaving.
    pub(crate) fn block(
        &mut self,
        packet: &Packet,
        direction: Direction,
        reason: Reason,
    ) -> Verdict {
        let Path { from, to } = Path::across(packet.port);
        let family = family(packet);
        if direction == Direction::In {
            self.tally(family, from, Direction::In, Outcome::Blocked).add(packet.length);
        } else {
            self.tally(family, from, Direction::In, Outcome::Passed).add(packet.length);
            self.tally(family, to, Direction::Out, Outcome::Blocked).add(packet.length);
        }
        Verdict::Drop(reason)
    }

    /// Changes a packet that passes; of a datagram in fragments the first, the others follow.
    pub(crate) fn apply<F: Frames>(
        &mut self,
        effects: Effects,
        packet: &Packet,
        frames: &mut F,
        i: usize,
    ) {
        effects.apply(packet, frames, i, &mut self.chance);
        self.fragments.effects = effects;
    }

    #[inline]
    pub(crate) fn tally(
        &mut self,
        family: usize,
        port: PortIndex,
        direction: Direction,
        outcome: Outcome,
    ) -> &mut Tally {
        let port = &mut self.counters.ports[usize::from(port.0)];
        &mut port.traffic[family][direction as usize][outcome as usize]
    }

    #[expect(clippy::too_many_arguments, reason = "a log record says all of this")]
    pub(crate) fn log<F: Frames, L: LogSink>(
        &self,
        round: &Round<'_>,
        frames: &F,
        i: usize,
        packet: &Packet,
        rule: Option<u32>,
        (at, direction): (PortIndex, Direction),
        verdict: Verdict,
        log: &mut L,
    ) {
        let (action, reason) = match verdict {
            _ if rule.is_some_and(|rule| round.program.is_match(rule)) => (LogAction::Match, None),
            Verdict::Drop(reason) | Verdict::Reflect(reason) => (LogAction::Block, Some(reason)),
            Verdict::Forward(_) | Verdict::Handover(_) | Verdict::Hold(_) => {
                (LogAction::Pass, None)
            }
        };
        let head = frames.head(i);
        let captured = head.len().min(CAPTURE);
        let mut bytes = [0; CAPTURE];
        bytes[..captured].copy_from_slice(&head[..captured]);
        log.log(&LogRecord {
            time: round.now,
            port: packet.port,
            at,
            direction,
            action,
            reason,
            rule: rule.unwrap_or(NONE),
            epoch: self.epoch,
            length: frames.meta(i).length,
            captured: captured as u16,
            network_offset: packet.network_offset,
            bytes,
        });
    }
}

/// Starts fetching the line in which frame `i`, if there is one, begins.
#[inline]
fn prefetch_headers<F: Frames>(frames: &F, i: usize) {
    if i < frames.len()
        && let Some(first) = frames.head(i).first()
    {
        prefetch::read(first);
    }
}

/// Index in [`PortCounters::traffic`](crate::counters::PortCounters::traffic).
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    Passed,
    Blocked,
}

/// Neighbour solicitation or advertisement, without extension headers, which no host puts there; the
/// parser has seen to the hop limit (RFC 4861, 7.1).
const fn is_neighbour_discovery(packet: &Packet, icmp: Icmp) -> bool {
    matches!(packet.network, Network::Ipv6)
        && !packet.options
        && matches!(icmp.kind, icmp::v6::NEIGHBOUR_SOLICITATION | icmp::v6::NEIGHBOUR_ADVERTISEMENT)
}

/// IP options need `allow-opts`. IGMP and MLD carry the router alert by design
/// (RFC 2236, 2; RFC 2710, 3), and nothing else.
pub(crate) fn may_have_options(packet: &Packet, head: &[u8]) -> bool {
    let reports_members = match packet.transport {
        Transport::Other => packet.protocol == protocol::IGMP,
        Transport::IcmpOther(icmp) => {
            packet.network == Network::Ipv6 && icmp::v6::is_listener_discovery(icmp.kind)
        }
        _ => false,
    };
    reports_members && packet.has_router_alert_only(head)
}

const fn family(packet: &Packet) -> usize {
    match packet.network {
        Network::Ipv4 => 0,
        Network::Ipv6 => 1,
        Network::Arp => 2,
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
