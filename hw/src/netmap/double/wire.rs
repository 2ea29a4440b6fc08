//! The far end of a NIC of the double, and the hand that breaks things.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use netmap_sys::netmap::NS_MOREFRAG;

use crate::netmap::double::lane::Arrival;
use crate::netmap::double::{NicState, Shared};

/// The cable in a NIC of the [`Double`](super::Double): puts frames into its receive rings and takes
/// what its transmit rings send. `queue` is a ring's number; a number that the NIC does not have
/// panics. Clones are the same cable, and may be used on any thread.
#[derive(Clone, Debug)]
pub struct Wire {
    shared: Arc<Shared>,
    nic: usize,
}

impl Wire {
    pub(super) const fn new(shared: Arc<Shared>, nic: usize) -> Self {
        Self { shared, nic }
    }

    fn nic(&self) -> &NicState {
        &self.shared.nics[self.nic]
    }

    fn link(&self) -> bool {
        let nic = self.nic();
        nic.link.load(Ordering::Relaxed) && nic.present.load(Ordering::Relaxed)
    }

    /// How many slots of RX ring `queue` are free for frames to come.
    pub fn room(&self, queue: usize) -> usize {
        self.nic().rx[queue].room()
    }

    /// A frame arrives; one longer than a buffer as a chain. `false` if the NIC has to drop it,
    /// because its ring is full or nobody has registered it.
    pub fn put(&self, queue: usize, frame: &[u8]) -> bool {
        let size = self.shared.config.buffer_size;
        if frame.len() <= size {
            return self.put_with(queue, frame.len(), |bytes| bytes.copy_from_slice(frame));
        }
        self.put_chain(queue, &frame.chunks(size).collect::<Vec<_>>())
    }

    /// A frame of `length` bytes arrives, at most as long as a buffer; `fill` writes it in place.
    pub fn put_with(&self, queue: usize, length: usize, fill: impl FnMut(&mut [u8])) -> bool {
        let mut fill = fill;
        self.put_batch(queue, 1, length, |_, bytes| fill(bytes))
    }

    /// `count` frames of `length` bytes arrive at once: all or none. `fill` gets the number of each
    /// in the batch and its bytes.
    pub fn put_batch(
        &self,
        queue: usize,
        count: usize,
        length: usize,
        fill: impl FnMut(usize, &mut [u8]),
    ) -> bool {
        let arrival = |_| Arrival { length: length as u16, flags: 0, written: length };
        let lane = &self.nic().rx[queue];
        lane.arrive(&self.shared.device, self.link(), (0..count).map(arrival), fill)
    }

    /// A frame arrives as a chain of the given parts.
    pub fn put_chain(&self, queue: usize, parts: &[&[u8]]) -> bool {
        let arrivals = parts.iter().enumerate().map(|(i, part)| Arrival {
            length: part.len() as u16,
            flags: if i + 1 < parts.len() { NS_MOREFRAG } else { 0 },
            written: part.len(),
        });
        let lane = &self.nic().rx[queue];
        lane.arrive(&self.shared.device, self.link(), arrivals, |i, to| {
            to.copy_from_slice(parts[i]);
        })
    }

    /// One slot arrives as a broken driver fills it: `bytes`, but with any length and flags.
    pub fn put_raw(&self, queue: usize, bytes: &[u8], length: u16, flags: u16) -> bool {
        let arrival = Arrival { length, flags, written: bytes.len() };
        let lane = &self.nic().rx[queue];
        lane.arrive(&self.shared.device, self.link(), std::iter::once(arrival), |_, to| {
            to.copy_from_slice(bytes);
        })
    }

    /// Takes up to `max` frames that were sent on TX ring `queue`, oldest first, and returns how
    /// many; `f` sees the bytes of each, a chain in one piece. Frames that nobody takes stay in the
    /// ring until it is full.
    pub fn drain(&self, queue: usize, max: usize, f: impl FnMut(&[u8])) -> usize {
        self.nic().tx[queue].depart(&self.shared.device, max, f)
    }

    /// Takes one frame.
    pub fn take(&self, queue: usize) -> Option<Vec<u8>> {
        let mut frame = None;
        self.drain(queue, 1, |bytes| frame = Some(bytes.to_vec()));
        frame
    }

    /// Cuts the cable or mends it. While it is cut frames vanish both ways, and nobody is told.
    pub fn set_link(&self, up: bool) {
        self.nic().link.store(up, Ordering::Relaxed);
    }

    /// Slots whose frames went into the cut cable.
    pub fn lost(&self) -> u64 {
        let nic = self.nic();
        nic.rx.iter().chain(&nic.tx).map(super::lane::Lane::lost).sum()
    }

    /// Takes the interface away: descriptors show `POLLERR`, syncs fail with `EIO`, registering
    /// fails with `ENXIO`.
    pub fn vanish(&self) {
        let nic = self.nic();
        nic.present.store(false, Ordering::Relaxed);
        for lane in nic.rx.iter().chain(&nic.tx) {
            lane.fail();
        }
    }

    /// Brings the interface back. Registrations that were there stay unusable in a real module; here
    /// they fail no longer, but their descriptors do.
    pub fn appear(&self) {
        self.nic().present.store(true, Ordering::Relaxed);
    }

    /// Lets every sync fail with this error number, or none any more.
    pub fn fail(&self, errno: Option<i32>) {
        self.nic().failure.store(errno.unwrap_or(0), Ordering::Relaxed);
        self.wake();
    }

    /// Begins RX and TX ring `queue` anew where the kernel last knew them, as netmap does when it
    /// finds a ring in disorder; descriptors show `POLLERR`.
    pub fn reset(&self, queue: usize) {
        let nic = self.nic();
        for lane in [nic.rx.get(queue), nic.tx.get(queue)].into_iter().flatten() {
            lane.begin_anew();
            lane.fail();
        }
    }

    /// Wakes whoever waits on a descriptor, for nothing.
    pub fn wake(&self) {
        let nic = self.nic();
        for lane in nic.rx.iter().chain(&nic.tx) {
            lane.wake();
        }
    }

    /// Lets syncs of RX and TX ring `queue` move on at most so many slots; `None`: as many as there
    /// are.
    pub fn set_partial(&self, queue: usize, slots: Option<u32>) {
        let nic = self.nic();
        for lane in [nic.rx.get(queue), nic.tx.get(queue)].into_iter().flatten() {
            lane.set_partial(slots);
        }
    }

    /// Lets TX ring `queue` send each slot as a frame of its own, whatever its flags say, as netmap's
    /// emulated adapters do.
    pub fn set_emulated(&self, queue: usize) {
        self.nic().tx[queue].set_emulated();
    }

    /// Lets TX ring `queue` hold the last so many sent slots back.
    pub fn set_lag(&self, queue: usize, slots: u32) {
        self.nic().tx[queue].set_lag(slots);
    }
}
