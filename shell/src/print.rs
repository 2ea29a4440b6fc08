//! Listings in pfctl's formats (OpenBSD's sbin/pfctl: pfctl.c, `pf_print_state.c`, `pfctl_parser.c`,
//! `pfctl_table.c`), so that scripts and monitoring templates that read pfctl read weir.

use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;

use crate::ctl::names::Names;
use crate::protocol::{
    Info, Interface, InterfaceStats, Limit, Peer, State, Timeout, TrackedSource,
};

/// A state as `-s states` prints it, with `names` instead of addresses where there are some.
pub(crate) fn state(
    out: &mut impl Write,
    state: &State,
    verbose: u8,
    names: &Names,
) -> io::Result<()> {
    let [initiator, responder] = &state.peers;
    write!(out, "{} ", state.port)?;
    if !state.vlans.is_empty() {
        let vlans: Vec<_> = state.vlans.iter().map(u16::to_string).collect();
        write!(out, "vlan {} ", vlans.join("."))?;
    }
    writeln!(
        out,
        "{} {} <- {}       {}:{}",
        Protocol(state.protocol),
        Host(state, state.destination, state.destination_port, names),
        Host(state, state.source, state.source_port, names),
        responder.state,
        initiator.state
    )?;
    if verbose == 0 {
        return Ok(());
    }
    if state.protocol == 6 {
        writeln!(out, "   {}  {}", Window(responder), Window(initiator))?;
    }
    write!(
        out,
        "   age {}, expires in {}, {}:{} pkts, {}:{} bytes",
        Clock(state.age),
        Clock(state.expires),
        state.packets[0],
        state.packets[1],
        state.bytes[0],
        state.bytes[1]
    )?;
    let name = |side: usize| {
        let number = || state.rules[side].map(|rule| rule.to_string());
        state.anchored[side].clone().or_else(number)
    };
    let (arriving, leaving) = (name(0), name(1));
    if let Some(rule) = arriving.as_ref().or(leaving.as_ref()) {
        write!(out, ", rule {rule}")?;
    }
    if let (Some(_), Some(leaving)) = (arriving, leaving) {
        write!(out, ", leaving rule {leaving}")?;
    }
    writeln!(out)?;
    // A client whose handshake is awaited has no state yet.
    if verbose > 1 && state.id.bytes().any(|digit| digit != b'0') {
        writeln!(out, "   id: {} creatorid: {:08x}", state.id, state.worker)?;
    }
    Ok(())
}

/// `tcp`, or the number.
struct Protocol(u8);

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("icmp"),
            6 => f.write_str("tcp"),
            17 => f.write_str("udp"),
            58 => f.write_str("ipv6-icmp"),
            132 => f.write_str("sctp"),
            number => number.fmt(f),
        }
    }
}

/// `192.0.2.1:80`, `2001:db8::1[80]`, or the address alone where there are no ports.
struct Host<'a>(&'a State, IpAddr, u16, &'a Names);

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_ports = matches!(self.0.protocol, 1 | 6 | 17 | 58 | 132);
        let name = self.3.of(self.1).unwrap_or_else(|| self.1.to_string());
        match (self.1, self.2) {
            _ if !has_ports => f.write_str(&name),
            (IpAddr::V4(_), port) => write!(f, "{name}:{port}"),
            (IpAddr::V6(_), port) => write!(f, "{name}[{port}]"),
        }
    }
}

/// `[1000 + 65536] wscale 7`, or `[1000 + 65536](+4711) wscale 7` if sequence numbers are translated.
struct Window<'a>(&'a Peer);

impl fmt::Display for Window<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = self.0;
        write!(f, "[{} + {}]", peer.seq_lo, peer.seq_hi.wrapping_sub(peer.seq_lo))?;
        if peer.seq_diff != 0 {
            write!(f, "(+{})", peer.seq_diff)?;
        }
        peer.wscale.map_or(Ok(()), |shift| write!(f, " wscale {shift}"))
    }
}

