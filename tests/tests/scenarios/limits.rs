//! What is bounded stays bounded.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use weir_tests::frames;
use weir_tests::lab::{Family, Io, Lab, RawSocket, WebServer, Weir, WeirOptions, eventually};

use crate::{curl, on_every_port};

on_every_port! {
    a_full_state_table_stays_full_says_so_and_recovers
}

/// Ten thousand SYNs from as many sources, answered by nobody, against a table of a hundred.
fn a_full_state_table_stays_full_says_so_and_recovers(io: Io, family: Family) {
    const LIMIT: u64 = 100;
    let lab = Lab::new();
    let rules =
        format!("set limit states {LIMIT}\nset timeout {{ tcp.first 1, tcp.opening 1 }}\npass\n");
    let weir = Weir::start(&lab, &WeirOptions::new(io, &rules));
    let _web = WebServer::start(&lab.server, 80);
    let socket = RawSocket::open(&lab.client.namespace, "eth0");
    let nobody = match family {
        Family::Inet => IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
        Family::Inet6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xdead, 0, 0, 0, 0, 1)),
    };
    let syns: Vec<Vec<u8>> = (0..10_000u32)
        .map(|n| {
            let source = match family {
                Family::Inet => IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n)),
                Family::Inet6 => IpAddr::V6(Ipv6Addr::from(0x2001_0db8_0bad << 80 | u128::from(n))),
            };
            let (source, target) = (SocketAddr::new(source, 40_000), SocketAddr::new(nobody, 80));
            frames::syn(&lab.client, &lab.server, source, target, n)
        })
        .collect();
    for burst in syns.chunks(500) {
        assert_eq!(socket.send_all(burst), burst.len());
        let states = weir.counter("current entries");
        assert!(states <= LIMIT, "{states} states");
    }
    // Full, and says so: half-open states make room for new ones, its log and the memory listing
    // show that the limit was reached.
    eventually("the flood was seen", || weir.counter("searches") >= 5_000);
    assert!(weir.counter("current entries") <= LIMIT);
    assert!(weir.counter("evictions") + weir.counter("state-limit") >= 4_000);
    let memory = weir.show(&["-s", "memory"]);
    let peak = format!("peak {LIMIT:>8}");
    assert!(memory.contains(&peak), "no {peak:?} in:\n{memory}");
    weir.wait_log("THE STATE TABLE IS FULL");
    // An honest client gets through, at the latest when the half-open states have timed out.
    eventually("a page can be fetched", || {
        curl(&lab.client, &lab.server, family, 80).as_deref() == Ok(WebServer::PAGE)
    });
    eventually("the flood's states are gone", || weir.counter("current entries") < LIMIT / 2);
}
