//! `weir ctl` looks and behaves as pfctl does.

use std::time::Duration;

use weir_tests::lab::{Family, Io, Lab, PATIENCE, WebServer, Weir, WeirOptions, eventually};

use crate::{connect, curl, on_every_port};

on_every_port! {
    states_are_listed_as_pfctl_does
    killing_states_by_host_ends_connections
}

/// The words of a line.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn states_are_listed_as_pfctl_does(io: Io, family: Family) {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(io, "block in\npass in on lan label \"out\"\n"));
    let _web = WebServer::start(&lab.server, 80);
    let held = connect(&lab.client, lab.server.address(family), 80, PATIENCE).expect("passes");
    let side = |address: String, port: u16| match family {
        Family::Inet => format!("{address}:{port}"),
        Family::Inet6 => format!("{address}[{port}]"),
    };
    let client = held.local_addr().expect("connected");
    let client = side(client.ip().to_string(), client.port());
    let server = side(lab.server.address(family).to_string(), 80);

    let wanted = ["lan", "tcp", &server, "<-", &client, "ESTABLISHED:ESTABLISHED"];
    let listing = weir.show(&["-s", "states"]);
    assert!(listing.lines().any(|line| words(line) == wanted), "no {wanted:?} in:\n{listing}");

    let verbose = weir.show(&["-vs", "states"]);
    for text in ["wscale", "age 0", "expires in ", "pkts", "bytes", "rule 1"] {
        assert!(verbose.contains(text), "no {text:?} in:\n{verbose}");
    }
    drop(held);
    eventually("the connection is seen to close", || {
        let listing = weir.show(&["-s", "states"]);
        listing.lines().all(|line| !line.contains("ESTABLISHED:ESTABLISHED"))
    });
}

fn killing_states_by_host_ends_connections(io: Io, family: Family) {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(io, "pass\n"));
    let _web = WebServer::start(&lab.server, 80);
    let client = lab.client.address(family).to_string();
    let server = lab.server.address(family).to_string();
    let held = connect(&lab.client, lab.server.address(family), 80, PATIENCE).expect("passes");
    let there = || {
        let listing = weir.show(&["-s", "states"]);
        listing.lines().filter(|line| line.contains(&client) && line.contains("tcp")).count()
    };
    assert_eq!(there(), 1);
    weir.show(&["-k", "203.0.113.1"]);
    assert_eq!(there(), 1, "a stranger's states were asked for");
    weir.show(&["-k", &client, "-k", &server]);
    assert_eq!(there(), 0);
    drop(held);
}

#[test]
fn every_listing_is_there() {
    let lab = Lab::new();
    let rules = "web = \"80\"\nset limit states 5000\nset timeout tcp.established 3600\nblock in\n\
                 pass in on lan proto tcp to port $web label \"web\"\n";
    let weir = Weir::start(&lab, &WeirOptions::new(Io::Packet, rules));
    let _web = WebServer::start(&lab.server, 80);
    assert_eq!(curl(&lab.client, &lab.server, Family::Inet, 80).as_deref(), Ok(WebServer::PAGE));

    let rules = weir.show(&["-s", "rules"]);
    let printed: Vec<&str> = rules.lines().collect();
    assert!(
        printed.ends_with(&[
            "block drop in all",
            "pass in on lan proto tcp from any to any port = 80 flags S/SA label \"web\"",
        ]),
        "{rules}"
    );
    let counted = weir.show(&["-vs", "rules"]);
    assert!(counted.contains("  [ Evaluations: "), "{counted}");
    assert!(counted.contains("Packets: ") && counted.contains("States: "), "{counted}");
    assert!(weir.show(&["-vvs", "rules"]).contains("@1 pass in on lan"));

    let info = weir.show(&["-s", "info"]);
    assert!(info.starts_with("Status: Enabled"), "{info}");
    for text in ["State Table", "current entries", "searches", "inserts", "removals", "Counters"] {
        assert!(info.contains(text), "no {text:?} in:\n{info}");
    }
    let timeouts = weir.show(&["-s", "timeouts"]);
    assert!(timeouts.lines().any(|l| words(l) == ["tcp.established", "3600s"]), "{timeouts}");
    let memory = weir.show(&["-s", "memory"]);
    assert!(
        memory.lines().any(|l| words(l).starts_with(&["states", "hard", "limit", "5000"])),
        "{memory}"
    );
    let interfaces = weir.show(&["-s", "Interfaces"]);
    assert!(interfaces.contains(Lab::LAN) && interfaces.contains(Lab::WAN), "{interfaces}");
    let all = weir.show(&["-s", "all"]);
    for text in ["tcp.established", "block drop in all", "current entries"] {
        assert!(all.contains(text), "no {text:?} in:\n{all}");
    }
}

#[test]
fn disabling_passes_everything_until_enabled() {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(Io::Packet, "block\n"));
    assert!(!lab.pings(Family::Inet));
    weir.show(&["-d"]);
    eventually("pings pass", || lab.pings(Family::Inet));
    assert!(weir.show(&["-s", "info"]).starts_with("Status: Disabled"));
    weir.show(&["-e"]);
    assert!(!lab.pings(Family::Inet));
}

#[test]
fn flushing_states_empties_the_table() {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(Io::Packet, "pass\n"));
    eventually("pings pass", || lab.pings(Family::Inet));
    assert!(weir.counter("current entries") > 0);
    weir.show(&["-F", "states"]);
    assert_eq!(weir.counter("current entries"), 0);
}

#[test]
fn blocked_packets_are_logged_like_tcpdump_prints_them() {
    let lab = Lab::new();
    let rules = "pass\nblock in log on lan proto tcp to port 81\n";
    let weir = Weir::start(&lab, &WeirOptions::new(Io::Packet, rules));
    let limit = Duration::from_millis(100);
    let _ = connect(&lab.client, lab.server.address(Family::Inet), 81, limit);
    let line = weir.wait_log("192.0.2.2.81");
    for text in ["rule 1", "block in on", "192.0.2.1.", "> 192.0.2.2.81: ", "Flags [S]", "seq "] {
        assert!(line.contains(text), "no {text:?} in: {line}");
    }
}

#[test]
fn ctl_without_a_running_weir_says_so() {
    let lab = Lab::new();
    let mut weir = Weir::start(&lab, &WeirOptions::new(Io::Packet, "pass\n"));
    weir.kill();
    let said = weir.ctl(&["-s", "info"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(said.stderr.contains("weir.sock"), "{}", said.stderr);
}
