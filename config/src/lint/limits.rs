//! Limits and time-outs that contradict each other.

use super::subject::Subject;
use super::{Family, Lint, Sink, Words};
use crate::names::TCP;
use crate::options::Timeout;
use crate::rules::{Rule, Source};

const CANNOT_HOLD: Lint = Lint {
    name: "limits-cannot-hold",
    summary: "a limit or time-out that another one makes pointless",
    explanation: "\
A limit that can never be reached protects nobody, and a time-out of nothing keeps nothing: more
connections for one source than for all of them together, a rule that may make more states than the
table holds, adaptive.start above adaptive.end, connections counted where there are none, an
`overload` table that is `const`.

    pass in on wan proto tcp to $web port http keep state (max 100, max-src-conn 200)

Of the two limits, correct the one that is wrong.",
};

pub(super) const FAMILY: Family = Family { lints: &[CANNOT_HOLD], check };

fn check(subject: &Subject<'_>, sink: &mut Sink<'_>) {
    let options = &subject.rules.options;
    if let Some((timeout, words)) = timeouts(|timeout| Some(options.timeouts.get(timeout))) {
        let source = options.sources.get(timeout.name());
        sink.at(&CANNOT_HOLD, source.unwrap_or(Source { file: 0, line: 1 }), words);
    }
    for scope in subject.scopes() {
        let mut last = None;
        for rule in scope.rules {
            if last == Some(rule.source) {
                continue;
            }
            let contradiction = of_rule(rule, options.limits.states)
                .or_else(|| overload(subject, scope.path, rule));
            if let Some(words) = contradiction {
                last = Some(rule.source);
                sink.at(&CANNOT_HOLD, rule.source, words);
            }
        }
    }
}

fn of_rule(rule: &Rule, states: u32) -> Option<Words> {
    let options = &rule.state_options;
    let pairs = [
        ("max-src-conn", options.max_src_conn, "max", options.max),
        ("max-src-states", options.max_src_states, "max", options.max),
        ("max-src-nodes", options.max_src_nodes, "max", options.max),
        ("max-src-conn", options.max_src_conn, "max-src-states", options.max_src_states),
        ("max", options.max, "limit states", Some(states)),
        ("max-src-conn", options.max_src_conn, "limit states", Some(states)),
        ("max-src-states", options.max_src_states, "limit states", Some(states)),
    ];
    for (name, value, other_name, other) in pairs {
        if let (Some(value), Some(other)) = (value, other)
            && value > other
        {
            let words = Words::new(
                format!("`{name} {value}` can never be reached"),
                format!("`{other_name} {other}` is below it and stops everything first"),
            );
            return Some(words);
        }
    }
    let counts = options.max_src_conn.is_some() || options.max_src_conn_rate.is_some();
    if counts && rule.protocol.is_some_and(|protocol| protocol != TCP) {
        return Some(Words::new(
            "`max-src-conn` limits nothing here",
            "it counts connections whose handshake is complete, and only TCP has one: use \
             `max-src-states`",
        ));
    }
    let hurries = options.max_idle.is_some() || options.min_rate.is_some();
    if hurries && rule.protocol.is_some_and(|protocol| protocol != TCP) {
        let name = if options.max_idle.is_some() { "max-idle" } else { "min-rate" };
        return Some(Words::new(
            format!("`{name}` limits nothing here"),
            "it looks for the progress of connections, and only TCP has it: shorten the time-outs \
             of the rule",
        ));
    }
    let given = |wanted| {
        let set = options.timeouts.iter().find(|(timeout, _)| *timeout == wanted);
        set.map(|(_, value)| *value)
    };
    timeouts(given).map(|(_, words)| words)
}

/// What is wrong with these time-outs.
fn timeouts(given: impl Fn(Timeout) -> Option<u32>) -> Option<(Timeout, Words)> {
    // Nothing for `adaptive.*` and `src.track` switches these off.
    let may_be_nothing = |timeout| {
        matches!(
            timeout,
            Timeout::AdaptiveStart
                | Timeout::AdaptiveEnd
                | Timeout::SrcTrack
                | Timeout::Interval
                | Timeout::TcpTsDiff
        )
    };
    let nothing = Timeout::ALL
        .into_iter()
        .find(|&timeout| !may_be_nothing(timeout) && given(timeout) == Some(0));
    if let Some(timeout) = nothing {
        let words = Words::new(
            format!("`{timeout} 0` ends states as soon as they are made"),
            "a life-time of 0 seconds keeps nothing",
        );
        return Some((timeout, words));
    }
    let (start, end) = (given(Timeout::AdaptiveStart)?, given(Timeout::AdaptiveEnd)?);
    (end != 0 && start >= end).then(|| {
        let words = Words::new(
            format!("`adaptive.start {start}` is not below `adaptive.end {end}`"),
            "between the two numbers of states the time-outs shrink to nothing: there is no \
             between",
        );
        (Timeout::AdaptiveStart, words)
    })
}

fn overload(subject: &Subject<'_>, path: &str, rule: &Rule) -> Option<Words> {
    let name = &rule.state_options.overload.as_ref()?.table;
    let table = subject.table(path, name).filter(|table| table.constant)?;
    Some(
        Words::new(
            format!("`overload <{name}>` cannot add anything to the table"),
            format!("the table is `const` ({})", subject.name(table.source)),
        )
        .help("remove `const` from the table"),
    )
}
