//! Longest prefix match over immutable nodes.
//!
//! The structure is Eatherton, Varghese and Dittia's tree bitmap ("Tree Bitmap: Hardware/Software IP
//! Lookups with Incremental Updates", 2004) with steps of six bits, to which path compression in the
//! manner of Morrison's PATRICIA (1968) is added. A node holds the prefixes that end within its six
//! bits and its children, both behind a bitmap of 64 bits, in one allocation. Why this one: every
//! prefix is stored once, where DIR-24-8 and poptrie expand it, so that a change touches the nodes on
//! its way and nothing else; a node has two items at least, so that there are fewer nodes than
//! entries whatever the entries are, and IPv6 costs no more than IPv4; six bits make bitmaps that one
//! machine word counts.
//!
//! Nodes are never changed. [`apply`] takes a sorted batch of edits and makes new nodes where the
//! edits are; everything else is shared between the old and the new trie (Driscoll et al., "Making
//! Data Structures Persistent", 1989). Readers of the old one go on undisturbed.
//!
//! Memory: an entry takes an item of 32 bytes, a node 40 and an item in its parent. Random entries
//! need about 50 bytes each, the worst sets (every node with two items) 104, and what the allocator
//! adds.

use triomphe::ThinArc;

use crate::processor;
use crate::time::Instant;

/// Bits that a node decides on.
const STEP: u8 = 6;

/// Of the prefixes of 0 to 5 bits within a node, those that hold each of its 64 places. The prefix
/// of `r` bits with value `v` has the number `1 << r | v`, so longer ones have higher numbers.
const HOLDING: [u64; 64] = {
    let mut all = [0; 64];
    let mut place = 0;
    while place < 64 {
        let mut bits = 0;
        while bits < STEP as usize {
            all[place] |= 1 << (1 << bits | place >> (STEP as usize - bits));
            bits += 1;
        }
        place += 1;
    }
    all
};

/// Deadlines are kept in ticks of 2^26 ns, 67 ms; they reach nine years beyond the clock base.
const TICK_BITS: u32 = 26;

/// An entry: a prefix and what is known of it.
///
/// Its last byte has values to spare, by which [`Item`] tells a leaf from a node; hence the order.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Leaf {
    /// The prefix, its first bit on top, high half first; bits behind it are zero.
    key: [u64; 2],
    /// In ticks; 0 is never.
    deadline: u32,
    /// Number of the entry in its table.
    pub(super) id: u32,
    /// Low and high part of [`Leaf::stamp`].
    stamp_low: u32,
    stamp_high: u16,
    /// Bits of the prefix.
    pub(super) length: u8,
    /// `!` was written.
    pub(super) not: bool,
}

// Two to a cache line; a million of them are 32 MB.
const _: () = assert!(size_of::<Item>() == 32);

impl Leaf {
    /// A leaf that never expires, unnumbered.
    pub(super) const fn new(key: u128, length: u8, not: bool) -> Self {
        let key = [(key >> 64) as u64, key as u64];
        Self { key, deadline: 0, id: 0, stamp_low: 0, stamp_high: 0, length, not }
    }

    #[inline]
    pub(super) const fn key(&self) -> u128 {
        (self.key[0] as u128) << 64 | self.key[1] as u128
    }

    /// What orders leaves and tells them apart.
    #[inline]
    pub(super) const fn place(&self) -> (u128, u8) {
        (self.key(), self.length)
    }

    /// Changes when the entry's number is given to another prefix or its counters are cleared.
    #[inline]
    pub(super) const fn stamp(&self) -> u64 {
        (self.stamp_high as u64) << 32 | self.stamp_low as u64
    }

    /// 48 bits of it are kept: enough for a million changes a second for nine years.
    pub(super) const fn set_stamp(&mut self, stamp: u64) {
        self.stamp_low = stamp as u32;
        self.stamp_high = (stamp >> 32) as u16;
    }

    /// When it expires: at `at` or less than a tick later.
    pub(super) fn set_deadline(&mut self, at: Option<Instant>) {
        self.deadline = at.map_or(0, |at| {
            let ticks = at.0.div_ceil(1 << TICK_BITS).max(1);
            u32::try_from(ticks).unwrap_or(u32::MAX)
        });
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        match self.deadline {
            0 => None,
            ticks => Some(Instant((ticks as u64) << TICK_BITS)),
        }
    }

