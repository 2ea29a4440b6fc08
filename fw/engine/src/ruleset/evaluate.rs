//! pf's evaluation of one side of a packet's way (pf.conf(5); `pf_match_rule` of OpenBSD's pf): the
//! last `pass` or `block` that matches decides, `quick` ends the search, `match` acts at once,
//! anchors are asked where they stand if their own criteria hold. The data path, `weir test` and
//! `weir explain` run this same walk over the steps; they differ in their [`Watcher`].

use weir_config::rules::{Action, Direction, Probability};

use super::criteria::{Around, Criterion, Subject};
use super::meters::Meter;
use super::program::Program;
use super::sequence::NOWHERE;
use crate::effects::Effects;
use crate::frame::PortIndex;

/// What the rules say of one side of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// `set skip` on this port.
    Abstains,
    /// No rule decides.
    Silent,
    /// The rule of this id decides.
    Rule(u32),
}

/// Takes part in a walk: told what happens, and asked what depends on more than the packet.
pub(crate) trait Watcher {
    /// A `once` rule would match: may it?
    fn once(&mut self, meter: &Meter) -> bool;
    /// A packet comes to a `max-pkt-rate` rule: is it within the rate?
    fn rate(&mut self, meter: &Meter, limit: weir_config::rules::Rate) -> bool;
    /// Do the dice fall for the rule?
    fn dice(&mut self, probability: Probability) -> bool;
    /// The rule of this step matches.
    fn matched(&mut self, step: u32);
    /// It does not, for lack of this.
    fn failed(&mut self, step: u32, criterion: Criterion);
    /// The steps of one scope were asked up to this one.
    fn ended(&mut self, step: u32);
}

/// What the rules have gathered about a packet beside who decides.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Rules that matched without deciding: `match`, and the anchor around the deciding rule.
    pub(crate) matched: Vec<(u32, Direction)>,
    /// Rules whose match is to be logged: `match log`, and those behind `log (matches)`.
    pub(crate) logs: Vec<(u32, Direction)>,
    /// What `match` rules want done.
    pub(crate) effects: Effects,
    /// A `match` rule says `log (all)`.
    pub(crate) log_all: bool,
    /// A rule with `probability` was asked.
    pub(crate) by_chance: bool,
    /// `log (matches)` is on.
    log_matches: bool,
    /// What circumstances decided about steps when the packet was judged arriving, ascending: they
    /// count, spend and draw once for a packet, not once for each side.
    circumstances: Vec<(u32, Option<Criterion>)>,
}

impl Findings {
    /// Empties it, keeping the room.
    pub(crate) fn clear(&mut self) {
        self.matched.clear();
        self.logs.clear();
        self.circumstances.clear();
        (self.effects, self.log_all) = (Effects::NONE, false);
        (self.by_chance, self.log_matches) = (false, false);
    }
}

