//! Tables that change while traffic flows.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use weir_tests::lab::{EchoServer, Family, Host, Io, Lab, Weir, WeirOptions, eventually};

use crate::on_every_port;

on_every_port! {
    an_address_is_blocked_while_a_table_holds_it
}

/// The owner adds a host to a table that the rules block: its traffic stops at once, that of the
/// same host to the bridge's other side is counted, and flows again when the host is deleted.
fn an_address_is_blocked_while_a_table_holds_it(io: Io, family: Family) {
    let lab = Lab::new();
    let rules = "table <bad> persist counters\npass no state\nblock drop in quick from <bad>\n";
    let weir = Weir::start(&lab, &WeirOptions::new(io, rules));
    let _echo = EchoServer::start(&lab.server, 7);
    let socket = udp_to(&lab.client, SocketAddr::new(lab.server.address(family), 7));
    eventually("the first echo", || echoes(&socket));

    let client = lab.client.address(family).to_string();
    let added = weir.ctl(&["-t", "bad", "-T", "add", &client]);
    assert!(added.success() && added.stderr.contains("1/1 addresses added."), "{added:?}");
    // The command has returned: every worker has it.
    assert!(!echoes(&socket), "an echo came through");
    let test = weir.ctl(&["-t", "bad", "-T", "test", &client, "192.0.2.99"]);
    assert!(test.stderr.contains("1/2 addresses match."), "{test:?}");
    assert!(!test.success(), "not all match");
    let shown = weir.show(&["-t", "bad", "-T", "show", "-v"]);
    assert!(shown.starts_with(&format!("   {client}\n\tCleared:     ")), "{shown}");
    assert!(shown.contains("\tIn/Block:    [ Packets: 1 "), "{shown}");
    assert_eq!(weir.show(&["-v", "-s", "Tables"]), "-pa-r-C\tbad\n");

    let deleted = weir.ctl(&["-t", "bad", "-T", "delete", &client]);
    assert!(deleted.success() && deleted.stderr.contains("1/1 addresses deleted."), "{deleted:?}");
    assert!(echoes(&socket), "no echo although the address is deleted");
    assert_eq!(weir.show(&["-t", "bad", "-T", "show"]), "");
}

fn udp_to(from: &Host, to: SocketAddr) -> UdpSocket {
    from.namespace.within(|| {
        let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any).expect("any port is free");
        socket.connect(to).expect("there is a route");
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("it is not zero");
        socket
    })
}

/// Whether a datagram comes back.
fn echoes(socket: &UdpSocket) -> bool {
    socket.send(b"is anybody there?").expect("there is a route");
    socket.recv(&mut [0; 100]).is_ok()
}
