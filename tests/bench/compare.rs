//! `make bench-compare`: weir beside the kernel's bridge and beside a forwarder that does not
//! filter, in labs of the same shape, in the same run, round by round in turn, so that whatever
//! else the machine does meets all of them. Medians and the spread of all rounds.
//!
//! `weir-compare [--rounds N] [--seconds N] [--only WORD]`; five rounds, two seconds a figure and
//! every contender if nothing is said. The filters get the same twenty rules, of which the last lets everything pass.
//!
//! How to read it: the kernel forwards in the context of the sender's system call, so that generator
//! and bridge share a core; a process in user space has one of its own. Packet rates of the two are
//! no fair pair, those of weir and the unfiltered forwarder are, and so are throughput and
//! connections. Over `AF_XDP` in driver mode a veth peer has no segmentation offload; the unfiltered
//! forwarder needs hosts that finish their checksums, and the rows marked so have these.
//! Needs root.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_tests::frames;
use weir_tests::lab::{
    Family, Io, KernelBridge, Lab, Namespace, Process, RawSocket, WebServer, Weir, WeirOptions,
    binary,
};

/// What is measured, in the order of the table.
const CONTENDERS: [Contender; 8] = [
    Contender { name: "kernel bridge", kind: Kind::Kernel { filter: false }, offloads: true },
    Contender {
        name: "kernel bridge, nftables stateful",
        kind: Kind::Kernel { filter: true },
        offloads: true,
    },
    Contender { name: "forward, packet", kind: Kind::Forward(Io::Packet), offloads: true },
    Contender { name: "weir, packet", kind: Kind::Weir(Io::Packet), offloads: true },
    Contender { name: "weir, xdp", kind: Kind::Weir(Io::Xdp), offloads: true },
    Contender {
        name: "kernel bridge, hosts without offloads",
        kind: Kind::Kernel { filter: false },
        offloads: false,
    },
    Contender {
        name: "forward, xdp, hosts without offloads",
        kind: Kind::Forward(Io::Xdp),
        offloads: false,
    },
    Contender {
        name: "weir, xdp, hosts without offloads",
        kind: Kind::Weir(Io::Xdp),
        offloads: false,
    },
];

/// Pairs of rows whose ratio says something: weir first.
const RATIOS: [(usize, usize); 5] = [(3, 2), (7, 6), (3, 1), (4, 1), (7, 5)];

const FIGURES: [&str; 4] =
    ["TCP, 1 stream, Gbit/s", "TCP, 8 streams, Gbit/s", "UDP, 64 bytes, Mpps", "HTTP, conn/s"];

#[derive(Clone, Copy)]
struct Contender {
    name: &'static str,
    kind: Kind,
    /// Whether the hosts leave segmentation and checksums to their interfaces, as by default.
    offloads: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Kernel { filter: bool },
    Forward(Io),
    Weir(Io),
}

/// One of them, running.
enum Running<'a> {
    #[expect(dead_code, reason = "held for its drop")]
    Kernel(KernelBridge<'a>),
    #[expect(dead_code, reason = "held for its drop")]
    Forward(Process),
    #[expect(dead_code, reason = "held for its drop")]
    Weir(Weir),
}

fn main() -> ExitCode {
    let Some((rounds, seconds, only)) = arguments() else {
        eprintln!("usage: weir-compare [--rounds N] [--seconds N] [--only WORD]");
        return ExitCode::from(2);
    };
    if !rustix::process::geteuid().is_root() {
        eprintln!("weir-compare makes network namespaces and needs root");
        return ExitCode::FAILURE;
    }
    let handler = ctrlc::set_handler(|| {
        Namespace::remove_all();
        std::process::exit(130);
    });
    if let Err(error) = handler {
        eprintln!("Ctrl-C will not clean up: {error}");
    }
    let mut results = [const { [const { Vec::new() }; FIGURES.len()] }; CONTENDERS.len()];
    for round in 1..=rounds {
        for (contender, results) in CONTENDERS.iter().zip(&mut results) {
            if !contender.name.contains(&only) {
                continue;
            }
            let measured = measure(contender, seconds);
            eprintln!("round {round}/{rounds}: {:<38} {measured:.3?}", contender.name);
            for (figure, results) in measured.into_iter().zip(results) {
                results.push(figure);
            }
        }
    }
    println!("{}", table(&results));
    ExitCode::SUCCESS
}

