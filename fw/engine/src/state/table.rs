//! The state table of one worker.

use weir_config::options::Timeout;
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

use super::entry::{Entry, Links, NONE, flag};
use super::index::{Bucket, Index};
use super::phases::Phases;
use super::wheel::{TICKS_PER_SECOND, Wheel, is_due};
use crate::flow::FlowKey;
use crate::packet::protocol;
use crate::processor;

/// Index, entries and wheel, over memory that outlives it.
#[derive(Debug)]
pub(crate) struct Table {
    index: Index,
    entries: &'static mut [Entry],
    links: &'static mut [Links],
    wheel: Wheel,
    /// Chain of used and freed entries.
    free: u32,
    /// Entries from here on were never used.
    fresh: u32,
    live: u32,
    /// Unproven ones of TCP.
    half_open: u32,
    phases: Phases,
    /// Those of them whose key leaves the ports of the bridge out.
    floating: u32,
    high_water: u32,
    /// The unproven states by age.
    oldest: u32,
    newest: u32,
}

impl Table {
    /// Bytes of memory for so many states.
    pub(crate) const fn memory_needed(states: u32) -> usize {
        size_of::<Bucket>() * Index::buckets_for(states)
            + (size_of::<Entry>() + size_of::<Links>()) * states as usize
            // Rounded up, so that the entries begin at a multiple of their alignment.
            + align_of::<Entry>()
    }

    /// Bytes of that and of the wheel.
    pub(crate) const fn footprint(states: u32) -> usize {
        Self::memory_needed(states) + Wheel::size()
    }

    /// A table of `states` entries in zeroed memory of [`Table::memory_needed`] bytes. Panics if the
    /// memory is smaller.
    pub(crate) fn new(states: u32, memory: &'static mut [u8], tick: u32) -> Self {
        let misaligned = memory.as_ptr().align_offset(align_of::<Entry>());
        let (entries, memory) = carve(&mut memory[misaligned..], states as usize);
        let (buckets, memory) = carve(memory, Index::buckets_for(states));
        let (links, _) = carve(memory, states as usize);
        Self {
            index: Index::new(buckets),
            entries,
            links,
            wheel: Wheel::new(tick),
            free: NONE,
            fresh: 0,
            live: 0,
            half_open: 0,
            phases: Phases::default(),
            floating: 0,
            high_water: 0,
            oldest: NONE,
            newest: NONE,
        }
    }

    /// States in the table.
    pub(crate) const fn len(&self) -> u32 {
        self.live
    }

    /// Connections of TCP whose handshake is not complete.
    pub(crate) const fn half_open(&self) -> u32 {
        self.half_open
    }

    /// How many there are in each phase.
    pub(crate) const fn phases(&self) -> &Phases {
        &self.phases
    }

    /// The most there ever were.
    pub(crate) const fn high_water(&self) -> u32 {
        self.high_water
    }

    /// Whether there are states under the other policy than this key's.
    #[inline]
    pub(crate) const fn has_other_policy(&self, key: &FlowKey) -> bool {
        if key.is_floating() { self.floating < self.live } else { self.floating > 0 }
    }

