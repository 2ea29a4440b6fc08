//! Both evaluations of a packet that has no state, put together: it is judged arriving at its port
//! and leaving by the other; a block in either blocks, and it passes if at least one passes.

use weir_config::rules::{Action, Direction, KeepState, Probability, Rate, Return};

use super::criteria::{Around, Criterion, Subject};
use super::evaluate::{Findings, Side, Watcher};
use super::meters::Meter;
use super::program::Program;
use super::sequence::NOWHERE;
use crate::effects::Effects;
use crate::flow::Path;
use crate::frame::PortIndex;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::table::Tables;
use crate::time::Instant;

/// Steps that are kept between the two evaluations of a packet; most packets have no more.
const FEW: usize = 16;

/// What the rules decide about a packet without a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct Decision {
    /// Whether it passes.
    pub passes: bool,
    /// Why not.
    pub reason: Option<Reason>,
    /// What the sender hears of it, and which rule says so.
    pub(crate) answer: Return,
    /// Ids of the deciding rules, arriving and leaving; `None` where none speaks or the port is
    /// skipped.
    pub rules: [Option<u32>; 2],
    /// Both ports are skipped: nobody was asked.
    pub skipped: bool,
    /// The blocking side, if a rule blocks: 0 arriving, 1 leaving.
    pub blocked_by: Option<usize>,
    /// What is done about state: the most that one of the passing rules asks for, but nothing if one
    /// wants none. Sequence numbers are translated from a SYN on or not at all, and not where a rule
    /// is `sloppy`, since half of the connection may take another way.
    pub keeps: KeepState,
    /// Number of the tag that the packet has in the end; see [`Program::tag_name`].
    pub tag: u16,
    /// A rule with `probability` was asked: the next packet may fare differently.
    pub by_chance: bool,
    /// What is to be done to the packet.
    pub(crate) effects: Effects,
    /// Every packet of the state is logged.
    pub(crate) log_all: bool,
}

impl Decision {
    /// Ids of the rules that decide it, arriving and leaving: the one that blocks, or those that pass.
    pub(crate) const fn deciding(&self) -> [Option<u32>; 2] {
        match self.blocked_by {
            None => self.rules,
            Some(0) => [self.rules[0], None],
            Some(_) => [None, self.rules[1]],
        }
    }
}

/// How one step of an evaluation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The rule matched.
    Matched,
    /// It did not, for lack of this.
    Failed(Criterion),
    /// It was not asked: it stands behind a `quick` rule that matched, or in an anchor whose criteria
    /// do not hold.
    NotReached,
}

/// One rule's part in an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceStep {
    /// Id of the rule.
    pub rule: u32,
    /// How many anchors it stands in.
    pub depth: u8,
    /// What became of it.
    pub outcome: Outcome,
}

/// One of the two evaluations, rule by rule in the order of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideTrace {
    /// The port.
    pub port: PortIndex,
    /// Arriving or leaving.
    pub direction: Direction,
    /// `set skip` on this port: no rule was asked.
    pub abstains: bool,
    /// Every rule.
    pub steps: Vec<TraceStep>,
    /// The rule that decides this side.
    pub winner: Option<u32>,
    /// Number of the tag that the packet has afterwards.
    pub tag: u16,
}

/// The whole way of a packet through the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Arriving, leaving.
    pub sides: [SideTrace; 2],
    /// What comes of it.
    pub decision: Decision,
}

impl Program {
    /// Decides about a packet that no state knows. `link_tag` is the tag that a layer 2 rule has
    /// given. Nothing is counted or spent; the dice of `probability` fall for the rule.
    pub fn decide(
        &self,
        packet: &Packet,
        link_tag: Option<&str>,
        tables: &Tables,
        now: Instant,
    ) -> Decision {
        let tag = link_tag.and_then(|name| self.tags.number(name)).unwrap_or(0);
        let around = Around { tables, reverse_path: &self.reverse_path, now, answers: None };
        self.judge(packet, tag, around, &mut Findings::default(), &mut Dry { now, dice: true })
    }

    /// Whether such a packet, that no layer 2 rule has tagged, may pass: it does if the dice of
    /// `probability` fall for all rules, or if they fall for none. Nothing is counted or spent.
    pub fn may_pass(&self, packet: &Packet, tables: &Tables, now: Instant) -> bool {
        let around = Around { tables, reverse_path: &self.reverse_path, now, answers: None };
        let mut findings = Findings::default();
        [true, false].iter().any(|&dice| {
            self.judge(packet, 0, around, &mut findings, &mut Dry { now, dice }).passes
        })
    }

    /// The same, with the part of every rule in it.
    pub fn explain(
        &self,
        packet: &Packet,
        link_tag: Option<&str>,
        tables: &Tables,
        now: Instant,
    ) -> Trace {
        let tag = link_tag.and_then(|name| self.tags.number(name)).unwrap_or(0);
        let around = Around { tables, reverse_path: &self.reverse_path, now, answers: None };
        let mut findings = Findings::default();
        let mut subject = Subject::new(packet, tag);
        let path = Path::across(packet.port);
        let mut sides = Vec::with_capacity(2);
        let traces = [(path.from, Direction::In), (path.to, Direction::Out)].map(|way| {
            let mut watcher = Recorder { dry: Dry { now, dice: true }, outcomes: self.unasked() };
            let all = 0..self.steps.len() as u32;
            let side = self.walk(&mut subject, way, all, around, &mut findings, &mut watcher);
            sides.push(side);
            SideTrace {
                port: way.0,
                direction: way.1,
                abstains: side == Side::Abstains,
                steps: watcher.outcomes,
                winner: if let Side::Rule(rule) = side { Some(rule) } else { None },
                tag: subject.tag,
            }
        });
        let decision = self.combine([sides[0], sides[1]], packet, &subject, &findings);
        Trace { sides: traces, decision }
    }