/// `1 days 01:01:01 ago`.
pub(crate) fn ago(seconds: u64) -> String {
    format!("{} days {} ago", seconds / 86_400, Clock((seconds % 86_400) as u32))
}

/// `in 0 days 00:00:59`.
pub(crate) fn within(seconds: u64) -> String {
    format!("in {} days {}", seconds / 86_400, Clock((seconds % 86_400) as u32))
}

/// `23:59:58`.
struct Clock(u32);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}:{:02}", self.0 / 3600, self.0 / 60 % 60, self.0 % 60)
    }
}

/// A quotient with one decimal; by zero as by one.
struct Tenths(u64, u64);

impl fmt::Display for Tenths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = u128::from(self.0) * 10 / u128::from(self.1.max(1));
        write!(f, "{}.{}", tenths / 10, tenths % 10)
    }
}

/// `-s info`.
pub(crate) fn info(out: &mut impl Write, info: &Info, verbose: u8) -> io::Result<()> {
    let word = match info.status.as_str() {
        "disabled" => "Disabled",
        "blocked" => "Blocked",
        _ => "Enabled",
    };
    let (days, rest) = (info.uptime / 86_400, (info.uptime % 86_400) as u32);
    let status = format!("Status: {word} for {days} days {}", Clock(rest));
    writeln!(out, "{status:<44} {:>15}\n", format!("weir {}", info.version))?;
    if let Some(seconds) = info.open_for {
        writeln!(out, "EVERYTHING PASSES unjudged for {seconds} more seconds (-e ends it)\n")?;
    }
    if let Some(port) = &info.log_interface {
        interface_stats(out, port)?;
    }
    writeln!(out, "{:<27} {:>14} {:>16}", "State Table", "Total", "Rate")?;
    writeln!(out, "  {:<25} {:>14} {:>14}", "current entries", info.states, "")?;
    writeln!(out, "  {:<25} {:>14} {:>14}", "half-open tcp", info.half_open, "")?;
    let counter = |out: &mut dyn Write, name: &str, count: u64| {
        let rate = Tenths(count, info.uptime).to_string();
        writeln!(out, "  {name:<25} {count:>14} {rate:>14}/s")
    };
    counter(out, "searches", info.searches)?;
    counter(out, "inserts", info.inserts)?;
    counter(out, "removals", info.removals)?;
    counter(out, "evictions", info.evictions)?;
    counter(out, "late", info.late)?;
    if let Some(percent) = info.adaptive {
        writeln!(out, "  {:<25} active, time-outs scaled to {percent} %", "adaptive")?;
    }
    if verbose > 0 {
        writeln!(out, "Source Tracking Table")?;
        writeln!(out, "  {:<25} {:>14} {:>14}", "current entries", info.src_nodes, "")?;
        counter(out, "inserts", info.src_node_inserts)?;
        counter(out, "removals", info.src_node_removals)?;
    }
    let cookies = &info.syncookies;
    if verbose > 0 || cookies.sent > 0 || !matches!(cookies.mode.as_str(), "" | "never") {
        writeln!(out, "Syncookies")?;
        writeln!(out, "  {:<25} {}", "mode", cookies.mode)?;
        writeln!(out, "  {:<25} {}", "active", if cookies.active { "active" } else { "inactive" })?;
        for (name, percent) in [("highwater", cookies.start), ("lowwater", cookies.end)] {
            percent.map_or(Ok(()), |percent| writeln!(out, "  {name:<25} {percent} %"))?;
        }
        for (name, count) in [
            ("sent", cookies.sent),
            ("resent", cookies.resent),
            ("valid", cookies.valid),
            ("invalid", cookies.invalid),
            ("expired", cookies.expired),
            ("surplus", cookies.surplus),
            ("server refused", cookies.refused),
            ("server silent", cookies.silent),
            ("option lacking", cookies.lacking),
        ] {
            counter(out, name, count)?;
        }
    }
    writeln!(out, "Counters")?;
    counter(out, "frames", info.frames)?;
    counter(out, "reflected", info.reflected)?;
    counter(out, "crafted", info.crafted)?;
    counter(out, "unfiltered", info.unfiltered)?;
    for reason in &info.reasons {
        counter(out, &reason.name, reason.count)?;
        if verbose > 1 {
            writeln!(out, "    {}", reason.description)?;
        }
    }
    counter(out, "log-lost", info.log_lost)?;
    let share = Tenths(info.handed_over.saturating_mul(100), info.frames);
    let why = match (info.handed_over > 0, info.steered) {
        (false, _) => "",
        (true, true) => ": fragments, ICMP errors, and what NICs cannot parse",
        (true, false) => ": NICs deal flows out by another hash",
    };
    writeln!(out, "Workers ({}, {share} % of frames handed over{why})", info.io)?;
    for worker in &info.workers {
        let cpu = worker.cpu.map_or_else(|| "not pinned".into(), |cpu| format!("cpu {cpu}"));
        writeln!(
            out,
            "  {:<2} {cpu:<11} states {:<10} frames {:<14} handed-over {:<12} back-pressure {}",
            worker.worker, worker.states, worker.frames, worker.handed_over, worker.back_pressure
        )?;
    }
    Ok(())
}

