//! `AF_PACKET` sockets: `packet(7)`, and virtio-net headers as virtio 1.2, 5.1.6 lays them out.
//!
//! [`Receiver`] keeps buffers posted for recvmmsg(2), [`Transmitter`] describes frames to
//! sendmmsg(2). Both hand the kernel pointers only for the length of one call, and only to bytes
//! that they, or frames they borrow, own.

use std::collections::VecDeque;
use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::memory::{Buffer, Memory, Pool};
use super::socket;
use crate::frame::Frame;

/// Bytes in front of a received frame: the virtio-net header lies at their end, and a tag that the
/// kernel took out has room.
pub(crate) const HEADROOM: usize = 64;
/// Buffers that one received frame may fill.
pub(crate) const SEGMENTS: usize = 4;
/// Frames that one system call moves.
pub(crate) const BATCH: usize = 64;

/// `struct virtio_net_hdr`, in the machine's byte order (`AF_PACKET` uses the legacy form).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct VirtioHeader {
    pub(crate) flags: u8,
    pub(crate) gso_type: u8,
    pub(crate) hdr_len: u16,
    pub(crate) gso_size: u16,
    pub(crate) csum_start: u16,
    pub(crate) csum_offset: u16,
}

/// The sum from `csum_start` to the end is to be stored at `csum_start + csum_offset`.
pub(crate) const NEEDS_CSUM: u8 = 1;
/// The checksum was verified.
pub(crate) const DATA_VALID: u8 = 2;
/// `VIRTIO_NET_HDR_GSO_NONE`
pub(crate) const GSO_NONE: u8 = 0;
/// `VIRTIO_NET_HDR_GSO_TCPV4`
pub(crate) const GSO_TCPV4: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_UDP`
pub(crate) const GSO_UDP: u8 = 3;
/// `VIRTIO_NET_HDR_GSO_TCPV6`
pub(crate) const GSO_TCPV6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`
pub(crate) const GSO_UDP_L4: u8 = 5;
/// `VIRTIO_NET_HDR_GSO_ECN`, or'ed to the type.
pub(crate) const GSO_ECN: u8 = 0x80;

const HEADER: usize = size_of::<VirtioHeader>();

/// `struct packet_mreq`
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Membership {
    interface: c_int,
    kind: u16,
    address_length: u16,
    address: [u8; 8],
}

/// `struct tpacket_stats`
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct Statistics {
    packets: u32,
    drops: u32,
}

/// Keeps an interface promiscuous for as long as the returned descriptor is open.
pub(crate) fn promiscuous(interface: u32) -> io::Result<OwnedFd> {
    // Protocol 0: the socket never receives anything.
    let fd = socket::open(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
    let membership = Membership {
        interface: interface.cast_signed(),
        kind: libc::PACKET_MR_PROMISC as u16,
        address_length: 0,
        address: [0; 8],
    };
    socket::set(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &membership)?;
    Ok(fd)
}

/// How the workers of one port share its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fanout {
    /// There is only one worker.
    Alone,
    /// Found a group; read its number with [`fanout_group`].
    Found,
    /// Join the group with this number.
    Join(u16),
}

