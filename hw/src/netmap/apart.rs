//! A queue whose rings lie in another region than the worker's buffers: frames are copied between
//! the two.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use crate::frame::Frame;
use crate::netmap::{Kernel, Queue};
use crate::port::{Kind, Port, PortError, Stats};
use crate::sys::memory::Pool;

/// Copied frames that wait for the transmit ring at most, so that a full ring holds frames back where
/// the worker sees it.
const WAITING: usize = 64;

/// A [`Queue`] with a pool of its own region.
#[derive(Debug)]
pub struct Apart<K> {
    queue: Queue<K>,
    /// Of the queue's region.
    pool: Pool,
    /// Received, and not copied for want of buffers at the worker; in order.
    arrived: VecDeque<Frame>,
    /// Copied, and not taken by the transmit ring.
    leaving: VecDeque<Frame>,
    /// Empty between calls.
    batch: Vec<Frame>,
    /// Rounds in which the worker's pool was empty.
    pool_empty: u64,
}

impl<K: Kernel> Apart<K> {
    /// Puts a queue apart.
    pub fn new(queue: Queue<K>) -> Self {
        Self {
            pool: Pool::new(queue.memory().clone()),
            queue,
            arrived: VecDeque::new(),
            leaving: VecDeque::with_capacity(WAITING),
            batch: Vec::new(),
            pool_empty: 0,
        }
    }
}

impl<K: Kernel> Port for Apart<K> {
    fn kind(&self) -> Kind {
        self.queue.kind()
    }

    fn receive(
        &mut self,
        pool: &mut Pool,
        port: u8,
        frames: &mut Vec<Frame>,
        max: usize,
    ) -> Result<usize, PortError> {
        let wanted = max.saturating_sub(self.arrived.len());
        let outcome = self.queue.receive(&mut self.pool, port, &mut self.batch, wanted);
        self.arrived.extend(self.batch.drain(..));
        let mut received = 0;
        while received < max
            && let Some(frame) = self.arrived.pop_front()
        {
            let Some(copy) = pool.copy_of(&self.pool, &frame) else {
                self.arrived.push_front(frame);
                self.pool_empty += 1;
                break;
            };
            self.pool.release(frame);
            frames.push(copy);
            received += 1;
        }
        outcome.map(|_| received)
    }

    fn transmit(
        &mut self,
        pool: &mut Pool,
        queue: &mut VecDeque<Frame>,
    ) -> Result<usize, PortError> {
        let mut taken = 0;
        loop {
            while self.leaving.len() < WAITING
                && let Some(frame) = queue.front()
                && let Some(copy) = self.pool.copy_of(pool, frame)
            {
                self.leaving.push_back(copy);
                if let Some(frame) = queue.pop_front() {
                    pool.release(frame);
                }
                taken += 1;
            }
            let waiting = self.leaving.len();
            self.queue.transmit(&mut self.pool, &mut self.leaving)?;
            // Done, or the ring is full, or the region has no buffer left.
            if queue.is_empty() || self.leaving.len() == waiting || !self.leaving.is_empty() {
                return Ok(taken);
            }
        }
    }

    fn flush(&mut self, _pool: &mut Pool) -> Result<(), PortError> {
        if !self.leaving.is_empty() {
            self.queue.transmit(&mut self.pool, &mut self.leaving)?;
        }
        self.queue.flush(&mut self.pool)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.queue.descriptor()
    }

    /// Frames that were copied for the ring and wait here.
    fn is_sending(&self) -> bool {
        !self.leaving.is_empty()
    }

    fn stats(&self) -> Stats {
        let stats = self.queue.stats();
        Stats { pool_empty: stats.pool_empty + self.pool_empty, ..stats }
    }

    fn error_shown(&mut self) -> Result<(), PortError> {
        self.queue.error_shown()
    }

    fn close(&mut self, _pool: &mut Pool) {
        for frame in self.arrived.drain(..).chain(self.leaving.drain(..)) {
            self.pool.release(frame);
        }
        self.queue.close(&mut self.pool);
        self.pool.drain();
    }
}