/// What `set loginterface` adds to `-s info`.
fn interface_stats(out: &mut impl Write, port: &InterfaceStats) -> io::Result<()> {
    // IPv4 and IPv6, of one direction.
    let ways = |direction: usize| [port.traffic[direction], port.traffic[direction + 2]];
    let line = |out: &mut dyn Write, name: &str, [v4, v6]: [u64; 2]| {
        writeln!(out, "{name:<27} {v4:>14} {v6:>16}")
    };
    writeln!(out, "Interface Stats for {:<16} {:>5} {:>16}", port.name, "IPv4", "IPv6")?;
    for (direction, name) in ["In", "Out"].into_iter().enumerate() {
        let bytes = ways(direction).map(|way| way.passed[1] + way.blocked[1]);
        line(out, &format!("  Bytes {name}"), bytes)?;
    }
    for (direction, name) in ["In", "Out"].into_iter().enumerate() {
        writeln!(out, "  Packets {name}")?;
        line(out, "    Passed", ways(direction).map(|way| way.passed[0]))?;
        line(out, "    Blocked", ways(direction).map(|way| way.blocked[0]))?;
    }
    writeln!(out)
}

/// `-s Interfaces`.
pub(crate) fn interface(out: &mut impl Write, port: &Interface, verbose: u8) -> io::Result<()> {
    const NAMES: [&str; 6] = ["In4", "Out4", "In6", "Out6", "InL2", "OutL2"];
    write!(out, "{}", port.name)?;
    if verbose > 0 {
        write!(out, " ({})", port.role)?;
        if port.skip {
            write!(out, " (skip)")?;
        }
    }
    writeln!(out)?;
    if verbose < 2 {
        return Ok(());
    }
    writeln!(out, "\tCleared:     {}", ago(port.cleared))?;
    for (name, traffic) in NAMES.iter().zip(&port.traffic) {
        for (verdict, [packets, bytes]) in [("Pass", traffic.passed), ("Block", traffic.blocked)] {
            let name = format!("{name}/{verdict}:");
            writeln!(out, "\t{name:<12} [ Packets: {packets:<18} Bytes: {bytes:<18} ]")?;
        }
    }
    let device = &port.device;
    for (name, count) in [
        ("Received:", device.received),
        ("Sent:", device.transmitted),
        ("Missed:", device.missed),
        ("Malformed:", device.malformed),
        ("Unsendable:", device.unsendable),
        ("Ring full:", device.transmit_full),
        ("No buffer:", device.pool_empty),
    ] {
        writeln!(out, "\t{name:<12} {count} ({})", port.io)?;
    }
    Ok(())
}

