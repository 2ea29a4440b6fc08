//! What a bridge has to keep out, and what the sender hears of it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use weir_tests::frames::destination_port;
use weir_tests::lab::{
    Capture, EchoServer, Family, Host, Io, Lab, PATIENCE, WebServer, Weir, WeirOptions,
};

use crate::{connect, curl, on_every_port};

on_every_port! {
    block_drop_is_silent
    block_return_refuses_tcp_at_once
    block_return_refuses_udp_at_once
    return_icmp_tells_its_code
    answers_pass_and_strangers_do_not
    a_connection_from_its_middle_is_not_taken_up
}

/// Nothing of a dropped connection reaches the server, and nothing comes back: no RST, no ICMP.
fn block_drop_is_silent(io: Io, family: Family) {
    let lab = Lab::new();
    let rules = "block drop in on lan proto tcp to port 81\npass in on lan proto tcp to port 80\n";
    let weir = Weir::start(&lab, &WeirOptions::new(io, rules));
    let _open = WebServer::start(&lab.server, 80);
    let _shut = WebServer::start(&lab.server, 81);
    let filter = "tcp or icmp or ip6[6]=58";
    let near = Capture::start(&lab.client.namespace, "eth0", filter);
    let far = Capture::start(&lab.server.namespace, "eth0", filter);

    let to = lab.server.address(family);
    let refused = connect(&lab.client, to, 81, Duration::from_millis(200));
    assert_eq!(refused.map_err(|error| error.kind()).unwrap_err(), ErrorKind::TimedOut);
    // What comes after has been through, so whatever had to come before has been too.
    assert_eq!(curl(&lab.client, &lab.server, family, 80).as_deref(), Ok(WebServer::PAGE));
    far.wait("the allowed connection", |frame| destination_port(frame) == Some(80));

    assert!(near.count(|frame| destination_port(frame) == Some(81)) > 0, "no SYN was sent");
    assert_eq!(far.count(|frame| destination_port(frame) == Some(81)), 0, "a SYN came through");
    assert_eq!(near.count(|frame| source_port(frame) == Some(81)), 0, "somebody answered");
    assert_eq!(near.count(is_unreachable), 0, "an ICMP error came back");
    assert!(weir.counter("block-rule") > 0);
}

/// The client's own stack takes the forged RST for the server's and reports a refusal at once.
fn block_return_refuses_tcp_at_once(io: Io, family: Family) {
    let lab = Lab::new();
    let rules = "pass\nblock return in proto tcp to port 81\n";
    let _weir = Weir::start(&lab, &WeirOptions::new(io, rules));
    for (from, to) in [(&lab.client, &lab.server), (&lab.server, &lab.client)] {
        let _shut = WebServer::start(to, 81);
        let far = Capture::start(&to.namespace, "eth0", "tcp port 81");
        let began = Instant::now();
        let refused = connect(from, to.address(family), 81, PATIENCE);
        assert_eq!(
            refused.map_err(|error| error.kind()).unwrap_err(),
            ErrorKind::ConnectionRefused
        );
        // A SYN without an answer is sent again after a second: this was the answer to the first.
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(far.frames().len(), 0, "a SYN came through");
    }
}

/// A connected UDP socket gets the ICMP port unreachable as its error.
fn block_return_refuses_udp_at_once(io: Io, family: Family) {
    let lab = Lab::new();
    let rules = "set block-policy return\npass\nblock in proto udp to port 82\n";
    let _weir = Weir::start(&lab, &WeirOptions::new(io, rules));
    for (from, to) in [(&lab.client, &lab.server), (&lab.server, &lab.client)] {
        let _echo = EchoServer::start(to, 82);
        let far = Capture::start(&to.namespace, "eth0", "udp port 82");
        let socket = udp_to(from, to, family, 82);
        socket.send(b"is anybody there?").expect("there is a route");
        let error = socket.recv(&mut [0; 100]).map_err(|error| error.kind());
        assert_eq!(error, Err(ErrorKind::ConnectionRefused));
        assert_eq!(far.frames().len(), 0, "the datagram came through");
    }
}

