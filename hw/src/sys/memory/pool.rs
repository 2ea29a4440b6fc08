//! A worker's share of the buffers, and what can be done with frames by whoever has one.

// Buffers and frames are taken by value because that is how they change owner.
#![allow(clippy::needless_pass_by_value)]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Buffer, Memory};
use crate::frame::{Frame, Meta};

/// How many buffers move between a pool and the common queue at a time, and half of what a pool keeps
/// to itself before it gives some back.
const CACHE: usize = 512;

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
        assert!(offset + length <= self.memory.stride);
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
    /// 64 bytes of room are left in front, but in a region of netmap none: there the buffer itself
    /// goes into a slot.
    pub fn copy(&mut self, bytes: &[u8]) -> Option<Frame> {
        let headroom = self.memory.headroom;
        if headroom + bytes.len() > self.memory.stride {
            return None;
        }
        let buffer = self.allocate()?;
        let mut frame = self.frame(buffer, headroom, bytes.len(), Meta::default());
        self.head_mut(&mut frame).copy_from_slice(bytes);
        Some(frame)
    }

    /// A copy of a frame that lies in another memory, in as many buffers of this one as it takes, and
    /// with all that is known of it. `None` if there are not as many left.
    pub fn copy_of(&mut self, other: &Self, frame: &Frame) -> Option<Frame> {
        let capacity = self.memory.stride;
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
        assert!(offset + length <= self.memory.stride);
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
        // SAFETY: offset + length <= offset + length <= stride (asserted when the frame was made, kept by
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
        let room = self.memory.stride - frame.offset as usize;
        // SAFETY: offset <= stride, and the frame owns the whole buffer, borrowed
        // exclusively. The mapping is initialised memory.
        unsafe { std::slice::from_raw_parts_mut(start.add(frame.offset as usize).as_ptr(), room) }
    }

    /// Sets the length of the frame to `length` bytes, all in its first buffer; the rest of a chain
    /// is freed.
    ///
    /// # Panics
    /// If the buffer does not hold that much.
    pub fn resize(&mut self, frame: &mut Frame, length: usize) {
        assert!(frame.offset as usize + length <= self.memory.stride);
        let mut next = std::mem::replace(&mut frame.next, Frame::LAST);
        while next != Frame::LAST {
            let following = self.memory.links[next as usize].next.load(Ordering::Relaxed);
            self.free(Buffer(next));
            next = following;
        }
        frame.length = length as u32;
        frame.total = length as u32;
    }

    /// Copies a chain into the frame's first buffer and frees the others. `false`, and nothing is
    /// changed, if it does not hold that much.
    #[cold]
    pub(crate) fn gather(&mut self, frame: &mut Frame) -> bool {
        let length = frame.len();
        if frame.offset as usize + length > self.memory.stride {
            return false;
        }
        let start = self.memory.start(frame.buffer);
        let mut end = (frame.offset + frame.length) as usize;
        for segment in self.segments(frame).skip(1) {
            assert!(end + segment.len() <= self.memory.stride);
            // SAFETY: there is room for it in the first buffer (above), which the frame owns and which
            // is borrowed exclusively; a later segment lies in another buffer.
            unsafe {
                let to = start.add(end).as_ptr();
                std::ptr::copy_nonoverlapping(segment.as_ptr(), to, segment.len());
            }
            end += segment.len();
        }
        self.resize(frame, length);
        true
    }

    /// The segments of a frame, first to last.
    pub fn segments<'a>(&'a self, frame: &'a Frame) -> Segments<'a> {
        Segments { pool: self, head: Some(frame), next: frame.next }
    }

    /// The whole buffer of an owned [`Buffer`].
    pub(crate) fn buffer_mut<'a>(&'a mut self, buffer: &'a mut Buffer) -> &'a mut [u8] {
        let start = self.memory.start(buffer.0);
        // SAFETY: the buffer is owned by `buffer`, borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), self.memory.stride) }
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
        // SAFETY: offset + length <= stride (asserted in `append`), and the frame, borrowed for
        // 'a, owns the buffers of its chain.
        Some(unsafe { std::slice::from_raw_parts(start.add(offset).as_ptr(), length) })
    }
}
