//! `AF_PACKET` port: works on every interface, and carries segmentation offload and partial
//! checksums from one port to the other (`packet(7)`).
//!
//! Each worker has a socket; a fanout group spreads flows over them by a hash that is the same in
//! both directions. recvmmsg(2) and sendmmsg(2) move batches and never wait, so that no frame waits
//! for a block to fill or to time out, as `TPACKET_V3` makes it. A frame may fill up to
//! [`SEGMENTS`] buffers; the distance of two buffers is an odd number of cache lines, since with a
//! power of two the headers of all frames would compete for the same few lines of the cache.
//!
//! The kernel takes the outer tag out of every frame before we see it; it is put back. On the way
//! out the kernel allows the MTU plus one tag: a longer frame (full-sized with two tags, at the
//! default MTU) counts as [`Stats::unsendable`].

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::frame::{Checksum, Frame, Gso, GsoKind, Meta};
use crate::port::{Kind, Port, PortError, Stats};
use crate::sys::memory::{Memory, Pool};
use crate::sys::packet::{
    self, Arrival, BATCH, DATA_VALID, Fanout, GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP,
    GSO_UDP_L4, HEADROOM, NEEDS_CSUM, Receiver, SEGMENTS, Transmitter, VirtioHeader,
};
use crate::sys::socket;

/// Distance of two buffers: four of them hold the largest train (65,535 bytes of IP, Ethernet
/// header, two tags) and the headroom; 257 cache lines, an odd number.
pub const STRIDE: usize = 257 * 64;

const _: () = assert!(SEGMENTS * STRIDE >= HEADROOM + 65_535 + 14 + 8);

/// Bytes that may wait in a socket's queue on either side: some hundred trains or some ten thousand
/// small frames, as the kernel accounts for them.
const QUEUE_BYTES: u32 = 16 << 20;

/// How long a frame may be refused for want of room before it is dropped. The driver's queue moves
/// within that; what is refused longer will be refused for ever, as by a veth peer whose MTU is
/// smaller, and must not stop what waits behind it.
const PATIENCE: Duration = Duration::from_millis(10);

/// 802.1Q: tag protocol identifier and tag control information.
const TAG: usize = 4;
/// Both MAC addresses, in front of the tag.
const ADDRESSES: usize = 12;

/// One worker's socket on one interface.
pub struct PacketPort {
    socket: OwnedFd,
    /// Answers questions about the interface, which the socket cannot once it is unbound.
    control: OwnedFd,
    interface: u32,
    receiver: Receiver,
    transmitter: Transmitter,
    /// Since when the frame at the head of the queue has been refused for want of room.
    refused: Option<Instant>,
    /// Length of the shortest frame that ran out of [`PATIENCE`] since the last one as long was
    /// sent: for such frames it is known what a refusal means.
    too_long: usize,
    stats: Stats,
    missed: Cell<u64>,
    /// Whatever has to stay open as long as the port is.
    _guard: Option<Arc<OwnedFd>>,
}

impl PacketPort {
    /// Opens `workers` sockets on the interface with index `interface`. `guard` stays open until
    /// the last of the ports is dropped.
    pub(crate) fn open(
        interface: u32,
        workers: usize,
        memory: &Arc<Memory>,
        guard: Option<&Arc<OwnedFd>>,
    ) -> io::Result<Vec<Self>> {
        let mut ports = Vec::with_capacity(workers);
        let mut fanout = if workers > 1 { Fanout::Found } else { Fanout::Alone };
        for _ in 0..workers {
            let socket = packet::open(interface, QUEUE_BYTES, fanout)?;
            if fanout == Fanout::Found {
                fanout = Fanout::Join(packet::fanout_group(socket.as_fd())?);
            }
            ports.push(Self {
                socket,
                control: socket::control()?,
                interface,
                receiver: Receiver::new(Arc::clone(memory)),
                transmitter: Transmitter::new(),
                refused: None,
                too_long: usize::MAX,
                stats: Stats::default(),
                missed: Cell::new(0),
                _guard: guard.cloned(),
            });
        }
        Ok(ports)
    }

