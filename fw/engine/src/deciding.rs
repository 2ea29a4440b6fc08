//! Which rules have decided about the frames of a batch, for those who watch: captures and replays.
//!
//! Packets that the rules were asked about are noted where that happens; the rules of all others are
//! those of their states, which are looked up when somebody wants to know. Frames that nobody watches
//! cost nothing.

use crate::engine::Engine;
use crate::lane::{Lane, Step};

/// What is known of the last batch.
#[derive(Debug)]
pub(crate) struct Deciding {
    /// Counts batches, so that notes of earlier ones are told apart.
    batch: u64,
    /// Frames of it that were looked at one by one.
    frames: usize,
    /// By frame: the batch, and ids of the rules that decided arriving and leaving.
    asked: Box<[(u64, [Option<u32>; 2])]>,
}

impl Deciding {
    pub(crate) fn new() -> Self {
        let asked = (0..Engine::BATCH).map(|_| (0, [None; 2])).collect();
        Self { batch: 0, frames: 0, asked }
    }

    /// A batch begins, of which so many frames are looked at.
    #[inline]
    pub(crate) const fn begin(&mut self, frames: usize) {
        self.batch += 1;
        self.frames = frames;
    }

    /// The rules have decided about frame `i`.
    #[inline]
    pub(crate) fn note(&mut self, i: usize, rules: [Option<u32>; 2]) {
        if let Some(asked) = self.asked.get_mut(i) {
            *asked = (self.batch, rules);
        }
    }

    /// What was noted of frame `i`.
    pub(crate) fn noted(&self, i: usize) -> Option<[Option<u32>; 2]> {
        let &(batch, rules) = self.asked.get(i)?;
        (batch == self.batch).then_some(rules)
    }

    /// A whole datagram was judged in the place of frame 0, and is over with frame `i`.
    pub(crate) fn move_first(&mut self, before: Option<[Option<u32>; 2]>, i: usize) {
        let of_datagram = self.noted(0);
        self.asked[0] = before.map_or((0, [None; 2]), |rules| (self.batch, rules));
        if let Some(rules) = of_datagram {
            self.note(i, rules);
        }
    }
}

impl Engine {
    /// Ids of the rules that decided about frame `i` of the last batch, arriving and leaving: those
    /// that were asked, or those that its state began with. `None` where no rule has spoken. Of a
    /// batch that has only just been judged.
    pub fn deciding(&self, i: usize) -> [Option<u32>; 2] {
        if i >= self.deciding.frames {
            return [None; 2];
        }
        self.deciding.noted(i).unwrap_or_else(|| {
            let rules = self.state_behind(&self.lanes[i]);
            rules.map_or([None; 2], |rules| rules.map(|record| self.records.number(record)))
        })
    }

    /// How many programs were taken up: the load that ids of rules belong to.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The records of the state that a packet belongs to.
    fn state_behind(&self, lane: &Lane) -> Option<[u32; 2]> {
        if lane.step != Step::Flow {
            return None;
        }
        let entry = self.table.find(&lane.key, lane.hash, lane.candidate);
        let entry = entry.or_else(|| self.find_other(lane))?;
        Some(self.table.get(entry).rules)
    }
}
