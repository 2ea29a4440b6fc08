//! netmap's structures in a shared region: typed, bounds-checked views of `netmap_if`,
//! `netmap_ring` and its slots, for the application side and for the double of the kernel side.
//!
//! Layouts are those of the crate `netmap_sys`, checked below against what a real module uses
//! (`nr_version` 14); its helper functions are not used: `NETMAP_BUF_IDX` computes a wrong index,
//! `nm_ring_space` overflows on wrap, `NETMAP_RXRING` assumes one host ring.
//!
//! Every field is read and written as a relaxed atomic, which costs what a plain access costs. In
//! netmap the kernel side works inside the application's system call; in the double inside a call
//! of the same thread, or of another one behind a mutex.

pub(crate) mod module;

use std::mem::{align_of, offset_of, size_of};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU16, AtomicU32, AtomicU64, Ordering};

use netmap_sys::netmap::{netmap_if, netmap_ring, netmap_slot, nmreq};

use crate::sys::memory::Memory;

const _: () = {
    assert!(size_of::<nmreq>() == 60);
    assert!(size_of::<netmap_if>() == 56 && offset_of!(netmap_if, ring_ofs) == 56);
    assert!(size_of::<netmap_ring>() == 256 && offset_of!(netmap_ring, slot) == 256);
    assert!(size_of::<netmap_slot>() == 16 && align_of::<netmap_slot>() == 8);
    // One load or store for index, length and flags; see `Slot`.
    assert!(offset_of!(netmap_slot, buf_idx) == 0);
    assert!(offset_of!(netmap_slot, len) == 4 && offset_of!(netmap_slot, flags) == 6);
    assert!(cfg!(target_endian = "little"));
};

/// Bytes of a `netmap_if` before its array of ring offsets.
pub(crate) const INTERFACE_SIZE: usize = size_of::<netmap_if>();
/// Bytes of a `netmap_ring` before its slots.
pub(crate) const RING_SIZE: usize = size_of::<netmap_ring>();
/// Bytes of a slot.
pub(crate) const SLOT_SIZE: usize = size_of::<netmap_slot>();

/// What a slot holds, but for `ptr`, which is for indirect buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Index of the buffer in the region.
    pub(crate) index: u32,
    /// Bytes of the frame in it.
    pub(crate) length: u16,
    /// `NS_*`.
    pub(crate) flags: u16,
}

impl Slot {
    const fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, length: (bits >> 32) as u16, flags: (bits >> 48) as u16 }
    }

    const fn to_bits(self) -> u64 {
        self.index as u64 | (self.length as u64) << 32 | (self.flags as u64) << 48
    }
}

/// The fields of a ring that the kernel writes once and nobody after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Offset of buffer 0 from the ring.
    pub(crate) buf_ofs: i64,
    /// Number of slots.
    pub(crate) num_slots: u32,
    /// Bytes of a buffer.
    pub(crate) buf_size: u32,
    /// Number of the ring in its direction.
    pub(crate) ring_id: u16,
    /// 1 for TX, 0 for RX.
    pub(crate) direction: u16,
}

/// A view of one ring. Views may be copied: what one side may touch when is netmap's protocol, and
/// no view can reach outside the ring whatever the other side writes.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    at: NonNull<netmap_ring>,
    slots: u32,
    memory: Arc<Memory>,
}

// SAFETY: the pointer is into the mapping that `memory` keeps alive, and all accesses are atomic.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

/// A reference to field `$field` of the structure at `$at` as an atomic.
macro_rules! field {
    ($at:expr, $structure:ty, $field:ident, $atomic:ty) => {{
        const { assert!(offset_of!($structure, $field) % align_of::<$atomic>() == 0) };
        let at: NonNull<$structure> = $at;
        // SAFETY: the constructors checked that the structure lies in the mapping and is aligned
        // to 8, the field to its own size (above); the mapping outlives the borrow of `self`, and
        // all accesses on our side are atomic.
        unsafe { &*(&raw const (*at.as_ptr()).$field).cast::<$atomic>() }
    }};
}

