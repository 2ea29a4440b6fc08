//! Frame memory: one mapping cut into buffers of equal size, shared by all ports and workers.
//!
//! A buffer is owned by exactly one of: a [`Pool`], a [`Frame`], a [`Buffer`] in flight between
//! them, or a ring (and so the kernel). Ownership moves with these values, none of which can be
//! copied or made outside this crate; that is what makes the slices handed out here exclusive.

mod pool;

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam::queue::ArrayQueue;
#[cfg(not(miri))]
use rustix::mm::{Advice, madvise};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

pub use pool::{Pool, Segments};

use crate::frame::Frame;
use crate::sys::ledger::Ledger;

/// An owned buffer without contents.
#[derive(Debug)]
#[must_use = "a buffer that is dropped is lost: free it"]
pub struct Buffer(pub(crate) u32);

/// A mapping cut into buffers.
#[derive(Debug)]
pub struct Memory {
    base: NonNull<u8>,
    length: usize,
    /// Offset of buffer 0 in the mapping.
    first: usize,
    /// Distance of two buffers, all of which they hold.
    stride: usize,
    count: u32,
    /// For the second and later buffers of a chain: where their bytes are and what follows.
    links: Box<[Link]>,
    /// Buffers that no worker has in its own cache.
    free: ArrayQueue<u32>,
    /// Bytes left free in front of a frame that is made here.
    headroom: usize,
    /// Whether it lies on huge pages that were set aside.
    huge: bool,
    /// Where in the mapping a lender wants the first of the free buffers named when we go.
    lender: Option<usize>,
    /// Checks what the pools do; only under the strict netmap double.
    ledger: Option<Ledger>,
}

// SAFETY: the raw pointer is to a mapping that lives as long as the `Memory`; its bytes are reached
// only through exclusively owned buffers (module head), its other fields are `Sync` themselves.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// A chain's link, written by the buffer's owner before the frame moves on.
#[derive(Debug)]
struct Link {
    offset: AtomicU32,
    length: AtomicU32,
    next: AtomicU32,
}

/// Where the buffers of a mapping lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Offset of buffer 0 in bytes.
    pub(crate) first: usize,
    /// How many there are.
    pub(crate) count: u32,
    /// Distance of two buffers in bytes, all of which they hold.
    pub(crate) stride: usize,
}

/// Bytes in front of frames that are made here.
const HEADROOM: usize = 64;

impl Memory {
    /// Maps memory for `count` buffers that lie `stride` bytes apart, on huge pages that were set
    /// aside (`vm.nr_hugepages`), else on those that the kernel gives. All of them are free. `stride`
    /// must be a multiple of 64.
    pub fn new(count: u32, stride: usize) -> io::Result<Arc<Self>> {
        let mut memory = match Self::map_huge(count, stride) {
            Some(memory) => memory,
            None => Self::map(0, count, stride)?,
        };
        memory.headroom = HEADROOM;
        for index in 0..count {
            let _ = memory.free.push(index);
        }
        Ok(Arc::new(memory))
    }

    /// As [`Memory::new`], with `preamble` zeroed bytes in front of the buffers for whoever lays out
    /// a region like netmap's, with no buffer free, and with no headroom, for which netmap's slots
    /// have no word. `strict`: pools are checked and free buffers poisoned.
    pub(crate) fn region(
        preamble: usize,
        count: u32,
        stride: usize,
        strict: bool,
    ) -> io::Result<Arc<Self>> {
        let mut memory = Self::map(preamble, count, stride)?;
        memory.ledger = strict.then(|| Ledger::new(count));
        Ok(Arc::new(memory))
    }

