//! Rules that are committed, confirmed, rolled back and compared, over the socket; and what a start
//! finds of them.

use std::net::IpAddr;

use tempfile::TempDir;
use weir_daemon::control::Found;
use weir_engine::packet::build::tcp;
use weir_engine::packet::tcp::flags;
use weir_shell::protocol::{
    Command, Commit, Cut, Done, Entry, Fate, Flush, History, Load, Reply, Rollback, Source,
    TableAction, TableChange, Terms, Version,
};

use crate::house::wait_for;
use crate::seat::{Client, Seat, done, load};

fn file(text: &str) -> Load {
    let sources = vec![Source { name: "test.conf".into(), text: text.into() }];
    Load { sources, ..Load::default() }
}

fn commit(text: &str, terms: Terms) -> Command {
    Command::Commit(Commit { load: file(text), terms })
}

fn confirmed(seconds: u32) -> Terms {
    Terms { confirm: Some(seconds), ..Terms::default() }
}

fn rollback(number: Option<u64>) -> Command {
    Command::Rollback(Rollback { number, terms: Terms::default() })
}

/// The note of an answer that went well.
fn note(reply: Reply) -> String {
    match reply {
        Reply::Done(Done { note, .. }) => note.unwrap_or_default(),
        other => panic!("{other:?}"),
    }
}

fn refused(reply: Reply) -> String {
    match reply {
        Reply::Error(text) => text,
        other => panic!("{other:?} is no error"),
    }
}

fn past(client: &mut Client) -> History {
    match client.ask(Command::History).swap_remove(0) {
        Reply::History(history) => history,
        other => panic!("{other:?}"),
    }
}

fn version(client: &mut Client, number: Option<u64>) -> Version {
    match client.ask(Command::RuleSet { number }).swap_remove(0) {
        Reply::RuleSet(version) => *version,
        other => panic!("{other:?}"),
    }
}

fn fates(client: &mut Client) -> Vec<(u64, Fate)> {
    past(client).entries.iter().map(|entry| (entry.number, entry.fate)).collect()
}

/// Another process on what a killed one has left.
fn restarted(seat: Seat) -> Seat {
    let directory = tempfile::tempdir().unwrap();
    let state = |directory: &TempDir| directory.path().join("state");
    std::fs::rename(state(&seat.directory), state(&directory)).unwrap();
    seat.running.stop();
    Seat::in_directory(directory)
}

#[test]
fn every_load_is_kept_with_who_made_it_and_why() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load("pass\n"));
    client.end(load("pass\n"));
    let terms = Terms { comment: "shut it".into(), force: true, ..Terms::default() };
    assert_eq!(note(client.end(commit("block\n", terms))), "kept as number 2");
    // What is wrong is not kept.
    assert!(matches!(client.end(load("pas\n")), Reply::Diagnostics(_)));
    let History { entries, damaged, confirm_within, rules_file } = past(&mut client);
    assert_eq!((damaged.len(), confirm_within), (0, None));
    assert_eq!(rules_file, "/etc/weir/weir.conf");
    let [first, second] = &entries[..] else { panic!("{entries:?}") };
    let uid = rustix::process::getuid().as_raw();
    assert_eq!((first.uid, &*first.what, &*first.comment), (Some(uid), "load test.conf", ""));
    assert_eq!((&*second.what, &*second.comment), ("commit test.conf", "shut it"));
    assert_eq!((second.number, second.rules, second.fate), (2, 1, Fate::Kept));
    assert!(!first.by.is_empty() && second.time >= first.time && first.time > 1_700_000_000);
    // All of it is there, and what it means.
    let Version { entry, loads, rules, refused } = version(&mut client, Some(1));
    assert_eq!(entry.map(|entry: Entry| entry.number), Some(1));
    assert_eq!((loads, refused), (vec![file("pass\n")], None));
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0].rules, ["pass all flags S/SA"]);
    let now = version(&mut client, None);
    assert_eq!((now.entry, &*now.rules[0].rules[0]), (None, "block drop all"));
    seat.running.stop();
}

#[test]
fn comments_and_times_have_bounds() {
    let seat = Seat::new();
    let mut client = seat.client();
    for terms in [
        Terms { comment: "two\nlines".into(), ..Terms::default() },
        Terms { comment: "x".repeat(1025), ..Terms::default() },
        confirmed(86_401),
        confirmed(0),
    ] {
        refused(client.end(commit("pass\n", terms)));
    }
    assert_eq!(client.rules(), [""; 0]);
    seat.running.stop();
}

