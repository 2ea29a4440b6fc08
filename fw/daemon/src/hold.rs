//! Frames that wait for the rest of their datagram: by the slot that the engine has chosen.

use weir_engine::Engine;
use weir_hw::open::HELD_BUFFERS;
use weir_hw::{Frame, Pool};

// Else held fragments could take the buffers that ports need to receive.
const _: () = assert!(HELD_BUFFERS >= Engine::FRAGMENTS);

/// Held frames, as many as the engine may want.
#[derive(Debug)]
pub struct Hold {
    frames: Box<[Option<Frame>]>,
}

impl Hold {
    /// Nothing is held.
    pub fn new() -> Self {
        Self { frames: (0..Engine::FRAGMENTS).map(|_| None).collect() }
    }

    /// Keeps a frame in a free slot.
    ///
    /// # Panics
    /// If the slot is not free: a frame would leak.
    pub fn put(&mut self, slot: u32, frame: Frame) {
        let before = self.frames[slot as usize].replace(frame);
        assert!(before.is_none(), "slot {slot} is not free");
    }

    /// Gives the frame in a slot away.
    ///
    /// # Panics
    /// If there is none.
    pub fn take(&mut self, slot: u32) -> Frame {
        self.frames[slot as usize].take().unwrap_or_else(|| panic!("slot {slot} is free"))
    }

    /// The frame in a slot.
    ///
    /// # Panics
    /// If there is none.
    pub fn get(&self, slot: usize) -> &Frame {
        self.frames[slot].as_ref().unwrap_or_else(|| panic!("slot {slot} is free"))
    }

    /// As [`Hold::get`], to be changed.
    ///
    /// # Panics
    /// If there is none.
    pub fn get_mut(&mut self, slot: usize) -> &mut Frame {
        self.frames[slot].as_mut().unwrap_or_else(|| panic!("slot {slot} is free"))
    }

    /// Releases everything.
    pub fn clear(&mut self, pool: &mut Pool) {
        for frame in self.frames.iter_mut().filter_map(Option::take) {
            pool.release(frame);
        }
    }
}

impl Default for Hold {
    fn default() -> Self {
        Self::new()
    }
}
