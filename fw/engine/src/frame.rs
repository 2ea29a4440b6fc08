//! How the engine sees frames: a batch of them lent in place by whoever moves them.

use crate::fragment::Releases;
use crate::judge::Verdict;

/// Index of a port: 0 is the first. The engine does not care which wire is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortIndex(pub u8);

impl PortIndex {
    /// The side of the protected network.
    pub const LAN: Self = Self(0);
    /// The side of the router.
    pub const WAN: Self = Self(1);
}

/// What is known of a frame beyond the bytes of its first segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The port it arrived on.
    pub port: PortIndex,
    /// State of the transport checksum.
    pub checksum: Checksum,
    /// Payload bytes of a segment if the frame is a train of them (GSO), else 0.
    pub gso_size: u16,
    /// Length of the whole frame in bytes, all segments together.
    pub length: u32,
}

/// How far the transport checksum is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// As it was on the wire, not verified.
    Unknown,
    /// Known to be right, or left to be made by whoever sends the frame on: nothing to verify.
    Valid,
    /// As on the wire, or perhaps just the pseudo-header sum with the rest left to offload
    /// hardware, which the engine then finishes.
    MaybePartial,
}

/// Indices from here on are those of held frames: `HELD` and the slot of their [`Hold`].
///
/// [`Hold`]: crate::Verdict::Hold
pub const HELD: usize = 1 << 32;

/// A batch of frames, lent in place, and those that are held ([`HELD`]). The first segment of each holds all its headers (RFC 8200 puts
/// no bound on them; a frame whose headers do not fit is dropped by reason).
pub trait Frames {
    /// How many frames there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Metadata of frame `i`.
    fn meta(&self, i: usize) -> Meta;

    /// Whether frame `i` is a fragment that another worker has gathered with all the others of its
    /// datagram and handed over.
    fn is_gathered(&self, _: usize) -> bool {
        false
    }

    /// The first segment of frame `i`.
    fn head(&self, i: usize) -> &[u8];

    /// The first segment of frame `i`, to be rewritten.
    fn head_mut(&mut self, i: usize) -> &mut [u8];

    /// Segment `k` of frame `i`; 0 is the first. `None` behind the last.
    fn segment(&self, i: usize, k: usize) -> Option<&[u8]>;

    /// The buffer of frame `i` from its first byte to the buffer's end: room to write an answer
    /// where the frame was. At least as long as the first segment.
    fn room_mut(&mut self, i: usize) -> &mut [u8];

    /// Makes frame `i` a single segment of `length` bytes with a finished checksum, no train.
    fn set_length(&mut self, i: usize, length: usize);
}

/// Frames that own their bytes, for tests, simulation and replay: what a port would lend.
#[derive(Clone, Debug, Default)]
pub struct Owned {
    frames: Vec<OwnedFrame>,
    /// By slot.
    held: Vec<Option<OwnedFrame>>,
}

/// What became of one frame of [`Owned`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The port it arrived on.
    pub port: PortIndex,
    /// Anything but a [`Verdict::Hold`].
    pub verdict: Verdict,
    /// It was held before.
    pub released: bool,
    /// All its bytes, as changed.
    pub bytes: Vec<u8>,
}

/// One frame of [`Owned`].
#[derive(Clone, Debug)]
struct OwnedFrame {
    meta: Meta,
    /// The first segment, up to `first`, and the room behind it.
    buffer: Vec<u8>,
    first: usize,
    /// The other segments.
    more: Vec<Vec<u8>>,
    gathered: bool,
}

impl Owned {
    /// Size of a buffer, as the ports have it, unless the frame itself is longer.
    pub const BUFFER: usize = 2048;

    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a frame of one segment, as it comes from the wire.
    pub fn push(&mut self, port: PortIndex, bytes: &[u8]) {
        self.push_segments(port, &[bytes]);
    }

    /// Adds a frame of several segments.
    pub fn push_segments(&mut self, port: PortIndex, segments: &[&[u8]]) {
        let (first, more) = segments.split_first().map_or((&[][..], &[][..]), |(f, m)| (*f, m));
        let mut buffer = first.to_vec();
        buffer.resize(first.len().max(Self::BUFFER), 0);
        let length = segments.iter().map(|segment| segment.len()).sum::<usize>() as u32;
        self.frames.push(OwnedFrame {
            meta: Meta { port, checksum: Checksum::Unknown, gso_size: 0, length },
            buffer,
            first: first.len(),
            more: more.iter().map(|segment| segment.to_vec()).collect(),
            gathered: false,
        });
    }

