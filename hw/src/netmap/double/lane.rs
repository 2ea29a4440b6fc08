//! One ring of the double: the kernel's and the NIC's idea of it, the syncs, and the checks.
//!
//! Positions, in the order in which they chase each other around the ring:
//!
//! - RX: `released` (application's head as last seen; the NIC may fill up to one slot before it),
//!   `shown` (tail as last written), `carried` (up to where the NIC has filled).
//! - TX: `carried` (up to where frames have left or are lost), `picked` (up to where the NIC has
//!   taken slots on), `released`; `shown` is the tail: at most one slot before `carried`.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

use netmap_sys::netmap::{NS_BUF_CHANGED, NS_INDIRECT, NS_MOREFRAG, NS_REPORT};

use crate::netmap::double::owners::Owner;
use crate::netmap::double::signal::Signal;
use crate::netmap::double::{RESERVED, Shared, lock};
use crate::sys::ledger::Ledger;
use crate::sys::netmap::{Device, Header, Ring, Slot};

/// Which way a ring goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Tx,
    Rx,
}

impl Direction {
    /// As `netmap_ring.dir` has it.
    pub(super) const fn number(self) -> u16 {
        match self {
            Self::Tx => 1,
            Self::Rx => 0,
        }
    }
}

#[derive(Debug)]
pub(super) struct Lane {
    ring: Ring,
    header: Header,
    /// Number among all rings of the region.
    number: u16,
    direction: Direction,
    nic: String,
    strict: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    released: u32,
    picked: u32,
    shown: u32,
    carried: u32,
    /// What the kernel last saw or wrote in each slot; empty if lenient.
    shadow: Vec<Slot>,
    /// Of each slot on its way out, what its bytes hash to; empty if lenient.
    digests: Vec<u64>,
    /// Registrations that have the ring.
    users: u32,
    exclusive: bool,
    signal: Option<Arc<Signal>>,
    /// Slots that a sync moves on at most.
    partial: Option<u32>,
    /// Sent slots that are not given back yet.
    lag: u32,
    /// Whether each slot leaves as a frame of its own.
    emulated: bool,
    /// Slots whose frames a dead link has swallowed.
    lost: u64,
    scratch: Vec<u8>,
}

/// What the wire wants in a receive slot.
pub(super) struct Arrival {
    pub(super) length: u16,
    pub(super) flags: u16,
    /// Bytes that the NIC writes.
    pub(super) written: usize,
}

impl Lane {
    pub(super) fn new(
        ring: Ring,
        number: u16,
        direction: Direction,
        nic: &str,
        strict: bool,
    ) -> Self {
        let header = ring.header();
        let state = Mutex::new(State::default());
        Self { ring, header, number, direction, nic: nic.to_owned(), strict, state }
    }

    /// Where the ring lies in the mapping.
    pub(super) fn offset(&self) -> usize {
        self.ring.offset()
    }

    /// One more registration. `false` if the ring is taken.
    pub(super) fn take(&self, exclusive: bool, signal: Option<&Arc<Signal>>) -> bool {
        let mut state = lock(&self.state);
        if state.users > 0 && (exclusive || state.exclusive) {
            return false;
        }
        state.users += 1;
        state.exclusive = exclusive;
        state.signal = signal.map(Arc::clone);
        true
    }

    /// One registration less. Returns whether it was the last.
    pub(super) fn leave(&self) -> bool {
        let mut state = lock(&self.state);
        state.users -= 1;
        state.users == 0
    }

    /// Whether nobody has registered it.
    pub(super) fn is_idle(&self) -> bool {
        lock(&self.state).users == 0
    }

    /// Puts the ring in the state in which a first registration finds it.
    pub(super) fn reset(&self, device: &Device) {
        let ring = &self.ring;
        let last = ring.slots() - 1;
        let mut state = lock(&self.state);
        let shown = if self.direction == Direction::Tx { last } else { 0 };
        *state = State { shown, lost: state.lost, ..State::default() };
        ring.set_head(0);
        ring.set_cur(0);
        ring.set_tail(shown);
        for i in 0..ring.slots() {
            let slot = Slot { index: ring.slot(i).index, length: 0, flags: 0 };
            ring.set_slot(i, slot);
            if self.strict {
                state.shadow.push(slot);
                poison(device, slot.index);
            }
        }
        if self.strict {
            state.digests.resize(ring.slots() as usize, 0);
        }
    }

