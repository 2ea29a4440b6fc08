//! What a worker copies for those who watch: captures and replays.
//!
//! A tap is a bounded lock-free way out of one worker: frames that are wanted are copied into a ring of
//! bytes as they arrive, before the engine changes them in place, and a record of what became of each
//! follows into a ring of its own when that is known; frames that leave are copied as they go. The
//! worker never waits: what finds no room is counted as lost. A worker without taps asks once a batch
//! whether it has any.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};
use weir_config::rules::Direction;
use weir_engine::packet::Packet;
use weir_engine::{Checksum, Engine, Filter, Instant, Meta, PortIndex, Verdict};
use weir_hw::{Frame, Pool};

use crate::batch::GATHERED;

/// Taps that a worker can have at a time.
pub const MAX_TAPS: usize = 4;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Of which ports, a bit each.
    pub ports: u8,
    /// Frames that arrive, and frames that leave.
    pub ways: [bool; 2],
    /// Which packets; all frames if there is none.
    pub filter: Option<Arc<Filter>>,
    /// Bytes of each frame at most.
    pub snap: u32,
    /// What becomes of fragments when their datagram is decided, too.
    pub decisions: bool,
}

/// A frame that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// When: the time of its round.
    pub time: Instant,
    /// Where.
    pub port: PortIndex,
    /// What it did there.
    pub way: Way,
    /// Ids of the rules that decided about it, arriving and leaving, in the load `epoch`.
    pub rules: [Option<u32>; 2],
    /// See `rules`.
    pub epoch: u32,
    /// Its length in bytes.
    pub length: u32,
    /// How many of these were copied.
    pub captured: u32,
}

/// What a frame that was seen did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It arrived, and this is what became of it. The bytes are those that it came with.
    Arrived(Verdict),
    /// A fragment that had arrived before, and was held: what became of its datagram.
    Decided(Verdict),
    /// It left: forwarded, an answer in place of another, or made by the engine.
    Left,
    /// Told by another worker, or another time.
    Elsewhere,
}

/// The worker's end.
#[derive(Debug)]
pub struct TapSender {
    /// Tells taps apart.
    pub id: u64,
    wish: Wish,
    sightings: Producer<Sighting>,
    bytes: Producer<u8>,
    lost: Arc<[AtomicU64; 2]>,
    /// Frames of the batch at hand whose bytes are in the ring: their number, whether another worker
    /// has gathered them, and all but their verdicts.
    begun: Vec<(usize, bool, Sighting)>,
}

/// The watcher's end.
#[derive(Debug)]
pub struct TapReceiver {
    sightings: Consumer<Sighting>,
    bytes: Consumer<u8>,
    lost: Arc<[AtomicU64; 2]>,
}

/// A tap with room for so many frames and so many of their bytes.
pub fn tap(id: u64, wish: Wish, frames: usize, bytes: usize) -> (TapSender, TapReceiver) {
    let (sightings, seen) = RingBuffer::new(frames);
    let (to, from) = RingBuffer::new(bytes);
    let lost: Arc<[AtomicU64; 2]> = Arc::default();
    (
        TapSender {
            id,
            wish,
            sightings,
            bytes: to,
            lost: Arc::clone(&lost),
            begun: Vec::with_capacity(Engine::BATCH),
        },
        TapReceiver { sightings: seen, bytes: from, lost },
    )
}

impl TapReceiver {
    /// The next frame that was seen; its bytes replace what is in `bytes`.
    pub fn take(&mut self, bytes: &mut Vec<u8>) -> Option<Sighting> {
        loop {
            let sighting = self.sightings.pop().ok()?;
            bytes.resize(sighting.captured as usize, 0);
            // The bytes of a frame are in their ring before the frame is in the other.
            if self.bytes.pop_entire_slice(bytes).is_err() {
                return None;
            }
            if sighting.way != Way::Elsewhere {
                return Some(sighting);
            }
        }
    }

    /// Frames that found no room so far, by port.
    pub fn lost(&self) -> [u64; 2] {
        self.lost.each_ref().map(|lost| lost.load(Ordering::Relaxed))
    }

    /// Whether something waits.
    pub fn is_empty(&self) -> bool {
        self.sightings.is_empty()
    }
}

impl TapSender {
    /// Copies what is wanted of a batch that is about to be judged.
    pub fn arrive(&mut self, now: Instant, pool: &Pool, frames: &[Frame]) {
        self.begun.clear();
        if !self.wish.ways[0] {
            return;
        }
        for (i, frame) in frames.iter().enumerate() {
            // Whoever gathered it has told of its arrival.
            let gathered = frame.mark == GATHERED;
            if gathered && !self.wish.decisions {
                continue;
            }
            let (port, waiting) = (PortIndex(frame.port), self.begun.len() + 1);
            if let Some(sighting) = self.copy(now, pool, frame, port, Way::Elsewhere, waiting) {
                self.begun.push((i, gathered, sighting));
            }
        }
    }

