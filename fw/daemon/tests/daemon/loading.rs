//! Rule sets put in force: anchors and parts of files over the socket, what is kept, workers that do
//! not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use weir_daemon::control::{Change, Control, Parts};
use weir_daemon::history::Author;
use weir_daemon::mailbox::Letter;
use weir_daemon::rules::Programs;
use weir_hw::Kind;
use weir_shell::protocol::{
    Command, Done, Flush, Kill, Load, Part, Reply, RuleListing, Source, StateCriterion,
};

use crate::house::{Arrivals, House, datagram, names, wait_for};
use crate::seat::{Client, Seat, done, history, load};

/// Queries from the LAN pass in an anchor without a name, answers leave by the last rule.
const OFFICE: &str = "block
anchor \"web\"
anchor \"guests/*\"
anchor in on lan {
\tpass in proto udp to port 53 label dns
}
pass out
";

fn source(name: &str, text: &str) -> Source {
    Source { name: name.into(), text: text.into() }
}

/// `-a anchor -f`.
fn into_anchor(anchor: &str, text: &str) -> Command {
    let sources = vec![source("anchor.conf", text)];
    Command::Load(Load { sources, anchor: anchor.into(), ..Load::default() })
}

fn part(part: Part, text: &str) -> Command {
    Command::Load(Load { sources: vec![source("part.conf", text)], part, ..Load::default() })
}

fn anchors(client: &mut Client) -> Vec<String> {
    match client.ask(Command::Anchors).swap_remove(0) {
        Reply::Anchors(paths) => paths,
        other => panic!("{other:?}"),
    }
}

fn texts(listing: &RuleListing) -> Vec<&str> {
    listing.rules.iter().map(|rule| &*rule.text).collect()
}

/// The texts of an anchor's rules.
fn within(client: &mut Client, anchor: &str) -> Vec<String> {
    texts(&client.listing(anchor, false)).into_iter().map(Into::into).collect()
}

fn refused(reply: Reply) -> String {
    match reply {
        Reply::Error(text) => text,
        Reply::Diagnostics(found) => found.to_string(),
        other => panic!("{other:?} is no refusal"),
    }
}

#[test]
fn anchors_are_loaded_listed_and_flushed_by_themselves() {
    let seat = Seat::new();
    let mut client = seat.client();
    assert_eq!(client.end(load(OFFICE)), done(6));
    assert_eq!(anchors(&mut client), ["_1", "guests", "web"]);
    assert_eq!(within(&mut client, "web"), [""; 0], "called, and empty");
    assert_eq!(client.end(into_anchor("web", "pass in proto tcp to port 80\npass out\n")), done(8));
    assert_eq!(client.end(into_anchor("guests/ann", "pass in proto tcp to port 22\n")), done(9));
    assert_eq!(anchors(&mut client), ["_1", "guests", "guests/ann", "web"]);
    let web = ["pass in proto tcp from any to any port = 80 flags S/SA", "pass out all flags S/SA"];
    assert_eq!(within(&mut client, "web"), web);
    // The main listing has the bodies that have no name, with a star all.
    let main = client.listing("", false);
    assert_eq!(main.origin.as_deref(), Some("test.conf"));
    let bodies: Vec<_> = main.nested.iter().map(|set| &*set.anchor).collect();
    assert_eq!(bodies, ["_1"]);
    assert_eq!(main.rules[3].call.as_ref().unwrap().path, "_1");
    let guests = main.rules[2].call.as_ref().unwrap();
    assert_eq!((&*guests.path, guests.wildcard), ("guests", true));
    let all = client.listing("", true);
    let bodies: Vec<_> = all.nested.iter().map(|set| &*set.anchor).collect();
    assert_eq!(bodies, ["_1", "guests", "guests/ann", "web"]);
    assert_eq!(all.nested[3].origin.as_deref(), Some("anchor.conf"));
    assert_eq!(texts(&all.nested[3]), web);
    // Replacing one leaves the others alone.
    assert_eq!(client.end(into_anchor("web", "block in\n")), done(8));
    assert_eq!(within(&mut client, "web"), ["block drop in all"]);
    assert_eq!(within(&mut client, "guests/ann").len(), 1);
    // An error changes nothing, and the anchor's place is told.
    let text = refused(client.end(into_anchor("web", "pas\n")));
    assert!(text.starts_with("anchor.conf:1:1: "), "{text}");
    for bad in ["/", "/a", "a//b", "a/*", "../x", "_1", "a\nb", &"a/".repeat(4000)] {
        let text = refused(client.end(into_anchor(bad, "pass\n")));
        assert!(text.len() < 500, "{text}");
    }
    assert_eq!(within(&mut client, "web"), ["block drop in all"]);
    assert_eq!(refused(client.end(list("nowhere"))), "Anchor 'nowhere' not found.");
    // Flushed: the call stays, the rest is gone.
    assert_eq!(client.end(flush("web", false)), done(0));
    assert_eq!(within(&mut client, "web"), [""; 0]);
    assert_eq!(refused(client.end(flush("nowhere", false))), "Anchor 'nowhere' not found.");
    assert_eq!(client.end(flush("guests", true)), done(0));
    assert_eq!(anchors(&mut client), ["_1", "guests", "web"]);
    assert_eq!(client.rules().len(), 5, "the main rules are as they were");
    seat.running.stop();
}

