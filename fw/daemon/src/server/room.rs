//! Room for requests that are under way: of one client, and of all together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a session takes of the room that all requests have together.
pub(super) struct Room {
    taken_by_all: Arc<AtomicUsize>,
    /// By this session.
    taken: usize,
}

impl Room {
    /// Bytes that every session may have for itself.
    const FREE: usize = 64 << 10;

    /// Nothing is taken yet.
    pub(super) fn new(taken_by_all: &Arc<AtomicUsize>) -> Self {
        Self { taken_by_all: Arc::clone(taken_by_all), taken: 0 }
    }

    /// Makes sure of room for a request of that length so far; `false` if there is none.
    pub(super) fn take(&mut self, length: usize, limit: usize) -> bool {
        let more = length.saturating_sub(Self::FREE).saturating_sub(self.taken);
        let fits = more == 0 || {
            let before = self.taken_by_all.fetch_add(more, Ordering::Relaxed);
            self.taken += more;
            before + more <= limit
        };
        if !fits {
            self.give_back();
        }
        fits
    }

    pub(super) fn give_back(&mut self) {
        self.taken_by_all.fetch_sub(std::mem::take(&mut self.taken), Ordering::Relaxed);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.give_back();
    }
}
