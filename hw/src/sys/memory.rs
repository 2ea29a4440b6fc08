//! Frame memory: one mapping cut into buffers of equal size, shared by all ports and workers.
//!
//! A buffer is owned by exactly one of: a [`Pool`], a [`Frame`], a [`Buffer`] in flight between
//! them, or a ring (and so the kernel). Ownership moves with these values, none of which can be
//! copied or made outside this crate; that is what makes the slices handed out here exclusive.

// Buffers and frames are taken by value because that is how they change owner.
#![allow(clippy::needless_pass_by_value)]

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam::queue::ArrayQueue;
#[cfg(not(miri))]
use rustix::mm::{Advice, madvise};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::frame::{Frame, Meta};
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
    stride: usize,
    capacity: usize,
    count: u32,
    /// For the second and later buffers of a chain: where their bytes are and what follows.
    links: Box<[Link]>,
    /// Buffers that no worker has in its own cache.
    free: ArrayQueue<u32>,
    /// Whether to unmap when the last user is gone.
    owned: bool,
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

/// Buffers a worker keeps to itself before it gives some back, and how many move at a time.
const CACHE: usize = 512;

impl Memory {
    /// Maps memory for `count` buffers that lie `stride` bytes apart, on huge pages where the kernel
    /// gives some. All of them are free. `stride` must be a multiple of 64.
    pub fn new(count: u32, stride: usize) -> io::Result<Arc<Self>> {
        let memory = Self::map(0, count, stride, false)?;
        for index in 0..count {
            let _ = memory.free.push(index);
        }
        Ok(Arc::new(memory))
    }

    /// As [`Memory::new`], with `preamble` zeroed bytes in front of the buffers for whoever lays out
    /// a region like netmap's, and with no buffer free. `strict`: pools are checked and free
    /// buffers poisoned.
    pub(crate) fn region(
        preamble: usize,
        count: u32,
        stride: usize,
        strict: bool,
    ) -> io::Result<Arc<Self>> {
        Self::map(preamble, count, stride, strict).map(Arc::new)
    }

    fn map(first: usize, count: u32, stride: usize, strict: bool) -> io::Result<Self> {
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
        let mut memory = Self::over(base, length, first, count, stride, stride, true);
        memory.ledger = strict.then(|| Ledger::new(count));
        Ok(memory)
    }

    /// Buffers in a mapping that somebody else made (netmap): buffer `i` begins `first + i * stride`
    /// bytes into it. None is free: whoever calls knows which are spare and frees them.
    ///
    /// # Safety
    /// `base` must be valid for reads and writes of `length` bytes for as long as the `Memory`
    /// lives, `first + count * stride <= length`, and nobody else may touch the bytes of a buffer
    /// that is owned on this side.
    #[expect(dead_code, reason = "the netmap port builds on it")]
    pub(crate) unsafe fn foreign(
        base: NonNull<u8>,
        length: usize,
        first: usize,
        count: u32,
        stride: usize,
    ) -> Arc<Self> {
        Arc::new(Self::over(base, length, first, count, stride, stride, false))
    }

    fn over(
        base: NonNull<u8>,
        length: usize,
        first: usize,
        count: u32,
        stride: usize,
        capacity: usize,
        owned: bool,
    ) -> Self {
        assert!(first + count as usize * stride <= length);
        Self {
            base,
            length,
            first,
            stride,
            capacity,
            count,
            links: (0..count)
                .map(|_| Link {
                    offset: AtomicU32::new(0),
                    length: AtomicU32::new(0),
                    next: AtomicU32::new(Frame::LAST),
                })
                .collect(),
            free: ArrayQueue::new(count as usize),
            owned,
            ledger: None,
        }
    }

    /// Bytes that one buffer holds.
    pub const fn buffer_size(&self) -> usize {
        self.capacity
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
        // SAFETY: in bounds (`start`, capacity <= stride); the buffer was the pool's a moment ago
        // and its new owner has not seen it.
        let bytes =
            unsafe { std::slice::from_raw_parts(self.start(index).as_ptr(), self.capacity) };
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
        unsafe { start.write_bytes(Ledger::POISON, self.capacity) };
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
        if self.owned {
            // SAFETY: our own mapping, and the last reference to it.
            let _ = unsafe { munmap(self.base.as_ptr().cast(), self.length) };
        }
    }
}

/// A worker's share of the buffers: a small stack of its own, so that the most recently used, and
/// therefore cached, buffer is taken first; balanced against the common queue in bulk.
#[derive(Debug)]
pub struct Pool {
    memory: Arc<Memory>,
    cache: Vec<u32>,
}

impl Pool {
    /// A pool over the memory's common queue.
    pub fn new(memory: Arc<Memory>) -> Self {
        Self { memory, cache: Vec::with_capacity(2 * CACHE) }
    }

