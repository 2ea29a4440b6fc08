//! From a packet's trace to an [`Explanation`] in words.

use std::fmt::Write;

use weir_config::rules::{Action, KeepState, Source};
use weir_engine::packet::{Network, Packet, Tags, Transport};
use weir_engine::table::Tables;
use weir_engine::{Instant, PortNames, Program, Reason, SideTrace, Trace, TraceStep};
use weir_shell::explanation::{Explanation, Outcome, Side, Step};

use super::difference::{Scene, protocol, rule_id};
use super::fate::{self, Asked, Fate, Question};

/// Rules of one evaluation that are told at most; the rest is counted.
const MOST_RULES: usize = 100_000;

/// What explanations are made from.
#[derive(Clone, Copy)]
pub struct Teller<'a> {
    /// The rules.
    pub program: &'a Program,
    /// What is in the tables.
    pub tables: &'a Tables,
    /// Names of the ports.
    pub ports: &'a PortNames,
    /// Names of the rule files, by [`Source::file`]; empty if they are not known.
    pub files: &'a [String],
    /// The time.
    pub now: Instant,
    /// Tell all rules, not just those that matched.
    pub all: bool,
}

impl Teller<'_> {
    /// Explains what becomes of a packet that no state knows. `packet` is what it is called.
    pub fn explain(&self, packet: String, question: &Question<'_>) -> (Explanation, Fate) {
        let (fate, asked) = fate::explain(self.program, self.tables, self.now, question);
        let mut explanation = Explanation {
            packet,
            passes: fate.passes(),
            reason: fate.reason.map(|reason| reason.name().to_owned()),
            because: self.because(&fate),
            state: None,
            sides: Vec::new(),
            makes: None,
            notes: Vec::new(),
        };
        if let Some(Asked { packet, mut tag, trace }) = asked {
            for side in &trace.sides {
                let told = self.side(&packet, side, tag.as_deref(), &mut explanation.notes);
                tag.clone_from(&told.tag);
                explanation.sides.push(told);
            }
            if fate.passes() {
                explanation.makes = Some(self.makes(&packet, &trace));
                if trace.decision.keeps == KeepState::Synproxy {
                    let note = "weir answers the SYN in the name of its destination, which hears of \
                                it when the sender has completed the handshake";
                    explanation.notes.push(note.to_owned());
                }
            }
            if trace.decision.by_chance {
                let note =
                    "a rule with `probability` was asked: the dice were taken to fall for it";
                explanation.notes.push(note.to_owned());
            }
        }
        (explanation, fate)
    }

    /// The name of a rule, with its label.
    pub fn name(&self, rule: u32) -> String {
        let place = self.program.place(rule);
        match &place.rule.label {
            Some(label) => format!("{} \"{label}\"", rule_id(&place)),
            None => rule_id(&place),
        }
    }

    /// `FILE:LINE` of a rule.
    pub fn place(&self, source: Source) -> Option<String> {
        let file = self.files.get(source.file as usize)?;
        (source.line > 0).then(|| format!("{file}:{}", source.line))
    }

    /// Why a packet fares so, in one line.
    pub fn because(&self, fate: &Fate) -> String {
        let Some(decision) = fate.decision else {
            return match fate.reason {
                Some(reason) => {
                    format!("dropped before any IP rule is asked ({reason}): {}", said(reason))
                }
                None => {
                    "ARP, neighbour discovery and control frames pass before any IP rule".to_owned()
                }
            };
        };
        if decision.skipped {
            return "`set skip` on both ports: no rule is asked".to_owned();
        }
        let rules = match fate.reason {
            None | Some(Reason::BlockRule) => fate.deciding(self.program),
            _ => decision.rules,
        };
        let passes = fate.reason != Some(Reason::BlockRule);
        let does = if passes { "passes" } else { "blocks" };
        let by_rules = match rules {
            [Some(arriving), Some(leaving)] if arriving == leaving => {
                format!("{} {does} it arriving and leaving", self.name(arriving))
            }
            _ => self.by_rules(rules, does),
        };
        match fate.reason {
            None | Some(Reason::BlockRule) => by_rules,
            Some(Reason::NoRule) => format!("{by_rules}, and what no rule passes is blocked"),
            Some(reason) => format!("{by_rules}, but ({reason}): {}", said(reason)),
        }
    }

    fn by_rules(&self, rules: [Option<u32>; 2], does: &str) -> String {
        match rules.map(|rule| rule.map(|rule| self.name(rule))) {
            [Some(arriving), Some(leaving)] => {
                format!("{arriving} {does} it arriving, {leaving} leaving")
            }
            [Some(arriving), None] => format!("{arriving} {does} it arriving"),
            [None, Some(leaving)] => format!("{leaving} {does} it leaving"),
            [None, None] => "no rule decides".to_owned(),
        }
    }

    fn side(
        &self,
        packet: &Packet,
        side: &SideTrace,
        tag: Option<&str>,
        notes: &mut Vec<String>,
    ) -> Side {
        let scene = Scene {
            program: self.program,
            tables: self.tables,
            ports: self.ports,
            now: self.now,
            packet,
            port: side.port,
            direction: side.direction,
            tag,
        };
        let mut rules = Vec::new();
        let (mut untold, mut scene) = (0_usize, scene);
        for step in &side.steps {
            let matched = step.outcome == weir_engine::Outcome::Matched;
            if self.all || matched {
                if rules.len() < MOST_RULES {
                    rules.push(self.step(&scene, *step));
                } else {
                    untold += 1;
                }
            }
            // Tags are seen by the rules that follow.
            if matched && let Some(tag) = &self.program.place(step.rule).rule.tag {
                scene.tag = Some(tag);
            }
        }
        if untold > 0 {
            notes.push(format!("{untold} more rules are not told"));
        }
        let decides = side.winner.map(|rule| self.program.place(rule));
        Side {
            direction: side.direction.to_string(),
            port: self.ports.role(side.port).to_owned(),
            skipped: side.abstains,
            rules,
            decides: decides.as_ref().map(rule_id),
            verdict: decides.as_ref().map(|place| {
                let passes = place.rule.action == Action::Pass;
                if passes { "pass".to_owned() } else { "block".to_owned() }
            }),
            quick: side.winner.is_some_and(|rule| self.is_quick(&side.steps, rule)),
            tag: self.program.tag_name(side.tag).or(scene.tag).map(str::to_owned),
        }
    }

    fn step(&self, scene: &Scene<'_>, step: TraceStep) -> Step {
        let place = self.program.place(step.rule);
        let (outcome, why) = match step.outcome {
            weir_engine::Outcome::Matched => (Outcome::Matched, None),
            weir_engine::Outcome::Failed(criterion) => {
                (Outcome::Differed, Some(scene.why(&place, criterion)))
            }
            weir_engine::Outcome::NotReached => (Outcome::NotAsked, None),
        };
        Step {
            id: rule_id(&place),
            depth: step.depth,
            text: place.rule.to_string(),
            place: self.place(place.rule.source),
            label: place.rule.label.clone(),
            outcome,
            why,
            tables: match outcome {
                Outcome::Matched => scene.findings(&place),
                Outcome::Differed | Outcome::NotAsked => Vec::new(),
            },
        }
    }

    /// Whether a rule, or an anchor around it, has ended the evaluation.
    fn is_quick(&self, steps: &[TraceStep], rule: u32) -> bool {
        let matched =
            |step: &TraceStep| step.rule == rule && step.outcome == weir_engine::Outcome::Matched;
        let Some(at) = steps.iter().rposition(matched) else { return false };
        let mut depth = steps[at].depth + 1;
        for step in steps[..=at].iter().rev() {
            if step.depth < depth {
                depth = step.depth;
                if self.program.place(step.rule).rule.quick {
                    return true;
                }
            }
            if depth == 0 {
                break;
            }
        }
        false
    }

    /// The state that a packet which passes makes.
    fn makes(&self, packet: &Packet, trace: &Trace) -> String {
        let decision = &trace.decision;
        if decision.skipped {
            return "no state: no rule is asked".to_owned();
        }
        let deciding = || decision.rules.into_iter().flatten();
        if decision.keeps == KeepState::No {
            let stateless =
                deciding().find(|&rule| self.program.place(rule).rule.state == KeepState::No);
            return match stateless {
                Some(rule) => format!("no state: {} says `no state`", self.name(rule)),
                None => "no state".to_owned(),
            };
        }
        if matches!(packet.transport, Transport::IcmpOther(_)) {
            return "no state: such messages belong to no flow".to_owned();
        }
        if matches!(packet.transport, Transport::Fragment(_)) {
            return "no state: fragments that are not reassembled belong to no flow".to_owned();
        }
        let kind = match decision.keeps {
            KeepState::Synproxy => "synproxy",
            KeepState::Modulate => "modulate",
            KeepState::Keep | KeepState::No => "keep",
        };
        format!("{kind} state: {}", self.flow(packet, trace.sides[0].port.0))
    }

    /// The flow of a packet as `-s states` begins its line.
    fn flow(&self, packet: &Packet, port: u8) -> String {
        let mut line =
            self.ports.0.get(usize::from(port)).map_or("?", |port| &port.role).to_owned();
        // Writing to a string cannot fail.
        if packet.tags != Tags::default() {
            let _ = write!(line, " {}", packet.tags);
        }
        let end = |address: weir_engine::packet::Address, port: u16| {
            let ip = address.to_ip(packet.network);
            match (&packet.transport, packet.network) {
                (Transport::Other, _) => ip.to_string(),
                (_, Network::Ipv6) => format!("{ip}[{port}]"),
                _ => format!("{ip}:{port}"),
            }
        };
        let _ = write!(
            line,
            " {} {} <- {}",
            protocol(packet.protocol),
            end(packet.destination, packet.destination_port),
            end(packet.source, packet.source_port)
        );
        line
    }
}

/// A reason's sentence, to be said within another.
fn said(reason: Reason) -> String {
    let text = reason.description().trim_end_matches('.');
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        // Not the beginning of `IPv4` or `TCP`.
        (Some(first), Some(second)) if !second.is_uppercase() => {
            let rest = &text[first.len_utf8()..];
            format!("{}{rest}", first.to_lowercase())
        }
        _ => text.to_owned(),
    }
}
