//! `synproxy state` between real hosts: the client shakes hands with weir, the server with weir, and
//! neither notices afterwards, whatever options they have, over good cables and bad ones.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::Arc;

use weir_tests::lab::{
    Family, Host, Io, Lab, PATIENCE, Stream, TcpServer, WebServer, Weir, WeirOptions, eventually,
};

use crate::bad_cables::{
    BAD, a_reset_ends_connections, assert_healthy, echo, exchange, start,
    tuples_can_be_used_again_at_once,
};
use crate::traffic::{ab, iperf, received};
use crate::{assert_no_mismatch, assert_no_mismatch_but, connect, on_every_port};

on_every_port! {
    pages_are_fetched_with_every_set_of_options
    bulk_arrives_whole_both_ways
    long_transfers_arrive_whole
    bulk_arrives_whole_over_bad_cables
    short_connections_all_succeed
    short_connections_all_succeed_over_bad_cables
    resets_and_reuse_over_bad_cables
    two_workers_share_the_handshakes
    a_server_that_speaks_first_is_heard_over_bad_cables
    a_server_that_refuses_is_told_of
    a_silent_server_is_asked_meanwhile
    streams_never_stall
}

pub(crate) const RULES: &str = "block log\npass proto tcp synproxy state\n";

/// What can be switched off.
const OPTIONS: [&str; 3] = ["tcp_timestamps", "tcp_sack", "tcp_window_scaling"];

/// Every set of options at the server meets every one at the client: the first time, when weir does
/// not know the server, and then.
fn pages_are_fetched_with_every_set_of_options(io: Io, family: Family) {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(io, RULES));
    let expected = WebServer::pattern(300_000);
    for at_server in 0..8 {
        set_options(&lab.server, at_server);
        // Weir remembers what a server has.
        let port = 8_000 + at_server;
        let _web = WebServer::start(&lab.server, port);
        for at_client in 0..8 {
            set_options(&lab.client, at_client);
            for time in 0..2 {
                let page = fetch(&lab, family, port, "bytes/300000");
                let same = page.as_deref().is_ok_and(|page| page == expected);
                assert!(same, "{at_server:b} {at_client:b} {time}: {:?}", page.err());
            }
        }
    }
    assert_no_mismatch(&weir);
}

/// Switches off what has a bit.
pub(crate) fn set_options(host: &Host, off: u16) {
    for (bit, option) in OPTIONS.iter().enumerate() {
        let value = if off >> bit & 1 == 0 { "1" } else { "0" };
        host.namespace.sysctl(&format!("net.ipv4.{option}"), value);
    }
}

/// Fetches something of a server's with curl.
pub(crate) fn fetch(lab: &Lab, family: Family, port: u16, path: &str) -> Result<Vec<u8>, String> {
    let url = format!("http://{}/{path}", lab.server.socket(family, port));
    let file = lab.folder().join("fetched");
    let file = file.to_string_lossy();
    let command = ["curl", "-sS", "--noproxy", "*", "-g", "--max-time", "60", "-o", &*file, &url];
    let said = lab.client.run(&command);
    if !said.success() {
        return Err(said.stderr);
    }
    std::fs::read(&*file).map_err(|error| error.to_string())
}

fn bulk_arrives_whole_both_ways(io: Io, family: Family) {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(io, RULES));
    let _echo = TcpServer::start(&lab.server, 9, echo);
    let sent = WebServer::pattern(32_000_000);
    for offloads in ["on", "off"] {
        for host in [&lab.client, &lab.server] {
            let set = ["ethtool", "-K", "eth0", "tx", offloads, "tso", offloads, "gso", offloads];
            host.run(&set).expect_success();
        }
        assert!(exchange(&lab, family, 9, &sent) == sent, "damaged with offloads {offloads}");
    }
    assert_no_mismatch(&weir);
}

/// A quarter of a gigabyte down and up again, or as many bytes as `WEIR_BULK` says, compared to the
/// last.
fn long_transfers_arrive_whole(io: Io, family: Family) {
    let length = std::env::var("WEIR_BULK").map_or(1 << 28, |text| {
        text.parse().unwrap_or_else(|_| panic!("WEIR_BULK={text} is no number of bytes"))
    });
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(io, RULES));
    let [down, up] = [1, 2].map(|seed| Arc::new(Stream::new(seed)));
    let (sends, checks) = (down.clone(), up.clone());
    let _sender = TcpServer::start(&lab.server, 20, move |stream| sends.send(stream, length));
    let _checker = TcpServer::start(&lab.server, 21, move |mut stream| {
        let count = checks.check(&stream)?;
        stream.write_all(&count.to_be_bytes())
    });
    let open = |port| {
        let stream = connect(&lab.client, lab.server.address(family), port, PATIENCE);
        let stream = stream.expect("passes");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream
    };
    assert_eq!(down.check(open(20)).expect("undamaged"), length);
    let mut stream = open(21);
    up.send(&stream, length).expect("the server reads");
    stream.shutdown(Shutdown::Write).expect("is open");
    let mut count = [0; 8];
    stream.read_exact(&mut count).expect("undamaged");
    assert_eq!(u64::from_be_bytes(count), length);
    assert_no_mismatch(&weir);
}

