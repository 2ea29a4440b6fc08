//! Frames that the engine itself sends and that cannot be written in the place of one at hand: there
//! are two of them, or none came. They wait here until the worker takes them, after each batch and
//! after each [`Engine::advance`].
//!
//! The queue is short and of fixed size, its frames are headers without data: when it is full, what
//! would come on top is lost and counted as [`Reason::OutputFull`], as a frame that finds the output
//! queue of a port full. TCP repeats whatever it misses, but nobody repeats a RST for weir: states that
//! end with one end when there is room for it, and what can go out later leaves half of the room.

#![forbid(unsafe_code)]

use crate::engine::Engine;
use crate::frame::PortIndex;
use crate::reason::Reason;

/// Frames that wait at most: four for each of a batch.
const FRAMES: usize = 4 * Engine::BATCH;

/// Frames that tell both hosts of a connection that it is over.
pub(crate) const RESETS: usize = 2;

/// Bytes of the longest frame: Ethernet with two tags and PPPoE, IPv6, TCP with all options.
pub(crate) const LONGEST: usize = 14 + 8 + 8 + 40 + 60;

/// A frame on its way.
#[derive(Clone, Copy, Debug)]
struct Crafted {
    port: PortIndex,
    length: u8,
    bytes: [u8; LONGEST],
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Outbox {
    frames: Box<[Crafted]>,
    first: usize,
    waiting: usize,
}

impl Default for Outbox {
    fn default() -> Self {
        let none = Crafted { port: PortIndex::LAN, length: 0, bytes: [0; LONGEST] };
        Self { frames: vec![none; FRAMES].into(), first: 0, waiting: 0 }
    }
}

impl Outbox {
    /// Whether so many frames more would find room.
    pub(crate) const fn has_room(&self, frames: usize) -> bool {
        self.waiting + frames <= FRAMES
    }

    /// Whether a frame that may as well go out later would find room.
    pub(crate) const fn has_room_to_spare(&self) -> bool {
        self.waiting < FRAMES / 2
    }

    /// Queues the frame that `write` makes in the room it is given and tells the length of, with its
    /// checksums right. Nothing is queued, and `false` returned, if it makes none or the queue is
    /// full.
    pub(crate) fn push(
        &mut self,
        port: PortIndex,
        write: impl FnOnce(&mut [u8; LONGEST]) -> Option<usize>,
    ) -> bool {
        if !self.has_room(1) {
            return false;
        }
        let place = &mut self.frames[(self.first + self.waiting) % FRAMES];
        let Some(length) = write(&mut place.bytes).filter(|&length| length <= LONGEST) else {
            return false;
        };
        (place.port, place.length) = (port, length as u8);
        self.waiting += 1;
        true
    }

    fn pop(&mut self) -> Option<(PortIndex, &[u8])> {
        self.waiting = self.waiting.checked_sub(1)?;
        let place = &self.frames[self.first];
        self.first = (self.first + 1) % FRAMES;
        Some((place.port, &place.bytes[..usize::from(place.length)]))
    }
}

impl Engine {
    /// Queues a frame of the engine's own for a port; see [`Outbox::push`].
    pub(crate) fn craft(
        &mut self,
        port: PortIndex,
        write: impl FnOnce(&mut [u8; LONGEST]) -> Option<usize>,
    ) {
        if !self.outbox.has_room(1) {
            self.note(Reason::OutputFull);
        } else if self.outbox.push(port, write) {
            self.counters.crafted += 1;
        }
    }

    /// The next frame that the engine has made itself, and the port it leaves by. All of them are to
    /// be taken after each batch and after each [`Engine::advance`].
    pub fn crafted(&mut self) -> Option<(PortIndex, &[u8])> {
        self.outbox.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_leave_in_order_and_never_more_than_fit() {
        let mut outbox = Outbox::default();
        for round in 0..3 {
            for i in 0..FRAMES {
                assert!(outbox.push(PortIndex(1), |room| {
                    room[0] = i as u8;
                    Some(1 + round)
                }));
            }
            assert!(!outbox.push(PortIndex(0), |_| panic!("there is no room")));
            for i in 0..FRAMES {
                let (port, bytes) = outbox.pop().unwrap();
                assert_eq!((port, bytes.len(), bytes[0]), (PortIndex(1), 1 + round, i as u8));
            }
            assert!(outbox.pop().is_none());
            assert!(!outbox.push(PortIndex(0), |_| None));
        }
    }
}
