//! What becomes of held frames.

use crate::judge::Verdict;

/// Frames that were held and are held no longer, with their verdicts, in the order in which they go.
#[derive(Debug, Default)]
pub struct Releases {
    list: Vec<Release>,
    slots: Vec<u32>,
}

/// Slots that share a verdict.
#[derive(Clone, Copy, Debug)]
struct Release {
    /// They go before what the batch's frame of this number becomes.
    before: u32,
    verdict: Verdict,
    /// Behind the last of their slots.
    end: u32,
}

impl Releases {
    /// Room for so many frames.
    pub fn with_capacity(frames: usize) -> Self {
        Self { list: Vec::with_capacity(frames), slots: Vec::with_capacity(frames) }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The next slots and their verdict, if they go before frame `before` of the batch does what its
    /// verdict says. `cursor` is 0 at first. All slots of one answer belong to one datagram.
    pub fn next(&self, cursor: &mut usize, before: usize) -> Option<(Verdict, &[u32])> {
        let release = self.list.get(*cursor).filter(|next| next.before as usize <= before)?;
        let begin = cursor.checked_sub(1).map_or(0, |last| self.list[last].end);
        *cursor += 1;
        Some((release.verdict, &self.slots[begin as usize..release.end as usize]))
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.list.clear();
        self.slots.clear();
    }

    pub(super) fn push(
        &mut self,
        before: usize,
        verdict: Verdict,
        slots: impl Iterator<Item = u32>,
    ) {
        let begin = self.slots.len();
        self.slots.extend(slots);
        if self.slots.len() > begin {
            let (before, end) = (before as u32, self.slots.len() as u32);
            self.list.push(Release { before, verdict, end });
        }
    }
}
