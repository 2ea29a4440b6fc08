//! A packet that no state knows: what the rules decide about it, and what follows from that. A state
//! is made, an answer is written in the place of the packet, counters and the log are told.

use weir_config::options::Timeout;
use weir_config::rules::{Direction, KeepState, Probability, Rate, Return};

use crate::chance::Chance;
use crate::engine::Engine;
use crate::flow::Path;
use crate::frame::Frames;
use crate::judge::{DEPTH, Verdict, may_have_options};
use crate::lane::{Arrival, Round};
use crate::lifecycle::distinct;
use crate::log::LogSink;
use crate::outcome::Event;
use crate::packet::{Network, Packet, Transport, protocol};
use crate::reason::Reason;
use crate::reflect;
use crate::ruleset::Decision;
use crate::ruleset::Program;
use crate::ruleset::criteria::{Around, Criterion};
use crate::ruleset::evaluate::{Findings, Watcher};
use crate::ruleset::meters::Meter;
use crate::ruleset::records::Records;
use crate::splice;
use crate::state::entry::{NONE, Peer, flag};
use crate::state::{datagram, sctp, tcp as tracker};
use crate::synproxy::may_answer;
use crate::table::{TableCounters, TableOp};
use crate::time::Instant;
use crate::track::{segment, verify, verify_sctp};

/// Code of "port unreachable" (RFC 792; RFC 4443, 3.1).
const V4_PORT_UNREACHABLE: u8 = 3;
const V6_PORT_UNREACHABLE: u8 = 4;