    /// A mapping on huge pages that were set aside; `None` if there are not enough.
    fn map_huge(count: u32, stride: usize) -> Option<Self> {
        const PAGE: usize = 2 << 20;
        let length = (count as usize).checked_mul(stride)?.checked_next_multiple_of(PAGE)?;
        if length == 0 || !stride.is_multiple_of(64) {
            return None;
        }
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory of
        // ours. The kernel reserves the pages now, so that they are there when they are touched.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::HUGETLB | MapFlags::HUGE_2MB,
            )
        };
        let base = NonNull::new(base.ok()?.cast::<u8>())?;
        let mut memory = Self::over(base, length, Layout { first: 0, count, stride });
        memory.huge = true;
        Some(memory)
    }

    fn map(first: usize, count: u32, stride: usize) -> io::Result<Self> {
        let length = (count as usize)
            .checked_mul(stride)
            .filter(|&length| length > 0 && stride.is_multiple_of(64) && first.is_multiple_of(64))
            .and_then(|length| length.checked_add(first))
            .ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory of
        // ours.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )?
        };
        // SAFETY: exactly the range mapped above. Failure only costs speed.
        // Miri does not know the call.
        #[cfg(not(miri))]
        let _ = unsafe { madvise(base, length, Advice::LinuxHugepage) };
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self::over(base, length, Layout { first, count, stride }))
    }

    /// The first `length` bytes of `file`, laid out by somebody else (netmap), of whose buffers none
    /// is free: whoever calls knows which are lent to us, and frees them. When the last user goes,
    /// the free ones are chained together, each with the index of the next in its first four bytes
    /// and the last with 0, and the first one's index is left at `lender`, if given.
    ///
    /// # Errors
    /// `InvalidData` if the layout does not fit into `length`, or what mmap(2) says.
    ///
    /// # Safety
    /// `file` must be at least `length` bytes long for as long as it is mapped, and nobody else may
    /// touch the bytes of a buffer that is owned on this side.
    pub(crate) unsafe fn shared(
        file: BorrowedFd<'_>,
        length: usize,
        layout: Layout,
        lender: Option<usize>,
    ) -> io::Result<Arc<Self>> {
        let Layout { first, count, stride } = layout;
        let end = (count as usize).checked_mul(stride).and_then(|bytes| bytes.checked_add(first));
        let aligned = stride >= 64 && stride.is_multiple_of(8) && first.is_multiple_of(8);
        let named = lender.is_none_or(|at| at.is_multiple_of(4) && at < first && first - at >= 4);
        if !(aligned && named && end.is_some_and(|end| end <= length)) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )?
        };
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut memory = Self::over(base, length, layout);
        memory.lender = lender;
        Ok(Arc::new(memory))
    }

    /// Takes a mapping over; the layout must fit into it.
    fn over(base: NonNull<u8>, length: usize, layout: Layout) -> Self {
        let Layout { first, count, stride } = layout;
        assert!(first + count as usize * stride <= length);
        Self {
            base,
            length,
            first,
            stride,
            count,
            links: (0..count)
                .map(|_| Link {
                    offset: AtomicU32::new(0),
                    length: AtomicU32::new(0),
                    next: AtomicU32::new(Frame::LAST),
                })
                .collect(),
            // A queue has room for one at least.
            free: ArrayQueue::new(count.max(1) as usize),
            headroom: 0,
            huge: false,
            lender: None,
            ledger: None,
        }
    }

    /// Whether it lies on huge pages that were set aside for such use.
    pub const fn is_huge(&self) -> bool {
        self.huge
    }

    /// Bytes that one buffer holds.
    pub const fn buffer_size(&self) -> usize {
        self.stride
    }

    /// Distance of two buffers in bytes.
    pub const fn stride(&self) -> usize {
        self.stride
    }

    /// How many buffers there are.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// How many buffers are in the common queue: free, and in no worker's own cache.
    pub fn free_count(&self) -> usize {
        self.free.len()
    }

    /// Takes every buffer out of the common queue.
    pub(crate) fn reclaim(&self) -> Vec<u32> {
        let free: Vec<u32> = std::iter::from_fn(|| self.free.pop()).collect();
        if let Some(ledger) = &self.ledger {
            for &index in &free {
                self.audit_taken(ledger, index);
            }
        }
        free
    }

    /// Begin of the mapping, for the kernel.
    pub(crate) const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Length of the mapping in bytes.
    pub(crate) const fn mapped(&self) -> usize {
        self.length
    }

    /// Offset of buffer 0 in the mapping.
    pub(crate) const fn first(&self) -> usize {
        self.first
    }

    /// The checks of the strict double, if it is behind this memory.
    pub(crate) const fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref()
    }

    /// Tells the ledger that a pool hands a buffer out, and that nobody wrote to it meanwhile.
    #[cold]
    fn audit_taken(&self, ledger: &Ledger, index: u32) {
        ledger.taken(index);
        // SAFETY: in bounds (`start`, stride bytes each); the buffer was the pool's a moment ago
        // and its new owner has not seen it.
        let bytes = unsafe { std::slice::from_raw_parts(self.start(index).as_ptr(), self.stride) };
        assert!(
            bytes.iter().all(|&byte| byte == Ledger::POISON),
            "buffer {index} was written to while it lay in the pool"
        );
    }

    /// Tells the ledger that a buffer comes back, and poisons it.
    #[cold]
    fn audit_freed(&self, ledger: &Ledger, index: u32) {
        let start = self.start(index);
        ledger.freed(index);
        // SAFETY: in bounds as above; whoever frees a buffer owned it until now.
        unsafe { start.write_bytes(Ledger::POISON, self.stride) };
    }

    /// Chains the free buffers together and names the first of them at `lender`.
    fn give_back(&self, lender: usize) {
        let mut first = 0u32;
        for index in self.reclaim() {
            let link = self.start(index).cast::<AtomicU32>();
            // SAFETY: in bounds, and aligned to 8 (checked in `shared`); a free buffer is ours.
            unsafe { link.as_ref() }.store(first, Ordering::Relaxed);
            first = index;
        }
        // SAFETY: in front of the buffers and aligned (checked in `shared`).
        let named = unsafe { self.base.add(lender).cast::<AtomicU32>().as_ref() };
        named.store(first, Ordering::Relaxed);
    }

    /// First byte of a buffer. Panics if there is no such buffer.
    pub(super) fn start(&self, buffer: u32) -> NonNull<u8> {
        assert!(buffer < self.count, "buffer {buffer} of {}", self.count);
        // SAFETY: `first + count * stride <= length` (checked in `over`), buffer < count.
        unsafe { self.base.add(self.first + buffer as usize * self.stride) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(at) = self.lender {
            self.give_back(at);
        }
        // SAFETY: our own mapping, and the last reference to it.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.length) };
    }
}