/// An offset in the region as netmap's structures have it; mappings are far smaller than 2^63.
pub(crate) const fn signed(offset: usize) -> i64 {
    offset.cast_signed() as i64
}

/// The address `offset` bytes into the mapping if `length` bytes from there lie in front of its
/// buffers and it is aligned to 8.
fn place(memory: &Memory, offset: usize, length: usize) -> Option<NonNull<u8>> {
    let end = offset.checked_add(length)?;
    if end > memory.first() || !offset.is_multiple_of(8) {
        return None;
    }
    // SAFETY: inside the mapping: end <= first <= mapped.
    Some(unsafe { memory.base().add(offset) })
}

impl Ring {
    /// The ring at `offset` bytes into the memory's mapping; `None` if it does not lie there whole.
    pub(crate) fn at(memory: &Arc<Memory>, offset: usize) -> Option<Self> {
        let at = place(memory, offset, RING_SIZE)?.cast::<netmap_ring>();
        let slots = field!(at, netmap_ring, num_slots, AtomicU32).load(Ordering::Relaxed);
        place(memory, offset, RING_SIZE + slots as usize * SLOT_SIZE)?;
        (slots >= 2).then(|| Self { at, slots, memory: Arc::clone(memory) })
    }

    /// Writes the header of a new ring, as the kernel side does, and returns its view.
    pub(crate) fn create(memory: &Arc<Memory>, offset: usize, header: Header) -> Option<Self> {
        let at = place(memory, offset, RING_SIZE)?.cast::<netmap_ring>();
        field!(at, netmap_ring, buf_ofs, AtomicI64).store(header.buf_ofs, Ordering::Relaxed);
        field!(at, netmap_ring, num_slots, AtomicU32).store(header.num_slots, Ordering::Relaxed);
        field!(at, netmap_ring, nr_buf_size, AtomicU32).store(header.buf_size, Ordering::Relaxed);
        field!(at, netmap_ring, ringid, AtomicU16).store(header.ring_id, Ordering::Relaxed);
        field!(at, netmap_ring, dir, AtomicU16).store(header.direction, Ordering::Relaxed);
        Self::at(memory, offset)
    }

    /// The header as it is now.
    pub(crate) fn header(&self) -> Header {
        Header {
            buf_ofs: field!(self.at, netmap_ring, buf_ofs, AtomicI64).load(Ordering::Relaxed),
            num_slots: field!(self.at, netmap_ring, num_slots, AtomicU32).load(Ordering::Relaxed),
            buf_size: field!(self.at, netmap_ring, nr_buf_size, AtomicU32).load(Ordering::Relaxed),
            ring_id: field!(self.at, netmap_ring, ringid, AtomicU16).load(Ordering::Relaxed),
            direction: field!(self.at, netmap_ring, dir, AtomicU16).load(Ordering::Relaxed),
        }
    }

    /// Where the ring lies in the mapping, in bytes.
    pub(crate) fn offset(&self) -> usize {
        self.at.as_ptr() as usize - self.memory.base().as_ptr() as usize
    }

    /// Number of slots.
    #[inline]
    pub(crate) const fn slots(&self) -> u32 {
        self.slots
    }

    /// The first slot that the application owns.
    #[inline]
    pub(crate) fn head(&self) -> u32 {
        field!(self.at, netmap_ring, head, AtomicU32).load(Ordering::Relaxed)
    }

    /// Sets [`Ring::head`].
    #[inline]
    pub(crate) fn set_head(&self, head: u32) {
        field!(self.at, netmap_ring, head, AtomicU32).store(head, Ordering::Relaxed);
    }

    /// Where the application waits for more: poll(2) reports readiness while it is not the tail.
    #[inline]
    pub(crate) fn cur(&self) -> u32 {
        field!(self.at, netmap_ring, cur, AtomicU32).load(Ordering::Relaxed)
    }

