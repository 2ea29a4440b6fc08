//! Between workers: bounded single-producer rings for frames that belong to another worker, and the
//! bell that wakes one that sleeps.
//!
//! A worker that is about to sleep raises its flag, looks once more whether something came in the
//! meantime, and only then waits on its descriptor. Whoever gives it something looks at the flag
//! afterwards and writes to the descriptor only if it is up: a busy worker costs no system call.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::{EventfdFlags, eventfd};
use weir_hw::Frame;

/// Frames that wait in one ring at most.
pub const RING: usize = 1024;

/// Wakes one worker.
#[derive(Debug)]
pub struct Bell {
    asleep: AtomicBool,
    event: OwnedFd,
}

impl Bell {
    /// A bell for a worker that is awake.
    ///
    /// # Errors
    /// When the kernel gives no event descriptor.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            asleep: AtomicBool::new(false),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Wakes the worker if it sleeps. Call it after what it shall find was put where it looks.
    #[inline]
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            // Fails only if the counter is full: then it is readable, and the worker wakes.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }

    /// The worker says that it goes to sleep. It must look at everything that can be given to it
    /// between this and waiting on [`Bell::descriptor`].
    pub fn lie_down(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The worker says that it is awake.
    pub fn get_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
        let mut count = [0; 8];
        // Empty (EAGAIN) if it woke for another reason.
        let _ = rustix::io::read(&self.event, &mut count);
    }

    /// What becomes readable when the bell rings.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// One worker's ends of the rings to and from all others.
#[derive(Debug)]
pub struct Exchange {
    /// To worker `i`; `None` for the worker itself.
    pub to: Vec<Option<Producer<Frame>>>,
    /// From worker `i`; `None` for the worker itself.
    pub from: Vec<Option<Consumer<Frame>>>,
    /// Bells of all workers.
    pub bells: Arc<[Bell]>,
}

impl Exchange {
    /// Whether a frame waits for this worker.
    pub fn has_frames(&self) -> bool {
        self.from.iter().flatten().any(|ring| !ring.is_empty())
    }
}

/// Rings between all pairs of `workers`.
///
/// # Errors
/// When the kernel gives no event descriptors.
pub fn exchange(workers: usize) -> io::Result<Vec<Exchange>> {
    let bells: Arc<[Bell]> = (0..workers).map(|_| Bell::new()).collect::<io::Result<_>>()?;
    let mut ends: Vec<_> = (0..workers)
        .map(|_| Exchange { to: Vec::new(), from: Vec::new(), bells: Arc::clone(&bells) })
        .collect();
    for sender in 0..workers {
        for receiver in 0..workers {
            let (to, from) = if sender == receiver {
                (None, None)
            } else {
                let (producer, consumer) = RingBuffer::new(RING);
                (Some(producer), Some(consumer))
            };
            ends[sender].to.push(to);
            // `sender` is the outer loop: the receiver's list is filled in the order of senders.
            ends[receiver].from.push(from);
        }
    }
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::{Bell, exchange};

    fn readable(bell: &Bell) -> bool {
        let mut waiting = [PollFd::from_borrowed_fd(bell.descriptor(), PollFlags::IN)];
        poll(&mut waiting, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn a_bell_rings_only_for_sleepers() {
        let bell = Bell::new().unwrap();
        bell.ring();
        assert!(!readable(&bell), "awake: no system call");
        bell.lie_down();
        bell.ring();
        assert!(readable(&bell));
        bell.get_up();
        assert!(!readable(&bell), "getting up empties it");
    }

    #[test]
    fn every_pair_has_a_ring_of_its_own() {
        let ends = exchange(3).unwrap();
        for (i, end) in ends.iter().enumerate() {
            assert_eq!((end.to.len(), end.from.len()), (3, 3));
            for j in 0..3 {
                assert_eq!(end.to[j].is_none(), i == j);
                assert_eq!(end.from[j].is_none(), i == j);
            }
        }
    }
}