/// A raw socket on one interface that carries offloads, is told about stripped tags, does not see
/// what it sends itself, and sends past the queueing discipline.
pub(crate) fn open(interface: u32, queue_bytes: u32, fanout: Fanout) -> io::Result<OwnedFd> {
    // Protocol 0 until bind: nothing arrives from other interfaces before.
    let socket = socket::open(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
    let fd = socket.as_fd();
    for option in [
        libc::PACKET_AUXDATA,
        libc::PACKET_VNET_HDR,
        libc::PACKET_IGNORE_OUTGOING,
        libc::PACKET_QDISC_BYPASS,
    ] {
        socket::set(fd, libc::SOL_PACKET, option, &1i32)?;
    }
    let bytes = i32::try_from(queue_bytes).unwrap_or(i32::MAX);
    for (force, plain) in
        [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
    {
        socket::set(fd, libc::SOL_SOCKET, force, &bytes)
            .or_else(|_| socket::set(fd, libc::SOL_SOCKET, plain, &bytes))?;
    }
    bind(fd, interface)?;
    if fanout != Fanout::Alone {
        let mut flags = libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING;
        let group = if let Fanout::Join(group) = fanout {
            group
        } else {
            flags |= libc::PACKET_FANOUT_FLAG_UNIQUEID;
            0
        };
        let value = u32::from(group) | flags << 16;
        socket::set(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, &value)?;
    }
    Ok(socket)
}

/// Number of the fanout group that a socket is in.
pub(crate) fn fanout_group(fd: BorrowedFd<'_>) -> io::Result<u16> {
    Ok(socket::get::<u32>(fd, libc::SOL_PACKET, libc::PACKET_FANOUT)? as u16)
}

/// Frames that the kernel dropped since the last call because the queue was full.
pub(crate) fn drops(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let statistics: Statistics = socket::get(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS)?;
    Ok(statistics.drops)
}

fn bind(fd: BorrowedFd<'_>, interface: u32) -> io::Result<()> {
    // SAFETY: all-zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = interface.cast_signed();
    // SAFETY: pointer and length are those of `address`; bind only reads it.
    let result = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Room for one `PACKET_AUXDATA` control message.
const CONTROL: usize = 64;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// What came with one received frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrival {
    /// Bytes of the frame, the virtio-net header not counted.
    pub(crate) length: usize,
    /// Whether it was longer than what was posted, or its header did not come.
    pub(crate) broken: bool,
    pub(crate) header: VirtioHeader,
    /// The outer tag that the kernel took out: tpid, tci.
    pub(crate) tag: Option<(u16, u16)>,
}

#[derive(Default)]
struct Slot {
    buffers: [Option<Buffer>; SEGMENTS],
}

/// Buffers posted for the next recvmmsg(2).
pub(crate) struct Receiver {
    memory: Arc<Memory>,
    slots: Box<[Slot]>,
    /// Slots from the first that have all their buffers.
    complete: usize,
    vectors: Box<[[libc::iovec; SEGMENTS]]>,
    controls: Box<[Control]>,
    messages: Box<[libc::mmsghdr]>,
}

// SAFETY: the raw pointers in `vectors` and `messages` are dereferenced only by the kernel within
// `receive`, which has the receiver exclusively; they point to buffers that `slots` owns and into
// the boxes beside them, all of which move along with it.
unsafe impl Send for Receiver {}

impl Receiver {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        // SAFETY: all-zero iovecs and mmsghdrs are valid: null pointers with length zero.
        let (vector, message) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        Self {
            memory,
            slots: (0..BATCH).map(|_| Slot::default()).collect(),
            complete: 0,
            vectors: vec![[vector; SEGMENTS]; BATCH].into(),
            controls: vec![Control([0; CONTROL]); BATCH].into(),
            messages: vec![message; BATCH].into(),
        }
    }

    /// Posts spare buffers for up to `max` frames. Returns for how many they sufficed.
    pub(crate) fn post(&mut self, pool: &mut Pool, max: usize) -> usize {
        assert!(Arc::ptr_eq(pool.memory(), &self.memory), "a pool of another memory");
        let max = max.min(BATCH);
        while self.complete < max {
            let slot = &mut self.slots[self.complete];
            let vectors = &mut self.vectors[self.complete];
            for (index, (place, vector)) in slot.buffers.iter_mut().zip(vectors).enumerate() {
                if place.is_some() {
                    continue;
                }
                let Some(mut buffer) = pool.allocate() else { return self.complete };
                let skip = if index == 0 { HEADROOM - HEADER } else { 0 };
                let room = &mut pool.buffer_mut(&mut buffer)[skip..];
                vector.iov_base = room.as_mut_ptr().cast();
                vector.iov_len = room.len();
                *place = Some(buffer);
            }
            self.complete += 1;
        }
        max
    }

    /// Receives up to `count` frames, which must not exceed what [`Receiver::post`] returned,
    /// without waiting. Returns how many came; [`Receiver::arrival`] tells about each.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
        let count = count.min(self.complete);
        for index in 0..count {
            let header = &mut self.messages[index].msg_hdr;
            header.msg_iov = self.vectors[index].as_mut_ptr();
            header.msg_iovlen = SEGMENTS as _;
            header.msg_control = self.controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
        }
        // SAFETY: the first `count` messages point to a control buffer of the length given and to
        // iovecs over buffers that their slots own in full (`post`), and which live as long as
        // `self.memory`; the time-out may be null.
        let received = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.messages.as_mut_ptr(),
                count as _,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }

    /// What came as frame `index` of the last [`Receiver::receive`].
    pub(crate) fn arrival(&mut self, pool: &mut Pool, index: usize) -> Arrival {
        let message = &self.messages[index];
        let received = message.msg_len as usize;
        let mut arrival = Arrival {
            length: received.saturating_sub(HEADER),
            broken: received < HEADER || message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            ..Arrival::default()
        };
        if let Some(first) = &mut self.slots[index].buffers[0]
            && let Ok((header, _)) =
                VirtioHeader::read_from_prefix(&pool.buffer_mut(first)[HEADROOM - HEADER..])
        {
            arrival.header = header;
        }
        arrival.tag = self.tag(index);
        arrival
    }

    /// The tag in the control message, if the kernel took one out of the frame.
    fn tag(&self, index: usize) -> Option<(u16, u16)> {
        let length = self.messages[index].msg_hdr.msg_controllen;
        let control = self.controls[index].0.get(..length)?;
        // One control message at most: `struct cmsghdr` (length, level, type), then the data.
        let data = size_of::<libc::cmsghdr>();
        if control.len() < data + size_of::<libc::tpacket_auxdata>() {
            return None;
        }
        let word = |at: usize| i32::from_ne_bytes(control[at..at + 4].try_into().unwrap_or([0; 4]));
        if (word(data - 8), word(data - 4)) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
            return None;
        }
        let status = word(data).cast_unsigned();
        if status & libc::TP_STATUS_VLAN_VALID == 0 {
            return None;
        }
        let half = |at: usize| u16::from_ne_bytes([control[at], control[at + 1]]);
        let tci = half(data + std::mem::offset_of!(libc::tpacket_auxdata, tp_vlan_tci));
        let tpid = if status & libc::TP_STATUS_VLAN_TPID_VALID == 0 {
            0x8100
        } else {
            half(data + std::mem::offset_of!(libc::tpacket_auxdata, tp_vlan_tpid))
        };
        Some((tpid, tci))
    }

    /// Takes a filled buffer away from its slot, to be replaced by the next [`Receiver::post`].
    pub(crate) fn take(&mut self, index: usize, segment: usize) -> Option<Buffer> {
        self.complete = self.complete.min(index);
        self.slots[index].buffers[segment].take()
    }

    /// Gives all posted buffers back.
    pub(crate) fn close(&mut self, pool: &mut Pool) {
        self.complete = 0;
        for buffer in self.slots.iter_mut().flat_map(|slot| &mut slot.buffers) {
            if let Some(buffer) = buffer.take() {
                pool.free(buffer);
            }
        }
    }
}

