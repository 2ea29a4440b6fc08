//! Room for listings of table entries, which are in memory until the last is taken.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Control, Refused};

impl Control {
    /// Entries of tables in listings under way of clients that may only look; one listing alone may have
    /// more.
    pub const MAX_LISTED: u64 = 2_000_000;

    /// Room for a listing of so many entries.
    pub(super) fn listed_room(&self, entries: u32) -> Result<Listed<'_>, Refused> {
        let entries = u64::from(entries);
        let before = self.listed.fetch_add(entries, Ordering::Relaxed);
        let room = Listed { taken: entries, of: &self.listed };
        if before > 0 && before + entries > Self::MAX_LISTED {
            let text = "other clients list as many table entries as there is room for: try again";
            return Err(Refused::Error(text.into()));
        }
        Ok(room)
    }
}

/// What a listing takes of the room for entries.
pub(super) struct Listed<'a> {
    taken: u64,
    of: &'a AtomicU64,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.of.fetch_sub(self.taken, Ordering::Relaxed);
    }
}
