//! The simulation with `synproxy state`: both hosts talk through weir alone, over links that lose,
//! double and reorder. Every connection comes to its end with all bytes, whatever options the two
//! have; no host sees a number, a clock or an option that cannot be its peer's; nothing is logged.
//!
//! Connections repeat bit by bit with their number, which every message names.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use weir_engine::frame::Owned;
use weir_engine::packet::tcp::TcpOption;
use weir_engine::packet::tcp::flags::{ACK, RST, SYN};
use weir_engine::packet::{Packet, Transport, build, checksum};
use weir_engine::{Frames, Instant, PortIndex, Verdict};

use crate::bridge::{Bridge, LAN, WAN};
use crate::endpoint::{Endpoint, Segment};
use crate::random::Random;

const MILLI: u64 = 1_000_000;
const CLIENT: usize = 0;
const SERVER: usize = 1;

/// A host: an endpoint, its numbers and what it has agreed on.
struct Host {
    endpoint: Endpoint,
    /// To listen again after a RST.
    listening: Endpoint,
    /// Sequence number of its SYN.
    first: u32,
    /// That of its peer's.
    peer: Option<u32>,
    /// SACK, timestamps.
    knows: [bool; 2],
    agreed: Option<[bool; 2]>,
    /// Its clock at the beginning of time, and the highest timestamp seen.
    clock: u32,
    echo: u32,
    address: ([u8; 4], u16),
}

impl Host {
    fn new(initiates: bool, address: ([u8; 4], u16), random: &mut Random) -> Self {
        let mut endpoint = Endpoint::new(initiates, random);
        endpoint.opens_plainly();
        Self {
            listening: endpoint.clone(),
            endpoint,
            first: random.next() as u32,
            peer: None,
            knows: [random.below(3) > 0, random.below(3) > 0],
            agreed: None,
            clock: random.next() as u32,
            echo: 0,
            address,
        }
    }

    fn now(&self, time: u64) -> u32 {
        self.clock.wrapping_add((time / MILLI) as u32)
    }

    fn frame(&self, to: ([u8; 4], u16), segment: &Segment, time: u64) -> Vec<u8> {
        let syn = segment.has(SYN);
        // What it offers, or answers, or has agreed on.
        let [sack, stamps] = match (self.agreed, syn) {
            (Some(agreed), _) => agreed,
            (None, true) => self.knows,
            (None, false) => [false; 2],
        };
        let peer = self.peer.unwrap_or(0);
        let mut options = Vec::new();
        if syn {
            options.extend([2, 4, 5, 0xb4]);
            options.extend(segment.scale.map_or(vec![], |shift| vec![1, 3, 3, shift]));
            options.extend(if sack { vec![1, 1, 4, 2] } else { vec![] });
        }
        if stamps {
            options.extend([1, 1, 8, 10]);
            options.extend(self.now(time).to_be_bytes());
            options.extend(self.echo.to_be_bytes());
        }
        let blocks = segment.early.len().min(3);
        if sack && !syn && blocks > 0 {
            options.extend([1, 1, 5, 2 + 8 * blocks as u8]);
            for edge in segment.early[..blocks].iter().flat_map(|&(left, right)| [left, right]) {
                options.extend(peer.wrapping_add(edge as u32).to_be_bytes());
            }
        }
        let ack = if segment.has(ACK) { peer.wrapping_add(segment.ack as u32) } else { 0 };
        build::tcp(self.address, to, segment.flags)
            .seq(self.first.wrapping_add(segment.position as u32))
            .ack(ack)
            .window(segment.window)
            .tcp_options(&options)
            .payload(&vec![0; segment.payload as usize])
            .frame()
    }

