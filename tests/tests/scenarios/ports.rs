//! Cables that are pulled, and adapters that go and come back.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener};

use weir_tests::lab::{Family, Host, Io, Lab, PATIENCE, Weir, WeirOptions, eventually};

use crate::{connect, on_every_io};

on_every_io! {
    a_pulled_cable_is_seen_at_the_other_end
    links_are_left_alone_if_told_so
    an_adapter_that_comes_back_goes_on_with_its_connections
    an_adapter_is_known_by_its_address_under_another_name
    ports_that_do_not_fit_each_other_are_warned_of
}

fn has_link(host: &Host) -> bool {
    host.namespace.ip(&["link", "show", "dev", "eth0"]).contains("LOWER_UP")
}

fn set(host: &Host, state: &str) {
    host.namespace.ip(&["link", "set", "eth0", state]);
}

/// Both hosts pull their cable in turn.
fn a_pulled_cable_is_seen_at_the_other_end(io: Io) {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(io, "pass\n"));
    eventually("pings pass", || lab.pings(Family::Inet));
    for (puller, watcher, port) in
        [(&lab.client, &lab.server, Lab::WAN), (&lab.server, &lab.client, Lab::LAN)]
    {
        set(puller, "down");
        eventually("the other end has lost its link", || !has_link(watcher));
        weir.wait_log(&format!("{port} is set down until it is back"));
        set(puller, "up");
        lab.wait_links();
        weir.wait_log(&format!("{port} is set up again"));
        eventually("pings pass again", || lab.pings(Family::Inet));
    }
}

fn links_are_left_alone_if_told_so(io: Io) {
    let lab = Lab::new();
    let settings = "[ports]\npropagate_link = false\n".to_owned();
    let mut weir = Weir::start(&lab, &WeirOptions { settings, ..WeirOptions::new(io, "pass\n") });
    set(&lab.client, "down");
    // What would be done is done before this is judged and answered.
    eventually("the loss is known", || {
        !lab.firewall.ip(&["link", "show", "dev", Lab::LAN]).contains("LOWER_UP")
    });
    set(&lab.client, "up");
    eventually("pings pass", || lab.pings(Family::Inet));
    assert!(has_link(&lab.server));
    assert!(!weir.log().iter().any(|line| line.contains("set down")), "{:?}", weir.log());
    assert_eq!(weir.stop(PATIENCE).and_then(|status| status.code()), Some(0));
}

/// The state of a connection outlives the port: without it, its segments in the middle would be
/// blocked. Two workers hand frames over to each other all the time.
fn an_adapter_that_comes_back_goes_on_with_its_connections(io: Io) {
    let lab = Lab::new();
    let rules = "block in\npass in inet proto icmp\npass in on lan proto tcp flags S/SA\n";
    let mut weir = Weir::start(&lab, &WeirOptions { workers: 2, ..WeirOptions::new(io, rules) });
    let mac = mac(&lab, Lab::LAN);
    let listener = lab.server.namespace.within(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 7)));
    let listener = listener.expect("a free port");
    let to = lab.server.address(Family::Inet);
    let mut client = connect(&lab.client, to, 7, PATIENCE).expect("connected");
    let (mut server, _) = listener.accept().expect("connected");
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    }
    let mut talk = |word: &[u8; 4]| {
        let mut heard = [0; 4];
        client.write_all(word).expect("sent");
        server.read_exact(&mut heard).expect("it comes");
        assert_eq!(&heard, word);
        server.write_all(word).expect("sent");
        client.read_exact(&mut heard).expect("it comes");
    };
    talk(b"once");
    let from = lab.client.inet.to_string();
    let flood = lab.server.namespace.start(&["ping", "-q", "-n", "-i", "0.002", &from]);
    for round in 1..=2 {
        lab.firewall.ip(&["link", "del", Lab::LAN]);
        weir.wait_log("THE BRIDGE IS CLOSED until it is back");
        eventually("the other end has lost its link", || !has_link(&lab.server));
        assert_eq!(weir.show(&["-s", "states"]).matches(" tcp ").count(), 1, "states live");
        lab.plug_in(Lab::LAN, &mac);
        eventually("the bridge is open again", || {
            let log = weir.log();
            log.iter().filter(|line| line.contains("the bridge is open again")).count() == round
        });
        eventually("pings pass", || lab.pings(Family::Inet));
        talk(b"more");
    }
    drop(flood);
    assert_eq!(weir.show(&["-s", "states"]).matches(" tcp ").count(), 1);
    assert_eq!(weir.stop(PATIENCE).and_then(|status| status.code()), Some(0));
}

fn mac(lab: &Lab, port: &str) -> String {
    let shown = lab.firewall.ip(&["-br", "link", "show", "dev", port]);
    shown.split_whitespace().nth(2).expect("an address").to_owned()
}

fn an_adapter_is_known_by_its_address_under_another_name(io: Io) {
    let lab = Lab::new();
    let mac = mac(&lab, Lab::LAN);
    let options = WeirOptions { lan: format!("mac:{mac}"), ..WeirOptions::new(io, "pass\n") };
    let weir = Weir::start(&lab, &options);
    assert!(weir.greeting.contains("lan=eth1 "), "{}", weir.greeting);
    lab.firewall.ip(&["link", "del", Lab::LAN]);
    weir.wait_log("THE BRIDGE IS CLOSED until it is back");
    lab.plug_in("usb0", "02:00:00:00:00:77");
    lab.firewall.ip(&["link", "set", "usb0", "address", &mac]);
    weir.wait_log("usb0 and eth2 are both there: the bridge is open again");
    eventually("pings pass", || lab.pings(Family::Inet));
}

fn ports_that_do_not_fit_each_other_are_warned_of(io: Io) {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(io, "pass\n"));
    lab.firewall.ip(&["link", "set", Lab::WAN, "mtu", "1400"]);
    weir.wait_log("MTU 1500 on eth1, 1400 on eth2: longer packets are lost at the smaller one");
}
