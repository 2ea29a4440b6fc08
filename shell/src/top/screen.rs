//! The screen as rows of text: a pure function of what is known and what is looked at.

use weir_config::names::protocol_text;

use super::format::{curve, cut, short, squeezed, time};
use super::lists;
use super::model::{Model, NamedRule, busiest, traffic};
use super::view::{Page, View};
use crate::protocol::{HostTally, Info, Interface, WorkerInfo};

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) text: String,
    pub(super) style: Style,
}

/// How a row stands out; terminals without colours know these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Bold,
    Reverse,
}

/// How much there is to draw on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
    /// Whether it shows more than ASCII.
    pub(super) unicode: bool,
}

/// Rows at the top and the bottom of every page.
const FRAME: usize = 3;

/// The whole screen.
pub(super) fn screen(model: &Model, view: &View, size: Size) -> Vec<Row> {
    let mut rows = vec![title(model, view)];
    let room = size.rows.saturating_sub(FRAME);
    let mut body = match view.page {
        Page::Overview => overview(model, size, room),
        Page::States => lists::states(model, view, size.columns, room),
        Page::Hosts => lists::hosts(model, view, room),
        Page::Rules => lists::rules(model, view, size.columns, room),
        Page::Reasons => lists::reasons(model, view, size.columns, room),
        Page::Help => help(),
    };
    body.resize(room, plain(String::new()));
    rows.append(&mut body);
    rows.push(bold(match (&view.asked, &view.told, &model.trouble) {
        (Some(asked), ..) => asked.line(),
        (None, Some(told), _) => told.clone(),
        (None, None, Some(trouble)) => trouble.clone(),
        (None, None, None) => String::new(),
    }));
    rows.push(Row { text: view.page.keys().to_owned(), style: Style::Reverse });
    for row in &mut rows {
        row.text = cut(&row.text, size.columns);
        if row.style == Style::Reverse {
            row.text = format!("{:<1$}", row.text, size.columns);
        }
    }
    rows
}

pub(super) fn plain(text: String) -> Row {
    Row { text, style: Style::Plain }
}

pub(super) fn bold(text: String) -> Row {
    Row { text, style: Style::Bold }
}

fn title(model: &Model, view: &View) -> Row {
    let text = match model.info.last() {
        None => "weir".to_owned(),
        Some(info) => {
            let open = match info.open_for {
                Some(left) => format!(" EVERYTHING PASSES for {}", time(left)),
                None => String::new(),
            };
            format!(
                "weir {} {}{open}  up {}  {}  states {}  half-open {}  sources {}",
                if view.frozen { "FROZEN" } else { &info.version },
                info.status,
                time(info.uptime),
                info.io,
                short(info.states),
                short(info.half_open),
                short(info.src_nodes)
            )
        }
    };
    Row { text, style: Style::Reverse }
}

