//! What is measured of each contender.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_tests::frames;
use weir_tests::lab::{Family, Lab, RawSocket, WebServer};

/// What the figures are, in the order of [`take`].
pub(crate) const NAMES: [&str; 6] = [
    "TCP, 1 stream, Gbit/s",
    "TCP, 8 streams, Gbit/s",
    "UDP, 64 bytes, Mpps",
    "HTTP, conn/s",
    "round trip p50, us",
    "p99, us",
];

/// A value of each figure.
pub(crate) type Figures = [f64; NAMES.len()];

/// Exchanges of one byte over one connection that are timed, after as many that are not.
const EXCHANGES: usize = 3000;
/// Port of the server that answers them.
const ECHO: u16 = 7;

/// Takes all figures in a lab.
pub(crate) fn take(lab: &Lab, seconds: u64) -> Figures {
    let length = seconds.to_string();
    let [p50, p99] = round_trips(lab);
    [
        throughput(lab, &length, "1"),
        throughput(lab, &length, "8"),
        packet_rate(lab, Duration::from_secs(seconds)),
        connections(lab),
        p50,
        p99,
    ]
}

/// How long a byte to the server and back takes over a connection that stays, one at a time, as
/// netperf's `TCP_RR` does: the median and the time that one of a hundred exceeds, in microseconds.
fn round_trips(lab: &Lab) -> [f64; 2] {
    let address = lab.server.socket(Family::Inet, ECHO);
    // Sockets and threads stay in the namespace that they were made in.
    let listener =
        lab.server.namespace.within(|| TcpListener::bind(&address)).expect("a free port");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut byte = [0];
        while stream.read(&mut byte)? > 0 {
            stream.write_all(&byte)?;
        }
        std::io::Result::Ok(())
    });
    let mut client =
        lab.client.namespace.within(|| TcpStream::connect(&address)).expect("the server listens");
    client.set_nodelay(true).expect("it is a TCP socket");
    let mut exchange = || {
        let begin = Instant::now();
        let mut byte = [1];
        client.write_all(&byte).expect("the connection stays");
        client.read_exact(&mut byte).expect("the server answers");
        begin.elapsed().as_secs_f64() * 1e6
    };
    for _ in 0..EXCHANGES {
        exchange();
    }
    let mut times: Vec<f64> = (0..EXCHANGES).map(|_| exchange()).collect();
    drop(client);
    server.join().expect("the server does not panic").expect("the server's socket works");
    times.sort_by(f64::total_cmp);
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}

/// What arrives at the server, in Gbit/s.
fn throughput(lab: &Lab, seconds: &str, streams: &str) -> f64 {
    let server = lab.server.namespace.start(&["iperf3", "-s", "-1", "--forceflush"]);
    server.wait_line("Server listening");
    let to = lab.server.inet.to_string();
    let said =
        lab.client.run(&["iperf3", "-J", "-c", &to, "-t", seconds, "-P", streams]).expect_success();
    let report: Value = serde_json::from_str(&said).expect("iperf3 -J prints JSON");
    report["end"]["sum_received"]["bits_per_second"].as_f64().expect("iperf3's report") / 1e9
}

/// Frames that arrive at the server while a thousand flows are sent as fast as they can be, in
/// millions a second. They are addressed to its interface but to nobody's IP address, so that its
/// stack throws them away at once.
fn packet_rate(lab: &Lab, duration: Duration) -> f64 {
    let target = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 9);
    let flows: Vec<Vec<u8>> = (0..1000)
        .map(|n| {
            let source = SocketAddr::new(IpAddr::V4(lab.client.inet), 10_000 + n);
            // 14 + 20 + 8 + 18 bytes, and 4 of check sequence on a wire.
            frames::udp(&lab.client, &lab.server, source, target, &[0; 18])
        })
        .collect();
    let socket = RawSocket::open(&lab.client.namespace, "eth0");
    socket.flood(&flows, Duration::from_millis(200));
    let (before, begin) = (received(lab), Instant::now());
    socket.flood(&flows, duration);
    (received(lab) - before) / begin.elapsed().as_secs_f64() / 1e6
}

/// Packets that the server's interface has received.
fn received(lab: &Lab) -> f64 {
    let shown = lab.server.namespace.ip(&["-j", "-s", "link", "show", "dev", "eth0"]);
    let shown: Value = serde_json::from_str(&shown).expect("ip -j prints JSON");
    shown[0]["stats64"]["rx"]["packets"].as_f64().expect("ip -s prints statistics")
}

/// Requests a second, each over a connection of its own.
fn connections(lab: &Lab) -> f64 {
    let _web = WebServer::start(&lab.server, 80);
    let url = format!("http://{}/", lab.server.socket(Family::Inet, 80));
    let said = lab.client.run(&["ab", "-q", "-c", "16", "-n", "5000", &url]).expect_success();
    said.lines()
        .find_map(|line| line.strip_prefix("Requests per second:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .expect("ab's report")
}
