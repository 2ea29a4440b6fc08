//! The ports between real interfaces, through the unfiltered forwarder. Needs root.

mod lab;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use lab::{At, Forwarder, Lab, PATIENCE, Wire, eventually};
use weir_hw::{Io, Prepared, Wanted, open, prepare};

const KINDS: [&str; 2] = ["xdp", "packet"];

/// A frame of `length` bytes with these tags (tpid, tci), of a type that no stack looks into.
fn frame(length: usize, tags: &[(u16, u16)], seed: usize) -> Vec<u8> {
    let mut bytes = vec![0x02, 0, 0, 0, 0, 9, 0x02, 0, 0, 0, 0, 8];
    for (tpid, tci) in tags {
        bytes.extend(tpid.to_be_bytes());
        bytes.extend(tci.to_be_bytes());
    }
    bytes.extend([0x88, 0xb5]);
    let mut state = seed as u32;
    while bytes.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.push((state >> 24) as u8);
    }
    bytes
}

/// Every kind of frame that fits an MTU of 1500 on veth (one tag is allowed on top).
fn assortment() -> Vec<Vec<u8>> {
    let outer = (0x88a8, 0x0064);
    let inner = (0x8100, 0xa007);
    let mut frames = Vec::new();
    for seed in 0..40 {
        frames.push(frame(60, &[], seed));
        frames.push(frame(14 + seed, &[], seed));
        frames.push(frame(300 + seed * 17, &[], seed));
        frames.push(frame(1514, &[], seed));
        frames.push(frame(64, &[inner], seed));
        frames.push(frame(1518, &[inner], seed));
        frames.push(frame(64, &[(0x8100, 0)], seed));
        frames.push(frame(68, &[outer, inner], seed));
        frames.push(frame(1514, &[outer, inner], seed));
        frames.push(frame(72, &[outer, inner, inner], seed));
    }
    frames
}

fn assert_same(came: &[Vec<u8>], sent: &[Vec<u8>], what: &str) {
    assert_eq!(came.len(), sent.len(), "{what}: frames");
    for (number, (came, sent)) in came.iter().zip(sent).enumerate() {
        assert_eq!(came, sent, "{what}: frame {number}");
    }
}

#[test]
fn frames_arrive_byte_for_byte_with_their_tags() {
    for kind in KINDS {
        let lab = Lab::new(1, 1500);
        let forwarder = Forwarder::start(&lab, &["--io", kind]);
        let mut wire = Wire::new(&lab);
        let frames = assortment();
        for from in [0, 1] {
            let came = wire.through(from, &frames);
            assert_same(&came, &frames, kind);
        }
        forwarder.stop();
    }
}

#[test]
fn jumbo_frames_arrive() {
    // Busy polling changes when the kernel works, and nothing of what it does.
    for (kind, sleeps) in [("xdp", true), ("packet", true), ("xdp", false), ("packet", false)] {
        let lab = Lab::new(1, 9000);
        let mut arguments = vec!["--io", kind];
        if !sleeps {
            arguments.push("--busy");
        }
        let forwarder = Forwarder::start(&lab, &arguments);
        let mut wire = Wire::new(&lab);
        let frames: Vec<_> = [60, 1514, 3840, 3841, 4096, 8000, 9013, 9014]
            .into_iter()
            .cycle()
            .take(200)
            .enumerate()
            .map(|(seed, length)| frame(length, &[], seed))
            .chain([frame(9018, &[(0x8100, 5)], 1)])
            .collect();
        for from in [0, 1] {
            let came = wire.through(from, &frames);
            assert_same(&came, &frames, kind);
        }
        forwarder.stop();
    }
}

