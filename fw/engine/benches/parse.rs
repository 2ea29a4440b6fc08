//! Nanoseconds a frame for parsing and checksums, frames in the first-level cache: what the steps
//! themselves cost, without the memory. `cargo bench -p weir-engine --bench parse`.

use std::hint::black_box;
use std::time::Instant;

use weir_engine::frame::{Frames, Owned, PortIndex};
use weir_engine::packet::tcp::flags::ACK;
use weir_engine::packet::{Packet, build, checksum};

const BATCH: usize = 64;
const ROUNDS: u32 = 2_000;
const REPEATS: usize = 100;
const HERE: ([u8; 4], u16) = ([192, 0, 2, 1], 40000);
const THERE: ([u8; 4], u16) = ([198, 51, 100, 2], 443);
const HERE6: ([u16; 8], u16) = ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 40000);
const THERE6: ([u16; 8], u16) = ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2], 443);

fn main() {
    let timestamps = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    let hop_by_hop = [0, 0, 1, 4, 0, 0, 0, 0];
    let segment = build::tcp(HERE, THERE, ACK);
    let segment6 = build::tcp(HERE6, THERE6, ACK);
    let unreachable = build::icmp(THERE.0, HERE.0, 3, 1).quote(&segment.frame());
    parse("TCP in IPv4", &segment);
    parse("TCP with timestamps", &segment.clone().tcp_options(&timestamps));
    parse("TCP in IPv4, tag", &segment.clone().vlan(5));
    parse("TCP in IPv4, IP options", &segment.ip_options(&[1, 1, 1, 1]));
    parse("TCP in IPv6", &segment6);
    parse("TCP in IPv6, hop-by-hop", &segment6.clone().extension(0, &hop_by_hop));
    parse("UDP in IPv4", &build::udp(HERE, THERE));
    parse("echo request", &build::echo(HERE.0, THERE.0, 1, 1));
    parse("host unreachable", &unreachable);
    sum("sum of 20 bytes", 20);
    sum("sum of 64 bytes", 64);
    sum("sum of 1,460 bytes", 1460);
}

/// Parses a batch over and over into the same descriptors, as the engine does.
fn parse(name: &str, frame: &build::Build) {
    let mut frames = Owned::new();
    for port in 0..BATCH {
        let mut bytes = frame.clone().ttl(port as u8).frame();
        bytes.resize(bytes.len().max(60), 0);
        frames.push(PortIndex(port as u8 & 1), &bytes);
    }
    let mut packets = [Packet::BLANK; BATCH];
    report(name, BATCH as u32, || {
        let mut parsed = 0;
        let frames = black_box(&frames);
        for (i, packet) in packets.iter_mut().enumerate() {
            parsed += usize::from(packet.parse_from(frames.head(i), &frames.meta(i)).is_ok());
        }
        black_box(&packets);
        assert_eq!(parsed, BATCH);
    });
}

fn sum(name: &str, length: usize) {
    let bytes = vec![0xa5u8; length];
    report(name, 1, || {
        black_box(checksum::sum(black_box(&bytes)));
    });
}

/// Prints the best of many repeats: the machine's other work only ever adds.
fn report(name: &str, each: u32, mut work: impl FnMut()) {
    let best = (0..REPEATS)
        .map(|_| {
            let begin = Instant::now();
            (0..ROUNDS).for_each(|_| work());
            begin.elapsed()
        })
        .min()
        .unwrap_or_default();
    println!("{name:24} {:6.1} ns", best.as_secs_f64() * 1e9 / f64::from(ROUNDS * each));
}