/// `-s Sources`; a bridge sends nobody elsewhere, so that the second address is none.
pub(crate) fn source(out: &mut impl Write, source: &TrackedSource, verbose: u8) -> io::Result<()> {
    let none = if source.address.is_ipv4() { "0.0.0.0" } else { "::" };
    let (rate, seconds) = source.rate;
    writeln!(
        out,
        "{} -> {none} ( states {}, connections {}, rate {}.{}/{seconds}s )",
        source.address,
        source.states,
        source.connections,
        rate / 10,
        rate % 10
    )?;
    if verbose == 0 {
        return Ok(());
    }
    let clock = |seconds: u64| Clock(u32::try_from(seconds).unwrap_or(u32::MAX));
    write!(out, "   age {}", clock(source.age))?;
    if let Some(left) = source.expires {
        write!(out, ", expires in {}", clock(left))?;
    }
    write!(out, ", {} pkts, {} bytes", source.packets, source.bytes)?;
    match (&source.anchored, source.rule) {
        (Some(rule), _) => write!(out, ", rule {rule}")?,
        (None, Some(rule)) => write!(out, ", rule {rule}")?,
        (None, None) => {}
    }
    writeln!(out)
}

/// `-s timeouts`.
pub(crate) fn timeout(out: &mut impl Write, timeout: &Timeout) -> io::Result<()> {
    let unit = if timeout.unit == "s" { "s".into() } else { format!(" {}", timeout.unit) };
    writeln!(out, "{:<20} {:>10}{unit}", timeout.name, timeout.value)
}

