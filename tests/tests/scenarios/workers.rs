//! Two workers: flows arrive anywhere, are judged by their owner, in order.

use weir_tests::lab::{EchoServer, Family, Io, Lab, WebServer, Weir, WeirOptions};

use crate::traffic::{ab, exchange_from, iperf};
use crate::{assert_no_mismatch_but, on_every_port};

on_every_port! {
    two_workers_share_many_flows
    two_workers_gather_fragments
}

fn two_workers_share_many_flows(io: Io, family: Family) {
    let lab = Lab::new();
    let options = WeirOptions { workers: 2, ..WeirOptions::new(io, "pass\n") };
    let weir = Weir::start(&lab, &options);
    let _web = WebServer::start(&lab.server, 80);
    let said = ab(&lab, family, 3_000);
    assert!(said.contains("Failed requests:        0"), "{said}");
    let report = iperf(&lab, family, &["-t", "3", "-P", "8"]);
    assert!(report["end"]["sum_received"]["bytes"].as_u64() > Some(0), "{report}");
    // The sender's stack sends the RST of a socket that is gone by another queue than its data, so
    // that it can overtake them; what comes too early does not fit, and costs nothing.
    assert_no_mismatch_but(&weir, &["tcp-bad-reset"]);
    // Where a flow arrives and who owns it have nothing to do with each other, so that about half
    // of the frames change hands.
    let info = weir.show(&["-s", "info"]);
    let workers = info.lines().find(|line| line.starts_with("Workers ("));
    assert!(workers.is_some_and(|line| !line.contains(" 0.0 %")), "{info}");
}

/// Fragments are gathered by one worker and judged by the one that owns the flow, each datagram once.
fn two_workers_gather_fragments(io: Io, family: Family) {
    const FLOWS: u16 = 40;
    let lab = Lab::new();
    let options = WeirOptions { workers: 2, ..WeirOptions::new(io, "block\npass proto udp\n") };
    let weir = Weir::start(&lab, &options);
    let _echo = EchoServer::start(&lab.server, 7);
    for flow in 0..FLOWS {
        let payload = WebServer::pattern(3_000 + 500 * usize::from(flow));
        let answer = exchange_from(20_000 + flow, &lab.client, &lab.server, family, &payload);
        assert_eq!(answer, payload);
    }
    assert_eq!(weir.counter("current entries"), u64::from(FLOWS));
}
