//! Socket options and interface requests that rustix has no wrapper for.

use std::ffi::{c_int, c_ulong};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Sets a socket option to `value`, whose layout is the kernel's.
pub(crate) fn set<T: IntoBytes + Immutable>(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: &T,
) -> io::Result<()> {
    let bytes = value.as_bytes();
    // SAFETY: pointer and length are those of a live slice; setsockopt only reads it.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            bytes.as_ptr().cast(),
            bytes.len() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads a socket option of fixed size.
pub(crate) fn get<T: FromBytes + IntoBytes>(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
) -> io::Result<T> {
    let mut value = T::new_zeroed();
    let bytes = value.as_mut_bytes();
    let mut length = bytes.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into a live slice of that length, and any
    // bytes make a valid `T`.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, bytes.as_mut_ptr().cast(), &raw mut length)
    };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// The error that waits on a socket, cleared by reading it.
pub(crate) fn take_error(fd: BorrowedFd<'_>) -> io::Result<()> {
    match get::<c_int>(fd, libc::SOL_SOCKET, libc::SO_ERROR)? {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// A socket that serves only interface requests, in the network namespace of the calling thread.
/// It needs no protocol family beyond `AF_UNIX`.
pub(crate) fn control() -> io::Result<OwnedFd> {
    open(libc::AF_UNIX, libc::SOCK_DGRAM, 0)
}

/// A new non-blocking socket, closed on exec.
pub(crate) fn open(family: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes no pointers.
    let fd =
        unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just made for us and that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `struct ifreq` of the requests used here: a name and 24 bytes of argument.
#[repr(C, align(8))]
pub(super) struct InterfaceRequest {
    pub(super) name: [u8; libc::IFNAMSIZ],
    pub(super) argument: [u8; 24],
}

impl InterfaceRequest {
    pub(super) fn named(name: &str) -> io::Result<Self> {
        let mut request = Self { name: [0; libc::IFNAMSIZ], argument: [0; 24] };
        // One byte stays zero: the kernel wants the name terminated.
        if name.len() >= libc::IFNAMSIZ {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        Ok(request)
    }

    /// # Safety
    /// `request` must be one whose argument is a plain value inside the `ifreq`, or a pointer in it
    /// that is valid for what the kernel reads and writes through it.
    pub(super) unsafe fn send(
        &mut self,
        control: BorrowedFd<'_>,
        request: c_ulong,
    ) -> io::Result<()> {
        // SAFETY: `self` has the size and layout of `struct ifreq`; the rest is the caller's.
        let result = unsafe {
            // `as _`: the request's type differs between C libraries.
            libc::ioctl(control.as_raw_fd(), request as _, std::ptr::from_mut(self))
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

const _: () = assert!(size_of::<InterfaceRequest>() == size_of::<libc::ifreq>());

/// Name of the interface with `index` in the socket's namespace; `ENODEV` when it is gone.
pub(crate) fn interface_name(control: BorrowedFd<'_>, index: u32) -> io::Result<String> {
    let mut request = InterfaceRequest { name: [0; libc::IFNAMSIZ], argument: [0; 24] };
    request.argument[..4].copy_from_slice(&index.to_ne_bytes());
    // SAFETY: SIOCGIFNAME reads the index in the argument and writes the name.
    unsafe { request.send(control, libc::SIOCGIFNAME as c_ulong)? };
    let end = request.name.iter().position(|&byte| byte == 0).unwrap_or(libc::IFNAMSIZ);
    Ok(String::from_utf8_lossy(&request.name[..end]).into_owned())
}

/// Whether an interface is up and has a carrier (`IFF_UP` and `IFF_RUNNING`).
pub(crate) fn interface_running(control: BorrowedFd<'_>, index: u32) -> io::Result<bool> {
    let mut request = InterfaceRequest::named(&interface_name(control, index)?)?;
    // SAFETY: SIOCGIFFLAGS reads the name and writes a short into the argument.
    unsafe { request.send(control, libc::SIOCGIFFLAGS as c_ulong)? };
    let flags = c_int::from(u16::from_ne_bytes([request.argument[0], request.argument[1]]));
    let wanted = libc::IFF_UP | libc::IFF_RUNNING;
    Ok(flags & wanted == wanted)
}

/// Binds an abstract Unix name to a socket: the name belongs to the network namespace and is free
/// again when the descriptor closes, however the process ends. `EADDRINUSE` when it is taken.
pub(crate) fn bind_abstract(fd: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    use rustix::net::SocketAddrUnix;
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    rustix::net::bind(fd, &address)?;
    Ok(())
}
