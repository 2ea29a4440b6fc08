//! The four rings of an `AF_XDP` socket (`linux/if_xdp.h`, `Documentation/networking/af_xdp.rst`).
//!
//! Each is a power of two of entries between a producer and a consumer index, free-running 32-bit
//! numbers in shared memory. One side writes each index: entries are written before the producer
//! index is stored with release, and read after it was loaded with acquire; the same holds for the
//! consumer index and the right to overwrite. Access is by guards: [`Reserved`] and [`Taken`] touch
//! the shared index only when they are committed; dropped, they leave the ring as it was.

use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::net::xdp::XdpRingOffset;

/// `XDP_RING_NEED_WAKEUP`
const NEED_WAKEUP: u32 = 1;

/// What rings hold.
pub(crate) trait Entry: Copy + Send {}

/// `struct xdp_desc`
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Descriptor {
    /// Offset of the first byte in the UMEM.
    pub(crate) address: u64,
    pub(crate) length: u32,
    pub(crate) options: u32,
}

/// In [`Descriptor::options`]: the frame goes on in the next one (`XDP_PKT_CONTD`).
pub(crate) const CONTINUED: u32 = 1;

impl Entry for Descriptor {}
impl Entry for u64 {}

/// A mapped ring with this side's copies of both indices.
struct Ring<T> {
    base: NonNull<u8>,
    length: usize,
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: Option<NonNull<AtomicU32>>,
    entries: NonNull<T>,
    size: u32,
    /// As far as is known here: ours is exact, the other side's may have moved on.
    produced: u32,
    consumed: u32,
    owner: PhantomData<T>,
}

// SAFETY: the mapping belongs to this value alone on this side, and moves with it.
unsafe impl<T: Entry> Send for Ring<T> {}

impl<T: Entry> Ring<T> {
    /// Maps the ring of a socket at `page_offset`. `size` must be what the socket was given.
    fn map(
        fd: BorrowedFd<'_>,
        page_offset: u64,
        offsets: &XdpRingOffset,
        size: u32,
    ) -> io::Result<Self> {
        assert!(size.is_power_of_two());
        let length = offsets.desc as usize + size as usize * size_of::<T>();
        let within = |offset: u64, bytes: usize| {
            offset.checked_add(bytes as u64).is_some_and(|end| end <= length as u64)
        };
        let flags_within = offsets.flags.is_none_or(|flags| within(flags, 4));
        if !(within(offsets.producer, 4) && within(offsets.consumer, 4) && flags_within) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                fd,
                page_offset,
            )?
        };
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: all offsets lie within the mapping, checked above; the kernel aligns indices to
        // cache lines and entries to 8 bytes.
        let (producer, consumer, flags, entries) = unsafe {
            (
                base.add(offsets.producer as usize).cast::<AtomicU32>(),
                base.add(offsets.consumer as usize).cast::<AtomicU32>(),
                offsets.flags.map(|flags| base.add(flags as usize).cast::<AtomicU32>()),
                base.add(offsets.desc as usize).cast::<T>(),
            )
        };
        let mut ring = Self {
            base,
            length,
            producer,
            consumer,
            flags,
            entries,
            size,
            produced: 0,
            consumed: 0,
            owner: PhantomData,
        };
        ring.produced = ring.producer().load(Ordering::Acquire);
        ring.consumed = ring.consumer().load(Ordering::Acquire);
        Ok(ring)
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: within the mapping (`map`), which lives as long as `self`.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.consumer.as_ref() }
    }

    /// Entries that the producer may write, as far as is known. A consumer index outside of
    /// [produced - size, produced] would be the kernel's fault; it leaves no room.
    fn room(&self) -> u32 {
        self.size.saturating_sub(self.produced.wrapping_sub(self.consumed))
    }

    /// The entry that index `at` stands for.
    fn entry(&self, at: u32) -> NonNull<T> {
        // SAFETY: masked by the size, the mapping holds `size` entries.
        unsafe { self.entries.add((at & (self.size - 1)) as usize) }
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // SAFETY: our own mapping, nothing borrows from it any more.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.length) };
    }
}

/// A ring that this side fills: fill and TX.
pub(crate) struct Producer<T: Entry>(Ring<T>);

impl<T: Entry> Producer<T> {
    pub(crate) fn map(
        fd: BorrowedFd<'_>,
        page_offset: u64,
        offsets: &XdpRingOffset,
        size: u32,
    ) -> io::Result<Self> {
        Ring::map(fd, page_offset, offsets, size).map(Self)
    }

