//! P1 with `synproxy state`: what the server sees of handshakes that weir makes in its name. Flows are
//! shared by two workers, so that the one that is asked may not be the one that answered.

use std::collections::HashSet;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;

use etherparse::{
    NetSlice, PacketBuilder, SlicedPacket, TcpOptionElement, TcpSlice, TransportSlice,
};
use weir_tests::lab::{
    Capture, Family, HoldingServer, Io, Lab, PATIENCE, RawSocket, WebServer, Weir, WeirOptions,
    eventually,
};
use weir_tests::syns::Syns;

use crate::proxied::{RULES, fetch};
use crate::{assert_no_mismatch, connect, on_every_port};

on_every_port! {
    p1_the_server_hears_of_ten_of_a_hundred_connections
    the_server_hears_of_nobody_who_has_not_shaken_hands
    congestion_notification_is_agreed_on_by_both_ends
}

fn tcp(frame: &[u8]) -> TcpSlice<'_> {
    match SlicedPacket::from_ethernet(frame).expect("well-formed").transport {
        Some(TransportSlice::Tcp(tcp)) => tcp,
        other => panic!("not TCP but {other:?}"),
    }
}

fn p1_the_server_hears_of_ten_of_a_hundred_connections(io: Io, family: Family) {
    for workers in [1, 2] {
        let lab = Lab::new();
        let rules = "block in\npass in on lan proto tcp synproxy state (max-src-conn 10)\n";
        let weir = Weir::start(&lab, &WeirOptions { workers, ..WeirOptions::new(io, rules) });
        let server = HoldingServer::start(&lab.server, 80);
        let syns = Capture::start(&lab.server.namespace, "eth0", Syns::OF_ANYBODY);
        let to = lab.server.address(family);
        // One that was reset before connect() returned is an error already.
        let open: Vec<_> =
            (0..100).filter_map(|_| connect(&lab.client, to, 80, PATIENCE).ok()).collect();
        for stream in &open {
            stream.set_nonblocking(true).expect("a socket");
        }
        let lives = |mut stream: &std::net::TcpStream| {
            stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        };
        eventually("ninety are reset", || open.iter().filter(|stream| lives(stream)).count() == 10);
        eventually("ten are accepted", || server.accepted() == 10);
        assert_eq!(weir.counter("surplus"), 90);
        assert_eq!(weir.counter("max-src-conn"), 90);
        let ports: HashSet<_> =
            syns.frames().iter().map(|frame| tcp(frame).source_port()).collect();
        assert_eq!(ports.len(), 10, "{workers} workers: {ports:?}");
        let listing = ["ss", "-Htn", "state", "established", "sport", "=", ":80"];
        let listing = lab.server.run(&listing).expect_success();
        assert_eq!(listing.lines().count(), 10, "{listing}");
    }
}

/// The ACK with which the client of a SYN-ACK completes the handshake.
fn ack_of(syn_ack: &[u8]) -> Vec<u8> {
    let packet = SlicedPacket::from_ethernet(syn_ack).expect("well-formed");
    let header = tcp(syn_ack);
    let stamp = header.options_iterator().find_map(|option| match option {
        Ok(TcpOptionElement::Timestamp(value, _)) => Some(TcpOptionElement::Timestamp(2, value)),
        _ => None,
    });
    let options: Vec<_> = stamp.into_iter().collect();
    let mac = |at: usize| syn_ack[at..at + 6].try_into().expect("six bytes");
    let ethernet = PacketBuilder::ethernet2(mac(0), mac(6));
    let ip = match packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            ethernet.ipv4(ip.header().destination(), ip.header().source(), 64)
        }
        Some(NetSlice::Ipv6(ip)) => {
            ethernet.ipv6(ip.header().destination(), ip.header().source(), 64)
        }
        other => panic!("not IP but {other:?}"),
    };
    let builder = ip
        .tcp(
            header.destination_port(),
            header.source_port(),
            header.acknowledgment_number(),
            64_240,
        )
        .ack(header.sequence_number().wrapping_add(1))
        .options(&options)
        .expect("one option");
    let mut ack = Vec::with_capacity(builder.size(0));
    builder.write(&mut ack, &[]).expect("a vector takes everything");
    ack
}

