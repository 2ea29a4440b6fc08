//! The pages that are lists: states, hosts, rules and drop reasons.

use std::cmp::Reverse;

use weir_config::names::protocol_text;

use super::format::{cut, short, squeezed, time, wrapped};
use super::model::{Counted, HOSTS, Model, NamedRule, busiest, per_second};
use super::screen::{Row, Style, bold, plain};
use super::view::{Page, View};
use crate::protocol::{HostTally, Info, ReasonCount, State};

/// Rows below a list that tell more of what is chosen.
const DETAIL: usize = 2;

/// What a list of rules can be sorted by.
pub(super) const RULE_ORDERS: &[&str] = &["packets/s", "bits/s", "packets", "states", "refused"];

/// What a list of hosts can be sorted by.
pub(super) const HOST_ORDERS: &[&str] = &["states", "packets", "bytes"];

/// What a list of drop reasons can be sorted by.
pub(super) const REASON_ORDERS: &[&str] = &["packets/s", "packets"];

/// What tells the rows of the page's list apart, in its order.
pub(super) fn rows_of(model: &Model, view: &View) -> Vec<String> {
    match view.page {
        Page::States => {
            // Those that are no states yet have one id.
            let tell = |state: &State| format!("{} {:?}", state.id, ends(state));
            model.states.last().into_iter().flatten().map(tell).collect()
        }
        Page::Hosts => {
            shown_hosts(model, view).into_iter().map(|host| host.address.to_string()).collect()
        }
        Page::Rules => {
            shown_rules(model, view).into_iter().map(|(named, ..)| named.name.clone()).collect()
        }
        Page::Reasons => {
            shown_reasons(model, view).into_iter().map(|(reason, _)| reason.name.clone()).collect()
        }
        Page::Overview | Page::Help => Vec::new(),
    }
}

/// The rows of a list with the one that is chosen in sight, and below them what `detail` tells of it.
fn list(
    view: &View,
    heading: String,
    texts: impl Iterator<Item = String>,
    detail: &[String],
    room: usize,
) -> Vec<Row> {
    let below = if detail.is_empty() { 0 } else { DETAIL };
    let rows = room.saturating_sub(1 + below).max(1);
    let first = (view.selected / rows) * rows;
    let mut all = vec![bold(heading)];
    all.extend(texts.enumerate().skip(first).take(rows).map(|(at, text)| {
        let chosen = at == view.selected;
        let text = format!("{}{text}", if chosen { '>' } else { ' ' });
        Row { text, style: if chosen { Style::Reverse } else { Style::Plain } }
    }));
    all.resize(1 + rows, plain(String::new()));
    all.extend(detail.iter().take(below).cloned().map(plain));
    all
}

/// `SOURCES by states, 192.0.2`: what is listed, and in which order.
fn heading(what: &str, order: &str, view: &View) -> Row {
    let filter = match view.filter() {
        "" => String::new(),
        filter => format!(", only {filter}"),
    };
    bold(format!("{what} by {order}{filter}"))
}

/// The page of states.
pub(super) fn states(model: &Model, view: &View, columns: usize, room: usize) -> Vec<Row> {
    // Two addresses with ports, and full words, need so much.
    let wide = columns >= 130;
    let (host, phase) = if wide {
        (45.min((columns - 70) / 2), 23)
    } else {
        ((columns.saturating_sub(38)) / 2, 11)
    };
    let more = |age: &str, packets: &str, rule: &str| {
        if wide { format!(" {age:>6} {packets:>6} {rule:>6}") } else { String::new() }
    };
    let titles = format!(
        " {:<4} {:<host$} {:<host$} {:<phase$} {:>6} {:>5} {:>5}{}",
        "",
        "from",
        "to",
        "to:from",
        "idle",
        "bytes",
        "B/s",
        more("age", "pkts", "rule")
    );
    let all = model.states.last().into_iter().flatten().map(|state| {
        let bytes = state.bytes.iter().sum::<u64>();
        let [initiator, responder] = state.peers.each_ref().map(|peer| {
            let word = &*peer.state;
            if wide { word } else { abbreviated(word) }
        });
        let [from, to] = ends(state);
        format!(
            "{:<4} {:<host$} {:<host$} {:<phase$} {:>6} {:>5} {:>5}{}",
            cut(&protocol_text(state.protocol), 4),
            squeezed(&from, host),
            squeezed(&to, host),
            format!("{responder}:{initiator}"),
            time(state.idle.into()),
            short(bytes),
            short(bytes / u64::from(state.age.max(1))),
            more(
                &time(state.age.into()),
                &short(state.packets.iter().sum()),
                &rule_of(state).unwrap_or_default()
            )
        )
    });
    let detail = chosen_state(model, view).map_or_else(Vec::new, |state| told(state, columns));
    let mut rows = vec![heading("STATES", view.order(), view)];
    rows.append(&mut list(view, titles, all, &detail, room.saturating_sub(1)));
    rows
}

