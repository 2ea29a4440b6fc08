//! netmap ports: rings of slots in memory shared with the kernel; a frame moves between two of them
//! by an exchange of buffer indices.
//!
//! [`Queue`] is the application side. It works on rings in a [`Memory`] and reaches the other side
//! through [`Kernel`], of which there are two: the module behind `/dev/netmap`, and [`double`], which
//! stands in for netmap's kernel side and its NICs in tests and benchmarks, and is stricter than the
//! real one. With that it is the memory port.
//!
//! Life-cycle: a [`Request`] becomes an `nmreq`, a [`Registrar`] registers it and fills in what it
//! got, [`Queue::new`] finds its rings by it. A queue whose region the worker's buffers do not lie in
//! is put [`Apart`], and frames are copied. `hw/src/open/netmap.rs` does all that for both ports of a
//! bridge. References: netmap(4), `net/netmap.h`.

mod apart;
pub mod double;
mod name;
mod queue;
mod request;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

pub use apart::Apart;
pub use name::{are_ends_of_one_pipe, is_virtual, shared_switch};
use netmap_sys::netmap::nmreq;
pub use queue::{Limits, MemoryPort, Queue};
pub use request::{Request, Rings};

use crate::port::Kind;
use crate::sys::memory::Memory;

/// Who registers ports.
pub trait Registrar {
    /// Its side of a registration.
    type Kernel: Kernel + 'static;

    /// `NIOCREGIF`: takes the rings that `request` asks for, and fills in what was got.
    ///
    /// # Errors
    /// `EINVAL` for another version, mode, ring or region, and where the MTU exceeds the buffers;
    /// `ENXIO` for a port that is not there; `EBUSY` for rings that somebody has; `ENOMEM` where the
    /// region has no room for more rings.
    fn register(&self, request: &mut nmreq) -> io::Result<Self::Kernel>;

    /// The region of a registration, none of whose buffers is free yet. To be called once a region:
    /// two mappings are two memories.
    ///
    /// # Errors
    /// `InvalidData` if the structures in it make no sense, or what mmap(2) says.
    fn map(&self, kernel: &Self::Kernel, request: &nmreq) -> io::Result<Arc<Memory>>;
}

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
