//! What a bad link does to frames: it loses, doubles, damages, delays and overtakes them, each frame
//! for itself, as a seed decides. Time is handed in, so that the lab's cables and the simulation on a
//! virtual clock share it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::random::Random;

/// How bad it is. Rates are per mille of the frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Lost.
    pub loss: u32,
    /// Delivered twice.
    pub duplication: u32,
    /// One bit behind the Ethernet header flipped. IP frames only: no checksum of ARP would tell, and
    /// a wire's own does.
    pub corruption: u32,
    /// Held back for up to [`Faults::late`], so that others overtake them.
    pub reordering: u32,
    /// How late a frame that is overtaken comes at most.
    pub late: Duration,
    /// How long every frame takes.
    pub delay: Duration,
}

/// A frame on its way: when it is due, its place among those due at the same time, its bytes.
type OnItsWay = Reverse<(Duration, u64, Vec<u8>)>;

/// One direction of a bad link.
#[derive(Debug)]
pub struct Link {
    /// May be changed on the way.
    pub faults: Faults,
    random: Random,
    on_their_way: BinaryHeap<OnItsWay>,
    count: u64,
}

impl Link {
    /// Frames that are on their way at most; more are lost, as in any queue.
    pub const ROOM: usize = 8192;

    /// Without frames. The seed decides about all of them.
    pub fn new(faults: Faults, seed: u64) -> Self {
        Self { faults, random: Random(seed), on_their_way: BinaryHeap::new(), count: 0 }
    }

    /// A frame goes in.
    pub fn put(&mut self, now: Duration, frame: &[u8]) {
        let Faults { loss, duplication, corruption, reordering, late, delay } = self.faults;
        if self.random.per_mille(loss) {
            return;
        }
        let copies = if self.random.per_mille(duplication) { 2 } else { 1 };
        for _ in 0..copies {
            if self.on_their_way.len() == Self::ROOM {
                return;
            }
            let mut bytes = frame.to_vec();
            if self.random.per_mille(corruption) && is_ip(frame) {
                let at = self.random.below(bytes.len() as u64 - 14) as usize + 14;
                bytes[at] ^= 1 << self.random.below(8);
            }
            let mut due = now + delay;
            if self.random.per_mille(reordering) && !late.is_zero() {
                due += Duration::from_nanos(self.random.below(late.as_nanos() as u64));
            }
            self.count += 1;
            self.on_their_way.push(Reverse((due, self.count, bytes)));
        }
    }

    /// The next frame that has come out by now.
    pub fn take(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.next_due()? > now {
            return None;
        }
        self.on_their_way.pop().map(|Reverse((_, _, bytes))| bytes)
    }

    /// When the next frame comes out.
    pub fn next_due(&self) -> Option<Duration> {
        self.on_their_way.peek().map(|Reverse((due, ..))| *due)
    }
}

/// IPv4 or IPv6 without a tag, and not just a header.
fn is_ip(frame: &[u8]) -> bool {
    frame.len() > 34 && matches!(frame[12..14], [0x08, 0x00] | [0x86, 0xdd])
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: Faults = Faults {
        loss: 100,
        duplication: 50,
        corruption: 20,
        reordering: 200,
        late: Duration::from_millis(5),
        delay: Duration::from_millis(1),
    };

    fn frame(number: u16) -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[12] = 0x08;
        frame[40..42].copy_from_slice(&number.to_be_bytes());
        frame
    }

    /// What comes out, in order, of frames sent 100 us apart.
    fn run(faults: Faults, seed: u64) -> Vec<Vec<u8>> {
        let mut link = Link::new(faults, seed);
        let mut out = Vec::new();
        for number in 0..10_000 {
            let now = Duration::from_micros(100) * u32::from(number);
            link.put(now, &frame(number));
            out.extend(std::iter::from_fn(|| link.take(now)));
        }
        out.extend(std::iter::from_fn(|| link.take(Duration::MAX)));
        assert_eq!(link.next_due(), None);
        out
    }

    #[test]
    fn a_good_link_delivers_everything_in_order() {
        assert_eq!(run(Faults::default(), 1), (0..10_000).map(frame).collect::<Vec<_>>());
    }

    #[test]
    fn each_fault_happens_as_often_as_it_should() {
        let near = |count: usize, expected: usize| {
            assert!(count.abs_diff(expected) < expected / 4 + 20, "{count}, not {expected}");
        };
        let lossy = run(Faults { loss: 100, ..Faults::default() }, 2);
        near(10_000 - lossy.len(), 1000);
        let doubling = run(Faults { duplication: 50, ..Faults::default() }, 3);
        near(doubling.len() - 10_000, 500);
        let damaging = run(Faults { corruption: 20, ..Faults::default() }, 4);
        let damaged = damaging.iter().zip((0..).map(frame)).filter(|(seen, sent)| *seen != sent);
        near(damaged.count(), 200);
        let faults =
            Faults { reordering: 200, late: Duration::from_millis(5), ..Faults::default() };
        let late = run(faults, 5);
        let overtaken = late.windows(2).filter(|pair| pair[0][40..42] > pair[1][40..42]).count();
        assert!(overtaken > 1000, "{overtaken}");
    }

    #[test]
    fn a_seed_repeats_a_run() {
        assert_eq!(run(BAD, 7), run(BAD, 7));
        assert_ne!(run(BAD, 7), run(BAD, 8));
    }

    #[test]
    fn what_it_holds_is_bounded() {
        let mut link = Link::new(Faults::default(), 9);
        for number in 0..20_000_u32 {
            link.put(Duration::ZERO, &frame(number as u16));
        }
        let out = std::iter::from_fn(|| link.take(Duration::ZERO)).count();
        assert_eq!(out, Link::ROOM);
    }
}
