//! `AF_XDP` port: rings shared with the driver, past the kernel's network stack (`af_xdp.rst`).
//!
//! A program in the driver gives each frame to the socket of its receive queue, or drops it where
//! there is none. One [`XdpPort`] holds all queues of an interface that its worker owns: worker `w`
//! of `n` has the queues `q` with `q % n == w`, and sends on the first of them, so that the order of
//! a flow is kept. All sockets of both interfaces share one UMEM, the bridge's [`Memory`]; each
//! (interface, queue) has its own fill and completion ring. A frame that is forwarded is a
//! descriptor that moves, nothing is copied on this side.
//!
//! Life of a buffer: fill ring, driver, RX ring, [`Frame`], TX ring of the other port, completion
//! ring, pool. As many buffers as the rings have entries are at the receiving side at any time:
//! [`Port::receive`] puts one into the fill ring for each that it takes out.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll;

use crate::frame::{Checksum, Frame, Meta};
use crate::nic::Interface;
use crate::port::{FRAMING, Kind, Port, PortError, Stats};
use crate::sys::bpf;
use crate::sys::memory::{Memory, Pool};
use crate::sys::ring::CONTINUED;
use crate::sys::socket;
use crate::sys::xdp::{Account, Mode, XdpSocket, collect};

/// Distance of two buffers in bytes: what the kernel calls a chunk, a page at most.
pub const STRIDE: usize = 4096;
/// What the driver leaves free in front of a frame (`XDP_PACKET_HEADROOM`).
const HEADROOM: usize = 256;
/// Bytes of a frame that one buffer holds.
pub(crate) const PAYLOAD: usize = STRIDE - HEADROOM;
/// Entries in each ring.
pub(crate) const RING: u32 = 2048;
/// Buffers that one sent frame may have (`MAX_SKB_FRAGS` + 1).
const SEGMENTS: usize = 18;
/// Shortest frame that has a header.
const SHORTEST: usize = 14;
/// How often the kernel is asked to go on sending when it makes no progress.
const STALLS: u32 = 64;

/// A receive queue and its socket.
struct Queue {
    socket: XdpSocket,
    /// A frame of which not all buffers have come yet, and the last one so far.
    partial: Option<(Frame, u32)>,
    /// The rest of the frame that is coming is of no use.
    skipping: bool,
}

/// One worker's queues of one interface.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states of one thing")]
pub struct XdpPort {
    queues: Vec<Queue>,
    /// Which queue is looked at first, so that none starves.
    turn: usize,
    account: Account,
    /// An epoll(7) descriptor that is readable when one of several sockets is.
    watch: Option<OwnedFd>,
    /// Answers questions about the interface, which the sockets cannot once they are unbound.
    control: OwnedFd,
    interface: u32,
    /// Longest frame in bytes.
    longest: usize,
    mode: Mode,
    meta: Meta,
    stats: Stats,
    /// Nothing has moved since the last flush.
    idle: bool,
    /// In copy mode: the kernel has not taken everything out of the TX ring.
    sending: bool,
    /// The kernel serves the NIC when it is asked.
    busy_poll: bool,
    /// The interface was down when the kernel was last asked to send.
    down: bool,
    /// Detaches the program with the last port of the interface.
    link: Option<Arc<OwnedFd>>,
}

/// Sockets of one interface that have no program in front of them yet.
pub(crate) struct Bound {
    interface: Interface,
    /// By queue number.
    queues: Vec<(Queue, Account)>,
    busy_poll: bool,
}

impl Bound {
    /// Binds a socket for every queue of `interface`. `first` is the socket that registered the
    /// memory, `None` for the first interface. When this fails, the memory is of no more use.
    pub(crate) fn new(
        interface: &Interface,
        mode: Mode,
        pool: &mut Pool,
        first: Option<BorrowedFd<'_>>,
    ) -> io::Result<Self> {
        let mut queues: Vec<(Queue, Account)> = Vec::new();
        for queue in 0..interface.receive_queues {
            let first = first.or_else(|| queues.first().map(|(queue, _)| queue.socket.as_fd()));
            let memory = Arc::clone(pool.memory());
            let mut account = Account::new(Arc::clone(&memory));
            let mut filled = 0;
            let opened =
                XdpSocket::open(interface.index, queue, mode, &memory, RING, first, |ring| {
                    let mut reserved = ring.reserve(RING);
                    while reserved.room() > 0
                        && let Some(buffer) = pool.allocate()
                    {
                        reserved.push(account.give(buffer));
                        filled += 1;
                    }
                    reserved.commit();
                });
            let socket = opened?;
            if filled < RING {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            queues.push((Queue { socket, partial: None, skipping: false }, account));
        }
        Ok(Self { interface: interface.clone(), queues, busy_poll: false })
    }

    /// Has the kernel serve the NIC when the ports ask, rather than when it interrupts.
    pub(crate) fn prefer_busy_poll(&mut self) -> io::Result<()> {
        for (queue, _) in &self.queues {
            queue.socket.prefer_busy_poll()?;
        }
        self.busy_poll = true;
        Ok(())
    }

    /// The socket that registered the memory, if this is the first interface.
    pub(crate) fn first(&self) -> Option<BorrowedFd<'_>> {
        self.queues.first().map(|(queue, _)| queue.socket.as_fd())
    }

