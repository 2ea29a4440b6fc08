//! The fragments that wait for the rest of their datagram: what is known of each, in tables of fixed
//! size. The frames themselves stay with whoever moves them; a slot's number is their name.
//!
//! A source may hold a quarter of the room. When room is wanted, the oldest datagram of the source
//! that holds most gives way, so that a flood makes room for itself: who sends little keeps what he
//! has as long as somebody sends more. Sources are told apart by a keyed hash in [`SOURCES`] groups,
//! of IPv6 by the first 64 bits, since a host has all addresses behind these.
//!
//! A datagram that was refused stays known until its time is over, so that what comes later of it is
//! refused too (RFC 5722, 4).

use std::num::NonZeroU16;
use std::time::Duration;

use crate::engine::Engine;
use crate::flow::FlowKey;
use crate::packet::Fragment;
use crate::reason::Reason;
use crate::state::entry::NONE;
use crate::time::Instant;

/// Groups of sources.
const SOURCES: usize = 256;
/// A group may hold one part of so many of the room.
const SHARE: u32 = 4;
/// Fragments of a datagram at most: 65,535 bytes over links of 576 take 119. More is an attack on the
/// search for their places (`FragmentSmack`).
pub(super) const MAX_PARTS: usize = 128;

/// Lists that a datagram is in, oldest first: of all, and of those of its source.
const ALL: usize = 0;
const SOURCE: usize = 1;

/// A held fragment.
#[derive(Clone, Copy, Debug)]
struct Slot {
    fragment: Fragment,
    /// Its place in the batch at hand, or [`NONE`] if it came with an earlier one.
    at: u32,
    /// The next of the datagram by offset; of a free slot, the next free one.
    above: u32,
    /// The next of the datagram by arrival.
    later: u32,
}

/// A datagram in the making.
#[derive(Clone, Copy, Debug)]
struct Datagram {
    key: FlowKey,
    /// The PPPoE session that its fragments come by.
    session: Option<NonZeroU16>,
    created: Instant,
    /// The slot with the lowest offset, that with the highest.
    lowest: u32,
    highest: u32,
    /// The slot that came first, that which came last.
    first: u32,
    last: u32,
    count: u32,
    units: u32,
    /// Bytes that are there, and that there have to be, once the last fragment has said so.
    received: u32,
    wanted: Option<u32>,
    /// Bytes of the IP packets.
    bytes: u32,
    refused: Option<Reason>,
    /// A fragment has IP options, or extension headers.
    options: bool,
    /// The tag that layer 2 rules have given the first fragment.
    link_tag: u16,
    bucket: u32,
    source: u8,
    /// The next in its bucket; of a free place, the next free one.
    next: u32,
    /// Neighbours in [`ALL`] and [`SOURCE`]: older, newer.
    lists: [[u32; 2]; 2],
}

/// A list of datagrams by age.
#[derive(Clone, Copy, Debug)]
struct List {
    oldest: u32,
    newest: u32,
    /// Memory and datagrams in it.
    weight: u32,
}

/// How a fragment goes with what is there of its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Fits,
    /// The one in this slot has the same place and length.
    Same(u32),
    Overlaps,
    TooMany,
}

/// A fragment of a whole datagram: where its frame is, and where in its first segment the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) slot: u32,
    /// In the batch at hand, or [`NONE`].
    pub(super) at: u32,
    pub(super) data: u16,
    pub(super) length: u16,
}

/// What was gathered of a datagram beside its fragments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gathered {
    pub(super) key: FlowKey,
    pub(super) count: u32,
    pub(super) bytes: u32,
    pub(super) options: bool,
    pub(super) link_tag: u16,
}

/// The cache of one worker.
#[derive(Debug)]
pub(crate) struct Cache {
    slots: Box<[Slot]>,
    datagrams: Box<[Datagram]>,
    /// First datagram by hash.
    buckets: Box<[u32]>,
    free_slot: u32,
    free_datagram: u32,
    all: List,
    sources: Box<[List; SOURCES]>,
    units: u32,
}