    /// Sets [`Ring::cur`].
    #[inline]
    pub(crate) fn set_cur(&self, cur: u32) {
        field!(self.at, netmap_ring, cur, AtomicU32).store(cur, Ordering::Relaxed);
    }

    /// The first slot behind the head that the kernel owns.
    #[inline]
    pub(crate) fn tail(&self) -> u32 {
        field!(self.at, netmap_ring, tail, AtomicU32).load(Ordering::Relaxed)
    }

    /// Sets [`Ring::tail`]: for the kernel side only.
    #[inline]
    pub(crate) fn set_tail(&self, tail: u32) {
        field!(self.at, netmap_ring, tail, AtomicU32).store(tail, Ordering::Relaxed);
    }

    /// Slot `i`. Panics if there is none.
    #[inline]
    pub(crate) fn slot(&self, i: u32) -> Slot {
        Slot::from_bits(self.slot_cell(i).load(Ordering::Relaxed))
    }

    /// Sets slot `i`. Panics if there is none.
    #[inline]
    pub(crate) fn set_slot(&self, i: u32, slot: Slot) {
        self.slot_cell(i).store(slot.to_bits(), Ordering::Relaxed);
    }

    #[inline]
    fn slot_cell(&self, i: u32) -> &AtomicU64 {
        assert!(i < self.slots, "slot {i} of {}", self.slots);
        // SAFETY: `at` checked that `slots` slots lie in the mapping behind the header, 16 bytes
        // each and aligned to 8; the mapping outlives the borrow, accesses are atomic.
        unsafe {
            let slots = self.at.add(1).cast::<[AtomicU64; 2]>();
            &slots.add(i as usize).as_ref()[0]
        }
    }

    /// The slot behind `i`, around the end.
    #[inline]
    pub(crate) const fn next(&self, i: u32) -> u32 {
        if i + 1 == self.slots { 0 } else { i + 1 }
    }

    /// How many slots lie from `from` up to but not including `to`, around the end.
    #[inline]
    pub(crate) const fn distance(&self, from: u32, to: u32) -> u32 {
        if to >= from { to - from } else { to + self.slots - from }
    }
}

/// A view of one `netmap_if` and its array of ring offsets.
#[derive(Debug)]
pub(crate) struct Interface {
    at: NonNull<netmap_if>,
    offset: usize,
    memory: Arc<Memory>,
}

/// How many rings an interface has. Their offsets stand in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingCounts {
    /// Hardware TX rings.
    pub(crate) tx: u32,
    /// TX rings to the host stack.
    pub(crate) host_tx: u32,
    /// Hardware RX rings.
    pub(crate) rx: u32,
    /// RX rings from the host stack.
    pub(crate) host_rx: u32,
}

impl RingCounts {
    const fn total(self) -> usize {
        self.tx as usize + self.host_tx as usize + self.rx as usize + self.host_rx as usize
    }
}

impl Interface {
    /// The interface at `offset` bytes into the mapping; `None` if it does not lie there whole.
    pub(crate) fn at(memory: &Arc<Memory>, offset: usize) -> Option<Self> {
        let at = place(memory, offset, INTERFACE_SIZE)?.cast::<netmap_if>();
        let interface = Self { at, offset, memory: Arc::clone(memory) };
        place(memory, offset, INTERFACE_SIZE + interface.counts().total() * 8)?;
        Some(interface)
    }

