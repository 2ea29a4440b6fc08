//! The tails of connections: what is remembered of a TCP connection after its state has ended, for as
//! long as a host may still send the last of it (two maximum segment lifetimes: a duplicate, and the
//! answer to it; RFC 9293, 3.4.1 and 3.6.1).
//!
//! A record of 32 bytes holds a keyed hash of the flow in place of its key, and the final windows of
//! both ends. Records stand in sets of eight; a look-up reads the one cache line of a set that has the
//! hashes, and one more if it finds the flow. A full set forgets the record that is nearest to its
//! end. Nothing is swept: a record that is over is a free place, and how many are alive is known from
//! how many were made in each second.
//!
//! The memory is laid out by whoever makes a [`Tails`], off the packet path, and handed to an engine;
//! another `set limit tails` brings another one, and what the old one knew is forgotten with it.

use weir_config::options::Limits;

use super::tcp::Tail;
use super::wheel::{TICKS_PER_SECOND, is_due};
use crate::processor;

/// How long a connection is remembered, in seconds.
const SECONDS: u32 = 120;
/// Records of a set.
const WAYS: usize = 8;
/// Seconds that are counted apart; more than a record lives.
const COUNTED: usize = 128;

/// Hash of no flow.
const FREE: u64 = 0;

#[derive(Clone, Copy, Debug)]
struct Record {
    tail: Tail,
    /// Tick from which on it is over.
    until: u32,
}

/// Eight records, their hashes in a line of their own.
#[derive(Debug)]
#[repr(C, align(64))]
struct Set {
    hashes: [u64; WAYS],
    records: [Record; WAYS],
}

/// How many records were made in a second and are still there.
#[derive(Clone, Copy, Debug, Default)]
struct Made {
    second: u32,
    records: u32,
}

/// The ended connections that one worker remembers.
///
/// [`Tails::default`] has room for none.
#[derive(Debug, Default)]
pub struct Tails {
    sets: Box<[Set]>,
    made: Box<[Made]>,
    /// Records that are not over, as of `settled`.
    live: u32,
    /// The second up to which `made` was looked at.
    settled: u32,
}

impl Tails {
    /// Room for a worker's share of `limit` records, which is rounded up to a multiple of eight.
    /// `None` if there is no memory for it.
    pub fn new(limit: u32, workers: u16) -> Option<Self> {
        let share = limit.min(Limits::MAX_TAILS).div_ceil(u32::from(workers.max(1)));
        let count = share.div_ceil(WAYS as u32) as usize;
        let mut sets = Vec::new();
        sets.try_reserve_exact(count).ok()?;
        // Written here, so that no page is missing when the first record comes.
        sets.resize_with(count, || Set { hashes: [FREE; WAYS], records: [Record::BLANK; WAYS] });
        let made = vec![Made::default(); COUNTED];
        Some(Self { sets: sets.into(), made: made.into(), live: 0, settled: 0 })
    }

    /// Bytes that a record takes, everything counted.
    pub const RECORD: usize = size_of::<Set>() / WAYS;

    #[inline]
    const fn set_of(&self, hash: u64) -> usize {
        // The high half names the worker.
        (((hash & 0xffff_ffff) * self.sets.len() as u64) >> 32) as usize
    }

