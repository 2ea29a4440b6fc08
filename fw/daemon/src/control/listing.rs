//! What a query makes of the things that pass its criteria: counted, sorted, or sent as they come.

use std::io;

use weir_shell::protocol::{Done, Query};

use super::best::Best;

/// A listing that is under way. It holds what can be sent next, or as many as a sorted listing has.
pub(super) struct Listing<T> {
    /// Things that were found so far.
    found: u64,
    /// That can be sent.
    piece: Vec<T>,
    sent: u64,
    most: u64,
    how: How<T>,
}

enum How<T> {
    AsTheyCome,
    Count,
    Sort { best: Best<T>, reverse: bool },
}

impl<T> Listing<T> {
    /// Nothing was found yet.
    pub(super) fn new<C, O>(query: &Query<C, O>) -> Self {
        let most = query.most();
        let how = match (query.count, &query.sort) {
            (true, _) => How::Count,
            (false, Some(_)) => How::Sort {
                best: Best::new(most.unwrap_or_default() as usize),
                reverse: query.reverse,
            },
            (false, None) => How::AsTheyCome,
        };
        let most = most.map_or(u64::MAX, u64::from);
        Self { found: 0, piece: Vec::new(), sent: 0, most, how }
    }

    /// One more was found. `key` is what is sorted by.
    pub(super) fn add(&mut self, key: u64, thing: impl FnOnce() -> T) {
        self.found += 1;
        match &mut self.how {
            How::Sort { best, reverse } => {
                best.offer(if *reverse { u64::MAX - key } else { key }, thing);
            }
            How::AsTheyCome if self.found <= self.most => self.piece.push(thing()),
            How::Count | How::AsTheyCome => {}
        }
    }

    /// Whether nothing more is wanted.
    pub(super) const fn is_full(&self) -> bool {
        // One more tells that there are more.
        matches!(self.how, How::AsTheyCome) && self.found > self.most
    }

    /// Sends what can be.
    pub(super) fn send(
        &mut self,
        each: &mut impl FnMut(Vec<T>) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        self.sent += self.piece.len() as u64;
        each(std::mem::take(&mut self.piece))
    }

    /// Sends the rest, in lines of `length`; tells how many there were.
    pub(super) fn end(
        mut self,
        length: usize,
        each: &mut impl FnMut(Vec<T>) -> io::Result<()>,
    ) -> io::Result<Done> {
        self.send(each)?;
        let Self { found, mut sent, most, how, .. } = self;
        let note = match how {
            How::Count => return Ok(Done { count: found, note: None }),
            How::AsTheyCome => (found > most).then(|| format!("there are more than these {most}")),
            How::Sort { best, .. } => {
                let mut sorted = best.into_sorted().peekable();
                while sorted.peek().is_some() {
                    let piece: Vec<T> = sorted.by_ref().take(length).collect();
                    sent += piece.len() as u64;
                    each(piece)?;
                }
                (found > sent).then(|| format!("these are the first {sent} of {found}"))
            }
        };
        Ok(Done { count: sent, note })
    }
}