    /// Entries that the other side has not taken yet.
    pub(crate) fn pending(&mut self) -> u32 {
        self.0.consumed = self.0.consumer().load(Ordering::Acquire);
        self.0.produced.wrapping_sub(self.0.consumed)
    }

    /// Room for at least `wanted` entries if there is that much, else for what there is.
    pub(crate) fn reserve(&mut self, wanted: u32) -> Reserved<'_, T> {
        let ring = &mut self.0;
        if ring.room() < wanted {
            ring.consumed = ring.consumer().load(Ordering::Acquire);
        }
        let room = ring.room();
        Reserved { ring, room, written: 0 }
    }

    /// Whether the other side sleeps and has to be woken by a system call.
    pub(crate) fn needs_wakeup(&self) -> bool {
        // What was committed must be visible before the flag is read: the kernel sets the flag
        // first, then looks at the ring once more.
        fence(Ordering::SeqCst);
        // Kernels without the flag (before 5.4) always have to be woken.
        self.0.flags.is_none_or(|flags| {
            // SAFETY: within the mapping (`map`), which lives as long as `self`.
            unsafe { flags.as_ref() }.load(Ordering::Relaxed) & NEED_WAKEUP != 0
        })
    }
}

/// Room in a [`Producer`], written to but not yet visible.
#[must_use = "nothing becomes visible without `commit`"]
pub(crate) struct Reserved<'a, T: Entry> {
    ring: &'a mut Ring<T>,
    room: u32,
    written: u32,
}

impl<T: Entry> Reserved<'_, T> {
    /// Looks again whether `wanted` more entries can be written, and tells.
    pub(crate) fn ensure(&mut self, wanted: u32) -> bool {
        if self.room() < wanted {
            self.ring.consumed = self.ring.consumer().load(Ordering::Acquire);
            self.room = self.ring.room();
        }
        self.room() >= wanted
    }

    /// How many entries can still be written.
    pub(crate) const fn room(&self) -> u32 {
        self.room - self.written
    }

    /// Writes an entry. Panics without room.
    pub(crate) fn push(&mut self, entry: T) {
        assert!(self.written < self.room);
        let place = self.ring.entry(self.ring.produced.wrapping_add(self.written));
        // SAFETY: a valid place for an entry; the consumer has released it (its index was loaded
        // with acquire) and reads it only after the producer index has passed it.
        unsafe { place.write(entry) };
        self.written += 1;
    }

    /// Makes what was written visible to the other side.
    pub(crate) fn commit(self) {
        self.ring.produced = self.ring.produced.wrapping_add(self.written);
        self.ring.producer().store(self.ring.produced, Ordering::Release);
    }
}

/// A ring that this side empties: RX and completion.
pub(crate) struct Consumer<T: Entry>(Ring<T>);

impl<T: Entry> Consumer<T> {
    pub(crate) fn map(
        fd: BorrowedFd<'_>,
        page_offset: u64,
        offsets: &XdpRingOffset,
        size: u32,
    ) -> io::Result<Self> {
        Ring::map(fd, page_offset, offsets, size).map(Self)
    }

    /// What there is to take.
    pub(crate) fn take(&mut self) -> Taken<'_, T> {
        let ring = &mut self.0;
        if ring.produced == ring.consumed {
            ring.produced = ring.producer().load(Ordering::Acquire);
        }
        // More than the size would be the kernel's fault; then no entry is trustworthy.
        let there = ring.produced.wrapping_sub(ring.consumed);
        let there = if there > ring.size { 0 } else { there };
        Taken { ring, there, read: 0 }
    }
}

/// Entries of a [`Consumer`], read but not yet given up.
#[must_use = "nothing is given up without `commit`"]
pub(crate) struct Taken<'a, T: Entry> {
    ring: &'a mut Ring<T>,
    there: u32,
    read: u32,
}

impl<T: Entry> Taken<'_, T> {
    /// How many entries can still be read.
    pub(crate) const fn left(&self) -> u32 {
        self.there - self.read
    }

    /// The next entry.
    pub(crate) fn next(&mut self) -> Option<T> {
        if self.read == self.there {
            return None;
        }
        let place = self.ring.entry(self.ring.consumed.wrapping_add(self.read));
        self.read += 1;
        // SAFETY: a valid entry that the producer wrote before its index, loaded with acquire,
        // passed it; it overwrites it only after our index has passed it. Any bytes are a valid
        // entry.
        Some(unsafe { place.read() })
    }

    /// Gives what was read up to the other side.
    pub(crate) fn commit(self) {
        if self.read == 0 {
            return;
        }
        self.ring.consumed = self.ring.consumed.wrapping_add(self.read);
        self.ring.consumer().store(self.ring.consumed, Ordering::Release);
    }
}
