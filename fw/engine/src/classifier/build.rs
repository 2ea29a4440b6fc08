//! Growing the trees.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::tree::{Entry, Node, Tree, Trees};
use super::word::Word;
use super::{Classifier, Limits, Region, Rule, SMALL, TooComplex, cut, group};

/// The part of the key space that a node answers for: a closed range in every dimension, those that
/// the family does not have at the end.
pub(super) type Cell<W> = [(W, W); 8];

/// A list of this length is not worth another step.
const SHORT: usize = 3;
/// Lists up to this length have every pair looked at for one that hides the other.
const PAIRS: usize = 16;
/// Steps that a walk takes at most.
const DEEPEST: u32 = 48;
/// Cells and list items that a tree may have for each of its regions: more if a try has left lists
/// longer than [`LONG`].
const BUDGETS: [u64; 3] = [32, 256, 2048];
/// And for none at all.
const BUDGET: u64 = 256;
const LONG: usize = 64;
/// A rule of more regions is known by the one around them all.
const MOST_REGIONS: usize = 48;

/// What is left of [`Limits::work`].
pub(super) struct Work {
    left: u64,
    limit: u64,
}

impl Work {
    pub(super) fn spend(&mut self, units: u64) -> Result<(), TooComplex> {
        self.left = self.left.checked_sub(units).ok_or(TooComplex::Work(self.limit))?;
        Ok(())
    }

    pub(super) const fn left(&self) -> u64 {
        self.left
    }

    /// Tries something that may take so many units and no more. What is outside is not spent on a
    /// failure: an error of its own only if the whole is used up.
    pub(super) fn lend<T>(
        &mut self,
        units: u64,
        attempt: impl FnOnce(&mut Self) -> Result<T, TooComplex>,
    ) -> Result<Result<T, TooComplex>, TooComplex> {
        let mut lent = Self { left: units.min(self.left), limit: self.limit };
        self.left -= lent.left;
        let result = attempt(&mut lent);
        self.left += lent.left;
        if self.left == 0 { Err(TooComplex::Work(self.limit)) } else { Ok(result) }
    }
}

pub(super) fn classifier(rules: &[Rule], limits: &Limits) -> Result<Classifier, TooComplex> {
    let rules: Vec<_> = rules.iter().map(Known::new).collect();
    let protocols = protocols(&rules);
    let mut work = Work { left: limits.work, limit: limits.work };
    let ipv4 = family(&rules, &protocols, *limits, &mut work)?;
    let ipv4_bytes = Trees::<u32>::memory(&ipv4);
    let left = Limits { bytes: limits.bytes.saturating_sub(ipv4_bytes), ..*limits };
    let ipv6 = family(&rules, &protocols, left, &mut work)?;
    Ok(Classifier { ipv4, ipv6, protocols })
}

/// A rule, its regions bounded in number.
pub(super) struct Known<'a> {
    regions: Cow<'a, [Region]>,
    places: u16,
    exact: bool,
    rank: Option<u32>,
}

impl<'a> Known<'a> {
    fn new(rule: &'a Rule) -> Self {
        let full = || rule.regions.iter().filter(|region| !is_empty(region));
        let count = full().count();
        let many = count > MOST_REGIONS;
        let regions = if many {
            full().cloned().reduce(|a, b| around(&a, &b)).into_iter().collect()
        } else if count < rule.regions.len() {
            full().cloned().collect()
        } else {
            Cow::Borrowed(rule.regions.as_slice())
        };
        Self { regions, places: rule.places, exact: rule.exact && !many, rank: rule.rank }
    }
}

fn is_empty(region: &Region) -> bool {
    region.source.is_empty()
        || region.destination.is_empty()
        || region.ports.iter().any(RangeInclusive::is_empty)
        || region.protocol.is_empty()
}

