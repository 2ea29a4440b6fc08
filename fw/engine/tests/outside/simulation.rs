//! Two correct TCP endpoints over a link that loses, delays, reorders and duplicates on both sides
//! of the bridge, in virtual time: every connection comes to its end, and the bridge refuses nothing
//! that could still make a difference to its receiver.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use weir_engine::packet::build;
use weir_engine::{Reason, StateView};

use crate::bridge::{Bridge, LAN, WAN};
use crate::endpoint::{Endpoint, Segment};
use crate::random::Random;

const CONNECTIONS: u32 = 5_000;
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

struct Connection<'b> {
    bridge: &'b mut Bridge,
    ends: [Endpoint; 2],
    first: [u32; 2],
    addresses: [([u8; 4], u16); 2],
    refused: u32,
}

impl Connection<'_> {
    fn pass(&mut self, from: usize, segment: &Segment) -> Option<Reason> {
        let options = segment.scale.map(|shift| [1, 3, 3, shift]);
        let frame = build::tcp(self.addresses[from], self.addresses[1 - from], segment.flags)
            .seq(self.first[from].wrapping_add(segment.position as u32))
            .ack(if segment.ack == 0 {
                0
            } else {
                self.first[1 - from].wrapping_add(segment.ack as u32)
            })
            .window(segment.window)
            .tcp_options(options.as_ref().map_or(&[], |bytes| &bytes[..]))
            .payload(&vec![0; segment.payload as usize])
            .frame();
        self.bridge.send(if from == CLIENT { WAN } else { LAN }, &frame)
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

fn run(bridge: &mut Bridge, number: u32, random: &mut Random) -> u32 {
    let start = bridge.now;
    let mut link = Link {
        events: Vec::new(),
        queue: BinaryHeap::new(),
        loss: random.one_of(&[8, 20, 100, 10_000]),
        jitter: random.one_of(&[MILLI / 100, MILLI, 20 * MILLI]),
    };
    let near_wrap = |random: &mut Random| 0_u32.wrapping_sub(random.below(100_000) as u32);
    let mut it = Connection {
        bridge,
        ends: [Endpoint::new(true, random), Endpoint::new(false, random)],
        first: [near_wrap(random), random.next() as u32],
        addresses: [([192, 0, 2, 1], (number % 60_000) as u16 + 1024), ([198, 51, 100, 2], 80)],
        refused: 0,
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
                if let Some(reason) = it.pass(from, &segment) {
                    assert!(
                        it.is_stale(from, &segment),
                        "connection {number}: {reason}: {segment:?} of {from}, {:#?} {:#?} {:?}",
                        it.states(),
                        it.ends,
                        it.first
                    );
                    it.refused += 1;
                } else {
                    link.carry(now, random, || Event::AtHost(1 - from, segment.clone()));
                }
                continue;
            }
            Some(Event::AtHost(to, segment)) => {
                it.ends[to].receive(&segment, random, &mut out);
                to
            }
            Some(Event::Timer(host, count)) => {
                if finished.is_none() {
                    assert!(count < 2_000, "connection {number} stalls: {:?}", it.ends);
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
    it.refused
}

#[test]
fn no_healthy_connection_stalls_or_loses_a_segment_to_the_bridge() {
    let mut bridge = Bridge::new("pass in proto tcp\n");
    let mut refused = 0;
    for number in 0..CONNECTIONS {
        let mut random = Random(u64::from(number));
        refused += run(&mut bridge, number, &mut random);
        bridge.log.clear();
    }
    // Duplicates that came more than a window late.
    let judged = bridge.counters().judged;
    assert!(u64::from(refused) * 100 < judged, "{refused} of {judged}");
    bridge.wait(Duration::from_secs(86_500));
    assert_eq!(bridge.shared.states(), 0);
}
