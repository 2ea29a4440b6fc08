//! Frames that wait for the rest of their datagram: by the slot that the engine has chosen.
//!
//! A frame waits in the buffers that it came in, if the ports have enough of them. Those of `AF_PACKET`
//! hold 16 KiB, for trains of segments, and a fragment of 60 bytes would keep one for half a minute; and
//! netmap may have few to spare. From there frames are copied into a memory of their own, whose buffers
//! are as large as what the engine counts as one place ([`Engine::FRAGMENT_UNIT`]), and back when they go.

use std::io;

use weir_engine::Engine;
use weir_hw::open::HELD_BUFFERS;
use weir_hw::{Frame, Memory, Pool};

// Else held fragments could take the buffers that ports need to receive.
const _: () = assert!(HELD_BUFFERS >= Engine::FRAGMENTS);

/// Distance of two buffers: an odd number of cache lines, so that the headers of all frames do not
/// compete for the same few lines of the cache.
const STRIDE: usize = Engine::FRAGMENT_UNIT as usize + 64;

/// Held frames, as many as the engine may want.
#[derive(Debug)]
pub struct Hold {
    frames: Box<[Option<Frame>]>,
    /// What they are copied into, if they are.
    own: Option<Pool>,
}

impl Hold {
    /// Nothing is held. `in_place`: the ports have the buffers for it
    /// ([`holds`](weir_hw::WorkerPorts::holds)).
    ///
    /// # Errors
    /// When there is no memory for what is to be copied.
    pub fn new(in_place: bool) -> io::Result<Self> {
        let own = (!in_place).then(|| Memory::new(Engine::FRAGMENTS, STRIDE)).transpose()?;
        let frames = (0..Engine::FRAGMENTS).map(|_| None).collect();
        Ok(Self { frames, own: own.map(Pool::new) })
    }

    /// Keeps a frame of `pool` in a free slot.
    ///
    /// # Panics
    /// If the slot is not free: a frame would leak.
    pub fn put(&mut self, slot: u32, frame: Frame, pool: &mut Pool) {
        let kept = match &mut self.own {
            None => frame,
            Some(own) => {
                // There are as many buffers as places, and a frame needs no more of the one than the
                // engine has counted of the other.
                let copy = own.copy_of(pool, &frame).expect("the engine holds no more than it may");
                pool.release(frame);
                copy
            }
        };
        let before = self.frames[slot as usize].replace(kept);
        assert!(before.is_none(), "slot {slot} is not free");
    }

    /// Gives the frame in a slot away, in buffers of `pool`. `None` if that has not enough of them;
    /// the frame is gone then.
    ///
    /// # Panics
    /// If there is none.
    pub fn take(&mut self, slot: u32, pool: &mut Pool) -> Option<Frame> {
        let frame = self.empty(slot);
        let Some(own) = &mut self.own else { return Some(frame) };
        let copy = pool.copy_of(own, &frame);
        own.release(frame);
        copy
    }

    /// Gives the buffers of the frame in a slot back.
    ///
    /// # Panics
    /// If there is none.
    pub fn release(&mut self, slot: u32, pool: &mut Pool) {
        let frame = self.empty(slot);
        self.own.as_mut().unwrap_or(pool).release(frame);
    }

    /// The frame in a slot, and the pool that its buffers belong to: `pool`, if it was not copied.
    ///
    /// # Panics
    /// If there is none.
    pub fn get<'a>(&'a self, slot: usize, pool: &'a Pool) -> (&'a Pool, &'a Frame) {
        let frame = self.frames[slot].as_ref().unwrap_or_else(|| panic!("slot {slot} is free"));
        (self.own.as_ref().unwrap_or(pool), frame)
    }

    /// As [`Hold::get`], to be changed.
    ///
    /// # Panics
    /// If there is none.
    pub fn get_mut<'a>(
        &'a mut self,
        slot: usize,
        pool: &'a mut Pool,
    ) -> (&'a mut Pool, &'a mut Frame) {
        let frame = self.frames[slot].as_mut().unwrap_or_else(|| panic!("slot {slot} is free"));
        (self.own.as_mut().unwrap_or(pool), frame)
    }

    /// Releases everything.
    pub fn clear(&mut self, pool: &mut Pool) {
        let pool = self.own.as_mut().unwrap_or(pool);
        for frame in self.frames.iter_mut().filter_map(Option::take) {
            pool.release(frame);
        }
    }

    fn empty(&mut self, slot: u32) -> Frame {
        self.frames[slot as usize].take().unwrap_or_else(|| panic!("slot {slot} is free"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_engine::Engine;
    use weir_hw::packet;
    use weir_hw::{Memory, Pool};

    use super::Hold;

    #[test]
    fn small_frames_do_not_keep_the_large_buffers_that_they_came_in() {
        let memory = Memory::new(4, packet::STRIDE).unwrap();
        let mut pool = Pool::new(Arc::clone(&memory));
        let mut hold = Hold::new(false).unwrap();
        // A thousand times what the ports have buffers for.
        for slot in 0..Engine::FRAGMENTS {
            let mut frame = pool.copy(&slot.to_be_bytes()).unwrap();
            (frame.port, frame.mark) = (1, 7);
            hold.put(slot, frame, &mut pool);
        }
        for slot in 0..Engine::FRAGMENTS {
            let frame = hold.take(slot, &mut pool).unwrap();
            assert_eq!(pool.head(&frame), slot.to_be_bytes());
            assert_eq!((frame.port, frame.mark, frame.len()), (1, 7, 4));
            pool.release(frame);
        }
        pool.drain();
        assert_eq!(memory.free_count(), 4);
    }

    #[test]
    fn long_frames_are_whole_again_when_they_go() {
        let memory = Memory::new(2, packet::STRIDE).unwrap();
        let mut pool = Pool::new(Arc::clone(&memory));
        let mut hold = Hold::new(false).unwrap();
        let bytes: Vec<u8> = (0..9_000_u32).map(|i| (i * 7 + i / 251) as u8).collect();
        let frame = pool.copy(&bytes).unwrap();
        hold.put(0, frame, &mut pool);
        let (own, frame) = hold.get(0, &pool);
        assert_eq!(own.segments(frame).collect::<Vec<_>>().concat(), bytes);
        assert_eq!(own.segments(frame).count(), 5);
        let frame = hold.take(0, &mut pool).unwrap();
        assert!(frame.is_single());
        assert_eq!(pool.head(&frame), bytes);
        // Without a buffer left in the pool what goes is lost, and nothing leaks.
        hold.put(1, frame, &mut pool);
        let all = [pool.copy(b"x").unwrap(), pool.copy(b"y").unwrap()];
        assert!(hold.take(1, &mut pool).is_none());
        for frame in all {
            pool.release(frame);
        }
        pool.drain();
        assert_eq!(memory.free_count(), 2);
    }

    #[test]
    fn frames_in_small_buffers_stay_there() {
        let memory = Memory::new(2, 4096).unwrap();
        let mut pool = Pool::new(Arc::clone(&memory));
        let mut hold = Hold::new(true).unwrap();
        let frames = [0, 1].map(|i| pool.copy(&[i; 60]).unwrap());
        for (slot, frame) in (0..).zip(frames) {
            hold.put(slot, frame, &mut pool);
        }
        assert!(pool.copy(b"z").is_none());
        hold.release(0, &mut pool);
        hold.clear(&mut pool);
        pool.drain();
        assert_eq!(memory.free_count(), 2);
    }
}