    #[inline]
    pub(super) const fn is_live(&self, now: Instant) -> bool {
        self.deadline == 0 || now.0 >> TICK_BITS < self.deadline as u64
    }

    #[inline]
    const fn holds(&self, key: u128) -> bool {
        // A shift by all 128 bits is none.
        self.length == 0 || (key ^ self.key()) >> (128 - self.length) == 0
    }
}

/// A node: what its parent knows of it, and a reference to the rest. That the bitmaps are here and
/// not with the items spares a look-up one dependent cache miss of two at each level.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Which prefixes end here, from bit 1 on; bit 0 is [`SKIPS`].
    prefixes: u64,
    /// Which places have an item of their own.
    children: u64,
    /// The prefixes that end here, then the children, both in the order of their bits.
    items: ThinArc<Head, Item>,
}

/// There are bits between those that the parent decides on and [`Head::level`].
const SKIPS: u64 = 1;

/// Where the items begin: behind a reference count, [`Head`] and their number.
const ITEMS: usize = size_of::<usize>() + size_of::<Head>() + size_of::<usize>();

/// What stands before a node's items.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// The bits above `level` that everything below shares.
    key: [u64; 2],
    /// Bits above those that the node decides on; a multiple of [`STEP`], at most 126.
    level: u8,
}

/// What a place in a node holds.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// The only entry there.
    Leaf(Leaf),
    /// Two or more.
    Node(Node),
}

impl Node {
    #[inline]
    fn level(&self) -> u8 {
        self.items.header.header.level
    }

    #[inline]
    fn key(&self) -> u128 {
        let [high, low] = self.items.header.header.key;
        u128::from(high) << 64 | u128::from(low)
    }

    #[inline]
    fn holds(&self, key: u128) -> bool {
        (key ^ self.key()) & !(u128::MAX >> self.level()) == 0
    }

    /// Which prefixes end here.
    #[inline]
    const fn prefixes(&self) -> u64 {
        self.prefixes & !SKIPS
    }

    /// The number of the child that a key with these bits here is in.
    #[inline]
    const fn child_number(&self, place: u8) -> Option<u32> {
        let bit = 1_u64 << place;
        if self.children & bit == 0 {
            return None;
        }
        Some(self.prefixes().count_ones() + (self.children & (bit - 1)).count_ones())
    }

    /// The number of the item of a prefix that ends here.
    #[inline]
    const fn prefix_number(&self, prefix: u8) -> Option<u32> {
        let bit = 1_u64 << prefix;
        if self.prefixes() & bit == 0 {
            return None;
        }
        Some((self.prefixes() & (bit - 1)).count_ones())
    }

    /// Starts fetching an item and the count of items, without waiting for the count.
    #[inline]
    fn fetch(&self, number: u32) {
        let start = self.items.as_ptr().cast::<u8>();
        let item = start.wrapping_add(ITEMS + number as usize * size_of::<Item>());
        // The count stands right before the items, half of which lie across two lines.
        processor::prefetch_address(start.wrapping_add(ITEMS - size_of::<usize>()));
        processor::prefetch_address(item);
        processor::prefetch_address(item.wrapping_add(size_of::<Item>() - 1));
    }

    /// What is at a position.
    #[inline]
    fn at(&self, position: u8) -> Option<&Item> {
        let number = if position >= 64 {
            self.child_number(position - 64)
        } else {
            self.prefix_number(position)
        };
        number.map(|number| &self.items.slice[number as usize])
    }
}

impl Item {
    /// The bits that all of it shares.
    fn shared(&self) -> (u128, u8) {
        match self {
            Self::Leaf(leaf) => leaf.place(),
            Self::Node(node) => (node.key(), node.level()),
        }
    }
}

/// The bits that a node of this level decides on.
#[inline]
const fn place(key: u128, level: u8) -> u8 {
    (key << level >> (128 - STEP)) as u8
}

/// A position in a node: 1 to 63 for a prefix, 64 and its bits for a child.
#[inline]
const fn position(key: u128, length: u8, level: u8) -> u8 {
    let place = place(key, level);
    if length < level + STEP {
        let bits = length - level;
        1 << bits | place >> (STEP - bits)
    } else {
        64 | place
    }
}