    /// After that batch was judged: what became of them.
    pub fn judged(&mut self, engine: &Engine, verdicts: &[Verdict]) {
        for (i, gathered, sighting) in self.begun.drain(..) {
            let way = match verdicts[i] {
                Verdict::Handover(_) => Way::Elsewhere,
                // `decide` will tell.
                Verdict::Hold(_) if gathered => Way::Elsewhere,
                verdict if gathered => Way::Decided(verdict),
                verdict => Way::Arrived(verdict),
            };
            let (rules, epoch) = (engine.deciding(i), engine.epoch());
            // There was room for all of them before.
            let _ = self.sightings.push(Sighting { way, rules, epoch, ..sighting });
        }
    }

    /// A frame is about to leave by a port.
    pub fn leave(&mut self, now: Instant, pool: &Pool, frame: &Frame, port: PortIndex) {
        if self.wish.ways[1]
            && let Some(sighting) = self.copy(now, pool, frame, port, Way::Left, 1)
        {
            let _ = self.sightings.push(sighting);
        }
    }

    /// A frame that was held goes on, or not.
    pub fn decide(&mut self, now: Instant, pool: &Pool, frame: &Frame, verdict: Verdict) {
        let port = PortIndex(frame.port);
        if self.wish.decisions
            && let Some(sighting) = self.copy(now, pool, frame, port, Way::Decided(verdict), 1)
        {
            let _ = self.sightings.push(sighting);
        }
    }

    /// Copies the bytes of a frame if it is wanted and there is room, for `waiting` sightings too.
    fn copy(
        &mut self,
        now: Instant,
        pool: &Pool,
        frame: &Frame,
        port: PortIndex,
        way: Way,
        waiting: usize,
    ) -> Option<Sighting> {
        if !self.wants(pool, frame, port, way) {
            return None;
        }
        let captured = frame.len().min(self.wish.snap as usize);
        if self.sightings.slots() < waiting || self.bytes.slots() < captured {
            // Only this worker writes the counters.
            let lost = &self.lost[usize::from(port.0 & 1)];
            lost.store(lost.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            return None;
        }
        let mut left = captured;
        for segment in pool.segments(frame) {
            let take = segment.len().min(left);
            let _ = self.bytes.push_entire_slice(&segment[..take]);
            left -= take;
        }
        Some(Sighting {
            time: now,
            port,
            way,
            rules: [None; 2],
            epoch: 0,
            length: frame.len() as u32,
            captured: captured as u32,
        })
    }

    fn wants(&self, pool: &Pool, frame: &Frame, port: PortIndex, way: Way) -> bool {
        if self.wish.ports & 1 << port.0 == 0 {
            return false;
        }
        let Some(filter) = &self.wish.filter else { return true };
        let meta = Meta {
            port: PortIndex(frame.port),
            checksum: Checksum::Valid,
            gso_size: frame.meta.gso.map_or(0, |gso| gso.size),
            length: frame.len() as u32,
        };
        let direction = if way == Way::Left { Direction::Out } else { Direction::In };
        Packet::parse(pool.head(frame), &meta)
            .is_ok_and(|packet| filter.matches(&packet, (port, direction)))
    }
}

#[cfg(test)]
mod tests {
    use weir_hw::Memory;

    use super::*;

    fn wish(snap: u32) -> Wish {
        Wish { ports: 3, ways: [true; 2], filter: None, snap, decisions: false }
    }

    #[test]
    fn what_finds_no_room_is_counted_by_port() {
        let mut pool = Pool::new(Memory::new(4, 2048).unwrap());
        let frame = pool.copy(&[5; 60]).unwrap();
        let mut bytes = Vec::new();
        // Room for two records, or for the bytes of two frames.
        for (frames, room) in [(2, 1000), (9, 150)] {
            let (mut sender, mut receiver) = tap(1, wish(1000), frames, room);
            for number in 0..5 {
                sender.leave(Instant(number), &pool, &frame, PortIndex((number > 2).into()));
            }
            assert_eq!(receiver.lost(), [1, 2]);
            for number in 0..2 {
                let sighting = receiver.take(&mut bytes).unwrap();
                assert_eq!((sighting.time, sighting.way), (Instant(number), Way::Left));
                assert_eq!((sighting.length, &bytes[..]), (60, &[5; 60][..]));
            }
            assert_eq!(receiver.take(&mut bytes), None);
            // There is room again.
            sender.leave(Instant(9), &pool, &frame, PortIndex::WAN);
            assert_eq!(receiver.take(&mut bytes).unwrap().port, PortIndex::WAN);
        }
        pool.release(frame);
    }

    #[test]
    fn long_chains_are_cut_at_the_snap_length() {
        let mut large = Pool::new(Memory::new(1, 9088).unwrap());
        let bytes: Vec<u8> = (0..9000_u32).map(|i| (i / 7) as u8).collect();
        let whole = large.copy(&bytes).unwrap();
        let mut pool = Pool::new(Memory::new(8, 2048).unwrap());
        let chain = pool.copy_of(&large, &whole).unwrap();
        assert!(!chain.is_single());
        large.release(whole);
        for snap in [100, 5000, 20_000] {
            let (mut sender, mut receiver) = tap(1, wish(snap), 1, 10_000);
            sender.leave(Instant(0), &pool, &chain, PortIndex::LAN);
            let mut seen = Vec::new();
            assert_eq!(receiver.take(&mut seen).unwrap().length, 9000);
            assert_eq!(seen, bytes[..bytes.len().min(snap as usize)]);
        }
        pool.release(chain);
    }
}