#[test]
fn a_frame_longer_than_the_other_port_takes_is_counted() {
    for kind in KINDS {
        let lab = Lab::new(1, 3000);
        lab.run(At::Box, &["ip", "link", "set", "wan0", "mtu", "1500"]);
        lab.run(At::Server, &["ip", "link", "set", "eth0", "mtu", "1500"]);
        let forwarder = Forwarder::start(&lab, &["--io", kind]);
        assert!(forwarder.greeting.contains("lan0: MTU 3000"), "{}", forwarder.greeting);
        let mut wire = Wire::new(&lab);
        wire.send(0, &frame(2000, &[], 1));
        let good = [frame(1514, &[], 2)];
        assert_same(&wire.through(0, &good), &good, kind);
        let said = forwarder.stop();
        let wan = said.lines().find(|line| line.starts_with("forward: wan0")).unwrap();
        assert!(wan.contains("unsendable: 1"), "{said}");
    }
}

/// Flows to the server and back, several datagrams of each on the way at a time: all of them arrive,
/// in order. Each side spreads its flows over its queues by their hash.
/// A veth peer with a smaller MTU refuses a frame every time, with the error of a full queue.
#[test]
fn a_frame_that_the_peer_never_takes_does_not_stop_the_others() {
    for kind in KINDS {
        let lab = Lab::new(1, 3000);
        lab.run(At::Server, &["ip", "link", "set", "eth0", "mtu", "1500"]);
        let forwarder = Forwarder::start(&lab, &["--io", kind]);
        let mut wire = Wire::new(&lab);
        for seed in 0..20 {
            wire.send(0, &frame(2500, &[], seed));
            let good = [frame(1514, &[], seed)];
            assert_same(&wire.through(0, &good), &good, kind);
        }
        let said = forwarder.stop();
        let wan = said.lines().find(|line| line.starts_with("forward: wan0")).unwrap();
        if kind == "packet" {
            assert!(wan.contains("unsendable: 20"), "{said}");
        }
    }
}

fn many_flows(lab: &Lab, flows: usize) {
    const BURST: u16 = 4;
    const BURSTS: u16 = 16;
    let server = lab.inside(At::Server, || UdpSocket::bind("10.0.0.2:53").unwrap());
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let total = flows * usize::from(BURST * BURSTS);
    let echo = std::thread::spawn(move || {
        let mut datagram = [0; 100];
        let mut last = HashMap::new();
        for _ in 0..total {
            let (length, from) = server.recv_from(&mut datagram).unwrap();
            let serial = u16::from_be_bytes([datagram[0], datagram[1]]);
            let before = last.insert(from, serial);
            assert_eq!(serial, before.map_or(0, |before| before + 1), "{from}");
            server.send_to(&datagram[..length], from).unwrap();
        }
    });
    lab.inside(At::Client, || {
        let sockets: Vec<_> = (0..flows)
            .map(|_| {
                let socket = UdpSocket::bind("10.0.0.1:0").unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket.connect("10.0.0.2:53").unwrap();
                socket
            })
            .collect();
        for burst in 0..BURSTS {
            let serials = || burst * BURST..(burst + 1) * BURST;
            for serial in serials() {
                for socket in &sockets {
                    socket.send(&serial.to_be_bytes()).unwrap();
                }
            }
            for socket in &sockets {
                for serial in serials() {
                    let mut answer = [0; 100];
                    assert_eq!(socket.recv(&mut answer).unwrap(), 2);
                    assert_eq!(answer[..2], serial.to_be_bytes());
                }
            }
        }
    });
    echo.join().unwrap();
}

#[test]
fn several_workers_and_several_queues_keep_the_order_of_each_flow() {
    for (kind, queues, workers) in
        [("xdp", 2, "2"), ("xdp", 3, "1"), ("xdp", 3, "2"), ("packet", 1, "2")]
    {
        let lab = Lab::with_addresses(queues, 1500);
        if kind == "xdp" {
            lab.finish_checksums();
        }
        let forwarder = Forwarder::start(&lab, &["--io", kind, "--workers", workers]);
        // What waits for a neighbour's address leaves the host later than what comes behind it.
        lab.run(At::Client, &["ping", "-q", "-c", "1", "-W", "5", "10.0.0.2"]);
        many_flows(&lab, 32);
        let said = forwarder.stop();
        let idle = said.lines().filter(|line| line.contains("Stats { received: 0,")).count();
        assert_eq!(idle, 0, "a worker had nothing to do ({kind}, {queues} queues): {said}");
    }
}

