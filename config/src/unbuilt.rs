//! What the parser reads and prints and the engine does not do yet. A rule set with any of it can be
//! looked at and is refused when it would be put in force: a limit that limits nothing would be worse
//! than an error.

use crate::options::{Limit, Limits, Named, Options};
use crate::rules::{Rule, RuleSet, Source};

/// Everything in the rule set that this version does not do: the place and one sentence for each
/// option and each rule as written, in the order options, rules, anchors by path.
pub fn not_built(rules: &RuleSet) -> Vec<(Source, String)> {
    let mut found = options(&rules.options);
    let anchors = rules.anchors.values().flat_map(|anchor| &anchor.rules);
    for rule in rules.rules.iter().chain(anchors) {
        let Some(sentence) = of_rule(rule) else { continue };
        let one = (rule.source, sentence);
        // A list expands to rules that all lack the same.
        if found.last() != Some(&one) {
            found.push(one);
        }
    }
    found
}

fn options(options: &Options) -> Vec<(Source, String)> {
    let usual = Limits::default();
    let limits = [(Limit::PktdelayPkts, "packets are never delayed")];
    let limits = limits
        .into_iter()
        .filter(|&(limit, _)| options.limits.get(limit) != usual.get(limit))
        .map(|(limit, why)| (limit.name(), format!("`limit {}`", limit.name()), why));
    let others = [
        (
            "fingerprints",
            options.fingerprints.is_some(),
            "operating systems are not told apart yet",
        ),
        ("hostid", options.host_id.is_some(), "states are not shared between firewalls yet"),
    ];
    let others = others
        .into_iter()
        .filter(|&(_, used, _)| used)
        .map(|(name, _, why)| (name, format!("`set {name}`"), why));
    let mut found: Vec<_> = limits
        .chain(others)
        .map(|(name, text, why)| {
            let source = options.sources.get(name).unwrap_or_default();
            (source, format!("{text} is not built yet: {why}"))
        })
        .collect();
    found.sort_by_key(|(source, _)| (source.file, source.line));
    found
}

fn of_rule(rule: &Rule) -> Option<String> {
    rule.from.os.is_some().then(|| "`os` is not built yet".to_owned())
}