    /// Attaches the program and deals the queues out to `workers` ports.
    pub(crate) fn attach(
        self,
        mode: Mode,
        workers: usize,
        memory: &Arc<Memory>,
    ) -> io::Result<Vec<XdpPort>> {
        let map = bpf::socket_map(self.queues.len() as u32)?;
        for (number, (queue, _)) in (0..).zip(&self.queues) {
            bpf::set_socket(&map, number, queue.socket.as_fd())?;
        }
        let link = Arc::new(bpf::attach_redirect(&map, self.interface.index)?);
        let checksum = if self.interface.may_have_partial_checksums() {
            Checksum::MaybePartial
        } else {
            Checksum::Unknown
        };
        let mut ports = Vec::with_capacity(workers);
        for _ in 0..workers {
            ports.push(XdpPort {
                queues: Vec::new(),
                turn: 0,
                account: Account::new(Arc::clone(memory)),
                watch: None,
                control: socket::control()?,
                interface: self.interface.index,
                longest: self.interface.mtu as usize + FRAMING,
                mode,
                meta: Meta { checksum, gso: None },
                stats: Stats::default(),
                idle: true,
                sending: false,
                busy_poll: self.busy_poll,
                down: false,
                link: Some(Arc::clone(&link)),
            });
        }
        for (number, (queue, account)) in self.queues.into_iter().enumerate() {
            let port = &mut ports[number % workers];
            port.account.merge(&account);
            port.queues.push(queue);
        }
        for port in &mut ports {
            if port.queues.len() > 1 {
                port.watch = Some(watch(&port.queues)?);
            }
        }
        Ok(ports)
    }
}

/// Watches the sockets of several queues for frames.
fn watch(queues: &[Queue]) -> io::Result<OwnedFd> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (number, queue) in (0..).zip(queues) {
        let data = epoll::EventData::new_u64(number);
        epoll::add(&epoll, &queue.socket, data, epoll::EventFlags::IN)?;
    }
    Ok(epoll)
}

impl XdpPort {
    /// What an error of a socket means: the interface is gone, or nothing that lasts (it is down,
    /// it is busy), or something else.
    fn judge(&self, error: io::Error) -> Result<(), PortError> {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::ENOMEM | libc::EINTR) => Ok(()),
            Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => {
                match socket::interface_name(self.control.as_fd(), self.interface) {
                    Ok(_) => Ok(()),
                    Err(_) => Err(PortError::Gone),
                }
            }
            _ => Err(PortError::Io(error)),
        }
    }

    /// Takes up to `max` frames out of one queue's RX ring.
    fn receive_queue(
        &mut self,
        number: usize,
        pool: &mut Pool,
        port: u8,
        frames: &mut Vec<Frame>,
        max: usize,
    ) -> usize {
        let Queue { socket, partial, skipping } = &mut self.queues[number];
        let mut taken = socket.receive.take();
        let mut spare = socket.fill.reserve(taken.left().min(max as u32));
        let mut came = 0;
        while came < max && taken.left() > 0 && spare.room() > 0 {
            let Some(replacement) = pool.allocate() else {
                self.stats.pool_empty += 1;
                break;
            };
            spare.push(self.account.give(replacement));
            let Some(descriptor) = taken.next() else { break };
            let more = descriptor.options & CONTINUED != 0;
            match self.account.take_filled(descriptor) {
                // A buffer that the kernel never had, or nothing in it: the frame is of no use.
                None => *skipping = true,
                Some((buffer, _, 0)) => {
                    pool.free(buffer);
                    *skipping = true;
                }
                Some((buffer, ..)) if *skipping => pool.free(buffer),
                Some(filled) => collect(pool, partial, filled, self.meta),
            }
            if more {
                continue;
            }
            let whole = partial.take();
            if std::mem::take(skipping) {
                self.stats.malformed += 1;
                if let Some((frame, _)) = whole {
                    pool.release(frame);
                }
            } else if let Some((mut frame, _)) = whole {
                frame.port = port;
                frames.push(frame);
                came += 1;
            }
        }
        spare.commit();
        taken.commit();
        came
    }

    /// Gives finished buffers back to the pool.
    fn reap(&mut self, pool: &mut Pool) {
        for queue in &mut self.queues {
            let mut taken = queue.socket.completion.take();
            while let Some(address) = taken.next() {
                match self.account.take(address) {
                    Some(buffer) => pool.free(buffer),
                    None => self.stats.malformed += 1,
                }
            }
            taken.commit();
        }
    }

    /// Makes the kernel send what is in the TX ring; in copy mode it does so within the call, a part
    /// at a time.
    fn push_out(&mut self, pool: &mut Pool) -> Result<(), PortError> {
        self.sending = false;
        // Once the interface is up, poll(2) may have sent what there was.
        self.down = false;
        let mut stalls = 0;
        loop {
            let Some(queue) = self.queues.first_mut() else { return Ok(()) };
            let before = queue.socket.transmit.pending();
            if before == 0 || !queue.socket.transmit.needs_wakeup() {
                return Ok(());
            }
            let outcome = queue.socket.wake_transmit();
            let after = queue.socket.transmit.pending();
            if let Err(error) = outcome {
                self.down = error.raw_os_error() == Some(libc::ENETDOWN);
                self.judge(error)?;
                if self.down {
                    return Ok(());
                }
            } else if self.mode.zero_copy {
                // The driver goes on by itself.
                return Ok(());
            }
            if after == before {
                stalls += 1;
                if stalls == STALLS {
                    self.sending = !self.mode.zero_copy;
                    return Ok(());
                }
                // It may be the completion ring that is full.
                self.reap(pool);
            }
        }
    }
}