/// `return-icmp` with a code of its own reaches the stack that asked: administratively prohibited
/// is "permission denied" or "host unreachable" to Linux, never a time-out.
fn return_icmp_tells_its_code(io: Io, family: Family) {
    let lab = Lab::new();
    let rules = match family {
        Family::Inet => "pass\nblock return-icmp (host-prohib) in inet proto tcp to port 81\n",
        Family::Inet6 => "pass\nblock return-icmp6 (admin-unr) in inet6 proto tcp to port 81\n",
    };
    let _weir = Weir::start(&lab, &WeirOptions::new(io, rules));
    let near = Capture::start(&lab.client.namespace, "eth0", "icmp or ip6[6]=58");
    let refused = connect(&lab.client, lab.server.address(family), 81, PATIENCE);
    let kind = refused.map_err(|error| error.kind()).unwrap_err();
    let wanted = match family {
        Family::Inet => (3, 10, ErrorKind::HostUnreachable),
        Family::Inet6 => (1, 1, ErrorKind::PermissionDenied),
    };
    assert_eq!(kind, wanted.2);
    let at = if family == Family::Inet { 14 + 20 } else { 14 + 40 };
    near.wait("the unreachable with its code", |frame| {
        is_unreachable(frame) && frame[at] == wanted.0 && frame[at + 1] == wanted.1
    });
}

/// With a rule for connections from the LAN alone, what belongs to them comes back, and nothing
/// else comes in.
fn answers_pass_and_strangers_do_not(io: Io, family: Family) {
    let lab = Lab::new();
    let rules = "block in all\npass in on lan\n";
    let weir = Weir::start(&lab, &WeirOptions::new(io, rules));
    let _web = WebServer::start(&lab.server, 80);
    let _inside = WebServer::start(&lab.client, 8080);
    let _echo = EchoServer::start(&lab.server, 7);

    let inside = Capture::start(&lab.client.namespace, "eth0", "tcp or udp");
    let stranger =
        connect(&lab.server, lab.client.address(family), 8080, Duration::from_millis(200));
    assert_eq!(stranger.map_err(|error| error.kind()).unwrap_err(), ErrorKind::TimedOut);
    let knock = udp_to(&lab.server, &lab.client, family, 9);
    knock.send(b"a stranger").expect("there is a route");

    assert_eq!(curl(&lab.client, &lab.server, family, 80).as_deref(), Ok(WebServer::PAGE));
    let asked = udp_to(&lab.client, &lab.server, family, 7);
    asked.send(b"a question").expect("there is a route");
    let mut answer = [0; 100];
    assert_eq!(asked.recv(&mut answer).expect("an answer"), b"a question".len());
    assert!(lab.pings(family));

    assert_eq!(inside.count(|frame| destination_port(frame) == Some(9)), 0);
    assert_eq!(inside.count(|frame| destination_port(frame) == Some(8080)), 0);
    assert!(weir.counter("block-rule") >= 2);
}

/// A segment without a SYN makes no state, even where its SYN would have passed; `flags S/SA` is
/// implied.
fn a_connection_from_its_middle_is_not_taken_up(io: Io, family: Family) {
    let lab = Lab::new();
    let mut weir = Weir::start(&lab, &WeirOptions::new(io, "pass\n"));
    let _web = WebServer::start(&lab.server, 80);
    let mut held =
        connect(&lab.client, lab.server.address(family), 80, PATIENCE).expect("the rules pass it");
    weir.show(&["-F", "states"]);
    assert_eq!(weir.counter("current entries"), 0);
    // What was killed is silenced for a while, what was never known is not.
    let refused = || weir.counter("tcp-no-state") + weir.counter("tcp-late");
    let before = refused();
    held.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("into the socket's buffer");
    held.set_read_timeout(Some(Duration::from_millis(300))).expect("not zero");
    assert!(held.read(&mut [0; 100]).is_err(), "the connection went on without a state");
    assert!(refused() > before);
    assert!(weir.process().is_running());
}

fn udp_to(from: &Host, to: &Host, family: Family, port: u16) -> UdpSocket {
    let socket = from.namespace.within(|| {
        let socket = UdpSocket::bind(SocketAddr::new(from.address(family), 0))?;
        socket.connect((to.address(family), port))?;
        Ok::<_, std::io::Error>(socket)
    });
    let socket = socket.expect("the address is ours");
    socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
    socket
}

fn source_port(frame: &[u8]) -> Option<u16> {
    use etherparse::{SlicedPacket, TransportSlice};

    match SlicedPacket::from_ethernet(frame).ok()?.transport? {
        TransportSlice::Udp(udp) => Some(udp.source_port()),
        TransportSlice::Tcp(tcp) => Some(tcp.source_port()),
        _ => None,
    }
}

/// Whether it is an ICMP or `ICMPv6` destination unreachable.
fn is_unreachable(frame: &[u8]) -> bool {
    use etherparse::{SlicedPacket, TransportSlice};

    SlicedPacket::from_ethernet(frame).is_ok_and(|packet| match packet.transport {
        Some(TransportSlice::Icmpv4(icmp)) => icmp.type_u8() == 3,
        Some(TransportSlice::Icmpv6(icmp)) => icmp.type_u8() == 1,
        _ => false,
    })
}
