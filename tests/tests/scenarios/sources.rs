//! Limits of sources, as PROBLEMS.md has them from their owners: P1, P2, P4.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::sockopt::set_socket_recv_buffer_size;

use weir_tests::frames;
use weir_tests::lab::{
    Family, HoldingServer, Host, Io, Lab, PATIENCE, RawSocket, WebServer, Weir, WeirOptions,
    eventually,
};

use crate::{connect, curl, on_every_port};

on_every_port! {
    p1_the_server_accepts_ten_of_a_hundred_connections
    p2_dying_connections_cost_nothing
    p4_slow_clients_hold_no_place_of_the_server
}

/// Opens connections, whether or not anything comes of them.
fn open(lab: &Lab, family: Family, count: usize) -> Vec<TcpStream> {
    let to = lab.server.address(family);
    // One that was reset before connect() returned is an error already.
    (0..count).filter_map(|_| connect(&lab.client, to, 80, PATIENCE).ok()).collect()
}

/// Those that stand: a reset is told once, and then looks like an end.
fn living(streams: &[TcpStream]) -> usize {
    let lives = |mut stream: &TcpStream| {
        stream.set_nonblocking(true).expect("a socket");
        stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    streams.iter().filter(|stream| lives(stream)).count()
}

/// States and connections of the client in `-s Sources`.
fn counted(weir: &Weir, client: &Host, family: Family) -> Option<(u32, u32)> {
    let listing = weir.show(&["-s", "Sources"]);
    let none = if family == Family::Inet { "0.0.0.0" } else { "::" };
    let begin = format!("{} -> {none} ( states ", client.address(family));
    let rest = listing.lines().find_map(|line| line.strip_prefix(&begin))?;
    let (states, rest) = rest.split_once(", connections ").expect("pfctl's words");
    let (connections, _) = rest.split_once(", rate ").expect("pfctl's words");
    Some((states.parse().expect("a number"), connections.parse().expect("a number")))
}

fn p1_the_server_accepts_ten_of_a_hundred_connections(io: Io, family: Family) {
    for workers in [1, 2] {
        let lab = Lab::new();
        let rules = "block in\npass in on lan proto tcp keep state (max-src-conn 10)\n";
        let weir = Weir::start(&lab, &WeirOptions { workers, ..WeirOptions::new(io, rules) });
        let server = HoldingServer::start(&lab.server, 80);
        for round in 1..=2 {
            let streams = open(&lab, family, 100);
            eventually("ninety are reset", || living(&streams) == 10);
            eventually("ten are accepted", || server.accepted() == 10 * round);
            assert_eq!(weir.counter("max-src-conn"), 90 * round);
            assert_eq!(counted(&weir, &lab.client, family).map(|(_, open)| open), Some(10));
            server.close();
            eventually("the places are free", || {
                counted(&weir, &lab.client, family).is_none_or(|(_, open)| open == 0)
            });
            assert_eq!(server.accepted(), 10 * round);
        }
        let rules = weir.show(&["-vs", "rules"]);
        assert!(rules.contains("[ Refused: max-src-conn 180 ]"), "{rules}");
    }
}

fn p2_dying_connections_cost_nothing(io: Io, family: Family) {
    let lab = Lab::new();
    let rules = "block in\npass in on lan proto tcp keep state (max-src-conn 10)\n";
    let weir = Weir::start(&lab, &WeirOptions::new(io, rules));
    let server = HoldingServer::start(&lab.server, 80);
    let mut number = 0;
    let mut begin = || {
        let stream = connect(&lab.client, lab.server.address(family), 80, PATIENCE);
        number += 1;
        eventually("it is accepted", || server.accepted() == number);
        stream.expect("passes")
    };
    let shows = |port: u16, states: &str| {
        let port = if family == Family::Inet { format!(":{port} ") } else { format!("[{port}] ") };
        eventually(states, || {
            let listing = weir.show(&["-s", "states"]);
            listing.lines().any(|line| line.contains(&port) && line.ends_with(states))
        });
    };
    let port = |stream: &TcpStream| stream.local_addr().expect("connected").port();
    let connections = |count| {
        eventually("the count", || {
            counted(&weir, &lab.client, family).is_some_and(|(_, open)| open == count)
        });
    };
    // The server closes first and the client follows.
    let follows = begin();
    let at = port(&follows);
    connections(1);
    server.close();
    shows(at, "FIN_WAIT_2:ESTABLISHED");
    connections(0);
    drop(follows);
    shows(at, "FIN_WAIT_2:FIN_WAIT_2");
    // The server closes and the client sleeps.
    let sleeps = begin();
    connections(1);
    server.close();
    shows(port(&sleeps), "FIN_WAIT_2:ESTABLISHED");
    connections(0);
    // The client closes and the server sleeps: it holds the connection still.
    let closes = begin();
    let at = port(&closes);
    drop(closes);
    shows(at, "ESTABLISHED:FIN_WAIT_2");
    assert_eq!(counted(&weir, &lab.client, family), Some((3, 1)));
    server.close();
    connections(0);
}

/// Clients that take their time: half of them send a header that never ends, half read an answer, a few
/// bytes ten times a second.
struct SlowClients {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl SlowClients {
    fn start(lab: &Lab, family: Family, count: usize) -> Self {
        let streams = open(lab, family, count);
        assert_eq!(streams.len(), count);
        for (at, mut stream) in streams.iter().enumerate() {
            set_socket_recv_buffer_size(stream, 4096).expect("a socket");
            let request: &[u8] = if at % 2 == 0 {
                b"GET / HTTP/1.0\r\nX-Slow: "
            } else {
                b"GET /bytes/4000000 HTTP/1.0\r\n\r\n"
            };
            stream.write_all(request).expect("room for a line");
            stream.set_nonblocking(true).expect("a socket");
        }
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let pace = Duration::from_millis(100);
            while stopped.recv_timeout(pace) == Err(RecvTimeoutError::Timeout) {
                for (at, mut stream) in streams.iter().enumerate() {
                    // What was reset stays so.
                    let _ = if at % 2 == 0 { stream.write(b"x") } else { stream.read(&mut [0; 8]) };
                }
            }
        });
        Self { stop, thread }
    }

    fn stop(self) {
        drop(self.stop);
        self.thread.join().expect("it does not panic");
    }
}

