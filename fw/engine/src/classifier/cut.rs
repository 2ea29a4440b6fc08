//! Choosing how a cell is cut: in which dimension, where and how finely.

// Costs are estimates.
#![allow(clippy::cast_precision_loss)]

use super::TooComplex;
use super::build::{Cell, Work};
use super::tree::{Entry, Node};
use super::word::Word;

/// What a list is worth in comparisons of one packet with one region: a step down costs this many.
const STEP: f64 = 2.0;
/// A longer list is cut even if that gains nothing at once: in smaller cells more rules hide others.
const LONG: u64 = 32;
/// A cut may make the list so many times longer in sum, cells counted too.
const SPREAD: u64 = 4;
/// The most cells of one cut.
const MOST_CELLS: u64 = 1 << 22;

/// A cut and what it achieves.
pub(super) struct Cut<W> {
    /// With `first` to be filled in.
    pub(super) node: Node<W>,
    /// Sum of the children's lists.
    pub(super) spread: u64,
    cost: f64,
}

/// The cut after which a packet that hits one of the regions has the fewest others to be compared
/// with, if one is worth its step. At most `budget` cells and list items may come of it.
pub(super) fn best<W: Word>(
    entries: &[Entry<W>],
    cell: &Cell<W>,
    list: &[u32],
    budget: u64,
    work: &mut Work,
) -> Result<Option<Cut<W>>, TooComplex> {
    let count = list.len() as u64;
    let mut best: Option<Cut<W>> = None;
    let mut finder = Finder { ranges: Vec::new(), counts: Vec::new(), budget, count, work };
    for (dimension, &(low, high)) in cell[..W::DIMENSIONS].iter().enumerate() {
        finder.work.spend(count)?;
        finder.ranges.clear();
        finder.ranges.extend(list.iter().map(|&entry| {
            let range = entries[entry as usize].range(dimension);
            (range.0.max(low), range.1.min(high))
        }));
        let mut borders = finder.borders(low, high);
        if borders.is_empty() {
            continue;
        }
        let cut = finder.even(dimension, &borders, low)?;
        let halves = if cut.as_ref().is_none_or(|cut| cut.cost > count as f64 / 3.0) {
            finder.halves(dimension, &mut borders)?
        } else {
            None
        };
        for cut in [cut, halves].into_iter().flatten() {
            if best.as_ref().is_none_or(|best| cut.cost < best.cost) {
                best = Some(cut);
            }
        }
    }
    Ok(best.filter(|best| count > LONG || best.cost + STEP < count as f64))
}

struct Finder<'a, W> {
    /// The list's ranges in the dimension at hand, within the cell.
    ranges: Vec<(W, W)>,
    counts: Vec<i32>,
    budget: u64,
    count: u64,
    work: &'a mut Work,
}

impl<W: Word> Finder<'_, W> {
    /// Every first value of a range and every first one behind, where the cell goes on.
    fn borders(&self, low: W, high: W) -> Vec<W> {
        let mut borders = Vec::new();
        for &(first, last) in &self.ranges {
            if first > low {
                borders.push(first);
            }
            if last < high {
                borders.push(last.next());
            }
        }
        borders
    }

    /// Equal cells over all borders, as fine as the budget allows.
    fn even(
        &mut self,
        dimension: usize,
        borders: &[W],
        low: W,
    ) -> Result<Option<Cut<W>>, TooComplex> {
        let (Some(&min), Some(&max)) = (borders.iter().min(), borders.iter().max()) else {
            return Ok(None);
        };
        let allowed = (self.count * SPREAD + 8).min(self.budget);
        let most = allowed.min(MOST_CELLS);
        let mut shift = 0;
        while max.above(min).down(shift) > W::of(most as u32) {
            shift += 1;
        }
        while shift < W::BITS {
            let aligned = min.down(shift).up(shift);
            // The first cell takes what lies below the first border.
            let base = if aligned > low { aligned.above(W::of(1).up(shift)) } else { aligned };
            let last = max.above(base).down(shift).low();
            if last == 0 {
                break;
            }
            let node = Node {
                base,
                first: 0,
                last,
                length: 0,
                dimension: dimension as u8,
                shift: shift as u8,
            };
            if u64::from(last) < most {
                self.work.spend(self.count)?;
                let spread = self.spread(&node);
                if spread + u64::from(last) < allowed {
                    return self.rate(node, spread).map(Some);
                }
            }
            shift += 1;
        }
        Ok(None)
    }

    /// Two cells with as many borders in each: where equal cells do not tell clusters apart.
    fn halves(
        &mut self,
        dimension: usize,
        borders: &mut [W],
    ) -> Result<Option<Cut<W>>, TooComplex> {
        self.work.spend(self.count * 4)?;
        let middle = borders.len() / 2;
        let (_, &mut middle, _) = borders.select_nth_unstable(middle);
        let node = Node {
            base: middle.previous(),
            first: 0,
            last: 1,
            length: 0,
            dimension: dimension as u8,
            shift: 0,
        };
        let spread = self.spread(&node);
        if spread + 2 > self.budget {
            return Ok(None);
        }
        self.rate(node, spread).map(Some)
    }

    /// Sum of the children's lists.
    fn spread(&self, node: &Node<W>) -> u64 {
        self.ranges
            .iter()
            .map(|&(first, last)| u64::from(node.cell(last) - node.cell(first)) + 1)
            .sum()
    }

    /// The cost of a cut: how long a list the average item is in, and a little for the memory.
    fn rate(&mut self, node: Node<W>, spread: u64) -> Result<Cut<W>, TooComplex> {
        let cells = node.last as usize + 1;
        self.work.spend(self.count + cells as u64)?;
        self.counts.clear();
        self.counts.resize(cells + 1, 0);
        for &(first, last) in &self.ranges {
            self.counts[node.cell(first) as usize] += 1;
            self.counts[node.cell(last) as usize + 1] -= 1;
        }
        let mut length = 0_i32;
        let mut squares = 0.0;
        for change in &self.counts {
            length += change;
            squares += f64::from(length) * f64::from(length);
        }
        let grown = (spread + cells as u64) as f64 / self.count as f64;
        Ok(Cut { node, spread, cost: squares / spread as f64 * (1.0 + 0.05 * grown) })
    }
}
