//! `AF_XDP` sockets over one shared UMEM, and the account of which buffers the kernel holds.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::net::sockopt;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XDP_PGOFF_RX_RING,
    XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XdpUmemReg,
    XdpUmemRegFlags,
};

use super::memory::{Buffer, Memory, Pool};
use super::ring::{CONTINUED, Consumer, Descriptor, Producer};
use super::socket;
use crate::frame::{Frame, Meta};

/// `XDP_MAX_TX_SKB_BUDGET` (Linux 6.17): frames that one sendto(2) sends in copy mode, 32 before.
const MAX_TX_SKB_BUDGET: i32 = 9;

/// `asm-generic/socket.h`.
const SO_PREFER_BUSY_POLL: i32 = 69;
/// As above.
const SO_BUSY_POLL_BUDGET: i32 = 70;

/// How the kernel moves frames between the NIC and the UMEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode {
    /// The NIC reads and writes the UMEM itself.
    pub(crate) zero_copy: bool,
    /// A frame may have several buffers (Linux 6.6).
    pub(crate) segments: bool,
}

/// A bound socket with its rings.
pub(crate) struct XdpSocket {
    fd: OwnedFd,
    pub(crate) receive: Consumer<Descriptor>,
    pub(crate) transmit: Producer<Descriptor>,
    pub(crate) fill: Producer<u64>,
    pub(crate) completion: Consumer<u64>,
}

impl XdpSocket {
    /// Opens a socket for `queue` of `interface`. Each ring has `size` entries. The first one
    /// (`first` is `None`) registers the memory, the others share it by naming the first.
    ///
    /// `fill` is called with the fill ring before the kernel can use it.
    pub(crate) fn open(
        interface: u32,
        queue: u32,
        mode: Mode,
        memory: &Memory,
        size: u32,
        first: Option<BorrowedFd<'_>>,
        fill: impl FnOnce(&mut Producer<u64>),
    ) -> io::Result<Self> {
        let fd = socket::open(libc::AF_XDP, libc::SOCK_RAW, 0)?;
        if first.is_none() {
            sockopt::set_xdp_umem_reg(
                &fd,
                XdpUmemReg {
                    addr: memory.base().as_ptr() as u64,
                    len: memory.mapped() as u64,
                    chunk_size: memory.stride() as u32,
                    headroom: 0,
                    flags: XdpUmemRegFlags::empty(),
                    tx_metadata_len: 0,
                },
            )?;
        }
        sockopt::set_xdp_umem_fill_ring_size(&fd, size)?;
        sockopt::set_xdp_umem_completion_ring_size(&fd, size)?;
        sockopt::set_xdp_rx_ring_size(&fd, size)?;
        sockopt::set_xdp_tx_ring_size(&fd, size)?;
        // Older kernels send in batches of 32, which only costs system calls.
        let _ = socket::set(fd.as_fd(), libc::SOL_XDP, MAX_TX_SKB_BUDGET, &size);
        let offsets = sockopt::xdp_mmap_offsets(&fd)?;
        let borrowed = fd.as_fd();
        let mut fill_ring = Producer::map(borrowed, XDP_UMEM_PGOFF_FILL_RING, &offsets.fr, size)?;
        let socket_rings = (
            Consumer::map(borrowed, XDP_UMEM_PGOFF_COMPLETION_RING, &offsets.cr, size)?,
            Consumer::map(borrowed, XDP_PGOFF_RX_RING, &offsets.rx, size)?,
            Producer::map(borrowed, XDP_PGOFF_TX_RING, &offsets.tx, size)?,
        );
        fill(&mut fill_ring);
        match first {
            None => {
                let mut flags = SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP;
                flags |= if mode.zero_copy {
                    SocketAddrXdpFlags::XDP_ZEROCOPY
                } else {
                    SocketAddrXdpFlags::XDP_COPY
                };
                if mode.segments {
                    flags |= SocketAddrXdpFlags::XDP_USE_SG;
                }
                rustix::net::bind(&fd, &SocketAddrXdp::new(flags, interface, queue))?;
            }
            // The mode is the first socket's; to repeat its flags is an error.
            Some(first) => {
                let flags = SocketAddrXdpFlags::XDP_SHARED_UMEM;
                let address = SocketAddrXdpWithSharedUmem {
                    addr: SocketAddrXdp::new(flags, interface, queue),
                    shared_umem_fd: first,
                };
                rustix::net::bind(&fd, &address)?;
            }
        }
        let (completion, receive, transmit) = socket_rings;
        Ok(Self { fd, receive, transmit, fill: fill_ring, completion })
    }

    /// Has the kernel serve the NIC when it is asked, rather than when the NIC interrupts
    /// (`Documentation/networking/af_xdp.rst`, `SO_PREFER_BUSY_POLL`; Linux 5.11).
    pub(crate) fn prefer_busy_poll(&self) -> io::Result<()> {
        // Microseconds that a blocking call would spin, frames at a time.
        for (option, value) in
            [(SO_PREFER_BUSY_POLL, 1i32), (libc::SO_BUSY_POLL, 20), (SO_BUSY_POLL_BUDGET, 64)]
        {
            socket::set(self.fd.as_fd(), libc::SOL_SOCKET, option, &value)?;
        }
        Ok(())
    }

