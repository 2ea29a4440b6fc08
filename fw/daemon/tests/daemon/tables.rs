//! Tables behind the control socket, with frames that meet them.

use std::sync::Arc;

use weir_shell::protocol::{
    Command, Feedback, Flush, Load, Reply, Source, Table, TableAction, TableChange, TableEntry,
    TableOutcome,
};

use crate::house::{Arrivals, datagram, wait_for};
use crate::seat::{Client, Seat, load};

fn change(name: &str, action: TableAction, addresses: &[&str]) -> TableChange {
    TableChange {
        name: name.into(),
        anchor: String::new(),
        action,
        addresses: addresses.iter().map(|&address| address.into()).collect(),
        dry_run: false,
        feedback: false,
    }
}

/// Carries out a change that is not refused.
fn carry_out(client: &mut Client, change: TableChange) -> TableOutcome {
    match client.ask(Command::Table(change)).swap_remove(0) {
        Reply::TableOutcome(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

fn add(client: &mut Client, name: &str, addresses: &[&str]) -> u64 {
    carry_out(client, change(name, TableAction::Add, addresses)).added
}

fn refusal(client: &mut Client, command: Command) -> String {
    match client.end(command) {
        Reply::Error(text) => text,
        Reply::Diagnostics(list) => list.to_string(),
        other => panic!("{other:?} is no refusal"),
    }
}

fn tables(client: &mut Client, anchor: &str, recursive: bool) -> Vec<Table> {
    match client.ask(Command::Tables { anchor: anchor.into(), recursive }).swap_remove(0) {
        Reply::Tables(tables) => tables,
        other => panic!("{other:?}"),
    }
}

fn names(client: &mut Client) -> Vec<String> {
    let all = tables(client, "", true).into_iter().filter(|table| table.active);
    all.map(|table| format!("{}/{}", table.anchor, table.name)).collect()
}

fn entries(client: &mut Client, anchor: &str, name: &str) -> Vec<TableEntry> {
    let command = Command::TableEntries { anchor: anchor.into(), name: name.into() };
    let listed = client.ask(command).into_iter().filter_map(|reply| match reply {
        Reply::TableEntries(entries) => Some(entries),
        _ => None,
    });
    listed.flatten().collect()
}

fn addresses(client: &mut Client, name: &str) -> Vec<String> {
    entries(client, "", name).into_iter().map(|entry| entry.address).collect()
}

/// How many of ten datagrams, each of a flow of its own from 192.0.2.0 on, come through. An eleventh
/// that comes through in any case shows that they have all been judged.
fn passed(seat: &Seat, number: u16) -> usize {
    let mut there = Arrivals::default();
    let house = &seat.running.house;
    for flow in 0..10 {
        assert!(house.lan.put(0, &datagram(flow, number)));
    }
    // Each worker judges in order: some of these are behind the ten.
    for flow in 50..90 {
        assert!(house.lan.put(0, &datagram(flow, number)));
    }
    wait_for("what no table holds", || {
        there.take(&house.wan, 2);
        (50..90).all(|flow| there.flows.contains_key(&flow))
    });
    (0..10).filter(|flow| there.flows.contains_key(flow)).count()
}

const RULES: &str = "\
table <bad> persist counters { 192.0.2.0/30 !192.0.2.1 }
block all
pass no state
block quick from <bad>
";

#[test]
fn changes_reach_the_frames() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load(RULES));
    assert_eq!(passed(&seat, 0), 7, "0, 2 and 3 are bad");
    assert_eq!(add(&mut client, "bad", &["192.0.2.8/29", "192.0.2.2"]), 2);
    assert_eq!(passed(&seat, 1), 5, "and 8 and 9");
    let delete = change("bad", TableAction::Delete, &["192.0.2.0/30"]);
    assert_eq!(carry_out(&mut client, delete).deleted, 1);
    assert_eq!(passed(&seat, 2), 7, "2, 8 and 9 are left");
    let replace = change("bad", TableAction::Replace, &["192.0.2.5", "192.0.2.2"]);
    let outcome = carry_out(&mut client, replace);
    assert_eq!((outcome.added, outcome.deleted, outcome.changed), (1, 2, 0));
    assert_eq!(passed(&seat, 3), 8);

    // Counted by both workers, over all that has happened to the others.
    let listed = entries(&mut client, "", "bad");
    let blocked = |address: &str| {
        let entry = listed.iter().find(|entry| entry.address == address).expect("it is listed");
        entry.traffic.expect("the table counts")[0][0][0]
    };
    assert_eq!((blocked("192.0.2.2"), blocked("192.0.2.5")), (3, 1));
    let table = &tables(&mut client, "", false)[0];
    assert_eq!((table.addresses, table.rules, table.anchors), (2, 1, 0));
    assert_eq!(table.traffic[0][0][0], 3 + 5 + 3 + 2);
    assert!(table.evaluations[0] > 0 && table.evaluations[1] >= 13, "{table:?}");

    assert_eq!(carry_out(&mut client, change("bad", TableAction::Zero, &[])).cleared, 1);
    let table = &tables(&mut client, "", false)[0];
    assert_eq!((table.evaluations, table.traffic[0][0]), ([0, 0], [0, 0]));
    assert_eq!(entries(&mut client, "", "bad")[0].traffic, Some([[[0, 0]; 3]; 2]));
    assert_eq!(carry_out(&mut client, change("bad", TableAction::Flush, &[])).deleted, 2);
    assert_eq!(passed(&seat, 4), 10);
    seat.running.stop();
}

#[test]
fn names_that_would_forge_a_line_of_the_log_are_refused() {
    let seat = Seat::new();
    let mut client = seat.client();
    let forged = "x\n2026-11-22 WARN user 0 flushed the rules";
    let add = TableChange { anchor: forged.into(), ..change("t", TableAction::Add, &[]) };
    refusal(&mut client, Command::Table(add));
    refusal(&mut client, Command::Flush(Flush::Tables { anchor: forged.into(), recursive: false }));
    for name in [forged.to_owned(), "x".repeat(5000)] {
        let sources = vec![Source { name, text: "pass\n".into() }];
        let text = refusal(&mut client, Command::Load(Load { sources, ..Load::default() }));
        assert!(text.starts_with("the name of a file is at most 4096 bytes"), "{text}");
    }
    seat.running.stop();
}

#[test]
fn an_address_expires_by_itself() {
    let seat = Seat::new();
    let control = Arc::clone(&seat.control);
    // Lives as long as the test's process.
    std::thread::spawn(move || control.sweep_tables());
    let mut client = seat.client();
    client.end(load("table <bad>\npass no state\nblock quick from <bad>\n"));
    add(&mut client, "bad", &["192.0.2.1 timeout 1", "192.0.2.2 timeout 1h"]);
    let listed = entries(&mut client, "", "bad");
    let left = listed[1].expires.expect("it expires");
    assert!((3590..=3600).contains(&left), "{left}");
    wait_for("the second", || addresses(&mut client, "bad") == ["192.0.2.2"]);
    assert_eq!(passed(&seat, 0), 9);
    wait_for("the sweep", || tables(&mut client, "", false)[0].addresses == 1);
    assert_eq!(passed(&seat, 1), 9);
    seat.running.stop();
}

#[test]
fn loads_replace_what_they_declare_and_keep_the_rest() {
    let seat = Seat::new();
    let mut client = seat.client();
    let rules = "table <a> counters { 192.0.2.1 192.0.2.2 }\ntable <b>\ntable <c> persist\n\
                 table <unused> { 192.0.2.9 }\npass no state\n\
                 block quick from <a>\nblock quick from <b>\nblock quick from <undeclared>\n";
    client.end(load(rules));
    assert_eq!(names(&mut client), ["/a", "/b", "/c"], "what nobody names or keeps is not there");
    for (name, address) in [("a", "192.0.2.3"), ("b", "192.0.2.4"), ("c", "192.0.2.5")] {
        assert_eq!(add(&mut client, name, &[address]), 1, "{name}");
    }
    assert_eq!(passed(&seat, 0), 6);
    let created = carry_out(&mut client, change("undeclared", TableAction::Add, &["192.0.2.5"]));
    assert!(created.created);
    assert_eq!(passed(&seat, 1), 5);
    // The same file again: as it says, and what it does not say stays.
    client.end(load(rules));
    assert_eq!(addresses(&mut client, "a"), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(addresses(&mut client, "b"), ["192.0.2.4"]);
    assert_eq!(addresses(&mut client, "undeclared"), ["192.0.2.5"]);
    assert_eq!(passed(&seat, 2), 6);
    let counted = entries(&mut client, "", "a")[0].traffic.expect("it counts");
    assert_eq!(counted[0][0][0], 3, "over the load");
    // Without the rules only what persists is left.
    client.end(load("pass no state\n"));
    assert_eq!(names(&mut client), ["/c", "/undeclared"]);
    assert_eq!(addresses(&mut client, "c"), ["192.0.2.5"]);
    // A load that fails changes no table.
    let too_many = "set limit table-entries 2\ntable <c> persist { 192.0.2.7 192.0.2.8 192.0.2.9 }\n\
                    pass no state\nblock quick from <c>\n";
    let text = refusal(&mut client, load(too_many));
    assert!(text.contains("set limit table-entries"), "{text}");
    assert_eq!(addresses(&mut client, "c"), ["192.0.2.5"]);
    assert_eq!(passed(&seat, 3), 10);
    seat.running.stop();
}

#[test]
fn tables_of_anchors_are_their_own() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load(
        "table <bad> { 192.0.2.1 }\npass no state\nblock quick from <bad>\nanchor \"web\"\n",
    ));
    let sources = vec![Source {
        name: "web.conf".into(),
        text: "table <bad> { 192.0.2.2 192.0.2.3 }\nblock quick from <bad>\n".into(),
    }];
    let reply =
        client.end(Command::Load(Load { sources, anchor: "web".into(), ..Load::default() }));
    assert!(matches!(reply, Reply::Done(_)), "{reply:?}");
    assert_eq!(names(&mut client), ["/bad", "web/bad"]);
    assert_eq!(passed(&seat, 0), 7);
    // Loading the anchor leaves what was done to the main rules' table, and the other way round.
    add(&mut client, "bad", &["192.0.2.4"]);
    let mut in_anchor = change("bad", TableAction::Add, &["192.0.2.5"]);
    in_anchor.anchor = "web".into();
    assert_eq!(carry_out(&mut client, in_anchor).added, 1);
    assert_eq!(passed(&seat, 1), 5);
    let sources = vec![Source {
        name: "web.conf".into(),
        text: "table <bad>\nblock quick from <bad>\n".into(),
    }];
    client.end(Command::Load(Load { sources, anchor: "web".into(), ..Load::default() }));
    assert_eq!(addresses(&mut client, "bad"), ["192.0.2.1", "192.0.2.4"]);
    assert_eq!(entries(&mut client, "web", "bad").len(), 3);
    assert_eq!(passed(&seat, 2), 5);
    let flush = Command::Flush(Flush::Tables { anchor: "web".into(), recursive: false });
    assert!(matches!(client.end(flush), Reply::Done(done) if done.count == 1));
    assert_eq!(names(&mut client), ["/bad"]);
    assert_eq!(passed(&seat, 3), 8);
    seat.running.stop();
}