/// A look-up on its way down, one cache miss a step: so that the misses of several look-ups can
/// overlap, as those of the state table do. What a step needs was asked for when the one before
/// ended.
#[derive(Clone, Copy, Default)]
pub(super) struct Search<'a> {
    root: Option<&'a Item>,
    key: u128,
    /// The bits of the key that no node on the way has decided on, from the top.
    rest: u128,
    /// Where the item is that is looked at next.
    next: Option<Place<'a>>,
    /// The item that is next is the candidate.
    last: bool,
    passed_over: bool,
    /// The longest prefix that holds the key in the lowest node so far that has one. Looked at when
    /// the way down has ended in nothing: a cache miss for each node on the way would double the cost.
    candidate: Option<Place<'a>>,
    /// The prefixes of that node that hold the key.
    holding: u64,
    leaf: Option<&'a Leaf>,
}

/// An item of a node.
#[derive(Clone, Copy)]
struct Place<'a> {
    node: &'a Node,
    number: u32,
}

#[expect(clippy::inline_always, reason = "else compiled without `processor::with_bit_counts`")]
impl<'a> Search<'a> {
    /// From the root of a trie.
    #[inline(always)]
    pub(super) fn new(root: Option<&'a Item>, key: u128, now: Instant) -> Self {
        let mut search = Self {
            root,
            key,
            rest: key,
            next: None,
            last: false,
            passed_over: false,
            candidate: None,
            holding: 0,
            leaf: None,
        };
        match root {
            None => {}
            Some(Item::Node(node)) => search.enter(node, true),
            Some(Item::Leaf(leaf)) => search.end_at(leaf, now),
        }
        search
    }

    /// Goes one step down; `false` where the way ends.
    #[inline(always)]
    pub(super) fn step(&mut self, now: Instant) -> bool {
        let Some(Place { node, number }) = self.next else { return false };
        match &node.items.slice[number as usize] {
            // Bits that nodes decide on need no comparison; those that are skipped do.
            Item::Node(node) => self.enter(node, node.prefixes & SKIPS != 0),
            Item::Leaf(leaf) => self.end_at(leaf, now),
        }
        self.next.is_some()
    }

    /// What was found, after the last step.
    #[inline]
    pub(super) fn found(&self, now: Instant) -> Option<&'a Leaf> {
        if self.leaf.is_some() || self.candidate.is_none() {
            return self.leaf;
        }
        self.found_above(now)
    }

    /// The candidate has expired.
    #[cold]
    fn found_above(&self, now: Instant) -> Option<&'a Leaf> {
        match longest_live(self.candidate?.node, self.holding, now) {
            None if self.passed_over => longest_from_above(self.root, self.key, now),
            found => found,
        }
    }

    #[inline(always)]
    fn end_at(&mut self, leaf: &'a Leaf, now: Instant) {
        let found = leaf.holds(self.key) & leaf.is_live(now);
        self.leaf = if found { Some(leaf) } else { None };
        self.go_to(if found | self.last { None } else { self.candidate }, true);
    }

    #[inline(always)]
    fn enter(&mut self, node: &'a Node, skipping: bool) {
        if skipping && !self.skip(node) {
            return self.go_to(self.candidate, true);
        }
        let place = (self.rest >> (128 - STEP)) as u8;
        self.rest <<= STEP;
        // Nobody can tell which nodes have prefixes that hold the key, or a child: no branches here.
        let prefixes = node.prefixes();
        let holding = prefixes & HOLDING[place as usize];
        let better = holding != 0;
        let longest = 1_u64 << (holding | 1).ilog2();
        let number = (prefixes & (longest - 1)).count_ones();
        self.passed_over |= better & self.candidate.is_some();
        self.candidate = if better { Some(Place { node, number }) } else { self.candidate };
        self.holding = if better { holding } else { self.holding };

        let child = 1_u64 << place;
        let number = prefixes.count_ones() + (node.children & (child - 1)).count_ones();
        let last = node.children & child == 0;
        self.go_to(if last { self.candidate } else { Some(Place { node, number }) }, last);
    }

    /// Has the item fetched that the next step will look at.
    #[inline(always)]
    fn go_to(&mut self, next: Option<Place<'a>>, last: bool) {
        (self.next, self.last) = (next, last);
        if let Some(Place { node, number }) = next {
            node.fetch(number);
        }
    }

    /// Leaves the bits behind that the node does not decide on; `false` if the key has others.
    #[inline(never)]
    fn skip(&mut self, node: &'a Node) -> bool {
        self.rest = self.key << node.level();
        node.holds(self.key)
    }
}