fn list(anchor: &str) -> Command {
    Command::RulesIn { anchor: anchor.into(), recursive: false }
}

fn flush(anchor: &str, recursive: bool) -> Command {
    Command::Flush(Flush::RulesIn { anchor: anchor.into(), recursive })
}

#[test]
fn what_was_loaded_into_an_anchor_stays_unless_the_main_rules_fill_it() {
    let seat = Seat::new();
    let mut client = seat.client();
    // Before there are main rules nothing is in force.
    assert_eq!(client.end(into_anchor("web", "pass in on lan\n")), done(1));
    assert_eq!(client.info().status, "blocked");
    client.end(load("anchor web\nanchor mail {\n pass out on wan\n}\n"));
    assert_eq!(client.info().status, "enabled");
    assert_eq!(within(&mut client, "web"), ["pass in on lan all flags S/SA"]);
    assert_eq!(within(&mut client, "mail"), ["pass out on wan all flags S/SA"]);
    // Over what the main rules wrote into it.
    client.end(into_anchor("mail", "block out\n"));
    assert_eq!(within(&mut client, "mail"), ["block drop out all"]);
    // The main rules again: theirs holds again, the other anchor stays.
    client.end(load("pass\nanchor web\nanchor mail {\n pass out on wan\n}\n"));
    assert_eq!(within(&mut client, "mail"), ["pass out on wan all flags S/SA"]);
    assert_eq!(within(&mut client, "web"), ["pass in on lan all flags S/SA"]);
    // What came with the main rules goes with them.
    client.end(load("pass\n"));
    assert_eq!(anchors(&mut client), ["web"]);
    // An anchor that the main rules fill can be emptied.
    client.end(load("pass\nanchor mail {\n pass out on wan\n}\n"));
    client.end(flush("mail", false));
    assert_eq!(within(&mut client, "mail"), [""; 0]);
    seat.running.stop();
}

#[test]
fn counters_of_unchanged_rules_survive_every_load() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load(OFFICE));
    seat.make_states(3);
    let counted = |client: &mut Client| {
        let listing = client.listing("", true);
        let dns = listing.nested.iter().find(|set| set.anchor == "_1").unwrap().rules[0].clone();
        let out = listing.rules.last().unwrap().clone();
        assert_eq!((dns.label.as_deref(), &*out.text), (Some("dns"), "pass out all flags S/SA"));
        [(dns.packets, dns.states), (out.packets, out.states)]
    };
    let before = [([3, 0], 3), ([0, 3], 3)];
    assert_eq!(counted(&mut client), before);
    // States name the rule by its place.
    let states = client.states();
    for state in &states {
        assert_eq!(state.anchored, [Some("3._1.0".into()), None], "{state:?}");
        assert_eq!(state.rules, [Some(5), Some(4)]);
    }
    // Ids move, rules and states do not care.
    client.end(into_anchor("aaa", "block in quick proto tcp\n"));
    assert_eq!(counted(&mut client), before);
    client.end(load(&format!("match in\n{OFFICE}")));
    assert_eq!(counted(&mut client), before);
    assert_eq!(client.states()[0].anchored, [Some("4._1.0".into()), None]);
    // The same again: not even a counter moves.
    let all = client.listing("", true);
    client.end(load(&format!("match in\n{OFFICE}")));
    assert_eq!(client.listing("", true), all);
    // By label, wherever it is.
    assert_eq!(
        client.end(Command::Kill(Kill { criteria: vec![StateCriterion::Label("dns".into())] })),
        done(3)
    );
    seat.running.stop();
}