    /// The name of a tag; `None` for 0, no tag.
    pub fn tag_name(&self, tag: u16) -> Option<&str> {
        self.tags.name(tag)
    }

    /// Both evaluations, over the rules that the classifier names.
    pub(crate) fn judge<W: Watcher>(
        &self,
        packet: &Packet,
        tag: u16,
        around: Around<'_>,
        findings: &mut Findings,
        watcher: &mut W,
    ) -> Decision {
        findings.clear();
        let mut subject = Subject::new(packet, tag);
        let path = Path::across(packet.port);
        let ways = [(path.from, Direction::In), (path.to, Direction::Out)];
        if subject.is_fragment {
            let steps = self.fragment_steps();
            let sides = ways
                .map(|way| self.walk(&mut subject, way, steps.clone(), around, findings, watcher));
            return self.combine(sides, packet, &subject, findings);
        }
        let mut candidates = self.candidates(&subject);
        // Both sides go through the same few steps: a copy of these is cheaper than one of the search.
        let mut few = [0; FEW];
        let mut count = 0;
        while count < FEW
            && let Some(step) = candidates.next()
        {
            few[count] = step;
            count += 1;
        }
        let few = few[..count].iter().copied();
        let sides = if count < FEW {
            ways.map(|way| self.walk(&mut subject, way, few.clone(), around, findings, watcher))
        } else {
            let all = few.chain(candidates);
            ways.map(|way| self.walk(&mut subject, way, all.clone(), around, findings, watcher))
        };
        self.combine(sides, packet, &subject, findings)
    }

    fn combine(
        &self,
        sides: [Side; 2],
        packet: &Packet,
        subject: &Subject,
        findings: &Findings,
    ) -> Decision {
        let rules = sides.map(|side| if let Side::Rule(rule) = side { Some(rule) } else { None });
        let mut decision = Decision {
            passes: false,
            reason: None,
            answer: Return::Drop,
            rules,
            skipped: sides == [Side::Abstains; 2],
            blocked_by: None,
            keeps: KeepState::No,
            tag: subject.tag,
            by_chance: findings.by_chance,
            effects: findings.effects,
            log_all: findings.log_all,
        };
        if decision.skipped {
            decision.passes = true;
            return decision;
        }
        for (side, rule) in rules.into_iter().enumerate() {
            if let Some(&Action::Block(answer)) = rule.map(|rule| self.action(rule)) {
                decision.reason = Some(Reason::BlockRule);
                (decision.answer, decision.blocked_by) = (answer, Some(side));
                return decision;
            }
        }
        let mut passing = rules.into_iter().flatten().peekable();
        if passing.peek().is_none() {
            let opens = !packet.is_tcp() || subject.opens();
            decision.reason = Some(if opens { Reason::NoRule } else { Reason::TcpNoState });
            return decision;
        }
        decision.passes = true;
        decision.keeps = KeepState::Keep;
        let mut translatable = packet.is_tcp() && subject.opens();
        for rule in passing {
            let compiled = self.compiled(rule);
            decision.keeps = match (decision.keeps, compiled.state) {
                (KeepState::No, _) | (_, KeepState::No) => KeepState::No,
                (one, other) => one.max(other),
            };
            decision.log_all |= compiled.log_all;
            translatable &= !compiled.sloppy;
        }
        if !translatable {
            decision.keeps = decision.keeps.min(KeepState::Keep);
        }
        // What the leaving rule leaves open is taken from the arriving one.
        for rule in rules.into_iter().rev().flatten() {
            decision.effects.add(self.compiled(rule).effects);
        }
        decision
    }

    fn unasked(&self) -> Vec<TraceStep> {
        let mut depths: Vec<u8> = Vec::with_capacity(self.steps.len());
        for step in &*self.steps {
            // A scope is a step further up.
            let depth = if step.scope == NOWHERE { 0 } else { depths[step.scope as usize] + 1 };
            depths.push(depth);
        }
        let outcome = Outcome::NotReached;
        let steps = self.steps.iter().zip(depths);
        steps.map(|(step, depth)| TraceStep { rule: step.rule, depth, outcome }).collect()
    }
}

/// Looks on and changes nothing.
struct Dry {
    now: Instant,
    /// How they all fall.
    dice: bool,
}

impl Watcher for Dry {
    fn once(&mut self, meter: &Meter) -> bool {
        !meter.is_spent()
    }

    fn rate(&mut self, meter: &Meter, limit: Rate) -> bool {
        meter.would_admit(limit, self.now)
    }

    fn dice(&mut self, _: Probability) -> bool {
        self.dice
    }

    fn matched(&mut self, _: u32) {}

    fn failed(&mut self, _: u32, _: Criterion) {}

    fn ended(&mut self, _: u32) {}
}

/// Writes down what it sees.
struct Recorder {
    dry: Dry,
    outcomes: Vec<TraceStep>,
}

impl Watcher for Recorder {
    fn once(&mut self, meter: &Meter) -> bool {
        self.dry.once(meter)
    }

    fn rate(&mut self, meter: &Meter, limit: Rate) -> bool {
        self.dry.rate(meter, limit)
    }

    fn dice(&mut self, probability: Probability) -> bool {
        self.dry.dice(probability)
    }

    fn matched(&mut self, step: u32) {
        self.outcomes[step as usize].outcome = Outcome::Matched;
    }

    fn failed(&mut self, step: u32, criterion: Criterion) {
        self.outcomes[step as usize].outcome = Outcome::Failed(criterion);
    }

    fn ended(&mut self, _: u32) {}
}
