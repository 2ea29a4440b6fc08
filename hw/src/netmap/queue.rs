//! The application side of a netmap registration.
//!
//! Receiving takes the buffer out of a slot and puts a spare one of the pool in its place; sending
//! puts the frame's buffer into a slot and takes the slot's old one to the pool. So a frame crosses
//! from one port to another of the same region without a copy, both slots are marked
//! `NS_BUF_CHANGED`, and every slot of every ring holds a buffer at all times, as netmap demands.
//!
//! What leaves is bounded by the interface's [`Limits`]: an emulated adapter ignores `NS_MOREFRAG` and
//! sends every slot as a frame of its own (netmap's `netmap_generic.c`), so that the later parts of a
//! chain would leave as frames that no rule has seen.
//!
//! Of several TX rings only the first is used: order within a flow is kept without a thought, and a
//! single worker does not fill more than one.

mod receive;

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use netmap_sys::netmap::{NS_BUF_CHANGED, NS_MOREFRAG, nmreq};

use crate::frame::{Checksum, Frame};
use crate::netmap::queue::receive::{End, Lane};
use crate::netmap::request::rings_of;
use crate::netmap::{Kernel, double};
use crate::port::{FRAMING, Kind, Port, PortError, Stats};
use crate::sys::memory::{Buffer, Memory, Pool};
use crate::sys::netmap::{Interface, Ring, Slot, signed};

/// A queue of the memory port: netmap's application side on the [`double`].
pub type MemoryPort = Queue<double::Registration>;

/// What an interface sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of its longest frame in bytes.
    pub longest: usize,
    /// Whether a frame may fill several slots.
    pub chains: bool,
}

impl Limits {
    /// No limits but those of the rings: pipes and VALE switches pass on what they are given, and
    /// who receives from them knows chains.
    pub const NONE: Self = Self { longest: usize::MAX, chains: true };

    /// Those of an interface with this MTU, in bytes, whose slots take `buffer` bytes each. Frames are
    /// chained only where netmap demands a driver that can: where the MTU exceeds a buffer.
    pub const fn of_mtu(mtu: u32, buffer: usize) -> Self {
        Self { longest: mtu as usize + FRAMING, chains: mtu as usize > buffer }
    }
}

/// The rings of one registration.
#[derive(Debug)]
pub struct Queue<K> {
    kernel: K,
    memory: Arc<Memory>,
    receive: Vec<Lane>,
    send: Ring,
    /// The first slot to be filled: `send.head()`, as we left it.
    sent: u32,
    /// Which of the RX rings is served first in the next round.
    turn: usize,
    /// What received frames say of their transport checksum.
    checksum: Checksum,
    limits: Limits,
    stats: Stats,
    /// For chains: spare buffers on their way in, and parts on their way out. Empty between calls.
    spares: Vec<Buffer>,
    parts: Vec<(Buffer, usize, usize)>,
}

impl<K: Kernel> Queue<K> {
    /// Takes over the registration that `request` describes as it was returned, with its rings in
    /// `memory`. Spare buffers that came with it are given to the memory's pools.
    ///
    /// # Errors
    /// `InvalidData` if the structures in the memory are not what `request` says, or belong to
    /// another region.
    pub fn new(kernel: K, memory: &Arc<Memory>, request: &nmreq) -> io::Result<Self> {
        let broken = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let interface = Interface::at(memory, request.nr_offset as usize)
            .ok_or_else(|| broken("netmap: the interface lies outside its region"))?;
        let counts = interface.counts();
        let (tx, rx) = rings_of(request, counts.tx as u16, counts.rx as u16)
            .ok_or_else(|| broken("netmap: the rings of the registration are not there"))?;
        let check = |ring: Option<Ring>| {
            let ring = ring.ok_or_else(|| broken("netmap: a ring lies outside its region"))?;
            let header = ring.header();
            // Buffer 0 must be where the memory has it, else the ring is of another region.
            let first = signed(ring.offset()).checked_add(header.buf_ofs);
            if first != Some(signed(memory.first())) || header.buf_size as usize != memory.stride()
            {
                return Err(broken("netmap: the buffers of a ring are of another region"));
            }
            Ok(ring)
        };
        let send = check(interface.tx_ring(u32::from(tx.start)))?;
        let receive = rx
            .map(|i| {
                let ring = check(interface.rx_ring(u32::from(i)))?;
                Ok(Lane::new(ring))
            })
            .collect::<io::Result<Vec<_>>>()?;
        let queue = Self {
            kernel,
            memory: Arc::clone(memory),
            receive,
            sent: send.head(),
            send,
            turn: 0,
            checksum: Checksum::Unknown,
            limits: Limits::NONE,
            stats: Stats::default(),
            spares: Vec::new(),
            parts: Vec::new(),
        };
        queue.take_spare_buffers(&interface)?;
        Ok(queue)
    }

