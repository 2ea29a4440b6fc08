//! Servers that make it hard for `synproxy state`: slow ones, busy ones, ones that come back as
//! others. Clients notice nothing but the time that it takes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, listen, socket_with,
    sockopt::set_socket_reuseaddr,
};
use weir_tests::faults::Faults;
use weir_tests::lab::{
    Capture, Family, Io, Lab, PATIENCE, Topology, WebServer, Weir, WeirOptions, counter_in,
    eventually,
};
use weir_tests::syns::Syns;

use crate::proxied::{RULES, fetch, set_options};
use crate::{assert_no_mismatch, connect, curl, on_every_io, on_every_port};

on_every_port! {
    a_server_whose_queue_is_full_is_asked_until_there_is_room
    a_server_that_comes_back_as_another_is_learned_anew
}

on_every_io! {
    a_server_that_answers_late_and_twice_is_understood
}

/// It is asked again before its first answer is there, and so answers both.
fn a_server_that_answers_late_and_twice_is_understood(io: Io) {
    let family = if io == Io::Xdp { Family::Inet } else { Family::Inet6 };
    let faults = Faults { delay: Duration::from_millis(600), ..Faults::default() };
    let lab = Lab::with(Topology { faults: [None, Some(faults)], ..Topology::default() });
    let weir = Weir::start(&lab, &WeirOptions::new(io, RULES));
    let _web = WebServer::start(&lab.server, 80);
    let seen = Capture::start(&lab.server.namespace, "eth0", Syns::OF_ANYBODY);
    for turn in 0..2 {
        let page = fetch(&lab, family, 80, "bytes/100000");
        assert!(
            page.as_deref() == Ok(&WebServer::pattern(100_000)[..]),
            "{turn}: {:?}",
            page.err()
        );
    }
    assert!(seen.count(|_| true) >= 4, "the server was asked {} times", seen.count(|_| true));
    assert_no_mismatch(&weir);
}

/// Linux throws SYNs away while nobody accepts what is there.
fn a_server_whose_queue_is_full_is_asked_until_there_is_room(io: Io, family: Family) {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(io, RULES));
    let listener: TcpListener = lab.server.namespace.within(|| {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET6, SocketType::STREAM, flags, None);
        let socket = socket.expect("a socket");
        set_socket_reuseaddr(&socket, true).expect("a socket option");
        bind(&socket, &SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 80)).expect("nobody has it");
        // Room for two (listen(2): one more than this).
        listen(&socket, 1).expect("is bound");
        socket.into()
    });
    let to = lab.server.address(family);
    let open = |number: u8| {
        let mut stream = connect(&lab.client, to, 80, PATIENCE).expect("weir answers");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.write_all(&[number]).expect("there is room for a byte");
        stream
    };
    let mut clients = vec![open(0), open(1)];
    eventually("the queue is full", || {
        let listing = lab.server.run(&["ss", "-Hltn"]).expect_success();
        listing.split_whitespace().nth(1) == Some("2")
    });
    let syns = Capture::start(&lab.server.namespace, "eth0", Syns::OF_ANYBODY);
    clients.push(open(2));
    eventually("the server is asked twice", || syns.count(|_| true) >= 2);
    assert_eq!(weir.show(&["-s", "states"]).matches("PROXY:DST").count(), 1);
    let server = std::thread::spawn(move || {
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().expect("three come");
            stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the client has sent one");
            stream.write_all(&byte).expect("the client listens");
        }
    });
    for (number, client) in (0..).zip(&mut clients) {
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).expect("the server answers and closes");
        assert_eq!(heard, [number]);
    }
    server.join().expect("it does not panic");
    assert_no_mismatch(&weir);
}

/// Stopped, and started again with none of the options that weir has learned: one client at most is
/// told to try again, and so is one when they are back.
fn a_server_that_comes_back_as_another_is_learned_anew(io: Io, family: Family) {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(io, RULES));
    let page = |turn: &str| {
        let page = curl(&lab.client, &lab.server, family, 80);
        assert_eq!(page.as_deref(), Ok(WebServer::PAGE), "{turn}");
    };
    let web = WebServer::start(&lab.server, 80);
    for _ in 0..3 {
        page("as it was");
    }
    drop(web);
    let refused = connect(&lab.client, lab.server.address(family), 80, PATIENCE)
        .and_then(|mut stream| stream.read(&mut [0]));
    assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));

    set_options(&lab.server, 0b111);
    let _web = WebServer::start(&lab.server, 80);
    let first = curl(&lab.client, &lab.server, family, 80);
    let info = weir.show(&["-s", "info"]);
    assert_eq!(counter_in(&info, "option lacking"), u64::from(first.is_err()), "{first:?}\n{info}");
    for _ in 0..3 {
        page("without options");
    }
    set_options(&lab.server, 0);
    for _ in 0..3 {
        page("as it was, again");
    }
    assert_eq!(weir.counter("server refused"), 1);
    assert_no_mismatch(&weir);
}
