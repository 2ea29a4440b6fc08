//! Frames that NICs deliver to the workers that own them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use weir_engine::packet::build;
use weir_engine::packet::tcp::flags::{ACK, SYN};
use weir_engine::{Steering, Verdict};

use crate::bridge::{Bridge, LAN, WAN};
use crate::random::Random;

const WORKERS: u16 = 3;
const WORD: u16 = 0xa365;

/// The queue that a NIC with a key of nothing but [`WORD`] puts a packet into (Microsoft, "RSS hashing
/// functions"), a table of 64 places dealing out to the workers in turn.
fn queue(source: SocketAddr, destination: SocketAddr, ports: bool) -> usize {
    let mut input = Vec::new();
    for end in [source, destination] {
        match end {
            SocketAddr::V4(end) => input.extend(end.ip().octets()),
            SocketAddr::V6(end) => input.extend(end.ip().octets()),
        }
    }
    if ports {
        input.extend(source.port().to_be_bytes());
        input.extend(destination.port().to_be_bytes());
    }
    let window = u32::from(WORD) << 16 | u32::from(WORD);
    let hash = (0..8 * input.len())
        .filter(|bit| input[bit / 8] >> (7 - bit % 8) & 1 == 1)
        .fold(0, |hash, bit| hash ^ window.rotate_left(bit as u32));
    hash as usize % 64 % usize::from(WORKERS)
}

fn bridge() -> Bridge {
    let table = (0..WORKERS).cycle().take(64).collect();
    Bridge::steered("pass\n", WORKERS, Steering::new(WORD, table).expect("a table"))
}

fn ends(random: &mut Random) -> [SocketAddr; 2] {
    let ipv6 = random.below(2) == 0;
    [1, 2].map(|net| {
        let port = 1 + random.below(60_000) as u16;
        if ipv6 {
            let host = random.next() as u32;
            (Ipv6Addr::from(0x2001_0db8 << 96 | net << 64 | u128::from(host)), port).into()
        } else {
            (Ipv4Addr::new(10, net as u8, random.below(256) as u8, 1), port).into()
        }
    })
}

#[test]
fn both_directions_arrive_at_their_owner() {
    let mut bridge = bridge();
    let mut random = Random(7);
    let mut used = [0; WORKERS as usize];
    for _ in 0..300 {
        let [client, server] = ends(&mut random);
        let worker = queue(client, server, true);
        used[worker] += 1;
        let syn = build::tcp(client, server, SYN).frame();
        let syn_ack = build::tcp(server, client, SYN | ACK).ack(1).frame();
        for (port, frame) in [(WAN, syn), (LAN, syn_ack)] {
            let out = bridge.feed_at(worker, port, &[frame]);
            assert!(matches!(out[..], [ref one] if matches!(one.verdict, Verdict::Forward(_))));
        }
    }
    let counters = bridge.counters();
    assert_eq!((counters.handed_over, counters.inserts), (0, 300));
    for (worker, engine) in bridge.engines.iter().enumerate() {
        assert_eq!(engine.state_count(), used[worker]);
        assert!(used[worker] > 60, "{used:?}");
    }
}

#[test]
fn what_arrives_elsewhere_is_judged_by_its_owner_all_the_same() {
    let mut bridge = bridge();
    let mut random = Random(8);
    for _ in 0..100 {
        let [client, server] = ends(&mut random);
        let elsewhere = (queue(client, server, true) + 1) % usize::from(WORKERS);
        let request = build::udp(client, server).vlan(7).payload(b"?").frame();
        let out = bridge.feed_at(elsewhere, WAN, &[request]);
        assert!(matches!(out[0].verdict, Verdict::Forward(_)));
        // In fragments, which NICs know by their hosts.
        let answer = build::udp(server, client).vlan(7).payload(&[1; 3000]).frame();
        let fragments = build::fragments(&answer, 9, 1480);
        let out = bridge.feed_at(queue(server, client, false), LAN, &fragments);
        assert_eq!(out.len(), fragments.len());
    }
    let states = bridge.states();
    assert_eq!(states.len(), 100);
    assert!(states.iter().all(|state| state.packets == [1, 1]));
    // Fragments arrive where they are gathered: only whole datagrams change hands, and requests.
    let handed = bridge.counters().handed_over;
    assert!((100..100 + 3 * 100).contains(&handed), "{handed}");
    assert_eq!(bridge.counters().reasons.iter().sum::<u64>(), 0);
}
