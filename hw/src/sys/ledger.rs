//! What the strict double knows of the pools: which buffers lie in one.

use std::sync::atomic::{AtomicBool, Ordering};

/// For every buffer of a memory whether it lies in a pool. In none: a ring or a frame has it.
#[derive(Debug)]
pub(crate) struct Ledger {
    pooled: Box<[AtomicBool]>,
}

impl Ledger {
    /// What a buffer in a pool is filled with.
    pub(crate) const POISON: u8 = 0xa5;

    /// No buffer is in a pool yet.
    pub(super) fn new(count: u32) -> Self {
        Self { pooled: (0..count).map(|_| AtomicBool::new(false)).collect() }
    }

    /// A pool hands the buffer out. Panics if it was not in one.
    pub(super) fn taken(&self, index: u32) {
        let was = self.pooled[index as usize].swap(false, Ordering::Relaxed);
        assert!(was, "buffer {index} came out of the pool twice");
    }

    /// A pool gets the buffer. Panics if one has it already.
    pub(super) fn freed(&self, index: u32) {
        let was = self.pooled[index as usize].swap(true, Ordering::Relaxed);
        assert!(!was, "buffer {index} was freed twice");
    }

    /// Whether a pool has the buffer.
    pub(crate) fn is_pooled(&self, index: u32) -> bool {
        self.pooled[index as usize].load(Ordering::Relaxed)
    }
}
