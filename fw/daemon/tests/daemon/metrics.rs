//! The page of metrics, read strictly, and what is shipped for those who watch it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use crate::seat::{Seat, load};

/// A sample: labels and value.
type Sample = (BTreeMap<String, String>, f64);

/// Reads a page as strictly as the format is written down: for each metric HELP, TYPE and then all its
/// samples, none twice, counters and only these with names that end in `_total`.
fn read(page: &str) -> BTreeMap<String, Vec<Sample>> {
    let mut metrics: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
    let mut lines = page.lines().peekable();
    assert!(page.ends_with('\n'));
    while let Some(line) = lines.next() {
        let help = line.strip_prefix("# HELP ").unwrap_or_else(|| panic!("no HELP: {line}"));
        let (name, text) = help.split_once(' ').expect("a text");
        assert!(text.ends_with('.') && !text.contains('\\'), "{line}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} ")));
        match kind {
            Some("counter") => assert!(name.ends_with("_total"), "{name}"),
            Some("gauge") => assert!(!name.ends_with("_total"), "{name}"),
            other => panic!("{name}: type {other:?}"),
        }
        let mut samples = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let rest = line.strip_prefix(name).unwrap_or_else(|| panic!("{line} under {name}"));
            let (labels, value) = labels(rest);
            assert!(samples.iter().all(|(known, _)| *known != labels), "{line} twice");
            samples.push((labels, value.parse().unwrap_or_else(|_| panic!("{line}"))));
        }
        assert!(metrics.insert(name.to_owned(), samples).is_none(), "{name} twice");
    }
    metrics
}

/// Labels and what is behind them.
fn labels(text: &str) -> (BTreeMap<String, String>, &str) {
    let mut labels = BTreeMap::new();
    let Some(mut rest) = text.strip_prefix('{') else {
        return (labels, text.strip_prefix(' ').expect("a blank"));
    };
    loop {
        let (name, behind) = rest.split_once("=\"").expect("a label");
        let mut value = String::new();
        let mut characters = behind.char_indices();
        let end = loop {
            match characters.next().expect("a quote") {
                (at, '"') => break at,
                (_, '\\') => match characters.next().expect("an escape").1 {
                    'n' => value.push('\n'),
                    other @ ('"' | '\\') => value.push(other),
                    other => panic!("\\{other}"),
                },
                (_, other) => value.push(other),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} twice");
        rest = &behind[end + 1..];
        if let Some(value) = rest.strip_prefix("} ") {
            return (labels, value);
        }
        rest = rest.strip_prefix(',').expect("another label");
    }
}

static PAGE: LazyLock<BTreeMap<String, Vec<Sample>>> = LazyLock::new(|| {
    let seat = Seat::new();
    let rules =
        "block log label \"x y\"\npass out proto tcp label web\npass in proto tcp label web\n";
    seat.client().end(load(rules));
    let page = seat.control.metrics().expect("workers answer");
    seat.running.stop();
    read(&page)
});

fn value(name: &str, wanted: &[(&str, &str)]) -> f64 {
    let samples = PAGE.get(name).unwrap_or_else(|| panic!("no {name}"));
    let fits = |labels: &BTreeMap<String, String>| {
        wanted.iter().all(|(name, value)| labels.get(*name).is_some_and(|had| had == value))
    };
    let found: Vec<_> = samples.iter().filter(|(labels, _)| fits(labels)).collect();
    assert_eq!(found.len(), 1, "{name} {wanted:?}");
    found[0].1
}

#[test]
fn everything_is_on_the_page() {
    assert!((value("weir_filtering", &[]) - 1.0).abs() < 0.5);
    assert_eq!(PAGE["weir_packets_total"].len(), 2 * 3 * 2 * 2);
    assert_eq!(PAGE["weir_dropped_total"].len(), weir_engine::Reason::COUNT);
    assert!(value("weir_limit", &[("limit", "states")]) > 0.0);
    assert!(value("weir_label_packets_total", &[("label", "x y")]) >= 0.0);
    assert_eq!(PAGE["weir_label_states"].len(), 2, "two rules have one label together");
    assert_eq!(PAGE["weir_states_by_phase"].len(), 22);
    assert!(value("weir_states_by_phase", &[("protocol", "sctp"), ("phase", "closed")]) < 0.5);
    assert!(value("weir_worker_busy_seconds_total", &[("worker", "1")]) >= 0.0);
    assert!(value("weir_control_round_trips_total", &[]) >= 1.0);
    assert!(value("weir_control_round_trip_seconds", &[]) > 0.0);
    assert!(value("weir_log_lost_total", &[("to", "ring")]) >= 0.0);
}

/// The names of our metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
    words.filter(|word| word.starts_with("weir_")).map(str::to_owned).collect()
}

#[test]
fn the_dashboard_loads_and_knows_only_what_is_there() {
    let text = include_str!("../../../../config/monitoring/grafana.json");
    let dashboard: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")));
        assert!(panel["title"].is_string() && panel["gridPos"]["w"].is_u64(), "{panel}");
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty() && targets.iter().all(|target| target["expr"].is_string()));
    }
    let names = names(text);
    assert!(names.len() > 20, "{names:?}");
    let unknown: Vec<_> = names.iter().filter(|name| !PAGE.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_alerts_know_only_what_is_there() {
    let text = include_str!("../../../../config/monitoring/alerts.yml");
    let expressions = text.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let names = names(&expressions.clone().collect::<Vec<_>>().join("\n"));
    assert!(names.len() > 8, "{names:?}");
    let unknown: Vec<_> = names.iter().filter(|name| !PAGE.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let alerts = text.lines().filter(|line| line.trim().starts_with("- alert: ")).count();
    assert_eq!(expressions.count(), alerts);
    for limit in ["state-limit", "output-full", "handover-full"] {
        assert!(weir_engine::Reason::ALL.iter().any(|reason| reason.name() == limit), "{limit}");
    }
}
