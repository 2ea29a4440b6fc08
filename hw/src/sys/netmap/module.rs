//! The netmap module behind `/dev/netmap`: netmap(4).
//!
//! A registration lasts as long as its descriptor, and the first one of a region as long as the
//! mapping of that, too: the kernel counts both as users of the open file.

use std::ffi::c_ulong;
use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use netmap_sys::netmap::{NIOCREGIF, NIOCRXSYNC, NIOCTXSYNC, netmap_if, nmreq};

use super::{Interface, RING_SIZE, Ring, SLOT_SIZE};
use crate::netmap::{Kernel, Registrar};
use crate::port::Kind;
use crate::sys::memory::{Layout, Memory};

/// Where the module is reached.
pub(crate) const PATH: &str = "/dev/netmap";

/// Whether the module is loaded.
pub(crate) fn is_loaded() -> bool {
    Path::new(PATH).exists()
}

/// Slots of the longest ring that fits into the module's memory for one, rounded down to what NICs
/// take; `None` where no module is loaded.
pub(crate) fn longest_ring() -> Option<u32> {
    let bytes = std::fs::read_to_string("/sys/module/netmap/parameters/ring_size").ok()?;
    slots_in(bytes.trim().parse().ok()?)
}

/// The largest power of two of slots in a ring of so many bytes.
fn slots_in(bytes: u32) -> Option<u32> {
    let slots = bytes.checked_sub(RING_SIZE as u32)? / SLOT_SIZE as u32;
    slots.checked_ilog2().map(|power| 1 << power)
}

/// Whether a driver was built with netmap, so that netmap reaches the NIC's own rings. Otherwise the
/// module emulates them over the kernel's ordinary interface.
pub(crate) fn is_native(driver: &str) -> bool {
    Path::new("/sys/module/netmap/holders").join(driver).exists()
}

/// The loaded module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Module;

/// One registration with the module.
#[derive(Debug)]
pub(crate) struct Registration(File);

impl Registrar for Module {
    type Kernel = Registration;

    fn register(&self, request: &mut nmreq) -> io::Result<Registration> {
        let file = File::options().read(true).write(true).open(PATH)?;
        // SAFETY: NIOCREGIF reads and writes one `nmreq`, whose layout is checked where the module's
        // structures are (`sys/netmap.rs`).
        let result = unsafe {
            // `as _`: the request's type differs between C libraries.
            libc::ioctl(file.as_raw_fd(), NIOCREGIF as c_ulong as _, std::ptr::from_mut(request))
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(Registration(file)) }
    }

    fn map(&self, kernel: &Registration, request: &nmreq) -> io::Result<Arc<Memory>> {
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "the region has no sound ring");
        let length = request.nr_memsize as usize;
        let layout = layout(kernel.0.as_fd(), length, request)?.ok_or_else(broken)?;
        let lender = request.nr_offset as usize + offset_of!(netmap_if, ni_bufs_head);
        // SAFETY: as in `layout`. Buffers are owned on this side if they lie in slots between head
        // and tail, or came with a registration; netmap leaves those alone.
        unsafe { Memory::shared(kernel.0.as_fd(), length, layout, Some(lender)) }
    }
}

/// Where the buffers lie, by the first TX ring of the registration that `request` describes.
fn layout(file: BorrowedFd<'_>, length: usize, request: &nmreq) -> io::Result<Option<Layout>> {
    let whole = Layout { first: length, count: 0, stride: 64 };
    // SAFETY: the descriptor is netmap's, which gives `nr_memsize` bytes for as long as they are
    // mapped; there are no buffers to be owned.
    let region = unsafe { Memory::shared(file, length, whole, None)? };
    let Some(interface) = Interface::at(&region, request.nr_offset as usize) else {
        return Ok(None);
    };
    let ring = (0..interface.counts().tx).find_map(|i| interface.tx_ring(i));
    Ok(ring.and_then(|ring| layout_of(&ring, length)))
}

/// Where the buffers of a ring lie in a region of `length` bytes.
fn layout_of(ring: &Ring, length: usize) -> Option<Layout> {
    let header = ring.header();
    let stride = header.buf_size as usize;
    let first = ring.offset().checked_add_signed(isize::try_from(header.buf_ofs).ok()?)?;
    let count = length.checked_sub(first)?.checked_div(stride)?;
    Some(Layout { first, count: u32::try_from(count).ok()?, stride })
}