impl Cache {
    /// Room for so many fragments, a power of two.
    pub(super) fn new(room: u32) -> Self {
        const EMPTY: List = List { oldest: NONE, newest: NONE, weight: 0 };
        let next = |i: u32| if i + 1 < room { i + 1 } else { NONE };
        let fragment =
            Fragment { id: 0, offset: 0, length: 0, data: 0, more: false, dont_fragment: false };
        let slot = |i| Slot { fragment, at: NONE, above: next(i), later: NONE };
        Self {
            slots: (0..room).map(slot).collect(),
            datagrams: (0..room).map(|i| Datagram::new(next(i))).collect(),
            buckets: (0..room).map(|_| NONE).collect(),
            free_slot: 0,
            free_datagram: 0,
            all: EMPTY,
            sources: Box::new([EMPTY; SOURCES]),
            units: 0,
        }
    }

    /// The datagram of a key in a session.
    pub(super) fn find(
        &self,
        key: &FlowKey,
        session: Option<NonZeroU16>,
        hash: u64,
    ) -> Option<u32> {
        let mut id = self.buckets[self.bucket(hash) as usize];
        while id != NONE {
            let datagram = &self.datagrams[id as usize];
            if datagram.key == *key && datagram.session == session {
                return Some(id);
            }
            id = datagram.next;
        }
        None
    }

    fn bucket(&self, hash: u64) -> u32 {
        hash as u32 & (self.buckets.len() as u32 - 1)
    }

    /// Why the datagram is refused, if it is.
    pub(super) fn refusal(&self, id: u32) -> Option<Reason> {
        self.datagrams[id as usize].refused
    }

    /// Whether a fragment fits to those of the datagram that are there.
    pub(super) fn fit(&self, id: u32, fragment: &Fragment) -> Fit {
        let datagram = &self.datagrams[id as usize];
        let (begin, end) = (u32::from(fragment.offset), fragment.end());
        let below = self.below(datagram, begin);
        let above = below.map_or(datagram.lowest, |slot| self.slots[slot as usize].above);
        if let Some(slot) = below {
            let other = self.slots[slot as usize].fragment;
            let is_same = |other: Fragment| {
                (other.offset, other.length, other.more)
                    == (fragment.offset, fragment.length, fragment.more)
            };
            if is_same(other) {
                return Fit::Same(slot);
            }
            if other.end() > begin {
                return Fit::Overlaps;
            }
        }
        let meets_next = above != NONE
            && (!fragment.more || u32::from(self.slots[above as usize].fragment.offset) < end);
        // What was said of the datagram's end holds.
        let passes_end = datagram.wanted.is_some_and(|wanted| !fragment.more || end >= wanted);
        if meets_next || passes_end {
            Fit::Overlaps
        } else if datagram.count as usize == MAX_PARTS {
            Fit::TooMany
        } else {
            Fit::Fits
        }
    }

    /// The fragment of the highest offset up to `offset`. Most come in order: then it is the last.
    fn below(&self, datagram: &Datagram, offset: u32) -> Option<u32> {
        let begin = |slot: u32| u32::from(self.slots[slot as usize].fragment.offset);
        if datagram.lowest == NONE || begin(datagram.lowest) > offset {
            return None;
        }
        if begin(datagram.highest) <= offset {
            return Some(datagram.highest);
        }
        let mut slot = datagram.lowest;
        loop {
            let above = self.slots[slot as usize].above;
            if above == NONE || begin(above) > offset {
                return Some(slot);
            }
            slot = above;
        }
    }

    /// Memory that a frame of so many bytes takes.
    pub(super) const fn units(length: u32) -> u32 {
        length.div_ceil(Engine::FRAGMENT_UNIT)
    }

    /// Whether there is room for so much more under a limit, and for another datagram if it is new.
    pub(super) fn has_room(&self, units: u32, limit: u32, source: u8, new: bool) -> bool {
        self.units + units <= limit.min(self.slots.len() as u32)
            && !self.exceeds_share(units, limit, source)
            && self.free_slot != NONE
            && !(new && self.free_datagram == NONE)
    }

