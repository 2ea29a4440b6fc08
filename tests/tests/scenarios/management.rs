//! weir's own partners in a network namespace of their own (`[management]`): log servers, the flow
//! collector, those who fetch metrics. The bridge does not lead there.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::time::Duration;

use weir_tests::lab::{
    Family, Io, Lab, Namespace, Output, PATIENCE, Weir, WeirOptions, eventually,
};

use crate::connect;

const RULES: &str = "\
pass out on wan
pass in on lan
block in log on lan proto tcp
";

/// The address of the management port, and of who keeps logs and asks for metrics.
const OURS: &str = "198.51.100.1";
const THEIRS: &str = "198.51.100.2";

/// A cable from the management namespace to a host that keeps logs.
fn plug(management: &Namespace) -> Namespace {
    let far = Namespace::new("logs");
    management.ip(&[
        "link",
        "add",
        "eth0",
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        far.name(),
    ]);
    for (namespace, address) in [(management, OURS), (&far, THEIRS)] {
        namespace.ip(&["addr", "add", &format!("{address}/24"), "dev", "eth0"]);
        namespace.ip(&["link", "set", "eth0", "up"]);
    }
    far
}

/// Everything reaches its partner once the namespace is there, which is later than weir; what was
/// logged before is not lost; and hosts on the bridge see nothing of it.
#[test]
fn weirs_partners_are_reached_in_a_namespace_that_comes_late() {
    let lab = Lab::new();
    let management = Namespace::new("management");
    let name = management.name().to_owned();
    Output::of(Command::new("ip").args(["netns", "delete", &name])).expect_success();
    let mut options = WeirOptions::new(Io::Packet, RULES);
    options.settings = format!(
        "[management]\nnamespace = \"{name}\"\n[metrics]\nlisten = \"{OURS}:9787\"\n[pflow]\ncollector \
         = \"{THEIRS}:4739\"\n[log]\npackets = \"none\"\n[[log.syslog]]\nto = \"tcp:{THEIRS}:601\"\n\
         [[log.syslog]]\nto = \"udp:{THEIRS}:514\"\n"
    );
    let weir = Weir::start(&lab, &options);
    let blocked =
        connect(&lab.client, lab.server.address(Family::Inet), 22, Duration::from_millis(200));
    assert!(blocked.is_err(), "it is blocked");
    for what in [
        format!("log server tcp:{THEIRS}:601: network namespace {name}: "),
        format!("flow collector {THEIRS}:4739: network namespace {name}: "),
        format!("metrics cannot be served at {OURS}:9787 yet: network namespace {name}: "),
    ] {
        weir.wait_log(&what);
    }

    Output::of(Command::new("ip").args(["netns", "add", &name])).expect_success();
    let far = plug(&management);
    let at = |port: u16| SocketAddr::new(THEIRS.parse().expect("an address"), port);
    let (stream, datagrams, records) = far.within(|| {
        let listener = TcpListener::bind(at(601)).expect("it is free");
        let bound = [514, 4739].map(|port| {
            let socket = UdpSocket::bind(at(port)).expect("it is free");
            socket.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
            socket
        });
        let [datagrams, records] = bound;
        let (stream, from) = listener.accept().expect("weir connects");
        assert_eq!(from.ip().to_string(), OURS);
        stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
        (stream, datagrams, records)
    });
    let mut lines = BufReader::new(stream);
    let mut heard = String::new();
    // What was blocked while there was no way to tell of it. Octet counting puts no ends to lines.
    while !heard.contains("dport=\"22\"") {
        let read = lines.fill_buf().expect("it goes on");
        assert!(!read.is_empty(), "{heard}");
        heard.push_str(&String::from_utf8_lossy(read));
        let length = read.len();
        lines.consume(length);
    }
    let mut bytes = [0; 2048];
    let (length, from) = datagrams.recv_from(&mut bytes).expect("a message");
    assert_eq!(from.ip().to_string(), OURS);
    assert!(String::from_utf8_lossy(&bytes[..length]).contains(" weir "));
    records.recv(&mut bytes).expect("templates");
    // RFC 7011, 3.1: the version.
    assert_eq!(bytes[..2], [0, 10]);
    let url = format!("http://{OURS}:9787/metrics");
    let fetch = ["curl", "-sS", "--noproxy", "*", "-m", "5", &*url];
    eventually("the metrics", || far.run(&fetch).stdout.contains("weir_states"));

    // Who tries on the bridge, from either side, in its network.
    for host in [&lab.client, &lab.server] {
        host.namespace.ip(&["route", "add", "198.51.100.0/24", "dev", "eth0"]);
        let error = connect(host, OURS.parse().expect("an address"), 9787, Duration::from_secs(1));
        let kind = error.expect_err("nobody is there").kind();
        assert!(matches!(kind, ErrorKind::TimedOut | ErrorKind::HostUnreachable), "{kind}");
    }
    let log = weir.log();
    let said = |what: &str| log.iter().filter(|line| line.contains(what)).count();
    for what in ["log server tcp:", "log server udp:", "flow collector "] {
        assert_eq!(said(&format!("{what}{THEIRS}")), 1, "{what}: {log:#?}");
    }
    assert_eq!(said("metrics cannot"), 1, "{log:#?}");
}
