//! States and sources as a client asks for some of them.

use weir_shell::protocol::{Command, Done, MAX_CRITERIA, Reply, StateCriterion, StateQuery};
use weir_shell::query;

use crate::seat::{Client, Seat, done, load};

/// The lines of the answer's listing and its end.
fn ask(client: &mut Client, query: StateQuery) -> (Vec<u16>, Reply) {
    let mut replies = client.ask(Command::States(query));
    let end = replies.pop().expect("an end");
    let ports = replies.into_iter().flat_map(|reply| match reply {
        Reply::States(states) => states.into_iter().map(|state| state.source_port),
        other => panic!("{other:?}"),
    });
    (ports.collect(), end)
}

fn words(client: &mut Client, line: &str) -> (Vec<u16>, Reply) {
    let words: Vec<String> = line.split_whitespace().map(Into::into).collect();
    ask(client, query::states(&words).expect("criteria"))
}

/// Flow N of `make_states` is a datagram from 192.0.2.N, port 1000 + N, to 192.0.2.100, port 53.
fn seat() -> Seat {
    let seat = Seat::new();
    seat.client().end(load(
        "pass proto udp label every\nanchor a { pass proto udp from 192.0.2.4 label four }\n",
    ));
    seat.make_states(12);
    seat
}

#[test]
fn criteria_choose_states() {
    let seat = seat();
    let mut client = seat.client();
    let mut chosen = |line: &str| {
        let (mut ports, end) = words(&mut client, line);
        assert_eq!(end, done(ports.len() as u64), "{line}");
        ports.sort_unstable();
        ports.iter().map(|port| port - 1000).collect::<Vec<_>>()
    };
    let all: Vec<u16> = (0..12).collect();
    assert_eq!(chosen(""), all);
    for (line, flows) in [
        ("host 192.0.2.4", &[4][..]),
        ("host 192.0.2.100", &all),
        ("from 192.0.2.100", &[]),
        ("from 192.0.2.8/30", &[8, 9, 10, 11]),
        ("from 192.0.2.8/30 port 1009:1010", &[9, 10]),
        ("to any port domain not from 192.0.2.0/29", &[8, 9, 10, 11]),
        ("port 1003", &[3]),
        ("proto tcp", &[]),
        ("proto udp inet", &all),
        ("inet6", &[]),
        ("label four", &[4]),
        ("rule 2", &[4]),
        ("rule 1.a.0", &[4]),
        ("not label four from 192.0.2.4/31", &[5]),
        ("on lan", &all),
        ("on lan0 port 1001", &[1]),
        ("on wan", &[]),
        ("vlan 7", &[]),
        ("state single port 1002", &[2]),
        ("state NO_TRAFFIC:SINGLE port 1002", &[2]),
        ("state SINGLE:SINGLE", &[]),
        ("state PROXY:SRC", &[]),
        ("age over 1h", &[]),
        ("idle under 1h packets under 2 packets over 0 port 1007", &[7]),
        ("not bytes over 0", &[]),
    ] {
        assert_eq!(chosen(line), flows, "{line}");
    }
    seat.running.stop();
}

#[test]
fn listings_are_sorted_bounded_and_counted() {
    let seat = seat();
    // More from some than from others.
    for flow in [3, 7, 7, 5, 5, 5] {
        seat.send(flow);
    }
    let mut client = seat.client();
    let cut = |note: &str, count| Reply::Done(Done { count, note: Some(note.into()) });
    assert_eq!(
        words(&mut client, "sort packets limit 3"),
        (vec![1005, 1007, 1003], cut("these are the first 3 of 12", 3))
    );
    let (ports, end) = words(&mut client, "sort bytes reverse");
    assert_eq!((ports.len(), end), (12, done(12)));
    assert_eq!(ports[9..], [1003, 1007, 1005], "the largest last");
    assert_eq!(words(&mut client, "count packets over 1"), (vec![], done(3)));
    let (ports, end) = words(&mut client, "limit 5");
    assert_eq!((ports.len(), end), (5, cut("there are more than these 5", 5)));
    assert_eq!(words(&mut client, "limit 12").1, done(12), "these are all");
    assert_eq!(words(&mut client, "limit 0 port 9").1, done(0));
    seat.running.stop();
}

#[test]
fn criteria_without_sense_are_refused() {
    use StateCriterion as Is;
    let seat = seat();
    let mut client = seat.client();
    let mut refused = |criteria: Vec<StateCriterion>| match ask(
        &mut client,
        StateQuery { criteria, ..StateQuery::default() },
    ) {
        (listed, Reply::Error(text)) if listed.is_empty() => text,
        other => panic!("{other:?}"),
    };
    assert!(refused(vec![Is::Host("web".into())]).contains("`web` is neither"));
    assert!(refused(vec![Is::Rule("x".into())]).contains("`x` is no rule"));
    assert!(refused(vec![Is::Interface("dmz".into())]).contains("no port `dmz`"));
    assert!(refused(vec![Is::Id("z".into())]).contains("`z` is not the id"));
    assert!(refused(vec![Is::Id("0".into())]).contains("`0` is not the id"));
    assert!(refused(vec![Is::Ip(5)]).contains("no IP version 5"));
    // What can never hold is a slip of the fingers, not an answer of none.
    for state in ["ESTABLISH", "ESTABLISHED:", "SINGLE:MULTIPLY"] {
        assert!(
            refused(vec![Is::State(state.into())]).contains("ESTABLISHED, FIN_WAIT_2, MULTIPLE")
        );
    }
    for rule in ["3", "1.a.1", "0.a.0", "a.0", "1.b.0", "1.a.x", "1.a.4294967295", ".0", "1..0"] {
        assert!(refused(vec![Is::Rule(rule.into())]).contains(&format!("no rule `{rule}`")));
    }
    assert!(refused(vec![Is::Label("fuor".into())]).contains("no rule has the label \"fuor\""));
    let many = format!("{MAX_CRITERIA} criteria at most");
    assert!(refused(vec![Is::Vlan(1); MAX_CRITERIA + 1]).contains(&many));
    let nested = (0..MAX_CRITERIA).fold(Is::Vlan(1), |inner, _| Is::Not(Box::new(inner)));
    assert!(refused(vec![nested]).contains(&many));
    // An even number of negations is none.
    let twice = Is::Not(Box::new(Is::Not(Box::new(Is::Port(1003, 1003)))));
    let query = StateQuery { criteria: vec![twice], ..StateQuery::default() };
    assert_eq!(ask(&mut client, query), (vec![1003], done(1)));
    seat.running.stop();
}

#[test]
fn states_are_summed_up_by_phase_and_host() {
    let seat = seat();
    seat.send(3);
    let mut client = seat.client();
    let Reply::Tally(tally) = client.ask(Command::Tally { hosts: 2 }).swap_remove(0) else {
        panic!("no tally");
    };
    assert_eq!((tally.states, tally.estimated), (12, false));
    let [phase] = &tally.phases[..] else { panic!("{:?}", tally.phases) };
    assert_eq!((phase.protocol, &*phase.state, phase.states), (17, "NO_TRAFFIC:SINGLE", 12));
    let [to] = &tally.destinations[..] else { panic!("{:?}", tally.destinations) };
    assert_eq!((to.address.to_string(), to.states, to.packets), ("192.0.2.100".into(), 12, 13));
    let from: Vec<_> = tally.sources.iter().map(|host| host.address.to_string()).collect();
    assert_eq!(from, ["192.0.2.0", "192.0.2.1"], "no more than were asked for");
    seat.running.stop();
}
