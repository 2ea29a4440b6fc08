//! Captures over the control socket, while workers forward.

use std::net::Shutdown;

use weir_daemon::tap::MAX_TAPS;
use weir_hw::pcap::ng::{Direction, Reader};
use weir_shell::protocol::{Capture, CaptureBegun, Command, Reply};

use crate::house::{Arrivals, answer, datagram, identify, wait_for};
use crate::seat::{Client, Seat, done, load};

/// One captured frame: interface, direction, comment, length on the wire, bytes.
type Seen = (String, Direction, String, u32, Vec<u8>);

/// Whether these tests may capture. Where they may not, that is what they see.
fn may_capture(seat: &Seat) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        let refused = Reply::Error("permission denied: only root may capture".into());
        assert_eq!(seat.client().end(Command::Capture(Capture::default())), refused);
    }
    root
}

/// Begins a capture.
fn begin(seat: &Seat, capture: Capture) -> Client {
    let mut client = seat.client();
    client.request(Command::Capture(capture));
    match client.read() {
        Some(Reply::Capture(CaptureBegun { snap })) => assert!(snap > 0),
        other => panic!("{other:?}"),
    }
    client
}

/// Everything up to the end of a capture, and how much of it was lost.
fn read_all(client: Client) -> (Vec<Seen>, u64) {
    let mut reader = Reader::new(client.0).unwrap();
    let (mut all, mut frame) = (Vec::new(), Vec::new());
    while let Some((record, place)) = reader.next(&mut frame).unwrap() {
        assert!(record.time > 1_500_000_000_000_000_000, "a date: {}", record.time);
        let interface = reader.interface(place.interface).unwrap();
        assert_eq!(interface.description, format!("{}0", interface.name));
        all.push((
            interface.name.clone(),
            place.direction.unwrap(),
            reader.comment().to_owned(),
            record.length,
            frame.clone(),
        ));
    }
    (all, reader.dropped())
}

/// Ends a capture as Ctrl-C does.
fn end(client: Client) -> Vec<Seen> {
    client.0.get_ref().shutdown(Shutdown::Write).unwrap();
    let (seen, lost) = read_all(client);
    assert_eq!(lost, 0);
    seen
}

/// A datagram through the bridge, and back; what comes in from outside is blocked.
fn exchange(seat: &Seat, flow: u16) {
    let house = &seat.running.house;
    let (mut there, mut back) = (Arrivals::default(), Arrivals::default());
    assert!(house.lan.put(0, &datagram(flow, 1)));
    wait_for("the datagram", || there.take(&house.wan, 2) > 0);
    assert!(house.wan.put(0, &answer(flow, 2)));
    wait_for("the answer", || back.take(&house.lan, 2) > 0);
    let before = seat.client().info().frames;
    assert!(house.wan.put(1, &datagram(flow, 3)));
    wait_for("the block", || seat.client().info().frames > before);
}

const RULES: &str = "block in label \"no\"\npass in on lan proto udp\n";

#[test]
fn packets_are_seen_arriving_with_their_verdicts_and_leaving() {
    let seat = Seat::new();
    if !may_capture(&seat) {
        return seat.running.stop();
    }
    assert_eq!(seat.client().end(load(RULES)), done(2));
    exchange(&seat, 1);
    let client = begin(&seat, Capture::default());
    exchange(&seat, 2);
    let mut seen = end(client);
    // Two workers, each in its own time.
    seen.sort_by_key(|(.., bytes)| identify(bytes).1);
    let (arrives, leaves) = (Direction::Inbound, Direction::Outbound);
    let told: Vec<_> = seen
        .iter()
        .map(|(port, direction, comment, _, bytes)| {
            assert_eq!(identify(bytes).0, 2, "what was before is not seen");
            (&**port, *direction, &**comment, identify(bytes).1)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("lan", arrives, "rule 1: pass", 1),
            ("wan", leaves, "", 1),
            ("wan", arrives, "rule 1: pass", 2),
            ("lan", leaves, "", 2),
            ("wan", arrives, "rule 0 \"no\"/block-rule: block", 3),
        ]
    );
    assert_eq!(seen[0].4, datagram(2, 1));
    exchange(&seat, 3);
    seat.running.stop();
}