/// Descriptions of frames for sendmmsg(2).
pub(crate) struct Transmitter {
    headers: Box<[VirtioHeader]>,
    vectors: Box<[[libc::iovec; Self::VECTORS]]>,
    messages: Box<[libc::mmsghdr]>,
}

// SAFETY: the raw pointers are dereferenced only by the kernel within `send`, which sets every one
// that is used.
unsafe impl Send for Transmitter {}

impl Transmitter {
    /// The kernel keeps this many on its stack (`UIO_FASTIOV`). The first is the header's, the rest
    /// is for the frame's buffers.
    const VECTORS: usize = 8;

    pub(crate) fn new() -> Self {
        // SAFETY: all-zero iovecs and mmsghdrs are valid: null pointers with length zero.
        let (vector, message) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        Self {
            headers: vec![VirtioHeader::default(); BATCH].into(),
            vectors: vec![[vector; Self::VECTORS]; BATCH].into(),
            messages: vec![message; BATCH].into(),
        }
    }

    /// Sends frames from the head of `queue`, each with the header that `describe` makes for it,
    /// without waiting, and returns how many went; they stay in the queue. A frame for which
    /// `describe` has none, or that has more than seven buffers, ends the
    /// batch; 0 means that the first is such a frame.
    pub(crate) fn send(
        &mut self,
        fd: BorrowedFd<'_>,
        pool: &Pool,
        queue: &VecDeque<Frame>,
        describe: impl Fn(&Frame) -> Option<VirtioHeader>,
    ) -> io::Result<usize> {
        let mut count = 0;
        'frames: for frame in queue.iter().take(BATCH) {
            let Some(header) = describe(frame) else { break };
            self.headers[count] = header;
            let vectors = &mut self.vectors[count];
            vectors[0].iov_base = (&raw mut self.headers[count]).cast();
            vectors[0].iov_len = HEADER;
            let mut used = 1;
            for segment in pool.segments(frame) {
                let Some(vector) = vectors.get_mut(used) else { break 'frames };
                vector.iov_base = segment.as_ptr().cast_mut().cast();
                vector.iov_len = segment.len();
                used += 1;
            }
            let message = &mut self.messages[count].msg_hdr;
            message.msg_iov = vectors.as_mut_ptr();
            message.msg_iovlen = used as _;
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        // SAFETY: the first `count` messages were set above and point to headers and iovecs of
        // `self` and to segments of frames that `queue` and `pool`, both borrowed, keep alive. The
        // kernel only reads them. Name and control are null.
        let sent = unsafe {
            libc::sendmmsg(
                fd.as_raw_fd(),
                self.messages.as_mut_ptr(),
                count as _,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}