fn overview(model: &Model, size: Size, room: usize) -> Vec<Row> {
    let mut rows = ports(model, size);
    let Some(info) = model.info.last() else { return rows };
    let rate = |counter: fn(&Info) -> u64| short(model.info.rate(counter));
    rows.push(plain(String::new()));
    rows.push(bold(format!(
        "STATES  made {}/s  ended {}/s  evicted {}/s  late {}/s",
        rate(|info| info.inserts),
        rate(|info| info.removals),
        rate(|info| info.evictions),
        rate(|info| info.late)
    )));
    let phases = model.tally.last().map_or(&[][..], |tally| &tally.phases);
    let phases = phases.iter().map(|phase| {
        let states = short(phase.states);
        format!("{} {} {states}", protocol_text(phase.protocol), phase.state)
    });
    rows.extend(packed(phases, size.columns, if room > 24 { 4 } else { 2 }));
    // What is below the two blocks.
    let mut below = vec![synproxy(model, info), limits(model)];
    below.extend(workers(model, info, room > 24));
    // Each has a heading, and an empty row above it.
    let left = room.saturating_sub(rows.len() + below.len() + 5) / 2;
    let half = size.columns.saturating_sub(2) / 2;
    let host = |hosts: &[HostTally]| hosts.iter().map(|host| host_line(host, half)).collect();
    let (sources, destinations) = model.tally.last().map_or((Vec::new(), Vec::new()), |tally| {
        (host(&tally.sources), host(&tally.destinations))
    });
    let heading = |name: &str| format!("states  bytes  {name}");
    rows.push(plain(String::new()));
    rows.push(bold(beside(&heading("SOURCES"), &heading("DESTINATIONS"), half)));
    rows.extend(blocks(&sources, &destinations, left, half));
    let busy: Vec<String> = busiest(&model.rules).into_iter().map(rule_line).collect();
    let dropped: Vec<String> = lists::by_rate(&model.info)
        .into_iter()
        .filter(|(reason, _)| reason.count > 0)
        .map(|(reason, rate)| {
            format!("{:>6} {:>6}  {}", short(rate), short(reason.count), reason.name)
        })
        .collect();
    rows.push(plain(String::new()));
    rows.push(bold(beside(" pkt/s   pkts  RULES", " pkt/s   pkts  DROPPED", half)));
    rows.extend(blocks(&busy, &dropped, left, half));
    rows.push(plain(String::new()));
    rows.append(&mut below);
    rows
}

/// The ports with their rates, and curves of what comes in and, where there is room, of what leaves.
fn ports(model: &Model, size: Size) -> Vec<Row> {
    /// What stands before the curves.
    const FIGURES: usize = 54;
    let room = size.columns.saturating_sub(FIGURES);
    let ways = if room > 80 { 2 } else { 1 };
    let width = (room / ways).saturating_sub(2);
    let headings = ["in, bit/s lately", "out, bit/s lately"];
    let headings: Vec<_> =
        headings[..ways].iter().map(|name| format!("{:<width$}", cut(name, width))).collect();
    let headings = headings.join("  ");
    let mut rows = vec![bold(format!(
        "{:<14} {:>6} {:>6} {:>7} {:>7} {:>9}  {headings}",
        "PORT", "in p/s", "bit/s", "out p/s", "bit/s", "blocked/s"
    ))];
    for (at, port) in model.ports.last().into_iter().flatten().enumerate() {
        let rate = |way: usize, what: usize, blocked: bool| {
            model.ports.rate(|ports: &Vec<Interface>| {
                let (all, stopped) = traffic(ports.get(at), way, what);
                if blocked { stopped } else { all }
            })
        };
        let curves = model.curves.get(at).into_iter().flatten().take(ways);
        // The latest is always in the same place.
        let curves: Vec<_> = curves
            .map(|values| format!("{:>width$}", curve(values.iter(), width, size.unicode)))
            .collect();
        let curves = curves.join("  ");
        rows.push(plain(format!(
            "{:<14} {:>6} {:>6} {:>7} {:>7} {:>9}  {curves}",
            cut(&format!("{} {}", port.role, port.name), 14),
            short(rate(0, 0, false)),
            short(rate(0, 1, false).saturating_mul(8)),
            short(rate(1, 0, false)),
            short(rate(1, 1, false).saturating_mul(8)),
            short(rate(0, 0, true).saturating_add(rate(1, 0, true)))
        )));
    }
    rows
}

fn synproxy(model: &Model, info: &Info) -> Row {
    let rate = |counter: fn(&Info) -> u64| short(model.info.rate(counter));
    let active = if info.syncookies.active { "active" } else { "inactive" };
    plain(format!(
        "SYNPROXY {active}  sent {}/s  valid {}/s  invalid {}/s  expired {}/s  refused {}/s",
        rate(|info| info.syncookies.sent),
        rate(|info| info.syncookies.valid),
        rate(|info| info.syncookies.invalid),
        rate(|info| info.syncookies.expired),
        rate(|info| info.syncookies.refused)
    ))
}

