//! When states end: a timer wheel of one level with lazy requeueing (after Varghese and Lauck,
//! "Hashed and Hierarchical Timing Wheels", 1987).
//!
//! A packet only writes its tick into its state. The wheel looks at a state when the deadline it had
//! when it was queued is due, or a turn of the wheel has passed; if packets have come since, it is
//! queued again for the deadline it has now. Only a state whose deadline moves forward in time (a
//! connection that closes) is requeued at once. A state is so looked at once in 17 minutes or less
//! often, whatever its traffic.

use super::entry::{Links, NONE};

/// Ticks in a second.
pub(crate) const TICKS_PER_SECOND: u32 = 8;
/// Nanoseconds in a tick.
pub(crate) const TICK_NANOS: u64 = 1_000_000_000 / TICKS_PER_SECOND as u64;
/// Slots, one a tick: a turn takes 1,024 s.
const SLOTS: usize = 8192;
/// Slots without a state that one call of [`Wheel::due`] passes at most.
const EMPTY_SLOTS: usize = 1024;

/// Whether `tick` is `deadline` or later. Ticks wrap around; deadlines are less than half of that
/// away (thirty days at most, where the tick's range is seventeen years).
#[inline]
pub(crate) const fn is_due(deadline: u32, tick: u32) -> bool {
    tick.wrapping_sub(deadline).cast_signed() >= 0
}

/// The wheel. Its slots are doubly linked lists through [`Links`].
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Box<[u32]>,
    /// The tick whose slot is looked at.
    at: u32,
}

impl Wheel {
    /// An empty wheel that stands at `tick`.
    pub(crate) fn new(tick: u32) -> Self {
        Self { slots: vec![NONE; SLOTS].into(), at: tick }
    }

    /// Bytes it takes.
    pub(crate) const fn size() -> usize {
        SLOTS * size_of::<u32>()
    }

    const fn slot(tick: u32) -> usize {
        tick as usize % SLOTS
    }

    /// Queues an entry for `deadline`, or for a turn from now if that is nearer.
    pub(crate) fn queue(&mut self, links: &mut [Links], entry: u32, deadline: u32) {
        let ahead = if is_due(deadline, self.at) { 1 } else { deadline.wrapping_sub(self.at) };
        let due = self.at.wrapping_add(ahead.min(SLOTS as u32 - 1));
        let head = std::mem::replace(&mut self.slots[Self::slot(due)], entry);
        let own = &mut links[entry as usize];
        own.due = due;
        own.wheel_next = head;
        own.wheel_previous = NONE;
        if head != NONE {
            links[head as usize].wheel_previous = entry;
        }
    }

    /// Takes an entry out.
    pub(crate) fn unqueue(&mut self, links: &mut [Links], entry: u32) {
        let Links { due, wheel_next: next, wheel_previous: previous, .. } = links[entry as usize];
        if previous == NONE {
            self.slots[Self::slot(due)] = next;
        } else {
            links[previous as usize].wheel_next = next;
        }
        if next != NONE {
            links[next as usize].wheel_previous = previous;
        }
    }

    /// The next entry that is due by `tick`, which stays where it is. `None`: there is none, or so
    /// many empty slots lie before it that the search goes on in the next call.
    pub(crate) fn due(&mut self, tick: u32) -> Option<u32> {
        for _ in 0..EMPTY_SLOTS {
            let entry = self.slots[Self::slot(self.at)];
            if entry != NONE {
                return Some(entry);
            }
            if is_due(tick, self.at) {
                return None;
            }
            self.at = self.at.wrapping_add(1);
        }
        None
    }
}