    /// Entries there can be.
    pub(crate) const fn capacity(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Starts fetching what [`Table::candidate`] reads.
    #[inline]
    pub(crate) fn prefetch_index(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// The entry that probably is the flow's, its lines on their way; [`NONE`] if there is no state.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "whole datagrams would make a call of it for all")]
    pub(crate) fn candidate(&self, hash: u64) -> u32 {
        match self.index.find(hash, |_| true) {
            Some(entry) => {
                let entry_ref = &self.entries[entry as usize];
                processor::prefetch(entry_ref);
                processor::prefetch(&entry_ref.peers);
                entry
            }
            None => NONE,
        }
    }

    /// The entry of a flow, beginning with the candidate found before.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "2 ns a frame otherwise")]
    pub(crate) fn find(&self, key: &FlowKey, hash: u64, candidate: u32) -> Option<u32> {
        if let Some(entry) = self.entries.get(candidate as usize)
            && entry.is(key)
        {
            return Some(candidate);
        }
        self.search(key, hash)
    }

    /// The entry of a flow of which there was no candidate, or another's.
    #[inline(never)]
    fn search(&self, key: &FlowKey, hash: u64) -> Option<u32> {
        self.index.find(hash, |entry| self.entries[entry as usize].is(key))
    }

    /// The entry.
    #[inline]
    pub(crate) const fn get(&self, entry: u32) -> &Entry {
        &self.entries[entry as usize]
    }

    /// The entry, to be changed.
    #[inline]
    pub(crate) const fn get_mut(&mut self, entry: u32) -> &mut Entry {
        &mut self.entries[entry as usize]
    }

    /// Tick in which the state was made.
    pub(crate) const fn created(&self, entry: u32) -> u32 {
        self.links[entry as usize].created
    }

    /// What its rules want done to the packets of a state, packed.
    pub(crate) const fn effects(&self, entry: u32) -> u64 {
        self.links[entry as usize].effects
    }

    /// Remembers that.
    pub(crate) const fn set_effects(&mut self, entry: u32, effects: u64) {
        self.links[entry as usize].effects = effects;
    }

    /// The entry, and what belongs to it beside.
    pub(crate) const fn with_links(&self, entry: u32) -> (&Entry, &Links) {
        (&self.entries[entry as usize], &self.links[entry as usize])
    }

    /// The nodes of the source of a state, in the order of its distinct rules.
    pub(crate) const fn sources(&self, entry: u32) -> [u32; 2] {
        self.links[entry as usize].sources
    }

    /// Remembers that; `ttl` is that of the first packet.
    pub(crate) const fn set_sources(&mut self, entry: u32, sources: [u32; 2], ttl: u8) {
        let links = &mut self.links[entry as usize];
        links.sources = sources;
        links.ttl = ttl;
    }

    /// The highest TTL of the handshake's packets from the initiator.
    pub(crate) const fn ttl(&self, entry: u32) -> u8 {
        self.links[entry as usize].ttl
    }

    /// A packet of the handshake had this TTL.
    pub(crate) fn raise_ttl(&mut self, entry: u32, ttl: u8) {
        let highest = &mut self.links[entry as usize].ttl;
        *highest = ttl.max(*highest);
    }

    /// Whether the connection may be challenged in this tick, which it is then: once a second. In one
    /// second of 8,192 the last time may have been longer ago than it seems.
    pub(crate) fn may_challenge(&mut self, entry: u32, tick: u32) -> bool {
        let last = &mut self.links[entry as usize].challenged;
        let passed = (tick as u16).wrapping_sub(*last);
        let may = u32::from(passed) >= TICKS_PER_SECOND;
        if may {
            *last = tick as u16;
        }
        may
    }

    /// Makes a state, unproven. `None` when every entry is taken.
    pub(crate) fn insert(
        &mut self,
        key: &FlowKey,
        hash: u64,
        flags: u16,
        timeout: u8,
        tick: u32,
        deadline: u32,
    ) -> Option<u32> {
        let entry = if self.free != NONE {
            let entry = self.free;
            self.free = self.links[entry as usize].wheel_next;
            entry
        } else if self.fresh < self.capacity() {
            self.fresh += 1;
            self.fresh - 1
        } else {
            return None;
        };
        let inserted = self.index.insert(hash, entry);
        debug_assert!(inserted, "the index has more ways than the table entries");
        self.entries[entry as usize].begin(key, flags & !flag::PROVEN, timeout, tick);
        let links = &mut self.links[entry as usize];
        links.created = tick;
        links.sources = [NONE; 2];
        links.challenged = (tick as u16).wrapping_sub(TICKS_PER_SECOND as u16);
        self.wheel.queue(self.links, entry, deadline);
        self.append_unproven(entry);
        self.half_open += u32::from(key.protocol() == protocol::TCP);
        self.phases.begin(key.protocol(), timeout);
        self.live += 1;
        self.floating += u32::from(key.is_floating());
        self.high_water = self.high_water.max(self.live);
        Some(entry)
    }

    /// Ends a state; `hash` is its key's.
    pub(crate) fn remove(&mut self, entry: u32, hash: u64) {
        self.wheel.unqueue(self.links, entry);
        let state = &mut self.entries[entry as usize];
        let flow = state.key();
        let proven = state.has(flag::PROVEN);
        self.phases.end(flow.protocol(), state.timeout);
        state.end();
        self.index.remove(hash, entry);
        if !proven {
            self.unlink_unproven(entry);
            self.half_open -= u32::from(flow.protocol() == protocol::TCP);
        }
        self.links[entry as usize].wheel_next = self.free;
        self.free = entry;
        self.live -= 1;
        self.floating -= u32::from(flow.is_floating());
    }

    /// The state is in another phase.
    pub(crate) fn set_timeout(&mut self, entry: u32, timeout: Timeout) {
        let state = &mut self.entries[entry as usize];
        let protocol = state.key().protocol();
        self.phases.end(protocol, state.timeout);
        state.timeout = timeout as u8;
        self.phases.begin(protocol, state.timeout);
    }

    /// From now on the state is not evicted.
    pub(crate) fn prove(&mut self, entry: u32) {
        let state = &mut self.entries[entry as usize];
        if !state.has(flag::PROVEN) {
            state.flags |= flag::PROVEN;
            self.half_open -= u32::from(state.key().protocol() == protocol::TCP);
            self.unlink_unproven(entry);
        }
    }

    /// The oldest state of which only one end was heard.
    pub(crate) const fn oldest_unproven(&self) -> Option<u32> {
        if self.oldest == NONE { None } else { Some(self.oldest) }
    }

    /// Tells the wheel that a deadline has changed. It need not know of one that moved away.
    pub(crate) fn reschedule(&mut self, entry: u32, deadline: u32) {
        let due = self.links[entry as usize].due;
        if !is_due(due, deadline) {
            self.requeue(entry, deadline);
        }
    }

    /// The next state that the wheel has for `tick`: it is to be removed, or queued again.
    pub(crate) fn next_due(&mut self, tick: u32) -> Option<u32> {
        self.wheel.due(tick)
    }

    /// Queues a state for another deadline.
    pub(crate) fn requeue(&mut self, entry: u32, deadline: u32) {
        self.wheel.unqueue(self.links, entry);
        self.wheel.queue(self.links, entry, deadline);
    }

    /// Entries that were ever used; all live ones are below.
    pub(crate) const fn used(&self) -> u32 {
        self.fresh
    }

    fn append_unproven(&mut self, entry: u32) {
        let older = std::mem::replace(&mut self.newest, entry);
        let own = &mut self.links[entry as usize];
        own.older = older;
        own.younger = NONE;
        if older == NONE {
            self.oldest = entry;
        } else {
            self.links[older as usize].younger = entry;
        }
    }

    fn unlink_unproven(&mut self, entry: u32) {
        let Links { older, younger, .. } = self.links[entry as usize];
        if older == NONE {
            self.oldest = younger;
        } else {
            self.links[older as usize].younger = younger;
        }
        if younger == NONE {
            self.newest = older;
        } else {
            self.links[younger as usize].older = older;
        }
    }
}

/// Cuts `count` values off the front of the memory.
fn carve<T: FromBytes + IntoBytes + KnownLayout>(
    memory: &'static mut [u8],
    count: usize,
) -> (&'static mut [T], &'static mut [u8]) {
    match <[T]>::mut_from_prefix_with_elems(memory, count) {
        Ok(parts) => parts,
        Err(error) => panic!("the memory for the state table is too small or misaligned: {error}"),
    }
}
