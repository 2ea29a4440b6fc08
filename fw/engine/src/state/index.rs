//! From a flow's hash to its entry: open addressing over buckets of one cache line.
//!
//! A bucket holds ten entries as 16-bit tags (of other hash bits than those that choose the bucket)
//! and 32-bit indices, so that a look-up reads one line and, but for one tag in 65,536, no entry in
//! vain. A full bucket passes entries on to the next and counts them (as Folly's F14 does), so that
//! a look-up ends at the first bucket that has passed nothing on, and removal leaves no tombstones.
//!
//! Sized for 5.5 entries a bucket when the table is full: 1.4 % of the buckets then pass something
//! on, and the index costs 11.6 bytes a state.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::processor;

const WAYS: usize = 10;

/// One cache line of the index.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(64))]
pub(crate) struct Bucket {
    /// 0: the way is free.
    tags: [u16; WAYS],
    /// Entries that belong here or before and stand further on.
    passed_on: u16,
    spare: u16,
    entries: [u32; WAYS],
}

/// The index over buckets lent to it.
#[derive(Debug)]
pub(crate) struct Index {
    buckets: &'static mut [Bucket],
}

impl Index {
    /// Buckets needed for so many entries.
    pub(crate) const fn buckets_for(entries: u32) -> usize {
        (entries as usize * 2).div_ceil(11) + 1
    }

    /// An index over empty (zeroed) buckets.
    pub(crate) const fn new(buckets: &'static mut [Bucket]) -> Self {
        Self { buckets }
    }

    #[inline]
    const fn home(&self, hash: u64) -> usize {
        (((hash & 0xffff_ffff) * self.buckets.len() as u64) >> 32) as usize
    }

    #[inline]
    const fn tag(hash: u64) -> u16 {
        let tag = (hash >> 32) as u16;
        if tag == 0 { 1 } else { tag }
    }

    #[inline]
    const fn next(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() { 0 } else { bucket + 1 }
    }

    /// Starts fetching the first line that a look-up will read.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        processor::prefetch(&self.buckets[self.home(hash)]);
    }

    /// The first entry with this hash's tag that `accept`s.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut accept: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = Self::tag(hash);
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            let mut hits = bucket.hits(tag);
            while hits != 0 {
                let entry = bucket.entries[hits.trailing_zeros() as usize];
                if accept(entry) {
                    return Some(entry);
                }
                hits &= hits - 1;
            }
            if bucket.passed_on == 0 {
                return None;
            }
            at = self.next(at);
        }
        None
    }

    /// Adds an entry. `false` if no way is free, which cannot be while there are fewer entries than
    /// the index was sized for.
    pub(crate) fn insert(&mut self, hash: u64, entry: u32) -> bool {
        let home = self.home(hash);
        let mut at = home;
        for _ in 0..self.buckets.len() {
            let bucket = &mut self.buckets[at];
            if let Some(way) = bucket.tags.iter().position(|&tag| tag == 0) {
                bucket.tags[way] = Self::tag(hash);
                bucket.entries[way] = entry;
                self.count_passed(home, at, 1);
                return true;
            }
            at = self.next(at);
        }
        false
    }

    /// Takes an entry out that was inserted with this hash.
    pub(crate) fn remove(&mut self, hash: u64, entry: u32) {
        let tag = Self::tag(hash);
        let home = self.home(hash);
        let mut at = home;
        for _ in 0..self.buckets.len() {
            let bucket = &mut self.buckets[at];
            let mut hits = bucket.hits(tag);
            while hits != 0 {
                let way = hits.trailing_zeros() as usize;
                if bucket.entries[way] == entry {
                    bucket.tags[way] = 0;
                    self.count_passed(home, at, -1);
                    return;
                }
                hits &= hits - 1;
            }
            at = self.next(at);
        }
        debug_assert!(false, "entry {entry} is not in the index");
    }

    /// Adds `change` to the counters of all buckets from `home` to before `end`. A counter that has
    /// once reached its bound stays there: look-ups then only read further than they must.
    fn count_passed(&mut self, home: usize, end: usize, change: i16) {
        let mut at = home;
        while at != end {
            let count = &mut self.buckets[at].passed_on;
            if *count != u16::MAX {
                *count = count.saturating_add_signed(change);
            }
            at = self.next(at);
        }
    }
}

impl Bucket {
    /// A bit for each way with this tag.
    #[inline]
    fn hits(&self, tag: u16) -> u32 {
        let mut hits = 0;
        for (way, &candidate) in self.tags.iter().enumerate() {
            hits |= u32::from(candidate == tag) << way;
        }
        hits
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use zerocopy::FromZeros;

    use super::*;

    fn index(entries: u32) -> Index {
        let buckets: Box<[Bucket]> =
            (0..Index::buckets_for(entries)).map(|_| Bucket::new_zeroed()).collect();
        Index::new(Box::leak(buckets))
    }

    /// A cheap generator of well-mixed numbers (`SplitMix64`).
    fn mix(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[test]
    fn a_bucket_is_a_cache_line() {
        assert_eq!(size_of::<Bucket>(), 64);
    }

    #[test]
    fn agrees_with_a_hash_map_under_churn() {
        const ENTRIES: u32 = 2_000;
        let mut index = index(ENTRIES);
        let mut model: HashMap<u32, u64> = HashMap::new();
        let mut seed = 1;
        for _ in 0..200_000 {
            let entry = mix(&mut seed) as u32 % ENTRIES;
            if let Some(hash) = model.remove(&entry) {
                assert_eq!(index.find(hash, |found| found == entry), Some(entry));
                index.remove(hash, entry);
                assert_eq!(index.find(hash, |found| found == entry), None);
            } else {
                // Few distinct homes, so that buckets overflow all the time.
                let hash = mix(&mut seed) & !0xfc00_0000;
                assert!(index.insert(hash, entry));
                model.insert(entry, hash);
            }
        }
        for (&entry, &hash) in &model {
            assert_eq!(index.find(hash, |found| found == entry), Some(entry));
        }
        for (entry, hash) in model {
            index.remove(hash, entry);
        }
        assert!(index.buckets.iter().all(|b| b.passed_on == 0 && b.tags == [0; WAYS]));
    }
}