/// A datagram goes to the server and back, then `bytes` of TCP each way, over this family.
fn talk(lab: &Lab, server: &str, bytes: usize) {
    let address: SocketAddr = server.parse().unwrap();
    let (udp, tcp) = lab.inside(At::Server, || {
        (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap())
    });
    let echo = std::thread::spawn(move || {
        let mut datagram = [0; 2000];
        let (length, from) = udp.recv_from(&mut datagram).unwrap();
        udp.send_to(&datagram[..length], from).unwrap();
        let (mut stream, _) = tcp.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = vec![0; 1 << 16];
        let mut left = bytes;
        while left > 0 {
            let length = stream.read(&mut buffer).unwrap();
            assert!(length > 0, "closed early");
            stream.write_all(&buffer[..length]).unwrap();
            left -= length;
        }
    });
    lab.inside(At::Client, || {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(&[7; 1400], address).unwrap();
        let mut answer = [0; 2000];
        assert_eq!(socket.recv(&mut answer).unwrap(), 1400);

        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let data: Vec<u8> = (0..bytes).map(|index| ((index * 31) >> 3) as u8).collect();
        let mut writer = stream.try_clone().unwrap();
        let copy = data.clone();
        let sender = std::thread::spawn(move || writer.write_all(&copy).unwrap());
        let mut back = vec![0; bytes];
        stream.read_exact(&mut back).unwrap();
        sender.join().unwrap();
        assert!(back == data, "the stream was damaged");
    });
    echo.join().unwrap();
}

#[test]
fn hosts_with_default_offloads_talk_through_af_packet() {
    let lab = Lab::with_addresses(1, 1500);
    let forwarder = Forwarder::start(&lab, &["--io", "packet", "--workers", "2"]);
    talk(&lab, "10.0.0.2:80", 20_000_000);
    talk(&lab, "[fd00::2]:80", 20_000_000);
    let said = forwarder.stop();
    assert!(!said.contains("malformed: 1"), "{said}");
}

#[test]
fn hosts_that_finish_their_checksums_talk_through_af_xdp() {
    for mtu in [1500, 9000] {
        let lab = Lab::with_addresses(1, mtu);
        lab.finish_checksums();
        let forwarder = Forwarder::start(&lab, &["--io", "xdp"]);
        talk(&lab, "10.0.0.2:80", 10_000_000);
        talk(&lab, "[fd00::2]:80", 10_000_000);
        forwarder.stop();
    }
}

