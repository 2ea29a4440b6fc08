//! One batch of frames' way through the firewall, top to bottom: parse, look up, judge.
//!
//! The three steps run over the batch like a pipeline, each [`DEPTH`] frames behind the one before,
//! so that the cache misses of the look-ups overlap with the work on other frames: parsing computes a
//! frame's flow hash and asks for its index line, looking up reads that line and asks for the entry,
//! judging finds the entry in the cache. A frame costs three misses; a core can have about sixteen
//! on their way, so bursts of them would stall it.

use weir_config::rules::Direction;

use crate::engine::{Engine, tick};
use crate::flow::{FlowKey, Path};
use crate::fragment::allow_fragments;
use crate::frame::{Checksum, Frames, Meta, PortIndex};
use crate::lane::{Arrival, Lane, Round, Step};
use crate::lifecycle::Ending;
use crate::link::records::EtherRecords;
use crate::link::{LinkRules, Way};
use crate::log::LogSink;
use crate::outcome::Outcome;
use crate::packet::{Fragment, Icmp, Network, Packet, Transport, checksum, icmp, protocol};
use crate::processor;
use crate::reason::Reason;
use crate::state::entry::NONE;
use crate::state::wheel::is_due;
use crate::table::Tables;
use crate::time::Instant;

/// Frames between the steps of the pipeline.
pub(crate) const DEPTH: usize = 16;
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
    /// It was made into an answer of its receiver's, in place, and leaves by the port it came in by;
    /// nothing was dropped.
    Answer,
    /// Its flow belongs to another worker, which is to judge it.
    Handover(u16),
    /// It waits for the rest of its datagram in this slot, below [`Engine::FRAGMENTS`], until
    /// [`Engine::take_releases`] says what becomes of it.
    Hold(u32),
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
        self.deciding.begin(0);
        if self.is_open(now) {
            verdicts.extend((0..frames.len()).map(|i| self.pass_unjudged(frames, i)));
            return;
        }
        let Some(program) = self.program.take() else {
            verdicts.resize(frames.len(), Verdict::Drop(Reason::NoRuleset));
            self.counters.reasons[Reason::NoRuleset as usize] += frames.len() as u64;
            return;
        };
        // Taken out for the while: a shared count is not to be touched every round.
        let (tables, none) = (self.tables.take(), Tables::default());
        let link = Some(program.link()).filter(|link| link.is_active());
        self.set_pace(&program);
        self.deciding.begin(frames.len());
        let round = Round {
            now,
            tick: tick(now),
            program: &program,
            tables: tables.as_deref().unwrap_or(&none),
            link,
        };
        let mut lanes = std::mem::take(&mut self.lanes);
        for i in 0..AHEAD {
            prefetch_headers(frames, i);
        }
        for at in 0..frames.len() + 2 * DEPTH {
            if at < frames.len() {
                self.parse(&round, frames, at, &mut lanes[at]);
            }
            // A frame behind: what was written in small pieces a moment ago cannot be read in large
            // ones yet.
            if let Some(i) = at.checked_sub(1)
                && i < frames.len()
            {
                if lanes[i].step == Step::Flow {
                    self.place(&round, &mut lanes[i]);
                }
                if let Some(link) = round.link {
                    self.judge_link(link, &round, frames, i, &mut lanes[i]);
                }
            }
            if let Some(i) = at.checked_sub(DEPTH)
                && i < frames.len()
                && lanes[i].step == Step::Flow
            {
                lanes[i].candidate = self.table.candidate(lanes[i].hash);
                if lanes[i].candidate == NONE {
                    self.tails.prefetch(lanes[i].hash);
                }
            }
            if let Some(i) = at.checked_sub(2 * DEPTH) {
                if i % DEPTH == 0 {
                    let group = &lanes[i..frames.len().min(i + DEPTH)];
                    self.ask_tables(&round, group);
                }
                let arrival = Arrival::new(&round, i, &lanes[i]);
                let verdict = match lanes[i].step {
                    Step::Fragment(fragment) => self.collect(&arrival, frames, &fragment, log),
                    _ => self.decide(&arrival, frames, log),
                };
                verdicts.push(verdict);
            }
        }
        self.lanes = lanes;
        self.program = Some(program);
        self.tables = tables;
        self.settle_fragments(verdicts);
    }

    /// Between looking up and judging: what the tables say of packets that probably have no state.
    pub(crate) fn ask_tables(&mut self, round: &Round<'_>, group: &[Lane]) {
        for (number, question) in round.program.questions().iter().enumerate() {
            let answers = group.iter().zip(&mut self.answers).filter(|(lane, _)| lane.is_new());
            let Some(table) = round.tables.get(question.table) else {
                answers.for_each(|(_, answers)| answers.0[number] = None);
                continue;
            };
            let new = group.iter().filter(|lane| lane.is_new()).map(|Lane { packet, .. }| {
                let address = if question.destination { packet.destination } else { packet.source };
                (address, packet.network)
            });
            let hits = table.lookup_group(new, round.now);
            answers.zip(hits).for_each(|((_, answers), hit)| answers.0[number] = hit);
        }
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

    /// Step 1: the descriptor. What may be part of a flow is [placed](Self::place) then.
    #[inline]
    fn parse<F: Frames>(&mut self, round: &Round<'_>, frames: &F, i: usize, lane: &mut Lane) {
        prefetch_headers(frames, i + AHEAD);
        let meta = frames.meta(i);
        lane.link_tag = 0;
        if let Err(reason) = lane.packet.parse_from(frames.head(i), &meta) {
            let verdict = self.judge_foreign(round, frames.head(i), meta, reason);
            lane.step = Step::Decided(verdict);
            return;
        }
        lane.step = Step::Flow;
        if let Transport::Fragment(fragment) = lane.packet.transport {
            let gathered = frames.is_gathered(i);
            lane.step = self.place_fragment(round, &lane.packet, &fragment, gathered);
        }
    }

    /// Key, hash and owner of a packet, if it is part of a flow; else what it is instead.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "whole datagrams would make a call of it for all")]
    pub(crate) fn place(&self, round: &Round<'_>, lane: &mut Lane) {
        let packet = &lane.packet;
        lane.step = Step::Flow;
        let (path, floating) = (Path::across(packet.port), round.program.is_floating());
        (lane.key, lane.sender_is_lower) = match &packet.transport {
            Transport::Tcp(_) | Transport::Udp => FlowKey::of_packet(packet, path, floating),
            Transport::IcmpError(_, quote) => FlowKey::of_quote(packet, quote, path, floating),
            Transport::IcmpOther(icmp) => {
                let control = is_neighbour_discovery(packet, *icmp);
                lane.step = if control { Step::Control } else { Step::Stateless };
                return;
            }
            _ if packet.network == Network::Arp => {
                lane.step = Step::Control;
                return;
            }
            _ => FlowKey::of_packet(packet, path, floating),
        };
        lane.hash = lane.key.hash(self.key);
        let owner = self.owner(&lane.key, lane.hash);
        if owner == self.worker {
            self.table.prefetch_index(lane.hash);
        } else {
            lane.step = Step::Decided(Verdict::Handover(owner));
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
        let judged = link.judge_foreign(reason, head, meta, way, &mut self.ether);
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
        arrival: &Arrival<'_>,
        frames: &mut F,
        log: &mut L,
    ) -> Verdict {
        let &Arrival { round, i, lane, packet } = arrival;
        let verdict = match lane.step {
            Step::Decided(verdict) => verdict,
            Step::Control => self.forward(packet),
            Step::Stateless | Step::Flow | Step::Fragment(_) => {
                self.finish_checksum(frames, i, packet);
                if round.program.skips(Path::across(packet.port)) {
                    self.forward(packet)
                } else if lane.step == Step::Flow {
                    self.judge_flow(arrival, frames, log)
                } else {
                    if let Transport::Fragment(Fragment { dont_fragment: true, .. }) =
                        packet.transport
                    {
                        allow_fragments(frames.head_mut(i), packet);
                    }
                    self.admit(arrival, frames, false, log)
                }
            }
        };
        match verdict {
            Verdict::Drop(reason) | Verdict::Reflect(reason) => self.note(reason),
            Verdict::Handover(_) => self.counters.handed_over += 1,
            Verdict::Forward(_) | Verdict::Answer | Verdict::Hold(_) => {}
        }
        verdict
    }

    /// The state, if there is one, else the rules.
    fn judge_flow<F: Frames, L: LogSink>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        log: &mut L,
    ) -> Verdict {
        self.counters.searches += 1;
        let entry = self.find_live(arrival.round, arrival.lane);
        if entry.is_none()
            && let Some(verdict) = self.complete_handshake(arrival, frames, log)
        {
            return verdict;
        }
        if entry.is_none()
            && let Some(verdict) =
                self.judge_late(arrival, frames).or_else(|| self.judge_given_up(arrival))
        {
            return verdict;
        }
        if let Transport::IcmpError(_, quote) = &arrival.packet.transport {
            return match entry {
                Some(entry) => self.judge_error(arrival, frames, quote, entry, log),
                None => self.admit(arrival, frames, false, log),
            };
        }
        if let Some(entry) = entry {
            let ordinary = self.pass_ordinary(arrival, entry);
            if let Some(verdict) = ordinary.or_else(|| self.track(arrival, frames, entry, log)) {
                return verdict;
            }
        }
        self.admit(arrival, frames, true, log)
    }

    /// The flow's state; one whose time has come but which the wheel has not reached is ended here.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "whole datagrams would make a call of it for all")]
    pub(crate) fn find_live(&mut self, round: &Round<'_>, flow: &Lane) -> Option<u32> {
        let found = self.table.find(&flow.key, flow.hash, flow.candidate);
        let entry = found.or_else(|| self.find_other(flow))?;
        let deadline = self.deadline(self.table.get(entry), round.program);
        if !is_due(deadline, round.tick) {
            return Some(entry);
        }
        self.end(entry, Ending::TimedOut, round.tick);
        None
    }

    /// The flow's state if it began under the other state policy than most do now.
    #[inline]
    pub(crate) fn find_other(&self, flow: &Lane) -> Option<u32> {
        if !self.table.has_other_policy(&flow.key) {
            return None;
        }
        let (key, _) = flow.key.other_policy(flow.sender_is_lower, flow.path());
        self.table.find(&key, flow.hash, NONE)
    }
}

/// Starts fetching the line in which frame `i`, if there is one, begins.
#[inline]
fn prefetch_headers<F: Frames>(frames: &F, i: usize) {
    if i < frames.len()
        && let Some(first) = frames.head(i).first()
    {
        processor::prefetch(first);
    }
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
