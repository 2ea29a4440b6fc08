//! The screens of a busy bridge, row by row.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::model::{Counted, Model, NamedRule};
use super::screen::{Size, screen};
use super::view::{Page, View};
use super::{Options, parse};
use crate::console::keys::Key;
use crate::protocol::Rule;

fn both<T>(of: impl Fn(u64) -> T, at: u64, when: impl Fn(u64) -> Instant) -> Counted<T> {
    let (before, now) = ((when(at), of(at)), (when(at + 2), of(at + 2)));
    Counted { before: Some(before), now: Some(now), ..Counted::default() }
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("as the daemon writes it")
}

/// Counters at second `at` of a bridge that is busy at a constant rate.
fn model(at: u64) -> Model {
    let begin = Instant::now();
    let counted = |second: u64| begin + Duration::from_secs(second);
    let info = |at: u64| {
        read(json!({
            "version": "0.1.0", "status": "enabled", "uptime": 93_784, "io": "xdp", "states": 1234,
            "half_open": 12, "searches": 0, "inserts": 50 * at, "removals": 40 * at, "evictions": 0,
            "src_nodes": 4, "reflected": 0, "unfiltered": 0, "frames": 0, "handed_over": 0,
            "log_lost": 0,
            "syncookies": {"mode": "always", "active": true, "sent": 900 * at, "resent": 0,
                "valid": 0, "invalid": 0, "expired": 0, "surplus": 0, "refused": 0, "silent": 0,
                "lacking": 0},
            "reasons": [
                {"name": "block-rule", "count": 7 * at, "description": "A block rule matched."},
                {"name": "no-state", "count": 3, "description": "No state."},
                {"name": "short", "count": 0, "description": "Too short."}],
            "workers": [{"worker": 0, "cpu": 2, "states": 1234, "frames": 1_500_000 * at,
                "handed_over": 0, "back_pressure": 0, "busy": 420_000_000 * at}]
        }))
    };
    let ports = |at: u64| {
        let none = json!({"passed": [0, 0], "blocked": [0, 0]});
        let port = |role: &str, name: &str| {
            json!({"role": role, "name": name, "io": "xdp", "skip": false, "cleared": 0,
                "traffic": [{"passed": [1000 * at, 125_000 * at], "blocked": [7 * at, 0]},
                    {"passed": [500 * at, 0], "blocked": [0, 0]}, none, none, none, none],
                "device": {"received": 0, "transmitted": 0, "malformed": 0, "unsendable": 0,
                    "missed": 0, "transmit_full": 0, "pool_empty": 0}})
        };
        read(json!([port("lan", "enp1s0"), port("wan", "enp2s0")]))
    };
    let rules = |at: u64| {
        let rule = |number: u32, text: &str, packets: u64| NamedRule {
            name: number.to_string(),
            rule: Rule { number, text: text.into(), packets: [packets, 0], ..Rule::default() },
        };
        vec![rule(0, "block drop in all", 7 * at), rule(1, "pass in on lan all", 1000 * at)]
    };
    let tally = |_| {
        let hosts: Vec<Value> = (1..60)
            .map(|n| {
                let address = format!("2001:db8:1234:5678:9abc:def0:1234:{n:x}");
                json!({"address": address, "states": 100 - n, "packets": 5, "bytes": 1_000_000})
            })
            .collect();
        read(json!({"states": 1234, "estimated": false, "sources": hosts, "destinations": hosts,
            "phases": [
                {"protocol": 6, "state": "ESTABLISHED:ESTABLISHED", "states": 1000},
                {"protocol": 17, "state": "MULTIPLE:MULTIPLE", "states": 200},
                {"protocol": 6, "state": "FIN_WAIT_2:FIN_WAIT_2", "states": 34}]}))
    };
    let states = |_| {
        let peer = |state: &str| json!({"state": state, "seq_lo": 0, "seq_hi": 0, "wscale": null});
        let state = |n: u32| {
            json!({"id": format!("{n:016x}"), "worker": 0, "port": "lan", "protocol": 6,
                "source": format!("192.0.2.{n}"), "source_port": 40_000 + n,
                "destination": "2001:db8:1234:5678:9abc:def0:1234:1", "destination_port": 443,
                "peers": [peer("ESTABLISHED"), peer("SYN_SENT")], "age": 10, "idle": 3700,
                "expires": 1, "packets": [1, 2], "bytes": [50_000, 50_000], "rules": [1, null]})
        };
        read(Value::Array((0..100).map(state).collect()))
    };
    Model {
        info: both(info, at, counted),
        ports: both(ports, at, counted),
        rules: both(rules, at, counted),
        tally: both(tally, at, counted),
        states: both(states, at, counted),
        curves: vec![[[0, 1, 4, 8].into(), [0].into()], [[8].into(), [0].into()]],
        trouble: None,
    }
}