    /// Writes a new interface, as the kernel side does: `rings` are the offsets of its rings from
    /// the beginning of the mapping, `None` for those that are not part of the registration.
    pub(crate) fn create(
        memory: &Arc<Memory>,
        offset: usize,
        name: &str,
        version: u32,
        counts: RingCounts,
        rings: &[Option<usize>],
    ) -> Option<Self> {
        assert_eq!(rings.len(), counts.total());
        let at = place(memory, offset, INTERFACE_SIZE + rings.len() * 8)?.cast::<netmap_if>();
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        for (cell, byte) in
            field!(at, netmap_if, ni_name, [std::sync::atomic::AtomicU8; 16]).iter().zip(bytes)
        {
            cell.store(byte, Ordering::Relaxed);
        }
        field!(at, netmap_if, ni_version, AtomicU32).store(version, Ordering::Relaxed);
        field!(at, netmap_if, ni_flags, AtomicU32).store(0, Ordering::Relaxed);
        field!(at, netmap_if, ni_tx_rings, AtomicU32).store(counts.tx, Ordering::Relaxed);
        field!(at, netmap_if, ni_rx_rings, AtomicU32).store(counts.rx, Ordering::Relaxed);
        let spare = field!(at, netmap_if, ni_spare1, [AtomicU32; 5]);
        spare[0].store(counts.host_tx, Ordering::Relaxed);
        spare[1].store(counts.host_rx, Ordering::Relaxed);
        let interface = Self::at(memory, offset)?;
        interface.set_spare_buffers(0);
        for (i, ring) in rings.iter().enumerate() {
            let relative = ring.map_or(0, |ring| signed(ring) - signed(offset));
            interface.ring_cell(i).store(relative, Ordering::Relaxed);
        }
        Some(interface)
    }

    /// How many rings there are of each kind.
    pub(crate) fn counts(&self) -> RingCounts {
        let spare = field!(self.at, netmap_if, ni_spare1, [AtomicU32; 5]);
        RingCounts {
            tx: field!(self.at, netmap_if, ni_tx_rings, AtomicU32).load(Ordering::Relaxed),
            host_tx: spare[0].load(Ordering::Relaxed),
            rx: field!(self.at, netmap_if, ni_rx_rings, AtomicU32).load(Ordering::Relaxed),
            host_rx: spare[1].load(Ordering::Relaxed),
        }
    }

    /// Hardware TX ring `i`, if it is part of the registration.
    pub(crate) fn tx_ring(&self, i: u32) -> Option<Ring> {
        (i < self.counts().tx).then(|| self.ring(i as usize)).flatten()
    }

    /// Hardware RX ring `i`, if it is part of the registration.
    pub(crate) fn rx_ring(&self, i: u32) -> Option<Ring> {
        let counts = self.counts();
        let at = counts.tx + counts.host_tx + i;
        (i < counts.rx).then(|| self.ring(at as usize)).flatten()
    }

    fn ring(&self, i: usize) -> Option<Ring> {
        let relative = self.ring_cell(i).load(Ordering::Relaxed);
        if relative == 0 {
            return None;
        }
        let offset = isize::try_from(relative).ok()?;
        Ring::at(&self.memory, self.offset.checked_add_signed(offset)?)
    }

    /// First of the list of spare buffers that came with the registration, 0 if there is none; the
    /// first four bytes of each hold the next.
    pub(crate) fn spare_buffers(&self) -> u32 {
        field!(self.at, netmap_if, ni_bufs_head, AtomicU32).load(Ordering::Relaxed)
    }

    /// Sets [`Interface::spare_buffers`].
    pub(crate) fn set_spare_buffers(&self, first: u32) {
        field!(self.at, netmap_if, ni_bufs_head, AtomicU32).store(first, Ordering::Relaxed);
    }

    fn ring_cell(&self, i: usize) -> &AtomicI64 {
        assert!(i < self.counts().total());
        // SAFETY: the constructors checked that the array lies in the mapping behind the
        // structure; 56 is a multiple of 8; the mapping outlives the borrow, accesses are atomic.
        unsafe { self.at.add(1).cast::<AtomicI64>().add(i).as_ref() }
    }
}

/// The hand of a NIC in the double: reaches the bytes of buffers whose slots the kernel side owns.
/// The double asks for no others (its strict checks say which they are), so what it does here never
/// meets a slice of the application.
#[derive(Clone, Debug)]
pub(crate) struct Device(Arc<Memory>);

impl Device {
    /// For the buffers of `memory`.
    pub(crate) const fn new(memory: Arc<Memory>) -> Self {
        Self(memory)
    }

    /// The memory.
    pub(crate) const fn memory(&self) -> &Arc<Memory> {
        &self.0
    }