impl Engine {
    /// No state: what do the rules say, on the port where it arrives and on the one where it leaves?
    /// `flows` says that the lane holds the key of the packet's own flow.
    #[inline(never)]
    pub(crate) fn admit<F: Frames, L: LogSink>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        flows: bool,
        log: &mut L,
    ) -> Verdict {
        let &Arrival { round, i, packet, .. } = arrival;
        // A one-shot rule must not be spent by a segment that its receiver would ignore.
        if let Transport::Tcp(header) = &packet.transport
            && round.program.has_meters()
            && let Err(reason) = verify(packet, header, frames, i)
        {
            return self.block(packet, Direction::In, reason);
        }
        // Taken out for the while; nothing else asks rules.
        let mut findings = self.findings.take().unwrap_or_default();
        let decision = self.decide_new(arrival, &mut findings);
        self.deciding.note(i, decision.deciding());
        let (verdict, begun) = if flows && self.answers(round.program, packet, &decision) {
            (self.answer_syn(arrival, frames, &decision), None)
        } else if decision.passes {
            match self.pass(arrival, frames, flows, &decision) {
                Ok(begun) => (self.forward(packet), begun),
                Err(reason) => (self.block(packet, Direction::In, reason), None),
            }
        } else {
            // A silent rule set blocks on arrival.
            let direction = direction(decision.blocked_by.unwrap_or(0));
            let reason = decision.reason.unwrap_or(Reason::NoRule);
            (self.block(packet, direction, reason), None)
        };
        self.tell(arrival, frames, &decision, &findings, verdict, log);
        self.findings = Some(findings);
        match verdict {
            Verdict::Forward(_) => {
                let stripped = begun.as_ref().and_then(|begun| begun.stripped.as_ref());
                let packet = stripped.unwrap_or(packet);
                if !decision.effects.is_none() {
                    self.apply(decision.effects, packet, frames, i);
                }
                if let Some(Begun { entry, .. }) = begun {
                    let plain = Arrival { packet, ..*arrival };
                    self.change(&plain, frames, (entry, 0), true);
                }
                verdict
            }
            Verdict::Drop(Reason::BlockRule) => {
                self.answer(arrival, frames, decision.answer, verdict)
            }
            _ => verdict,
        }
    }

    /// Both evaluations. A SYN that weir answers itself spends nothing of `once` and `max-pkt-rate`
    /// rules: the ACK that completes its handshake does.
    fn decide_new(&mut self, arrival: &Arrival<'_>, findings: &mut Findings) -> Decision {
        let program = arrival.round.program;
        if program.has_meters() && may_answer(program, arrival.packet) {
            let decision = self.ask(arrival, findings, Spending::Nothing);
            if self.answers(program, arrival.packet, &decision) {
                return decision;
            }
        }
        self.ask(arrival, findings, Spending::All)
    }

    /// Both evaluations. Where SYNs may be answered the dice fall for a SYN as for what it is rebuilt as.
    pub(crate) fn ask(
        &mut self,
        arrival: &Arrival<'_>,
        findings: &mut Findings,
        spending: Spending,
    ) -> Decision {
        let &Arrival { round, i, lane, packet } = arrival;
        let program = round.program;
        let mut of_connection = match &packet.transport {
            Transport::Tcp(header) if may_answer(program, packet) => {
                Some(self.chance.of(lane.hash ^ u64::from(header.seq)))
            }
            _ => None,
        };
        let Self { records, table_counters, chance, answers, .. } = self;
        let chance = of_connection.as_mut().unwrap_or(chance);
        let around = Around {
            tables: round.tables,
            reverse_path: &program.reverse_path,
            now: round.now,
            answers: lane.is_new().then(|| &answers[i % DEPTH]),
        };
        let now = round.now;
        let mut watcher = Counting { now, program, records, table_counters, chance, spending };
        program.judge(packet, lane.link_tag, around, findings, &mut watcher)
    }

    /// The rules let it pass: it may need a state, or not be allowed one. Returns the state that was
    /// made.
    fn pass<F: Frames>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        flows: bool,
        decision: &Decision,
    ) -> Result<Option<Begun>, Reason> {
        let packet = arrival.packet;
        let program = arrival.round.program;
        let mut deciding = decision.rules.into_iter().flatten();
        if packet.options
            && !deciding.all(|rule| program.compiled(rule).allow_opts)
            && !may_have_options(packet, frames.head(arrival.i))
        {
            return Err(Reason::IpOptions);
        }
        if decision.keeps == KeepState::No {
            return Ok(None);
        }
        if flows {
            return self.open(arrival, frames, decision);
        }
        if matches!(packet.transport, Transport::IcmpError(..)) {
            // Passing an error about an unknown flow needs a rule that says `no state`.
            return Err(Reason::IcmpUnmatched);
        }
        Ok(None)
    }

    /// Makes the state of a new flow that the rules let pass.
    fn open<F: Frames>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        decision: &Decision,
    ) -> Result<Option<Begun>, Reason> {
        let &Arrival { i, packet, .. } = arrival;
        let mut peers = <[Peer; 2]>::default();
        let mut stripped = None;
        let mut modulated = false;
        let timeout = match &packet.transport {
            Transport::Tcp(header) => {
                verify(packet, header, frames, i)?;
                if tracker::opens(header) {
                    stripped = self.strip_fast_open(frames, i, packet, self.records_of(decision));
                } else if self.demands_proof(arrival.round.program, decision) {
                    // A forged ACK would open the way for the SYN that follows it.
                    return Err(Reason::TcpNoState);
                }
                let packet = stripped.as_ref().unwrap_or(packet);
                modulated = decision.keeps == KeepState::Modulate
                    && !packet.tcp_options(frames.head(i)).are_signed();
                tracker::begin(&mut peers, &segment(packet, header, frames.head(i)))
            }
            Transport::Sctp(header) if !sctp::opens(header) => return Err(Reason::SctpNoState),
            Transport::Sctp(header) => {
                verify_sctp(packet, header, frames, i)?;
                sctp::begin(&mut peers, header)
            }
            _ => datagram::begin(&mut peers, packet.protocol),
        };
        let beginning = Beginning { peers, timeout, modulated, proxied: false };
        let entry = self.begin_state(arrival, decision, &beginning, frames.head(i))?;
        Ok(entry.map(|entry| Begun { entry, stripped }))
    }

    /// The records of the deciding rules.
    fn records_of(&self, decision: &Decision) -> [u32; 2] {
        decision.rules.map(|rule| rule.map_or(NONE, |rule| self.records.of(rule)))
    }

    /// Makes the state of a new flow, if its limits allow it; `head` is the packet's frame. `None`: it
    /// would end at once.
    pub(crate) fn begin_state(
        &mut self,
        arrival: &Arrival<'_>,
        decision: &Decision,
        beginning: &Beginning,
        head: &[u8],
    ) -> Result<Option<u32>, Reason> {
        let &Arrival { round, lane, packet, .. } = arrival;
        let &Beginning { mut peers, timeout, modulated, proxied } = beginning;
        let records = self.records_of(decision);
        let program = round.program;
        if self.whole_ticks(records, timeout as u8, program) == 0 {
            // A time-out of 0: the state would end at once.
            return Ok(None);
        }
        let deciding = || decision.rules.into_iter().flatten();
        let policy = deciding().find_map(|rule| program.compiled(rule).policy);
        let (key, sender_is_lower) =
            lane.key_under(policy.unwrap_or(program.options().state_policy));
        if modulated {
            let [initiator, responder] = splice::differences(self.key, &key, sender_is_lower);
            (peers[0].seq_diff, peers[1].seq_diff) = (initiator, responder);
        }
        let normalised = packet.is_tcp() && decision.effects.reassembles_tcp();
        let claim = self.claim(round, packet, records)?;
        let mut flags = claim.flags();
        flags |= if sender_is_lower { 0 } else { flag::INITIATOR_UPPER };
        for (wanted, flag) in [
            (decision.log_all, flag::LOG_ALL),
            (!decision.effects.is_none(), flag::EFFECTS),
            (deciding().all(|rule| program.compiled(rule).allow_opts), flag::ALLOW_OPTS),
            (deciding().any(|rule| program.is_rated(rule)), flag::RATED),
            (deciding().any(|rule| program.compiled(rule).sloppy), flag::SLOPPY),
            (deciding().any(|rule| program.compiled(rule).names_tables()), flag::COUNTS_TABLES),
            (self.records.have_own(records), flag::OWN_TIMEOUTS),
            (normalised, flag::NORMALISED),
            (modulated || normalised || proxied, flag::TRANSLATED),
            (packet.is_tcp() && self.demands_progress(records), flag::PROGRESS),
        ] {
            flags |= if wanted { flag } else { 0 };
        }
        let begun = self.begin(&key, lane.hash, flags, timeout as u8, round.tick, program);
        let Some(entry) = begun else {
            self.unclaim(&claim);
            return Err(Reason::StateLimit);
        };
        for record in distinct(records) {
            self.records.refer(record);
        }
        self.table.set_effects(entry, decision.effects.pack());
        self.table.set_sources(entry, claim.nodes(), packet.ttl);
        let state = self.table.get_mut(entry);
        state.peers = peers;
        state.rules = records;
        state.packets[0] = 1;
        state.bytes[0] = u64::from(packet.length);
        if normalised {
            self.normaliser.begin(entry);
        }
        if modulated || normalised || proxied {
            self.splices.begin(entry);
        }
        if self.table.get(entry).has(flag::PROGRESS) {
            self.watched.begin(entry, packet, head);
        }
        if self.table.get(entry).has(flag::OWN_TIMEOUTS) {
            let deadline = self.deadline(self.table.get(entry), program);
            self.table.reschedule(entry, deadline);
        }
        Ok(Some(entry))
    }

    /// Counts the packet for its rules and their tables, and logs it for those that want that.
    pub(crate) fn tell<F: Frames, L: LogSink>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &F,
        decision: &Decision,
        findings: &Findings,
        verdict: Verdict,
        log: &mut L,
    ) {
        let &Arrival { round, packet, .. } = arrival;
        let Path { from, to } = Path::across(packet.port);
        // A SYN that weir answers is logged when its client has shown itself.
        let logs = verdict != Verdict::Answer;
        let event = |rule, direction| {
            let port = if direction == Direction::In { from } else { to };
            let rule = Some(rule);
            Event { rule, way: (port, direction), verdict, state: None, is_debug: false }
        };
        for &(rule, direction) in &findings.matched {
            self.records.count(self.records.of(rule), direction as usize, packet.length);
            self.count_rule_tables(round, packet, rule, direction, TableOp::Match);
        }
        for &(rule, direction) in findings.logs.iter().filter(|_| logs) {
            self.log(arrival, frames, &event(rule, direction), log);
        }
        for (side, rule) in decision.rules.into_iter().enumerate() {
            // A block counts for the rule that blocks alone.
            if decision.blocked_by.is_some_and(|blocking| blocking != side) {
                continue;
            }
            let Some(rule) = rule else { continue };
            let direction = direction(side);
            self.records.count(self.records.of(rule), side, packet.length);
            let op = if decision.passes { TableOp::Pass } else { TableOp::Block };
            self.count_rule_tables(round, packet, rule, direction, op);
            if logs && round.program.compiled(rule).log {
                self.log(arrival, frames, &event(rule, direction), log);
            }
        }
    }

    /// Counts a packet of a state for the tables of its rules; `from` is 0 for the initiator's.
    pub(crate) fn count_tables(
        &mut self,
        round: &Round<'_>,
        packet: &Packet,
        from: usize,
        records: [u32; 2],
    ) {
        for (side, record) in records.into_iter().enumerate() {
            if let Some(rule) = self.records.number(record) {
                let direction = direction(if from == 0 { side } else { 1 - side });
                let criteria = &round.program.compiled(rule).criteria;
                let ends = if from == 0 {
                    [(&criteria.from, packet.source), (&criteria.to, packet.destination)]
                } else {
                    [(&criteria.from, packet.destination), (&criteria.to, packet.source)]
                };
                for (end, address) in ends {
                    if let Some((table, negated)) = end.table() {
                        let hit = round
                            .tables
                            .get(table)
                            .and_then(|table| table.lookup(address, packet.network, round.now));
                        let (op, length) = (TableOp::Pass, packet.length);
                        self.table_counters.count(table, hit, negated, direction, op, length);
                    }
                }
            }
        }
    }

    fn count_rule_tables(
        &mut self,
        round: &Round<'_>,
        packet: &Packet,
        rule: u32,
        direction: Direction,
        op: TableOp,
    ) {
        if !round.program.has_tables() || !round.program.compiled(rule).names_tables() {
            return;
        }
        let criteria = &round.program.compiled(rule).criteria;
        for (end, address) in [(&criteria.from, packet.source), (&criteria.to, packet.destination)]
        {
            if let Some((table, negated)) = end.table() {
                let hit = round
                    .tables
                    .get(table)
                    .and_then(|table| table.lookup(address, packet.network, round.now));
                self.table_counters.count(table, hit, negated, direction, op, packet.length);
            }
        }
    }

    /// Counts a packet of a state for the `max-pkt-rate` of its rules.
    pub(crate) fn exceeds_rate(&mut self, round: &Round<'_>, records: [u32; 2]) -> bool {
        let mut exceeded = false;
        for rule in distinct(records).filter_map(|record| self.records.number(record)) {
            let limit = round.program.rule(rule).max_packet_rate;
            if let (Some(limit), Some(meter)) = (limit, round.program.meter(rule)) {
                exceeded |= !meter.admit(limit, round.now);
            }
        }
        exceeded
    }

    /// Makes a blocked packet into the answer that the rule wants, if it wants one.
    pub(crate) fn answer<F: Frames>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        answer: Return,
        blocked: Verdict,
    ) -> Verdict {
        let &Arrival { round, i, packet, .. } = arrival;
        let is_tcp = packet.protocol == protocol::TCP;
        let ipv6 = packet.network == Network::Ipv6;
        let code = match answer {
            Return::Drop => return blocked,
            Return::Rst { .. } if !is_tcp => return blocked,
            Return::Auto if !is_tcp => {
                Some(if ipv6 { V6_PORT_UNREACHABLE } else { V4_PORT_UNREACHABLE })
            }
            Return::Auto | Return::Rst { .. } => None,
            Return::Icmp { v4, v6 } => match if ipv6 { v6 } else { v4 } {
                None => return blocked,
                code => code,
            },
        };
        let ttl = if let Return::Rst { ttl } = answer { ttl } else { None };
        let made = self.budget.spend(round.now).and_then(|()| match code {
            Some(code) => reflect::unreachable(frames, i, packet, code),
            None => reflect::reset(frames, i, packet, ttl),
        });
        match made {
            Ok(()) => {
                self.counters.reflected += 1;
                Verdict::Reflect(Reason::BlockRule)
            }
            Err(reason) => {
                if reason != Reason::ReflectLimit {
                    // What may not be answered must not use up the answers of what may.
                    self.budget.refund();
                }
                Verdict::Drop(reason)
            }
        }
    }
}

