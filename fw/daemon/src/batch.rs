//! Frames of the ports, as the engine sees them.

use weir_engine::frame::{Checksum, Frames, Meta, PortIndex};
use weir_hw::{Checksum as Carried, Frame, Meta as Metadata, Pool};

/// Frames lent to the engine: the worker's pool and the frames whose buffers it owns.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Where the frames' buffers belong.
    pub pool: &'a mut Pool,
    /// The frames, in the order in which they are judged.
    pub frames: &'a mut [Frame],
    /// Whether every port of the bridge sends frames on whose checksum is left to be made. Then an
    /// unfinished one is as good as a right one; else the engine has to finish it.
    pub carries_offloads: bool,
}

impl Frames for Batch<'_> {
    fn len(&self) -> usize {
        self.frames.len()
    }

    #[inline]
    fn meta(&self, i: usize) -> Meta {
        let frame = &self.frames[i];
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

    #[inline]
    fn head(&self, i: usize) -> &[u8] {
        self.pool.head(&self.frames[i])
    }

    #[inline]
    fn head_mut(&mut self, i: usize) -> &mut [u8] {
        self.pool.head_mut(&mut self.frames[i])
    }

    fn segment(&self, i: usize, k: usize) -> Option<&[u8]> {
        self.pool.segments(&self.frames[i]).nth(k)
    }

    fn room_mut(&mut self, i: usize) -> &mut [u8] {
        self.pool.room_mut(&mut self.frames[i])
    }

    fn set_length(&mut self, i: usize, length: usize) {
        let frame = &mut self.frames[i];
        self.pool.resize(frame, length);
        frame.meta = Metadata { checksum: Carried::Complete, gso: None };
    }
}
