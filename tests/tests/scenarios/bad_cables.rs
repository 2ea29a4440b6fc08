//! Real hosts whose cables lose, double, hold back and reorder frames on both sides of weir: every
//! connection comes to its end with every byte, nothing of it is taken for a stray, nothing of it is
//! in the log of what was blocked.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{
    set_socket_keepalive, set_socket_linger, set_socket_reuseaddr, set_tcp_keepidle,
    set_tcp_keepintvl,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use weir_tests::faults::Faults;
use weir_tests::lab::{
    Family, Io, Lab, PATIENCE, TcpServer, Topology, WebServer, Weir, WeirOptions, eventually,
};
use weir_tests::random::Random;

use crate::traffic::ab;
use crate::{assert_no_mismatch_but, curl, on_every_port};

on_every_port! {
    pages_are_fetched
    a_dialogue_goes_on
    bulk_arrives_whole
    damage_never_reaches_an_application
    short_connections_all_succeed
    half_closed_connections_deliver_the_rest
    a_reset_ends_a_connection
    a_tuple_can_be_used_again_at_once
    keep_alives_keep_an_idle_connection
}

/// What is held back comes later than what was sent after it, but within a round trip, as on real
/// paths: then nothing is so late that its receiver would throw it away.
pub(crate) const BAD: Faults = Faults {
    loss: 8,
    duplication: 8,
    corruption: 0,
    reordering: 50,
    late: Duration::from_millis(1),
    delay: Duration::from_micros(500),
};

/// What is not TCP's is blocked, and what is blocked is logged.
const RULES: &str = "block log\npass proto tcp\n";

pub(crate) fn start(io: Io, faults: Faults, rules: &str) -> (Lab, Weir) {
    let lab = Lab::with(Topology { faults: [Some(faults); 2], ..Topology::default() });
    let weir = Weir::start(&lab, &WeirOptions::new(io, rules));
    (lab, weir)
}

/// Asserts that nothing of a connection was taken for a stray, and that none of it is in the log.
pub(crate) fn assert_healthy(weir: &Weir) {
    assert_healthy_but(weir, &[]);
}

fn assert_healthy_but(weir: &Weir, exceptions: &[&str]) {
    assert_no_mismatch_but(weir, exceptions);
    let log = weir.log();
    let denied: Vec<_> = log.iter().filter(|line| line.contains("Flags [")).collect();
    assert!(denied.is_empty(), "{denied:#?}");
}

/// A connection of the client to the server, from a port of its own if that is not 0. Whatever it
/// waits for comes within [`PATIENCE`] or fails.
fn open(lab: &Lab, family: Family, from: u16, port: u16) -> TcpStream {
    let (source, target) = (
        SocketAddr::new(lab.client.address(family), from),
        SocketAddr::new(lab.server.address(family), port),
    );
    let domain = match family {
        Family::Inet => AddressFamily::INET,
        Family::Inet6 => AddressFamily::INET6,
    };
    let connect = || {
        lab.client.namespace.within(|| {
            // Not to be inherited by what other tests start: it would stay open there.
            let socket = socket_with(domain, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            set_socket_reuseaddr(&socket, true)?;
            bind(&socket, &source)?;
            connect(&socket, &target)?;
            Ok(TcpStream::from(socket))
        })
    };
    let mut connected = connect();
    // What another test starts holds a socket that we have closed until it is loaded.
    eventually("the tuple is free", || {
        if matches!(connected, Err(Errno::ADDRNOTAVAIL | Errno::ADDRINUSE)) {
            connected = connect();
        }
        !matches!(connected, Err(Errno::ADDRNOTAVAIL | Errno::ADDRINUSE))
    });
    let stream = connected.unwrap_or_else(|error| panic!("{source} to {target}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
    stream
}

fn pages_are_fetched(io: Io, family: Family) {
    let (lab, weir) = start(io, BAD, RULES);
    let _far = WebServer::start(&lab.server, 80);
    let _near = WebServer::start(&lab.client, 80);
    for _ in 0..10 {
        for (from, to) in [(&lab.client, &lab.server), (&lab.server, &lab.client)] {
            assert_eq!(curl(from, to, family, 80).as_deref(), Ok(WebServer::PAGE));
        }
    }
    assert_healthy(&weir);
}

/// One connection, one question at a time, as somebody types into a shell.
fn a_dialogue_goes_on(io: Io, family: Family) {
    let (lab, weir) = start(io, BAD, RULES);
    let _echo = TcpServer::start(&lab.server, 22, |mut stream| {
        stream.set_nodelay(true)?;
        io::copy(&mut stream.try_clone()?, &mut stream).map(drop)
    });
    let mut stream = open(&lab, family, 0, 22);
    stream.set_nodelay(true).expect("a socket option");
    let mut random = Random(1);
    for turn in 0..150 {
        let mut said = vec![0; 1 + random.below(100) as usize];
        said.fill_with(|| random.next() as u8);
        stream.write_all(&said).unwrap_or_else(|error| panic!("turn {turn}: {error}"));
        let mut heard = vec![0; said.len()];
        stream.read_exact(&mut heard).unwrap_or_else(|error| panic!("turn {turn}: {error}"));
        assert_eq!(heard, said, "turn {turn}");
    }
    assert_healthy(&weir);
}

/// Bytes for both ways at once; returns what came back.
pub(crate) fn exchange(lab: &Lab, family: Family, port: u16, bytes: &[u8]) -> Vec<u8> {
    let stream = open(lab, family, 0, port);
    let mut received = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (&stream).write_all(bytes).expect("the other end reads");
            stream.shutdown(Shutdown::Write).expect("is open");
        });
        (&stream).read_to_end(&mut received).expect("the other end sends it back and closes");
    });
    received
}