    /// Makes a frame of what lies in slot `index` of the receiver, and puts its tag back.
    fn frame(&mut self, pool: &mut Pool, index: usize, arrival: &Arrival) -> Option<Frame> {
        let meta = meta(&arrival.header)?;
        let capacity = pool.memory().buffer_size();
        let mut rest = arrival.length;
        let here = rest.min(capacity - HEADROOM);
        let buffer = self.receiver.take(index, 0)?;
        let mut frame = pool.frame(buffer, HEADROOM, here, meta);
        rest -= here;
        let mut last = frame.buffer;
        for segment in 1..SEGMENTS {
            if rest == 0 {
                break;
            }
            let here = rest.min(capacity);
            let Some(buffer) = self.receiver.take(index, segment) else {
                pool.release(frame);
                return None;
            };
            pool.append(&mut frame, &mut last, buffer, 0, here);
            rest -= here;
        }
        if let Some(tag) = arrival.tag {
            restore_tag(pool, &mut frame, tag);
        }
        Some(frame)
    }

    /// Whether the frame at the head of the queue, which was just refused for want of room, will
    /// always be.
    fn is_hopeless(&mut self, queue: &VecDeque<Frame>) -> bool {
        let length = queue.front().map_or(0, Frame::len);
        let since = *self.refused.get_or_insert_with(Instant::now);
        let hopeless = length >= self.too_long || since.elapsed() > PATIENCE;
        if hopeless {
            self.refused = None;
            self.too_long = self.too_long.min(length);
        }
        hopeless
    }

    /// What an error of the socket means: the interface is gone, or nothing that lasts (it is
    /// down, its queue is full, the kernel has no memory), or something else.
    fn judge(&self, error: io::Error) -> Result<(), PortError> {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR | libc::ENOBUFS | libc::ENOMEM) => Ok(()),
            Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => {
                match socket::interface_name(self.control.as_fd(), self.interface) {
                    Ok(_) => Ok(()),
                    Err(_) => Err(PortError::Gone),
                }
            }
            _ => Err(PortError::Io(error)),
        }
    }
}

impl Port for PacketPort {
    fn kind(&self) -> Kind {
        Kind::Packet
    }

