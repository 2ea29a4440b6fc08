//! The trees of one family and the walk down them. No input makes the walk panic: every index in a
//! node was made by [`super::build`] from a place that exists.

// The walk is one loop of a few instructions, which a call would double.
#![allow(clippy::inline_always)]

use super::word::Word;

/// Dimensions behind those of the addresses: source port, destination port, protocol, opens.
pub(super) const OTHERS: usize = 4;
/// One tree for each way in which addresses can be narrow; see [`super::build`].
pub(super) const GROUPS: usize = 4;

/// A packet's fields by dimension; two spare for IPv4, so that a dimension needs no check.
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
pub(super) struct Entry<W: Word> {
    /// Source and destination; for IPv6 then their lower halves.
    pub(super) low: W::Addresses,
    pub(super) high: W::Addresses,
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
        let (low, high) = (self.low.as_ref(), self.high.as_ref());
        match dimension.wrapping_sub(low.len()) {
            port @ (0 | 1) => {
                (W::of(u32::from(self.port_low[port])), W::of(u32::from(self.port_high[port])))
            }
            2 => (W::of(u32::from(self.protocol_low)), W::of(u32::from(self.protocol_high))),
            3 => (W::of(u32::from(self.opens_low)), W::of(u32::from(self.opens_high))),
            _ => (low[dimension], high[dimension]),
        }
    }

    /// Whether a packet lies in the region. Without branches: which of the fields fails is not to
    /// be guessed.
    #[inline(always)]
    fn holds(&self, fields: &Fields<W>) -> bool {
        let mut inside = true;
        for (dimension, field) in fields[..W::DIMENSIONS].iter().enumerate() {
            let (low, high) = self.range(dimension);
            inside &= low <= *field;
            inside &= *field <= high;
        }
        inside
    }
}

/// One tree.
#[derive(Debug)]
pub(super) struct Tree<W: Word> {
    pub(super) root: Node<W>,
    pub(super) nodes: Vec<Node<W>>,
    /// What it was grown from, then what leaves had to copy.
    pub(super) entries: Vec<Entry<W>>,
    /// The length of the longest leaf, and a rule in it.
    pub(super) longest: (usize, u32),
}

impl<W: Word> Tree<W> {
    /// Steps that a look-up takes, and regions that it compares.
    pub(super) fn effort(&self, fields: &Fields<W>) -> (u32, u32) {
        let mut node = self.root;
        let mut steps = 0;
        while node.last != 0 {
            let cell = node.cell(fields[usize::from(node.dimension)]);
            node = self.nodes[(node.first + cell) as usize];
            steps += 1;
        }
        (steps, u32::from(node.length))
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.nodes) + size_of_val(&*self.entries)
    }
}

/// All trees of a family.
#[derive(Debug)]
pub(super) struct Trees<W: Word> {
    nodes: Vec<Node<W>>,
    entries: Vec<Entry<W>>,
    /// The root of each tree.
    roots: [Node<W>; GROUPS],
    /// How many of them there are.
    count: usize,
}

impl<W: Word> Trees<W> {
    /// At most [`GROUPS`] trees.
    pub(super) fn new(trees: impl Iterator<Item = Tree<W>>) -> Self {
        let mut all = Self {
            nodes: Vec::new(),
            entries: Vec::new(),
            roots: [Node::leaf(0, 0); GROUPS],
            count: 0,
        };
        for tree in trees {
            let (nodes, entries) = (all.nodes.len() as u32, all.entries.len() as u32);
            let moved = |mut node: Node<W>| {
                node.first += nodes;
                if node.last == 0 {
                    node.base = node.base.plus(W::of(entries));
                }
                node
            };
            all.nodes.extend(tree.nodes.into_iter().map(moved));
            all.entries.extend(tree.entries);
            all.roots[all.count] = moved(tree.root);
            all.count += 1;
        }
        all.nodes.shrink_to_fit();
        all.entries.shrink_to_fit();
        all
    }

    /// No tree, but one list that every look-up goes through.
    pub(super) fn list(entries: Vec<Entry<W>>) -> Self {
        let root = Node::leaf(0, entries.len() as u16);
        Self { nodes: vec![root], entries, roots: [root; GROUPS], count: 1 }
    }