#[test]
fn what_is_not_confirmed_in_time_is_undone() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load("pass\n"));
    let undone = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| seat.control.await_unconfirmed().unwrap());
        let said = note(client.end(commit("block\n", confirmed(1))));
        assert!(said.contains("UNDONE in 1 seconds"), "{said}");
        assert_eq!(client.rules(), ["block drop all"]);
        waiting.join().unwrap()
    });
    assert_eq!((undone.number, undone.loaded.rules), (2, 1));
    assert_eq!(client.rules(), ["pass all flags S/SA"]);
    assert_eq!(fates(&mut client), [(1, Fate::Kept), (2, Fate::Undone)]);
    assert_eq!(
        refused(client.end(Command::Confirm { number: None })),
        "nothing waits to be confirmed"
    );
    seat.running.stop();
}

#[test]
fn what_is_confirmed_holds() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load("pass\n"));
    client.end(commit("block\n", confirmed(300)));
    let left = past(&mut client).confirm_within.unwrap();
    assert!((200..=300).contains(&left), "{left}");
    assert_eq!(fates(&mut client), [(1, Fate::Kept), (2, Fate::Pending)]);
    // Nothing else changes the rules meanwhile.
    let flush = Flush::RulesIn { anchor: String::new(), recursive: false };
    for other in [
        load("pass in\n"),
        commit("pass in\n", Terms::default()),
        commit("pass in\n", confirmed(5)),
        rollback(Some(1)),
        Command::Flush(Flush::Options),
        Command::Flush(flush),
    ] {
        let said = refused(client.end(other));
        assert!(said.contains("change 2 waits to be confirmed"), "{said}");
    }
    let said = refused(client.end(Command::Confirm { number: Some(1) }));
    assert_eq!(said, "it is change 2 that waits to be confirmed");
    assert_eq!(client.end(Command::Confirm { number: Some(2) }), done(2));
    assert_eq!(past(&mut client).confirm_within, None);
    assert_eq!(fates(&mut client), [(1, Fate::Kept), (2, Fate::Kept)]);
    assert_eq!(client.end(load("pass in\n")), done(1));
    // The same again has nothing that could be undone.
    let said = note(client.end(commit("pass in\n", confirmed(1))));
    assert_eq!(said, "the same rules were in force before: nothing is changed");
    assert_eq!(past(&mut client).confirm_within, None);
    seat.running.stop();
}

#[test]
fn what_is_pending_is_rolled_back_first() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load("pass\n"));
    client.end(load("pass in\n"));
    client.end(commit("block\n", confirmed(300)));
    client.end(rollback(None));
    assert_eq!(client.rules(), ["pass in all flags S/SA"]);
    assert_eq!(fates(&mut client).last(), Some(&(3, Fate::Undone)));
    // Once more is once too often: whoever was a moment too late must not go back twice.
    let said = refused(client.end(rollback(None)));
    assert!(said.contains("change 3 is undone already"), "{said}");
    assert_eq!(client.rules(), ["pass in all flags S/SA"]);
    client.end(rollback(Some(1)));
    assert_eq!(client.rules(), ["pass all flags S/SA"]);
    // From there to what was in force before it, and back again.
    client.end(rollback(None));
    assert_eq!(client.rules(), ["pass in all flags S/SA"]);
    client.end(rollback(None));
    assert_eq!(client.rules(), ["pass all flags S/SA"]);
    client.end(rollback(None));
    assert_eq!(client.rules(), ["pass in all flags S/SA"]);
    // What was undone can be had by its number.
    client.end(rollback(Some(3)));
    assert_eq!(client.rules(), ["block drop all"]);
    assert!(refused(client.end(rollback(Some(77)))).contains("no load 77"));
    seat.running.stop();
}

fn add(name: &str, addresses: &[&str]) -> Command {
    Command::Table(TableChange {
        name: name.into(),
        anchor: String::new(),
        action: TableAction::Add,
        addresses: addresses.iter().map(ToString::to_string).collect(),
        dry_run: false,
        feedback: false,
    })
}

fn entries(client: &mut Client) -> u64 {
    match client.ask(Command::Tables { anchor: String::new(), recursive: false }).swap_remove(0) {
        Reply::Tables(tables) => tables.iter().map(|table| table.addresses).sum(),
        other => panic!("{other:?}"),
    }
}

/// Tables are part of a change, and come back as they were: also what no rule file can say.
#[test]
fn tables_are_undone_with_the_rules() {
    let seat = Seat::new();
    let mut client = seat.client();
    let rules = "table <t> persist { 192.0.2.1 }\npass from <t>\n";
    client.end(load(rules));
    client.end(add("t", &["192.0.2.2", "192.0.2.3"]));
    assert_eq!(entries(&mut client), 3);
    // The rules are the same, what they declare is not what is there by now.
    let said = note(client.end(commit(rules, confirmed(300))));
    assert!(said.contains("UNDONE in 300 seconds"), "{said}");
    assert_eq!(entries(&mut client), 1);
    client.end(rollback(None));
    assert_eq!(entries(&mut client), 3);
    // Less room than they take does not keep them from coming back.
    let less = "set limit table-entries 2\ntable <t> persist { 192.0.2.9 }\npass to <t>\n";
    client.end(commit(less, confirmed(300)));
    client.end(rollback(None));
    assert_eq!(
        (client.rules(), entries(&mut client)),
        (vec!["pass from <t> to any flags S/SA".into()], 3)
    );
    // Flushed rules leave what was there before the change, too.
    client.end(commit(less, confirmed(300)));
    client.end(Command::Flush(Flush::Rules));
    assert_eq!(entries(&mut client), 3);
    seat.running.stop();
}

