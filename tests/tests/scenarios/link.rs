//! Layer 2: what crosses although it is no IP, what does not, and who may claim an address.

use weir_tests::frames::{has_udp_payload, tagged, udp_between};
use weir_tests::lab::eventually;
use weir_tests::lab::{Capture, Family, Host, Io, Lab, RawSocket, Reload, Weir, WeirOptions};

use crate::on_every_io;

on_every_io! {
    control_frames_cross_and_strangers_are_counted
    a_vlan_and_a_card_are_shut_out_by_ether_rules
    a_neighbour_cannot_be_poisoned_from_the_wrong_side
}

/// A frame to a link-local group address, or to a host, padded as a card would.
fn frame(to: [u8; 6], from: &Host, behind: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &from.mac, behind].concat();
    frame.resize(60, 0);
    frame
}

const fn group(last: u8) -> [u8; 6] {
    [0x01, 0x80, 0xc2, 0x00, 0x00, last]
}

/// A spanning tree, LLDP, LACP and 802.1X see each other through the bridge; an ethertype of nobody,
/// tagged or not, and PAUSE do not get through, each under its own name.
fn control_frames_cross_and_strangers_are_counted(io: Io) {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(io, "pass\n"));
    let far = Capture::start(&lab.server.namespace, "eth0", "not ip and not ip6 and not arp");
    let socket = RawSocket::open(&lab.client.namespace, "eth0");
    let client = &lab.client;
    let strange = frame(lab.server.mac, client, &[0x88, 0xb5, 1]);
    let pause = frame(group(1), client, &[0x88, 0x08, 0, 1, 0xff, 0xff]);
    let snap = frame(lab.server.mac, client, &[0, 8, 0xaa, 0xaa, 3, 0, 0, 0, 0x81, 0x37]);
    let control = [
        frame(group(0), client, &[0, 0x26, 0x42, 0x42, 3, 0, 0, 0, 0]),
        frame(group(3), client, &[0x88, 0x8e, 2, 1, 0, 0]),
        frame(group(2), client, &[0x88, 0x09, 1, 1]),
        frame(group(0x0e), client, &[0x88, 0xcc, 2, 7, 4]),
    ];
    for dropped in [&strange, &tagged(strange.clone(), 0x8100, 7), &pause, &snap] {
        socket.send(dropped);
    }
    for passed in &control {
        socket.send(passed);
    }
    for passed in &control {
        far.wait("a control frame", |frame| frame.starts_with(&passed[..20]));
    }
    for (reason, count) in [("ethertype", 2), ("mac-control", 1), ("llc", 1)] {
        eventually(reason, || weir.counter(reason) == count);
    }
    assert_eq!(far.count(|frame| control.iter().all(|c| !frame.starts_with(&c[..20]))), 0);
}

/// The rules of layer 2 stand before those of IP, on tagged frames too.
fn a_vlan_and_a_card_are_shut_out_by_ether_rules(io: Io) {
    let lab = Lab::new();
    let rules = "ether block in on lan vlan 7\n\
                 ether block in on lan from 02:00:00:00:66:66\n\
                 ether pass in on lan proto 0x88b5\n\
                 pass\n";
    let weir = Weir::start(&lab, &WeirOptions::new(io, rules));
    let far = Capture::start(&lab.server.namespace, "eth0", "");
    let socket = RawSocket::open(&lab.client.namespace, "eth0");
    let says = |text: &str| {
        udp_between(&lab.client, &lab.server, Family::Inet, (4000, 4001), text.as_bytes())
    };
    let mut stolen = says("from another card");
    stolen[6..12].copy_from_slice(&[2, 0, 0, 0, 0x66, 0x66]);
    socket.send(&tagged(says("in VLAN 7"), 0x8100, 7));
    socket.send(&stolen);
    socket.send(&frame(lab.server.mac, &lab.client, &[0x88, 0xb5, 1]));
    socket.send(&tagged(says("in VLAN 8"), 0x8100, 8));
    far.wait("what is allowed", |frame| has_udp_payload(frame, b"in VLAN 8"));
    far.wait("what a rule lets through", |frame| frame[12..14] == [0x88, 0xb5]);
    eventually("the rest was judged", || weir.counter("ether-rule") == 2);
    for shut_out in ["in VLAN 7", "from another card"] {
        assert_eq!(far.count(|frame| has_udp_payload(frame, shut_out.as_bytes())), 0, "{shut_out}");
    }
}

/// The client knows a third host of its own network. An attacker beyond the bridge claims that host's
/// address, which works until `neighbour-guard` says where it is.
fn a_neighbour_cannot_be_poisoned_from_the_wrong_side(io: Io) {
    const THIRD: &str = "192.0.2.77";
    const THIRD_MAC: &str = "02:00:00:00:00:77";
    let lab = Lab::new();
    let mut weir = Weir::start(&lab, &WeirOptions::new(io, "pass\n"));
    lab.client.namespace.sysctl("net.ipv4.neigh.eth0.locktime", "0");
    let forget = || {
        lab.client
            .namespace
            .ip(&["neigh", "replace", THIRD, "lladdr", THIRD_MAC, "dev", "eth0", "nud", "stale"]);
    };
    let known = || lab.client.namespace.ip(&["neigh", "show", THIRD]);
    let (attacker, victim) = (&lab.server, &lab.client);
    let mut claim = frame(victim.mac, attacker, &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2]);
    claim.splice(
        22..42,
        [&attacker.mac[..], &[192, 0, 2, 77], &victim.mac, &[192, 0, 2, 1]].concat(),
    );
    let socket = RawSocket::open(&attacker.namespace, "eth0");

    forget();
    assert!(known().contains(THIRD_MAC), "{}", known());
    // An attacker repeats itself; the kernel may take the first claim to be an accident.
    eventually("the client is deceived", || {
        socket.send(&claim);
        !known().contains(THIRD_MAC)
    });

    let guarded = "set neighbour-guard on lan 192.0.2.0/24\n\
                   set neighbour-guard on wan 192.0.2.2\n\
                   pass\n";
    weir.reload(Reload::Hangup, guarded);
    forget();
    socket.send(&claim);
    eventually("the lie is noticed", || weir.counter("neighbour-guard") == 1);
    // Who may speak for itself still does, either way.
    assert!(lab.pings(Family::Inet));
    assert!(known().contains(THIRD_MAC), "{}", known());
    assert_eq!(weir.counter("neighbour-guard"), 1);
}
