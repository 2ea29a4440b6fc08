//! P5: what still comes of a connection that was legitimate is not in the log, and strays are.

use weir_tests::frames::destination_port;
use weir_tests::lab::{
    Capture, Family, Io, Lab, RawSocket, WebServer, Weir, WeirOptions, eventually,
};

use crate::{curl, on_every_port};

on_every_port! {
    what_comes_late_of_a_closed_connection_is_not_in_the_log
}

/// Everything that both hosts have sent comes again after the state has ended.
fn what_comes_late_of_a_closed_connection_is_not_in_the_log(io: Io, family: Family) {
    let lab = Lab::new();
    let rules = "set timeout { tcp.closed 1, tcp.finwait 1, tcp.closing 1 }\n\
                 block in log (all)\npass in on lan proto tcp to port 80\n";
    let weir = Weir::start(&lab, &WeirOptions::new(io, rules));
    let _web = WebServer::start(&lab.server, 80);
    let seen = Capture::start(&lab.client.namespace, "eth0", "tcp port 80");
    assert_eq!(curl(&lab.client, &lab.server, family, 80).as_deref(), Ok(WebServer::PAGE));
    eventually("the state has ended", || weir.counter("current entries") == 0);

    let ip = match family {
        Family::Inet => 20,
        Family::Inet6 => 40,
    };
    // But for the SYN: that would be a new connection.
    let again: Vec<_> =
        seen.frames().into_iter().filter(|frame| frame[14 + ip + 13] != 2).collect();
    let (client, server): (Vec<_>, Vec<_>) =
        again.into_iter().partition(|frame| destination_port(frame) == Some(80));
    assert!(client.len() >= 3 && server.len() >= 3, "{} and {}", client.len(), server.len());
    let hosts = [&lab.client, &lab.server].map(|host| RawSocket::open(&host.namespace, "eth0"));
    assert_eq!(hosts[0].send_all(&client), client.len());
    assert_eq!(hosts[1].send_all(&server), server.len());
    let sent = (client.len() + server.len()) as u64;
    eventually("all of it was seen", || weir.counter("late") >= sent);
    assert!(weir.counter("tcp-late") > 0, "no data was among it");
    assert_eq!(tcp_lines(&weir), [""; 0]);

    // The same from another port is a stray.
    let mut stray = client[0].clone();
    stray[14 + ip] ^= 0x80;
    hosts[0].send(&stray);
    eventually("the stray is in the log", || !tcp_lines(&weir).is_empty());
}

/// What the packet log says of TCP.
fn tcp_lines(weir: &Weir) -> Vec<String> {
    weir.log().into_iter().filter(|line| line.contains("Flags [")).collect()
}
