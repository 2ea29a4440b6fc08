//! The rings from the workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};
use weir_engine::{LogRecord, LogSink};

/// Records that wait for the writer at most, of each worker.
pub(super) const RING: usize = 4096;

/// A worker's end.
#[derive(Debug)]
pub struct RecordSender {
    ring: Producer<LogRecord>,
    lost: Arc<AtomicU64>,
}

/// The writer's end of one worker's ring.
#[derive(Debug)]
pub struct RecordReceiver {
    ring: Consumer<LogRecord>,
    lost: Arc<AtomicU64>,
    reported: u64,
}

/// A ring for one worker.
pub fn ring() -> (RecordSender, RecordReceiver) {
    let (producer, consumer) = RingBuffer::new(RING);
    let lost = Arc::new(AtomicU64::new(0));
    (
        RecordSender { ring: producer, lost: Arc::clone(&lost) },
        RecordReceiver { ring: consumer, lost, reported: 0 },
    )
}

impl RecordReceiver {
    /// The next record.
    pub fn take(&mut self) -> Option<LogRecord> {
        self.ring.pop().ok()
    }

    /// Records that found no room and were not reported by [`RecordReceiver::report`] yet.
    pub(super) fn unreported(&self) -> u64 {
        self.lost.load(Ordering::Relaxed) - self.reported
    }

    /// So many of them are told.
    pub(super) const fn report(&mut self, lost: u64) {
        self.reported += lost;
    }
}

impl RecordSender {
    /// Passes a record on, or counts it as lost if there is no room.
    #[inline]
    pub fn send(&mut self, record: &LogRecord) {
        if self.ring.push(*record).is_err() {
            // Only this worker writes the counter.
            self.lost.store(self.lost.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// Records that found no room.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl LogSink for RecordSender {
    fn log(&mut self, record: &LogRecord) {
        self.send(record);
    }
}
