//! `modulate state` between real hosts: neither end notices, on good cables and on bad ones, with what
//! hardware does for hosts and without it, and each sees other sequence numbers than its peer has
//! chosen.

use weir_tests::lab::{Capture, Family, Host, Io, Lab, TcpServer, WebServer, Weir, WeirOptions};

use crate::bad_cables::{BAD, assert_healthy, echo, exchange, start};
use crate::traffic::{ab, iperf, received};
use crate::{assert_no_mismatch, curl, on_every_port};

on_every_port! {
    both_ends_see_other_numbers_than_their_peer_has_chosen
    downloads_arrive_whole_with_and_without_offloads
    bulk_arrives_whole_over_bad_cables
    short_connections_all_succeed_over_bad_cables
    streams_never_stall
}

const RULES: &str = "block log\npass proto tcp modulate state\n";

/// Sequence number of a TCP segment without IP options.
fn seq(frame: &[u8], family: Family) -> u32 {
    let at = 14 + if family == Family::Inet { 20 } else { 40 } + 4;
    u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"))
}

fn both_ends_see_other_numbers_than_their_peer_has_chosen(io: Io, family: Family) {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(io, RULES));
    let _web = WebServer::start(&lab.server, 80);
    let syns = "ip6[6] == 6 and ip6[53] & 2 != 0 or tcp[tcpflags] & tcp-syn != 0";
    let captures =
        [&lab.client, &lab.server].map(|host| Capture::start(&host.namespace, "eth0", syns));
    assert_eq!(curl(&lab.client, &lab.server, family, 80).as_deref(), Ok(WebServer::PAGE));
    let flags = 14 + if family == Family::Inet { 20 } else { 40 } + 13;
    for kind in [0x02, 0x12] {
        let [client, server] = captures.each_ref().map(|capture| {
            seq(&capture.wait("a SYN", |frame| frame[flags] & 0x12 == kind), family)
        });
        assert_ne!(client, server, "flags {kind:x}");
    }
    let states = weir.show(&["-vs", "states"]);
    assert!(states.matches("](+").count() >= 2, "{states}");
    assert_no_mismatch(&weir);
}

fn downloads_arrive_whole_with_and_without_offloads(io: Io, family: Family) {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(io, RULES));
    let hosts = [&lab.client, &lab.server];
    let _webs = hosts.map(|host| WebServer::start(host, 80));
    for offloads in ["on", "off"] {
        for host in hosts {
            let set = ["ethtool", "-K", "eth0", "tx", offloads, "tso", offloads, "gso", offloads];
            host.run(&set).expect_success();
        }
        for (from, to) in [(hosts[0], hosts[1]), (hosts[1], hosts[0])] {
            download(&lab, from, to, family);
        }
        assert_no_mismatch(&weir);
    }
}

fn download(lab: &Lab, from: &Host, to: &Host, family: Family) {
    let url = format!("http://{}/bytes/20000000", to.socket(family, 80));
    let file = lab.folder().join("download");
    let file = file.to_string_lossy();
    let command = ["curl", "-sS", "--noproxy", "*", "-g", "--max-time", "60", "-o", &*file, &url];
    from.run(&command).expect_success();
    let downloaded = std::fs::read(&*file).expect("curl wrote it");
    assert!(downloaded == WebServer::pattern(20_000_000), "the download is damaged");
}

fn bulk_arrives_whole_over_bad_cables(io: Io, family: Family) {
    let (lab, weir) = start(io, BAD, RULES);
    let _echo = TcpServer::start(&lab.server, 9, echo);
    let sent = WebServer::pattern(4_000_000);
    assert!(exchange(&lab, family, 9, &sent) == sent, "damaged");
    assert_healthy(&weir);
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

/// With the offloads that hosts have by default.
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