    /// Whether a source would hold more than its share; that is never less than one datagram.
    fn exceeds_share(&self, units: u32, limit: u32, source: u8) -> bool {
        let share = limit.min(self.slots.len() as u32) / SHARE;
        self.sources[usize::from(source)].weight + units > share.max(MAX_PARTS as u32)
    }

    /// The datagram that gives way to so much more of `source`.
    pub(super) fn victim(&self, units: u32, limit: u32, source: u8) -> Option<u32> {
        let list = if self.exceeds_share(units, limit, source) {
            &self.sources[usize::from(source)]
        } else {
            self.sources.iter().max_by_key(|list| list.weight)?
        };
        Some(list.oldest).filter(|&id| id != NONE)
    }

    /// Begins a datagram; there must be room.
    pub(super) fn begin(
        &mut self,
        key: FlowKey,
        session: Option<NonZeroU16>,
        hash: u64,
        source: u8,
        now: Instant,
    ) -> u32 {
        let id = self.free_datagram;
        let bucket = self.bucket(hash);
        let datagram = &mut self.datagrams[id as usize];
        self.free_datagram = datagram.next;
        let next = self.buckets[bucket as usize];
        *datagram = Datagram { key, session, created: now, bucket, source, ..Datagram::new(next) };
        self.buckets[bucket as usize] = id;
        for list in [ALL, SOURCE] {
            self.append(list, id);
        }
        id
    }

    /// Adds a fragment that fits; there must be room. `at` is its place in the batch. Returns its
    /// slot.
    pub(super) fn add(&mut self, id: u32, fragment: Fragment, units: u32, at: usize) -> u32 {
        let slot = self.free_slot;
        let below = self.below(&self.datagrams[id as usize], fragment.offset.into());
        let datagram = &mut self.datagrams[id as usize];
        let above = match below {
            Some(below) => std::mem::replace(&mut self.slots[below as usize].above, slot),
            None => std::mem::replace(&mut datagram.lowest, slot),
        };
        if above == NONE {
            datagram.highest = slot;
        }
        match datagram.last {
            NONE => datagram.first = slot,
            last => self.slots[last as usize].later = slot,
        }
        datagram.last = slot;
        datagram.count += 1;
        datagram.units += units;
        datagram.received += u32::from(fragment.length);
        if !fragment.more {
            datagram.wanted = Some(fragment.end());
        }
        self.sources[usize::from(datagram.source)].weight += units;
        self.units += units;
        let place = &mut self.slots[slot as usize];
        self.free_slot = place.above;
        *place = Slot { fragment, at: at as u32, above, later: NONE };
        slot
    }

    /// Notes what a fragment says besides: bytes of its IP packet, whether it has options, and of the
    /// first one the tag.
    pub(super) fn note(&mut self, id: u32, bytes: u32, options: bool, link_tag: Option<u16>) {
        let datagram = &mut self.datagrams[id as usize];
        datagram.bytes += bytes;
        datagram.options |= options;
        datagram.link_tag = link_tag.unwrap_or(datagram.link_tag);
    }

    /// Whether every byte is there: none overlap.
    pub(super) fn is_whole(&self, id: u32) -> bool {
        let datagram = &self.datagrams[id as usize];
        datagram.wanted == Some(datagram.received)
    }

    /// What was gathered.
    pub(super) fn gathered(&self, id: u32) -> Gathered {
        let Datagram { key, count, bytes, options, link_tag, .. } = self.datagrams[id as usize];
        Gathered { key, count, bytes, options, link_tag }
    }

    /// The fragments by offset.
    pub(super) fn parts(&self, id: u32) -> impl Iterator<Item = Part> {
        self.follow(self.datagrams[id as usize].lowest, |slot| slot.above)
    }

    /// The slots by arrival.
    pub(super) fn arrivals(&self, id: u32) -> impl Iterator<Item = u32> {
        self.follow(self.datagrams[id as usize].first, |slot| slot.later).map(|part| part.slot)
    }