/// Nobody changes rules which the start may still replace.
#[test]
fn nothing_changes_before_the_start_has_decided() {
    let seat = Seat::new();
    let mut client = seat.client();
    seat.control.begin_starting();
    for early in [load("pass\n"), commit("pass\n", confirmed(5)), Command::Flush(Flush::Rules)] {
        let said = refused(client.end(early));
        assert!(said.contains("not decided yet"), "{said}");
    }
    seat.control.end_starting();
    assert_eq!(client.end(load("pass\n")), done(1));
    seat.running.stop();
}

/// Blocking everything always works, and nothing opens it again by itself.
#[test]
fn flushed_rules_take_a_pending_change_back() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load("pass\n"));
    client.end(commit("pass in\n", confirmed(300)));
    assert_eq!(client.end(Command::Flush(Flush::Rules)), done(0));
    assert_eq!(client.info().status, "blocked");
    assert_eq!(past(&mut client).confirm_within, None);
    assert_eq!(fates(&mut client).last(), Some(&(2, Fate::Undone)));
    assert_eq!(
        refused(client.end(Command::Confirm { number: None })),
        "nothing waits to be confirmed"
    );
    seat.running.stop();
}

#[test]
fn a_start_undoes_what_was_never_confirmed() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load("pass\n"));
    client.end(commit("block\n", confirmed(86_400)));
    let again = restarted(seat);
    assert!(matches!(again.control.end_left_over(), Found::Pending(2)));
    assert_eq!(again.control.load_last_good().unwrap().number, Some(1));
    let mut client = again.client();
    assert_eq!(client.rules(), ["pass all flags S/SA"]);
    assert_eq!(fates(&mut client), [(1, Fate::Kept), (2, Fate::Undone)]);
    // The next start knows the file that holds what was undone, unless somebody has loaded it since.
    let next = restarted(again);
    assert!(matches!(next.control.end_left_over(), Found::Nothing));
    assert_eq!(next.control.was_undone(&file("block\n")), Some(2));
    assert_eq!(next.control.was_undone(&file("# as it was\nblock drop\n")), Some(2));
    assert_eq!(next.control.was_undone(&file("block in\n")), None);
    // What is kept since of something else does not make it any better.
    let into = Load { anchor: "web".into(), ..file("pass\n") };
    next.client().end(Command::Load(into));
    assert_eq!(next.control.was_undone(&file("block\n")), Some(2));
    next.client().end(load("block\n"));
    assert_eq!(next.control.was_undone(&file("block\n")), None);
    let last = restarted(next);
    assert!(matches!(last.control.end_left_over(), Found::Nothing));
    last.control.load_last_good().unwrap();
    assert_eq!(last.client().rules(), ["block drop all"]);
    last.running.stop();
}

#[test]
fn a_confirmed_change_survives_a_start() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load("pass\n"));
    client.end(commit("block\n", confirmed(300)));
    client.end(Command::Confirm { number: None });
    let again = restarted(seat);
    assert!(matches!(again.control.end_left_over(), Found::Nothing));
    again.control.load_last_good().unwrap();
    assert_eq!(again.client().rules(), ["block drop all"]);
    again.running.stop();
}

#[test]
fn a_damaged_last_good_one_gives_way_to_an_older() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load("pass\n"));
    client.end(load("block\n"));
    let newest = seat.directory.path().join("state/history/00000002.kept");
    let text = std::fs::read_to_string(&newest).unwrap();
    std::fs::write(&newest, text.replace("block", "black")).unwrap();
    let again = restarted(seat);
    let loaded = again.control.load_last_good().unwrap();
    assert_eq!(loaded.number, Some(1));
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("00000002.kept: damaged: "), "{:?}", loaded.warnings);
    assert_eq!(again.client().rules(), ["pass all flags S/SA"]);
    again.running.stop();
}