#[test]
fn what_cannot_be_done_is_refused_and_changes_nothing() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load(
        "set limit { tables 3, table-entries 4 }\ntable <fixed> const { 192.0.2.1 }\n\
         pass no state\nblock quick from <fixed>\n",
    ));
    let table = |change| Command::Table(change);
    for action in [TableAction::Add, TableAction::Delete, TableAction::Replace, TableAction::Flush]
    {
        let text = refusal(&mut client, table(change("fixed", action, &[])));
        assert!(text.contains("<fixed> is const"), "{text}");
    }
    for action in [TableAction::Delete, TableAction::Test, TableAction::Zero, TableAction::Kill] {
        let text = refusal(&mut client, table(change("nosuch", action, &[])));
        assert_eq!(text, "Table does not exist.", "{action:?}");
    }
    let none = Command::TableEntries { anchor: String::new(), name: "nosuch".into() };
    assert_eq!(refusal(&mut client, none), "Table does not exist.");
    for (name, address, told) in [
        ("a", "192.0.2.1/33", "192.0.2.1/33"),
        ("a", "x.example", "x.example"),
        ("a", "192.0.2.1 timeout", "timeout"),
        ("a b", "192.0.2.1", "not the name of a table"),
        ("", "192.0.2.1", "not the name of a table"),
        ("abcdefghijklmnopqrstuvwxyzabcdef", "192.0.2.1", "not the name of a table"),
    ] {
        let text = refusal(&mut client, table(change(name, TableAction::Add, &[address])));
        assert!(text.contains(told), "{text}");
    }
    let three = ["192.0.2.2", "192.0.2.3", "192.0.2.4"];
    assert_eq!(add(&mut client, "a", &three), 3);
    let text = refusal(&mut client, table(change("a", TableAction::Add, &["192.0.2.5"])));
    assert!(text.contains("set limit table-entries"), "{text}");
    assert_eq!(add(&mut client, "b", &[]), 0);
    let text = refusal(&mut client, table(change("c", TableAction::Add, &[])));
    assert!(text.contains("set limit tables"), "{text}");
    let text = refusal(&mut client, table(change("a", TableAction::Test, &["192.0.2.0/24"])));
    assert!(text.contains("only addresses can be tested"), "{text}");
    assert_eq!(names(&mut client), ["/a", "/b", "/fixed"]);
    assert_eq!(addresses(&mut client, "a"), three);
    // Killed: the rule stays and finds nothing.
    assert_eq!(passed(&seat, 0), 9);
    carry_out(&mut client, change("fixed", TableAction::Kill, &[]));
    assert_eq!(passed(&seat, 1), 10);
    seat.running.stop();
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let seat = Seat::new();
    let mut client = seat.client();
    client
        .end(load("table <bad> { 192.0.2.1 !192.0.2.2 }\npass no state\nblock quick from <bad>\n"));
    let mut dry = change("bad", TableAction::Add, &["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    (dry.dry_run, dry.feedback) = (true, true);
    let replies = client.ask(Command::Table(dry));
    let Reply::TableOutcome(outcome) = &replies[0] else { panic!("{replies:?}") };
    assert_eq!((outcome.added, outcome.addresses), (1, 3));
    let Reply::TableFeedback(told) = &replies[1] else { panic!("{replies:?}") };
    let told: Vec<_> = told.iter().map(|told| (told.address.as_str(), told.feedback)).collect();
    assert_eq!(
        told,
        [
            ("192.0.2.1", Feedback::None),
            ("192.0.2.2", Feedback::Conflict),
            ("192.0.2.3", Feedback::Added)
        ]
    );
    let mut dry = change("new", TableAction::Replace, &["192.0.2.1"]);
    dry.dry_run = true;
    assert!(carry_out(&mut client, dry).created);
    assert_eq!(names(&mut client), ["/bad"]);
    assert_eq!(addresses(&mut client, "bad"), ["192.0.2.1", "!192.0.2.2"]);
    let mut test = change("bad", TableAction::Test, &["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    test.feedback = true;
    let replies = client.ask(Command::Table(test));
    let Reply::TableFeedback(told) = &replies[1] else { panic!("{replies:?}") };
    let told: Vec<_> = told.iter().map(|told| (told.feedback, told.entry.as_deref())).collect();
    assert_eq!(
        told,
        [
            (Feedback::Match, Some("192.0.2.1")),
            (Feedback::NotMatch, Some("!192.0.2.2")),
            (Feedback::None, None)
        ]
    );
    assert_eq!(passed(&seat, 0), 9);
    seat.running.stop();
}
