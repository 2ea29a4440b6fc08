//! The trees of one family and the walk down them. No input makes the walk panic: every index in a
//! node was made by [`super::build`] from a place that exists.

use super::word::Word;

/// Dimensions of a key: source, destination, source port, destination port, protocol, opens.
pub(super) const DIMENSIONS: usize = 6;
/// One tree for each way in which addresses can be narrow; see [`super::build`].
pub(super) const GROUPS: usize = 4;

/// A packet's fields by dimension; two spare, so that a dimension needs no check.
pub(super) type Fields<W> = [W; 8];

/// A step down: the child is the cell of the packet's field in one dimension, cells `1 << shift`
/// wide from `base` on, everything below in the first and everything above in the last.
///
/// 16 bytes for IPv4, so that a line holds four siblings. A leaf has one cell, itself, so that a walk
/// may step on while others have not arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<W> {
    /// Where the first cell begins; in a leaf, the number of its first entry.
    pub(super) base: W,
    /// The first child.
    pub(super) first: u32,
    /// The number of the last cell; 0 in a leaf.
    pub(super) last: u32,
    /// Entries of a leaf.
    pub(super) length: u16,
    pub(super) dimension: u8,
    pub(super) shift: u8,
}

impl<W: Word> Node<W> {
    pub(super) fn leaf(first: u32, length: u16) -> Self {
        Self { base: W::of(first), first: 0, last: 0, length, dimension: 0, shift: 0 }
    }

    /// The cell of a value.
    #[inline(always)]
    pub(super) fn cell(&self, value: W) -> u32 {
        value.above(self.base).down(u32::from(self.shift)).min(W::of(self.last)).low()
    }
}

/// A region of a rule: a closed range in every dimension. 32 bytes for IPv4.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<W> {
    pub(super) low: [W; 2],
    pub(super) high: [W; 2],
    pub(super) port_low: [u16; 2],
    pub(super) port_high: [u16; 2],
    pub(super) protocol_low: u8,
    pub(super) protocol_high: u8,
    pub(super) opens_low: bool,
    pub(super) opens_high: bool,
    pub(super) rule: u32,
}

impl<W: Word> Entry<W> {
    /// The range in one dimension.
    #[inline]
    pub(super) fn range(&self, dimension: usize) -> (W, W) {
        match dimension {
            0 | 1 => (self.low[dimension], self.high[dimension]),
            2 | 3 => (
                W::of(u32::from(self.port_low[dimension - 2])),
                W::of(u32::from(self.port_high[dimension - 2])),
            ),
            4 => (W::of(u32::from(self.protocol_low)), W::of(u32::from(self.protocol_high))),
            _ => (W::of(u32::from(self.opens_low)), W::of(u32::from(self.opens_high))),
        }
    }

    /// Whether a packet lies in the region. Without branches: which of the fields fails is not to
    /// be guessed.
    #[inline(always)]
    fn holds(&self, fields: &Fields<W>) -> bool {
        let mut inside = true;
        for dimension in 0..DIMENSIONS {
            let (low, high) = self.range(dimension);
            inside &= (low <= fields[dimension]) & (fields[dimension] <= high);
        }
        inside
    }
}

/// All trees of a family.
#[derive(Debug)]
pub(super) struct Trees<W> {
    pub(super) nodes: Vec<Node<W>>,
    pub(super) entries: Vec<Entry<W>>,
    /// The root of each tree.
    pub(super) roots: [u32; GROUPS],
    /// How many of them there are.
    pub(super) count: usize,
}

impl<W: Word> Trees<W> {
    /// Goes down all trees in step, so that their cache misses overlap.
    #[inline]
    pub(super) fn walk(&self, fields: Fields<W>) -> Merge<'_, W> {
        let mut at = self.roots;
        loop {
            let mut inner = 0;
            for at in &mut at[..self.count] {
                let node = &self.nodes[*at as usize];
                inner |= node.last;
                *at = node.first + node.cell(fields[usize::from(node.dimension & 7)]);
            }
            if inner == 0 {
                break;
            }
        }
        let mut merge = Merge { fields, lists: [&[]; GROUPS], heads: [u32::MAX; GROUPS] };
        for (list, at) in at[..self.count].iter().enumerate() {
            let leaf = &self.nodes[*at as usize];
            if leaf.length != 0 {
                let first = leaf.base.low() as usize;
                merge.lists[list] = &self.entries[first..first + usize::from(leaf.length)];
                merge.advance(list);
            }
        }
        merge
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.nodes) + size_of_val(&*self.entries)
    }
}

/// The entries of one leaf of each tree that hold the packet, by ascending rule, each rule once.
#[derive(Clone, Debug)]
pub(super) struct Merge<'a, W> {
    fields: Fields<W>,
    /// What is left of each leaf, behind its head.
    lists: [&'a [Entry<W>]; GROUPS],
    /// The next rule of each leaf; `u32::MAX` at the end.
    heads: [u32; GROUPS],
}

impl<W: Word> Merge<'_, W> {
    /// Finds the next head of a list.
    #[inline]
    fn advance(&mut self, list: usize) {
        self.heads[list] = u32::MAX;
        let entries = self.lists[list];
        for (i, entry) in entries.iter().enumerate() {
            if entry.holds(&self.fields) {
                self.heads[list] = entry.rule;
                self.lists[list] = &entries[i + 1..];
                return;
            }
        }
        self.lists[list] = &[];
    }
}

impl<W: Word> Iterator for Merge<'_, W> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        let rule = self.heads.into_iter().min().filter(|&rule| rule != u32::MAX)?;
        for list in 0..GROUPS {
            while self.heads[list] == rule {
                self.advance(list);
            }
        }
        Some(rule)
    }
}
