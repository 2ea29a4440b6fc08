//! What a bridge has to let through, unharmed.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use weir_tests::frames;
use weir_tests::lab::{
    Capture, EchoServer, Family, Host, Io, Lab, PATIENCE, RawSocket, Topology, WebServer,
    eventually, shipped,
};

use crate::{Between, Bridge, curl, on_every_port, over_every_bridge};

over_every_bridge! {
    curl_fetches_a_page
    udp_is_answered_both_ways
    ping_is_answered_both_ways
    neighbours_are_resolved
    a_host_gets_its_address_by_dhcp
    tagged_frames_pass_unchanged
    a_full_packet_passes
    a_jumbo_packet_passes
    short_connections_all_succeed
    a_pulled_cable_recovers
}

on_every_port! {
    long_transfers_never_stall
}

fn curl_fetches_a_page(between: Between, family: Family) {
    let lab = Lab::new();
    let bridge = Bridge::start(&lab, between, "pass\n");
    let _web = WebServer::start(&lab.server, 80);
    assert_eq!(curl(&lab.client, &lab.server, family, 80).as_deref(), Ok(WebServer::PAGE));
    let _web = WebServer::start(&lab.client, 8080);
    assert_eq!(curl(&lab.server, &lab.client, family, 8080).as_deref(), Ok(WebServer::PAGE));
    bridge.assert_no_mismatch();
}

fn udp_is_answered_both_ways(between: Between, family: Family) {
    let lab = Lab::new();
    let _bridge = Bridge::start(&lab, between, "pass\n");
    for (from, to) in [(&lab.client, &lab.server), (&lab.server, &lab.client)] {
        let _echo = EchoServer::start(to, 7);
        // The longer ones travel in fragments.
        for length in [1, 1_000, 10_000, 60_000] {
            let payload = WebServer::pattern(length);
            assert_eq!(exchange(from, to, family, &payload), payload);
        }
    }
}

/// Sends a datagram to port 7 and returns the answer.
pub(crate) fn exchange(from: &Host, to: &Host, family: Family, payload: &[u8]) -> Vec<u8> {
    exchange_from(0, from, to, family, payload)
}

/// The same from a port of one's own choice: the kernel's may be one that it chose before.
pub(crate) fn exchange_from(
    port: u16,
    from: &Host,
    to: &Host,
    family: Family,
    payload: &[u8],
) -> Vec<u8> {
    let socket = from
        .namespace
        .within(|| UdpSocket::bind(SocketAddr::new(from.address(family), port)))
        .expect("the address is ours");
    socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
    socket.send_to(payload, (to.address(family), 7)).expect("there is a route");
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer).expect("an answer");
    buffer.truncate(length);
    buffer
}

fn ping_is_answered_both_ways(between: Between, family: Family) {
    let lab = Lab::new();
    let _bridge = Bridge::start(&lab, between, "pass\n");
    for (from, to) in [(&lab.client, &lab.server), (&lab.server, &lab.client)] {
        let to = to.address(family).to_string();
        for size in ["56", "4000"] {
            // One at a time: of several, ping waits for the last no longer than for two of the others.
            for _ in 0..5 {
                from.run(&["ping", "-n", "-s", size, "-c", "1", "-W", "5", &to]).expect_success();
            }
            let several = ["ping", "-n", "-s", size, "-c", "5", "-i", "0.01", "-w", "5", &to];
            let said = from.run(&several).expect_success();
            assert!(!said.contains("DUP!"), "{said}");
        }
    }
}

/// ARP and neighbour discovery pass whatever the rules say of IP.
fn neighbours_are_resolved(between: Between, family: Family) {
    let lab = Lab::new();
    let _bridge = Bridge::start(&lab, between, "block\n");
    for (from, to) in [(&lab.client, &lab.server), (&lab.server, &lab.client)] {
        let mac = to.mac.map(|byte| format!("{byte:02x}")).join(":");
        let address = to.address(family).to_string();
        from.namespace.ip(&["neigh", "flush", "dev", "eth0"]);
        let ping = from.namespace.start(&["ping", "-n", "-i", "0.2", &address]);
        eventually("the neighbour's hardware address", || {
            let known = from.namespace.ip(&["neigh", "show", &address, "dev", "eth0"]);
            known.contains(&mac)
        });
        drop(ping);
    }
}