/// The smallest region around two.
fn around(a: &Region, b: &Region) -> Region {
    fn span<T: Ord + Copy>(a: &RangeInclusive<T>, b: &RangeInclusive<T>) -> RangeInclusive<T> {
        *a.start().min(b.start())..=*a.end().max(b.end())
    }
    Region {
        source: span(&a.source, &b.source),
        destination: span(&a.destination, &b.destination),
        ports: [span(&a.ports[0], &b.ports[0]), span(&a.ports[1], &b.ports[1])],
        protocol: span(&a.protocol, &b.protocol),
        opens: a.opens.filter(|_| a.opens == b.opens),
        ipv4: a.ipv4 || b.ipv4,
        ipv6: a.ipv6 || b.ipv6,
    }
}

/// Numbers the protocols so that those which all rules treat alike share one.
fn protocols(rules: &[Known<'_>]) -> [u8; 256] {
    let mut begins = [false; 257];
    for region in rules.iter().flat_map(|rule| rule.regions.iter()) {
        begins[usize::from(*region.protocol.start())] = true;
        begins[usize::from(*region.protocol.end()) + 1] = true;
    }
    let mut class = 0;
    let mut classes = [0; 256];
    for protocol in 1..256 {
        class += u8::from(begins[protocol]);
        classes[protocol] = class;
    }
    classes
}

/// The trees for one family.
fn family<W: Word>(
    rules: &[Known<'_>],
    protocols: &[u8; 256],
    limits: Limits,
    work: &mut Work,
) -> Result<Trees<W>, TooComplex> {
    let mut entries = Vec::new();
    for (number, rule) in (0..).zip(rules) {
        for region in rule.regions.iter() {
            if if W::IPV6 { region.ipv6 } else { region.ipv4 } {
                let boxes = W::boxes(&region.source, &region.destination);
                let entry = |of| entry(of, region, number, protocols);
                entries.extend(boxes.into_iter().map(entry));
            }
        }
    }
    match group::best(rules, &entries, limits, work) {
        Err(_) if rules.len() <= SMALL => Ok(Trees::list(entries)),
        built => built,
    }
}

fn entry<W: Word>(
    (low, high): (W::Addresses, W::Addresses),
    region: &Region,
    rule: u32,
    protocols: &[u8; 256],
) -> Entry<W> {
    Entry {
        low,
        high,
        port_low: [*region.ports[0].start(), *region.ports[1].start()],
        port_high: [*region.ports[0].end(), *region.ports[1].end()],
        protocol_low: protocols[usize::from(*region.protocol.start())],
        protocol_high: protocols[usize::from(*region.protocol.end())],
        opens_low: region.opens == Some(true),
        opens_high: region.opens != Some(false),
        rule,
    }
}

/// A tree that grows.
pub(super) struct Builder<'a, W: Word> {
    rules: &'a [Known<'a>],
    limits: Limits,
    work: &'a mut Work,
    tree: Tree<W>,
    /// Where the copies of a list that is no run of regions begin.
    known: HashMap<Vec<u32>, u32>,
}