/// `-s memory`; weir's own words stand behind pfctl's.
pub(crate) fn limit(out: &mut impl Write, limit: &Limit) -> io::Result<()> {
    write!(
        out,
        "{:<13} hard limit {:>8} used {:>8} peak {:>8}",
        limit.name, limit.limit, limit.used, limit.peak
    )?;
    limit.reserved.map_or(Ok(()), |reserved| write!(out, " reserved {reserved:>8}"))?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::{Names, info, interface, limit, source, state, timeout};
    use crate::protocol::{
        Info, Interface, InterfaceStats, Limit, Peer, ReasonCount, State, Syncookies, Timeout,
        TrackedSource, Traffic, WorkerInfo,
    };

    fn printed(print: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
        let mut out = Vec::new();
        print(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn peer(state: &str, seq_lo: u32, seq_hi: u32, wscale: Option<u8>) -> Peer {
        Peer { state: state.into(), seq_lo, seq_hi, seq_diff: 0, wscale }
    }

    fn tcp() -> State {
        State {
            id: "00000000000000a1".into(),
            worker: 1,
            port: "wan".into(),
            vlans: Vec::new(),
            protocol: 6,
            source: "192.0.2.1".parse().unwrap(),
            source_port: 40000,
            destination: "198.51.100.2".parse().unwrap(),
            destination_port: 80,
            peers: [
                peer("FIN_WAIT_2", 1000, 66_536, Some(7)),
                peer("ESTABLISHED", u32::MAX, 9, Some(8)),
            ],
            age: 5,
            idle: 1,
            expires: 86_398,
            packets: [5, 4],
            bytes: [500, 400],
            rules: [Some(3), None],
            anchored: [None, None],
        }
    }

    #[test]
    fn states_print_as_pf_prints_them() {
        assert_eq!(
            printed(|out| state(out, &tcp(), 0, &Names::default())),
            "wan tcp 198.51.100.2:80 <- 192.0.2.1:40000       ESTABLISHED:FIN_WAIT_2\n"
        );
        assert_eq!(
            printed(|out| state(out, &tcp(), 2, &Names::default())),
            "wan tcp 198.51.100.2:80 <- 192.0.2.1:40000       ESTABLISHED:FIN_WAIT_2\n   \
             [4294967295 + 10] wscale 8  [1000 + 65536] wscale 7\n   \
             age 00:00:05, expires in 23:59:58, 5:4 pkts, 500:400 bytes, rule 3\n   \
             id: 00000000000000a1 creatorid: 00000001\n"
        );
        let mut translated = tcp();
        translated.peers[0].seq_diff = 4711;
        let text = printed(|out| state(out, &translated, 1, &Names::default()));
        assert!(
            text.contains("   [4294967295 + 10] wscale 8  [1000 + 65536](+4711) wscale 7\n"),
            "{text}"
        );
        let mut anchored = tcp();
        anchored.rules = [Some(12), Some(2)];
        anchored.anchored = [Some("3.webfarm.0".into()), None];
        let text = printed(|out| state(out, &anchored, 1, &Names::default()));
        assert!(text.ends_with("bytes, rule 3.webfarm.0, leaving rule 2\n"), "{text}");
        let mut other = tcp();
        other.protocol = 17;
        other.source = "2001:db8::1".parse().unwrap();
        other.destination = "2001:db8::2".parse().unwrap();
        other.peers = [peer("SINGLE", 0, 0, None), peer("NO_TRAFFIC", 0, 0, None)];
        other.rules = [Some(3), Some(4)];
        other.vlans = vec![100, 7];
        assert_eq!(
            printed(|out| state(out, &other, 1, &Names::default())),
            "wan vlan 100.7 udp 2001:db8::2[80] <- 2001:db8::1[40000]       NO_TRAFFIC:SINGLE\n   \
             age 00:00:05, expires in 23:59:58, 5:4 pkts, 500:400 bytes, rule 3, leaving rule 4\n"
        );
    }

    #[test]
    fn sources_print_as_pf_prints_them() {
        let mut one = TrackedSource {
            address: "192.0.2.1".parse().unwrap(),
            states: 3,
            connections: 2,
            rate: (15, 10),
            age: 65,
            expires: None,
            packets: 7,
            bytes: 800,
            rule: Some(4),
            anchored: None,
        };
        let line = "192.0.2.1 -> 0.0.0.0 ( states 3, connections 2, rate 1.5/10s )\n";
        assert_eq!(printed(|out| source(out, &one, 0)), line);
        assert_eq!(
            printed(|out| source(out, &one, 1)),
            format!("{line}   age 00:01:05, 7 pkts, 800 bytes, rule 4\n")
        );
        one.address = "2001:db8::1".parse().unwrap();
        (one.states, one.connections, one.rate) = (0, 0, (0, 0));
        (one.expires, one.anchored) = (Some(9), Some("3.webfarm.0".into()));
        assert_eq!(
            printed(|out| source(out, &one, 1)),
            "2001:db8::1 -> :: ( states 0, connections 0, rate 0.0/0s )\n   \
             age 00:01:05, expires in 00:00:09, 7 pkts, 800 bytes, rule 3.webfarm.0\n"
        );
    }

    #[test]
    fn timeouts_and_limits_print_as_pf_prints_them() {
        let seconds = Timeout { name: "tcp.first".into(), value: 120, unit: "s".into() };
        assert_eq!(printed(|out| timeout(out, &seconds)), "tcp.first                   120s\n");
        let states = Timeout { name: "adaptive.end".into(), value: 120_000, unit: "states".into() };
        assert_eq!(
            printed(|out| timeout(out, &states)),
            "adaptive.end             120000 states\n"
        );
        let mut pool = Limit {
            name: "states".into(),
            limit: 100_000,
            used: 1,
            peak: 2,
            reserved: Some(1_000_000),
        };
        assert_eq!(
            printed(|out| limit(out, &pool)),
            "states        hard limit   100000 used        1 peak        2 reserved  1000000\n"
        );
        pool.reserved = None;
        assert_eq!(
            printed(|out| limit(out, &pool)),
            "states        hard limit   100000 used        1 peak        2\n"
        );
    }

    #[test]
    fn info_prints_as_pf_prints_it() {
        let status = Info {
            version: "0.1.0".into(),
            status: "enabled".into(),
            uptime: 90_065,
            open_for: None,
            io: "packet".into(),
            log_interface: Some(InterfaceStats {
                name: "eth1".into(),
                traffic: [
                    Traffic { passed: [10, 1000], blocked: [1, 60] },
                    Traffic { passed: [9, 900], blocked: [0, 0] },
                    Traffic { passed: [8, 800], blocked: [0, 0] },
                    Traffic { passed: [7, 700], blocked: [2, 80] },
                ],
            }),
            states: 3,
            half_open: 2,
            adaptive: Some(63),
            searches: 180_130,
            inserts: 4,
            removals: 1,
            evictions: 0,
            late: 0,
            syncookies: Syncookies {
                mode: "adaptive".into(),
                active: true,
                start: Some(25),
                end: Some(12),
                sent: 9_006_500,
                silent: 4,
                ..Syncookies::default()
            },
            src_nodes: 0,
            src_node_inserts: 0,
            src_node_removals: 0,
            reflected: 0,
            crafted: 0,
            unfiltered: 0,
            reasons: vec![ReasonCount {
                name: "block-rule".into(),
                count: 7,
                description: "A block rule matched.".into(),
            }],
            frames: 200,
            handed_over: 50,
            steered: false,
            log_lost: 0,
            workers: vec![WorkerInfo {
                worker: 0,
                cpu: Some(1),
                states: 3,
                frames: 200,
                handed_over: 50,
                back_pressure: 0,
                busy: 0,
            }],
        };
        let text = printed(|out| info(out, &status, 0));
        for line in [
            "Status: Enabled for 1 days 01:01:05               weir 0.1.0",
            "Interface Stats for eth1              IPv4             IPv6",
            "  Bytes In                            1060              800",
            "  Bytes Out                            900              780",
            "  Packets Out",
            "    Passed                              10                8",
            "    Blocked                              0                2",
            "  adaptive                  active, time-outs scaled to 63 %",
            "State Table                          Total             Rate",
            "  current entries                        3               ",
            "  half-open tcp                          2               ",
            "  searches                          180130            2.0/s",
            "Syncookies",
            "  mode                      adaptive",
            "  active                    active",
            "  highwater                 25 %",
            "  lowwater                  12 %",
            "  sent                             9006500          100.0/s",
            "  server silent                          4            0.0/s",
            "  block-rule                             7            0.0/s",
            "Workers (packet, 25.0 % of frames handed over: NICs deal flows out by another hash)",
        ] {
            assert!(text.lines().any(|printed| printed == line), "{line:?} in\n{text}");
        }
        let idle = Info { syncookies: Syncookies::default(), ..status };
        assert!(!printed(|out| info(out, &idle, 0)).contains("Syncookies"));
        assert!(printed(|out| info(out, &idle, 1)).contains("Syncookies"));
    }

    #[test]
    fn interfaces_print_as_pf_prints_them() {
        let mut port = Interface {
            role: "wan".into(),
            name: "eth1".into(),
            io: "xdp".into(),
            skip: true,
            prefixes: Vec::new(),
            cleared: 0,
            traffic: [Traffic::default(); 6],
            device: crate::protocol::Device::default(),
        };
        port.traffic[0].passed = [12, 3400];
        assert_eq!(printed(|out| interface(out, &port, 0)), "eth1\n");
        assert_eq!(printed(|out| interface(out, &port, 1)), "eth1 (wan) (skip)\n");
        let text = printed(|out| interface(out, &port, 2));
        assert!(
            text.contains(
                "\tIn4/Pass:    [ Packets: 12                 Bytes: 3400               ]\n"
            ),
            "{text}"
        );
    }
}