/// The live entry with the longest prefix that holds `key`.
#[inline]
pub(super) fn longest(root: Option<&Item>, key: u128, now: Instant) -> Option<&Leaf> {
    let mut search = Search::new(root, key, now);
    while search.step(now) {}
    search.found(now)
}

/// Of a node's prefixes in `holding`, the longest that is live.
#[inline]
fn longest_live(node: &Node, mut holding: u64, now: Instant) -> Option<&Leaf> {
    while holding != 0 {
        let number = 63 - holding.leading_zeros() as u8;
        if let Some(Item::Leaf(leaf)) = node.at(number)
            && leaf.is_live(now)
        {
            return Some(leaf);
        }
        holding &= !(1 << number);
    }
    None
}

/// As [`longest`], when the lowest candidates have all expired. A leaf at the bottom is the caller's.
#[cold]
fn longest_from_above(root: Option<&Item>, key: u128, now: Instant) -> Option<&Leaf> {
    let mut best = None;
    let mut item = root;
    while let Some(Item::Node(node)) = item {
        if !node.holds(key) {
            break;
        }
        let place = place(key, node.level());
        best = longest_live(node, node.prefixes & HOLDING[place as usize], now).or(best);
        item = node.at(64 | place);
    }
    best
}

/// The entry of exactly this prefix, live or not.
pub(super) fn find(root: Option<&Item>, key: u128, length: u8) -> Option<&Leaf> {
    let mut item = root?;
    loop {
        match item {
            Item::Leaf(leaf) => return Some(leaf).filter(|leaf| leaf.place() == (key, length)),
            Item::Node(node) => {
                if length < node.level() || !node.holds(key) {
                    return None;
                }
                item = node.at(position(key, length, node.level()))?;
            }
        }
    }
}

/// Shows the leaves behind a place (all of them: `None`), live or not, in the order of their places, until
/// `each` has had enough and returns `false`; then this does so, too.
pub(super) fn visit_after(
    item: &Item,
    after: Option<(u128, u8)>,
    each: &mut impl FnMut(&Leaf) -> bool,
) -> bool {
    let node = match item {
        Item::Leaf(leaf) => return after.is_some_and(|after| leaf.place() <= after) || each(leaf),
        Item::Node(node) => node,
    };
    let last = node.key() | u128::MAX >> node.level();
    if after.is_some_and(|(key, _)| last < key) {
        return true;
    }
    // A prefix that ends here comes before what is below its first place, and that before the next.
    let mut items: Vec<&Item> = node.items.slice.iter().collect();
    items.sort_unstable_by_key(|item| match item {
        Item::Leaf(leaf) => leaf.place(),
        Item::Node(node) => (node.key(), node.level()),
    });
    items.into_iter().all(|item| visit_after(item, after, each))
}

/// Shows every leaf, live or not, in no order to rely on.
pub(super) fn visit(item: &Item, each: &mut impl FnMut(&Leaf)) {
    match item {
        Item::Leaf(leaf) => each(leaf),
        // At most 22 deep: levels are multiples of six.
        Item::Node(node) => node.items.slice.iter().for_each(|item| visit(item, each)),
    }
}

/// Bytes that the nodes below take, without what the allocator adds.
pub(super) fn footprint(item: &Item) -> usize {
    match item {
        Item::Leaf(_) => 0,
        Item::Node(node) => {
            // Reference count, head and length stand before the items.
            let own = size_of::<[u64; 2]>() + size_of::<Head>() + size_of_val(&node.items.slice);
            own + node.items.slice.iter().map(footprint).sum::<usize>()
        }
    }
}

/// A change of one entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edit {
    /// What is put there; if it is removed, only [`Leaf::place`] counts.
    pub(super) leaf: Leaf,
    pub(super) put: bool,
}