#[test]
fn counters_of_rules_are_zeroed_apart_from_the_others() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load(OFFICE));
    seat.make_states(3);
    let zero = |anchor: &str, recursive| {
        Command::Flush(Flush::RuleCounters { anchor: anchor.into(), recursive })
    };
    let seen = |client: &mut Client| {
        let listing = client.listing("", true);
        let dns = listing.nested.iter().find(|set| set.anchor == "_1").unwrap().rules[0].clone();
        let out = listing.rules.last().unwrap().clone();
        [dns, out].map(|rule| (rule.packets.iter().sum::<u64>(), rule.states))
    };
    assert_eq!(client.end(Command::Flush(Flush::Info)), done(0));
    assert_eq!(client.info().inserts, 0);
    assert_eq!(seen(&mut client), [(3, 3), (3, 3)], "they belong to rules");
    assert_eq!(client.end(zero("_1", false)), done(0));
    assert_eq!(seen(&mut client), [(0, 3), (3, 3)]);
    seat.make_states(4);
    assert_eq!(seen(&mut client), [(4, 4), (7, 4)], "three go on, one is new");
    // As -s rules shows them: with the anchors that have no name.
    assert_eq!(client.end(zero("", false)), done(0));
    assert_eq!(seen(&mut client), [(0, 4), (0, 4)]);
    assert!(refused(client.end(zero("nowhere", false))).contains("not found"));
    seat.running.stop();
}

#[test]
fn rules_of_layer_2_are_listed_and_zeroed() {
    let seat = Seat::new();
    let mut client = seat.client();
    let listed = |client: &mut Client| match client.ask(Command::EtherRules).swap_remove(0) {
        Reply::Rules(listing) => listing.rules,
        other => panic!("{other:?}"),
    };
    assert_eq!(listed(&mut client).len(), 0);
    assert_eq!(client.end(load("ether pass in on lan proto 0x0800\npass\n")), done(1));
    seat.make_states(3);
    let rules = listed(&mut client);
    assert_eq!(rules.len(), 1);
    assert!(rules[0].text.starts_with("ether pass in "), "{}", rules[0].text);
    assert_eq!(rules[0].packets, [3, 0]);
    let zero = Flush::RuleCounters { anchor: String::new(), recursive: false };
    assert_eq!(client.end(Command::Flush(zero)), done(0));
    assert_eq!(listed(&mut client)[0].packets, [0, 0]);
    seat.running.stop();
}

#[test]
fn parts_of_a_file_can_be_loaded() {
    let seat = Seat::new();
    let mut client = seat.client();
    let timeouts = |client: &mut Client| {
        let Reply::Timeouts(all) = client.ask(Command::Timeouts).swap_remove(0) else { panic!() };
        let of = |name| all.iter().find(|timeout| timeout.name == name).unwrap().value;
        [of("udp.first"), of("udp.single")]
    };
    let usual = {
        client.end(load("pass\n"));
        timeouts(&mut client)
    };
    client.end(load("set timeout udp.first 77\nblock\npass out\n"));
    assert_eq!(timeouts(&mut client), [77, usual[1]]);
    // -R: the rules only.
    assert_eq!(client.end(part(Part::Rules, "set timeout udp.first 5\npass in\n")), done(1));
    assert_eq!(client.rules(), ["pass in all flags S/SA"]);
    assert_eq!(timeouts(&mut client), [77, usual[1]]);
    // -O: the options only, those that are not set by default.
    client.end(part(Part::Options, "set timeout udp.single 6\nblock\n"));
    assert_eq!(client.rules(), ["pass in all flags S/SA"]);
    assert_eq!(timeouts(&mut client), [usual[0], 6]);
    // -m: over those in force.
    let sources = vec![source("m.conf", "set timeout udp.first 8\npass out\n")];
    client.end(Command::Load(Load { sources, merge: true, ..Load::default() }));
    assert_eq!(timeouts(&mut client), [8, 6]);
    assert_eq!(client.rules(), ["pass out all flags S/SA"]);
    // The rest of the file must be right nevertheless.
    let text = refused(client.end(part(Part::Options, "set timeout udp.first 9\nblok\n")));
    assert!(text.starts_with("part.conf:2:1: "), "{text}");
    assert_eq!(timeouts(&mut client), [8, 6]);
    assert_eq!(client.end(Command::Flush(Flush::Options)), done(0));
    assert_eq!(timeouts(&mut client), usual);
    // An anchor is loaded as a whole.
    let mut partly = Load { anchor: "web".into(), part: Part::Rules, ..Load::default() };
    partly.sources = vec![source("x", "pass\n")];
    assert!(refused(client.end(Command::Load(partly))).contains("-a"));
    seat.running.stop();
}