/// What the first packet of a state says about it.
pub(crate) struct Beginning {
    pub(crate) peers: [Peer; 2],
    /// The time-out that runs.
    pub(crate) timeout: Timeout,
    /// Its sequence numbers are changed (`modulate state`).
    pub(crate) modulated: bool,
    /// Its server is to be asked (`synproxy state`).
    pub(crate) proxied: bool,
}

/// Whether rules that remember something remember this packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spending {
    /// They do, and evaluations are counted.
    All,
    /// It will be asked about again.
    Nothing,
}

/// A state that was made for a packet.
struct Begun {
    entry: u32,
    /// What is left of the packet, if something of it was taken out.
    stripped: Option<Packet>,
}

const fn direction(side: usize) -> Direction {
    if side == 0 { Direction::In } else { Direction::Out }
}

/// The data path's part in an evaluation: it counts, spends and draws.
struct Counting<'a> {
    now: Instant,
    program: &'a Program,
    records: &'a mut Records,
    table_counters: &'a mut TableCounters,
    chance: &'a mut Chance,
    spending: Spending,
}

impl Counting<'_> {
    /// Counts the look-ups in tables that the rule of a step made, up to the criterion that failed.
    fn count_lookups(&mut self, step: u32, failed: Option<Criterion>) {
        let criteria = &self.program.step_rule(step).criteria;
        for (end, criterion) in
            [(&criteria.from, Criterion::Source), (&criteria.to, Criterion::Destination)]
        {
            if let Some((table, negated)) = end.table()
                && failed.is_none_or(|failed| failed >= criterion)
            {
                let holds = failed != Some(criterion);
                self.table_counters.evaluated(table, holds != negated);
            }
        }
    }
}

impl Watcher for Counting<'_> {
    fn once(&mut self, meter: &Meter) -> bool {
        match self.spending {
            Spending::All => meter.spend(),
            Spending::Nothing => !meter.is_spent(),
        }
    }

    fn rate(&mut self, meter: &Meter, limit: Rate) -> bool {
        match self.spending {
            Spending::All => meter.admit(limit, self.now),
            Spending::Nothing => meter.would_admit(limit, self.now),
        }
    }

    fn dice(&mut self, probability: Probability) -> bool {
        self.chance.next() as u32 <= probability.0
    }

    fn matched(&mut self, step: u32) {
        if self.program.has_tables() && self.program.step_rule(step).names_tables() {
            self.count_lookups(step, None);
        }
    }

    fn failed(&mut self, step: u32, criterion: Criterion) {
        if self.program.has_tables() && self.program.step_rule(step).names_tables() {
            self.count_lookups(step, Some(criterion));
        }
    }

    fn ended(&mut self, step: u32) {
        if self.spending == Spending::All {
            self.records.count_evaluation(step);
        }
    }
}
