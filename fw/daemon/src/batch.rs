//! Frames of the ports, as the engine sees them.

use weir_engine::frame::{Checksum, Frames, HELD, Meta, PortIndex};
use weir_hw::{Checksum as Carried, Frame, Meta as Metadata, Pool};

use crate::hold::Hold;

/// [`Frame::mark`] of a fragment that a worker has gathered and handed over with its datagram.
pub const GATHERED: u8 = 1;

/// Frames lent to the engine: the worker's pool and the frames whose buffers it owns.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Where the frames' buffers belong.
    pub pool: &'a mut Pool,
    /// The frames, in the order in which they are judged.
    pub frames: &'a mut [Frame],
    /// Those that are held.
    pub hold: &'a mut Hold,
    /// Whether every port of the bridge sends frames on whose checksum is left to be made. Then an
    /// unfinished one is as good as a right one; else the engine has to finish it.
    pub carries_offloads: bool,
}

impl Batch<'_> {
    /// Frame `i` of the batch, or a held one, with the pool that its buffers belong to.
    #[inline]
    fn frame(&self, i: usize) -> (&Pool, &Frame) {
        match self.frames.get(i) {
            Some(frame) => (self.pool, frame),
            None => self.hold.get(i.wrapping_sub(HELD), self.pool),
        }
    }

    /// As [`Batch::frame`], to be changed.
    #[inline]
    fn frame_mut(&mut self, i: usize) -> (&mut Pool, &mut Frame) {
        match self.frames.get_mut(i) {
            Some(frame) => (self.pool, frame),
            None => self.hold.get_mut(i.wrapping_sub(HELD), self.pool),
        }
    }
}

impl Frames for Batch<'_> {
    fn len(&self) -> usize {
        self.frames.len()
    }

    #[inline]
    fn meta(&self, i: usize) -> Meta {
        let (_, frame) = self.frame(i);
        Meta {
            port: PortIndex(frame.port),
            checksum: match frame.meta.checksum {
                Carried::Unknown => Checksum::Unknown,
                Carried::Complete => Checksum::Valid,
                Carried::Partial { .. } if self.carries_offloads => Checksum::Valid,
                Carried::Partial { .. } | Carried::MaybePartial => Checksum::MaybePartial,
            },
            gso_size: frame.meta.gso.map_or(0, |gso| gso.size),
            length: frame.len() as u32,
        }
    }

    fn is_gathered(&self, i: usize) -> bool {
        self.frame(i).1.mark == GATHERED
    }

    #[inline]
    fn head(&self, i: usize) -> &[u8] {
        let (pool, frame) = self.frame(i);
        pool.head(frame)
    }

    #[inline]
    fn head_mut(&mut self, i: usize) -> &mut [u8] {
        let (pool, frame) = self.frame_mut(i);
        pool.head_mut(frame)
    }

    fn segment(&self, i: usize, k: usize) -> Option<&[u8]> {
        let (pool, frame) = self.frame(i);
        pool.segments(frame).nth(k)
    }

    fn room_mut(&mut self, i: usize) -> &mut [u8] {
        let (pool, frame) = self.frame_mut(i);
        pool.room_mut(frame)
    }

    fn set_length(&mut self, i: usize, length: usize) {
        let (pool, frame) = self.frame_mut(i);
        pool.resize(frame, length);
        frame.meta = Metadata { checksum: Carried::Complete, gso: None };
    }
}