/// Without rules everything is blocked: options that come later open nothing.
#[test]
fn skipped_ports_do_not_open_a_bridge_without_rules() {
    let seat = Seat::new();
    let mut client = seat.client();
    let mut there = Arrivals::default();
    let house = &seat.running.house;
    let skips = "set skip on { lan wan }\n";
    client.end(load(&format!("{skips}block\n")));
    assert!(house.lan.put(0, &datagram(1, 0)));
    wait_for("what is skipped", || {
        there.take(&house.wan, 2);
        there.flows.contains_key(&1)
    });
    let dropped = |client: &mut Client| client.info().reasons.iter().map(|r| r.count).sum::<u64>();
    for (number, options) in [None, Some(skips)].into_iter().enumerate() {
        client.end(Command::Flush(Flush::Rules));
        if let Some(options) = options {
            client.end(part(Part::Options, options));
        }
        let before = dropped(&mut client);
        for flow in 2..12 {
            assert!(house.lan.put(0, &datagram(flow, number as u16)));
        }
        wait_for("ten drops", || dropped(&mut client) == before + 10);
        there.take(&house.wan, 2);
        assert_eq!(there.flows.len(), 1, "nothing but the first came through");
    }
    // What was set holds for the rules that come.
    client.end(part(Part::Rules, "block\n"));
    assert!(house.lan.put(0, &datagram(3, 2)));
    wait_for("what is skipped", || {
        there.take(&house.wan, 2);
        there.flows.contains_key(&3)
    });
    seat.running.stop();
}

#[test]
fn what_is_kept_makes_the_same_again() {
    let seat = Seat::new();
    let mut client = seat.client();
    let sources = vec![
        source("main.conf", "include \"more\"\nanchor web\nanchor mail {\n pass\n}\n"),
        source("more", "pass in proto udp to port $dns\n"),
    ];
    let macros = vec!["dns=53".into()];
    let main = Command::Load(Load { sources, macros, ..Load::default() });
    assert_eq!(client.end(main), done(4));
    assert_eq!(client.end(into_anchor("web", "block in\n")), done(5));
    assert_eq!(client.end(into_anchor("mail", "block out\n")), done(5));
    assert_eq!(client.end(part(Part::Options, "set timeout udp.first 99\n")), done(5));
    let before = client.listing("", true);
    seat.running.stop();
    let directory = tempfile::tempdir().unwrap();
    std::fs::rename(seat.directory.path().join("state"), directory.path().join("state")).unwrap();
    let again = Seat::in_directory(directory);
    again.control.load_last_good().unwrap();
    let mut client = again.client();
    let after = client.listing("", true);
    let sets = |listing: &RuleListing| -> Vec<(String, Vec<String>)> {
        let all = std::iter::once(listing).chain(&listing.nested);
        all.map(|set| (set.anchor.clone(), texts(set).into_iter().map(Into::into).collect()))
            .collect()
    };
    assert_eq!(sets(&after), sets(&before));
    assert_eq!(after.rules[0].text, "pass in proto udp from any to any port = 53");
    let Reply::Timeouts(timeouts) = client.ask(Command::Timeouts).swap_remove(0) else { panic!() };
    assert!(timeouts.iter().any(|timeout| timeout.name == "udp.first" && timeout.value == 99));
    assert_eq!(*again.announced.lock(), ["main.conf (last good, number 4)"]);
    again.running.stop();
}