fn bulk_arrives_whole_over_bad_cables(io: Io, family: Family) {
    let (lab, weir) = start(io, BAD, RULES);
    let _echo = TcpServer::start(&lab.server, 9, echo);
    let sent = WebServer::pattern(2_000_000);
    for _ in 0..2 {
        assert!(exchange(&lab, family, 9, &sent) == sent, "damaged");
    }
    assert_healthy(&weir);
}

fn short_connections_all_succeed(io: Io, family: Family) {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(io, RULES));
    let web = WebServer::start(&lab.server, 80);
    let said = ab(&lab, family, 10_000);
    assert!(said.contains("Complete requests:      10000"), "{said}");
    assert!(said.contains("Failed requests:        0"), "{said}");
    assert!(web.served() >= 10_000, "{}", web.served());
    assert_no_mismatch(&weir);
}

fn short_connections_all_succeed_over_bad_cables(io: Io, family: Family) {
    let (lab, weir) = start(io, BAD, RULES);
    let web = WebServer::start(&lab.server, 80);
    let said = ab(&lab, family, 1_000);
    assert!(said.contains("Complete requests:      1000"), "{said}");
    assert!(said.contains("Failed requests:        0"), "{said}");
    assert!(web.served() >= 1_000, "{}", web.served());
    assert_healthy(&weir);
}

fn resets_and_reuse_over_bad_cables(io: Io, family: Family) {
    a_reset_ends_connections(io, family, RULES);
    tuples_can_be_used_again_at_once(io, family, RULES);
}

/// The worker that a client's ACK arrives at is often not the one that has answered the SYN, nor the
/// one that the server's answer arrives at.
fn two_workers_share_the_handshakes(io: Io, family: Family) {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions { workers: 2, ..WeirOptions::new(io, RULES) });
    let _web = WebServer::start(&lab.server, 80);
    let said = ab(&lab, family, 2_000);
    assert!(said.contains("Failed requests:        0"), "{said}");
    // ab resets the connections that it has not used, by another queue than their data.
    assert_no_mismatch_but(&weir, &["tcp-bad-reset"]);
}

/// Whether or not the client's ACK was lost.
fn a_server_that_speaks_first_is_heard_over_bad_cables(io: Io, family: Family) {
    let (lab, weir) = start(io, BAD, RULES);
    let _banner =
        TcpServer::start(&lab.server, 25, |mut stream| stream.write_all(b"220 ready\r\n"));
    for turn in 0..200 {
        let mut stream = connect(&lab.client, lab.server.address(family), 25, PATIENCE)
            .unwrap_or_else(|error| panic!("turn {turn}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let mut heard = String::new();
        let read = stream.read_to_string(&mut heard);
        assert_eq!((read.ok(), heard.as_str()), (Some(11), "220 ready\r\n"), "turn {turn}");
    }
    assert_healthy(&weir);
}

/// The client believes that it is connected, and learns at once that it is not.
fn a_server_that_refuses_is_told_of(io: Io, family: Family) {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(io, RULES));
    for _ in 0..5 {
        assert_eq!(
            first_word(&lab, lab.server.address(family), 81),
            Err(ErrorKind::ConnectionReset)
        );
    }
    let info = weir.show(&["-s", "info"]);
    assert_eq!(crate::counter_in(&info, "server refused"), 5, "{info}");
}

/// Connects and waits for what comes.
fn first_word(lab: &Lab, server: IpAddr, port: u16) -> Result<usize, ErrorKind> {
    let read = |mut stream: TcpStream| -> io::Result<usize> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.read(&mut [0; 100])
    };
    // The RST may come before `connect` returns.
    connect(&lab.client, server, port, PATIENCE).and_then(read).map_err(|error| error.kind())
}

/// A host that has gone: its neighbours still know its hardware address.
fn a_silent_server_is_asked_meanwhile(io: Io, family: Family) {
    let lab = Lab::new();
    let rules = format!("set timeout tcp.opening 2\n{RULES}");
    let weir = Weir::start(&lab, &WeirOptions::new(io, &rules));
    let gone: IpAddr = match family {
        Family::Inet => [192, 0, 2, 77].into(),
        Family::Inet6 => "2001:db8::77".parse().expect("an address"),
    };
    let mac = lab.server.mac.map(|byte| format!("{byte:02x}")).join(":");
    let (to, dev) = (gone.to_string(), "eth0");
    lab.client.namespace.ip(&["neigh", "add", &to, "lladdr", &mac, "dev", dev, "nud", "permanent"]);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| first_word(&lab, gone, 80));
        eventually("the server is asked", || weir.show(&["-s", "states"]).contains("PROXY:DST"));
        let heard = waits.join().expect("it does not panic");
        assert_eq!(heard, Err(ErrorKind::ConnectionReset));
    });
    let info = weir.show(&["-s", "info"]);
    assert_eq!(crate::counter_in(&info, "server silent"), 1, "{info}");
}

fn streams_never_stall(io: Io, family: Family) {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(io, RULES));
    for flags in [["-P", "4"], ["-P", "1"]] {
        let report = iperf(&lab, family, &[&["-t", "3", "-i", "0.5"], &flags[..]].concat());
        let intervals = report["intervals"].as_array().unwrap_or_else(|| panic!("{report}"));
        assert!(intervals.len() >= 5, "{report}");
        for interval in intervals {
            assert!(interval["sum"]["bytes"].as_u64() > Some(0), "a stall: {interval}");
        }
        assert!(received(&report) > 0);
        assert_no_mismatch(&weir);
    }
}
