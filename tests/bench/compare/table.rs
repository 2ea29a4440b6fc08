//! The medians with their spread, and how they compare, in Markdown.

use std::fmt::Write as _;

use crate::contender::CONTENDERS;
use crate::figures::{Figures, NAMES};

/// What a ratio has to be.
#[derive(Clone, Copy)]
enum Target {
    Any,
    AtLeast(f64),
    AtMost(f64),
}

use Target::{Any, AtLeast, AtMost};

/// By figure: against a forwarder of the same kind that does not filter, against a kernel that filters,
/// and against one that does not, once with a worker that never sleeps.
type Targets = [Target; NAMES.len()];
const FORWARDER: Targets = [AtLeast(0.9), AtLeast(0.9), AtLeast(0.9), Any, Any, Any];
const STATEFUL: Targets = [Any, Any, Any, AtLeast(1.3), Any, Any];
const BRIDGE: Targets = [Any, Any, Any, Any, Any, AtMost(1.3)];
const BUSY: Targets = [Any, Any, Any, Any, Any, AtMost(1.0)];

/// Rows whose ratio says something, weir first, and what it has to be.
const RATIOS: [(usize, usize, Targets); 13] = [
    (3, 2, FORWARDER),
    (10, 9, FORWARDER),
    (12, 11, FORWARDER),
    (3, 1, STATEFUL),
    (4, 1, STATEFUL),
    (10, 8, STATEFUL),
    (12, 8, STATEFUL),
    (3, 0, BRIDGE),
    (4, 0, BRIDGE),
    (10, 7, BRIDGE),
    (12, 7, BRIDGE),
    (5, 0, BUSY),
    (6, 0, BUSY),
];

/// All values, by contender and figure.
pub(crate) type Results = [[Vec<f64>; NAMES.len()]; CONTENDERS.len()];

/// Two tables: medians with smallest and largest value, then ratios of medians with their targets.
pub(crate) fn table(results: &Results) -> String {
    let head = format!("| {} |\n|---|{}\n", NAMES.join(" | "), "---|".repeat(NAMES.len()));
    let took_part = |results: &[Vec<f64>; NAMES.len()]| !results[0].is_empty();
    let mut out = format!("\n| {head}");
    for (contender, results) in CONTENDERS.iter().zip(results).filter(|(_, r)| took_part(r)) {
        let _ = write!(out, "| {} |", contender.name);
        for figure in results {
            let (low, middle, high) = spread(figure);
            let digits = if middle >= 100.0 { 0 } else { 2 };
            let _ = write!(out, " {middle:.digits$} ({low:.digits$}-{high:.digits$}) |");
        }
        out.push('\n');
    }
    let _ = write!(out, "\n| ratios of medians, and targets {head}");
    for (weir, peer, targets) in RATIOS {
        if !took_part(&results[weir]) || !took_part(&results[peer]) {
            continue;
        }
        let _ = write!(out, "| {} / {} |", CONTENDERS[weir].name, CONTENDERS[peer].name);
        let medians = medians(&results[weir]).into_iter().zip(medians(&results[peer]));
        for ((ours, theirs), target) in medians.zip(targets) {
            let ratio = ours / theirs;
            let _ = match target {
                Any => write!(out, " {ratio:.2} |"),
                AtLeast(least) => write!(out, " {} |", judged(ratio, ">=", least, ratio >= least)),
                AtMost(most) => write!(out, " {} |", judged(ratio, "<=", most, ratio <= most)),
            };
        }
        out.push('\n');
    }
    out
}

/// A ratio beside its target, in bold if it misses that.
fn judged(ratio: f64, sign: &str, target: f64, holds: bool) -> String {
    let mark = if holds { "" } else { "**" };
    format!("{mark}{ratio:.2}{mark} ({sign} {target})")
}

fn medians(values: &[Vec<f64>; NAMES.len()]) -> Figures {
    values.each_ref().map(|values| spread(values).1)
}

/// Smallest, median and largest value.
fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1])
}