    /// What the host makes of a frame. `None`: nothing, or it was reset and listens again.
    fn read(&mut self, bytes: &[u8], time: u64, name: &str) -> Option<Segment> {
        let mut frames = Owned::new();
        frames.push(WAN, bytes);
        let packet = Packet::parse(frames.head(0), &frames.meta(0)).expect("a packet");
        assert!(checksum::verify(&packet, &frames, 0), "{name}: {packet:?}");
        let Transport::Tcp(header) = packet.transport else { panic!("{name}: {packet:?}") };
        if header.flags & RST != 0 {
            assert!(self.listening.is_server(), "{name}: the client is reset: {header:?}");
            let next = self.peer.map(|peer| peer.wrapping_add(1));
            if Some(header.seq) == next && !self.endpoint.is_synchronised() {
                (self.endpoint, self.peer, self.agreed) = (self.listening.clone(), None, None);
            }
            return None;
        }
        let (mut scale, mut sack, mut stamps) = (None, false, None);
        let mut early = Vec::new();
        for option in packet.tcp_options(frames.head(0)) {
            match option {
                TcpOption::WindowScale(shift) => scale = Some(shift),
                TcpOption::SackPermitted => sack = true,
                TcpOption::Timestamps { value, echo } => stamps = Some((value, echo)),
                TcpOption::Sack(blocks) => early.extend(blocks.edges()),
                _ => {}
            }
        }
        if header.flags & SYN != 0 {
            if self.peer.is_some_and(|peer| peer != header.seq) {
                return None; // of another time
            }
            let offered = [sack, stamps.is_some()];
            let both = [0, 1].map(|i| self.knows[i] && offered[i]);
            if header.flags & ACK != 0 {
                assert_eq!(both, offered, "{name}: an answer with what was not offered");
            }
            let agreed = *self.agreed.get_or_insert(both);
            assert_eq!(agreed, both, "{name}: another agreement");
            self.peer = Some(header.seq);
        }
        let peer = self.peer?;
        let agreed = self.agreed.unwrap_or_default();
        assert_eq!(stamps.is_some(), agreed[1] || header.flags & SYN != 0 && stamps.is_some());
        if let (Some((value, echo)), true) = (stamps, agreed[1]) {
            let sent = self.now(time).wrapping_sub(echo);
            assert!(echo == 0 || sent < 1 << 24, "{name}: echo {echo} of no clock of mine");
            if self.echo == 0 || value.wrapping_sub(self.echo).cast_signed() > 0 {
                self.echo = value;
            }
        }
        assert!(early.is_empty() || agreed[0], "{name}: blocks to one who does not know them");
        let position = |number: u32, first: u32| u64::from(number.wrapping_sub(first));
        for (left, right) in early {
            let [left, right] = [left, right].map(|edge| position(edge, self.first));
            assert!(left <= right && right < 1 << 24, "{name}: a block of {left} to {right}");
        }
        Some(Segment {
            flags: header.flags,
            position: position(header.seq, peer),
            ack: if header.flags & ACK == 0 { 0 } else { position(header.ack, self.first) },
            window: header.window,
            payload: packet.payload.into(),
            scale,
            early: Vec::new(),
        })
    }
}

enum Event {
    AtBridge(usize, Vec<u8>),
    AtHost(usize, Vec<u8>),
    Timer(usize, u32),
}

struct Link {
    events: Vec<Option<Event>>,
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    loss: usize,
    jitter: u64,
}

impl Link {
    fn at(&mut self, time: u64, event: Event) {
        self.queue.push(Reverse((time, self.events.len())));
        self.events.push(Some(event));
    }

    fn carry(&mut self, now: u64, random: &mut Random, event: impl Fn() -> Event) {
        let copies = match random.below(self.loss) {
            0 => 0,
            1 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let late = random.below(self.jitter as usize) as u64;
            self.at(now + MILLI + late, event());
        }
    }
}

