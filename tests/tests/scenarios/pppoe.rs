//! A dialled line through the firewall: between real hosts everything that is IP travels in a PPPoE
//! session of 1,492 bytes, and the rules speak of it as if it came plain. The line takes nothing whose
//! PPPoE length is not exact.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use weir_tests::lab::{
    Capture, EchoServer, Family, Io, Lab, PATIENCE, RawSocket, TcpServer, Topology, WebServer,
    Weir, WeirOptions, eventually,
};

use crate::{assert_no_mismatch, connect, curl, on_every_io, on_every_port};

on_every_port! {
    connections_pass_and_their_segments_fit_the_line
    what_is_blocked_is_refused_at_once
    long_datagrams_travel_in_fragments
    the_connection_too_many_is_reset
}

on_every_io! {
    discovery_and_link_control_cross
}

const SESSION: u16 = 0x1234;

fn start(io: Io, rules: &str) -> (Lab, Weir) {
    let lab = Lab::with(Topology { session: Some(SESSION), ..Topology::default() });
    let weir = Weir::start(&lab, &WeirOptions::new(io, rules));
    (lab, weir)
}

/// The hosts believe in 1,500 bytes and hear of nothing shorter: without `max-mss` every full segment
/// would be lost.
fn connections_pass_and_their_segments_fit_the_line(io: Io, family: Family) {
    for keeps in ["keep", "synproxy"] {
        segments_fit_the_line(io, family, keeps);
    }
}

fn segments_fit_the_line(io: Io, family: Family, keeps: &str) {
    let rules = format!(
        "match inet proto tcp scrub (max-mss 1452)\n\
         match inet6 proto tcp scrub (max-mss 1432)\n\
         block in log\npass in on lan proto tcp {keeps} state\n"
    );
    let (lab, weir) = start(io, &rules);
    let _web = WebServer::start(&lab.server, 80);
    assert_eq!(curl(&lab.client, &lab.server, family, 80).as_deref(), Ok(WebServer::PAGE));
    let _echo = TcpServer::start(&lab.server, 9, |mut stream| {
        std::io::copy(&mut stream.try_clone()?, &mut stream)?;
        stream.shutdown(Shutdown::Write)
    });
    let sent = WebServer::pattern(1_000_000);
    let stream = connect(&lab.client, lab.server.address(family), 9, PATIENCE).expect("an answer");
    let mut received = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (&stream).write_all(&sent).expect("the other end reads");
            stream.shutdown(Shutdown::Write).expect("is open");
        });
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        (&stream).read_to_end(&mut received).expect("the other end sends it back and closes");
    });
    assert!(received == sent, "damaged");
    assert_no_mismatch(&weir);
    assert!(!weir.log().iter().any(|line| line.contains("Flags [")), "{:?}", weir.log());
}

/// A RST and an ICMP error come back by the session, and the hosts believe them.
fn what_is_blocked_is_refused_at_once(io: Io, family: Family) {
    let (lab, weir) = start(io, "block return in log on lan\n");
    let _shut = WebServer::start(&lab.server, 81);
    let began = Instant::now();
    let refused = connect(&lab.client, lab.server.address(family), 81, PATIENCE);
    assert_eq!(refused.map_err(|error| error.kind()).unwrap_err(), ErrorKind::ConnectionRefused);
    // A SYN without an answer is sent again after a second: this was the answer to the first.
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let socket = lab
        .client
        .namespace
        .within(|| UdpSocket::bind(SocketAddr::new(lab.client.address(family), 0)))
        .expect("the address is ours");
    socket.connect((lab.server.address(family), 82)).expect("there is a route");
    socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
    socket.send(b"is anybody there?").expect("there is a route");
    let error = socket.recv(&mut [0; 100]).map_err(|error| error.kind());
    assert_eq!(error, Err(ErrorKind::ConnectionRefused));
    eventually("both in the log, with their session", || {
        let log = weir.log();
        let seen = |what: &str| {
            log.iter().any(|line| line.contains("PPPoE  [ses 0x1234] IP") && line.contains(what))
        };
        seen("Flags [S]") && seen("UDP, length 17")
    });
}

fn long_datagrams_travel_in_fragments(io: Io, family: Family) {
    let (lab, weir) = start(io, "block in log\npass in on lan proto udp to port 7\n");
    for host in [&lab.client, &lab.server] {
        host.namespace.ip(&["link", "set", "eth0", "mtu", "1492"]);
    }
    let _echo = EchoServer::start(&lab.server, 7);
    for length in [1, 1_000, 10_000, 60_000] {
        let payload = WebServer::pattern(length);
        assert_eq!(crate::traffic::exchange(&lab.client, &lab.server, family, &payload), payload);
    }
    let log = weir.log();
    assert!(!log.iter().any(|line| line.contains("UDP") || line.contains("frag")), "{log:#?}");
}

/// Both ends hear of it by frames that the firewall has made itself.
fn the_connection_too_many_is_reset(io: Io, family: Family) {
    let (lab, weir) = start(io, "pass proto tcp keep state (max-src-conn 1)\n");
    let _server = TcpServer::start(&lab.server, 80, |mut stream| {
        stream.write_all(b"welcome")?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    });
    let open = || connect(&lab.client, lab.server.address(family), 80, PATIENCE);
    let mut first = open().expect("the first is welcome");
    first.read_exact(&mut [0; 7]).expect("a welcome");
    // The handshake is done for the client when it hears the SYN-ACK; the RST may come before it looks.
    let heard = open().and_then(|mut second| {
        second.set_read_timeout(Some(PATIENCE))?;
        second.read(&mut [0; 7])
    });
    assert_eq!(heard.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    assert_eq!(weir.counter("max-src-conn"), 1);
    first.write_all(b"still here").expect("the first is as it was");
}

/// What sets the line up passes whatever the rules say of IP; what would hide its data does not.
fn discovery_and_link_control_cross(io: Io) {
    let (lab, weir) = start(io, "block\n");
    let far = Capture::start(&lab.server.namespace, "eth0", "not ip and not ip6 and not arp");
    let socket = RawSocket::open(&lab.client.namespace, "eth0");
    let frame = |to: [u8; 6], behind: &[u8]| {
        let mut frame = [&to[..], &lab.client.mac, behind].concat();
        frame.resize(60, 0);
        frame
    };
    let padi = frame([0xff; 6], &[0x88, 0x63, 0x11, 0x09, 0, 0, 0, 4, 1, 1, 0, 0]);
    let padt = frame(lab.server.mac, &[0x88, 0x63, 0x11, 0xa7, 0x12, 0x34, 0, 0]);
    socket.send(&frame(lab.server.mac, &[0x88, 0x63, 0x11, 0x77, 0, 0, 0, 0]));
    for control in [&padi, &padt] {
        socket.send(control);
        far.wait("a frame of discovery", |frame| frame.starts_with(&control[..20]));
    }
    assert_eq!((weir.counter("pppoe"), far.frames().len()), (1, 2));
}
