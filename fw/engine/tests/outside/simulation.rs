//! Two correct TCP endpoints over a link that loses, delays, reorders, duplicates and damages on both
//! sides of the bridge, in virtual time: every connection comes to its end, nothing of it is changed
//! but what `modulate state` has to change, and that byte by byte, nothing is logged as blocked, and the
//! bridge refuses nothing that could still make a difference to its receiver.
//!
//! Connections come in blocks, each with a bridge of its own, of one to eight workers. A block
//! repeats bit by bit with its number, which every message names: `WEIR_BLOCK=17` runs that one
//! alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use weir_engine::packet::build;
use weir_engine::{Reason, StateView, Steering};

use crate::bridge::{Bridge, LAN, WAN};
use crate::endpoint::{Endpoint, Segment};
use crate::random::Random;

/// Connections of a block.
const BLOCK: u32 = 500;
/// Nanoseconds in a millisecond.
const MILLI: u64 = 1_000_000;
const CLIENT: usize = 0;

enum Event {
    AtBridge(usize, Segment),
    AtHost(usize, Segment),
    Timer(usize, u32),
}

struct Link {
    events: Vec<Option<Event>>,
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    /// One in so many segments is lost, or doubled, on either side of the bridge.
    loss: usize,
    /// One in so many comes to the bridge with a flipped bit.
    damage: usize,
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

/// What became of a segment at the bridge.
enum Fate {
    Passed,
    Refused(Reason),
    /// Nobody can say what it was; its receiver will not take it.
    Damaged,
}

struct Connection<'b> {
    bridge: &'b mut Bridge,
    ends: [Endpoint; 2],
    first: [u32; 2],
    addresses: [([u8; 4], u16); 2],
    /// Names it in messages.
    name: String,
    /// The bridge translates sequence numbers.
    translated: bool,
    refused: u32,
    /// What the bridge adds to the numbers of each end; known once one of them has passed.
    differences: [Option<u32>; 2],
}

impl Connection<'_> {
    /// The segment as its sender sends it (`own` and `others` are where its positions and those that
    /// it acknowledges begin), or as its receiver is to get it.
    fn frame(&self, from: usize, segment: &Segment, own: u32, others: u32) -> Vec<u8> {
        let ack = if segment.ack == 0 { 0 } else { others.wrapping_add(segment.ack as u32) };
        let mut options = segment.scale.map_or(Vec::new(), |shift| vec![1, 3, 3, shift]);
        if !segment.early.is_empty() {
            options.extend([1, 1, 5, 2 + 8 * segment.early.len() as u8]);
            for edge in segment.early.iter().flat_map(|&(left, right)| [left, right]) {
                options.extend(others.wrapping_add(edge as u32).to_be_bytes());
            }
        }
        build::tcp(self.addresses[from], self.addresses[1 - from], segment.flags)
            .seq(own.wrapping_add(segment.position as u32))
            .ack(ack)
            .window(segment.window)
            .tcp_options(&options)
            .payload(&vec![0; segment.payload as usize])
            .frame()
    }

    fn meet(&mut self, from: usize, segment: &Segment, damage: Option<usize>) -> Fate {
        // An end knows its peer's numbers as the bridge has translated them.
        let [known, others] = [from, 1 - from]
            .map(|end| self.first[end].wrapping_add(self.differences[end].unwrap_or(0)));
        let mut frame = self.frame(from, segment, self.first[from], others);
        if let Some(bit) = damage {
            // Behind the Ethernet header, whose frame check sequence would tell.
            let bit = 14 * 8 + bit % (frame.len() * 8 - 14 * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
        }
        let refused = self.bridge.send(if from == CLIENT { WAN } else { LAN }, &frame);
        if damage.is_some() {
            self.bridge.log.clear();
            return Fate::Damaged;
        }
        let log = &self.bridge.log;
        assert!(log.is_empty(), "{}: {segment:?} of {from} is in the log: {log:?}", self.name);
        if let Some(reason) = refused {
            return Fate::Refused(reason);
        }
        let known = if self.differences[from].is_none() {
            let seq = u32::from_be_bytes(self.bridge.frame[38..42].try_into().expect("four bytes"));
            let seen = seq.wrapping_sub(segment.position as u32);
            self.differences[from] = Some(seen.wrapping_sub(self.first[from]));
            seen
        } else {
            known
        };
        let expected = self.frame(from, segment, known, self.first[1 - from]);
        assert!(self.bridge.frame == expected, "{}: {segment:?} of {from} was changed", self.name);
        Fate::Passed
    }

    /// For messages.
    fn states(&self) -> Vec<StateView> {
        let port = self.addresses[CLIENT].1;
        let own = |state: &StateView| [state.source_port, state.destination_port].contains(&port);
        self.bridge.states().into_iter().filter(own).collect()
    }

    /// Whether the receiver will throw the segment away: it lies before what it expects (RFC 9293,
    /// 3.4; its acknowledgement does not count either), or acknowledges nothing new.
    fn is_stale(&self, from: usize, segment: &Segment) -> bool {
        let receiver = &self.ends[1 - from];
        let behind = segment.end() > segment.position && segment.end() <= receiver.expected;
        behind || segment.end() == segment.position && segment.ack <= receiver.acknowledged()
    }
}

