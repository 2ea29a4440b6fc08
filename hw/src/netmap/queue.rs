//! The application side of a netmap registration.
//!
//! Receiving takes the buffer out of a slot and puts a spare one of the pool in its place; sending
//! puts the frame's buffer into a slot and takes the slot's old one to the pool. So a frame crosses
//! from one port to another of the same region without a copy, both slots are marked
//! `NS_BUF_CHANGED`, and every slot of every ring holds a buffer at all times, as netmap demands.
//!
//! Of several TX rings only the first is used: order within a flow is kept without a thought, and a
//! single worker does not fill more than one.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use netmap_sys::netmap::{NS_BUF_CHANGED, NS_MOREFRAG, nmreq};

use crate::frame::{Checksum, Frame, Meta};
use crate::netmap::request::rings_of;
use crate::netmap::{Kernel, double};
use crate::port::{Kind, Port, PortError, Stats};
use crate::sys::memory::{Buffer, Memory, Pool};
use crate::sys::netmap::{Interface, Ring, Slot, signed};

/// A queue of the memory port: netmap's application side on the [`double`].
pub type MemoryPort = Queue<double::Registration>;

/// The rings of one registration.
#[derive(Debug)]
pub struct Queue<K> {
    kernel: K,
    memory: Arc<Memory>,
    receive: Vec<Lane>,
    send: Ring,
    /// Which of the RX rings is served first in the next round.
    turn: usize,
    /// What received frames say of their transport checksum.
    checksum: Checksum,
    stats: Stats,
    /// For chains: spare buffers on their way in, and parts on their way out. Empty between calls.
    spares: Vec<Buffer>,
    parts: Vec<(Buffer, usize, usize)>,
}

/// One RX ring.
#[derive(Debug)]
struct Lane {
    ring: Ring,
    /// In the middle of a chain that is too long for the ring: its slots are passed over.
    discarding: bool,
}

/// How serving an RX ring ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing is left, or `max` frames are taken.
    Done,
    /// The pool has no more buffers.
    PoolEmpty,
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
                Ok(Lane { ring, discarding: false })
            })
            .collect::<io::Result<Vec<_>>>()?;
        let queue = Self {
            kernel,
            memory: Arc::clone(memory),
            receive,
            send,
            turn: 0,
            checksum: Checksum::Unknown,
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

    fn receive_from(
        &mut self,
        lane: usize,
        pool: &mut Pool,
        port: u8,
        frames: &mut Vec<Frame>,
        max: usize,
    ) -> (usize, End) {
        let Self { receive, stats, spares, checksum, .. } = self;
        let Lane { ring, discarding } = &mut receive[lane];
        let meta = Meta { checksum: *checksum, gso: None };
        let capacity = pool.memory().buffer_size();
        let tail = ring.tail();
        let mut head = ring.head();
        let mut wait_at = None;
        let mut end = End::Done;
        let mut taken = 0;
        while taken < max && head != tail {
            let slot = ring.slot(head);
            if slot.flags & NS_MOREFRAG != 0 || *discarding {
                match receive_chain(ring, discarding, &mut head, tail, pool, meta, spares) {
                    Chain::Frame(mut frame) => {
                        frame.port = port;
                        frames.push(frame);
                        taken += 1;
                    }
                    Chain::Passed => {}
                    Chain::Malformed => stats.malformed += 1,
                    Chain::PoolEmpty => {
                        end = End::PoolEmpty;
                        break;
                    }
                    Chain::Incomplete => {
                        // To be woken by the next slot, not by those that are there.
                        wait_at = Some(tail);
                        break;
                    }
                }
                continue;
            }
            if slot.length == 0 || slot.length as usize > capacity {
                stats.malformed += 1;
                head = ring.next(head);
                continue;
            }
            let Some(spare) = pool.allocate() else {
                end = End::PoolEmpty;
                break;
            };
            ring.set_slot(head, Slot { index: spare.0, length: 0, flags: NS_BUF_CHANGED });
            let mut frame = pool.frame(Buffer(slot.index), 0, slot.length as usize, meta);
            frame.port = port;
            frames.push(frame);
            head = ring.next(head);
            taken += 1;
        }
        ring.set_cur(wait_at.unwrap_or(head));
        ring.set_head(head);
        (taken, end)
    }
}