    /// Starts fetching what [`Tails::find`] reads first.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(set) = self.sets.get(self.set_of(hash)) {
            processor::prefetch(&set.hashes);
        }
    }

    #[inline]
    fn place(&self, hash: u64) -> Option<(usize, usize)> {
        let hash = hash.max(1);
        let at = self.set_of(hash);
        let way = self.sets.get(at)?.hashes.iter().position(|&known| known == hash)?;
        Some((at, way))
    }

    /// What is remembered of the flow with this hash.
    pub(crate) fn find(&self, hash: u64, tick: u32) -> Option<Tail> {
        let (set, way) = self.place(hash)?;
        let record = self.sets[set].records[way];
        (!is_due(record.until, tick)).then_some(record.tail)
    }

    /// Lets another connection begin in the flow with this hash, if it is remembered, by a SYN with
    /// this sequence number.
    pub(crate) fn reopen(&mut self, hash: u64, seq: u32) {
        if let Some((set, way)) = self.place(hash) {
            self.sets[set].records[way].tail.reopen(seq);
        }
    }

    /// Forgets the flow with this hash.
    pub(crate) fn forget(&mut self, hash: u64) {
        if let Some((set, way)) = self.place(hash) {
            self.sets[set].hashes[way] = FREE;
            self.uncount(self.sets[set].records[way].until);
        }
    }

    /// Remembers the flow with this hash from `tick` on. Of a full set the record that is nearest to
    /// its end makes room.
    pub(crate) fn remember(&mut self, hash: u64, tail: Tail, tick: u32) {
        if self.sets.is_empty() {
            return;
        }
        self.settle(tick);
        self.forget(hash);
        let set = self.set_of(hash.max(1));
        let Set { hashes, records } = &self.sets[set];
        let left = |way: usize| {
            let left = records[way].until.wrapping_sub(tick).cast_signed();
            if hashes[way] == FREE { i32::MIN } else { left }
        };
        let way = (0..WAYS).min_by_key(|&way| left(way)).unwrap_or(0);
        if hashes[way] != FREE {
            self.uncount(records[way].until);
        }
        let until = tick.wrapping_add(SECONDS * TICKS_PER_SECOND);
        self.sets[set].hashes[way] = hash.max(1);
        self.sets[set].records[way] = Record { tail, until };
        let second = until / TICKS_PER_SECOND;
        let made = &mut self.made[second as usize % COUNTED];
        if made.second != second {
            // What it held was over long ago, and `settle` has taken it off.
            debug_assert_eq!(made.records, 0);
            *made = Made { second, records: 0 };
        }
        made.records += 1;
        self.live += 1;
    }

    /// Takes a record off the counts, if it is not over.
    fn uncount(&mut self, until: u32) {
        let second = until / TICKS_PER_SECOND;
        let made = &mut self.made[second as usize % COUNTED];
        if made.second == second && made.records > 0 {
            made.records -= 1;
            self.live -= 1;
        }
    }

    /// Counts off what is over by `tick`.
    #[inline]
    pub(crate) fn settle(&mut self, tick: u32) {
        let now = tick / TICKS_PER_SECOND;
        if now == self.settled {
            return;
        }
        self.settled = now;
        if self.live == 0 {
            return;
        }
        for made in &mut self.made {
            // Ticks wrap around after seventeen years; then everything counts as over.
            if made.second.wrapping_sub(now) > SECONDS {
                self.live -= std::mem::take(&mut made.records);
            }
        }
    }

    /// Records that are not over, to the second.
    pub const fn len(&self) -> u32 {
        self.live
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }
}

impl Record {
    const BLANK: Self = Self { tail: Tail::BLANK, until: 0 };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_have_a_line_and_a_record_32_bytes() {
        assert_eq!(size_of::<Set>(), 256);
        assert_eq!(Tails::RECORD, 32);
        assert_eq!(std::mem::offset_of!(Set, hashes), 0);
    }

    #[test]
    fn the_nearest_to_its_end_makes_room_and_counts_add_up() {
        let mut tails = Tails::new(8, 1).expect("memory");
        for hash in 1..=20 {
            tails.remember(hash, Tail::BLANK, hash as u32 * TICKS_PER_SECOND);
            assert_eq!(tails.len(), (hash as u32).min(8));
        }
        let tick = 20 * TICKS_PER_SECOND;
        for hash in 1..=20 {
            assert_eq!(tails.find(hash, tick).is_some(), hash > 12, "{hash}");
        }
        tails.forget(15);
        tails.forget(15);
        tails.remember(16, Tail::BLANK, tick);
        assert_eq!(tails.len(), 7);
        tails.settle((20 + SECONDS) * TICKS_PER_SECOND);
        assert_eq!(tails.len(), 2, "those of the last second");
        tails.settle((21 + SECONDS) * TICKS_PER_SECOND);
        assert!(tails.is_empty());
        assert!(tails.find(16, (20 + SECONDS) * TICKS_PER_SECOND).is_none());
    }
}
