//! What becomes of a packet that no particular rule speaks about: the verdict of the rules that ask
//! for nothing but a direction and a port.

use super::criteria::Criteria;
use super::subject::{Side, Subject};
use crate::rules::{Action, Direction, Family, Rule};

/// How deep calls of anchors are followed.
const DEEPEST: u8 = 16;

/// The last word of the broad rules on one side, for one family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Baseline<'r> {
    /// `None`: no broad rule speaks.
    pub(super) rule: Option<&'r Rule>,
    /// Something may have changed it that cannot be known from the text.
    pub(super) is_certain: bool,
}

impl<'r> Baseline<'r> {
    pub(super) fn of(
        subject: &Subject<'r>,
        direction: Direction,
        side: Side,
        family: Family,
    ) -> Self {
        let mut found = Self { rule: None, is_certain: true };
        found.walk(subject, &subject.rules.rules, (direction, side, family), DEEPEST);
        found
    }

    /// The blocking rule, if that is what decides.
    pub(super) fn block(self) -> Option<&'r Rule> {
        self.rule.filter(|rule| matches!(rule.action, Action::Block(_)))
    }

    /// The passing rule, if that is what decides.
    pub(super) fn pass(self) -> Option<&'r Rule> {
        self.rule.filter(|rule| rule.action == Action::Pass)
    }

    /// True if the evaluation ended.
    fn walk(
        &mut self,
        subject: &Subject<'r>,
        rules: &'r [Rule],
        at: (Direction, Side, Family),
        depth: u8,
    ) -> bool {
        for rule in rules {
            match fits(subject, rule, at) {
                Some(false) => continue,
                Some(true) => {}
                None => {
                    self.is_certain = false;
                    continue;
                }
            }
            match &rule.action {
                Action::Pass | Action::Block(_) => self.rule = Some(rule),
                Action::Match => {}
                Action::Anchor(call) => {
                    let before = self.rule.map(std::ptr::from_ref);
                    match subject.called(call) {
                        Some(inner) if depth > 0 => {
                            if self.walk(subject, inner, at, depth - 1) {
                                return true;
                            }
                        }
                        _ => self.is_certain = false,
                    }
                    let decided = before != self.rule.map(std::ptr::from_ref);
                    if !(rule.quick && decided) {
                        continue;
                    }
                }
            }
            if rule.quick {
                return true;
            }
        }
        false
    }
}

/// Whether a rule is broad and holds there; `None` if it may be.
fn fits(subject: &Subject<'_>, rule: &Rule, at: (Direction, Side, Family)) -> Option<bool> {
    let (direction, side, family) = at;
    let criteria = Criteria::new(rule);
    let holds = subject.ports.holds(criteria.interface, side);
    let elsewhere = criteria.direction.is_some_and(|written| written != direction)
        || criteria.family.is_some_and(|written| written != family)
        || holds == Some(false);
    // It leaves what it matches to the rules before it: the broad one may be behind.
    if !elsewhere && rule.action == Action::Match && rule.quick {
        return None;
    }
    // The implied `flags S/SA` of a pass rule says how connections begin, not which.
    let flags_are_broad = criteria.flags.is_none() || rule.action == Action::Pass;
    if elsewhere || !criteria.is_broad() || !flags_are_broad {
        return Some(false);
    }
    holds
}