    /// Whether the application finds something in the ring, or will after a sync.
    pub(super) fn has_received(&self) -> bool {
        let state = lock(&self.state);
        state.carried != state.shown || self.ring.cur() != state.shown
    }

    /// Whether released slots wait for another sync.
    pub(super) fn has_unsent(&self) -> bool {
        let state = lock(&self.state);
        state.picked != state.released
    }

    /// The last registration is gone: what it exchanged in slots that were its own is taken over.
    pub(super) fn settle(&self, shared: &Shared) {
        let mut state = lock(&self.state);
        if !self.strict {
            return;
        }
        self.check_kernel_slots(&state);
        let (mut i, end) = (state.released, state.shown);
        while i != end {
            self.check_exchange(shared, &mut state, i);
            i = self.ring.next(i);
        }
    }

    /// `NIOCRXSYNC`.
    pub(super) fn rxsync(&self, shared: &Shared) {
        let ring = &self.ring;
        let mut state = lock(&self.state);
        let head = self.check_window(&state);
        while self.strict && state.released != head {
            let i = state.released;
            self.accept(shared, &mut state, i);
            poison(&shared.device, ring.slot(i).index);
            state.released = ring.next(i);
        }
        // A lenient NIC looks at a slot when it fills it.
        state.released = head;
        let ready = ring.distance(state.shown, state.carried);
        let step = state.partial.map_or(ready, |partial| partial.min(ready));
        state.shown = self.forward(state.shown, step);
        ring.set_tail(state.shown);
    }

    /// `NIOCTXSYNC`.
    pub(super) fn txsync(&self, shared: &Shared, link: bool) {
        let ring = &self.ring;
        let mut state = lock(&self.state);
        let head = self.check_window(&state);
        let mut open = false;
        while state.released != head {
            let i = state.released;
            open = self.accept(shared, &mut state, i) & NS_MOREFRAG != 0;
            state.released = ring.next(i);
        }
        if self.strict && open {
            self.violation(format_args!("a chain is released without its end"));
        }
        let waiting = ring.distance(state.picked, state.released);
        let step = state.partial.map_or(waiting, |partial| partial.min(waiting));
        state.picked = self.forward(state.picked, step);
        if !link {
            state.lost += u64::from(ring.distance(state.carried, state.picked));
            state.carried = state.picked;
        }
        let sent = ring.distance(ring.next(state.shown), state.carried);
        for _ in 0..sent.saturating_sub(state.lag) {
            state.shown = ring.next(state.shown);
            if self.strict {
                poison(&shared.device, ring.slot(state.shown).index);
            }
        }
        // The slot at the tail is the kernel's; the one before it is the last that came back.
        ring.set_tail(state.shown);
    }

    fn forward(&self, from: u32, by: u32) -> u32 {
        let to = from + by;
        if to >= self.ring.slots() { to - self.ring.slots() } else { to }
    }

    /// Takes a slot that the application released. Returns its flags as they were.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "5 ns a slot otherwise")]
    fn accept(&self, shared: &Shared, state: &mut State, i: u32) -> u16 {
        let slot = self.ring.slot(i);
        let count = shared.device.memory().count();
        if !(RESERVED..count).contains(&slot.index) {
            let index = slot.index;
            self.violation(format_args!("slot {i}: buffer {index} is not for use ({count} there)"));
        }
        let size = shared.device.memory().buffer_size();
        if self.direction == Direction::Tx && slot.length as usize > size {
            let length = slot.length;
            self.violation(format_args!("slot {i}: {length} bytes in a buffer of {size}"));
        }
        if self.strict {
            self.check_released(shared, state, i);
        }
        let seen = match self.direction {
            Direction::Tx => Slot { flags: slot.flags & !(NS_BUF_CHANGED | NS_REPORT), ..slot },
            Direction::Rx => Slot { flags: 0, ..slot },
        };
        self.ring.set_slot(i, seen);
        if self.strict {
            state.shadow[i as usize] = seen;
            if self.direction == Direction::Tx {
                state.digests[i as usize] = digest(&shared.device, seen);
            }
        }
        slot.flags
    }