    /// The rules whose regions hold a packet, of one leaf in each tree.
    #[inline]
    pub(super) fn find(&self, fields: &Fields<W>) -> Found<'_, W> {
        match self.count {
            0 => Found::Few(Few::default()),
            1 => self.find_in::<1>(fields),
            2 => self.find_in::<2>(fields),
            3 => self.find_in::<3>(fields),
            _ => self.find_in::<GROUPS>(fields),
        }
    }

    #[inline]
    fn find_in<const COUNT: usize>(&self, fields: &Fields<W>) -> Found<'_, W> {
        let leaves = self.walk::<COUNT>(fields);
        let mut few = Few::default();
        for leaf in &leaves {
            for entry in self.leaf(leaf) {
                few.add(entry.rule, entry.holds(fields));
            }
        }
        if (few.count as usize) < FEW {
            few.sort();
            return Found::Few(few);
        }
        let mut many = Many { fields: *fields, lists: [&[]; GROUPS], heads: [u32::MAX; GROUPS] };
        for (list, leaf) in leaves.iter().enumerate() {
            many.lists[list] = self.leaf(leaf);
            many.advance(list);
        }
        Found::Many(many)
    }

    /// Goes down the trees in step, so that their cache misses overlap.
    #[inline(always)]
    fn walk<const COUNT: usize>(&self, fields: &Fields<W>) -> [Node<W>; COUNT] {
        let mut nodes: [Node<W>; COUNT] = std::array::from_fn(|tree| self.roots[tree]);
        while nodes.iter().fold(0, |inner, node| inner | node.last) != 0 {
            for node in &mut nodes {
                let cell = node.cell(fields[usize::from(node.dimension & 7)]);
                *node = self.nodes[(node.first + cell) as usize];
            }
        }
        nodes
    }

    #[inline(always)]
    fn leaf(&self, node: &Node<W>) -> &[Entry<W>] {
        let first = node.base.low() as usize;
        &self.entries[first..first + usize::from(node.length)]
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.nodes) + size_of_val(&*self.entries)
    }
}

/// What a look-up has found.
#[derive(Clone, Debug)]
pub(super) enum Found<'a, W: Word> {
    /// Almost always.
    Few(Few),
    /// More than fit.
    Many(Many<'a, W>),
}

impl<W: Word> Found<'_, W> {
    #[inline]
    pub(super) fn next(&mut self) -> Option<u32> {
        match self {
            Self::Few(few) => few.next(),
            Self::Many(many) => many.next(),
        }
    }
}

/// One more than [`Few`] holds, since a rule is written before it is known to count; a power of two.
const FEW: usize = 16;

/// Rules that hold a packet, collected without a branch on whether they do, which no processor could
/// guess: half of the time of a look-up went into wrong guesses.
#[derive(Clone, Debug, Default)]
pub(super) struct Few {
    rules: [u32; FEW],
    next: u32,
    count: u32,
}

impl Few {
    #[inline(always)]
    fn add(&mut self, rule: u32, holds: bool) {
        self.rules[self.count as usize % FEW] = rule;
        self.count += u32::from(holds);
    }

    /// Ascending, each once.
    #[inline(always)]
    fn sort(&mut self) {
        if self.count < 2 {
            return;
        }
        let rules = &mut self.rules[..self.count as usize % FEW];
        for i in 1..rules.len() {
            let mut at = i;
            while at > 0 && rules[at - 1] > rules[at] {
                rules.swap(at - 1, at);
                at -= 1;
            }
        }
    }

    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        let rule = *self.rules[..self.count as usize % FEW].get(self.next as usize)?;
        self.next += 1;
        // The same rule by another of its regions.
        while self.next < self.count && self.rules[self.next as usize % FEW] == rule {
            self.next += 1;
        }
        Some(rule)
    }
}

/// The lists of one leaf of each tree, merged as they are asked for.
#[derive(Clone, Debug)]
pub(super) struct Many<'a, W: Word> {
    fields: Fields<W>,
    /// What is left of each leaf, behind its head.
    lists: [&'a [Entry<W>]; GROUPS],
    /// The next rule of each leaf; `u32::MAX` at the end.
    heads: [u32; GROUPS],
}

impl<W: Word> Many<'_, W> {
    /// Finds the next head of a list.
    fn advance(&mut self, list: usize) {
        let entries = self.lists[list];
        let behind =
            entries.iter().position(|entry| entry.holds(&self.fields)).map_or(0, |i| i + 1);
        self.heads[list] = if behind == 0 { u32::MAX } else { entries[behind - 1].rule };
        self.lists[list] = if behind == 0 { &[] } else { &entries[behind..] };
    }

    #[cold]
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