/// As many slow clients as the server has threads: nobody else is served for as long as they like, unless
/// progress is demanded.
fn p4_slow_clients_hold_no_place_of_the_server(io: Io, family: Family) {
    let fetch = |lab: &Lab, limit: Duration| {
        let stream = connect(&lab.client, lab.server.address(family), 80, PATIENCE);
        let mut stream = stream.expect("the kernel connects");
        stream.set_read_timeout(Some(limit)).expect("not zero");
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("room");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    let full = |lab: &Lab, options: &str| {
        let rules = format!("block in\npass in on lan proto tcp keep state {options}\n");
        let weir = Weir::start(lab, &WeirOptions::new(io, &rules));
        let web = WebServer::start(&lab.server, 80);
        let slow = SlowClients::start(lab, family, WebServer::CONNECTIONS);
        eventually("all are connected", || {
            weir.show(&["-s", "states"]).matches("ESTABLISHED:ESTABLISHED").count()
                == WebServer::CONNECTIONS
        });
        (weir, web, slow)
    };
    {
        let lab = Lab::new();
        let (_weir, _web, slow) = full(&lab, "(tcp.established 5)");
        assert!(fetch(&lab, Duration::from_secs(1)).is_err(), "the server has a thread to spare");
        slow.stop();
    }
    let lab = Lab::new();
    let (weir, _web, slow) = full(&lab, "(max-idle 60, min-rate 1000/2)");
    // One that has to wait for as long as the slow ones were allowed to may be reset like these.
    eventually("the server is free again", || {
        fetch(&lab, PATIENCE).is_ok_and(|answer| answer.ends_with(WebServer::PAGE))
    });
    eventually("all slow ones are reset", || {
        weir.counter("min-rate") >= WebServer::CONNECTIONS as u64
    });
    for _ in 0..10 {
        let page = curl(&lab.client, &lab.server, family, 80);
        assert_eq!(page.as_deref(), Ok(WebServer::PAGE));
    }
    let rules = weir.show(&["-vs", "rules"]);
    assert!(rules.contains("[ Refused: min-rate "), "{rules}");
    assert_eq!(weir.counter("max-idle"), 0);
    slow.stop();
}

#[test]
fn p4_a_source_goes_into_the_table_and_its_connections_end() {
    let lab = Lab::new();
    let rules = "table <bad> persist\nblock in\npass in on lan proto tcp \
                 keep state (max-src-conn 5, overload <bad> flush global)\n\
                 block in quick on lan from <bad>\n";
    let weir =
        Weir::start(&lab, &WeirOptions { workers: 2, ..WeirOptions::new(Io::Packet, rules) });
    let server = HoldingServer::start(&lab.server, 80);
    let client = lab.client.address(Family::Inet).to_string();
    let streams = open(&lab, Family::Inet, 5);
    eventually("all are accepted", || server.accepted() == 5);
    assert_eq!(living(&streams), 5);
    assert!(!weir.show(&["-t", "bad", "-T", "show"]).contains(&client));
    let _surplus = open(&lab, Family::Inet, 1);
    eventually("it is in the table", || {
        weir.show(&["-t", "bad", "-T", "show"]).lines().any(|line| line.trim() == client)
    });
    eventually("its states are gone", || !weir.show(&["-s", "states"]).contains(" tcp "));
    let limit = Duration::from_millis(200);
    assert!(connect(&lab.client, lab.server.address(Family::Inet), 80, limit).is_err());
    assert_eq!(server.accepted(), 5);
    weir.show(&["-t", "bad", "-T", "delete", &client]);
    let _again =
        connect(&lab.client, lab.server.address(Family::Inet), 80, PATIENCE).expect("passes");
}

#[test]
fn p4_spoofed_syns_ban_nobody() {
    let lab = Lab::new();
    let rules = "table <bad> persist\nblock in quick from <bad>\npass in on lan proto tcp \
                 keep state (max-src-conn 5, max-src-conn-rate 5/60, overload <bad> flush global)\n";
    let weir = Weir::start(&lab, &WeirOptions::new(Io::Packet, rules));
    let server = HoldingServer::start(&lab.server, 80);
    let socket = RawSocket::open(&lab.client.namespace, "eth0");
    let target = SocketAddr::new(lab.server.address(Family::Inet), 80);
    let syns: Vec<_> = (0..200_u16)
        .map(|n| {
            let source = SocketAddr::new(lab.client.address(Family::Inet), 20_000 + n);
            frames::syn(&lab.client, &lab.server, source, target, n.into())
        })
        .collect();
    assert_eq!(socket.send_all(&syns), syns.len());
    eventually("they are seen", || weir.counter("inserts") >= 200);
    let streams = open(&lab, Family::Inet, 5);
    eventually("all are accepted", || server.accepted() == 5);
    assert_eq!(living(&streams), 5);
    assert_eq!(weir.show(&["-t", "bad", "-T", "show"]), "");
}

#[test]
fn a_source_that_is_killed_begins_anew() {
    let lab = Lab::new();
    let rules = "pass in on lan proto tcp keep state (max-src-conn 2)\n";
    let weir = Weir::start(&lab, &WeirOptions::new(Io::Packet, rules));
    let server = HoldingServer::start(&lab.server, 80);
    let first = open(&lab, Family::Inet, 3);
    eventually("one is reset", || living(&first) == 2);
    let client = lab.client.address(Family::Inet).to_string();
    let said = weir.ctl(&["-K", &client]);
    assert!(said.stderr.contains("killed 1 src nodes from 1 sources"), "{said:?}");
    assert_eq!(weir.show(&["-s", "Sources"]), "");
    let second = open(&lab, Family::Inet, 3);
    eventually("one is reset", || living(&second) == 2);
    eventually("all but these are accepted", || server.accepted() == 4);
    assert_eq!(living(&first), 2);
    let json = weir.show(&["--json", "-s", "Sources"]);
    assert!(json.contains("\"connections\":2"), "{json}");
    // The one that was killed keeps its place until its last state has ended.
    let memory = weir.show(&["-s", "memory"]);
    assert!(memory.contains("src-nodes     hard limit    10000 used        2"), "{memory}");
    weir.show(&["-F", "Sources"]);
    assert_eq!(weir.show(&["-s", "Sources"]), "");
}