fn a_host_gets_its_address_by_dhcp(between: Between, family: Family) {
    let lab = Lab::new();
    let rules = std::fs::read_to_string(shipped("weir.conf")).expect("is shipped");
    let _bridge = Bridge::start(&lab, between, &rules);
    let range = match family {
        Family::Inet => "--dhcp-range=192.0.2.100,192.0.2.120,10m",
        Family::Inet6 => "--dhcp-range=2001:db8::100,2001:db8::120,64,10m",
    };
    let leases = format!("--dhcp-leasefile={}", lab.folder().join("leases").display());
    let pid = format!("--pid-file={}", lab.folder().join("dnsmasq.pid").display());
    let dnsmasq = lab.server.namespace.start(&[
        "dnsmasq",
        "--keep-in-foreground",
        "--log-facility=-",
        "--conf-file=/dev/null",
        "--port=0",
        "--user=root",
        "--group=",
        "--interface=eth0",
        "--dhcp-authoritative",
        "--no-ping",
        range,
        &leases,
        &pid,
    ]);
    dnsmasq.wait_line("IP range");
    let address = match family {
        Family::Inet => {
            lab.client.namespace.ip(&["-4", "addr", "flush", "dev", "eth0"]);
            lease(&lab)
        }
        Family::Inet6 => {
            lab.client.namespace.ip(&["addr", "del", "2001:db8::1/64", "dev", "eth0"]);
            lease6(&lab)
        }
    };
    let log = dnsmasq.lines().join("\n");
    match family {
        Family::Inet => assert!(address.contains("192.0.2.1"), "{address}\n{log}"),
        Family::Inet6 => assert!(address.contains("2001:db8::1"), "{address}\n{log}"),
    }
}

/// Runs a DHCP client on the client and returns what it was given.
fn lease(lab: &Lab) -> String {
    let script = lab.folder().join("lease.sh");
    write_script(&script, "#!/bin/sh\necho \"$1 ip=$ip\"\n");
    let script = script.to_string_lossy();
    let client = lab.client.run(&[
        "busybox", "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "10", "-T", "1", "-s", &script,
    ]);
    let said = format!("{}{}", client.stdout, client.stderr);
    said.lines().find(|line| line.starts_with("bound ")).unwrap_or(&said).to_owned()
}

/// As `lease`, for `DHCPv6`.
fn lease6(lab: &Lab) -> String {
    let script = lab.folder().join("lease.sh");
    write_script(&script, "#!/bin/sh\necho \"$reason ip=$new_ip6_address\"\n");
    let leases = lab.folder().join("client.leases");
    let pid = lab.folder().join("client.pid");
    let mut client = lab.client.namespace.start(&[
        "dhclient",
        "-6",
        "-d",
        "-1",
        "-cf",
        "/dev/null",
        "-lf",
        &leases.to_string_lossy(),
        "-pf",
        &pid.to_string_lossy(),
        "-sf",
        &script.to_string_lossy(),
        "eth0",
    ]);
    client
        .line_within(PATIENCE, |line| line.starts_with("BOUND6 "))
        .unwrap_or_else(|| format!("{:?}", client.finish(Duration::ZERO)))
}

fn write_script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;

    std::fs::write(path, text).expect("the lab's folder is ours");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("ours");
}

/// 802.1Q and 802.1ad tags, priority bits included, arrive as they were sent.
fn tagged_frames_pass_unchanged(between: Between, family: Family) {
    let lab = Lab::new();
    let _bridge = Bridge::start(&lab, between, "pass\n");
    for (from, to) in [(&lab.client, &lab.server), (&lab.server, &lab.client)] {
        let capture = Capture::start(&to.namespace, "eth0", "");
        let socket = RawSocket::open(&from.namespace, "eth0");
        let plain = |payload| frames::udp_between(from, to, family, (4000, 4001), payload);
        let sent = [
            plain(b"no tag"),
            frames::tagged(plain(b"802.1Q"), frames::TPID_8021Q, 0x6123),
            frames::tagged(
                frames::tagged(plain(b"QinQ with a service tag"), frames::TPID_8021Q, 0x0064),
                frames::TPID_8021AD,
                0xa0c8,
            ),
            frames::tagged(
                frames::tagged(plain(b"QinQ with two customer tags"), frames::TPID_8021Q, 7),
                frames::TPID_8021Q,
                4094,
            ),
        ];
        for frame in &sent {
            socket.send(frame);
            capture.wait("the same frame on the other side", |seen| seen == frame);
        }
    }
}

fn a_full_packet_passes(between: Between, family: Family) {
    full_packets(between, family, 1500);
}

fn a_jumbo_packet_passes(between: Between, family: Family) {
    full_packets(between, family, 9000);
}

