//! What a command writes, on its way to somebody who reads more slowly.
//!
//! While the question at the end of a page waits for a key, a listing goes on coming: the daemon gives up
//! clients that do not read for some seconds. So a thread takes it from the command, up to a bound.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::event::{EventfdFlags, eventfd};

/// Bytes of a listing that wait at most: some hundred thousand lines.
const LISTING: usize = 32 << 20;

/// Bytes that wait at most of what happens: it shall not be old when it is shown.
const LIVE: usize = 64 << 10;

/// Bytes that are taken at once.
const CHUNK: usize = 16 << 10;

/// What has come and was not taken yet.
#[derive(Debug)]
pub(super) struct Spool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    held: Mutex<Held>,
    /// Something was taken, or nobody takes any more.
    room: Condvar,
    /// Can be read while there is something to take.
    ready: OwnedFd,
}

#[derive(Debug, Default)]
struct Held {
    bytes: VecDeque<u8>,
    /// No more comes.
    ended: bool,
    /// More came than there is room for.
    cut: bool,
    /// Nobody takes any more.
    left: bool,
}

/// Some of what has come.
#[derive(Debug)]
pub(super) struct Taken {
    /// None if nothing has come.
    pub(super) bytes: Vec<u8>,
    /// Nothing is left, and no more comes.
    pub(super) ended: bool,
    /// More came than was kept.
    pub(super) cut: bool,
}

impl Spool {
    /// Takes what comes: a listing, which is cut off when there is no room, or what happens, which has
    /// to wait then.
    pub(super) fn start(from: impl Read + Send + 'static, listing: bool) -> io::Result<Self> {
        Self::bounded(from, if listing { LISTING } else { LIVE }, listing)
    }

    fn bounded(from: impl Read + Send + 'static, bound: usize, cuts: bool) -> io::Result<Self> {
        let ready = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { held: Mutex::default(), room: Condvar::new(), ready });
        let theirs = Arc::clone(&shared);
        let collect = move || theirs.collect(from, bound, cuts);
        thread::Builder::new().name("weir-spool".into()).spawn(collect)?;
        Ok(Self(shared))
    }

    /// What can be waited for.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.ready.as_fd()
    }

    /// Some of what has come.
    pub(super) fn take(&self) -> Taken {
        let mut held = self.0.held();
        let length = held.bytes.len().min(CHUNK);
        let bytes = held.bytes.drain(..length).collect();
        let empty = held.bytes.is_empty();
        if empty && !held.ended {
            // Not blocking: there is nothing to be cleared if nothing came.
            let _ = rustix::io::read(&self.0.ready, &mut [0; 8]);
        }
        self.0.room.notify_one();
        Taken { bytes, ended: empty && held.ended, cut: held.cut }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.0.held().left = true;
        self.0.room.notify_one();
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(&self, mut from: impl Read, bound: usize, cuts: bool) {
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = match from.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                length => length.unwrap_or(0),
            };
            let mut held = self.held();
            while !cuts && !held.left && held.bytes.len() + length > bound {
                held = self.room.wait(held).unwrap_or_else(PoisonError::into_inner);
            }
            held.cut = held.bytes.len() + length > bound;
            if !held.cut {
                held.bytes.extend(&chunk[..length]);
            }
            held.ended = length == 0 || held.cut;
            // It can only fail when it was never read in 2^64 times.
            let _ = rustix::io::write(&self.ready, &1_u64.to_ne_bytes());
            if held.ended || held.left {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Write, pipe};

    use super::super::terminal::wait;
    use super::*;

    fn all(spool: &Spool) -> (Vec<u8>, bool) {
        let mut found = Vec::new();
        loop {
            wait([spool.descriptor()], None).unwrap();
            let Taken { bytes, ended, cut } = spool.take();
            found.extend(bytes);
            if ended {
                return (found, cut);
            }
        }
    }

    #[test]
    fn a_listing_comes_to_its_end_while_nobody_reads() {
        let (output, mut command) = pipe().unwrap();
        let spool = Spool::start(output, true).unwrap();
        // Far more than a pipe holds.
        let listing: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_ne_bytes).collect();
        command.write_all(&listing).unwrap();
        drop(command);
        assert!(all(&spool) == (listing, false));
    }

    #[test]
    fn a_listing_without_end_is_cut_off() {
        let spool = Spool::bounded(io::repeat(b'x'), 3 * CHUNK, true).unwrap();
        // It is full before anybody reads.
        while !spool.0.held().ended {
            std::thread::yield_now();
        }
        assert_eq!(all(&spool), (vec![b'x'; 3 * CHUNK], true));
    }

    #[test]
    fn what_happens_waits_until_it_is_shown() {
        let text = vec![b'x'; 9 * CHUNK];
        let spool = Spool::bounded(io::Cursor::new(text.clone()), 2 * CHUNK, false).unwrap();
        assert_eq!(all(&spool), (text, false));
    }
}