#[test]
fn filters_ports_lengths_and_counts_bound_what_is_seen() {
    let seat = Seat::new();
    if !may_capture(&seat) {
        return seat.running.stop();
    }
    assert_eq!(seat.client().end(load(RULES)), done(2));
    let capture = |filter: &str, both_ways| Capture {
        filter: filter.into(),
        both_ways,
        ..Capture::default()
    };
    let clients = [
        begin(&seat, capture("proto udp to port 53", false)),
        begin(&seat, capture("in on lan proto udp to port 53", true)),
        begin(&seat, Capture { port: Some("wan0".into()), snap: 20, ..Capture::default() }),
        begin(&seat, Capture { count: Some(2), ..Capture::default() }),
    ];
    exchange(&seat, 1);
    let [by_port, both_ways, short, two] = clients;
    let numbers = |seen: &[Seen]| {
        let mut all: Vec<_> = seen.iter().map(|(.., bytes)| identify(bytes).1).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(numbers(&end(by_port)), [1, 1, 3]);
    assert_eq!(numbers(&end(both_ways)), [1, 2]);
    let short = end(short);
    assert_eq!(short.len(), 3);
    assert!(short.iter().all(|(port, .., bytes)| port == "wan" && bytes.len() == 20));
    assert!(short.iter().all(|(_, _, _, length, _)| *length as usize == datagram(1, 1).len()));
    // It ends by itself.
    assert_eq!(read_all(two).0.len(), 2);
    let time = begin(&seat, Capture { seconds: Some(1), ..Capture::default() });
    assert_eq!(read_all(time), (Vec::new(), 0));
    seat.running.stop();
}

#[test]
fn what_is_no_filter_begins_nothing() {
    let seat = Seat::new();
    if !may_capture(&seat) {
        return seat.running.stop();
    }
    let mut client = seat.client();
    let mut refused = |filter: &str, port: Option<&str>| {
        let (filter, port) = (filter.to_owned(), port.map(str::to_owned));
        match client.end(Command::Capture(Capture { filter, port, ..Capture::default() })) {
            Reply::Error(text) => text,
            Reply::Diagnostics(found) => found.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert!(refused("proto tpc", None).starts_with("filter:1:13: "));
    assert!(refused("proto udp label x", None).starts_with("`label` is no part of a filter"));
    assert!(refused("all\npass", None).starts_with("a filter is one line"));
    assert!(refused(&"x".repeat(5000), None).starts_with("a filter is one line"));
    assert!(refused("", Some("dmz")).starts_with("no port is called `dmz`"));
    // The connection is as it was.
    assert_eq!(client.info().status, "blocked");
    seat.running.stop();
}

#[test]
fn captures_are_bounded_and_end_with_their_clients() {
    let seat = Seat::new();
    if !may_capture(&seat) {
        return seat.running.stop();
    }
    let clients: Vec<_> = (0..MAX_TAPS).map(|_| begin(&seat, Capture::default())).collect();
    let full = Reply::Error(format!("{MAX_TAPS} captures are running: there can be no more"));
    assert_eq!(seat.client().end(Command::Capture(Capture::default())), full);
    // One hangs up without a word, one says something, one shuts down.
    let mut clients = clients.into_iter();
    drop(clients.next());
    let mut talking = clients.next().unwrap();
    talking.write(b"{}\n");
    assert_eq!(read_all(talking).0.len(), 0);
    assert_eq!(end(clients.next().unwrap()).len(), 0);
    let mut more = Vec::new();
    wait_for("places for three more", || {
        more.extend(try_begin(&seat));
        more.len() == 3
    });
    assert_eq!(seat.client().end(load(RULES)), done(2));
    exchange(&seat, 1);
    for client in clients.chain(more) {
        assert_eq!(end(client).len(), 5);
    }
    seat.running.stop();
}

#[test]
fn a_client_that_does_not_read_stops_nothing() {
    let seat = Seat::new();
    if !may_capture(&seat) {
        return seat.running.stop();
    }
    assert_eq!(seat.client().end(load(RULES)), done(2));
    let client = begin(&seat, Capture::default());
    let house = &seat.running.house;
    let mut there = Arrivals::default();
    // Which worker owns the flow: its buffers go round there.
    assert!(house.lan.put(0, &datagram(1, 0)));
    wait_for("the first", || there.take(&house.wan, 2) > 0);
    let queue = there.flows[&1].0;
    // More than the ring and the socket take; every one has to arrive.
    for batch in 0..240 {
        for number in 50 * batch..50 * (batch + 1) {
            assert!(house.lan.put(queue, &datagram(1, number)));
        }
        let arrived = 1 + usize::from(50 * (batch + 1));
        wait_for("all of them", || {
            there.take(&house.wan, 2);
            there.flows.get(&1).is_some_and(|(_, numbers)| numbers.len() == arrived)
        });
    }
    // It is cut off when it has not read for as long as clients may: its place is free.
    let mut more = Vec::new();
    wait_for("as many captures as there can be", || {
        more.extend(try_begin(&seat));
        more.len() == MAX_TAPS
    });
    drop(client);
    seat.running.stop();
}

/// Begins a capture if there is a place for it.
fn try_begin(seat: &Seat) -> Option<Client> {
    let mut client = seat.client();
    client.request(Command::Capture(Capture::default()));
    matches!(client.read(), Some(Reply::Capture(_))).then_some(client)
}
