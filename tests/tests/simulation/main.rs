//! Hosts with smoltcp's stack on both sides of a bridge of one to eight workers, over links that lose,
//! delay, reorder, double and damage frames, beside an attacker who guesses and floods, on a virtual
//! clock. Every connection delivers exactly what was sent and closes, nothing of it is logged as
//! blocked, counters add up, and in the end nothing is left.
//!
//! A seed repeats a run bit by bit, and every message names it: `WEIR_SEED=17` runs that one alone.
//! Larger numbers of simpler hosts are simulated in `fw/engine/tests/outside/simulation.rs`.

mod conversation;
mod host;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use smoltcp::wire::IpAddress;
use weir_engine::packet::build;
use weir_engine::packet::tcp::flags::{ACK, FIN, PSH, RST, SYN};
use weir_engine::{Counters, PortIndex};
use weir_tests::bridge::{Bridge, Moving};
use weir_tests::faults::{Faults, Link};
use weir_tests::random::Random;

use conversation::Conversation;
use host::Host;

/// Conversations at the same time.
const AT_ONCE: usize = 40;
/// Time stands still within it: what happens there is one batch.
const STEP: Duration = Duration::from_micros(100);
/// The longest step.
const ROUND: Duration = Duration::from_millis(100);

/// What is done about state in a run of an even or of an odd seed.
const STATE: [&str; 2] = ["keep", "modulate"];

/// Says which run it was when a test fails.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("WEIR_SEED={} repeats it", self.0);
        }
    }
}

struct World {
    random: Random,
    now: Duration,
    bridge: Bridge,
    /// Two hosts on each side: the LAN's, then the WAN's.
    hosts: [Vec<Host>; 2],
    /// Of each side: towards the bridge, and from it.
    links: [[Link; 2]; 2],
    going_on: Vec<Conversation>,
    /// Frames an attacker sends in every thousand steps.
    hostility: u32,
    /// Conversations that have stalled without the bridge, too.
    stalled: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let workers = seed % 8 + 1;
        // Either, for every number of workers.
        let state = STATE[(seed / 8 % 2) as usize];
        let rules = format!("set limit states 3000\nblock log\npass proto tcp {state} state\n");
        let mut number = 0;
        let hosts = [(); 2].map(|()| {
            let side = (0..2).map(|_| {
                number += 1;
                Host::new(number, random.one_of(&[1280, 1400, 1500, 9000]), random.next())
            });
            side.collect()
        });
        let links = [(); 2].map(|()| {
            [(); 2].map(|()| {
                let faults = Faults {
                    loss: random.one_of(&[0, 2, 20]),
                    duplication: random.one_of(&[0, 10]),
                    corruption: random.one_of(&[0, 0, 5]),
                    reordering: random.one_of(&[0, 50, 200]),
                    late: Duration::from_millis(random.one_of(&[1, 15])),
                    delay: Duration::from_millis(random.one_of(&[1, 5, 20])),
                };
                Link::new(faults, random.next())
            })
        });
        Self {
            now: Duration::from_secs(1),
            bridge: Bridge::new(workers as u16, &rules),
            hosts,
            links,
            going_on: Vec::new(),
            // Half-open states have to live for some retransmissions of a SYN before the flood takes
            // their places.
            hostility: random.one_of(&[0, 0, 2, 5]),
            stalled: 0,
            random,
        }
    }

    fn begin_conversation(&mut self, number: u32) {
        let hosts = [(); 2].map(|()| self.random.below(2) as usize);
        let client_side = number as usize % 2;
        let ends = ends_of(&mut self.hosts, client_side, hosts);
        let ports = (number % 60_000) as u16;
        let begun =
            Conversation::begin(ports, client_side, hosts, ends, self.now, &mut self.random);
        self.going_on.push(begun);
    }

    /// Everything that happens at one point in time.
    fn step(&mut self) {
        for (side, hosts) in self.hosts.iter_mut().enumerate() {
            while let Some(frame) = self.links[side][1].take(self.now) {
                for host in hosts.iter_mut().filter(|host| host.listens_to(&frame)) {
                    host.arrive(frame.clone());
                }
            }
            for host in hosts {
                for frame in host.poll(self.now) {
                    self.links[side][0].put(self.now, &frame);
                }
            }
        }
        let Self { going_on, hosts, now, stalled, .. } = self;
        going_on.retain_mut(|conversation| {
            let ends = ends_of(hosts, conversation.client_side, conversation.hosts);
            let over = conversation.go_on(ends, *now);
            *stalled += u32::from(over && conversation.gives_up(*now));
            !over
        });
        let (mut arriving, mut bypassing) = (Vec::new(), Vec::new());
        for (side, links) in self.links.iter_mut().enumerate() {
            while let Some(frame) = links[0].take(self.now) {
                if going_on.iter().any(|it| it.bypasses() && it.sends(&frame)) {
                    bypassing.push((PortIndex(1 - side as u8), frame));
                } else {
                    arriving.push((PortIndex(side as u8), frame));
                }
            }
        }
        let mut log = Vec::new();
        let mut leaving = self.bridge.judge(self.now, arriving, &mut log);
        leaving.extend(bypassing);
        // A damaged frame may look like anything, and hosts answer attackers.
        let damaging = self.links.iter().flatten().any(|link| link.faults.corruption > 0);
        assert!(log.is_empty() || damaging || self.hostility > 0, "{log:?}");
        if self.random.per_mille(self.hostility) {
            let attack = self.attack();
            leaving.extend(self.bridge.judge(self.now, attack, &mut Vec::new()));
        }
        leaving.extend(self.bridge.advance(self.now));
        for (port, frame) in leaving {
            self.links[usize::from(port.0)][1].put(self.now, &frame);
        }
        assert!(self.bridge.shared.states() <= 3000);
        self.now = self.next();
    }

    /// When something happens next.
    fn next(&mut self) -> Duration {
        let now = self.now;
        let links = self.links.iter().flatten().filter_map(Link::next_due);
        let hosts = self.hosts.iter_mut().flatten().filter_map(|host| host.next(now));
        let next = links.chain(hosts).min().unwrap_or(Duration::MAX);
        next.clamp(now + STEP, now + ROUND)
    }

    /// Ten frames of somebody who knows addresses and ports, but sees nothing, or who has a network
    /// of addresses.
    fn attack(&mut self) -> Vec<Moving> {
        let random = &mut self.random;
        let standing: Vec<_> = self.going_on.iter().filter(|it| it.stands()).collect();
        let frames = (0..10).map(|_| {
            let port = PortIndex(random.below(2) as u8);
            let flood = standing.is_empty() || random.below(2) == 0;
            let (from, to, flags): (SocketAddr, SocketAddr, u8) = if flood {
                let source = Ipv4Addr::from(0x0a42_0000 | (random.next() as u32 & 0xffff));
                ((source, random.next() as u16).into(), ([192, 0, 2, 1], 80).into(), SYN)
            } else {
                let victim = standing[random.below(standing.len() as u64) as usize];
                let [client, server] = victim.endpoints.map(|end| match end.addr {
                    IpAddress::Ipv4(v4) => (v4, end.port).into(),
                    IpAddress::Ipv6(v6) => (v6, end.port).into(),
                });
                let flags = random.one_of(&[RST, RST | ACK, SYN, PSH | ACK, FIN | ACK]);
                if random.below(2) == 0 { (client, server, flags) } else { (server, client, flags) }
            };
            let segment = build::tcp(from, to, flags)
                .seq(random.next() as u32)
                .ack(if flags & ACK == 0 { 0 } else { random.next() as u32 })
                .payload(if flags & PSH == 0 { b"" } else { b"malice" })
                .macs([2, 0, 0, 0, 0, 66], [2, 0, 0, 0, 0, 1 + random.below(4) as u8]);
            (port, segment.frame())
        });
        frames.collect()
    }
}

