//! What preparation refuses, changes and restores. Needs root.

mod lab;

use lab::{At, Lab};
use weir_hw::nic::Cause;
use weir_hw::{Interface, Io, Kind, Prepared, Wanted, Wishes, nics, open, prepare};

/// Everything that preparation may touch.
fn state(lab: &Lab) -> String {
    let mut all = String::new();
    for port in ["lan0", "wan0"] {
        // The first time up gives an interface its queueing discipline for good.
        let link = lab.run(At::Box, &["ip", "link", "show", port]);
        all += &link.replace("qdisc noop ", "qdisc noqueue ");
        all += &lab.run(At::Box, &["ip", "-o", "addr", "show", port]);
        all += &lab.run(At::Box, &["ethtool", "-k", port]);
        all += &lab.run(At::Box, &["ethtool", "-l", port]);
        all += &lab.run(At::Box, &["sysctl", &format!("net.ipv6.conf.{port}.disable_ipv6")]);
        all += &lab.run(At::Box, &["sysctl", &format!("net.ipv4.conf.{port}.arp_ignore")]);
    }
    all
}

/// A program stays where it is for as long as a command that another test is just starting has our
/// descriptors.
fn assert_unchanged(lab: &Lab, before: &str) {
    lab::eventually("all is as it was", || {
        let now = state(lab);
        let changed = before.lines().zip(now.lines()).filter(|(before, now)| before != now);
        changed.for_each(|(before, now)| eprintln!("was {before:?}, is {now:?}"));
        now == before
    });
}

/// Both ports. A port that was given up stays taken for as long as a command that another test is
/// just starting has our descriptors.
fn pair() -> [Prepared; 2] {
    let mut prepared = None;
    lab::eventually("the ports are free", || match prepare(&["lan0", "wan0"]) {
        Ok(ports) => {
            prepared = Some(ports);
            true
        }
        Err(refusal) => {
            assert!(matches!(refusal.cause, Cause::Taken), "{refusal}");
            false
        }
    });
    prepared.unwrap().try_into().unwrap()
}

fn refused(lab: &Lab) -> Cause {
    lab.inside(At::Box, || prepare(&["lan0", "wan0"]).unwrap_err().cause)
}

#[test]
fn everything_is_as_it_was_after_either_kind() {
    let lab = Lab::new(1, 1500);
    lab.run(At::Box, &["ethtool", "-K", "lan0", "gro", "on"]);
    let before = state(&lab);
    for (io, kind) in [(Io::Xdp, Kind::Xdp), (Io::Packet, Kind::Packet), (Io::Auto, Kind::Xdp)] {
        lab.inside(At::Box, || {
            let mut ports = pair();
            for port in &mut ports {
                port.care(&Wishes::default(), 1);
                let [notice] = port.notices() else { panic!("{:?}", port.notices()) };
                assert!(notice.text.starts_with("veth has no queues, no ring sizes, "), "{notice}");
                assert!(!notice.warns);
            }
            let opened = open(&Wanted::new(io, 1), &mut ports).unwrap();
            assert_eq!(opened.kind, kind);
            for port in &mut ports {
                port.point_interrupts(&Wishes::default(), &[0]);
            }
            let during = state(&lab);
            assert_ne!(during, before);
            assert!(during.contains("net.ipv6.conf.lan0.disable_ipv6 = 1"), "{during}");
            let gro = if kind == Kind::Xdp { "off" } else { "on" };
            assert!(during.contains(&format!("generic-receive-offload: {gro}")), "{io}: {during}");
            let lan = lab.run(At::Box, &["ip", "-d", "link", "show", "lan0"]);
            assert!(lan.contains("promiscuity 1") && lan.contains(",UP"), "{lan}");
            drop(opened);
            for port in ports {
                assert_eq!(port.restore(), []);
            }
        });
        assert_unchanged(&lab, &before);
    }
}