#[test]
fn a_change_that_cuts_too_much_has_to_be_forced() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load("pass\n"));
    // To port 53, from 1000 on.
    seat.make_states(20);
    wait_for("the states", || client.states().len() == 20);
    // Those that a flood of SYNs leaves behind are not counted.
    for port in 0..30 {
        let [from, to] = [[198, 51, 100, 7], [192, 0, 2, 100]].map(IpAddr::from);
        let (from, to) = ((from, 2000 + port), (to, 80));
        assert!(seat.running.house.lan.put(0, &tcp(from, to, flags::SYN).frame()));
    }
    wait_for("their states", || client.states().len() == 50);
    // Four of twenty are 20 %, which is not more than 20 %; five are.
    let four = "block\npass proto udp from any port >= 1004\n";
    assert_eq!(note(client.end(commit(four, Terms::default()))), "kept as number 2");
    // Chance cuts nobody off for good, nor does it save those whom it does not concern.
    let chance = "block\npass proto udp from any port >= 1003\n\
                  block proto udp from any port >= 1003 probability 50%\n";
    assert_eq!(note(client.end(commit(chance, Terms::default()))), "kept as number 3");
    let chance = "block\npass proto udp from any port >= 1005\nmatch proto udp probability 50%\n";
    let cut = Reply::Cut(Cut { states: 20, cut: 5, limit: 20 });
    assert_eq!(client.end(commit(chance, Terms::default())), cut);
    client.end(commit(four, Terms::default()));
    let five = "block\npass proto udp from any port >= 1005\n";
    assert_eq!(client.end(commit(five, Terms::default())), cut);
    assert_eq!(client.end(commit(five, confirmed(60))), cut);
    assert_eq!(client.rules().len(), 2);
    assert_eq!(fates(&mut client).len(), 4, "nothing was changed");
    assert_eq!(past(&mut client).confirm_within, None);
    // `-f` only warns, and states live on in any case.
    let said = note(client.end(load(five)));
    assert!(said.starts_with("5 of 20 live states (25 %) "), "{said}");
    assert_eq!(client.states().len(), 50);
    let forced = Terms { force: true, ..Terms::default() };
    let said = note(client.end(commit("block\n", forced)));
    assert!(said.starts_with("20 of 20 live states (100 %) "), "{said}");
    // By tables and tags as the rules see them; what a port passes unjudged is not cut.
    let tables = "table <them> { 192.0.2.0/24 }\nblock\npass in from <them>\npass out\n";
    client.end(commit(tables, Terms::default()));
    assert_eq!(client.rules().len(), 3);
    let skip = "set skip on { lan wan }\nblock\n";
    assert!(matches!(client.end(commit(skip, Terms::default())), Reply::Done(_)));
    seat.running.stop();
}

#[test]
fn a_directory_that_cannot_be_written_stops_no_load_but_one_to_be_confirmed() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load("pass\n"));
    let in_the_way = seat.directory.path().join("state/history/unfinished");
    std::fs::create_dir(&in_the_way).unwrap();
    let said = note(client.end(commit("pass in\n", Terms::default())));
    assert!(said.contains("COULD NOT BE KEPT"), "{said}");
    assert_eq!(client.rules(), ["pass in all flags S/SA"]);
    // Its undoing could not be promised.
    let said = refused(client.end(commit("pass out\n", confirmed(300))));
    assert!(said.starts_with("nothing was changed: "), "{said}");
    assert_eq!(client.rules(), ["pass in all flags S/SA"]);
    std::fs::remove_dir(&in_the_way).unwrap();
    client.end(commit("pass out\n", confirmed(300)));
    // What was in force, and could not be kept, is what a crash goes back to.
    assert_eq!(fates(&mut client), [(1, Fate::Kept), (2, Fate::Kept), (3, Fate::Pending)]);
    assert_eq!(past(&mut client).entries[1].what, "in force before");
    // Confirmed, and nothing can be noted: the rules hold, it is said, and can be tried again.
    let kept = seat.directory.path().join("state/history/00000003.kept");
    std::fs::create_dir(&kept).unwrap();
    let said = refused(client.end(Command::Confirm { number: None }));
    assert!(said.contains("COULD NOT BE NOTED"), "{said}");
    assert_eq!(past(&mut client).confirm_within, None);
    assert_eq!(client.rules(), ["pass out all flags S/SA"]);
    std::fs::remove_dir(&kept).unwrap();
    assert_eq!(client.end(Command::Confirm { number: Some(3) }), done(3));
    assert_eq!(fates(&mut client).last(), Some(&(3, Fate::Kept)));
    seat.running.stop();
}

/// Whoever waits for a deadline hears of an earlier one.
#[test]
fn an_undone_change_leaves_the_next_deadline_alone() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load("pass\n"));
    let undone = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| seat.control.await_unconfirmed().unwrap());
        client.end(commit("block\n", confirmed(86_400)));
        client.end(rollback(None));
        client.end(commit("block in\n", confirmed(1)));
        waiting.join().unwrap()
    });
    assert_eq!(undone.number, 3);
    assert_eq!(client.rules(), ["pass all flags S/SA"]);
    seat.running.stop();
}