/// The trie with these edits made, which are sorted by [`Leaf::place`], each place once. Costs the
/// nodes on the way to the edits; what has no edits below it is shared with the old trie.
pub(super) fn apply(old: Option<&Item>, edits: &[Edit]) -> Option<Item> {
    let (Some(first), Some(last)) = (edits.first(), edits.last()) else {
        return old.cloned();
    };
    if edits.len() == 1 {
        match old {
            None => return first.put.then_some(Item::Leaf(first.leaf)),
            Some(Item::Leaf(leaf)) if leaf.place() == first.leaf.place() => {
                return first.put.then_some(Item::Leaf(first.leaf));
            }
            Some(_) => {}
        }
    }
    // The level at which the edits and what was there part.
    let shortest = edits.iter().map(|edit| edit.leaf.length).min().unwrap_or(0);
    let base = first.leaf.key();
    let mut shared = shortest.min((base ^ last.leaf.key()).leading_zeros() as u8);
    if let Some(old) = old {
        let (key, length) = old.shared();
        shared = shared.min(length).min((base ^ key).leading_zeros() as u8);
    }
    rebuild(old, edits, shared / STEP * STEP)
}

/// The node of this level with these edits made; `old` is that node, or something below it.
fn rebuild(old: Option<&Item>, edits: &[Edit], level: u8) -> Option<Item> {
    let (mut prefixes, mut children) = (0_u64, 0_u64);
    let mut below = None;
    let node = match old {
        Some(Item::Node(node)) if node.level() == level => {
            (prefixes, children) = (node.prefixes(), node.children);
            Some(node)
        }
        Some(item) => {
            let (key, length) = item.shared();
            let at = position(key, length, level);
            below = Some((at, item));
            *(if at < 64 { &mut prefixes } else { &mut children }) |= 1 << (at & 63);
            None
        }
        None => None,
    };
    let before = |at: u8| match node {
        Some(node) => node.at(at),
        None => below.filter(|(place, _)| *place == at).map(|(_, item)| item),
    };

    // Children come in order, the prefixes between them.
    let mut changes: Vec<(u8, Option<Item>)> = Vec::with_capacity(edits.len().min(127));
    let mut rest = edits;
    while let Some(edit) = rest.first() {
        let at = position(edit.leaf.key(), edit.leaf.length, level);
        let count = if at < 64 {
            1
        } else {
            let same = |edit: &Edit| place(edit.leaf.key(), level) | 64 == at;
            rest.iter().position(|edit| !same(edit)).unwrap_or(rest.len())
        };
        let (group, others) = rest.split_at(count);
        rest = others;
        let item = if at < 64 {
            edit.put.then_some(Item::Leaf(edit.leaf))
        } else {
            apply(before(at), group)
        };
        let map = if at < 64 { &mut prefixes } else { &mut children };
        let bit = 1 << (at & 63);
        *map = if item.is_some() { *map | bit } else { *map & !bit };
        changes.push((at, item));
    }
    changes.sort_unstable_by_key(|(at, _)| *at);

    let mut changes = changes.into_iter().filter_map(|(at, item)| Some((at, item?))).peekable();
    let count = (prefixes.count_ones() + children.count_ones()) as usize;
    let mut all: Vec<Item> = Vec::with_capacity(count);
    for at in ones(prefixes).chain(ones(children).map(|bit| 64 | bit)) {
        match changes.next_if(|(changed, _)| *changed == at) {
            Some((_, item)) => all.push(item),
            None => all.extend(before(at).cloned()),
        }
    }
    if count < 2 {
        return all.pop();
    }
    for item in &mut all {
        if let Item::Node(node) = item {
            let skips = if node.level() == level + STEP { 0 } else { SKIPS };
            node.prefixes = node.prefixes() | skips;
        }
    }
    let key = edits[0].leaf.key() & !(u128::MAX >> level);
    let head = Head { key: [(key >> 64) as u64, key as u64], level };
    let items = ThinArc::from_header_and_iter(head, all.into_iter());
    Some(Item::Node(Node { prefixes, children, items }))
}

/// The numbers of the bits that are on, from the lowest.
fn ones(mut map: u64) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let bit = map.trailing_zeros() as u8;
        map &= map.wrapping_sub(1);
        (bit < 64).then_some(bit)
    })
}