#[test]
fn an_attempt_that_fails_leaves_nothing_changed() {
    let lab = Lab::new(2, 1500);
    lab.run(At::Box, &["ethtool", "-K", "lan0", "gro", "on"]);
    // The driver takes no program while the other end sends on more queues than receive here.
    lab.run(At::Box, &["ethtool", "-L", "wan0", "rx", "1"]);
    let before = state(&lab);
    lab.inside(At::Box, || {
        let mut ports = pair();
        let error = open(&Wanted::new(Io::Xdp, 1), &mut ports).unwrap_err().to_string();
        assert!(error.starts_with("wan0: cannot "), "{error}");
        let lan = lab.run(At::Box, &["ethtool", "-k", "lan0"]);
        assert!(lan.contains("generic-receive-offload: on"), "{lan}");
        // auto takes what there is, and says so.
        let opened = open(&Wanted::new(Io::Auto, 1), &mut ports).unwrap();
        assert_eq!(opened.kind, Kind::Packet);
        assert!(opened.reason.contains("; no AF_XDP: wan0: cannot "), "{}", opened.reason);
        let lan = lab.run(At::Box, &["ethtool", "-k", "lan0"]);
        assert!(lan.contains("generic-receive-offload: on"), "{lan}");
    });
    assert_unchanged(&lab, &before);
}

#[test]
fn own_link_local_addresses_go_and_come_back() {
    let lab = Lab::new(1, 1500);
    for port in ["lan0", "wan0"] {
        lab.run(At::Box, &["sysctl", "-w", &format!("net.ipv6.conf.{port}.disable_ipv6=0")]);
        lab.run(At::Box, &["ip", "link", "set", port, "up"]);
    }
    lab::eventually("link-local addresses", || {
        ["lan0", "wan0"]
            .iter()
            .all(|port| lab.run(At::Box, &["ip", "-6", "addr", "show", port]).contains("fe80::"))
    });
    lab.inside(At::Box, || {
        let ports = pair();
        let notice = ports[0].notices()[0].to_string();
        assert!(notice.contains("lan0: its own link-local address fe80::"), "{notice}");
        let during = lab.run(At::Box, &["ip", "-6", "addr"]);
        assert!(!during.contains("fe80::"), "{during}");
    });
    let after = lab.run(At::Box, &["ip", "-6", "addr"]);
    assert_eq!(after.matches("fe80::").count(), 2, "{after}");
}

#[test]
fn interfaces_that_somebody_uses_are_refused() {
    let lab = Lab::new(1, 1500);
    let before = state(&lab);

    lab.run(At::Box, &["ip", "addr", "add", "192.0.2.1/24", "dev", "wan0"]);
    assert!(matches!(refused(&lab), Cause::Address(address) if address == "192.0.2.1/24"));
    lab.run(At::Box, &["ip", "addr", "flush", "dev", "wan0"]);

    lab.run(At::Box, &["sysctl", "-w", "net.ipv6.conf.lan0.disable_ipv6=0"]);
    for address in ["2001:db8::1/64", "fe80::1/64"] {
        lab.run(At::Box, &["ip", "addr", "add", address, "dev", "lan0"]);
        assert!(matches!(refused(&lab), Cause::Address(found) if found == address));
        lab.run(At::Box, &["ip", "addr", "del", address, "dev", "lan0"]);
    }
    lab.run(At::Box, &["sysctl", "-w", "net.ipv6.conf.lan0.disable_ipv6=1"]);

    lab.run(At::Box, &["ip", "link", "add", "br7", "type", "bridge"]);
    lab.run(At::Box, &["ip", "link", "set", "wan0", "master", "br7"]);
    assert!(matches!(refused(&lab), Cause::Master(name) if name == "br7"));
    lab.run(At::Box, &["ip", "link", "set", "wan0", "nomaster"]);
    lab.inside(At::Box, || {
        let cause = prepare(&["lan0", "br7"]).unwrap_err().cause;
        assert!(matches!(cause, Cause::Virtual(kind) if kind == "bridge"));
    });
    lab.run(At::Box, &["ip", "link", "del", "br7"]);
    assert_unchanged(&lab, &before);
    lab.inside(At::Box, || drop(pair()));
}

