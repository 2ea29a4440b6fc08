//! A whole datagram, lent like one frame: the first fragment with all its headers, then the data of
//! the others, in the frames where they are.

use super::cache::Part;
use crate::frame::{Checksum, Frames, HELD, Meta};
use crate::state::entry::NONE;

/// Fragments by offset, seen as one frame.
pub(super) struct Whole<'a, F> {
    pub(super) frames: &'a mut F,
    pub(super) parts: &'a [Part],
}

impl Part {
    /// The index of its frame.
    pub(super) const fn frame(&self) -> usize {
        if self.at == NONE { HELD + self.slot as usize } else { self.at as usize }
    }

    /// Behind its data in the frame.
    pub(super) const fn end(&self) -> usize {
        self.data as usize + self.length as usize
    }
}

/// The pieces of a fragment's data in the segments of its frame.
pub(super) fn data<'a, F: Frames>(frames: &'a F, part: &'a Part) -> impl Iterator<Item = &'a [u8]> {
    let range = usize::from(part.data)..part.end();
    let mut begin = 0;
    (0..).map_while(move |k| {
        frames.segment(part.frame(), k).filter(|_| begin < range.end).map(|segment| {
            let from = range.start.saturating_sub(begin).min(segment.len());
            let to = (range.end - begin).min(segment.len());
            begin += segment.len();
            &segment[from..to]
        })
    })
}

impl<F: Frames> Whole<'_, F> {
    fn first(&self) -> usize {
        self.parts[0].frame()
    }
}

impl<F: Frames> Frames for Whole<'_, F> {
    fn len(&self) -> usize {
        1
    }

    fn meta(&self, _: usize) -> Meta {
        let first = self.frames.meta(self.first());
        let bytes: u32 = self.parts.iter().map(|part| u32::from(part.length)).sum();
        Meta {
            // What is said of a fragment's checksum cannot be meant of the datagram's.
            checksum: match first.checksum {
                Checksum::MaybePartial => Checksum::MaybePartial,
                Checksum::Unknown | Checksum::Valid => Checksum::Unknown,
            },
            gso_size: 0,
            length: u32::from(self.parts[0].data) + bytes,
            ..first
        }
    }

    fn head(&self, _: usize) -> &[u8] {
        let head = self.frames.head(self.first());
        head.get(..self.parts[0].end()).unwrap_or(head)
    }

    fn head_mut(&mut self, _: usize) -> &mut [u8] {
        let end = self.parts[0].end();
        let head = self.frames.head_mut(self.first());
        let end = end.min(head.len());
        &mut head[..end]
    }

    fn segment(&self, _: usize, k: usize) -> Option<&[u8]> {
        let Some(behind) = k.checked_sub(1) else { return Some(self.head(0)) };
        let first = data(&*self.frames, &self.parts[0]).skip(1);
        let others = self.parts[1..].iter().flat_map(|part| data(&*self.frames, part));
        first.chain(others).nth(behind)
    }

    fn room_mut(&mut self, _: usize) -> &mut [u8] {
        self.frames.room_mut(self.first())
    }

    fn set_length(&mut self, _: usize, length: usize) {
        self.frames.set_length(self.first(), length);
    }
}
