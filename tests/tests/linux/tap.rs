//! The other end of a TAP interface: what the host sends is read here, what is written here it
//! receives.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use smoltcp::phy::{Medium, TunTapInterface};
use weir_tests::lab::Namespace;

/// More than any MTU used here, with the Ethernet header.
const ROOM: usize = 65_536;

pub(crate) struct Tap {
    file: File,
    buffer: Box<[u8]>,
}

impl Tap {
    /// Makes an interface of a namespace. It does not outlive this.
    pub(crate) fn open(namespace: &Namespace, name: &str) -> Self {
        let file = namespace.within(|| {
            // Its ioctl is the only thing wanted of smoltcp here; a descriptor of our own can be read
            // and waited for as we like.
            let interface = TunTapInterface::new(name, Medium::Ethernet)?;
            let ourselves = pidfd_open(getpid(), PidfdFlags::empty())?;
            let ours = pidfd_getfd(ourselves, interface.as_raw_fd(), PidfdGetfdFlags::empty())?;
            Ok::<_, std::io::Error>(File::from(ours))
        });
        let file = file.unwrap_or_else(|error| panic!("{name} of {}: {error}", namespace.name()));
        Self { file, buffer: vec![0; ROOM].into() }
    }

    /// The next frame that the host has sent.
    pub(crate) fn take(&mut self) -> Option<&[u8]> {
        match self.file.read(&mut self.buffer) {
            Ok(length) => Some(&self.buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("reading from a TAP: {error}"),
        }
    }

    /// Gives the host a frame; a full queue loses it, as cards do.
    pub(crate) fn put(&mut self, frame: &[u8]) {
        match self.file.write(frame) {
            Ok(length) => assert_eq!(length, frame.len(), "a frame is written as one"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Too short to be a frame: damage, or an attacker's.
            Err(error) if error.kind() == ErrorKind::InvalidInput => {}
            Err(error) => panic!("writing to a TAP: {error}"),
        }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
