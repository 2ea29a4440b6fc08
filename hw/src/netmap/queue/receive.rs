//! Taking frames out of RX rings.

use netmap_sys::netmap::{NS_BUF_CHANGED, NS_MOREFRAG};

use crate::frame::{Frame, Meta};
use crate::netmap::queue::Queue;
use crate::sys::memory::{Buffer, Pool};
use crate::sys::netmap::{Ring, Slot};

/// One RX ring.
#[derive(Debug)]
pub(super) struct Lane {
    ring: Ring,
    /// The first slot to be looked at: `ring.head()`, as we left it.
    head: u32,
    /// In the middle of a chain that is too long for the ring: its slots are passed over.
    discarding: bool,
}

/// How serving an RX ring ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing is left, or `max` frames are taken.
    Done,
    /// The pool has no more buffers.
    PoolEmpty,
}

impl Lane {
    pub(super) fn new(ring: Ring) -> Self {
        Self { head: ring.head(), ring, discarding: false }
    }

    /// Whether the kernel has not moved what is ours.
    pub(super) fn is_as_left(&self) -> bool {
        self.ring.head() == self.head
    }
}

impl<K> Queue<K> {
    /// Takes up to `max` frames out of one RX ring.
    pub(super) fn receive_from(
        &mut self,
        lane: usize,
        pool: &mut Pool,
        port: u8,
        frames: &mut Vec<Frame>,
        max: usize,
    ) -> (usize, End) {
        let Self { receive, stats, spares, checksum, .. } = self;
        let Lane { ring, head: kept, discarding } = &mut receive[lane];
        let meta = Meta { checksum: *checksum, gso: None };
        let capacity = pool.memory().buffer_size();
        let tail = ring.tail();
        let mut head = *kept;
        let mut wait_at = None;
        let mut end = End::Done;
        let mut taken = 0;
        while taken < max && head != tail {
            let slot = ring.slot(head);
            if slot.flags & NS_MOREFRAG != 0 || *discarding {
                match receive_chain(ring, discarding, &mut head, tail, pool, meta, spares) {
                    Chain::Frame(mut frame) => {
                        frame.port = port;
                        frames.push(frame);
                        taken += 1;
                    }
                    Chain::Passed => {}
                    Chain::Malformed => stats.malformed += 1,
                    Chain::PoolEmpty => {
                        end = End::PoolEmpty;
                        break;
                    }
                    Chain::Incomplete => {
                        // To be woken by the next slot, not by those that are there.
                        wait_at = Some(tail);
                        break;
                    }
                }
                continue;
            }
            if slot.length == 0 || slot.length as usize > capacity {
                stats.malformed += 1;
                head = ring.next(head);
                continue;
            }
            let Some(spare) = pool.allocate() else {
                end = End::PoolEmpty;
                break;
            };
            ring.set_slot(head, Slot { index: spare.0, length: 0, flags: NS_BUF_CHANGED });
            let mut frame = pool.frame(Buffer(slot.index), 0, slot.length as usize, meta);
            frame.port = port;
            frames.push(frame);
            head = ring.next(head);
            taken += 1;
        }
        ring.set_cur(wait_at.unwrap_or(head));
        ring.set_head(head);
        *kept = head;
        (taken, end)
    }
}

/// What was at the head of an RX ring.
enum Chain {
    /// A whole chain, taken.
    Frame(Frame),
    /// The rest of a chain that is too long, passed over.
    Passed,
    /// A broken chain, passed over; or the beginning of one that is too long.
    Malformed,
    /// A whole chain, left there for want of spare buffers.
    PoolEmpty,
    /// The beginning of a chain.
    Incomplete,
}

/// Takes the chain that begins at `head` and moves `head` behind it.
#[cold]
fn receive_chain(
    ring: &Ring,
    discarding: &mut bool,
    head: &mut u32,
    tail: u32,
    pool: &mut Pool,
    meta: Meta,
    spares: &mut Vec<Buffer>,
) -> Chain {
    let capacity = pool.memory().buffer_size();
    let mut at = *head;
    let mut sound = true;
    let mut slots = 0;
    loop {
        if at == tail {
            if *discarding || slots == ring.slots() - 1 {
                // Nothing else can come into the ring before these slots are gone.
                let begins = !*discarding;
                *discarding = true;
                *head = at;
                return if begins { Chain::Malformed } else { Chain::Passed };
            }
            return Chain::Incomplete;
        }
        let slot = ring.slot(at);
        at = ring.next(at);
        slots += 1;
        sound &= slot.length != 0 && slot.length as usize <= capacity;
        if slot.flags & NS_MOREFRAG == 0 {
            break;
        }
    }
    if *discarding || !sound {
        let passed = *discarding;
        *discarding = false;
        *head = at;
        return if passed { Chain::Passed } else { Chain::Malformed };
    }
    while spares.len() < slots as usize {
        let Some(spare) = pool.allocate() else {
            for spare in spares.drain(..) {
                pool.free(spare);
            }
            return Chain::PoolEmpty;
        };
        spares.push(spare);
    }
    let mut chain: Option<(Frame, u32)> = None;
    for spare in spares.drain(..) {
        let slot = ring.slot(*head);
        ring.set_slot(*head, Slot { index: spare.0, length: 0, flags: NS_BUF_CHANGED });
        *head = ring.next(*head);
        let (buffer, length) = (Buffer(slot.index), slot.length as usize);
        match &mut chain {
            None => chain = Some((pool.frame(buffer, 0, length, meta), slot.index)),
            Some((frame, last)) => pool.append(frame, last, buffer, 0, length),
        }
    }
    chain.map_or(Chain::Passed, |(frame, _)| Chain::Frame(frame))
}