/// The two ends of a state with their ports, the initiator first.
pub(super) fn ends(state: &State) -> [String; 2] {
    let end = |address: std::net::IpAddr, port: u16| {
        if address.is_ipv4() { format!("{address}:{port}") } else { format!("{address}[{port}]") }
    };
    [end(state.source, state.source_port), end(state.destination, state.destination_port)]
}

/// The rule that has made a state.
fn rule_of(state: &State) -> Option<String> {
    let [arriving, leaving] = [0, 1].map(|side| {
        state.anchored[side].clone().or_else(|| state.rules[side].map(|rule| rule.to_string()))
    });
    arriving.or(leaving).map(|rule| format!("@{rule}"))
}

/// A state in full.
fn told(state: &State, columns: usize) -> Vec<String> {
    let [from, to] = ends(state);
    let [initiator, responder] = &state.peers;
    let rule = rule_of(state).map_or_else(String::new, |rule| format!(", rule {rule}"));
    let text = format!(
        "{} {} {to} <- {from} {}:{}, age {}, expires in {}, {}:{} pkts, {}:{} bytes{rule}, id {}",
        state.port,
        protocol_text(state.protocol),
        responder.state,
        initiator.state,
        time(state.age.into()),
        time(state.expires.into()),
        state.packets[0],
        state.packets[1],
        state.bytes[0],
        state.bytes[1],
        state.id.trim_start_matches('0')
    );
    wrapped(&text, columns)
}

/// A tracker's word in five letters, as ss(8) shortens them.
fn abbreviated(word: &str) -> &str {
    match word {
        "ESTABLISHED" => "ESTAB",
        "SYN_SENT" => "SYN-S",
        "FIN_WAIT_2" => "FIN-2",
        "TIME_WAIT" => "TIMEW",
        "CLOSING" => "CLSNG",
        "CLOSED" => "CLOSD",
        "NO_TRAFFIC" => "NONE",
        "SINGLE" => "SINGL",
        "MULTIPLE" => "MULTI",
        "COOKIE_WAIT" => "COOKI",
        "SHUTDOWN_PENDING" => "SHUTD",
        other => other,
    }
}

/// The state that is chosen.
pub(super) fn chosen_state<'m>(model: &'m Model, view: &View) -> Option<&'m State> {
    model.states.last()?.get(view.selected)
}

/// The hosts that are listed.
pub(super) fn shown_hosts<'m>(model: &'m Model, view: &View) -> Vec<&'m HostTally> {
    let tally = model.tally.last();
    let all =
        tally.map_or(
            &[][..],
            |tally| {
                if view.destinations { &tally.destinations } else { &tally.sources }
            },
        );
    let mut shown: Vec<_> =
        all.iter().filter(|host| host.address.to_string().contains(view.filter())).collect();
    shown.sort_by_key(|host| {
        Reverse(match view.order() {
            "packets" => host.packets,
            "bytes" => host.bytes,
            _ => host.states,
        })
    });
    shown
}

/// The page of hosts.
pub(super) fn hosts(model: &Model, view: &View, room: usize) -> Vec<Row> {
    let least = if model.tally.last().is_some_and(|tally| tally.estimated) {
        " (at least; there are too many to count each)"
    } else {
        ""
    };
    let which = if view.destinations { "DESTINATIONS" } else { "SOURCES" };
    let titles = format!(" {:>8} {:>8} {:>8}  address{least}", "states", "packets", "bytes");
    let all = shown_hosts(model, view).into_iter().map(|host| {
        format!(
            "{:>8} {:>8} {:>8}  {}",
            short(host.states),
            short(host.packets),
            short(host.bytes),
            host.address
        )
    });
    // More are not asked for, whatever they are sorted by here.
    let told =
        model.tally.last().map_or(0, |tally| tally.sources.len().max(tally.destinations.len()));
    let which = if told >= HOSTS as usize {
        format!("{which} (the {HOSTS} of most states)")
    } else {
        which.to_owned()
    };
    let mut rows = vec![heading(&which, view.order(), view)];
    rows.append(&mut list(view, titles, all, &[], room.saturating_sub(1)));
    rows
}

