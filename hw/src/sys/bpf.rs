//! The two programs that weir puts into the kernel, as instructions, and the bpf(2) calls that load
//! and attach them. No compiler and no object file is involved.
//!
//! Programs are attached by links: a link ends with its last descriptor, and so with the process,
//! also after kill -9.

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use zerocopy::{Immutable, IntoBytes};

// enum bpf_cmd
const MAP_CREATE: c_long = 0;
const MAP_UPDATE_ELEM: c_long = 2;
const PROG_LOAD: c_long = 5;
const LINK_CREATE: c_long = 28;

const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_SCHED_CLS: u32 = 3;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const ATTACH_TCX_INGRESS: u32 = 46;
/// `BPF_F_XDP_HAS_FRAGS`: the program can be given frames of several buffers.
const XDP_HAS_FRAGS: u32 = 1 << 5;
/// `XDP_FLAGS_DRV_MODE`
const XDP_DRIVER_MODE: u32 = 1 << 2;

/// `struct bpf_insn`
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high half.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: dst | src << 4, offset, immediate }
}

// Opcodes: linux/bpf_common.h, linux/bpf.h.
const LOAD_WORD: u8 = 0x61;
const LOAD_IMMEDIATE_64: u8 = 0x18;
const MOVE_IMMEDIATE: u8 = 0xb7;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// Source register of `LOAD_IMMEDIATE_64`: the immediate is a map's descriptor.
const PSEUDO_MAP_FD: u8 = 1;
/// `bpf_redirect_map(map, key, flags)`; the low bits of the flags are what it returns when the map
/// has nothing for the key.
const REDIRECT_MAP: i32 = 51;
/// `XDP_DROP`
const DROP: i32 = 1;
/// Offset of `rx_queue_index` in `struct xdp_md`.
const RX_QUEUE_INDEX: i16 = 16;
/// `TCX_DROP`
const TCX_DROP: i32 = 2;

/// `union bpf_attr` for `BPF_MAP_CREATE`
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// `union bpf_attr` for `BPF_MAP_UPDATE_ELEM`
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct MapUpdate {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `union bpf_attr` for `BPF_PROG_LOAD`
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct ProgramLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// `union bpf_attr` for `BPF_LINK_CREATE`
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// # Safety
/// Pointers within `attribute` must be valid for what `command` reads and writes through them.
unsafe fn bpf<T: IntoBytes + Immutable>(command: c_long, attribute: &T) -> io::Result<c_long> {
    let bytes = attribute.as_bytes();
    // SAFETY: the attribute itself is a live slice that the kernel reads; the rest is the caller's.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, bytes.as_ptr(), bytes.len()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// As [`bpf`], for commands that make a descriptor.
///
/// # Safety
/// As for [`bpf`], and `command` must be one that returns a new descriptor.
unsafe fn bpf_fd<T: IntoBytes + Immutable>(command: c_long, attribute: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's.
    let fd = unsafe { bpf(command, attribute)? };
    // SAFETY: a descriptor that was just made for us and that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A descriptor as attributes hold it.
fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn load(prog_type: u32, prog_flags: u32, code: &[Instruction]) -> io::Result<OwnedFd> {
    let mut prog_name = [0; 16];
    prog_name[..4].copy_from_slice(b"weir");
    let attribute = ProgramLoad {
        prog_type,
        insn_cnt: code.len() as u32,
        insns: code.as_ptr() as u64,
        license: c"Dual BSD/GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags,
        prog_name,
        prog_ifindex: 0,
        expected_attach_type: if prog_type == PROG_TYPE_XDP { ATTACH_XDP } else { 0 },
    };
    // SAFETY: `insns` points to `insn_cnt` instructions and `license` to a terminated string, both
    // alive during the call and only read; there is no log buffer.
    unsafe { bpf_fd(PROG_LOAD, &attribute) }
}

fn attach(program: &OwnedFd, interface: u32, attach_type: u32, flags: u32) -> io::Result<OwnedFd> {
    let attribute = LinkCreate {
        prog_fd: number(program.as_fd()),
        target_ifindex: interface,
        attach_type,
        flags,
    };
    // SAFETY: the attribute holds no pointers.
    unsafe { bpf_fd(LINK_CREATE, &attribute) }
}

/// Drops every frame that arrives on `interface` before the kernel's own stack sees it. Packet
/// sockets see it still. Ends with the returned descriptor. Needs Linux 6.6 (tcx).
pub(crate) fn close_stack(interface: u32) -> io::Result<OwnedFd> {
    let code = [instruction(MOVE_IMMEDIATE, 0, 0, 0, TCX_DROP), instruction(EXIT, 0, 0, 0, 0)];
    let program = load(PROG_TYPE_SCHED_CLS, 0, &code)?;
    attach(&program, interface, ATTACH_TCX_INGRESS, 0)
}

/// A map from receive queue to `AF_XDP` socket, with room for `queues`.
pub(crate) fn socket_map(queues: u32) -> io::Result<OwnedFd> {
    let attribute = MapCreate {
        map_type: MAP_TYPE_XSKMAP,
        key_size: 4,
        value_size: 4,
        max_entries: queues,
        map_flags: 0,
    };
    // SAFETY: the attribute holds no pointers.
    unsafe { bpf_fd(MAP_CREATE, &attribute) }
}

/// Puts a bound socket into the map as the one for `queue`. The kernel takes it out when the socket
/// closes.
pub(crate) fn set_socket(map: &OwnedFd, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
    let value = number(socket);
    let attribute = MapUpdate {
        map_fd: number(map.as_fd()),
        padding: 0,
        key: &raw const queue as u64,
        value: &raw const value as u64,
        flags: 0,
    };
    // SAFETY: key and value point to four bytes each, alive during the call and only read.
    unsafe { bpf(MAP_UPDATE_ELEM, &attribute).map(drop) }
}

/// Attaches, in driver mode, the program that gives each frame to the socket of its queue, and drops
/// it when there is none. Ends with the returned descriptor.
pub(crate) fn attach_redirect(map: &OwnedFd, interface: u32) -> io::Result<OwnedFd> {
    let code = [
        instruction(LOAD_WORD, 2, 1, RX_QUEUE_INDEX, 0),
        instruction(LOAD_IMMEDIATE_64, 1, PSEUDO_MAP_FD, 0, map.as_raw_fd()),
        instruction(0, 0, 0, 0, 0),
        instruction(MOVE_IMMEDIATE, 3, 0, 0, DROP),
        instruction(CALL, 0, 0, 0, REDIRECT_MAP),
        instruction(EXIT, 0, 0, 0, 0),
    ];
    // Before Linux 5.18 there are no frames of several buffers.
    let program =
        load(PROG_TYPE_XDP, XDP_HAS_FRAGS, &code).or_else(|_| load(PROG_TYPE_XDP, 0, &code))?;
    attach(&program, interface, ATTACH_XDP, XDP_DRIVER_MODE)
}