#[test]
fn frames_that_are_forwarded_do_not_reach_the_hosts_own_stack() {
    for kind in KINDS {
        let lab = Lab::new(1, 1500);
        // The box may have other addresses, for its management.
        lab.run(At::Box, &["ip", "addr", "add", "10.1.0.2/32", "dev", "lo"]);
        lab.run(At::Box, &["ip", "link", "set", "lo", "up"]);
        let forwarder = Forwarder::start(&lab, &["--io", kind]);
        let mut wire = Wire::new(&lab);
        let lan = lab.run(At::Box, &["cat", "/sys/class/net/lan0/address"]);
        let octets: Vec<u8> =
            lan.trim().split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect();
        // To the port's own hardware address and the box's IP address: a UDP datagram, and an ARP
        // request for it.
        let mut datagram = [&octets[..], &[2, 0, 0, 0, 0, 8, 8, 0]].concat();
        datagram.extend([0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 1, 10, 1, 0, 2]);
        datagram.extend([4, 0, 0, 53, 0, 26, 0, 0]);
        datagram.resize(60, 0);
        let mut request = vec![0xff; 6];
        request.extend([2, 0, 0, 0, 0, 8, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        request.extend([2, 0, 0, 0, 0, 8, 10, 1, 0, 1, 0, 0, 0, 0, 0, 0, 10, 1, 0, 2]);
        request.resize(60, 0);
        let received = || {
            let counters = lab.run(At::Box, &["cat", "/proc/net/snmp"]);
            let ip = counters.lines().filter(|line| line.starts_with("Ip: ")).nth(1).unwrap();
            ip.split(' ').nth(3).unwrap().to_owned()
        };
        let before = received();
        let frames: Vec<_> = [datagram, request].into_iter().cycle().take(50).collect();
        assert_same(&wire.through(0, &frames), &frames, kind);
        assert_eq!(received(), before, "{kind}: datagrams that the stack received");
        // Had it answered, that would come before this one.
        let back = [frame(100, &[], 1)];
        assert_same(&wire.through(1, &back), &back, kind);
        forwarder.stop();
    }
}

#[test]
fn killed_it_forwards_nothing_and_starts_again() {
    for kind in KINDS {
        let lab = Lab::new(1, 1500);
        let forwarder = Forwarder::start(&lab, &["--io", kind]);
        let mut wire = Wire::new(&lab);
        let first = [frame(100, &[], 1)];
        assert_same(&wire.through(0, &first), &first, kind);
        forwarder.kill();
        eventually("the program is detached", || {
            !lab.run(At::Box, &["ip", "link", "show", "lan0"]).contains("xdp")
        });
        wire.send(0, &frame(100, &[], 2));
        let forwarder = Forwarder::start(&lab, &["--io", kind]);
        // Had the second one been forwarded, it would come before this one.
        let third = [frame(100, &[], 3)];
        assert_same(&wire.through(0, &third), &third, kind);
        forwarder.stop();
    }
}

#[test]
fn a_vanished_interface_is_named() {
    for kind in KINDS {
        for (at, other) in [(At::Client, 1), (At::Server, 0)] {
            let lab = Lab::new(1, 1500);
            let forwarder = Forwarder::start(&lab, &["--io", kind]);
            let mut wire = Wire::new(&lab);
            let frames = [frame(100, &[], 1)];
            assert_same(&wire.through(other, &frames), &frames, kind);
            lab.run(at, &["ip", "link", "del", "eth0"]);
            let said = forwarder.failed();
            assert!(said.contains("the interface is gone"), "{kind}: {said}");
        }
    }
}

#[test]
fn a_link_that_goes_down_comes_back() {
    for kind in KINDS {
        let lab = Lab::new(1, 1500);
        let forwarder = Forwarder::start(&lab, &["--io", kind]);
        let mut wire = Wire::new(&lab);
        let frames = assortment();
        lab.run(At::Box, &["ip", "link", "set", "wan0", "down"]);
        // No carrier at the server's end either: nothing can be sent into that.
        wire.send(0, &frames[0]);
        lab.run(At::Box, &["ip", "link", "set", "wan0", "up"]);
        // In the rings of AF_XDP a frame may have outlived the time without a link.
        let mut late = Vec::new();
        eventually("frames pass again", || {
            wire.send(0, &frames[1]);
            wire.receive(1, &mut late);
            late.contains(&frames[1])
        });
        forwarder.stop();
    }
}

#[test]
fn frames_for_an_interface_that_is_down_do_not_wait_for_it() {
    for kind in KINDS {
        let lab = Lab::new(1, 1500);
        let forwarder = Forwarder::start(&lab, &["--io", kind]);
        let mut wire = Wire::new(&lab);
        let good = [frame(60, &[], 0)];
        assert_same(&wire.through(0, &good), &good, kind);
        lab.run(At::Box, &["ip", "link", "set", "wan0", "down"]);
        // More than ring and queue hold: the other port goes on receiving.
        for seed in 0..5000 {
            wire.send(0, &frame(60, &[], seed));
        }
        let said = forwarder.stop();
        let counted = |port: &str, counter: &str| -> u64 {
            let line = said.lines().find(|line| line.starts_with(port)).unwrap();
            let number = line.split_once(counter).unwrap().1;
            number.split([',', ' ']).next().unwrap().parse().unwrap()
        };
        assert!(counted("forward: lan0", "received: ") > 4000, "{kind}: {said}");
        assert!(counted("forward: wan0", "unsendable: ") > 1000, "{kind}: {said}");
    }
}

#[test]
fn a_second_one_on_the_same_port_is_refused() {
    let lab = Lab::new(1, 1500);
    let forwarder = Forwarder::start(&lab, &["--io", "packet"]);
    let said = Forwarder::refused(&lab, &["--io", "packet"]);
    assert!(said.contains("lan0: another weir has this port"), "{said}");
    forwarder.stop();
}

#[test]
fn auto_takes_xdp_and_says_why_not() {
    let lab = Lab::new(1, 1500);
    let forwarder = Forwarder::start(&lab, &[]);
    assert!(
        forwarder.greeting.contains("xdp: driver mode, copy mode; no zero-copy: lan0:"),
        "{}",
        forwarder.greeting
    );
    forwarder.stop();
    // As many workers as that do not fit the one queue.
    let said = Forwarder::refused(&lab, &["--io", "xdp", "--workers", "2"]);
    assert!(said.contains("lan0 has 1 receive queue(s) for 2 workers"), "{said}");
    let forwarder = Forwarder::start(&lab, &["--workers", "2"]);
    assert!(
        forwarder.greeting.contains("no AF_XDP: lan0 has 1 receive queue"),
        "{}",
        forwarder.greeting
    );
    forwarder.stop();
    let said = Forwarder::refused(&lab, &["--io", "netmap"]);
    assert!(said.contains("lan0: cannot register it with netmap"), "{said}");
    assert!(said.contains("the module is not loaded"), "{said}");
    // A pipe is nothing that any other kind can take.
    for io in ["xdp", "packet"] {
        let said = Forwarder::refused_between(&lab, &["--io", io], ["lan0", "wan0{1"]);
        assert!(said.contains("wan0{1 is a port of netmap's own"), "{said}");
    }
}

#[test]
fn without_its_socket_the_program_drops() {
    let lab = Lab::with_addresses(2, 1500);
    lab.inside(At::Box, || {
        let mut ports: [Prepared; 2] = prepare(&["lan0", "wan0"]).unwrap().try_into().unwrap();
        let mut opened = open(&Wanted::new(Io::Xdp, 2), &mut ports).unwrap();
        // The socket of queue 1 is gone, the program still there for queue 0.
        let second = &mut opened.workers[1];
        second.ports[0].close(&mut second.pool);
        // A permanent neighbour, so that datagrams leave; by port, some go to either queue.
        lab.run(
            At::Client,
            &["ip", "neigh", "add", "10.0.0.9", "lladdr", "02:00:00:00:00:09", "dev", "eth0"],
        );
        let socket = lab.inside(At::Client, || UdpSocket::bind("10.0.0.1:0").unwrap());
        let mut port = 1024;
        eventually("frames of queue 1 are dropped", || {
            for _ in 0..64 {
                port += 1;
                socket.send_to(&[0; 10], ("10.0.0.9", port)).unwrap();
            }
            let statistics = lab.run(At::Box, &["ethtool", "-S", "lan0"]);
            let drops = statistics.lines().find_map(|line| {
                line.trim().strip_prefix("rx_queue_1_xdp_drops: ")?.parse::<u64>().ok()
            });
            drops.is_some_and(|drops| drops > 0)
        });
    });
}
