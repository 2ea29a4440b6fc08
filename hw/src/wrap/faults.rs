//! A port whose cable is bad: frames that come in are lost, doubled, damaged and overtaken, each for
//! itself, as a seed decides.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::str::FromStr;

use crate::frame::{Checksum, Frame};
use crate::pcap::fed::copied;
use crate::port::{Kind, Port, PortError, Stats};
use crate::sys::memory::Pool;

/// How bad it is. Rates are per mille of the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// What decides about every frame.
    pub seed: u64,
    /// Lost.
    pub loss: u16,
    /// Delivered twice.
    pub duplicate: u16,
    /// Overtaken by up to [`Faults::OVERTAKERS`] others, if so many come.
    pub reorder: u16,
    /// One bit behind the Ethernet header flipped. Not of frames whose checksum is left to be made:
    /// nothing could tell.
    pub corrupt: u16,
}

impl Faults {
    /// Frames that one is overtaken by at most.
    pub const OVERTAKERS: u64 = 8;
    /// The word without which traffic is not damaged.
    pub const CONSENT: &'static str = "damage-traffic";

    /// Whether nothing happens.
    pub const fn is_none(&self) -> bool {
        self.loss == 0 && self.duplicate == 0 && self.reorder == 0 && self.corrupt == 0
    }
}

/// `damage-traffic,seed=7,loss=10,duplicate=5,reorder=20,corrupt=1`: rates per mille, in any order.
impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut faults = Self::default();
        let mut consent = false;
        for word in text.split(',') {
            if word == Self::CONSENT {
                consent = true;
                continue;
            }
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let wrong = || format!("`{word}`: {name} needs a number");
            let rate = || match value.parse() {
                Ok(rate @ 0..=1000) => Ok(rate),
                Ok(rate) => Err(format!("`{word}`: {rate} per mille are more than all frames")),
                Err(_) => Err(wrong()),
            };
            match name {
                "seed" => faults.seed = value.parse().map_err(|_| wrong())?,
                "loss" => faults.loss = rate()?,
                "duplicate" => faults.duplicate = rate()?,
                "reorder" => faults.reorder = rate()?,
                "corrupt" => faults.corrupt = rate()?,
                _ => {
                    return Err(format!(
                        "`{name}` is no fault: seed, loss, duplicate, reorder, corrupt"
                    ));
                }
            }
        }
        if consent {
            Ok(faults)
        } else {
            Err(format!("traffic is damaged only if `{}` is among the words", Self::CONSENT))
        }
    }
}

/// Numbers that a seed decides (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
/// Generators", 2014: `SplitMix64`).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// Below `bound`, which is not 0.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn per_mille(&mut self, rate: u16) -> bool {
        self.below(1000) < rate.into()
    }
}

/// A port with faults around another.
pub struct Faulty {
    inner: Box<dyn Port>,
    faults: Faults,
    random: Random,
    /// What came out of the inner port.
    fresh: Vec<Frame>,
    /// Frames that are overtaken, each with the number of those that still do it.
    late: Vec<(u64, Frame)>,
}

impl Faulty {
    /// Faults around a port. `number` makes those of several ports differ.
    pub fn new(inner: Box<dyn Port>, faults: Faults, number: u64) -> Self {
        let seed = Random(faults.seed ^ number.wrapping_mul(0xa076_1d64_78bd_642f)).next();
        Self { inner, faults, random: Random(seed), fresh: Vec::new(), late: Vec::new() }
    }

    /// Decides about a frame that has come in.
    fn admit(&mut self, pool: &mut Pool, mut frame: Frame, frames: &mut Vec<Frame>) {
        let Faults { loss, duplicate, reorder, corrupt, .. } = self.faults;
        // Drawn for every frame, so that one rate does not change what another does.
        let [lost, doubled, late, damaged] =
            [loss, duplicate, reorder, corrupt].map(|rate| self.random.per_mille(rate));
        if lost {
            pool.release(frame);
            return;
        }
        if damaged {
            self.damage(pool, &mut frame);
        }
        let copy = if doubled { copy(pool, &frame) } else { None };
        if late {
            let others = 1 + self.random.below(Faults::OVERTAKERS);
            self.late.push((others, frame));
        } else {
            frames.push(frame);
        }
        frames.extend(copy);
    }

    fn damage(&mut self, pool: &mut Pool, frame: &mut Frame) {
        const HEADER: usize = 14;
        let unfinished = matches!(frame.meta.checksum, Checksum::Partial { .. });
        let head = pool.head_mut(frame);
        if head.len() > HEADER && !unfinished {
            let at = HEADER + self.random.below((head.len() - HEADER) as u64) as usize;
            head[at] ^= 1 << self.random.below(8);
            frame.meta.checksum = Checksum::Unknown;
        }
    }
}

/// The same frame again; `None` if there are no buffers for it.
fn copy(pool: &mut Pool, frame: &Frame) -> Option<Frame> {
    let bytes: Vec<u8> = pool.segments(frame).flatten().copied().collect();
    let mut copy = copied(pool, &bytes, frame.meta.checksum)?;
    (copy.meta, copy.port, copy.mark) = (frame.meta, frame.port, frame.mark);
    Some(copy)
}

impl Port for Faulty {
    fn kind(&self) -> Kind {
        self.inner.kind()
    }