    /// Makes the kernel look at the TX ring.
    pub(crate) fn wake_transmit(&self) -> io::Result<()> {
        // SAFETY: no data and no address: both pointers are null with length zero.
        let result = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                std::ptr::null(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null(),
                0,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Makes the kernel look at the fill ring.
    pub(crate) fn wake_fill(&self) -> io::Result<()> {
        // SAFETY: no data and no address: all pointers are null with length zero.
        let result = unsafe {
            libc::recvfrom(
                self.fd.as_raw_fd(),
                std::ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Frames that were lost before they came to the RX ring.
    pub(crate) fn missed(&self) -> io::Result<u64> {
        let statistics = sockopt::xdp_statistics(&self.fd)?;
        Ok(statistics.rx_dropped + statistics.rx_ring_full.unwrap_or_default())
    }
}

impl AsFd for XdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Which buffers of the memory a port has given to the kernel. The kernel's descriptors are believed
/// only as far as this account goes: a [`Buffer`] comes back once for every time it was given.
pub(crate) struct Account {
    memory: Arc<Memory>,
    /// One bit a buffer.
    held: Box<[u64]>,
}

impl Account {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        let words = memory.count().div_ceil(64) as usize;
        Self { memory, held: vec![0; words].into() }
    }

    /// Gives an empty buffer: the address to put into a fill ring.
    #[expect(clippy::needless_pass_by_value, reason = "the buffer changes its owner")]
    pub(crate) fn give(&mut self, buffer: Buffer) -> u64 {
        let index = buffer.0;
        self.hold(index);
        u64::from(index) * self.memory.stride() as u64
    }

    /// Gives a frame: calls `push` with a descriptor for each of its segments.
    pub(crate) fn give_frame(
        &mut self,
        pool: &Pool,
        frame: Frame,
        mut push: impl FnMut(Descriptor),
    ) {
        assert!(Arc::ptr_eq(pool.memory(), &self.memory), "a frame of another memory");
        let base = self.memory.base().as_ptr() as usize;
        let mut segments = pool.segments(&frame).peekable();
        while let Some(segment) = segments.next() {
            let address = segment.as_ptr() as usize - base;
            self.hold((address / self.memory.stride()) as u32);
            let options = if segments.peek().is_some() { CONTINUED } else { 0 };
            push(Descriptor { address: address as u64, length: segment.len() as u32, options });
        }
        // From here on its buffers are the kernel's; a frame does nothing when it goes.
        drop(segments);
        drop(frame);
    }

    /// Takes a buffer back that the kernel says it is done with. `None` for one that it never had.
    pub(crate) fn take(&mut self, address: u64) -> Option<Buffer> {
        let index = self.index(address)?;
        let (word, bit) = (&mut self.held[(index / 64) as usize], 1u64 << (index % 64));
        if *word & bit == 0 {
            return None;
        }
        *word &= !bit;
        Some(Buffer(index))
    }

    /// Takes a buffer back that the kernel has put a frame, or a part of one, into: with the offset
    /// and length of that. `None` for a buffer that it never had; a length that the buffer cannot
    /// have comes as 0.
    pub(crate) fn take_filled(&mut self, descriptor: Descriptor) -> Option<(Buffer, usize, usize)> {
        let buffer = self.take(descriptor.address)?;
        let offset = (descriptor.address % self.memory.stride() as u64) as usize;
        let length = descriptor.length as usize;
        let fits = length <= self.memory.buffer_size().saturating_sub(offset);
        Some((buffer, offset, if fits { length } else { 0 }))
    }

    /// Gives every buffer that the kernel held to `pool`.
    ///
    /// The caller has closed all sockets that they were given to, and no NIC writes into them by
    /// itself any more.
    pub(crate) fn take_all(&mut self, pool: &mut Pool) {
        for (word, bits) in self.held.iter_mut().enumerate() {
            while *bits != 0 {
                let bit = bits.trailing_zeros();
                *bits &= *bits - 1;
                pool.free(Buffer(word as u32 * 64 + bit));
            }
        }
    }

    /// Takes the other account over: what is given to either is held by this one.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (word, bits) in self.held.iter_mut().zip(&other.held) {
            *word |= bits;
        }
    }

    fn hold(&mut self, index: u32) {
        let (word, bit) = (&mut self.held[(index / 64) as usize], 1u64 << (index % 64));
        assert!(*word & bit == 0, "buffer {index} given twice");
        *word |= bit;
    }

    fn index(&self, address: u64) -> Option<u32> {
        let index = address / self.memory.stride() as u64;
        u32::try_from(index).ok().filter(|&index| index < self.memory.count())
    }
}

/// Adds a filled buffer to the frame that is being put together, or begins one with it.
pub(crate) fn collect(
    pool: &Pool,
    partial: &mut Option<(Frame, u32)>,
    (buffer, offset, length): (Buffer, usize, usize),
    meta: Meta,
) {
    if let Some((frame, last)) = partial {
        pool.append(frame, last, buffer, offset, length);
    } else {
        let frame = pool.frame(buffer, offset, length, meta);
        let last = frame.buffer;
        *partial = Some((frame, last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_comes_back_and_only_once() {
        let memory = Memory::new(100, 4096).unwrap();
        let mut pool = Pool::new(Arc::clone(&memory));
        let mut account = Account::new(Arc::clone(&memory));
        let address = account.give(pool.allocate().unwrap());
        let filled = Descriptor { address: address + 256, length: 3841, options: 0 };
        assert!(account.take(address ^ 4096).is_none(), "another buffer");
        assert!(account.take(100 * 4096).is_none(), "behind the memory");
        let (buffer, offset, length) = account.take_filled(filled).unwrap();
        assert_eq!((offset, length), (256, 0), "one byte too long");
        assert!(account.take(address).is_none(), "twice");
        pool.free(buffer);
        for _ in 0..3 {
            account.give(pool.allocate().unwrap());
        }
        account.take_all(&mut pool);
        drop(pool);
        assert_eq!(memory.free_count(), 100);
    }
}