/// What limits of rules, and `overload` after them, have refused.
fn limits(model: &Model) -> Row {
    let refused = |rules: &Vec<NamedRule>| {
        rules.iter().flat_map(|named| named.rule.refused.values()).sum::<u64>()
    };
    let all = model.rules.last().map_or(0, refused);
    let sources = model.info.last().map_or(0, |info| info.src_nodes);
    plain(format!(
        "LIMITS   refused {}/s, {} in all  sources tracked {}",
        short(model.rules.rate(refused)),
        short(all),
        short(sources)
    ))
}

/// How busy the workers are: in a row, or each in one of its own.
fn workers(model: &Model, info: &Info, tall: bool) -> Vec<Row> {
    let rate = |at: usize, counter: fn(&WorkerInfo) -> u64| {
        model.info.rate(|info| info.workers.get(at).map_or(0, counter))
    };
    // Nanoseconds a second.
    let busy = |at: usize| format!("{}%", (rate(at, |worker| worker.busy) / 10_000_000).min(100));
    if !tall {
        let all = |counter: fn(&WorkerInfo) -> u64| {
            short((0..info.workers.len()).map(|at| rate(at, counter)).sum())
        };
        let each = info.workers.iter().enumerate();
        let each: Vec<_> =
            each.map(|(at, worker)| format!("{}:{}", worker.worker, busy(at))).collect();
        return vec![plain(format!(
            "WORKERS  frames {}/s  handed over {}/s  held {}/s  busy {}",
            all(|worker| worker.frames),
            all(|worker| worker.handed_over),
            all(|worker| worker.back_pressure),
            each.join(" ")
        ))];
    }
    let mut rows = vec![bold(format!(
        "{:<8} {:>4} {:>5} {:>9} {:>8} {:>13} {:>7}",
        "WORKERS", "cpu", "busy", "frames/s", "states", "handed over/s", "held/s"
    ))];
    rows.extend(info.workers.iter().enumerate().map(|(at, worker)| {
        plain(format!(
            "{:>8} {:>4} {:>5} {:>9} {:>8} {:>13} {:>7}",
            worker.worker,
            worker.cpu.map_or_else(|| "-".into(), |cpu| cpu.to_string()),
            busy(at),
            short(rate(at, |worker| worker.frames)),
            short(worker.states),
            short(rate(at, |worker| worker.handed_over)),
            short(rate(at, |worker| worker.back_pressure))
        ))
    }));
    rows
}

/// Texts side by side in as few rows as they need, `most` at most.
fn packed(texts: impl Iterator<Item = String>, columns: usize, most: usize) -> Vec<Row> {
    let mut rows: Vec<String> = Vec::new();
    for text in texts {
        let is_last = rows.len() == most;
        match rows.last_mut() {
            Some(row) if row.chars().count() + 3 + text.chars().count() <= columns => {
                row.push_str(" | ");
                row.push_str(&text);
            }
            _ if is_last => break,
            _ => rows.push(text),
        }
    }
    rows.into_iter().map(plain).collect()
}

fn beside(left: &str, right: &str, half: usize) -> String {
    format!("{:<half$}  {}", cut(left, half), cut(right, half))
}

fn blocks(left: &[String], right: &[String], rows: usize, half: usize) -> Vec<Row> {
    let of = |texts: &[String], at: usize| texts.get(at).cloned().unwrap_or_default();
    (0..rows).map(|at| plain(beside(&of(left, at), &of(right, at), half))).collect()
}

fn host_line(host: &HostTally, columns: usize) -> String {
    let address = squeezed(&host.address.to_string(), columns.saturating_sub(15));
    format!("{:>6} {:>6}  {address}", short(host.states), short(host.bytes))
}

fn rule_line((named, rate, _): (&NamedRule, u64, u64)) -> String {
    let packets = named.rule.packets.iter().sum();
    format!("{:>6} {:>6}  {}", short(rate), short(packets), lists::called(named))
}

fn help() -> Vec<Row> {
    super::view::HELP.lines().map(|line| plain(line.to_owned())).collect()
}