impl Program {
    /// Asks the rules among `steps`, ascending and holding all that could match.
    pub(crate) fn walk<W: Watcher>(
        &self,
        subject: &mut Subject,
        (port, direction): (PortIndex, Direction),
        steps: impl Iterator<Item = u32>,
        around: Around<'_>,
        findings: &mut Findings,
        watcher: &mut W,
    ) -> Side {
        if self.skipped & 1 << port.0 != 0 {
            return Side::Abstains;
        }
        subject.pass(port, direction);
        // A `log (matches)` speaks of this side only.
        findings.log_matches = false;
        // The call of the anchor whose rules are being asked.
        let mut scope = NOWHERE;
        // The step that decides so far.
        let mut last = NOWHERE;
        let mut skip_to = 0;
        let mut ended = false;
        'steps: for at in steps {
            if at < skip_to {
                continue;
            }
            while scope != NOWHERE && at >= self.steps[scope as usize].end {
                if self.leave(scope, last, watcher) {
                    self.unwind(scope, watcher);
                    ended = true;
                    break 'steps;
                }
                scope = self.steps[scope as usize].scope;
            }
            let step = self.steps[at as usize];
            if step.scope != scope {
                // In an anchor that was not entered.
                skip_to = self.steps[step.scope as usize].end;
                continue;
            }
            let rule = &self.rules[step.rule as usize];
            let criterion = match rule.criteria.fails(subject, around) {
                None if rule.is_plain => None,
                None => self.fails_by_circumstance(at, direction, findings, watcher),
                failed => failed,
            };
            if let Some(criterion) = criterion {
                watcher.failed(at, criterion);
                skip_to = step.end;
                continue;
            }
            watcher.matched(at);
            if rule.tag != 0 {
                subject.tag = rule.tag;
            }
            let before = findings.log_matches;
            match rule.action {
                Action::Anchor(_) => {
                    if step.last != NOWHERE {
                        scope = at;
                    }
                    continue;
                }
                Action::Match => {
                    findings.matched.push((step.rule, direction));
                    findings.effects.add(rule.effects);
                    findings.log_all |= rule.log_all;
                    findings.log_matches |= rule.log_matches;
                    if rule.log && !before {
                        findings.logs.push((step.rule, direction));
                    }
                }
                Action::Pass | Action::Block(_) => last = at,
            }
            if before && !rule.log_matches {
                findings.logs.push((step.rule, direction));
            }
            if rule.quick {
                self.unwind(at, watcher);
                ended = true;
                break;
            }
        }
        if !ended {
            self.finish(scope, last, watcher);
        }
        if last == NOWHERE {
            return Side::Silent;
        }
        let step = self.steps[last as usize];
        if step.scope != NOWHERE {
            findings.matched.push((self.steps[step.scope as usize].rule, direction));
        }
        Side::Rule(step.rule)
    }

    /// The steps are all asked: leaves what is open.
    fn finish<W: Watcher>(&self, mut scope: u32, last: u32, watcher: &mut W) {
        while scope != NOWHERE {
            if self.leave(scope, last, watcher) {
                self.unwind(scope, watcher);
                return;
            }
            scope = self.steps[scope as usize].scope;
        }
        if self.last_step != NOWHERE {
            watcher.ended(self.last_step);
        }
    }

    /// Leaves the anchor of a call. `true` if that ends the evaluation: it is `quick`, and a rule in it decides.
    fn leave<W: Watcher>(&self, call: u32, last: u32, watcher: &mut W) -> bool {
        let step = self.steps[call as usize];
        watcher.ended(step.last);
        self.rules[step.rule as usize].quick && last != NOWHERE && last > call
    }

    /// The evaluation ends with this step, and so do those of the anchors around it.
    fn unwind<W: Watcher>(&self, mut step: u32, watcher: &mut W) {
        while step != NOWHERE {
            watcher.ended(step);
            step = self.steps[step as usize].scope;
        }
    }

    /// The criteria that depend on more than the packet. They come last: what they count and spend is
    /// for packets that match otherwise.
    fn fails_by_circumstance<W: Watcher>(
        &self,
        step: u32,
        direction: Direction,
        findings: &mut Findings,
        watcher: &mut W,
    ) -> Option<Criterion> {
        let known = &mut findings.circumstances;
        if direction == Direction::Out
            && let Ok(at) = known.binary_search_by_key(&step, |&(step, _)| step)
        {
            return known[at].1;
        }
        let failed = self.ask_circumstance(self.steps[step as usize].rule, findings, watcher);
        if direction == Direction::In {
            findings.circumstances.push((step, failed));
        }
        failed
    }

    fn ask_circumstance<W: Watcher>(
        &self,
        rule: u32,
        findings: &mut Findings,
        watcher: &mut W,
    ) -> Option<Criterion> {
        let meter = self.meter(rule);
        let rule = self.rule(rule);
        if let Some(probability) = rule.probability {
            findings.by_chance = true;
            if !watcher.dice(probability) {
                return Some(Criterion::Probability);
            }
        }
        if let (Some(limit), Some(meter)) = (rule.max_packet_rate, meter)
            && !watcher.rate(meter, limit)
        {
            return Some(Criterion::Rate);
        }
        if let (true, Some(meter)) = (rule.once, meter)
            && !watcher.once(meter)
        {
            return Some(Criterion::Once);
        }
        None
    }
}
