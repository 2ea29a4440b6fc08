//! Between workers: bounded single-producer rings for frames that belong to another worker, and the
//! bell that wakes one that sleeps. Another bell wakes the thread that serves `overload`.
//!
//! A worker that is about to sleep raises its flag, looks once more whether something came in the
//! meantime, and only then waits on its descriptor. Whoever gives it something looks at the flag
//! afterwards and writes to the descriptor only if it is up: a busy worker costs no system call.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use weir_hw::Frame;

/// Frames that wait in one ring at most.
pub const RING: usize = 1024;

/// Wakes one thread.
#[derive(Debug)]
pub struct Bell {
    asleep: AtomicBool,
    event: OwnedFd,
}

impl Bell {
    /// A bell for a thread that is awake.
    ///
    /// # Errors
    /// When the kernel gives no event descriptor.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            asleep: AtomicBool::new(false),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Wakes the thread if it sleeps. Call it after what it shall find was put where it looks.
    #[inline]
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            // Fails only if the counter is full: then it is readable, and the worker wakes.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }

    /// The thread says that it goes to sleep. It must look at everything that can be given to it
    /// between this and waiting on [`Bell::descriptor`].
    pub fn lie_down(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The thread says that it is awake.
    pub fn get_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
        let mut count = [0; 8];
        // Empty (EAGAIN) if it woke for another reason.
        let _ = rustix::io::read(&self.event, &mut count);
    }

    /// Sleeps until the bell rings, unless there is something to do.
    pub fn wait(&self, busy: impl FnOnce() -> bool) {
        self.lie_down();
        if !busy() {
            let mut waiting = [PollFd::from_borrowed_fd(self.descriptor(), PollFlags::IN)];
            // An interrupted wait is a short one.
            let _ = poll(&mut waiting, None);
        }
        self.get_up();
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
    /// Of the thread that puts sources into tables.
    pub overloads: Arc<Bell>,
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
    let overloads = Arc::new(Bell::new()?);
    let mut ends: Vec<_> = (0..workers)
        .map(|_| Exchange {
            to: Vec::new(),
            from: Vec::new(),
            bells: Arc::clone(&bells),
            overloads: Arc::clone(&overloads),
        })
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
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

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
    fn whoever_waits_finds_what_was_put_there_before_the_bell_rang() {
        let bell = Bell::new().unwrap();
        let given = AtomicU32::new(0);
        thread::scope(|scope| {
            let taken = scope.spawn(|| {
                let mut taken = 0;
                while taken < 1000 {
                    bell.wait(|| given.load(Ordering::Relaxed) > 0);
                    taken += given.swap(0, Ordering::Relaxed);
                }
                taken
            });
            for _ in 0..1000 {
                given.fetch_add(1, Ordering::Relaxed);
                bell.ring();
            }
            assert_eq!(taken.join().unwrap(), 1000);
        });
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