fn run(
    bridge: &mut Bridge,
    number: u32,
    name: String,
    translated: bool,
    random: &mut Random,
) -> u32 {
    let start = bridge.now;
    let mut link = Link {
        events: Vec::new(),
        queue: BinaryHeap::new(),
        loss: random.one_of(&[8, 20, 100, 10_000]),
        damage: random.one_of(&[30, 1_000_000, 1_000_000]),
        jitter: random.one_of(&[MILLI / 100, MILLI, 20 * MILLI]),
    };
    let near_wrap = |random: &mut Random| 0_u32.wrapping_sub(random.below(100_000) as u32);
    let mut it = Connection {
        bridge,
        ends: [Endpoint::new(true, random), Endpoint::new(false, random)],
        first: [near_wrap(random), random.next() as u32],
        addresses: [([192, 0, 2, 1], (number % 60_000) as u16 + 1024), ([198, 51, 100, 2], 80)],
        name,
        translated,
        refused: 0,
        differences: [None; 2],
    };
    let simultaneous = random.below(20) == 0;
    let openings = if simultaneous { 2 } else { 1 };
    if simultaneous {
        it.ends[1] = Endpoint::new(true, random);
    }
    for host in 0..openings {
        let syn = it.ends[host].open();
        link.carry(0, random, || Event::AtBridge(host, syn.clone()));
    }
    for host in 0..2 {
        link.at(200 * MILLI, Event::Timer(host, 0));
    }
    let mut finished = None;
    while let Some(Reverse((now, event))) = link.queue.pop() {
        it.bridge.now = start.after(Duration::from_nanos(now));
        let mut out = Vec::new();
        let host = match link.events[event].take() {
            Some(Event::AtBridge(from, segment)) => {
                let damage = (random.below(link.damage) == 0).then(|| random.next() as usize);
                match it.meet(from, &segment, damage) {
                    Fate::Passed => {
                        link.carry(now, random, || Event::AtHost(1 - from, segment.clone()));
                    }
                    Fate::Refused(reason) => {
                        assert!(
                            it.is_stale(from, &segment),
                            "{}: {reason}: {segment:?} of {from}, {:#?} {:#?} {:?}",
                            it.name,
                            it.states(),
                            it.ends,
                            it.first
                        );
                        it.refused += 1;
                    }
                    Fate::Damaged => {}
                }
                continue;
            }
            Some(Event::AtHost(to, segment)) => {
                it.ends[to].receive(&segment, random, &mut out);
                to
            }
            Some(Event::Timer(host, count)) => {
                if finished.is_none() {
                    assert!(count < 2_000, "{} stalls: {:?}", it.name, it.ends);
                    it.ends[host].timer(random, &mut out);
                    let pause = 200 + random.below(200) as u64;
                    link.at(now + pause * MILLI, Event::Timer(host, count + 1));
                }
                host
            }
            None => unreachable!("each event happens once"),
        };
        if it.ends.iter().all(Endpoint::is_done) {
            finished.get_or_insert(now);
        }
        for segment in out {
            link.carry(now, random, || Event::AtBridge(host, segment.clone()));
        }
    }
    assert!(finished.is_some());
    for difference in it.differences {
        assert_eq!(difference.is_some_and(|by| by != 0), it.translated, "{}", it.name);
    }
    it.refused
}

/// A block's connections, one after the other; then everything times out.
fn run_block(block: u32) {
    let workers = (block % 8) as u16 + 1;
    // Every other block is translated, for all numbers of workers.
    let translated = block / 8 % 2 == 1;
    let state = if translated { "modulate" } else { "keep" };
    let rules = format!("block log\npass in proto tcp {state} state\npass out\n");
    // NICs that deal out as they are told, in every other block of each kind.
    let mut bridge = if block / 16 % 2 == 1 {
        let queues = (0..workers).cycle().take(128).collect();
        Bridge::steered(&rules, workers, Steering::new(0x6d5a, queues).expect("queues"))
    } else {
        Bridge::with_workers(&rules, workers)
    };
    let mut refused = 0;
    for number in 0..BLOCK {
        let mut random = Random(u64::from(block) << 32 | u64::from(number));
        let name = format!("block {block}, connection {number}");
        refused += run(&mut bridge, number, name, translated, &mut random);
    }
    let counters = bridge.counters();
    // Duplicates that came more than a window late.
    let judged = counters.judged - counters.handed_over;
    assert!(u64::from(refused) * 100 < judged, "block {block}: {refused} of {judged}");
    assert_eq!(counters.handed_over > 0, workers > 1, "block {block}");
    let leaving = counters.ports.iter().flat_map(|port| port.traffic);
    let passed: u64 = leaving.map(|family| family[1][0].packets).sum();
    let dropped: u64 = counters.reasons.iter().sum();
    assert_eq!(passed + dropped, judged, "block {block}");
    assert_eq!(counters.inserts - counters.removals, bridge.shared.states().into());
    bridge.wait(Duration::from_secs(1000));
    assert_eq!(bridge.shared.states(), 0, "block {block}: {:?}", bridge.listing());
}

/// So many connections, in blocks of their own; other tests take others.
fn simulate(share: u32, connections: u32) {
    if let Ok(block) = std::env::var("WEIR_BLOCK") {
        return run_block(block.parse().expect("a number of a block"));
    }
    for block in 0..connections / BLOCK {
        run_block(share << 24 | block);
    }
}

/// What `cargo test` runs: two hundred thousand, in tests of their own so that they run side by side.
mod no_healthy_connection_stalls_or_loses_a_segment_to_the_bridge {
    #[test]
    fn first_quarter() {
        super::simulate(0, 50_000);
    }

    #[test]
    fn second_quarter() {
        super::simulate(1, 50_000);
    }

    #[test]
    fn third_quarter() {
        super::simulate(2, 50_000);
    }

    #[test]
    fn fourth_quarter() {
        super::simulate(3, 50_000);
    }

    #[test]
    #[ignore = "an hour or more: for the night"]
    fn ten_million() {
        super::simulate(4, 10_000_000);
    }
}
