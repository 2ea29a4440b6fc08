//! The descriptor of a registration: one end of a socket pair that is readable while there may be
//! something to do, and in error when the interface is gone.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use crate::netmap::double::lock;

#[derive(Debug)]
pub(super) struct Signal {
    near: UnixStream,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` once the descriptor is in error.
    far: Option<UnixStream>,
    raised: bool,
}

impl Signal {
    pub(super) fn new() -> io::Result<Self> {
        let (near, far) = UnixStream::pair()?;
        Ok(Self { near, state: Mutex::new(State { far: Some(far), raised: false }) })
    }

    /// Makes the descriptor readable.
    pub(super) fn raise(&self) {
        let mut state = lock(&self.state);
        if !state.raised
            && let Some(far) = &mut state.far
        {
            // One byte into an empty socket buffer.
            state.raised = far.write(&[1]).is_ok();
        }
    }

    /// Makes it unreadable. Reads only what was written, so it does not block.
    pub(super) fn lower(&self) {
        let mut state = lock(&self.state);
        if state.raised {
            let _ = (&self.near).read(&mut [0]);
            state.raised = false;
        }
    }

    /// Puts it in error for good: `POLLERR`, which a stream socket shows when its peer closes with
    /// bytes unread.
    pub(super) fn fail(&self) {
        let _ = (&self.near).write(&[1]);
        lock(&self.state).far = None;
    }
}

impl AsFd for Signal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.near.as_fd()
    }
}