/// A rule by its number and its label, with its text.
pub(super) fn called(named: &NamedRule) -> String {
    let label = named.rule.label.as_ref().map_or_else(String::new, |label| format!("\"{label}\" "));
    format!("@{} {label}{}", named.name, named.rule.text)
}

/// The rules that are listed, with their packets and bytes a second.
fn shown_rules<'m>(model: &'m Model, view: &View) -> Vec<(&'m NamedRule, u64, u64)> {
    let mut shown: Vec<_> = busiest(&model.rules)
        .into_iter()
        .filter(|(named, ..)| called(named).contains(view.filter()))
        .collect();
    // They come by packets a second; those that are alike stay so.
    shown.sort_by_key(|(named, packets, bytes)| {
        Reverse(match view.order() {
            "bits/s" => *bytes,
            "packets" => named.rule.packets.iter().sum(),
            "states" => named.rule.states,
            "refused" => named.rule.refused.values().sum(),
            _ => *packets,
        })
    });
    shown
}

/// The page of rules.
pub(super) fn rules(model: &Model, view: &View, columns: usize, room: usize) -> Vec<Row> {
    let titles = format!(
        " {:>6} {:>6} {:>6} {:>6} {:>7}  rule",
        "pkt/s", "bit/s", "pkts", "states", "refused"
    );
    let shown = shown_rules(model, view);
    let detail = shown.get(view.selected).map(|(named, ..)| {
        // Its label stands there.
        wrapped(&format!("@{} {}", named.name, named.rule.text), columns)
    });
    let all = shown.iter().map(|(named, packets, bytes)| {
        let rule = &named.rule;
        format!(
            "{:>6} {:>6} {:>6} {:>6} {:>7}  {}",
            short(*packets),
            short(bytes.saturating_mul(8)),
            short(rule.packets.iter().sum()),
            short(rule.states),
            short(rule.refused.values().sum()),
            called(named)
        )
    });
    let mut rows = vec![heading("RULES", view.order(), view)];
    let detail = detail.unwrap_or_default();
    rows.append(&mut list(view, titles, all, &detail, room.saturating_sub(1)));
    rows
}

/// Why frames were dropped, with their frames a second, the most frequent of late first.
pub(super) fn by_rate(info: &Counted<Info>) -> Vec<(&ReasonCount, u64)> {
    let Some((now, last)) = &info.now else { return Vec::new() };
    let mut told: Vec<_> = last
        .reasons
        .iter()
        .enumerate()
        .map(|(at, reason)| {
            let rate = info.before.as_ref().map_or(0, |(then, before)| {
                let before = before.reasons.get(at).map_or(0, |before| before.count);
                per_second(reason.count, before, *now - *then)
            });
            (reason, rate)
        })
        .collect();
    told.sort_by_key(|(reason, rate)| Reverse((*rate, reason.count)));
    told
}

/// The reasons that are listed.
fn shown_reasons<'m>(model: &'m Model, view: &View) -> Vec<(&'m ReasonCount, u64)> {
    let mut shown = by_rate(&model.info);
    shown.retain(|(reason, _)| {
        reason.name.contains(view.filter()) || reason.description.contains(view.filter())
    });
    if view.order() == "packets" {
        shown.sort_by_key(|(reason, _)| Reverse(reason.count));
    }
    shown
}

/// The page of drop reasons.
pub(super) fn reasons(model: &Model, view: &View, columns: usize, room: usize) -> Vec<Row> {
    let titles = format!(" {:>6} {:>6}  dropped for", "pkt/s", "pkts");
    let shown = shown_reasons(model, view);
    let detail = shown
        .get(view.selected)
        .map(|(reason, _)| wrapped(&format!("{}: {}", reason.name, reason.description), columns));
    let all = shown.iter().map(|(reason, rate)| {
        let (rate, count) = (short(*rate), short(reason.count));
        format!("{rate:>6} {count:>6}  {:<22} {}", reason.name, reason.description)
    });
    let mut rows = vec![heading("DROPPED", view.order(), view)];
    let detail = detail.unwrap_or_default();
    rows.append(&mut list(view, titles, all, &detail, room.saturating_sub(1)));
    rows
}
