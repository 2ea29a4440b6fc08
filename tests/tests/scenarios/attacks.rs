//! What attackers' own tools see.

use weir_tests::lab::{Family, Io, Lab, TcpServer, WebServer, Weir, WeirOptions};

use crate::on_every_port;

on_every_port! {
    scans_show_what_the_rules_pass_and_no_more
}

/// The server listens on two ports, of which the rules pass one. Whoever knocks properly finds that
/// one; whoever sends a lone ACK, FIN, nothing or all at once hears nothing from any.
fn scans_show_what_the_rules_pass_and_no_more(io: Io, family: Family) {
    let lab = Lab::new();
    let _weir = Weir::start(&lab, &WeirOptions::new(io, "block drop\npass proto tcp to port 80\n"));
    let _web = WebServer::start(&lab.server, 80);
    let _hidden = TcpServer::start(&lab.server, 22, |_| Ok(()));
    for (scan, hidden, passed) in [
        ("-sS", "filtered", "open"),
        ("-sA", "filtered", "filtered"),
        ("-sF", "open|filtered", "open|filtered"),
        ("-sN", "open|filtered", "open|filtered"),
        ("-sX", "open|filtered", "open|filtered"),
    ] {
        let said = nmap(&lab, family, scan);
        for (port, expected) in [(22, hidden), (80, passed), (443, hidden)] {
            let expected = format!(" {port}/{expected}/tcp/");
            assert!(said.contains(&expected), "{scan}: no {expected:?} in:\n{said}");
        }
    }
}

/// What nmap says of three ports of the server.
fn nmap(lab: &Lab, family: Family, scan: &str) -> String {
    let to = lab.server.address(family).to_string();
    let timing = ["--max-retries", "1", "--max-rtt-timeout", "200ms", "--min-rate", "100"];
    let version: &[&str] = if family == Family::Inet6 { &["-6"] } else { &[] };
    let what = ["nmap", "-n", "-Pn", scan, "-p", "22,80,443", "-oG", "-", &to];
    lab.client.run(&[&what[..], &timing, version].concat()).expect_success()
}