/// Packets of exactly the MTU pass, by ping and as segments of a long transfer, which arrives whole.
fn full_packets(between: Between, family: Family, mtu: u32) {
    let lab = Lab::with(Topology { mtu, ..Topology::default() });
    let bridge = Bridge::start(&lab, between, "pass\n");
    let headers = match family {
        Family::Inet => 28,
        Family::Inet6 => 48,
    };
    let size = (mtu - headers).to_string();
    for (from, to) in [(&lab.client, &lab.server), (&lab.server, &lab.client)] {
        let to = to.address(family).to_string();
        // One at a time: of several, ping waits for the last no longer than for two of the others.
        for _ in 0..3 {
            let ping = ["ping", "-n", "-M", "do", "-s", &size, "-c", "1", "-W", "5", &to];
            from.run(&ping).expect_success();
        }
    }
    let _web = WebServer::start(&lab.server, 80);
    let _web = WebServer::start(&lab.client, 80);
    for (from, to) in [(&lab.client, &lab.server), (&lab.server, &lab.client)] {
        let url = format!("http://{}/bytes/20000000", to.socket(family, 80));
        let file = lab.folder().join("download");
        let file = file.to_string_lossy();
        let command =
            ["curl", "-sS", "--noproxy", "*", "-g", "--max-time", "60", "-o", &*file, &url];
        from.run(&command).expect_success();
        let downloaded = std::fs::read(&*file).expect("curl wrote it");
        assert!(downloaded == WebServer::pattern(20_000_000), "the download is damaged");
    }
    bridge.assert_no_mismatch();
}

/// Runs iperf3 from the client to the server and returns its report.
pub(crate) fn iperf(lab: &Lab, family: Family, flags: &[&str]) -> Value {
    let server = lab.server.namespace.start(&["iperf3", "-s", "-1", "--forceflush"]);
    server.wait_line("Server listening");
    let to = lab.server.address(family).to_string();
    let command = [&["iperf3", "-J", "-c", &to], flags].concat();
    let said = lab.client.run(&command);
    serde_json::from_str(&said.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", said.stdout, said.stderr))
}

pub(crate) fn received(report: &Value) -> u64 {
    let bytes = report["end"]["sum_received"]["bytes"].as_u64();
    bytes.unwrap_or_else(|| panic!("no result in {report}"))
}

/// Ten seconds of bulk transfer with one stream and with eight, with the offloads that hosts have
/// by default: something arrives in every tenth of a second, and no segment is taken for a stray.
fn long_transfers_never_stall(io: Io, family: Family) {
    let lab = Lab::new();
    let bridge = Bridge::start(&lab, Between::Weir(io), "pass\n");
    for streams in ["1", "8"] {
        let report = iperf(&lab, family, &["-t", "10", "-i", "0.5", "-P", streams]);
        let intervals = report["intervals"].as_array().unwrap_or_else(|| panic!("{report}"));
        assert!(intervals.len() >= 19, "{report}");
        for interval in intervals {
            let bytes = interval["sum"]["bytes"].as_u64();
            assert!(bytes > Some(0), "a stall with {streams} streams: {interval}");
        }
        assert!(received(&report) > 0);
        bridge.assert_no_mismatch();
    }
}

/// Ten thousand connections, one request each.
fn short_connections_all_succeed(between: Between, family: Family) {
    let lab = Lab::new();
    let bridge = Bridge::start(&lab, between, "pass\n");
    let web = WebServer::start(&lab.server, 80);
    let said = ab(&lab, family, 10_000);
    assert!(said.contains("Complete requests:      10000"), "{said}");
    assert!(said.contains("Failed requests:        0"), "{said}");
    // ab opens a few more than it needs.
    assert!(web.served() >= 10_000, "{}", web.served());
    bridge.assert_no_mismatch();
}

/// Requests a page of port 80 that many times, each over a new connection, and returns the report.
pub(crate) fn ab(lab: &Lab, family: Family, requests: u32) -> String {
    let url = format!("http://{}/", lab.server.socket(family, 80));
    lab.client
        .run(&["ab", "-q", "-s", "20", "-c", "16", "-n", &requests.to_string(), &url])
        .expect_success()
}

/// A cable is pulled and plugged in again on either side, and traffic goes on.
fn a_pulled_cable_recovers(between: Between, family: Family) {
    let lab = Lab::new();
    let _bridge = Bridge::start(&lab, between, "pass\n");
    for host in [&lab.client, &lab.server] {
        assert!(lab.pings(family));
        host.namespace.ip(&["link", "set", "eth0", "down"]);
        assert!(!lab.pings(family), "a ping went over a pulled cable");
        host.namespace.ip(&["link", "set", "eth0", "up"]);
        lab.wait_links();
        eventually("pings pass again", || lab.pings(family));
    }
}