    fn follow(&self, from: u32, next: fn(&Slot) -> u32) -> impl Iterator<Item = Part> {
        let mut at = from;
        std::iter::from_fn(move || {
            let slot = self.slots.get(at as usize)?;
            let Slot { fragment, at: place, .. } = *slot;
            let part = Part { slot: at, at: place, data: fragment.data, length: fragment.length };
            at = next(slot);
            Some(part)
        })
    }

    /// Where the frame of a slot is and where in it the data.
    pub(super) fn part(&self, slot: u32) -> Part {
        let Slot { fragment, at, .. } = self.slots[slot as usize];
        Part { slot, at, data: fragment.data, length: fragment.length }
    }

    /// The batch that brought the fragment of a slot is over.
    pub(super) fn settle(&mut self, slot: u32) {
        self.slots[slot as usize].at = NONE;
    }

    /// Frees the fragments of a datagram; it stays, refused.
    pub(super) fn refuse(&mut self, id: u32, reason: Reason) {
        self.empty(id);
        self.datagrams[id as usize].refused = Some(reason);
    }

    /// Forgets a datagram and frees its fragments.
    pub(super) fn remove(&mut self, id: u32) {
        self.empty(id);
        for list in [ALL, SOURCE] {
            self.unlink(list, id);
        }
        let Datagram { bucket, next, .. } = self.datagrams[id as usize];
        let mut place = &mut self.buckets[bucket as usize];
        while *place != id {
            place = &mut self.datagrams[*place as usize].next;
        }
        *place = next;
        self.datagrams[id as usize] = Datagram::new(self.free_datagram);
        self.free_datagram = id;
    }

    /// The oldest datagram, if its time is over.
    pub(super) fn expired(&self, now: Instant, timeout: Duration) -> Option<u32> {
        let oldest = self.datagrams.get(self.all.oldest as usize)?;
        (now.since(oldest.created) >= timeout).then_some(self.all.oldest)
    }

    fn empty(&mut self, id: u32) {
        let datagram = &mut self.datagrams[id as usize];
        let mut slot = std::mem::replace(&mut datagram.lowest, NONE);
        (datagram.highest, datagram.first, datagram.last) = (NONE, NONE, NONE);
        self.units -= datagram.units;
        self.sources[usize::from(datagram.source)].weight -= datagram.units;
        (datagram.units, datagram.count, datagram.bytes) = (0, 0, 0);
        while slot != NONE {
            let place = &mut self.slots[slot as usize];
            let above = std::mem::replace(&mut place.above, self.free_slot);
            self.free_slot = slot;
            slot = above;
        }
    }

    fn list(&mut self, which: usize, id: u32) -> &mut List {
        let source = self.datagrams[id as usize].source;
        if which == ALL { &mut self.all } else { &mut self.sources[usize::from(source)] }
    }

    fn append(&mut self, which: usize, id: u32) {
        let list = self.list(which, id);
        list.weight += 1;
        let older = std::mem::replace(&mut list.newest, id);
        if older == NONE {
            list.oldest = id;
        } else {
            self.datagrams[older as usize].lists[which][1] = id;
        }
        self.datagrams[id as usize].lists[which] = [older, NONE];
    }

    fn unlink(&mut self, which: usize, id: u32) {
        let [older, newer] = self.datagrams[id as usize].lists[which];
        if older != NONE {
            self.datagrams[older as usize].lists[which][1] = newer;
        }
        if newer != NONE {
            self.datagrams[newer as usize].lists[which][0] = older;
        }
        let list = self.list(which, id);
        list.weight -= 1;
        if older == NONE {
            list.oldest = newer;
        }
        if newer == NONE {
            list.newest = older;
        }
    }
}

impl Datagram {
    /// Nothing of it is there yet.
    const fn new(next: u32) -> Self {
        Self {
            key: FlowKey::BLANK,
            session: None,
            created: Instant(0),
            lowest: NONE,
            highest: NONE,
            first: NONE,
            last: NONE,
            count: 0,
            units: 0,
            received: 0,
            wanted: None,
            bytes: 0,
            refused: None,
            options: false,
            link_tag: 0,
            bucket: 0,
            source: 0,
            next,
            lists: [[NONE; 2]; 2],
        }
    }
}
