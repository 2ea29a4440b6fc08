//! The order in which rules are asked: the main rule set with the content of anchors written out
//! where they are called, as a list of steps.
//!
//! An anchor that is called twice is written out twice; its rules have one identity and one set of
//! counters all the same.

use std::collections::BTreeMap;

use weir_config::rules::{Action, Anchor, AnchorCall, Rule, RuleSet};

use super::program::CompileError;

/// No step, no scope.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// Anchors that may be open within each other, as in pf.
pub(crate) const MAX_DEPTH: usize = 64;

/// The most steps there can be.
const MAX_STEPS: usize = 2_000_000;

/// One rule in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Id of the rule.
    pub(crate) rule: u32,
    /// The step that calls the anchor in which this one stands, or [`NOWHERE`].
    pub(crate) scope: u32,
    /// For the call of an anchor: the step behind its content.
    pub(crate) end: u32,
    /// For the call of an anchor: the last step whose scope it is, or [`NOWHERE`] if it is empty.
    pub(crate) last: u32,
}

/// Where a rule stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RulePlace<'a> {
    /// Full path of its anchor, empty for the main rule set.
    pub anchor: &'a str,
    /// Its number there, from 0.
    pub number: u32,
    /// The rule.
    pub rule: &'a Rule,
}

/// Every rule of a set with its id: the main rule set's count from 0, then come the anchors' in the
/// order of their paths.
pub(crate) fn places(set: &RuleSet) -> impl Iterator<Item = RulePlace<'_>> {
    let main = std::iter::once(("", &set.rules));
    let anchors = set.anchors.iter().map(|(path, anchor)| (path.as_str(), &anchor.rules));
    main.chain(anchors).flat_map(|(anchor, rules)| {
        (0..).zip(rules).map(move |(number, rule)| RulePlace { anchor, number, rule })
    })
}

/// Writes the steps of a rule set out. Returns them and the last one outside all anchors.
pub(crate) fn steps(set: &RuleSet) -> Result<(Vec<Step>, u32), CompileError> {
    let mut first = set.rules.len() as u32;
    let anchors = set
        .anchors
        .iter()
        .map(|(path, anchor)| {
            let id = first;
            first += anchor.rules.len() as u32;
            (path.as_str(), (id, anchor))
        })
        .collect();
    let mut writer = Writer { anchors, steps: Vec::new(), open: Vec::new() };
    let last = writer.write(&set.rules, 0, NOWHERE)?;
    Ok((writer.steps, last))
}

struct Writer<'a> {
    /// By path: the id of the first rule, and the content.
    anchors: BTreeMap<&'a str, (u32, &'a Anchor)>,
    steps: Vec<Step>,
    /// Paths of the anchors that are being written.
    open: Vec<&'a str>,
}

impl<'a> Writer<'a> {
    /// Writes rules whose ids begin with `first`; returns the last step among them. Recursion is as
    /// deep as anchors are, at most [`MAX_DEPTH`].
    fn write(&mut self, rules: &'a [Rule], first: u32, scope: u32) -> Result<u32, CompileError> {
        let mut last = NOWHERE;
        for (rule, content) in (first..).zip(rules) {
            if self.steps.len() >= MAX_STEPS {
                return Err(CompileError::TooManySteps(MAX_STEPS));
            }
            let at = self.steps.len() as u32;
            last = at;
            self.steps.push(Step { rule, scope, end: at + 1, last: NOWHERE });
            if let Action::Anchor(call) = &content.action {
                let mut inner = NOWHERE;
                for (path, id, anchor) in self.called(call) {
                    inner = match self.enter(path, id, anchor, at)? {
                        NOWHERE => inner,
                        step => step,
                    };
                }
                let end = self.steps.len() as u32;
                let step = &mut self.steps[at as usize];
                (step.end, step.last) = (end, inner);
            }
        }
        Ok(last)
    }

    fn enter(
        &mut self,
        path: &'a str,
        first: u32,
        anchor: &'a Anchor,
        call: u32,
    ) -> Result<u32, CompileError> {
        if self.open.contains(&path) {
            return Err(CompileError::AnchorRecursion(path.to_owned()));
        }
        if self.open.len() == MAX_DEPTH {
            return Err(CompileError::AnchorDepth(path.to_owned()));
        }
        self.open.push(path);
        let last = self.write(&anchor.rules, first, call)?;
        self.open.pop();
        Ok(last)
    }

    /// The anchors that a call asks, those without content left out.
    fn called(&self, call: &AnchorCall) -> Vec<(&'a str, u32, &'a Anchor)> {
        let found = |(&path, &(id, anchor)): (&&'a str, &(u32, &'a Anchor))| (path, id, anchor);
        if call.wildcard {
            let below =
                if call.path.is_empty() { String::new() } else { format!("{}/", call.path) };
            let is_child = |path: &str| {
                path.strip_prefix(&*below)
                    .is_some_and(|name| !name.is_empty() && !name.contains('/'))
            };
            self.anchors.iter().filter(|(path, _)| is_child(path)).map(found).collect()
        } else {
            self.anchors.get_key_value(call.path.as_str()).map(found).into_iter().collect()
        }
    }
}