#[test]
fn files_that_were_not_sent_and_rules_that_cannot_run_change_nothing() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load("pass in\n"));
    for (text, why) in [
        ("include \"/etc/hostname\"\n", "test.conf:1:9: /etc/hostname: no such file"),
        ("table <t> file \"/etc/hosts\"\npass\n", "/etc/hosts: no such file"),
        ("load anchor a from \"/etc/hosts\"\nanchor a\n", "/etc/hosts: no such file"),
        ("pass in proto tcp from any os Linux\n", "test.conf:1:1: "),
        ("include \"test.conf\"\n", "test.conf:1:9: `test.conf` names itself"),
    ] {
        let said = refused(client.end(load(text)));
        assert!(said.contains(why), "{said}");
    }
    // Files that name each other, and one that nobody names.
    let sources = vec![
        source("a", "include \"b\"\n"),
        source("b", "include \"a\"\n"),
        source("../../etc/passwd", "pass\n"),
    ];
    let said = refused(client.end(Command::Load(Load { sources, ..Load::default() })));
    assert!(said.contains("names itself"), "{said}");
    // Anchors that would call each other for ever.
    client.end(into_anchor("a", "anchor \"/b\"\n"));
    let said = refused(client.end(into_anchor("b", "anchor \"/a\"\n")));
    assert!(!said.is_empty());
    assert_eq!(client.rules(), ["pass in all flags S/SA"]);
    seat.running.stop();
}

/// A control side for workers that move by hand; tells why it would have ended the process.
fn by_hand(house: &House) -> (Control, Arc<Mutex<Vec<String>>>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let gave_up: Arc<Mutex<Vec<String>>> = Arc::default();
    let why = Arc::clone(&gave_up);
    let parts = Parts {
        clock: house.clock,
        mailboxes: house.mailboxes.clone(),
        cpus: vec![0; 2],
        shared: Arc::clone(&house.shared),
        overloads: Arc::clone(&house.overloads),
        ports: names(),
        io: Kind::Memory,
        steered: false,
        reserved: 100_000,
        programs: Arc::new(Programs::default()),
        log: Arc::default(),
        flows: Arc::default(),
        history: Some(history(&directory)),
        rules_file: String::new(),
        cut_percent: 20,
        give_up: Box::new(move |text| why.lock().push(text.to_owned())),
    };
    (Control::new(parts, Box::new(|_| {})), gave_up, directory)
}

fn pass() -> Load {
    Load { sources: vec![source("x", "pass\n")], ..Load::default() }
}

#[test]
fn a_worker_that_is_slow_takes_a_load_up_before_it_judges() {
    let mut house = House::new(2, 1024);
    let (control, gave_up, _directory) = by_hand(&house);
    let done = AtomicU64::new(0);
    let loaded = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let loaded = control.load(&pass(), &Change::plain(Author::Start, "test"));
            done.store(1, Ordering::Relaxed);
            loaded
        });
        // Worker 0 works, worker 1 does not.
        wait_for("the load", || {
            house.round(0);
            done.load(Ordering::Relaxed) == 1
        });
        load.join().unwrap().expect("the load holds")
    });
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].starts_with("worker 1 does not answer"), "{:?}", loaded.warnings);
    assert_eq!(*gave_up.lock(), [""; 0]);
    // The letter lies there: nothing is judged by the old rules for longer than a round.
    house.round(1);
    for flow in 0..40 {
        assert!(house.lan.put(1, &datagram(flow, 0)));
    }
    house.settle();
    let passed: usize = (0..2).map(|queue| house.wan.drain(queue, usize::MAX, |_| {})).sum();
    assert_eq!(passed, 40, "both workers pass");
    house.close();
}

#[test]
fn a_worker_that_is_stuck_ends_the_process() {
    let house = House::new(2, 1024);
    let (control, gave_up, _directory) = by_hand(&house);
    while house.mailboxes[1].post(Letter::Report).is_ok() {}
    let refused =
        control.load(&pass(), &Change::plain(Author::Start, "test")).unwrap_err().to_string();
    assert_eq!(refused, "worker 1 does not answer");
    assert_eq!(*gave_up.lock(), ["worker 1 does not answer"]);
    house.close();
}

#[test]
fn a_load_that_warns_says_so() {
    let seat = Seat::new();
    let mut client = seat.client();
    let state = seat.directory.path().join("state");
    // Nothing can be kept in a folder that is a file.
    std::fs::write(&state, "").unwrap();
    match client.end(load("pass\n")) {
        Reply::Done(Done { count: 1, note: Some(note) }) => {
            assert!(note.contains("COULD NOT BE KEPT"), "{note}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(client.rules().len(), 1);
    seat.running.stop();
}