    /// The memory behind it.
    pub const fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Takes a buffer; `None` when every one is in use.
    #[inline]
    pub fn allocate(&mut self) -> Option<Buffer> {
        if self.cache.is_empty() {
            self.refill();
        }
        let index = self.cache.pop()?;
        if let Some(ledger) = &self.memory.ledger {
            self.memory.audit_taken(ledger, index);
        }
        Some(Buffer(index))
    }

    /// Moves buffers from the common queue to the empty cache.
    #[cold]
    fn refill(&mut self) {
        while self.cache.len() < CACHE
            && let Some(index) = self.memory.free.pop()
        {
            self.cache.push(index);
        }
    }

    /// Gives a buffer back.
    #[inline]
    pub fn free(&mut self, buffer: Buffer) {
        if let Some(ledger) = &self.memory.ledger {
            self.memory.audit_freed(ledger, buffer.0);
        }
        if self.cache.len() == 2 * CACHE {
            self.spill();
        }
        self.cache.push(buffer.0);
    }

    /// Moves the older half of the full cache to the common queue.
    #[cold]
    fn spill(&mut self) {
        for index in self.cache.drain(..CACHE) {
            let _ = self.memory.free.push(index);
        }
    }

    /// Gives all buffers of a frame back.
    #[inline]
    pub fn release(&mut self, frame: Frame) {
        let mut next = frame.next;
        self.free(Buffer(frame.buffer));
        while next != Frame::LAST {
            let following = self.memory.links[next as usize].next.load(Ordering::Relaxed);
            self.free(Buffer(next));
            next = following;
        }
    }

    /// The buffers of a frame, first to last, each with the offset and the length of its bytes:
    /// for a port that gives them to the kernel one by one. The caller owns them now.
    #[inline]
    pub(crate) fn parts(&self, frame: Frame) -> Parts<'_> {
        let first = (Buffer(frame.buffer), frame.offset as usize, frame.length as usize);
        Parts { memory: &self.memory, first: Some(first), next: frame.next }
    }

    /// Gives back what this worker has cached, so that others can use it.
    pub fn drain(&mut self) {
        for index in self.cache.drain(..) {
            let _ = self.memory.free.push(index);
        }
    }

    /// Makes a frame of a filled buffer.
    #[inline]
    pub(crate) fn frame(&self, buffer: Buffer, offset: usize, length: usize, meta: Meta) -> Frame {
        assert!(offset + length <= self.memory.capacity);
        Frame {
            buffer: buffer.0,
            offset: offset as u32,
            length: length as u32,
            total: length as u32,
            next: Frame::LAST,
            port: 0,
            mark: 0,
            meta,
        }
    }

    /// A new frame with a copy of `bytes`; `None` if the pool is empty or `bytes` exceed a buffer.
    /// 64 bytes of room are left in front.
    pub fn copy(&mut self, bytes: &[u8]) -> Option<Frame> {
        const HEADROOM: usize = 64;
        if HEADROOM + bytes.len() > self.memory.capacity {
            return None;
        }
        let buffer = self.allocate()?;
        let mut frame = self.frame(buffer, HEADROOM, bytes.len(), Meta::default());
        self.head_mut(&mut frame).copy_from_slice(bytes);
        Some(frame)
    }

    /// A copy of a frame that lies in another memory, in as many buffers of this one as it takes, and
    /// with all that is known of it. `None` if there are not as many left.
    pub fn copy_of(&mut self, other: &Self, frame: &Frame) -> Option<Frame> {
        let capacity = self.memory.capacity;
        let mut segments = other.segments(frame);
        let mut rest: &[u8] = &[];
        let mut left = frame.len();
        // What is copied so far, and the last buffer of it.
        let mut copied: Option<(Frame, u32)> = None;
        while left > 0 || copied.is_none() {
            let Some(mut buffer) = self.allocate() else {
                if let Some((copy, _)) = copied {
                    self.release(copy);
                }
                return None;
            };
            let length = left.min(capacity);
            left -= length;
            let mut room = &mut self.buffer_mut(&mut buffer)[..length];
            while !room.is_empty() {
                if rest.is_empty() {
                    // Its segments are as long as the frame together.
                    rest = segments.next().unwrap_or_default();
                    debug_assert!(!rest.is_empty());
                    if rest.is_empty() {
                        break;
                    }
                }
                let (here, behind) = room.split_at_mut(rest.len().min(room.len()));
                here.copy_from_slice(&rest[..here.len()]);
                rest = &rest[here.len()..];
                room = behind;
            }
            if let Some((copy, last)) = &mut copied {
                self.append(copy, last, buffer, 0, length);
            } else {
                let mut copy = self.frame(buffer, 0, length, frame.meta);
                (copy.port, copy.mark) = (frame.port, frame.mark);
                let last = copy.buffer;
                copied = Some((copy, last));
            }
        }
        copied.map(|(copy, _)| copy)
    }

    /// Appends a filled buffer to a frame's chain. `last` is the index of its last buffer so far and
    /// is moved on; for a single-buffer frame it is the first.
    pub(crate) fn append(
        &self,
        frame: &mut Frame,
        last: &mut u32,
        buffer: Buffer,
        offset: usize,
        length: usize,
    ) {
        assert!(offset + length <= self.memory.capacity);
        let link = &self.memory.links[buffer.0 as usize];
        link.offset.store(offset as u32, Ordering::Relaxed);
        link.length.store(length as u32, Ordering::Relaxed);
        link.next.store(Frame::LAST, Ordering::Relaxed);
        if frame.is_single() {
            frame.next = buffer.0;
        } else {
            self.memory.links[*last as usize].next.store(buffer.0, Ordering::Relaxed);
        }
        *last = buffer.0;
        frame.total += length as u32;
    }

    /// The bytes of the frame in its first buffer; all headers are there.
    #[inline]
    pub fn head<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        let start = self.memory.start(frame.buffer);
        // SAFETY: offset + length <= capacity <= stride (asserted when the frame was made, kept by
        // `resize`), and the frame owns the buffer, borrowed here for as long as the slice lives.
        unsafe {
            std::slice::from_raw_parts(
                start.add(frame.offset as usize).as_ptr(),
                frame.length as usize,
            )
        }
    }

    /// As [`Pool::head`], to be changed.
    #[inline]
    pub fn head_mut<'a>(&'a mut self, frame: &'a mut Frame) -> &'a mut [u8] {
        let start = self.memory.start(frame.buffer);
        // SAFETY: as in `head`, and the frame is borrowed exclusively.
        unsafe {
            std::slice::from_raw_parts_mut(
                start.add(frame.offset as usize).as_ptr(),
                frame.length as usize,
            )
        }
    }

    /// The first buffer from the frame's first byte to the buffer's end: room to write a longer
    /// frame in its place. What lies behind the frame's own bytes is left over from earlier use.
    #[inline]
    pub fn room_mut<'a>(&'a mut self, frame: &'a mut Frame) -> &'a mut [u8] {
        let start = self.memory.start(frame.buffer);
        let room = self.memory.capacity - frame.offset as usize;
        // SAFETY: offset <= capacity <= stride, and the frame owns the whole buffer, borrowed
        // exclusively. The mapping is initialised memory.
        unsafe { std::slice::from_raw_parts_mut(start.add(frame.offset as usize).as_ptr(), room) }
    }

    /// Sets the length of the frame to `length` bytes, all in its first buffer; the rest of a chain
    /// is freed.
    ///
    /// # Panics
    /// If the buffer does not hold that much.
    pub fn resize(&mut self, frame: &mut Frame, length: usize) {
        assert!(frame.offset as usize + length <= self.memory.capacity);
        let mut next = std::mem::replace(&mut frame.next, Frame::LAST);
        while next != Frame::LAST {
            let following = self.memory.links[next as usize].next.load(Ordering::Relaxed);
            self.free(Buffer(next));
            next = following;
        }
        frame.length = length as u32;
        frame.total = length as u32;
    }

    /// The segments of a frame, first to last.
    pub fn segments<'a>(&'a self, frame: &'a Frame) -> Segments<'a> {
        Segments { pool: self, head: Some(frame), next: frame.next }
    }

    /// The whole buffer of an owned [`Buffer`].
    pub(crate) fn buffer_mut<'a>(&'a mut self, buffer: &'a mut Buffer) -> &'a mut [u8] {
        let start = self.memory.start(buffer.0);
        // SAFETY: the buffer is owned by `buffer`, borrowed exclusively; capacity <= stride.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), self.memory.capacity) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.drain();
    }
}

