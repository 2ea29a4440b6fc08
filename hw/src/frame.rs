//! A frame in our hands: its buffers and what the port knew about it.

/// One Ethernet frame: an owned chain of one or more buffers of the worker's [`Memory`] plus
/// metadata. Tags that a NIC or the kernel had taken out are back in the frame (every port sees to
/// it), there is no frame check sequence.
///
/// A `Frame` is the only way to its bytes, cannot be copied, and has to be given away: to a port
/// ([`Port::transmit`]) or back to the pool ([`Pool::release`]). One that goes out of scope leaks
/// its buffers until the process ends; the memory port's tests fail on that.
///
/// [`Memory`]: crate::Memory
/// [`Pool::release`]: crate::Pool::release
/// [`Port::transmit`]: crate::Port::transmit
#[derive(Debug)]
#[must_use = "a frame that is dropped leaks its buffers: transmit or release it"]
pub struct Frame {
    /// Index of the first buffer in the memory.
    pub(crate) buffer: u32,
    /// Where the frame begins in its first buffer, in bytes.
    pub(crate) offset: u32,
    /// Bytes of the frame in the first buffer.
    pub(crate) length: u32,
    /// Bytes of the frame in all buffers.
    pub(crate) total: u32,
    /// The next buffer of the chain, or [`Frame::LAST`].
    pub(crate) next: u32,
    /// Index of the port that it came in by, as the worker numbers its ports.
    pub port: u8,
    /// For workers to tell each other something; 0 when it comes in.
    pub mark: u8,
    /// What the port knows about the frame beyond its bytes.
    pub meta: Meta,
}

impl Frame {
    /// `next` of the last buffer of a chain.
    pub(crate) const LAST: u32 = u32::MAX;

    /// Length of the whole frame in bytes.
    pub const fn len(&self) -> usize {
        self.total as usize
    }

    /// Whether the frame has no bytes, as a broken driver may deliver.
    pub const fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Whether all of it lies in one buffer.
    pub const fn is_single(&self) -> bool {
        self.next == Self::LAST
    }
}

/// Metadata that travels with a frame from port to port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// How far the transport checksum is done.
    pub checksum: Checksum,
    /// Set on a frame that stands for a train of segments.
    pub gso: Option<Gso>,
}

/// State of the transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// In the frame as it was on the wire; nobody has verified it.
    #[default]
    Unknown,
    /// Verified by the NIC, or made by a host on this machine that does not damage frames.
    Complete,
    /// The port cannot tell, and its peer may have left the checksum to offload hardware
    /// (veth and virtio under `AF_XDP` or netmap): where the field holds exactly the pseudo-header
    /// sum it has to be finished before the frame leaves.
    MaybePartial,
    /// To be finished: the one's complement sum from `start` to the end of the frame belongs at
    /// `start + offset` (virtio 1.2, 5.1.6.2, `VIRTIO_NET_HDR_F_NEEDS_CSUM`). Both in bytes,
    /// `start` from the beginning of the frame.
    Partial {
        /// Where summing begins.
        start: u16,
        /// Where the field is, from `start`.
        offset: u16,
    },
}

/// A train of segments in one frame (generic segmentation offload).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// What the train is made of.
    pub kind: GsoKind,
    /// The CWR flag belongs to the first segment only.
    pub ecn: bool,
    /// Payload bytes of each segment but the last.
    pub size: u16,
    /// Length of all headers, Ethernet to transport.
    pub header: u16,
}

/// Protocol of a [`Gso`] train (virtio 1.2, 5.1.6, `VIRTIO_NET_HDR_GSO_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP fragmentation offload.
    Udp,
    /// UDP segmentation offload.
    UdpL4,
}