const SERIAL: Size = Size { columns: 80, rows: 24, unicode: false };
const WINDOW: Size = Size { columns: 200, rows: 50, unicode: true };

fn text(model: &Model, view: &View, size: Size) -> String {
    let rows = screen(model, view, size);
    assert_eq!(rows.len(), size.rows);
    for row in &rows {
        assert!(row.text.chars().count() <= size.columns, "{}", row.text);
        assert!(size.unicode || row.text.is_ascii(), "{}", row.text);
    }
    rows.into_iter().map(|row| row.text + "\n").collect()
}

#[test]
fn the_overview_has_everything_on_a_serial_console() {
    let shown = text(&model(10), &View::default(), SERIAL);
    for part in [
        "weir 0.1.0 enabled  up 1d02h  xdp  states 1.2k  half-open 12  sources 4",
        "lan enp1s0       1.0k   1.0M     500       0         7                       .=@",
        "STATES  made 50/s  ended 40/s",
        "tcp ESTABLISHED:ESTABLISHED 1.0k | udp MULTIPLE:MULTIPLE 200",
        "SOURCES",
        "DESTINATIONS",
        "    99   1.0M  2001:db8:12..def0:1234:1",
        "  1.0k  12.0k  @1 pass in on lan all",
        "     7     84  block-rule",
        "SYNPROXY active  sent 900/s",
        "LIMITS   refused 0/s",
        "WORKERS  frames 1.5M/s  handed over 0/s  held 0/s  busy 0:42%",
        "q quit",
    ] {
        assert!(shown.contains(part), "no {part:?} in:\n{shown}");
    }
    assert!(!shown.contains("short "), "what was never dropped is not there:\n{shown}");
}

#[test]
fn every_page_fits_every_screen() {
    let model = model(10);
    let tiny = Size { columns: 20, rows: 4, unicode: false };
    for size in [SERIAL, WINDOW, tiny] {
        for page in
            [Page::Overview, Page::States, Page::Hosts, Page::Rules, Page::Reasons, Page::Help]
        {
            for selected in [0, 30, 99] {
                let view = View { page, selected, ..View::default() };
                text(&model, &view, size);
                text(&Model::default(), &view, size);
            }
        }
    }
}

#[test]
fn lists_show_the_chosen_row() {
    let model = model(10);
    let view = View { page: Page::States, selected: 99, ..View::default() };
    let shown = text(&model, &view, SERIAL);
    assert!(
        shown.contains(">tcp  192.0.2.99:40099      2001:db8:1..34:1[443] SYN-S:ESTAB "),
        "{shown}"
    );
    assert!(shown.contains("1h01m  100k 10.0k"), "{shown}");
    // What is cut in the row stands below in full.
    assert!(
        shown.contains(
            "lan tcp 2001:db8:1234:5678:9abc:def0:1234:1[443] <- 192.0.2.99:40099\n\
             SYN_SENT:ESTABLISHED, age 10s, expires in 1s, 1:2 pkts, 50000:50000 bytes, rule\n"
        ),
        "{shown}"
    );
    let shown = text(&model, &view, WINDOW);
    assert!(
        shown.contains(" SYN_SENT:ESTABLISHED     1h01m  100k 10.0k    10s      3     @1"),
        "{shown}"
    );
    let mut view = View { page: Page::Rules, ..View::default() };
    for key in [Key::Letter('/'), Key::Letter('l'), Key::Letter('a'), Key::Letter('n'), Key::Enter]
    {
        view.key(key, 10);
    }
    let shown = text(&model, &view, SERIAL);
    assert!(shown.contains("@1 pass in on lan") && !shown.contains("block drop"), "{shown}");
    let view = View { page: Page::Reasons, ..View::default() };
    let shown = text(&model, &view, SERIAL);
    assert!(
        shown.contains(">     7     84  block-rule             A block rule matched."),
        "{shown}"
    );
}

#[test]
fn arguments_are_few() {
    let read = |line: &str| parse(line.split_whitespace().map(Into::into));
    let options = read("--socket /s -s 5").unwrap().unwrap();
    assert_eq!(options, Options { socket: "/s".into(), interval: Duration::from_secs(5) });
    assert_eq!(read("-h"), Ok(None));
    for line in ["-s 0", "-s 61", "-s", "-s x", "--nosuch"] {
        assert!(read(line).is_err(), "{line}");
    }
}