/// Rounds, seconds a figure, and what is in the name of every contender that takes part.
fn arguments() -> Option<(u32, u64, String)> {
    let (mut rounds, mut seconds, mut only) = (5, 2, String::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next()?;
        match argument.as_str() {
            "--rounds" => rounds = value.parse().ok()?,
            "--seconds" => seconds = value.parse().ok()?,
            "--only" => only = value,
            _ => return None,
        }
    }
    Some((rounds, seconds, only)).filter(|&(rounds, seconds, _)| rounds > 0 && seconds > 0)
}

/// Builds a lab around a contender and takes its figures.
fn measure(contender: &Contender, seconds: u64) -> [f64; FIGURES.len()] {
    let lab = Lab::new();
    if !contender.offloads {
        for host in [&lab.client, &lab.server] {
            host.run(&["ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off"])
                .expect_success();
        }
    }
    let _running = start(&lab, contender.kind);
    // Addresses resolved, and proof that it forwards at all.
    weir_tests::lab::eventually("a ping passes", || lab.pings(Family::Inet));
    let length = seconds.to_string();
    [
        throughput(&lab, &length, "1"),
        throughput(&lab, &length, "8"),
        packet_rate(&lab, Duration::from_secs(seconds)),
        connections(&lab),
    ]
}

fn start(lab: &Lab, kind: Kind) -> Running<'_> {
    match kind {
        Kind::Kernel { filter } => {
            let bridge = KernelBridge::start(lab);
            if filter {
                let available = KernelBridge::set_netfilter(lab, true);
                assert!(available, "this kernel has no br_netfilter");
                let file = lab.folder().join("rules.nft");
                std::fs::write(&file, nft_rules()).expect("our folder");
                lab.firewall.run(&["nft", "-f", &file.to_string_lossy()]).expect_success();
            }
            Running::Kernel(bridge)
        }
        Kind::Forward(io) => {
            // Beside the binary: target/release/weir, target/release/examples/forward.
            let forward = binary().with_file_name("examples").join("forward");
            let mut command = lab.firewall.command(&forward.to_string_lossy());
            command.args(["--io", &io.to_string(), Lab::LAN, Lab::WAN]);
            let process = Process::start_with_open_input(&mut command);
            process.wait_line("forward: forwarding");
            lab.wait_links();
            Running::Forward(process)
        }
        Kind::Weir(io) => Running::Weir(Weir::start(lab, &WeirOptions::new(io, &weir_rules()))),
    }
}

/// Ports that none of the measurements uses.
const SHUT: std::ops::Range<u16> = 6001..6020;

fn weir_rules() -> String {
    let mut rules = "set limit states 200000\n".to_owned();
    for port in SHUT {
        let _ = writeln!(rules, "block quick proto tcp to port {port}");
    }
    rules + "pass\n"
}

fn nft_rules() -> String {
    let mut rules =
        "table inet filter {\n chain forward {\n  type filter hook forward priority 0; \
                     policy accept;\n  ct state established,related accept\n"
            .to_owned();
    for port in SHUT {
        let _ = writeln!(rules, "  tcp dport {port} drop");
    }
    rules + "  ct state new accept\n }\n}\n"
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

/// The medians with their spread, and the ratios, in Markdown.
fn table(results: &[[Vec<f64>; FIGURES.len()]; CONTENDERS.len()]) -> String {
    let mut out =
        format!("\n| | {} |\n|---|{}\n", FIGURES.join(" | "), "---|".repeat(FIGURES.len()));
    let took_part = |results: &[Vec<f64>; FIGURES.len()]| !results[0].is_empty();
    for (contender, results) in CONTENDERS.iter().zip(results).filter(|(_, r)| took_part(r)) {
        let _ = write!(out, "| {} |", contender.name);
        for figure in results {
            let (low, middle, high) = spread(figure);
            let digits = if middle >= 100.0 { 0 } else { 2 };
            let _ = write!(out, " {middle:.digits$} ({low:.digits$}-{high:.digits$}) |");
        }
        out.push('\n');
    }
    for (weir, peer) in RATIOS {
        if !took_part(&results[weir]) || !took_part(&results[peer]) {
            continue;
        }
        let _ = write!(out, "| *{} / {}* |", CONTENDERS[weir].name, CONTENDERS[peer].name);
        for (ours, theirs) in results[weir].iter().zip(&results[peer]) {
            let _ = write!(out, " {:.2} |", spread(ours).1 / spread(theirs).1);
        }
        out.push('\n');
    }
    out
}

/// Smallest, median and largest value.
fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1])
}