    /// The first `length` bytes of a buffer, to be read. Panics if it is shorter or not there.
    #[inline]
    pub(crate) fn read<R>(&self, index: u32, length: usize, f: impl FnOnce(&[u8]) -> R) -> R {
        assert!(length <= self.0.buffer_size());
        let start = self.0.start(index);
        // SAFETY: in bounds (`start`, and buffer_size <= stride); the kernel side owns the buffer.
        f(unsafe { std::slice::from_raw_parts(start.as_ptr(), length) })
    }

    /// The first `length` bytes of a buffer, to be written. Panics if it is shorter or not there.
    #[inline]
    pub(crate) fn write<R>(&self, index: u32, length: usize, f: impl FnOnce(&mut [u8]) -> R) -> R {
        assert!(length <= self.0.buffer_size());
        let start = self.0.start(index);
        // SAFETY: as in `read`; the caller holds the ring's mutex, so nobody else on the kernel
        // side has the buffer.
        f(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), length) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(slots: u32) -> Header {
        Header { buf_ofs: 4096, num_slots: slots, buf_size: 2048, ring_id: 3, direction: 1 }
    }

    #[test]
    fn slots_are_laid_out_as_netmap_has_them() {
        let memory = Memory::region(4096, 4, 2048, false).unwrap();
        let ring = Ring::create(&memory, 64, header(8)).unwrap();
        ring.set_slot(1, Slot { index: 0x0102_0304, length: 0x0506, flags: 0x0708 });
        ring.set_head(5);
        ring.set_cur(6);
        ring.set_tail(7);
        let device = Device::new(Arc::clone(&memory));
        // The region begins `first` bytes before buffer 0.
        let base = memory.base();
        let bytes = |at: usize, length: usize| -> Vec<u8> {
            // SAFETY: inside the mapping, nobody writes.
            unsafe { std::slice::from_raw_parts(base.as_ptr().add(64 + at), length).to_vec() }
        };
        assert_eq!(bytes(0, 8), 4096i64.to_ne_bytes());
        assert_eq!(bytes(8, 8), [8u32.to_ne_bytes(), 2048u32.to_ne_bytes()].concat());
        assert_eq!(bytes(16, 4), [3u16.to_ne_bytes(), 1u16.to_ne_bytes()].concat());
        assert_eq!(bytes(20, 4), 5u32.to_ne_bytes());
        assert_eq!(bytes(24, 4), 6u32.to_ne_bytes());
        assert_eq!(bytes(28, 4), 7u32.to_ne_bytes());
        assert_eq!(bytes(256 + 16, 4), 0x0102_0304u32.to_ne_bytes());
        assert_eq!(bytes(256 + 20, 2), 0x0506u16.to_ne_bytes());
        assert_eq!(bytes(256 + 22, 2), 0x0708u16.to_ne_bytes());
        device.write(0, 4, |bytes| bytes.copy_from_slice(b"weir"));
        assert_eq!(bytes(4096 - 64, 4), b"weir");
    }

    #[test]
    fn a_ring_outside_its_region_is_refused() {
        let memory = Memory::region(4096, 4, 2048, false).unwrap();
        assert!(Ring::create(&memory, 4096 - 256, header(2)).is_none());
        assert!(Ring::create(&memory, 64, header(1000)).is_none());
        assert!(Ring::create(&memory, 4, header(4)).is_none());
        assert!(Ring::create(&memory, usize::MAX - 7, header(4)).is_none());
        assert!(Interface::at(&memory, 4096).is_none());
    }

    #[test]
    fn distance_goes_around_the_end() {
        let memory = Memory::region(4096, 4, 2048, false).unwrap();
        let ring = Ring::create(&memory, 0, header(8)).unwrap();
        assert_eq!(ring.distance(6, 1), 3);
        assert_eq!(ring.distance(1, 6), 5);
        assert_eq!(ring.distance(4, 4), 0);
        assert_eq!(ring.next(7), 0);
    }
}
