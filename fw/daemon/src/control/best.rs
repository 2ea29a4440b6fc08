//! The first of many, in order, of which no more are held than are wanted.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// The things with the largest keys so far; of equal ones those that came first.
pub(super) struct Best<T> {
    most: usize,
    /// The one that has to go next is on top.
    held: BinaryHeap<Reverse<Held<T>>>,
    offered: u64,
}

struct Held<T> {
    key: u64,
    /// What came earlier has more.
    before: Reverse<u64>,
    thing: T,
}

impl<T> Best<T> {
    /// Room for so many.
    pub(super) fn new(most: usize) -> Self {
        Self { most, held: BinaryHeap::new(), offered: 0 }
    }

    /// Keeps a thing if it is among them.
    pub(super) fn offer(&mut self, key: u64, thing: impl FnOnce() -> T) {
        let before = Reverse(self.offered);
        self.offered += 1;
        if self.held.len() >= self.most {
            match self.held.peek() {
                Some(Reverse(last)) if last.key < key => drop(self.held.pop()),
                _ => return,
            }
        }
        self.held.push(Reverse(Held { key, before, thing: thing() }));
    }

    /// Those that were kept, the largest first.
    pub(super) fn into_sorted(self) -> impl Iterator<Item = T> {
        // Ascending by what was reversed.
        self.held.into_sorted_vec().into_iter().map(|Reverse(held)| held.thing)
    }
}

impl<T> Ord for Held<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.key, self.before).cmp(&(other.key, other.before))
    }
}

impl<T> PartialOrd for Held<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Held<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Held<T> {}

#[cfg(test)]
mod tests {
    use super::Best;

    #[test]
    fn the_largest_are_kept_and_of_equal_ones_the_first() {
        let mut best = Best::new(4);
        for (at, key) in [3, 9, 9, 1, 5, 9, 0, 7].into_iter().enumerate() {
            best.offer(key, || (key, at));
            assert!(best.held.len() <= 4);
        }
        let kept: Vec<_> = best.into_sorted().collect();
        assert_eq!(kept, [(9, 1), (9, 2), (9, 5), (7, 7)]);
    }

    #[test]
    fn no_room_keeps_nothing() {
        let mut best = Best::new(0);
        best.offer(1, || ());
        assert_eq!(best.into_sorted().count(), 0);
    }
}
