//! What a worker can do with a port's queue, whatever is behind it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use crate::frame::Frame;
use crate::open::Io;
use crate::sys::memory::Pool;

/// One queue of one port, owned by one worker.
///
/// A worker's round: `receive` from every port, judge, `transmit` what goes out, `flush` every port.
/// The first three never block; they make no system call where the ring does not demand one.
pub trait Port: Send {
    /// What moves the frames.
    fn kind(&self) -> Kind;

    /// Takes up to `max` frames out of the receive ring and appends them to `frames`, each with
    /// `port` as its origin. A spare buffer of `pool` takes the place of each; when the pool runs
    /// out, the rest stays in the ring. Returns how many came.
    ///
    /// # Errors
    /// [`PortError::Gone`] when the interface has vanished, [`PortError::Io`] for the rest. What was
    /// appended before the error is valid.
    fn receive(
        &mut self,
        pool: &mut Pool,
        port: u8,
        frames: &mut Vec<Frame>,
        max: usize,
    ) -> Result<usize, PortError>;

    /// Moves frames from the head of `queue` into the transmit ring, in order, until the ring is
    /// full or the queue empty. Frames that this port can never send (too long, a chain or a GSO
    /// train where there is no such thing) are released and counted in [`Stats::unsendable`].
    /// Returns how many went.
    ///
    /// # Errors
    /// As for `receive`. Frames that were not sent are still in `queue`.
    fn transmit(
        &mut self,
        pool: &mut Pool,
        queue: &mut VecDeque<Frame>,
    ) -> Result<usize, PortError>;

    /// Tells the other side of the rings what happened: starts transmission, returns finished
    /// buffers to `pool`, refills the receive ring. Called once a round, also when nothing came.
    ///
    /// # Errors
    /// As for `receive`.
    fn flush(&mut self, pool: &mut Pool) -> Result<(), PortError>;

    /// What to wait on for frames (`POLLIN`) when there is nothing to do. `None`: the port has no
    /// descriptor, the worker must not sleep on it.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;

    /// What to wait on for room to send (`POLLOUT`), while frames wait or [`Port::is_sending`].
    fn output_descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.descriptor()
    }

    /// Asked when poll(2) has shown an error on a descriptor: whether the port can go on. Where the
    /// next call tells anyway, there is nothing to do.
    ///
    /// # Errors
    /// As for `receive`, and [`PortError::Reset`].
    fn error_shown(&mut self) -> Result<(), PortError> {
        Ok(())
    }

    /// Whether frames that were given to the transmit ring leave only with another `flush`.
    fn is_sending(&self) -> bool {
        false
    }

    /// Counters since the port was opened.
    fn stats(&self) -> Stats;

    /// Whether a frame may leave with [`Checksum::Partial`](crate::Checksum::Partial) or as a GSO
    /// train. Where it may not, the engine finishes checksums, and trains never come in by any port
    /// of the same bridge.
    fn carries_offloads(&self) -> bool {
        false
    }

    /// Gives every buffer that the port holds back to `pool`, as far as the other side lets it.
    fn close(&mut self, pool: &mut Pool);
}

/// What a frame has beside its IP packet, in bytes: an Ethernet header and two tags.
pub(crate) const FRAMING: usize = 14 + 8;

/// The kinds of port, as `--io` and the listings name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// netmap rings.
    Netmap,
    /// `AF_XDP`, driver mode.
    Xdp,
    /// `AF_PACKET` with virtio-net headers.
    Packet,
    /// The memory port: netmap's rings with a double of its kernel side.
    Memory,
    /// A pcap file.
    Pcap,
}

impl Kind {
    /// What asks for this kind, if anything does.
    pub const fn io(self) -> Option<Io> {
        match self {
            Self::Netmap => Some(Io::Netmap),
            Self::Xdp => Some(Io::Xdp),
            Self::Packet => Some(Io::Packet),
            Self::Memory | Self::Pcap => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Netmap => "netmap",
            Self::Xdp => "xdp",
            Self::Packet => "packet",
            Self::Memory => "memory",
            Self::Pcap => "pcap",
        })
    }
}

/// What a port has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames taken out of the receive ring.
    pub received: u64,
    /// Frames given to the transmit ring.
    pub transmitted: u64,
    /// Frames that came in broken: no bytes, or longer than the buffers hold.
    pub malformed: u64,
    /// Frames that this port can never send.
    pub unsendable: u64,
    /// Frames that the other side reports as lost before we saw them (ring full, no buffer).
    pub missed: u64,
    /// Rounds in which a full transmit ring left frames waiting.
    pub transmit_full: u64,
    /// Rounds in which an empty pool left frames in the receive ring.
    pub pool_empty: u64,
}

impl Stats {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            transmitted: self.transmitted + other.transmitted,
            malformed: self.malformed + other.malformed,
            unsendable: self.unsendable + other.unsendable,
            missed: self.missed + other.missed,
            transmit_full: self.transmit_full + other.transmit_full,
            pool_empty: self.pool_empty + other.pool_empty,
        }
    }
}

/// Why a port cannot go on.
#[derive(Debug)]
pub enum PortError {
    /// The interface is gone.
    Gone,
    /// The kernel has begun a ring anew: what is in whose hands is not known any more.
    Reset,
    /// The kernel said no.
    Io(io::Error),
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the interface is gone"),
            Self::Reset => f.write_str("the kernel has reset its rings"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PortError {}

impl From<io::Error> for PortError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