    /// Says that the last frame added is one of [`Frames::is_gathered`].
    pub fn mark_gathered(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            frame.gathered = true;
        }
    }

    /// Does what the verdicts on the batch and the releases say: every frame that is not held any
    /// more, in the order in which they go. The batch is empty afterwards.
    ///
    /// # Panics
    /// If a slot is released that holds nothing.
    pub fn settle(&mut self, verdicts: &[Verdict], releases: &Releases) -> Vec<Judged> {
        let mut judged = Vec::new();
        let mut cursor = 0;
        let frames = std::mem::take(&mut self.frames);
        let last = frames.len();
        let batch = frames.into_iter().zip(verdicts).map(Some).chain([None]);
        for (i, frame) in batch.enumerate() {
            let before = if i == last { usize::MAX } else { i };
            while let Some((verdict, slots)) = releases.next(&mut cursor, before) {
                for &slot in slots {
                    let frame = self.held[slot as usize].take().expect("the slot holds a frame");
                    judged.push(frame.judged(verdict, true));
                }
            }
            match frame {
                Some((frame, &Verdict::Hold(slot))) => {
                    let slot = slot as usize;
                    if self.held.len() <= slot {
                        self.held.resize(slot + 1, None);
                    }
                    self.held[slot] = Some(frame);
                }
                Some((frame, &verdict)) => judged.push(frame.judged(verdict, false)),
                None => {}
            }
        }
        judged
    }

    /// How many frames are held.
    pub fn held(&self) -> usize {
        self.held.iter().flatten().count()
    }

    fn frame(&self, i: usize) -> &OwnedFrame {
        match i.checked_sub(HELD) {
            None => &self.frames[i],
            Some(slot) => self.held[slot].as_ref().expect("the slot holds a frame"),
        }
    }

    fn frame_mut(&mut self, i: usize) -> &mut OwnedFrame {
        match i.checked_sub(HELD) {
            None => &mut self.frames[i],
            Some(slot) => self.held[slot].as_mut().expect("the slot holds a frame"),
        }
    }

    /// The metadata of frame `i`, to be changed.
    pub fn meta_mut(&mut self, i: usize) -> &mut Meta {
        &mut self.frames[i].meta
    }

    /// All bytes of frame `i`.
    pub fn bytes(&self, i: usize) -> Vec<u8> {
        self.frame(i).bytes()
    }

    /// Forgets all frames but those that are held.
    pub fn clear(&mut self) {
        self.frames.clear();
    }
}

impl OwnedFrame {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.buffer[..self.first].to_vec();
        bytes.extend(self.more.iter().flatten());
        bytes
    }

    fn judged(&self, verdict: Verdict, released: bool) -> Judged {
        Judged { port: self.meta.port, verdict, released, bytes: self.bytes() }
    }
}

impl Frames for Owned {
    fn len(&self) -> usize {
        self.frames.len()
    }

    fn meta(&self, i: usize) -> Meta {
        self.frame(i).meta
    }

    fn is_gathered(&self, i: usize) -> bool {
        self.frame(i).gathered
    }

    fn head(&self, i: usize) -> &[u8] {
        let frame = self.frame(i);
        &frame.buffer[..frame.first]
    }

    fn head_mut(&mut self, i: usize) -> &mut [u8] {
        let frame = self.frame_mut(i);
        &mut frame.buffer[..frame.first]
    }

    fn segment(&self, i: usize, k: usize) -> Option<&[u8]> {
        let frame = self.frame(i);
        match k {
            0 => Some(&frame.buffer[..frame.first]),
            _ => frame.more.get(k - 1).map(Vec::as_slice),
        }
    }

    fn room_mut(&mut self, i: usize) -> &mut [u8] {
        &mut self.frame_mut(i).buffer
    }

    fn set_length(&mut self, i: usize, length: usize) {
        let frame = self.frame_mut(i);
        frame.first = length;
        frame.more.clear();
        frame.meta.length = length as u32;
        frame.meta.gso_size = 0;
        frame.meta.checksum = Checksum::Valid;
    }
}