impl<'a, W: Word> Builder<'a, W> {
    pub(super) fn new(
        rules: &'a [Known<'a>],
        entries: Vec<Entry<W>>,
        limits: Limits,
        work: &'a mut Work,
    ) -> Self {
        let tree = Tree { root: Node::leaf(0, 0), nodes: Vec::new(), entries, longest: (0, 0) };
        Self { rules, limits, work, tree, known: HashMap::new() }
    }

    /// The tree of all entries.
    pub(super) fn tree(mut self) -> Result<Tree<W>, TooComplex> {
        let regions = self.tree.entries.clone();
        let mut best = self.attempt(BUDGETS[0]);
        for budget in &BUDGETS[1..] {
            let longest = match &best {
                Ok(tree) => tree.longest.0,
                Err(TooComplex::Overlap { .. }) => usize::MAX,
                Err(_) => break,
            };
            if longest <= LONG {
                break;
            }
            self.tree.entries.clone_from(&regions);
            match self.attempt(*budget) {
                Ok(tree) if tree.longest.0 <= longest / 2 => best = Ok(tree),
                Err(error) if best.is_err() => best = Err(error),
                _ => break,
            }
        }
        best
    }

    /// Grows a tree of the entries, and takes it out.
    fn attempt(&mut self, budget: u64) -> Result<Tree<W>, TooComplex> {
        self.known.clear();
        self.tree.nodes.clear();
        self.tree.longest = (0, 0);
        let mut all = [(W::of(0), W::MAX); 8];
        let others = [u16::MAX.into(), u16::MAX.into(), u8::MAX.into(), 1];
        for (range, last) in all[..W::DIMENSIONS].iter_mut().rev().zip(others.iter().rev()) {
            range.1 = W::of(*last);
        }
        self.nodes(1)?;
        let list: Vec<u32> = (0..self.tree.entries.len() as u32).collect();
        let budget = list.len() as u64 * budget + BUDGET;
        let root = self.grow(&all, list, budget, 0)?;
        self.place(0, root);
        self.tree.root = self.tree.nodes[0];
        let nothing = Tree {
            root: Node::leaf(0, 0),
            nodes: Vec::new(),
            entries: Vec::new(),
            longest: (0, 0),
        };
        Ok(std::mem::replace(&mut self.tree, nothing))
    }

    /// Makes the node that answers for a cell, and all below it.
    fn grow(
        &mut self,
        cell: &Cell<W>,
        mut list: Vec<u32>,
        budget: u64,
        depth: u32,
    ) -> Result<Node<W>, TooComplex> {
        self.hide(cell, &mut list)?;
        if list.len() <= SHORT || depth == DEEPEST {
            return self.leaf(list);
        }
        let Some(cut) = cut::best(&self.tree.entries, cell, &list, budget, self.work)? else {
            return self.leaf(list);
        };
        let (lists, ends) = self.deal(&cut.node, &list, cut.spread)?;
        drop(list);
        let mut node = cut.node;
        let cells = node.last as usize + 1;
        let first = self.tree.nodes.len();
        self.nodes(cells)?;
        node.first = first as u32;
        let budget = budget.saturating_sub(cells as u64);
        let mut begin = 0;
        while begin < cells {
            let of = |cell: usize| {
                let start = if cell == 0 { 0 } else { ends[cell - 1] as usize };
                &lists[start..ends[cell] as usize]
            };
            // Neighbours with the same list become one.
            let mut end = begin + 1;
            while end < cells && of(end) == of(begin) {
                end += 1;
            }
            let mut part = *cell;
            let dimension = usize::from(node.dimension);
            let shift = u32::from(node.shift);
            if begin > 0 {
                part[dimension].0 = node.base.plus(W::of(begin as u32).up(shift));
            }
            if end < cells {
                part[dimension].1 = node.base.plus(W::of(end as u32).up(shift)).previous();
            }
            let list = of(begin).to_vec();
            let share = (u128::from(budget) * list.len() as u128 / u128::from(cut.spread)) as u64;
            let child = self.grow(&part, list, share, depth + 1)?;
            for at in begin..end {
                self.place(first + at, child);
            }
            begin = end;
        }
        Ok(node)
    }

    /// The children's lists, one behind the other, and where each ends.
    fn deal(
        &mut self,
        node: &Node<W>,
        list: &[u32],
        spread: u64,
    ) -> Result<(Vec<u32>, Vec<u32>), TooComplex> {
        let cells = node.last as usize + 1;
        self.work.spend(spread + cells as u64)?;
        let dimension = usize::from(node.dimension);
        let span = |entry: u32| {
            let (low, high) = self.tree.entries[entry as usize].range(dimension);
            node.cell(low) as usize..node.cell(high) as usize + 1
        };
        let mut ends = vec![0_u32; cells];
        for &entry in list {
            for cell in span(entry) {
                ends[cell] += 1;
            }
        }
        let mut sum = 0;
        for end in &mut ends {
            sum += std::mem::replace(end, sum);
        }
        let mut lists = vec![0; spread as usize];
        for &entry in list {
            for cell in span(entry) {
                lists[ends[cell] as usize] = entry;
                ends[cell] += 1;
            }
        }
        Ok((lists, ends))
    }

    /// Takes out of a cell's list what can never be the best-ranked there.
    fn hide(&mut self, cell: &Cell<W>, list: &mut Vec<u32>) -> Result<(), TooComplex> {
        self.work.spend(list.len() as u64)?;
        // The lowest rank, for each place, of those that fill the cell.
        let mut best = [u32::MAX; 16];
        for &entry in &*list {
            let entry = &self.tree.entries[entry as usize];
            let rule = &self.rules[entry.rule as usize];
            if let (true, Some(rank)) = (rule.exact, rule.rank)
                && fills(entry, cell)
            {
                for (place, best) in best.iter_mut().enumerate() {
                    if rule.places & 1 << place != 0 {
                        *best = rank.min(*best);
                    }
                }
            }
        }
        list.retain(|&entry| {
            let rule = &self.rules[self.tree.entries[entry as usize].rule as usize];
            rule.rank.is_none_or(|rank| {
                best.iter()
                    .enumerate()
                    .any(|(place, &best)| rule.places & 1 << place != 0 && rank <= best)
            })
        });
        if list.len() <= PAIRS {
            self.work.spend((list.len() * list.len()) as u64)?;
            let all = list.clone();
            list.retain(|&entry| !all.iter().any(|&other| self.hides(other, entry, cell)));
        }
        Ok(())
    }

    /// Whether within a cell one entry makes another superfluous.
    fn hides(&self, one: u32, other: u32, cell: &Cell<W>) -> bool {
        let [one, other] = [one, other].map(|entry| &self.tree.entries[entry as usize]);
        let [by, of] = [one, other].map(|entry| &self.rules[entry.rule as usize]);
        by.exact
            && matches!((by.rank, of.rank), (Some(by), Some(of)) if by < of)
            && of.places & !by.places == 0
            && (0..W::DIMENSIONS).all(|dimension| {
                let (low, high) = other.range(dimension);
                let (over_low, over_high) = one.range(dimension);
                over_low <= low.max(cell[dimension].0) && high.min(cell[dimension].1) <= over_high
            })
    }

    fn leaf(&mut self, list: Vec<u32>) -> Result<Node<W>, TooComplex> {
        let length = list.len();
        let Some(&start) = list.first() else {
            return Ok(Node::leaf(0, 0));
        };
        let rule = self.tree.entries[start as usize].rule;
        if length > self.limits.compared.min(usize::from(u16::MAX)) {
            let limit = self.limits.compared;
            return Err(TooComplex::Overlap { compared: length, limit, rule });
        }
        self.tree.longest = self.tree.longest.max((length, rule));
        if list.iter().zip(start..).all(|(&entry, expected)| entry == expected) {
            return Ok(Node::leaf(start, length as u16));
        }
        if let Some(&known) = self.known.get(&list) {
            return Ok(Node::leaf(known, length as u16));
        }
        let first = self.tree.entries.len();
        for &entry in &list {
            self.tree.entries.push(self.tree.entries[entry as usize]);
        }
        self.check_memory()?;
        self.known.insert(list, first as u32);
        Ok(Node::leaf(first as u32, length as u16))
    }

    /// Makes room for a node's children.
    fn nodes(&mut self, count: usize) -> Result<(), TooComplex> {
        let count = self.tree.nodes.len() + count;
        self.tree.nodes.resize(count, Node::leaf(0, 0));
        self.check_memory()
    }

    fn check_memory(&self) -> Result<(), TooComplex> {
        let numbers = self.tree.nodes.len().max(self.tree.entries.len()) < u32::MAX as usize;
        if numbers && self.tree.memory() <= self.limits.bytes {
            Ok(())
        } else {
            Err(TooComplex::Memory(self.limits.bytes))
        }
    }

    /// Puts a node into its place; a leaf leads to itself.
    fn place(&mut self, at: usize, mut node: Node<W>) {
        if node.last == 0 {
            node.first = at as u32;
        }
        self.tree.nodes[at] = node;
    }
}

fn fills<W: Word>(entry: &Entry<W>, cell: &Cell<W>) -> bool {
    (0..W::DIMENSIONS).all(|dimension| {
        let (low, high) = entry.range(dimension);
        low <= cell[dimension].0 && cell[dimension].1 <= high
    })
}