fn run(bridge: &mut Bridge, number: u32, servers: u8, name: &str) {
    let random = &mut Random(0x5eed << 32 | u64::from(number));
    let start = bridge.now;
    let mut link = Link {
        events: Vec::new(),
        queue: BinaryHeap::new(),
        loss: random.one_of(&[8, 20, 100, 10_000]),
        jitter: random.one_of(&[MILLI / 100, MILLI, 20 * MILLI]),
    };
    let client = ([192, 0, 2, 1], (number % 60_000) as u16 + 1024);
    // A server is always the same host: what it knows does not change.
    let server = ([198, 51, 100, (number % u32::from(servers)) as u8], 80);
    let mut hosts = [Host::new(true, client, random), Host::new(false, server, random)];
    let traits = number % u32::from(servers);
    hosts[SERVER].knows = [traits & 1 == 0, traits & 2 == 0];
    hosts[SERVER].endpoint.offer(if traits & 4 == 0 { Some(traits as u8 % 15) } else { None });
    hosts[SERVER].listening = hosts[SERVER].endpoint.clone();
    let syn = hosts[CLIENT].endpoint.open();
    let frame = hosts[CLIENT].frame(server, &syn, 0);
    link.carry(0, random, || Event::AtBridge(CLIENT, frame.clone()));
    for host in 0..2 {
        link.at(200 * MILLI, Event::Timer(host, 0));
    }
    let mut finished = false;
    while let Some(Reverse((now, event))) = link.queue.pop() {
        bridge.now = start.after(Duration::from_nanos(now));
        let mut out = Vec::new();
        let host = match link.events[event].take() {
            Some(Event::AtBridge(from, frame)) => {
                for (port, bytes) in meet(bridge, if from == CLIENT { WAN } else { LAN }, &frame) {
                    let to = usize::from(port == LAN);
                    link.carry(now, random, || Event::AtHost(to, bytes.clone()));
                }
                assert!(bridge.log.is_empty(), "{name}: {:?}", bridge.log);
                continue;
            }
            Some(Event::AtHost(to, frame)) => {
                if let Some(segment) = hosts[to].read(&frame, now, name) {
                    hosts[to].endpoint.receive(&segment, random, &mut out);
                }
                to
            }
            Some(Event::Timer(host, count)) => {
                for (port, bytes) in meet_nothing(bridge) {
                    let to = usize::from(port == LAN);
                    link.carry(now, random, || Event::AtHost(to, bytes.clone()));
                }
                if !finished {
                    assert!(
                        count < 2_000,
                        "{name} stalls: {:?} {:#?}",
                        bridge.listing(),
                        hosts.each_ref().map(|host| &host.endpoint)
                    );
                    hosts[host].endpoint.timer(random, &mut out);
                    let pause = 200 + random.below(200) as u64;
                    link.at(now + pause * MILLI, Event::Timer(host, count + 1));
                }
                host
            }
            None => unreachable!("each event happens once"),
        };
        finished |= hosts.iter().all(|host| host.endpoint.is_done());
        let to = hosts[1 - host].address;
        for segment in out {
            let frame = hosts[host].frame(to, &segment, now);
            link.carry(now, random, || Event::AtBridge(host, frame.clone()));
        }
    }
    assert!(finished, "{name}");
}

/// What leaves when a frame comes, and by which port.
fn meet(bridge: &mut Bridge, port: PortIndex, frame: &[u8]) -> Vec<(PortIndex, Vec<u8>)> {
    let judged = bridge.feed(port, &[frame.to_vec()]);
    let mut leaving: Vec<_> = judged
        .into_iter()
        .filter_map(|judged| match judged.verdict {
            Verdict::Forward(out) => Some((out, judged.bytes)),
            Verdict::Answer | Verdict::Reflect(_) => Some((judged.port, judged.bytes)),
            _ => None,
        })
        .collect();
    leaving.append(&mut bridge.crafted);
    leaving
}

/// What leaves because time has passed.
fn meet_nothing(bridge: &mut Bridge) -> Vec<(PortIndex, Vec<u8>)> {
    let now: Instant = bridge.now;
    bridge.wait(Duration::from_nanos(1));
    bridge.now = now;
    std::mem::take(&mut bridge.crafted)
}

fn simulate(share: u32, connections: u32, rules: &str) {
    const BLOCK: u32 = 250;
    for block in 0..connections / BLOCK {
        let workers = (block % 4) as u16 + 1;
        let mut bridge = Bridge::with_workers(rules, workers);
        for number in 0..BLOCK {
            let number = (share << 24) + block * BLOCK + number;
            run(&mut bridge, number, 8, &format!("connection {number:#x}"));
        }
        let counters = bridge.counters();
        assert!(counters.synproxy.valid >= u64::from(BLOCK), "{:?}", counters.synproxy);
        assert_eq!((counters.synproxy.refused, counters.synproxy.silent), (0, 0));
        assert_eq!((counters.synproxy.lacking, counters.synproxy.surplus), (0, 0));
        bridge.wait(Duration::from_secs(1000));
        assert_eq!(bridge.shared.states(), 0, "{:?}", bridge.listing());
    }
}

mod no_connection_stalls_that_weir_opens {
    #[test]
    fn by_a_rule() {
        super::simulate(1, 2_500, "block log\npass out\npass in proto tcp synproxy state\n");
    }

    #[test]
    fn by_syncookies() {
        super::simulate(2, 1_000, "set syncookies always\nblock log\npass proto tcp\n");
    }

    #[test]
    fn with_other_clocks_and_effects() {
        let rules = "match scrub (reassemble tcp min-ttl 70 max-mss 1400)\nblock log\npass out\n\
                     pass in proto tcp synproxy state (max-src-conn 60000)\n";
        super::simulate(3, 1_000, rules);
    }
}