impl Port for XdpPort {
    fn kind(&self) -> Kind {
        Kind::Xdp
    }

    fn receive(
        &mut self,
        pool: &mut Pool,
        port: u8,
        frames: &mut Vec<Frame>,
        max: usize,
    ) -> Result<usize, PortError> {
        let mut came = 0;
        let count = self.queues.len();
        for step in 0..count {
            if came == max {
                break;
            }
            came += self.receive_queue((self.turn + step) % count, pool, port, frames, max - came);
        }
        self.turn = (self.turn + 1) % count.max(1);
        self.idle &= came == 0;
        self.stats.received += came as u64;
        Ok(came)
    }

    fn transmit(
        &mut self,
        pool: &mut Pool,
        queue: &mut VecDeque<Frame>,
    ) -> Result<usize, PortError> {
        if self.down {
            // A bridge drops there: what waited until the interface is up again would be stale.
            self.stats.unsendable += queue.len() as u64;
            queue.drain(..).for_each(|frame| pool.release(frame));
            return Ok(0);
        }
        let Some(first) = self.queues.first_mut() else { return Ok(0) };
        let mut reserved = first.socket.transmit.reserve(queue.len() as u32);
        let most = if self.mode.segments { SEGMENTS } else { 1 };
        let mut sent = 0;
        let mut full = false;
        while let Some(frame) = queue.front() {
            let segments = if frame.is_single() { 1 } else { pool.segments(frame).count() };
            let sendable = segments <= most
                && (SHORTEST..=self.longest).contains(&frame.len())
                && frame.meta.gso.is_none()
                && !matches!(frame.meta.checksum, Checksum::Partial { .. });
            full = sendable && !reserved.ensure(segments as u32);
            if full {
                break;
            }
            let Some(frame) = queue.pop_front() else { break };
            if sendable {
                self.account.give_frame(pool, frame, |descriptor| reserved.push(descriptor));
                sent += 1;
            } else {
                pool.release(frame);
                self.stats.unsendable += 1;
            }
        }
        reserved.commit();
        if full {
            self.stats.transmit_full += 1;
        }
        self.idle &= sent == 0;
        self.stats.transmitted += sent as u64;
        Ok(sent)
    }

    fn flush(&mut self, pool: &mut Pool) -> Result<(), PortError> {
        self.push_out(pool)?;
        self.reap(pool);
        for number in 0..self.queues.len() {
            let socket = &self.queues[number].socket;
            if (self.busy_poll || socket.fill.needs_wakeup())
                && let Err(error) = socket.wake_fill()
            {
                self.judge(error)?;
            }
        }
        // A socket whose interface has gone is silent; its error has to be asked for.
        if std::mem::replace(&mut self.idle, true)
            && let Some(queue) = self.queues.first()
            && let Err(error) = socket::take_error(queue.socket.as_fd())
        {
            self.judge(error)?;
        }
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.watch {
            Some(watch) => Some(watch.as_fd()),
            None => self.output_descriptor(),
        }
    }

    fn output_descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.queues.first().map(|queue| queue.socket.as_fd())
    }

    fn is_sending(&self) -> bool {
        self.sending
    }

    fn stats(&self) -> Stats {
        let missed = self.queues.iter().map(|queue| queue.socket.missed().unwrap_or_default());
        Stats { missed: missed.sum(), ..self.stats }
    }

    /// In copy mode nothing writes into the buffers once the sockets are closed, and all come back.
    /// In zero-copy mode the driver lets go of them some time later: those in its rings do not.
    fn close(&mut self, pool: &mut Pool) {
        self.reap(pool);
        self.watch = None;
        for queue in self.queues.drain(..) {
            if let Some((frame, _)) = queue.partial {
                pool.release(frame);
            }
        }
        self.link = None;
        if !self.mode.zero_copy {
            self.account.take_all(pool);
        }
    }
}
