//! Which anchors call which. Their rules are evaluated anew at every call, so a call that comes back
//! to its caller would never end, and a few anchors that call the next one twice each would keep a
//! packet busy for ever. Both are refused before a rule set can be in force.

use std::collections::HashMap;

use super::anchor::MAX_ANCHOR_DEPTH;
use crate::rules::{Action, Rule, RuleSet, Source};

/// The most rules that one evaluation may meet, those of an anchor counted at every call.
pub const MAX_EVALUATED: u64 = 1_000_000;

/// Why the calls of a rule set are not acceptable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFault {
    /// In words.
    pub message: String,
    /// The rule whose call is one too many.
    pub source: Source,
}

/// Checks that no anchor calls itself by way of others, that calls nest at most [`MAX_ANCHOR_DEPTH`]
/// deep, and that no evaluation meets more than [`MAX_EVALUATED`] rules. What an anchor without
/// content calls is not known here: whoever adds content to a rule set must ask again.
///
/// # Errors
/// The first call that breaks this.
pub fn check_calls(set: &RuleSet) -> Result<(), CallFault> {
    let graph = Graph::new(set);
    let mut seen: Vec<Seen> = graph.nodes.iter().map(|_| Seen::No).collect();
    for start in 0..graph.nodes.len() {
        graph.walk(start, &mut seen)?;
    }
    Ok(())
}

/// A rule set, or all those directly below a path: a wildcard is one call of that.
#[derive(Default)]
struct Node {
    name: String,
    wildcard: bool,
    rules: u64,
    calls: Vec<(usize, Source)>,
}

struct Graph {
    nodes: Vec<Node>,
}

/// What is known of a node.
#[derive(Clone, Copy)]
enum Seen {
    No,
    /// Its calls are being followed.
    Open,
    /// Rules of an evaluation, and how deep its calls go.
    Done(u64, usize),
}

/// A node on the way, its next call, what its calls add up to, and the last written call.
struct Step {
    node: usize,
    next: usize,
    rules: u64,
    depth: usize,
    by: Source,
}

impl Graph {
    fn new(set: &RuleSet) -> Self {
        let mut nodes = vec![Node { rules: set.rules.len() as u64, ..Node::default() }];
        let mut anchors: HashMap<&str, usize> = HashMap::new();
        for (path, anchor) in &set.anchors {
            anchors.insert(path, nodes.len());
            let rules = anchor.rules.len() as u64;
            nodes.push(Node { name: path.clone(), rules, ..Node::default() });
        }
        let mut below: HashMap<&str, usize> = HashMap::new();
        let all = set.anchors.values().map(|anchor| &anchor.rules);
        for (caller, rules) in std::iter::once(&set.rules).chain(all).enumerate() {
            for Rule { action, source, .. } in rules {
                let Action::Anchor(call) = action else { continue };
                let called = if call.wildcard {
                    *below.entry(&call.path).or_insert_with(|| {
                        let name = call.path.clone() + "/*";
                        nodes.push(Node { name, wildcard: true, ..Node::default() });
                        nodes.len() - 1
                    })
                } else if let Some(&called) = anchors.get(&*call.path) {
                    called
                } else {
                    continue;
                };
                nodes[caller].calls.push((called, *source));
            }
        }
        for (path, &called) in &anchors {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            if let Some(&wildcard) = below.get(parent) {
                nodes[wildcard].calls.push((called, Source::default()));
            }
        }
        Self { nodes }
    }

    /// Follows all calls from a node on, without recursion.
    fn walk(&self, start: usize, seen: &mut [Seen]) -> Result<(), CallFault> {
        if !matches!(seen[start], Seen::No) {
            return Ok(());
        }
        let step = |node: usize, by| Step {
            node,
            next: 0,
            rules: self.nodes[node].rules,
            depth: usize::from(!self.nodes[node].wildcard),
            by,
        };
        seen[start] = Seen::Open;
        let mut way = vec![step(start, Source::default())];
        while let Some(last) = way.last_mut() {
            let Some(&(called, source)) = self.nodes[last.node].calls.get(last.next) else {
                seen[last.node] = Seen::Done(last.rules, last.depth);
                way.pop();
                continue;
            };
            // The call below a wildcard is that of the wildcard's rule.
            let by = if source == Source::default() { last.by } else { source };
            let fault = |message| Err(CallFault { message, source: by });
            match seen[called] {
                Seen::Open => {
                    let name = &self.nodes[called].name;
                    return fault(format!(
                        "this call of an anchor never ends: `{name}` calls itself"
                    ));
                }
                Seen::No => {
                    seen[called] = Seen::Open;
                    way.push(step(called, by));
                }
                Seen::Done(rules, depth) => {
                    last.next += 1;
                    last.rules = last.rules.saturating_add(rules);
                    let own = usize::from(!self.nodes[last.node].wildcard);
                    last.depth = last.depth.max(depth + own);
                    if last.rules > MAX_EVALUATED {
                        return fault(format!(
                            "with all calls of anchors a packet would meet more than \
                             {MAX_EVALUATED} rules"
                        ));
                    }
                    // The main rule set is no anchor.
                    if last.depth > MAX_ANCHOR_DEPTH + 1 {
                        return fault(format!(
                            "anchors call each other more than {MAX_ANCHOR_DEPTH} deep"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}
