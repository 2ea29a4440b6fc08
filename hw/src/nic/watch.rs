//! Waiting for links and interfaces to change (`rtnetlink(7)`, group `RTNLGRP_LINK`).

use std::io;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// `RTMGRP_LINK`
const LINKS: u32 = 1;

/// Wakes when any interface of the network namespace that it was made in comes, goes or changes. What
/// has changed is to be looked at: [`Prepared::link`](super::Prepared::link).
pub struct LinkWatch {
    socket: Socket,
}

impl LinkWatch {
    /// From now on.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, LINKS))?;
        Ok(Self { socket })
    }

    /// Waits for the next change.
    ///
    /// # Errors
    /// When the socket fails for good.
    pub fn wait(&self) -> io::Result<()> {
        match self.socket.recv_from_full() {
            Ok(_) => Ok(()),
            // More changes than there was room for: that too is a change.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EINTR)) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