impl Registration {
    fn sync(&self, request: c_ulong) -> io::Result<()> {
        // SAFETY: both syncs take no argument. What they write is in the region, which is reached
        // by atomics or, as for buffers, by their owners.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request as _, 0) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Kernel for Registration {
    fn kind(&self) -> Kind {
        Kind::Netmap
    }

    fn rxsync(&mut self) -> io::Result<()> {
        self.sync(NIOCRXSYNC.into())
    }

    fn txsync(&mut self) -> io::Result<()> {
        self.sync(NIOCTXSYNC.into())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom};

    use super::*;
    use crate::sys::memory::Pool;
    use crate::sys::netmap::Header;

    /// What lies in the file at `at`.
    fn word(file: &mut File, at: usize) -> u32 {
        let mut bytes = [0; 4];
        file.seek(SeekFrom::Start(at as u64)).unwrap();
        file.read_exact(&mut bytes).unwrap();
        u32::from_ne_bytes(bytes)
    }

    #[test]
    fn the_longest_ring_is_what_fits() {
        // 36,864 bytes are what the module sets aside by default.
        assert_eq!(slots_in(36_864), Some(2048));
        assert_eq!(slots_in(256 + 16 * 1024), Some(1024));
        assert_eq!(slots_in(256 + 16 * 1024 - 1), Some(512));
        assert_eq!(slots_in(256), None);
        assert_eq!(slots_in(0), None);
    }

    #[test]
    fn buffers_lie_where_a_ring_says() {
        let region = Memory::region(4096, 6, 2048, false).unwrap();
        let length = region.mapped();
        let header =
            Header { buf_ofs: 4096 - 512, num_slots: 4, buf_size: 2048, ring_id: 0, direction: 1 };
        let ring = Ring::create(&region, 512, header).unwrap();
        let layout = layout_of(&ring, length).unwrap();
        assert_eq!((layout.first, layout.count, layout.stride), (4096, 6, 2048));
        for header in [
            Header { buf_ofs: -513, ..header },
            Header { buf_ofs: i64::MAX, ..header },
            Header { buf_ofs: 1 << 20, ..header },
            Header { buf_size: 0, ..header },
        ] {
            let ring = Ring::create(&region, 512, header).unwrap();
            assert!(layout_of(&ring, length).is_none(), "{header:?}");
        }
    }

    #[test]
    fn what_is_free_at_the_end_is_given_back_as_a_list() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(4096 + 4 * 2048).unwrap();
        let layout = Layout { first: 4096, count: 4, stride: 2048 };
        // SAFETY: the file is as long, and nobody else maps it.
        let memory =
            unsafe { Memory::shared(file.as_fd(), 4096 + 4 * 2048, layout, Some(128)).unwrap() };
        let mut pool = Pool::new(memory);
        // Buffers 0 and 1 are netmap's own; these were lent.
        for index in [2, 3] {
            pool.free(crate::sys::memory::Buffer(index));
        }
        let frame = pool.copy(b"straight into the buffer").unwrap();
        assert_eq!(frame.offset, 0);
        pool.release(frame);
        drop(pool);
        let first = word(&mut file, 128);
        assert!([2, 3].contains(&first), "{first}");
        let second = word(&mut file, 4096 + first as usize * 2048);
        assert_eq!(second, 5 - first);
        assert_eq!(word(&mut file, 4096 + second as usize * 2048), 0);
    }

    #[test]
    fn layouts_that_do_not_fit_are_refused() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        let fits = Layout { first: 4096, count: 2, stride: 2048 };
        let shared = |layout, lender| {
            // SAFETY: the file is as long, and nobody else maps it.
            unsafe { Memory::shared(file.as_fd(), 8192, layout, lender) }
        };
        assert!(shared(fits, Some(4092)).is_ok());
        assert!(shared(fits, Some(4094)).is_err(), "not aligned");
        assert!(shared(fits, Some(4096)).is_err(), "in a buffer");
        assert!(shared(Layout { count: 3, ..fits }, None).is_err());
        assert!(shared(Layout { stride: 0, ..fits }, None).is_err());
        assert!(shared(Layout { first: usize::MAX - 7, ..fits }, None).is_err());
    }
}