    #[cold]
    fn check_released(&self, shared: &Shared, state: &mut State, i: u32) {
        let slot = self.ring.slot(i);
        if self.direction == Direction::Tx && slot.length == 0 {
            self.violation(format_args!("slot {i}: nothing to send"));
        }
        if slot.flags & NS_INDIRECT != 0 {
            self.violation(format_args!("slot {i}: NS_INDIRECT, which NICs do not know"));
        }
        self.check_exchange(shared, state, i);
    }

    /// Checks what became of the buffer of a slot that the application had.
    fn check_exchange(&self, shared: &Shared, state: &mut State, i: u32) {
        let slot = self.ring.slot(i);
        let old = state.shadow[i as usize].index;
        let new = slot.index;
        if shared.ledger().is_some_and(|ledger| ledger.is_pooled(new)) {
            self.violation(format_args!("slot {i}: buffer {new} lies in a pool"));
        }
        if new == old {
            return;
        }
        if slot.flags & NS_BUF_CHANGED == 0 {
            self.violation(format_args!(
                "slot {i}: buffer {old} was exchanged for {new} without NS_BUF_CHANGED"
            ));
        }
        let Some(owners) = &shared.owners else { return };
        let to = Owner::Slot { ring: self.number, slot: i };
        let done = lock(owners).exchange(&shared.rings, to, old, new);
        if let Err(wrong) = done {
            self.violation(format_args!("slot {i}: {wrong}"));
        }
        state.shadow[i as usize].index = new;
    }

    /// Checks the ring's variables, and what the application must not write. Returns its head.
    fn check_window(&self, state: &State) -> u32 {
        let ring = &self.ring;
        let (head, cur, tail) = (ring.head(), ring.cur(), ring.tail());
        let (from, to) = (state.released, state.shown);
        if tail != to {
            self.violation(format_args!("tail is {tail}, the kernel wrote {to}"));
        }
        if head >= ring.slots() || ring.distance(from, head) > ring.distance(from, to) {
            self.violation(format_args!("head {head} is outside [{from}, {to}]"));
        }
        if cur >= ring.slots() || ring.distance(head, cur) > ring.distance(head, to) {
            self.violation(format_args!("cur {cur} is outside [{head}, {to}]"));
        }
        if self.strict {
            if ring.header() != self.header {
                self.violation(format_args!("the header was written to"));
            }
            self.check_kernel_slots(state);
        }
        head
    }

