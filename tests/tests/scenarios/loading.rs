//! Rule sets of several files and anchors, put in force under traffic.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use weir_tests::lab::{Family, Io, Lab, PATIENCE, Reload, WebServer, Weir, WeirOptions};

use crate::{connect, curl, on_every_io};

on_every_io! {
    reloads_keep_connections_and_counters_of_anchors
    a_broken_include_changes_nothing
    an_anchor_is_replaced_while_the_rest_goes_on
}

/// Requests pass in an anchor without a name, answers by their states.
const RULES: &str = "block
anchor \"guests/*\"
anchor in on lan {
\tpass proto tcp to port 80 label \"http\"
}
pass out on wan
";

/// What is left of a connection that was made before works as before.
fn fetch_by(mut held: TcpStream) -> String {
    held.set_read_timeout(Some(PATIENCE)).expect("not zero");
    held.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("the connection is there");
    let mut answer = String::new();
    held.read_to_string(&mut answer).expect("the answer passes");
    answer
}

/// Packets that the rule with the label has decided on.
fn packets(weir: &Weir, label: &str) -> u64 {
    let listing = weir.show(&["-s", "labels"]);
    let line = listing.lines().map(str::trim).find(|line| line.starts_with(label));
    let line = line.unwrap_or_else(|| panic!("no {label} in:\n{listing}"));
    let fields: Vec<_> = line.split_whitespace().collect();
    assert_eq!(fields.len(), 9, "{line}");
    fields[2].parse().expect("packets")
}

fn reloads_keep_connections_and_counters_of_anchors(io: Io) {
    let lab = Lab::new();
    let mut weir = Weir::start(&lab, &WeirOptions::new(io, RULES));
    let _web = WebServer::start(&lab.server, 80);
    let to = lab.server.address(Family::Inet);
    let held: Vec<_> =
        (0..3).map(|_| connect(&lab.client, to, 80, PATIENCE).expect("passes")).collect();
    let before = packets(&weir, "http");
    assert!(before >= 3, "{before}");
    let state = weir.show(&["-vs", "states"]);
    assert!(state.contains(", rule 2._1.0, leaving rule 3\n"), "{state}");
    for (round, how) in [Reload::Ctl, Reload::Hangup, Reload::Ctl].into_iter().enumerate() {
        // Other rules in front: every number moves.
        let more = "match out proto udp\n".repeat(round + 1);
        if let Some(said) = weir.reload(how, &format!("{more}{RULES}")) {
            said.expect_success();
        }
    }
    assert!(packets(&weir, "http") >= before, "what was counted is lost");
    for held in held {
        assert!(fetch_by(held).ends_with(WebServer::PAGE));
    }
    assert!(packets(&weir, "http") > before);
    crate::assert_no_mismatch(&weir);
}

fn a_broken_include_changes_nothing(io: Io) {
    let lab = Lab::new();
    let more = lab.folder().join("more.conf");
    fs::write(&more, "pass in on lan proto tcp to port 80\n").expect("the folder is ours");
    let rules = "block\ninclude \"more.conf\"\npass out on wan\n";
    let mut weir = Weir::start(&lab, &WeirOptions::new(io, rules));
    let _web = WebServer::start(&lab.server, 80);
    let fetch = || curl(&lab.client, &lab.server, Family::Inet, 80);
    assert_eq!(fetch().as_deref(), Ok(WebServer::PAGE));
    let before = weir.show(&["-s", "rules"]);
    for broken in [Some("pas in\n"), Some("include \"more.conf\"\n"), None] {
        match broken {
            Some(text) => fs::write(&more, text).expect("the folder is ours"),
            None => fs::remove_file(&more).expect("it is there"),
        }
        let said = weir.reload(Reload::Ctl, rules).expect("ctl says something");
        assert_eq!(said.status.code(), Some(1));
        assert!(said.stderr.contains("more.conf"), "{}", said.stderr);
        weir.reload(Reload::Hangup, rules);
        let log = weir.log().join("\n");
        assert!(log.contains("nothing was changed"), "{log}");
        assert_eq!(weir.show(&["-s", "rules"]), before);
        assert_eq!(fetch().as_deref(), Ok(WebServer::PAGE));
    }
}

fn an_anchor_is_replaced_while_the_rest_goes_on(io: Io) {
    let lab = Lab::new();
    let mut weir = Weir::start(&lab, &WeirOptions::new(io, RULES));
    let _web = WebServer::start(&lab.server, 80);
    let fetch = || curl(&lab.client, &lab.server, Family::Inet, 80);
    let held =
        connect(&lab.client, lab.server.address(Family::Inet), 80, PATIENCE).expect("passes");
    let guest = lab.folder().join("guest.conf");
    let client = lab.client.address(Family::Inet);
    let rule =
        format!("block return in quick on lan inet proto tcp from {client} to any port 80\n");
    fs::write(&guest, rule).expect("the folder is ours");
    let guest = guest.to_string_lossy();
    weir.show(&["-a", "guests/ann", "-f", &guest]);
    assert!(fetch().is_err(), "the guest is blocked");
    let anchored =
        format!("  block return in quick on lan inet proto tcp from {client} to any port = 80\n");
    assert_eq!(weir.show(&["-a", "guests/ann", "-s", "rules"]), anchored.trim_start());
    let all = weir.show(&["-a", "*", "-s", "rules"]);
    let body =
        format!("anchor \"guests/*\" all {{\n  anchor \"ann\" all {{\n  {anchored}  }}\n}}\n");
    assert!(all.contains(&body), "{all}");
    assert_eq!(weir.show(&["-s", "Anchors"]), "  guests\n");
    assert_eq!(weir.show(&["-vs", "Anchors"]), "  _1\n  guests\n  guests/ann\n");
    // The main rules are loaded again: the guest stays blocked.
    weir.reload(Reload::Ctl, &format!("match out proto udp\n{RULES}"));
    assert!(fetch().is_err(), "the guest is still blocked");
    weir.show(&["-a", "guests/ann", "-F", "rules"]);
    assert_eq!(fetch().as_deref(), Ok(WebServer::PAGE));
    assert!(fetch_by(held).ends_with(WebServer::PAGE), "its connection was left alone");
    assert_eq!(weir.ctl(&["-a", "nobody", "-s", "rules"]).status.code(), Some(1));
}