/// The client's host and the server's.
fn ends_of(hosts: &mut [Vec<Host>; 2], client_side: usize, which: [usize; 2]) -> [&mut Host; 2] {
    let [lan, wan] = hosts;
    let (clients, servers) = if client_side == 0 { (lan, wan) } else { (wan, lan) };
    [&mut clients[which[0]], &mut servers[which[1]]]
}

/// Runs that many conversations to their ends and returns what was counted.
fn run(seed: u64, conversations: u32) -> Counters {
    let _named = Named(seed);
    let mut world = World::new(seed);
    let mut begun = 0;
    while begun < conversations || !world.going_on.is_empty() {
        while begun < conversations && world.going_on.len() < AT_ONCE {
            world.begin_conversation(begun);
            begun += 1;
        }
        world.step();
    }
    assert!(world.stalled * 50 <= conversations, "{} stalled by themselves", world.stalled);
    let counters = world.bridge.counters();
    let judged = counters.judged - counters.handed_over;
    let dropped: u64 = counters.reasons.iter().sum();
    let leaving = counters.ports.iter().flat_map(|port| port.traffic);
    let passed: u64 = leaving.map(|family| family[1][0].packets).sum();
    assert_eq!(passed + dropped, judged, "every frame is judged once and counted once");
    assert_eq!(counters.inserts - counters.removals, u64::from(world.bridge.shared.states()));
    // Everything times out.
    let end = world.now + Duration::from_secs(90_000);
    while world.now < end && world.bridge.shared.states() > 0 {
        world.now += Duration::from_secs(1);
        world.bridge.advance(world.now);
    }
    assert_eq!(world.bridge.shared.states(), 0);
    counters
}

/// Some runs of some conversations each, with seeds from `first` on.
fn simulate(first: u64, runs: u64, conversations: u32) {
    if let Ok(seed) = std::env::var("WEIR_SEED") {
        run(seed.parse().expect("a seed is a number"), conversations);
        return;
    }
    for seed in first..first + runs {
        run(seed, conversations);
    }
}

#[test]
fn every_conversation_is_delivered_with_up_to_four_workers() {
    simulate(0, 4, 400);
}

#[test]
fn every_conversation_is_delivered_with_up_to_eight_workers() {
    simulate(4, 4, 400);
}

#[test]
fn every_conversation_is_delivered_whose_numbers_are_modulated() {
    simulate(8, 4, 400);
}

#[test]
#[ignore = "an hour or more: for the night"]
fn every_conversation_of_a_night_is_delivered() {
    simulate(1000, 1000, 1000);
}

#[test]
fn a_seed_repeats_a_run() {
    assert_eq!(run(11, 50), run(11, 50));
    assert_ne!(run(11, 50), run(19, 50));
}
