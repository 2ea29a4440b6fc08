//! netmap ports: rings of slots in memory shared with the kernel; a frame moves between two of them
//! by an exchange of buffer indices.
//!
//! [`Queue`] is the application side. It works on rings in a [`Memory`](crate::Memory) and reaches
//! the other side through [`Kernel`], of which there is one so far: [`double`], which stands in for
//! netmap's kernel side and its NICs in tests and benchmarks, and is stricter than the real one. The
//! two together are the memory port.
//!
//! Life-cycle: a [`Request`] becomes an `nmreq`, whoever is behind the `Kernel` registers it and
//! fills in what it got, [`Queue::new`] finds its rings by it. References: netmap(4), `net/netmap.h`.

pub mod double;
mod queue;
mod request;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::BorrowedFd;

pub use queue::{MemoryPort, Queue};
pub use request::{Request, Rings};

use crate::port::Kind;

/// The kernel's side of one registration, as the application reaches it: through system calls on a
/// file descriptor with netmap, directly in the [`double`].
///
/// Both calls bring the rings of the registration up to date: what the application released
/// (slots before `head`) goes to the kernel, what the kernel is done with comes back (`tail`).
pub trait Kernel: Send {
    /// What is behind it, for listings.
    fn kind(&self) -> Kind;

    /// `NIOCRXSYNC`: takes released receive slots back, shows the frames that have come.
    ///
    /// # Errors
    /// `EIO`, `ENXIO`, `ENODEV`: the interface has vanished. Others as the driver has them.
    fn rxsync(&mut self) -> io::Result<()>;

    /// `NIOCTXSYNC`: sends what was released, returns the slots of what was sent. May do a part of
    /// either.
    ///
    /// # Errors
    /// As for `rxsync`.
    fn txsync(&mut self) -> io::Result<()>;

    /// What poll(2) waits on. Wake-ups may be spurious; `POLLERR` precedes errors of the syncs.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
}