    fn receive(
        &mut self,
        pool: &mut Pool,
        port: u8,
        frames: &mut Vec<Frame>,
        max: usize,
    ) -> Result<usize, PortError> {
        let mut total = 0;
        // What is of no use counts too: a flood of it must not keep the worker here.
        let mut taken = 0;
        while taken < max {
            let wanted = (max - taken).min(BATCH);
            let posted = self.receiver.post(pool, wanted);
            if posted == 0 {
                self.stats.pool_empty += 1;
                break;
            }
            let came = match self.receiver.receive(self.socket.as_fd(), posted) {
                Ok(came) => came,
                // A train of a kind that virtio-net headers have no word for (SCTP, tunnels): the
                // kernel has dropped it.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    self.stats.malformed += 1;
                    taken += 1;
                    continue;
                }
                Err(error) => {
                    self.judge(error)?;
                    break;
                }
            };
            taken += came;
            for index in 0..came {
                let arrival = self.receiver.arrival(pool, index);
                let frame = if arrival.broken || arrival.length == 0 {
                    None
                } else {
                    self.frame(pool, index, &arrival)
                };
                let Some(mut frame) = frame else {
                    self.stats.malformed += 1;
                    continue;
                };
                frame.port = port;
                frames.push(frame);
                total += 1;
            }
            if came < posted {
                break;
            }
        }
        self.stats.received += total as u64;
        Ok(total)
    }

    fn transmit(
        &mut self,
        pool: &mut Pool,
        queue: &mut VecDeque<Frame>,
    ) -> Result<usize, PortError> {
        let mut total = 0;
        while !queue.is_empty() {
            let error = match self.transmitter.send(self.socket.as_fd(), pool, queue, describe) {
                Ok(0) => {
                    release_first(pool, queue, &mut self.stats.unsendable);
                    continue;
                }
                Ok(sent) => {
                    self.refused = None;
                    for frame in queue.drain(..sent) {
                        if frame.len() >= self.too_long {
                            self.too_long = usize::MAX;
                        }
                        pool.release(frame);
                    }
                    total += sent;
                    self.stats.transmitted += sent as u64;
                    continue;
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                // Longer than the MTU allows, or a header that does not fit the frame.
                Some(libc::EMSGSIZE | libc::EINVAL) => {
                    release_first(pool, queue, &mut self.stats.unsendable);
                }
                // Down or without carrier, no queue will ever move: a bridge drops there.
                Some(libc::ENETDOWN | libc::ENOBUFS)
                    if matches!(
                        socket::interface_running(self.control.as_fd(), self.interface),
                        Ok(false)
                    ) =>
                {
                    while !queue.is_empty() {
                        release_first(pool, queue, &mut self.stats.unsendable);
                    }
                }
                code => {
                    self.judge(error)?;
                    if code == Some(libc::ENOBUFS) && self.is_hopeless(queue) {
                        release_first(pool, queue, &mut self.stats.unsendable);
                        continue;
                    }
                    self.stats.transmit_full += 1;
                    break;
                }
            }
        }
        Ok(total)
    }

    fn flush(&mut self, _pool: &mut Pool) -> Result<(), PortError> {
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn stats(&self) -> Stats {
        // The kernel's counter starts again with every reading.
        let missed =
            self.missed.get() + u64::from(packet::drops(self.socket.as_fd()).unwrap_or_default());
        self.missed.set(missed);
        Stats { missed, ..self.stats }
    }

    fn carries_offloads(&self) -> bool {
        true
    }

    fn close(&mut self, pool: &mut Pool) {
        self.receiver.close(pool);
    }
}

fn release_first(pool: &mut Pool, queue: &mut VecDeque<Frame>, counter: &mut u64) {
    if let Some(frame) = queue.pop_front() {
        pool.release(frame);
        *counter += 1;
    }
}

/// Metadata from a virtio-net header; `None` for a train that there is no word for.
fn meta(header: &VirtioHeader) -> Option<Meta> {
    let checksum = if header.flags & NEEDS_CSUM != 0 {
        Checksum::Partial { start: header.csum_start, offset: header.csum_offset }
    } else if header.flags & DATA_VALID != 0 {
        Checksum::Complete
    } else {
        Checksum::Unknown
    };
    let kind = match header.gso_type & !GSO_ECN {
        GSO_NONE => return Some(Meta { checksum, gso: None }),
        GSO_TCPV4 => GsoKind::Tcp4,
        GSO_TCPV6 => GsoKind::Tcp6,
        GSO_UDP => GsoKind::Udp,
        GSO_UDP_L4 => GsoKind::UdpL4,
        _ => return None,
    };
    let gso = Gso {
        kind,
        ecn: header.gso_type & GSO_ECN != 0,
        size: header.gso_size,
        header: header.hdr_len,
    };
    Some(Meta { checksum, gso: Some(gso) })
}

/// The virtio-net header for a frame; `None` if its metadata points outside of it.
fn describe(frame: &Frame) -> Option<VirtioHeader> {
    let mut header = VirtioHeader::default();
    if let Checksum::Partial { start, offset } = frame.meta.checksum {
        if usize::from(start) + usize::from(offset) + 2 > frame.len() {
            return None;
        }
        header.flags = NEEDS_CSUM;
        header.csum_start = start;
        header.csum_offset = offset;
    }
    if let Some(gso) = frame.meta.gso {
        header.gso_type = match gso.kind {
            GsoKind::Tcp4 => GSO_TCPV4,
            GsoKind::Tcp6 => GSO_TCPV6,
            GsoKind::Udp => GSO_UDP,
            GsoKind::UdpL4 => GSO_UDP_L4,
        };
        if gso.ecn {
            header.gso_type |= GSO_ECN;
        }
        header.gso_size = gso.size;
        header.hdr_len = gso.header;
    }
    Some(header)
}

/// Puts a tag back between the MAC addresses and the type, into the headroom.
fn restore_tag(pool: &mut Pool, frame: &mut Frame, (tpid, tci): (u16, u16)) {
    if (frame.length as usize) < ADDRESSES {
        return;
    }
    frame.offset -= TAG as u32;
    frame.length += TAG as u32;
    frame.total += TAG as u32;
    let head = pool.head_mut(frame);
    head.copy_within(TAG..TAG + ADDRESSES, 0);
    head[ADDRESSES..ADDRESSES + 2].copy_from_slice(&tpid.to_be_bytes());
    head[ADDRESSES + 2..ADDRESSES + TAG].copy_from_slice(&tci.to_be_bytes());
    if let Checksum::Partial { start, .. } = &mut frame.meta.checksum {
        *start = start.saturating_add(TAG as u16);
    }
    if let Some(gso) = &mut frame.meta.gso {
        gso.header = gso.header.saturating_add(TAG as u16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAIN: VirtioHeader = VirtioHeader {
        flags: NEEDS_CSUM,
        gso_type: GSO_TCPV6 | GSO_ECN,
        hdr_len: 86,
        gso_size: 1428,
        csum_start: 54,
        csum_offset: 16,
    };

    #[test]
    fn header_survives_the_way_through_metadata() {
        let memory = Memory::new(8, STRIDE).unwrap();
        let mut pool = Pool::new(memory);
        let mut frame = pool.copy(&[0; 200]).unwrap();
        frame.meta = meta(&TRAIN).unwrap();
        assert_eq!(
            frame.meta,
            Meta {
                checksum: Checksum::Partial { start: 54, offset: 16 },
                gso: Some(Gso { kind: GsoKind::Tcp6, ecn: true, size: 1428, header: 86 }),
            }
        );
        let header = describe(&frame).unwrap();
        assert_eq!(
            (header.flags, header.gso_type, header.hdr_len, header.gso_size),
            (TRAIN.flags, TRAIN.gso_type, TRAIN.hdr_len, TRAIN.gso_size)
        );
        assert_eq!((header.csum_start, header.csum_offset), (54, 16));
        pool.resize(&mut frame, 60);
        assert!(describe(&frame).is_none(), "the checksum field lies behind the frame");
        pool.release(frame);
    }

    #[test]
    fn unknown_train_has_no_metadata() {
        assert_eq!(meta(&VirtioHeader { gso_type: 9, ..TRAIN }), None);
        assert_eq!(meta(&VirtioHeader::default()), Some(Meta::default()));
        assert_eq!(
            meta(&VirtioHeader { flags: DATA_VALID, ..VirtioHeader::default() }),
            Some(Meta { checksum: Checksum::Complete, gso: None })
        );
    }

    #[test]
    fn restored_tag_moves_addresses_and_offsets() {
        let memory = Memory::new(8, STRIDE).unwrap();
        let mut pool = Pool::new(memory);
        let bytes: Vec<u8> = (0..64).collect();
        let mut frame = pool.copy(&bytes).unwrap();
        frame.meta = meta(&TRAIN).unwrap();
        restore_tag(&mut pool, &mut frame, (0x88a8, 0x2123));
        assert_eq!(frame.len(), 68);
        let head = pool.head(&frame);
        assert_eq!(head[..12], bytes[..12]);
        assert_eq!(head[12..16], [0x88, 0xa8, 0x21, 0x23]);
        assert_eq!(head[16..], bytes[12..]);
        assert_eq!(frame.meta.checksum, Checksum::Partial { start: 58, offset: 16 });
        assert_eq!(frame.meta.gso.unwrap().header, 90);
        pool.release(frame);
    }
}
