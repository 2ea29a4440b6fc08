//! Frames sent as they are, past the host's own stack.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType};
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags};

use super::namespace::Namespace;

/// A packet socket (packet(7)) bound to one interface.
#[derive(Debug)]
pub struct RawSocket {
    socket: OwnedFd,
}

impl RawSocket {
    /// Opens one on an interface of a namespace.
    pub fn open(namespace: &Namespace, interface: &str) -> Self {
        let socket = namespace.within(|| {
            let socket = nix::sys::socket::socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                None::<SockProtocol>,
            )?;
            let address: LinkAddr = nix::ifaddrs::getifaddrs()?
                .filter(|entry| entry.interface_name == interface)
                .find_map(|entry| entry.address?.as_link_addr().copied())
                .ok_or(nix::errno::Errno::ENODEV)?;
            nix::sys::socket::bind(socket.as_raw_fd(), &address)?;
            Ok::<_, nix::errno::Errno>(socket)
        });
        let socket =
            socket.unwrap_or_else(|error| panic!("{interface} of {}: {error}", namespace.name()));
        Self { socket }
    }

    /// Sends one frame.
    pub fn send(&self, frame: &[u8]) {
        let sent = rustix::net::send(&self.socket, frame, SendFlags::empty());
        assert_eq!(sent.unwrap_or_else(|error| panic!("sending a frame: {error}")), frame.len());
    }

    /// Sends frames, many a system call. Returns how many the interface took: it drops what its
    /// queue cannot hold, as any interface does.
    pub fn send_all(&self, frames: &[Vec<u8>]) -> usize {
        self.send_rounds(frames, |round| round == 0)
    }

    /// Sends the same frames again and again until a time has passed. Returns how many the interface
    /// took.
    pub fn flood(&self, frames: &[Vec<u8>], duration: Duration) -> usize {
        let begin = Instant::now();
        self.send_rounds(frames, |_| begin.elapsed() < duration)
    }

    /// Sends all frames once for every number, counted from 0, of which `more` is true.
    fn send_rounds(&self, frames: &[Vec<u8>], more: impl Fn(u64) -> bool) -> usize {
        let slices: Vec<[IoSlice<'_>; 1]> = frames.iter().map(|f| [IoSlice::new(f)]).collect();
        let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> =
            frames.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let mut messages: Vec<MMsgHdr<'_>> = slices
            .iter()
            .zip(&mut controls)
            .map(|(slice, control)| MMsgHdr::new(slice, control))
            .collect();
        let mut sent = 0;
        for _ in (0..).take_while(|&round| more(round)) {
            let mut rest = &mut messages[..];
            while !rest.is_empty() {
                let done = match rustix::net::sendmmsg(&self.socket, rest, SendFlags::empty()) {
                    Ok(count) => {
                        sent += count;
                        count.max(1)
                    }
                    // This one was dropped.
                    Err(Errno::NOBUFS | Errno::AGAIN) => 1,
                    Err(error) => panic!("sending frames: {error}"),
                };
                rest = &mut rest[done..];
            }
        }
        sent
    }
}
