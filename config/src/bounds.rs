//! Whether a rule set keeps within the limits that it sets.

use crate::options::{Limit, Named};
use crate::rules::RuleSet;

/// The first limit that the rule set itself goes beyond, in one sentence: `tables`, `table-entries`
/// or `anchors`. Tables can grow while weir runs; the engine holds them to the same limits.
pub fn beyond_limit(rules: &RuleSet) -> Option<String> {
    let tables = || rules.tables.iter().chain(rules.anchors.values().flat_map(|at| &at.tables));
    let entries = tables().map(|table| table.entries.as_ref().map_or(0, Vec::len)).sum();
    let counts = [
        (Limit::Tables, tables().count(), "tables"),
        (Limit::TableEntries, entries, "table entries"),
        (Limit::Anchors, rules.anchors.len(), "anchors"),
    ];
    let (limit, count, what) = counts
        .into_iter()
        .find(|&(limit, count, _)| count as u64 > u64::from(rules.options.limits.get(limit)))?;
    Some(format!(
        "the rule set has {count} {what}, and {} are allowed: raise `set limit {}`",
        rules.options.limits.get(limit),
        limit.name()
    ))
}