#[test]
fn a_host_that_forwards_is_refused() {
    let lab = Lab::new(1, 1500);
    for setting in [
        "net.ipv4.ip_forward",
        "net.ipv4.conf.wan0.forwarding",
        "net.ipv6.conf.all.forwarding",
        "net.ipv6.conf.lan0.forwarding",
    ] {
        lab.run(At::Box, &["sysctl", "-w", &format!("{setting}=1")]);
        assert!(matches!(refused(&lab), Cause::Forwards(_)), "{setting}");
        lab.run(At::Box, &["sysctl", "-w", &format!("{setting}=0")]);
    }
    lab.inside(At::Box, || drop(pair()));
}

#[test]
fn names_that_cannot_be_ports_are_refused() {
    let lab = Lab::new(1, 1500);
    lab.inside(At::Box, || {
        let cause = |names: &[&str]| prepare(names).unwrap_err().cause;
        assert!(matches!(cause(&["lan0", "nothere"]), Cause::Missing));
        assert!(matches!(cause(&["lo", "wan0"]), Cause::Loopback));
        assert!(matches!(cause(&["lan0", "lan0"]), Cause::Same));
        let first = pair();
        assert!(matches!(cause(&["lan0", "wan0"]), Cause::Taken));
        drop(first);
        drop(pair());
    });
}

#[test]
fn interfaces_are_described() {
    let lab = Lab::new(3, 1500);
    lab.run(At::Box, &["ip", "link", "set", "lan0", "address", "02:00:00:00:00:33"]);
    lab.run(At::Box, &["ip", "link", "set", "lan0", "mtu", "9000"]);
    lab.inside(At::Box, || {
        let ports = pair();
        let lan = ports[0].interface();
        assert_eq!(
            *lan,
            Interface {
                name: "lan0".into(),
                index: lan.index,
                mac: [2, 0, 0, 0, 0, 0x33],
                mtu: 9000,
                driver: Some("veth".into()),
                receive_queues: 3,
            }
        );
        assert!(lan.may_have_partial_checksums());
        let notice = ports[0].notices()[0].to_string();
        assert!(notice.starts_with("lan0: MTU 9000, but only 1500"), "{notice}");
    });
}

#[test]
fn interfaces_are_listed() {
    let lab = Lab::new(2, 1500);
    lab.run(At::Box, &["ip", "link", "set", "lan0", "address", "02:00:00:00:00:33", "up"]);
    lab.run(At::Box, &["ip", "addr", "add", "192.0.2.1/24", "dev", "lan0"]);
    lab.run(At::Box, &["ip", "route", "add", "default", "via", "192.0.2.2"]);
    let found = lab.inside(At::Box, || nics().unwrap());
    let [lan, wan] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&*lan.name, lan.kind.as_deref(), lan.most_queues), ("lan0", Some("veth"), 2));
    assert!(lan.has_mac([2, 0, 0, 0, 0, 0x33]) && lan.default_route && lan.up);
    assert_eq!(lan.addresses, ["192.0.2.1/24"]);
    // veth says 10 Gbit/s.
    assert_eq!((lan.carrier, lan.speed), (Some(true), Some(10_000)));
    assert!(wan.name == "wan0" && !wan.up && wan.carrier.is_none() && !wan.default_route);
}

#[test]
fn what_has_gone_is_replaced_by_what_comes() {
    let lab = Lab::new(1, 1500);
    lab.inside(At::Box, || {
        let mut ports = pair();
        lab.run(At::Box, &["ip", "link", "del", "lan0"]);
        assert!(!ports[0].is_present() && ports[1].is_present());
        let refusal = ports[0].replace("lan0").unwrap_err();
        assert!(matches!(refusal.cause, Cause::Missing));
        let add = ["ip", "link", "add", "lan0", "type", "veth", "peer", "name", "far0"];
        lab.run(At::Box, &add);
        ports[0].replace("lan0").unwrap();
        assert!(ports[0].is_present());
        let link = lab.run(At::Box, &["ip", "-d", "link", "show", "lan0"]);
        assert!(link.contains("promiscuity 1") && link.contains(",UP"), "{link}");
        for port in ports {
            assert_eq!(port.restore(), []);
        }
    });
}