/// What was at the head of an RX ring.
enum Chain {
    /// A whole chain, taken.
    Frame(Frame),
    /// The rest of a chain that is too long, passed over.
    Passed,
    /// A broken chain, passed over; or the beginning of one that is too long.
    Malformed,
    /// A whole chain, left there for want of spare buffers.
    PoolEmpty,
    /// The beginning of a chain.
    Incomplete,
}

/// Takes the chain that begins at `head` and moves `head` behind it.
#[cold]
fn receive_chain(
    ring: &Ring,
    discarding: &mut bool,
    head: &mut u32,
    tail: u32,
    pool: &mut Pool,
    meta: Meta,
    spares: &mut Vec<Buffer>,
) -> Chain {
    let capacity = pool.memory().buffer_size();
    let mut at = *head;
    let mut sound = true;
    let mut slots = 0;
    loop {
        if at == tail {
            if *discarding || slots == ring.slots() - 1 {
                // Nothing else can come into the ring before these slots are gone.
                let begins = !*discarding;
                *discarding = true;
                *head = at;
                return if begins { Chain::Malformed } else { Chain::Passed };
            }
            return Chain::Incomplete;
        }
        let slot = ring.slot(at);
        at = ring.next(at);
        slots += 1;
        sound &= slot.length != 0 && slot.length as usize <= capacity;
        if slot.flags & NS_MOREFRAG == 0 {
            break;
        }
    }
    if *discarding || !sound {
        let passed = *discarding;
        *discarding = false;
        *head = at;
        return if passed { Chain::Passed } else { Chain::Malformed };
    }
    while spares.len() < slots as usize {
        let Some(spare) = pool.allocate() else {
            for spare in spares.drain(..) {
                pool.free(spare);
            }
            return Chain::PoolEmpty;
        };
        spares.push(spare);
    }
    let mut chain: Option<(Frame, u32)> = None;
    for spare in spares.drain(..) {
        let slot = ring.slot(*head);
        ring.set_slot(*head, Slot { index: spare.0, length: 0, flags: NS_BUF_CHANGED });
        *head = ring.next(*head);
        let (buffer, length) = (Buffer(slot.index), slot.length as usize);
        match &mut chain {
            None => chain = Some((pool.frame(buffer, 0, length, meta), slot.index)),
            Some((frame, last)) => pool.append(frame, last, buffer, 0, length),
        }
    }
    chain.map_or(Chain::Passed, |(frame, _)| Chain::Frame(frame))
}

impl<K: Kernel> Queue<K> {
    /// Slots that the application may fill.
    #[inline]
    fn space(&self) -> u32 {
        self.send.distance(self.send.head(), self.send.tail())
    }

    /// Whether the kernel has sent everything and given all slots back.
    fn all_sent(&self) -> bool {
        self.space() == self.send.slots() - 1
    }

    /// Whether the frame can never leave by this port.
    #[inline]
    fn is_unfit(frame: &Frame) -> bool {
        frame.is_empty()
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
        (mut buffer, offset, length): (Buffer, usize, usize),
        flags: u16,
    ) {
        if offset != 0 {
            Self::move_to_front(pool, &mut buffer, offset, length);
        }
        let old = ring.slot(at).index;
        let flags = flags | NS_BUF_CHANGED;
        ring.set_slot(at, Slot { index: buffer.0, length: length as u16, flags });
        pool.free(Buffer(old));
    }

    /// Slots have no room for an offset. Only frames made here begin behind one.
    #[cold]
    fn move_to_front(pool: &mut Pool, buffer: &mut Buffer, offset: usize, length: usize) {
        pool.buffer_mut(buffer).copy_within(offset..offset + length, 0);
    }

    /// Moves frames into free slots. Returns how many, and whether the ring was too full for one.
    fn fill(&mut self, pool: &mut Pool, queue: &mut VecDeque<Frame>) -> (usize, bool) {
        let ring = &self.send;
        let mut space = self.space();
        let mut head = ring.head();
        let mut sent = 0;
        let mut full = false;
        while let Some(frame) = queue.front() {
            let fit = !Self::is_unfit(frame);
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
        ring.set_cur(head);
        ring.set_head(head);
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
            self.kernel.txsync().map_err(port_error)?;
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
            self.kernel.txsync().map_err(port_error)?;
        }
        self.kernel.rxsync().map_err(port_error)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.kernel.descriptor()
    }

    fn stats(&self) -> Stats {
        self.stats
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
