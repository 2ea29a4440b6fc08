//! Which regions share a tree.
//!
//! A rule for a source and a rule for a destination cross each other everywhere: in one tree each
//! would be copied into the cells of the other. So regions are set apart by which of their addresses
//! are narrow (`EffiCuts`' separable trees). Each tree costs every look-up, however; so two are
//! joined where that makes look-ups cheaper, by a sample of packets and a model of the machine.

use super::build::{Builder, Known, Work};
use super::tree::{Entry, Fields, GROUPS, Tree, Trees};
use super::word::Word;
use super::{Limits, TooComplex};

/// Packets of the sample.
const SAMPLE: usize = 512;
/// A joined tree may take so many times the work and memory of its parts, and this much besides.
const SPARE: usize = 2;
const SPARE_BYTES: usize = 1 << 16;
const SPARE_WORK: u64 = 1 << 17;

/// The trees for a family's entries, which ascend by rule.
pub(super) fn best<W: Word>(
    rules: &[Known<'_>],
    entries: &[Entry<W>],
    limits: Limits,
    work: &mut Work,
) -> Result<Trees<W>, TooComplex> {
    let sample = sample(entries);
    let mut parts = Vec::new();
    let mut bytes = limits.bytes;
    for group in apart(entries) {
        let part = Part::grow(rules, group, Limits { bytes, ..limits }, work, &sample)?;
        bytes = bytes.saturating_sub(part.tree.memory());
        parts.push(part);
    }
    join(&mut parts, rules, limits, work, &sample)?;
    let compared: usize = parts.iter().map(|part| part.tree.longest.0).sum();
    if compared > limits.compared {
        let rule = parts.iter().map(|part| part.tree.longest).max().map_or(0, |(_, rule)| rule);
        return Err(TooComplex::Overlap { compared, limit: limits.compared, rule });
    }
    Ok(Trees::new(parts.into_iter().map(|part| part.tree)))
}

/// Joins the two parts that gain most by it, again and again.
fn join<W: Word>(
    parts: &mut Vec<Part<W>>,
    rules: &[Known<'_>],
    limits: Limits,
    work: &mut Work,
    sample: &[Fields<W>],
) -> Result<(), TooComplex> {
    let mut fresh = 0;
    // What came of joining two parts, by their places.
    let mut joined: Vec<(usize, usize, Part<W>)> = Vec::new();
    while parts.len() > 1 {
        for b in fresh.max(1)..parts.len() {
            for a in 0..b {
                let bytes: usize = parts.iter().map(|part| part.tree.memory()).sum();
                let (one, other) = (&parts[a], &parts[b]);
                let own = one.tree.memory() + other.tree.memory();
                let bytes = limits.bytes.saturating_sub(bytes - own).min(own * SPARE + SPARE_BYTES);
                let units = (one.work + other.work) * SPARE as u64 + SPARE_WORK;
                let mut regions = [one.regions(), other.regions()].concat();
                regions.sort_by_key(|entry| entry.rule);
                let limits = Limits { bytes, ..limits };
                let part =
                    work.lend(units, |work| Part::grow(rules, regions, limits, work, sample))?;
                joined.extend(part.ok().map(|part| (a, b, part)));
            }
        }
        let now = cost(&parts.iter().collect::<Vec<_>>());
        let of = |(a, b, part): &(usize, usize, Part<W>)| {
            let others = parts.iter().enumerate().filter(|(i, _)| i != a && i != b);
            cost(&others.map(|(_, part)| part).chain([part]).collect::<Vec<_>>())
        };
        let Some(best) = (0..joined.len()).min_by_key(|&i| of(&joined[i])) else { break };
        if of(&joined[best]) >= now {
            break;
        }
        let (a, b, part) = joined.swap_remove(best);
        // The higher place first, so that the lower stays what it is.
        parts.remove(b);
        parts.remove(a);
        parts.push(part);
        fresh = parts.len() - 1;
        joined.retain(|&(c, d, _)| [c, d].iter().all(|place| ![a, b].contains(place)));
        let moved = |place: usize| place - usize::from(place > a) - usize::from(place > b);
        for (c, d, _) in &mut joined {
            (*c, *d) = (moved(*c), moved(*d));
        }
    }
    Ok(())
}

/// A tree and what is known of it.
struct Part<W: Word> {
    tree: Tree<W>,
    regions: usize,
    /// Units that it took.
    work: u64,
    /// Steps, and regions compared, of each packet in the sample.
    efforts: Vec<(u32, u32)>,
}

impl<W: Word> Part<W> {
    fn grow(
        rules: &[Known<'_>],
        entries: Vec<Entry<W>>,
        limits: Limits,
        work: &mut Work,
        sample: &[Fields<W>],
    ) -> Result<Self, TooComplex> {
        let (regions, before) = (entries.len(), work.left());
        let tree = Builder::new(rules, entries, limits, work).tree()?;
        let efforts = sample.iter().map(|fields| tree.effort(fields)).collect();
        Ok(Self { tree, regions, work: before - work.left(), efforts })
    }

    /// What it was grown from.
    fn regions(&self) -> &[Entry<W>] {
        &self.tree.entries[..self.regions]
    }
}

/// All regions, apart by which of their addresses are narrow.
fn apart<W: Word>(entries: &[Entry<W>]) -> Vec<Vec<Entry<W>>> {
    let mut groups = vec![Vec::new(); GROUPS];
    for entry in entries {
        let narrow = |dimension: usize| {
            let (low, high) = entry.range(dimension);
            usize::from(high.above(low) < W::MAX.down(W::WIDE))
        };
        groups[narrow(0) | narrow(1) << 1].push(*entry);
    }
    groups.retain(|group| !group.is_empty());
    groups
}

/// Packets in one region, and packets with each field from another.
fn sample<W: Word>(entries: &[Entry<W>]) -> Vec<Fields<W>> {
    if entries.is_empty() {
        return Vec::new();
    }
    // Any sequence will do; what counts is that it is always the same. Knuth's MMIX.
    let mut state = 1_u64;
    let mut random = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    let mut sample = Vec::new();
    for number in 0..SAMPLE {
        let mut entry = &entries[random() as usize % entries.len()];
        let mut fields = [W::of(0); 8];
        for (dimension, field) in fields[..W::DIMENSIONS].iter_mut().enumerate() {
            if number % 2 == 0 {
                entry = &entries[random() as usize % entries.len()];
            }
            let (low, high) = entry.range(dimension);
            *field = low.plus(high.above(low).part(random()));
        }
        sample.push(fields);
    }
    sample
}

/// What a look-up costs on average over the sample, in no unit.
fn cost<W: Word>(parts: &[&Part<W>]) -> u64 {
    let trees = parts.len() as u64;
    let bytes: usize = parts.iter().map(|part| part.tree.memory()).sum();
    // Each doubling beyond the first-level cache makes a step dearer.
    let distance = u64::from((bytes >> 15).max(1).ilog2());
    let step = 500 + 150 * distance + 100 * trees;
    let compare = 250 + 50 * distance;
    let mut sum = 600 * trees * SAMPLE as u64;
    for i in 0..SAMPLE {
        let efforts = parts.iter().filter_map(|part| part.efforts.get(i));
        let steps = efforts.clone().map(|effort| effort.0).max().unwrap_or(0);
        let compared: u32 = efforts.map(|effort| effort.1).sum();
        sum += u64::from(steps) * step + u64::from(compared) * compare;
    }
    sum
}