    fn receive(
        &mut self,
        pool: &mut Pool,
        port: u8,
        frames: &mut Vec<Frame>,
        max: usize,
    ) -> Result<usize, PortError> {
        let before = frames.len();
        let mut fresh = std::mem::take(&mut self.fresh);
        // Room for those that are doubled, and for those that were late.
        let most = (max / 2).saturating_sub(self.late.len()).max(1);
        let received = self.inner.receive(pool, port, &mut fresh, most);
        let came = fresh.len();
        for frame in fresh.drain(..) {
            for (others, _) in &mut self.late {
                *others = others.saturating_sub(1);
            }
            self.admit(pool, frame, frames);
        }
        self.fresh = fresh;
        // Nobody comes any more to overtake them.
        let all = came == 0;
        let mut at = 0;
        while at < self.late.len() {
            if (all || self.late[at].0 == 0) && frames.len() - before < max {
                frames.push(self.late.remove(at).1);
            } else {
                at += 1;
            }
        }
        received.map(|_| frames.len() - before)
    }

    fn transmit(
        &mut self,
        pool: &mut Pool,
        queue: &mut VecDeque<Frame>,
    ) -> Result<usize, PortError> {
        self.inner.transmit(pool, queue)
    }

    fn flush(&mut self, pool: &mut Pool) -> Result<(), PortError> {
        self.inner.flush(pool)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.descriptor()
    }

    fn output_descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.output_descriptor()
    }

    fn error_shown(&mut self) -> Result<(), PortError> {
        self.inner.error_shown()
    }

    fn is_sending(&self) -> bool {
        self.inner.is_sending()
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }

    fn carries_offloads(&self) -> bool {
        self.inner.carries_offloads()
    }

    fn close(&mut self, pool: &mut Pool) {
        for (_, frame) in self.late.drain(..) {
            pool.release(frame);
        }
        self.inner.close(pool);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcap::fed::fed;
    use crate::sys::memory::Memory;

    /// What comes of so many frames, by number, with whether they are as they were.
    fn run(faults: Faults, count: u32) -> Vec<(u32, bool)> {
        let (inner, wire) = fed();
        let mut port = Faulty::new(Box::new(inner), faults, 1);
        let mut pool = Pool::new(Memory::new(512, 2048).unwrap());
        let frame = |number: u32| [&[0; 40][..], &number.to_be_bytes()].concat();
        let mut seen = Vec::new();
        let mut frames = Vec::new();
        for number in 0..count {
            wire.put(frame(number), Checksum::Unknown);
            let last = number + 1 == count;
            if number % 10 == 9 || last {
                while port.receive(&mut pool, 0, &mut frames, 64).unwrap() > 0 {
                    assert!(frames.len() <= 64);
                    for came in frames.drain(..) {
                        let bytes = pool.head(&came).to_vec();
                        let number = u32::from_be_bytes(bytes[40..].try_into().unwrap());
                        seen.push((number, bytes == frame(number)));
                        pool.release(came);
                    }
                    if !last {
                        break;
                    }
                }
            }
        }
        port.close(&mut pool);
        pool.drain();
        assert_eq!(pool.memory().free_count(), 512, "no buffer is lost");
        seen
    }

    #[test]
    fn each_fault_happens_as_often_as_it_should() {
        let near = |count: usize, expected: usize| {
            assert!(count.abs_diff(expected) < expected / 4 + 20, "{count}, not {expected}");
        };
        let none = run(Faults::default(), 10_000);
        assert!(none.iter().copied().eq((0..10_000).map(|number| (number, true))));
        near(10_000 - run(Faults { loss: 100, ..Faults::default() }, 10_000).len(), 1000);
        let doubled = run(Faults { duplicate: 50, ..Faults::default() }, 10_000);
        near(doubled.len() - 10_000, 500);
        let damaged = run(Faults { corrupt: 20, ..Faults::default() }, 10_000);
        near(damaged.iter().filter(|(_, whole)| !whole).count(), 200);
        let late = run(Faults { reorder: 100, ..Faults::default() }, 10_000);
        assert_eq!(late.len(), 10_000, "late, not lost");
        let overtaken = late.windows(2).filter(|pair| pair[0].0 > pair[1].0).count();
        assert!(overtaken > 500, "{overtaken}");
    }

    #[test]
    fn a_seed_repeats_a_run() {
        let bad = Faults { seed: 7, loss: 100, duplicate: 50, reorder: 200, corrupt: 20 };
        assert_eq!(run(bad, 2000), run(bad, 2000));
        assert_ne!(run(bad, 2000), run(Faults { seed: 8, ..bad }, 2000));
    }

    #[test]
    fn words_are_read_and_nothing_is_damaged_by_mistake() {
        let read = |text: &str| text.parse::<Faults>();
        assert_eq!(
            read("damage-traffic,seed=7,loss=10,duplicate=5,reorder=20,corrupt=1"),
            Ok(Faults { seed: 7, loss: 10, duplicate: 5, reorder: 20, corrupt: 1 })
        );
        for (text, error) in [
            ("loss=10", "traffic is damaged only if `damage-traffic` is among the words"),
            (
                "damage-traffic,lost=10",
                "`lost` is no fault: seed, loss, duplicate, reorder, corrupt",
            ),
            ("damage-traffic,loss=1001", "`loss=1001`: 1001 per mille are more than all frames"),
            ("damage-traffic,loss", "`loss`: loss needs a number"),
            ("damage-traffic,seed=x", "`seed=x`: seed needs a number"),
        ] {
            assert_eq!(read(text), Err(error.to_owned()), "{text}");
        }
    }
}