pub(crate) fn echo(mut stream: TcpStream) -> io::Result<()> {
    io::copy(&mut stream.try_clone()?, &mut stream)?;
    stream.shutdown(Shutdown::Write)
}

fn bulk_arrives_whole(io: Io, family: Family) {
    let (lab, weir) = start(io, BAD, RULES);
    let _echo = TcpServer::start(&lab.server, 9, echo);
    let sent = WebServer::pattern(4_000_000);
    assert!(exchange(&lab, family, 9, &sent) == sent, "damaged");
    assert_healthy(&weir);
}

/// Frames with a flipped bit are lost frames to the hosts; what weir makes of one depends on where the
/// bit is.
fn damage_never_reaches_an_application(io: Io, family: Family) {
    let (lab, _weir) = start(io, Faults { corruption: 10, ..BAD }, "pass\n");
    let _echo = TcpServer::start(&lab.server, 9, echo);
    let sent = WebServer::pattern(1_000_000);
    assert!(exchange(&lab, family, 9, &sent) == sent, "damaged");
}

fn short_connections_all_succeed(io: Io, family: Family) {
    let (lab, weir) = start(io, BAD, RULES);
    let web = WebServer::start(&lab.server, 80);
    let said = ab(&lab, family, 2_000);
    assert!(said.contains("Complete requests:      2000"), "{said}");
    assert!(said.contains("Failed requests:        0"), "{said}");
    assert!(web.served() >= 2_000, "{}", web.served());
    assert_healthy(&weir);
}

/// One end has said all it had to say and listens on: to more than a window of bytes.
fn half_closed_connections_deliver_the_rest(io: Io, family: Family) {
    const LENGTH: usize = 200_000;
    let (lab, weir) = start(io, BAD, RULES);
    let _closed_by_client = TcpServer::start(&lab.server, 80, |mut stream| {
        let mut received = Vec::new();
        stream.read_to_end(&mut received)?;
        stream.write_all(&received)
    });
    let (heard, hears) = channel();
    let _closed_by_server = TcpServer::start(&lab.server, 81, move |mut stream| {
        stream.write_all(&WebServer::pattern(LENGTH))?;
        stream.shutdown(Shutdown::Write)?;
        let mut received = Vec::new();
        stream.read_to_end(&mut received)?;
        heard.send(received).map_err(|_| io::Error::from(ErrorKind::BrokenPipe))
    });
    let pattern = WebServer::pattern(LENGTH);
    for _ in 0..5 {
        let mut stream = open(&lab, family, 0, 80);
        stream.write_all(&pattern).expect("the server reads");
        stream.shutdown(Shutdown::Write).expect("is open");
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("the server answers");
        assert!(received == pattern, "damaged after the client's end");

        let mut stream = open(&lab, family, 0, 81);
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("the server sends");
        assert!(received == pattern, "damaged before the server's end");
        stream.write_all(&pattern).expect("the server reads on");
        drop(stream);
        let received = hears.recv_timeout(PATIENCE).expect("the server hears the client's end");
        assert!(received == pattern, "damaged after the server's end");
    }
    assert_healthy(&weir);
}