/// A hundred SYNs from as many sources, then the ACKs of half of them.
fn the_server_hears_of_nobody_who_has_not_shaken_hands(io: Io, family: Family) {
    const ALL: usize = 100;
    let lab = Lab::new();
    let gateway = lab.client.address(family).to_string();
    lab.server.namespace.ip(&["route", "add", "default", "via", &gateway]);
    for key in ["ipv4.ip_forward", "ipv6.conf.all.forwarding"] {
        lab.client.namespace.sysctl(&format!("net.{key}"), "0");
    }
    let rules = "block in\npass in on lan proto tcp synproxy state\n";
    let _weir = Weir::start(&lab, &WeirOptions { workers: 2, ..WeirOptions::new(io, rules) });
    let server = HoldingServer::start(&lab.server, 80);
    let to = SocketAddr::new(lab.server.address(family), 80);
    let at_server = Capture::start(&lab.server.namespace, "eth0", Syns::OF_ANYBODY);
    let at_client = Capture::start(&lab.client.namespace, "eth0", "tcp src port 80");
    let mut syns = Syns::new(lab.client.mac, lab.server.mac, to, 5);
    let mut frames = syns.frames(ALL);
    syns.fill(&mut frames);
    let socket = RawSocket::open(&lab.client.namespace, "eth0");
    assert_eq!(socket.send_all(&frames), ALL);
    eventually("all are answered", || at_client.count(|frame| tcp(frame).syn()) >= ALL);
    // Somebody else's handshake came later, and the server knows of nothing but that.
    let other = connect(&lab.client, to.ip(), 80, PATIENCE).expect("passes");
    eventually("it is accepted", || server.accepted() == 1);
    let port = other.local_addr().expect("connected").port();
    let strangers = || at_server.count(|frame| tcp(frame).source_port() != port);
    assert_eq!(strangers(), 0);

    let seq = |frame: &[u8]| tcp(frame).sequence_number();
    let mut answered = HashSet::new();
    let mut acks = Vec::new();
    for frame in at_client.frames() {
        let header = tcp(&frame);
        let client = header.acknowledgment_number().wrapping_sub(1);
        // What goes out again is the same once more.
        if header.syn() && header.destination_port() != port && answered.insert(client) {
            acks.push((client, ack_of(&frame)));
        }
    }
    assert_eq!(acks.len(), ALL);
    acks.truncate(ALL / 2);
    for (_, ack) in &acks {
        socket.send(ack);
    }
    eventually("they are accepted", || server.accepted() == 1 + ALL as u64 / 2);
    // Everyone's SYN has the number that the client has chosen, so that no other's is among them.
    let expected: HashSet<_> = acks.iter().map(|(client, _)| *client).collect();
    let heard: HashSet<_> = at_server
        .frames()
        .iter()
        .filter(|frame| tcp(frame).source_port() != port)
        .map(|frame| seq(frame))
        .collect();
    assert_eq!(heard, expected);
}

/// A client of Linux asks for it if it is told to, a server grants it unasked: weir promises it as soon
/// as it knows that.
fn congestion_notification_is_agreed_on_by_both_ends(io: Io, family: Family) {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(io, RULES));
    lab.client.namespace.sysctl("net.ipv4.tcp_ecn", "1");
    let _web = WebServer::start(&lab.server, 80);
    let captures = [&lab.client, &lab.server]
        .map(|host| Capture::start(&host.namespace, "eth0", "tcp port 80"));
    let expected = WebServer::pattern(300_000);
    for _ in 0..2 {
        let page = fetch(&lab, family, 80, "bytes/300000");
        assert!(page.as_deref() == Ok(&expected[..]), "{:?}", page.err());
    }
    for capture in captures {
        let handshakes = || {
            let frames = capture.frames();
            let agrees = |frame: &Vec<u8>| {
                let header = tcp(frame);
                (header.syn() && header.ack()).then(|| header.ece() && !header.cwr())
            };
            frames.iter().filter_map(agrees).collect::<Vec<_>>()
        };
        eventually("the second connection has it", || handshakes().last() == Some(&true));
    }
    assert_no_mismatch(&weir);
}