    /// Sets what received frames say of their transport checksum: [`Checksum::MaybePartial`] where
    /// the interface is of the virtual kind whose peer leaves it to offload hardware.
    #[must_use]
    pub fn with_checksum(mut self, checksum: Checksum) -> Self {
        self.checksum = checksum;
        self
    }

    /// Sets what its interface sends; without, [`Limits::NONE`] hold.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The kernel's side.
    pub const fn kernel(&self) -> &K {
        &self.kernel
    }

    /// The memory that its frames lie in.
    pub const fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    fn take_spare_buffers(&self, interface: &Interface) -> io::Result<()> {
        let mut pool = Pool::new(Arc::clone(&self.memory));
        let mut next = interface.spare_buffers();
        interface.set_spare_buffers(0);
        let mut left = self.memory.count();
        while next != 0 {
            if next >= self.memory.count() || left == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "netmap: the list of spare buffers is broken",
                ));
            }
            left -= 1;
            let mut buffer = Buffer(next);
            let bytes = pool.buffer_mut(&mut buffer);
            next = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            pool.free(buffer);
        }
        Ok(())
    }

    /// Frames of another region cannot be exchanged into the rings.
    #[inline]
    fn check_region(&self, pool: &Pool) -> Result<(), PortError> {
        if Arc::ptr_eq(pool.memory(), &self.memory) {
            return Ok(());
        }
        Err(PortError::Io(io::Error::new(
            io::ErrorKind::InvalidInput,
            "netmap: the pool is of another memory region",
        )))
    }
}

impl<K: Kernel> Queue<K> {
    fn txsync(&mut self) -> Result<(), PortError> {
        self.kernel.txsync().map_err(port_error)?;
        if self.send.head() == self.sent { Ok(()) } else { Err(PortError::Reset) }
    }

    fn rxsync(&mut self) -> Result<(), PortError> {
        self.kernel.rxsync().map_err(port_error)?;
        let kept = self.receive.iter().all(Lane::is_as_left);
        if kept { Ok(()) } else { Err(PortError::Reset) }
    }

    /// Slots that the application may fill.
    #[inline]
    fn space(&self) -> u32 {
        self.send.distance(self.sent, self.send.tail())
    }

    /// Free slots of which poll(2) would tell now.
    #[cfg(test)]
    pub(super) fn room_waited_for(&self) -> u32 {
        self.send.distance(self.send.cur(), self.send.tail())
    }

    /// Whether the kernel has sent everything and given all slots back.
    fn all_sent(&self) -> bool {
        self.space() == self.send.slots() - 1
    }

    /// Whether the frame can never leave by this port.
    #[inline]
    fn is_unfit(&self, frame: &Frame) -> bool {
        frame.is_empty()
            || frame.len() > self.limits.longest
            || frame.meta.gso.is_some()
            || matches!(frame.meta.checksum, Checksum::Partial { .. })
    }

    /// Puts a buffer's bytes into slot `at` and gives its old buffer to the pool.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "2 ns a frame otherwise")]
    fn put(
        ring: &Ring,
        at: u32,
        pool: &mut Pool,
        (buffer, offset, length): (Buffer, usize, usize),
        flags: u16,
    ) {
        // Slots have no room for an offset, and nothing in a region of netmap has one.
        assert!(offset == 0, "a frame that does not begin where its buffer does");
        let old = ring.slot(at).index;
        let flags = flags | NS_BUF_CHANGED;
        ring.set_slot(at, Slot { index: buffer.0, length: length as u16, flags });
        pool.free(Buffer(old));
    }

