//! How the engine sees frames: a batch of them lent in place by whoever moves them.

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

/// A batch of frames, lent in place. The first segment of each holds all its headers (RFC 8200 puts
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