/// Iterator over the buffers of a frame, made by [`Pool::parts`]. To be run to its end.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    memory: &'a Memory,
    first: Option<(Buffer, usize, usize)>,
    next: u32,
}

impl Iterator for Parts<'_> {
    type Item = (Buffer, usize, usize);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.first.is_some() {
            return self.first.take();
        }
        if self.next == Frame::LAST {
            return None;
        }
        let index = self.next;
        let link = &self.memory.links[index as usize];
        self.next = link.next.load(Ordering::Relaxed);
        let offset = link.offset.load(Ordering::Relaxed) as usize;
        Some((Buffer(index), offset, link.length.load(Ordering::Relaxed) as usize))
    }
}

/// Iterator over the segments of a frame, made by [`Pool::segments`].
#[derive(Debug)]
pub struct Segments<'a> {
    pool: &'a Pool,
    head: Option<&'a Frame>,
    next: u32,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(frame) = self.head.take() {
            return Some(self.pool.head(frame));
        }
        if self.next == Frame::LAST {
            return None;
        }
        let link = &self.pool.memory.links[self.next as usize];
        let start = self.pool.memory.start(self.next);
        let offset = link.offset.load(Ordering::Relaxed) as usize;
        let length = link.length.load(Ordering::Relaxed) as usize;
        self.next = link.next.load(Ordering::Relaxed);
        // SAFETY: offset + length <= capacity (asserted in `append`), and the frame, borrowed for
        // 'a, owns the buffers of its chain.
        Some(unsafe { std::slice::from_raw_parts(start.add(offset).as_ptr(), length) })
    }
}