    /// Moves frames into free slots. Returns how many, and whether the ring was too full for one.
    fn fill(&mut self, pool: &mut Pool, queue: &mut VecDeque<Frame>) -> (usize, bool) {
        let ring = &self.send;
        let mut space = self.space();
        let mut head = self.sent;
        let mut sent = 0;
        let mut full = false;
        while let Some(frame) = queue.front_mut() {
            let mut fit = !self.is_unfit(frame);
            if fit && frame.is_single() {
                if space == 0 {
                    full = true;
                    break;
                }
                let part = (Buffer(frame.buffer), frame.offset as usize, frame.length as usize);
                // Its one buffer is `part` now. (Moving the frame out whole to take it apart cost
                // 10 ns: the copy is read back before its parts have been written.)
                let _ = queue.pop_front();
                Self::put(ring, head, pool, part, 0);
                head = ring.next(head);
                space -= 1;
                sent += 1;
                continue;
            }
            if fit && !self.limits.chains {
                if pool.gather(frame) {
                    continue;
                }
                fit = false;
            }
            let slots = pool.segments(frame).filter(|bytes| !bytes.is_empty()).count();
            if fit && slots < ring.slots() as usize && slots > space as usize {
                full = true;
                break;
            }
            let Some(frame) = queue.pop_front() else { break };
            if !fit || slots >= ring.slots() as usize {
                self.stats.unsendable += 1;
                pool.release(frame);
                continue;
            }
            self.parts.extend(pool.parts(frame));
            let mut left = slots;
            for (buffer, offset, length) in self.parts.drain(..) {
                if length == 0 {
                    pool.free(buffer);
                    continue;
                }
                left -= 1;
                let flags = if left == 0 { 0 } else { NS_MOREFRAG };
                Self::put(ring, head, pool, (buffer, offset, length), flags);
                head = ring.next(head);
            }
            space -= slots as u32;
            sent += 1;
        }
        // Who waits for room waits for more than there is: a chain may not fit into what is left.
        ring.set_cur(if full { ring.tail() } else { head });
        ring.set_head(head);
        self.sent = head;
        (sent, full)
    }
}

impl<K: Kernel> Port for Queue<K> {
    fn kind(&self) -> Kind {
        self.kernel.kind()
    }

    fn receive(
        &mut self,
        pool: &mut Pool,
        port: u8,
        frames: &mut Vec<Frame>,
        max: usize,
    ) -> Result<usize, PortError> {
        self.check_region(pool)?;
        let lanes = self.receive.len();
        let mut received = 0;
        for k in 0..lanes {
            let lane = (self.turn + k) % lanes;
            let (taken, end) = self.receive_from(lane, pool, port, frames, max - received);
            received += taken;
            if end == End::PoolEmpty {
                self.stats.pool_empty += 1;
                break;
            }
        }
        self.turn = (self.turn + 1) % lanes.max(1);
        self.stats.received += received as u64;
        Ok(received)
    }

    fn transmit(
        &mut self,
        pool: &mut Pool,
        queue: &mut VecDeque<Frame>,
    ) -> Result<usize, PortError> {
        self.check_region(pool)?;
        let (mut sent, mut full) = self.fill(pool, queue);
        if full {
            // The ring demands a call: what was sent meanwhile makes room.
            self.stats.transmitted += sent as u64;
            self.txsync()?;
            let (more, still) = self.fill(pool, queue);
            self.stats.transmitted += more as u64;
            sent += more;
            full = still;
        } else {
            self.stats.transmitted += sent as u64;
        }
        self.stats.transmit_full += u64::from(full);
        Ok(sent)
    }

    fn flush(&mut self, pool: &mut Pool) -> Result<(), PortError> {
        self.check_region(pool)?;
        if !self.all_sent() {
            self.txsync()?;
        }
        self.rxsync()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.kernel.descriptor()
    }

    fn stats(&self) -> Stats {
        self.stats
    }

    /// netmap(4) shows an error where a ring is disabled, which the syncs tell too, or was found in
    /// disorder.
    fn error_shown(&mut self) -> Result<(), PortError> {
        self.txsync()?;
        self.rxsync()?;
        Err(PortError::Reset)
    }

    /// Starts what is still in the transmit ring. The rings keep the buffers in their slots, which
    /// netmap frees with the registration.
    fn close(&mut self, _pool: &mut Pool) {
        if !self.all_sent() {
            let _ = self.kernel.txsync();
        }
    }
}

/// A vanished interface answers with these (seen on the real module: `EIO` after `POLLERR`).
fn port_error(error: io::Error) -> PortError {
    match error.raw_os_error() {
        Some(libc::EIO | libc::ENXIO | libc::ENODEV) => PortError::Gone,
        _ => PortError::Io(error),
    }
}
