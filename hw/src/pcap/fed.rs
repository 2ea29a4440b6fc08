//! A port that is fed by hand: one end is a worker's, frames are put in and taken out at the other.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::frame::{Checksum, Frame, Meta};
use crate::port::{Kind, Port, PortError, Stats};
use crate::sys::memory::Pool;

/// What lies between both ends.
#[derive(Debug, Default)]
struct Between {
    /// Towards the worker.
    input: VecDeque<(Vec<u8>, Checksum)>,
    /// From it.
    output: VecDeque<Vec<u8>>,
}

/// The end outside.
#[derive(Clone, Debug)]
pub struct Wire(Arc<Mutex<Between>>);

/// The worker's end.
#[derive(Debug)]
pub struct FedPort {
    between: Arc<Mutex<Between>>,
    stats: Stats,
}

/// Both ends of a port.
pub fn fed() -> (FedPort, Wire) {
    let between: Arc<Mutex<Between>> = Arc::default();
    (FedPort { between: Arc::clone(&between), stats: Stats::default() }, Wire(between))
}

/// What panicked elsewhere has left whole frames behind.
fn lock(between: &Mutex<Between>) -> MutexGuard<'_, Between> {
    between.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    /// A frame for the worker, and what is known of its transport checksum.
    pub fn put(&self, frame: Vec<u8>, checksum: Checksum) {
        lock(&self.0).input.push_back((frame, checksum));
    }

    /// The next frame that has left.
    pub fn take(&self) -> Option<Vec<u8>> {
        lock(&self.0).output.pop_front()
    }
}

/// A chain of as many buffers as it takes; `None` if the pool has not enough.
pub(crate) fn copied(pool: &mut Pool, bytes: &[u8], checksum: Checksum) -> Option<Frame> {
    let capacity = pool.memory().buffer_size();
    let mut chain: Option<(Frame, u32)> = None;
    for part in bytes.chunks(capacity) {
        let Some(mut buffer) = pool.allocate() else {
            if let Some((frame, _)) = chain {
                pool.release(frame);
            }
            return None;
        };
        pool.buffer_mut(&mut buffer)[..part.len()].copy_from_slice(part);
        let index = buffer.0;
        match &mut chain {
            None => {
                let meta = Meta { checksum, gso: None };
                chain = Some((pool.frame(buffer, 0, part.len(), meta), index));
            }
            Some((frame, last)) => pool.append(frame, last, buffer, 0, part.len()),
        }
    }
    chain.map(|(frame, _)| frame)
}

impl Port for FedPort {
    fn kind(&self) -> Kind {
        Kind::Pcap
    }

    /// Frames without a byte are counted as malformed and left out.
    fn receive(
        &mut self,
        pool: &mut Pool,
        port: u8,
        frames: &mut Vec<Frame>,
        max: usize,
    ) -> Result<usize, PortError> {
        let mut between = lock(&self.between);
        let mut received = 0;
        while received < max
            && let Some((bytes, checksum)) = between.input.front()
        {
            if bytes.is_empty() {
                self.stats.malformed += 1;
            } else if let Some(mut frame) = copied(pool, bytes, *checksum) {
                frame.port = port;
                frames.push(frame);
                self.stats.received += 1;
                received += 1;
            } else {
                self.stats.pool_empty += 1;
                break;
            }
            between.input.pop_front();
        }
        Ok(received)
    }

    fn transmit(
        &mut self,
        pool: &mut Pool,
        queue: &mut VecDeque<Frame>,
    ) -> Result<usize, PortError> {
        let mut between = lock(&self.between);
        let sent = queue.len();
        for frame in queue.drain(..) {
            let mut bytes = Vec::with_capacity(frame.len());
            pool.segments(&frame).for_each(|segment| bytes.extend_from_slice(segment));
            between.output.push_back(bytes);
            pool.release(frame);
        }
        self.stats.transmitted += sent as u64;
        Ok(sent)
    }

    /// Does nothing: buffers are free already.
    fn flush(&mut self, _pool: &mut Pool) -> Result<(), PortError> {
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn stats(&self) -> Stats {
        self.stats
    }

    fn close(&mut self, _pool: &mut Pool) {
        lock(&self.between).input.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::Memory;

    fn pool(count: u32) -> Pool {
        Pool::new(Memory::new(count, 2048).unwrap())
    }

    #[test]
    fn frames_go_through_as_they_are() {
        let (mut port, wire) = fed();
        let mut pool = pool(16);
        let jumbo: Vec<u8> = (0..9000_u32).map(|i| i as u8).collect();
        let input = [b"first".to_vec(), jumbo, b"last".to_vec()];
        for frame in &input {
            wire.put(frame.clone(), Checksum::MaybePartial);
        }
        wire.put(Vec::new(), Checksum::Unknown);
        let mut frames = Vec::new();
        assert_eq!(port.receive(&mut pool, 3, &mut frames, 2).unwrap(), 2);
        assert_eq!((frames[0].port, frames[0].len(), frames[1].len()), (3, 5, 9000));
        assert_eq!(frames[0].meta.checksum, Checksum::MaybePartial);
        assert_eq!(port.receive(&mut pool, 3, &mut frames, 9).unwrap(), 1);
        assert_eq!(port.receive(&mut pool, 3, &mut frames, 9).unwrap(), 0);
        let mut queue: VecDeque<Frame> = frames.drain(..).collect();
        assert_eq!(port.transmit(&mut pool, &mut queue).unwrap(), 3);
        let output: Vec<_> = std::iter::from_fn(|| wire.take()).collect();
        assert_eq!(output, input);
        let stats = port.stats();
        assert_eq!((stats.received, stats.transmitted, stats.malformed), (3, 3, 1));
        pool.drain();
        assert_eq!(pool.memory().free_count(), 16, "no buffer is lost");
    }

    #[test]
    fn an_empty_pool_loses_nothing() {
        let (mut port, wire) = fed();
        wire.put(vec![1; 5000], Checksum::Unknown);
        wire.put(b"next".to_vec(), Checksum::Unknown);
        let mut pool = pool(3);
        let mut frames = Vec::new();
        let held = pool.allocate().unwrap();
        assert_eq!(port.receive(&mut pool, 0, &mut frames, 64).unwrap(), 0);
        assert_eq!(port.stats().pool_empty, 1);
        pool.free(held);
        for length in [5000, 4] {
            assert_eq!(port.receive(&mut pool, 0, &mut frames, 64).unwrap(), 1);
            assert_eq!(frames[0].len(), length);
            pool.release(frames.pop().unwrap());
        }
    }
}