/// Starts a server that sends until it cannot, and says why.
fn talker(lab: &Lab) -> (TcpServer, Receiver<ErrorKind>) {
    let (ended, endings) = channel();
    let server = TcpServer::start(&lab.server, 80, move |mut stream| {
        let error = loop {
            if let Err(error) = stream.write_all(&[0; 10_000]) {
                break error.kind();
            }
        };
        ended.send(error).map_err(|_| io::Error::from(ErrorKind::BrokenPipe))
    });
    (server, endings)
}

/// Closes with a RST.
fn abort(stream: TcpStream) {
    set_socket_linger(&stream, Some(Duration::ZERO)).expect("a socket option");
    drop(stream);
}

fn assert_reset(endings: &Receiver<ErrorKind>) {
    let kind = endings.recv_timeout(PATIENCE).expect("the server learns of the end");
    assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind}");
}

/// The client breaks off while the server sends. The server learns of it, though the RST may be lost.
fn a_reset_ends_a_connection(io: Io, family: Family) {
    a_reset_ends_connections(io, family, RULES);
}

pub(crate) fn a_reset_ends_connections(io: Io, family: Family, rules: &str) {
    let (lab, weir) = start(io, BAD, rules);
    let (_server, endings) = talker(&lab);
    for _ in 0..15 {
        let mut stream = open(&lab, family, 0, 80);
        stream.read_exact(&mut vec![0; 30_000]).expect("the server sends");
        abort(stream);
        assert_reset(&endings);
    }
    // A RST that overtakes the data sent before it does not fit; each segment that still comes is
    // answered by another.
    assert_healthy_but(&weir, &["tcp-bad-reset"]);
}

/// After a reset, whether the server has heard of it or not, a new connection of the same addresses
/// and ports works at once.
fn a_tuple_can_be_used_again_at_once(io: Io, family: Family) {
    tuples_can_be_used_again_at_once(io, family, RULES);
}

pub(crate) fn tuples_can_be_used_again_at_once(io: Io, family: Family, rules: &str) {
    let (lab, weir) = start(io, BAD, rules);
    let (_server, endings) = talker(&lab);
    for _ in 0..20 {
        let mut stream = open(&lab, family, 40_000, 80);
        stream.read_exact(&mut vec![0; 30_000]).expect("the server sends");
        abort(stream);
    }
    for _ in 0..20 {
        assert_reset(&endings);
    }
    // What the server still sends of an old connection does not fit the new one.
    let of_old_ones = [
        "tcp-bad-reset",
        "tcp-far-reset",
        "tcp-window",
        "tcp-bad-ack",
        "tcp-old-ack",
        "tcp-bad-syn",
        "tcp-bad-syn-ack",
    ];
    assert_healthy_but(&weir, &of_old_ones);
}

/// An idle connection lives as long as its ends ask for each other, though its state would time out
/// between.
fn keep_alives_keep_an_idle_connection(io: Io, family: Family) {
    let rules = format!("set timeout tcp.established 6\n{RULES}");
    let (lab, weir) = start(io, BAD, &rules);
    let _echo = TcpServer::start(&lab.server, 22, echo);
    let mut stream = open(&lab, family, 0, 22);
    set_socket_keepalive(&stream, true).expect("a socket option");
    set_tcp_keepidle(&stream, Duration::from_secs(1)).expect("a socket option");
    set_tcp_keepintvl(&stream, Duration::from_secs(1)).expect("a socket option");
    // What the state has counted, once the connection has been idle for longer than it would live.
    eventually("ten keep-alives and their answers", || {
        let states = weir.show(&["-vvs", "states"]);
        let line = states.lines().find(|line| line.contains(" pkts")).unwrap_or_else(|| {
            panic!("the state is gone:\n{states}");
        });
        packets(line) >= [12, 11]
    });
    stream.write_all(b"still there?").expect("the connection lives");
    let mut heard = [0; 12];
    stream.read_exact(&mut heard).expect("it answers");
    assert_eq!(&heard, b"still there?");
    assert_healthy(&weir);
}

/// Those of the initiator and of the responder in a line of `-vvs states`: `3:2 pkts`.
fn packets(line: &str) -> [u64; 2] {
    let counts = line.split(" pkts").next().and_then(|before| before.rsplit(' ').next());
    let parsed = counts.and_then(|counts| {
        let (there, back) = counts.split_once(':')?;
        Some([there.parse().ok()?, back.parse().ok()?])
    });
    parsed.unwrap_or_else(|| panic!("no packets in {line}"))
}
