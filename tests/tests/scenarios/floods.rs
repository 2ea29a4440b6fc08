//! A server under a SYN flood, with no cookies of its own: lost behind a plain bridge, unharmed behind
//! weir, which neither forwards nor remembers a SYN of it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use weir_tests::lab::{
    Capture, Family, Io, KernelBridge, Lab, PATIENCE, SynFlood, Visitors, WebServer, Weir,
    WeirOptions, counter_in, eventually,
};
use weir_tests::syns::Syns;

use crate::{on_every_io, on_every_port};

on_every_port! {
    every_visitor_is_served_under_synproxy_state
    every_visitor_is_served_under_syncookies
}

on_every_io! {
    adaptive_syncookies_begin_with_the_flood
}

/// SYNs a second: few enough for any machine, more than any server has room for.
const RATE: f64 = 10_000.0;
/// What weir may ask for more memory while [`MANY`] SYNs are sent, in KiB. Ten bytes for each would be
/// more. (Memory in use is no measure: the kernel gives it two megabytes at a time.)
const GROWTH: u64 = 300;
const MANY: u64 = 30_000;

/// A lab whose server answers whoever claims to be somewhere else, and protects itself by nothing.
fn exposed(family: Family) -> (Lab, SocketAddr) {
    let lab = Lab::new();
    lab.server.namespace.sysctl("net.ipv4.tcp_syncookies", "0");
    let gateway = lab.client.address(family).to_string();
    lab.server.namespace.ip(&["route", "add", "default", "via", &gateway]);
    for key in ["ipv4.ip_forward", "ipv6.conf.all.forwarding"] {
        lab.client.namespace.sysctl(&format!("net.{key}"), "0");
    }
    let target = SocketAddr::new(lab.server.address(family), 80);
    (lab, target)
}

fn visit(lab: &Lab, target: SocketAddr, pages: u32, patience: Duration) -> Vec<io::Error> {
    let interval = Duration::from_millis(200);
    let visitors = Visitors { count: 10, pages, interval, patience };
    visitors.visit(&lab.client, target).into_iter().filter_map(Result::err).collect()
}

fn every_visitor_is_served(io: Io, family: Family, rules: &str) {
    let (lab, target) = exposed(family);
    let weir = Weir::start(&lab, &WeirOptions::new(io, rules));
    let _web = WebServer::start(&lab.server, 80);
    let seen = Capture::start(&lab.server.namespace, "eth0", Syns::FROM_THEM);
    let flood = SynFlood::start(&lab.client, lab.server.mac, target, Some(RATE), 1);
    assert!(visit(&lab, target, 2, PATIENCE).is_empty());
    eventually("the flood is answered", || weir.counter("sent") > 5_000);
    // Until it is looked at again nobody asks weir anything: each who does has a thread with its stack.
    let (before, sent_before) = (weir.memory("VmData"), flood.so_far().0);
    let failed = visit(&lab, target, 10, PATIENCE);
    assert!(failed.is_empty(), "{failed:?}");
    eventually("the flood goes on", || flood.so_far().0 > sent_before + MANY);
    let growth = weir.memory("VmData").saturating_sub(before);
    let info = weir.show(&["-s", "info"]);
    assert!(growth < GROWTH, "{growth} KiB, {before} before\n{info}");
    assert!(counter_in(&info, "sent") > MANY / 2, "most of it was lost\n{info}");
    drop(flood);

    let served = counter_in(&info, "valid");
    assert!((20..=120).contains(&served), "{info}");
    assert!(counter_in(&info, "current entries") <= served, "{info}");
    assert_eq!(counter_in(&info, "half-open tcp"), 0, "{info}");
    assert_eq!((counter_in(&info, "invalid"), counter_in(&info, "surplus")), (0, 0), "{info}");
    assert_eq!(seen.count(|_| true), 0, "the server has heard of the flood");
}

fn every_visitor_is_served_under_synproxy_state(io: Io, family: Family) {
    let rules = "set limit states 10000\nblock log\npass proto tcp synproxy state\n";
    every_visitor_is_served(io, family, rules);
}

fn every_visitor_is_served_under_syncookies(io: Io, family: Family) {
    let rules = "set limit states 10000\nset syncookies always\nblock log\npass proto tcp\n";
    every_visitor_is_served(io, family, rules);
}

/// Cookies begin before the server's queue is full, which takes 128 that have not shaken hands, and so
/// nobody notices.
fn adaptive_syncookies_begin_with_the_flood(io: Io) {
    const START: u64 = 80;
    let family = if io == Io::Xdp { Family::Inet6 } else { Family::Inet };
    let (lab, target) = exposed(family);
    let rules = "set limit states 4000\nset syncookies adaptive (start 2%, end 1%)\n\
                 block log\npass proto tcp\n";
    let weir = Weir::start(&lab, &WeirOptions::new(io, rules));
    let active = || weir.show(&["-vs", "info"]).lines().any(|line| line.ends_with(" active"));
    let _web = WebServer::start(&lab.server, 80);
    let seen = Capture::start(&lab.server.namespace, "eth0", Syns::FROM_THEM);
    assert!(visit(&lab, target, 1, PATIENCE).is_empty());
    assert!(!active() && weir.counter("half-open tcp") == 0);
    let _flood = SynFlood::start(&lab.client, lab.server.mac, target, Some(RATE), 1);
    eventually("cookies are sent", active);
    let failed = visit(&lab, target, 10, PATIENCE);
    assert!(failed.is_empty() && active(), "{failed:?}");
    let reached = seen.count(|_| true) as u64;
    // Of each batch weir decides as one.
    assert!((START..START + 2 * 64).contains(&reached), "{reached} reached the server");
}

/// The scenario is sound: the same flood, the same server, and nothing in between.
fn a_server_behind_a_plain_bridge_is_lost(family: Family) {
    let (lab, target) = exposed(family);
    let _bridge = KernelBridge::start(&lab);
    let _web = WebServer::start(&lab.server, 80);
    assert!(visit(&lab, target, 1, PATIENCE).is_empty());
    let seen = Capture::start(&lab.server.namespace, "eth0", Syns::FROM_THEM);
    let _flood = SynFlood::start(&lab.client, lab.server.mac, target, Some(RATE), 1);
    seen.wait("the flood arrives", |_| true);
    eventually("nobody is served", || visit(&lab, target, 1, Duration::from_secs(1)).len() == 10);
}

#[test]
fn a_server_behind_a_plain_bridge_is_lost_inet() {
    a_server_behind_a_plain_bridge_is_lost(Family::Inet);
}

#[test]
fn a_server_behind_a_plain_bridge_is_lost_inet6() {
    a_server_behind_a_plain_bridge_is_lost(Family::Inet6);
}