    fn check_kernel_slots(&self, state: &State) {
        let mut i = state.shown;
        loop {
            let (is, was) = (self.ring.slot(i), state.shadow[i as usize]);
            if is != was {
                self.violation(format_args!("slot {i} is the kernel's: {was:?} became {is:?}"));
            }
            i = self.ring.next(i);
            if i == state.released {
                break;
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn violation(&self, what: fmt::Arguments<'_>) -> ! {
        let Header { ring_id, .. } = self.header;
        panic!("netmap double: {} {:?} ring {ring_id}: {what}", self.nic, self.direction)
    }
}

/// The NIC's and the wire's side.
impl Lane {
    /// Slots that a receiving NIC may fill; 0 while nobody has the ring.
    pub(super) fn room(&self) -> usize {
        self.room_of(&lock(&self.state)) as usize
    }

    fn room_of(&self, state: &State) -> u32 {
        if state.users == 0 {
            return 0;
        }
        self.ring.slots() - 1 - self.ring.distance(state.released, state.carried)
    }

    /// Fills slots: for each of `arrivals`, `fill` gets its number and the bytes to write. All or
    /// none; with a dead link all vanish. Returns whether the NIC took them.
    pub(super) fn arrive(
        &self,
        device: &Device,
        link: bool,
        arrivals: impl ExactSizeIterator<Item = Arrival>,
        mut fill: impl FnMut(usize, &mut [u8]),
    ) -> bool {
        let mut state = lock(&self.state);
        if !link {
            state.lost += arrivals.len() as u64;
            return true;
        }
        if (self.room_of(&state) as usize) < arrivals.len() {
            return false;
        }
        for (n, arrival) in arrivals.enumerate() {
            let i = state.carried;
            let index = self.ring.slot(i).index;
            if self.strict {
                self.check_kernel_slots(&state);
                let size = device.memory().buffer_size();
                let clean = |bytes: &[u8]| bytes.iter().all(|&byte| byte == Ledger::POISON);
                if !device.read(index, size, clean) {
                    self.violation(format_args!("slot {i}: buffer {index} was written to"));
                }
            }
            device.write(index, arrival.written, |bytes| fill(n, bytes));
            let slot = Slot { index, length: arrival.length, flags: arrival.flags };
            self.ring.set_slot(i, slot);
            if self.strict {
                state.shadow[i as usize] = slot;
            }
            state.carried = self.ring.next(i);
        }
        if let Some(signal) = &state.signal {
            signal.raise();
        }
        true
    }

    /// Takes up to `max` frames that the NIC has to send; `f` sees their bytes.
    pub(super) fn depart(&self, device: &Device, max: usize, mut f: impl FnMut(&[u8])) -> usize {
        let mut state = lock(&self.state);
        let mut frames = 0;
        while frames < max && state.carried != state.picked {
            let first = state.carried;
            let slot = self.ring.slot(first);
            if state.emulated || slot.flags & NS_MOREFRAG == 0 {
                if self.strict {
                    self.check_sent(device, &state, first);
                }
                device.read(slot.index, slot.length.into(), &mut f);
                state.carried = self.ring.next(first);
                frames += 1;
                continue;
            }
            let mut i = first;
            let mut bytes = std::mem::take(&mut state.scratch);
            bytes.clear();
            let whole = loop {
                if i == state.picked {
                    break false;
                }
                let slot = self.ring.slot(i);
                if self.strict {
                    self.check_sent(device, &state, i);
                }
                device.read(slot.index, slot.length.into(), |part| bytes.extend_from_slice(part));
                i = self.ring.next(i);
                if slot.flags & NS_MOREFRAG == 0 {
                    break true;
                }
            };
            if whole {
                f(&bytes);
                state.carried = i;
                frames += 1;
            }
            state.scratch = bytes;
            if !whole {
                break;
            }
        }
        if frames > 0
            && let Some(signal) = &state.signal
        {
            // There is room again.
            signal.raise();
        }
        frames
    }

    #[cold]
    fn check_sent(&self, device: &Device, state: &State, i: u32) {
        let (is, was) = (self.ring.slot(i), state.shadow[i as usize]);
        if is != was {
            self.violation(format_args!("slot {i} is the kernel's: {was:?} became {is:?}"));
        }
        if digest(device, was) != state.digests[i as usize] {
            self.violation(format_args!(
                "slot {i}: buffer {} was written to on its way out",
                was.index
            ));
        }
    }

    pub(super) fn set_partial(&self, partial: Option<u32>) {
        lock(&self.state).partial = partial;
    }

    pub(super) fn set_emulated(&self) {
        lock(&self.state).emulated = true;
    }

    pub(super) fn set_lag(&self, lag: u32) {
        lock(&self.state).lag = lag;
    }

    pub(super) fn lost(&self) -> u64 {
        lock(&self.state).lost
    }

    /// Wakes whoever waits on the ring's registration.
    pub(super) fn wake(&self) {
        if let Some(signal) = &lock(&self.state).signal {
            signal.raise();
        }
    }

    /// Forgets what the application has done since the last sync: `netmap_ring_reinit`.
    pub(super) fn begin_anew(&self) {
        let state = lock(&self.state);
        self.ring.set_head(state.released);
        self.ring.set_cur(state.released);
        self.ring.set_tail(state.shown);
    }

    /// Puts the descriptor of the ring's registration in error.
    pub(super) fn fail(&self) {
        if let Some(signal) = &lock(&self.state).signal {
            signal.fail();
        }
    }
}

fn poison(device: &Device, index: u32) {
    device.write(index, device.memory().buffer_size(), |bytes| bytes.fill(Ledger::POISON));
}

fn digest(device: &Device, slot: Slot) -> u64 {
    device.read(slot.index, slot.length.into(), |bytes| {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        hasher.finish()
    })
}
