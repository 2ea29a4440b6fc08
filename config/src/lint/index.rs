//! Finds, among many rules, one that covers a given one, without comparing all pairs.
//!
//! Tuple space search (Srinivasan, Suri, Varghese: Packet Classification using Tuple Space Search,
//! 1999) turned around: rules are grouped by which criteria they ask for as a single value or a
//! prefix of some length, and within a group hashed by these values. A rule that covers another one
//! holds the same values, cut to its own prefix lengths: one look-up for each group finds all that
//! are left to compare. What is neither value nor prefix (ranges, negations) is left to the
//! comparison.

use std::collections::HashMap;
use std::net::IpAddr;

use super::criteria::{Criteria, Hosts, PortSet, number};
use crate::rules::{Direction, Family};

/// What a search may cost: a unit is a look-up or a comparison, some 50 ns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget(u64);

impl Budget {
    pub(super) const fn new(units: u64) -> Self {
        Self(units)
    }

    /// Whether it was enough, and is less from now on.
    pub(super) const fn spend(&mut self, units: u64) -> bool {
        let is_enough = units <= self.0;
        self.0 = self.0.saturating_sub(units);
        is_enough
    }

    pub(super) const fn is_spent(self) -> bool {
        self.0 == 0
    }
}

/// How an address takes part in a group's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum HostShape {
    Open,
    Prefix(u8, u8),
    Table,
}

/// What the rules of a group have in common: which criteria they ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
// One for each criterion that is a single value.
#[allow(clippy::struct_excessive_bools)]
struct Shape {
    direction: bool,
    interface: bool,
    family: bool,
    protocol: bool,
    from: HostShape,
    to: HostShape,
    from_port: bool,
    to_port: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum HostKey<'r> {
    Open,
    Prefix(u128),
    Table(bool, &'r str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key<'r> {
    direction: Option<Direction>,
    interface: Option<&'r str>,
    family: Option<Family>,
    protocol: Option<u8>,
    from: HostKey<'r>,
    to: HostKey<'r>,
    from_port: Option<u16>,
    to_port: Option<u16>,
}

/// The first and last address as numbers, and the bits of the family.
fn ends(first: IpAddr, last: IpAddr) -> (u128, u128, u8) {
    let (first, bits) = number(first);
    (first, number(last).0, bits)
}

/// The bits that all addresses from the first to the last begin with.
const fn common_bits(first: u128, last: u128, bits: u8) -> u8 {
    bits - (128 - (first ^ last).leading_zeros() as u8)
}

const fn cut(value: u128, length: u8, bits: u8) -> u128 {
    let rest = bits - length;
    if rest == 128 { 0 } else { value >> rest }
}

impl HostShape {
    fn of(hosts: Hosts<'_>) -> Self {
        match hosts {
            Hosts::Span { not: false, first, last } => {
                let (first, last, bits) = ends(first, last);
                Self::Prefix(bits, common_bits(first, last, bits))
            }
            Hosts::Table { .. } => Self::Table,
            _ => Self::Open,
        }
    }

    /// The key that a rule of this shape has if it covers these hosts.
    fn key(self, hosts: Hosts<'_>) -> Option<HostKey<'_>> {
        match (self, hosts) {
            (Self::Open, _) => Some(HostKey::Open),
            (Self::Prefix(bits, length), Hosts::Span { not: false, first, last }) => {
                let (first, last, its_bits) = ends(first, last);
                let same = bits == its_bits && common_bits(first, last, bits) >= length;
                same.then(|| HostKey::Prefix(cut(first, length, bits)))
            }
            (Self::Table, Hosts::Table { not, name }) => Some(HostKey::Table(not, name)),
            _ => None,
        }
    }
}

impl Shape {
    fn of(criteria: &Criteria<'_>) -> Self {
        let single = |set: Option<PortSet>| set.is_some_and(|set| set.single().is_some());
        Self {
            direction: criteria.direction.is_some(),
            interface: criteria.interface.is_some_and(|on| !on.not),
            family: criteria.family.is_some(),
            protocol: criteria.protocol.is_some(),
            from: HostShape::of(criteria.from),
            to: HostShape::of(criteria.to),
            from_port: single(criteria.from_port),
            to_port: single(criteria.to_port),
        }
    }

    /// The key that a rule of this shape has if it covers these criteria; `None` if none does.
    fn key<'r>(&self, criteria: &Criteria<'r>) -> Option<Key<'r>> {
        let interface = criteria.interface.filter(|on| !on.not).map(|on| on.name);
        let port = |set: Option<PortSet>| set.and_then(PortSet::single);
        Some(Key {
            direction: asked(self.direction, criteria.direction).ok()?,
            interface: asked(self.interface, interface).ok()?,
            family: asked(self.family, criteria.family).ok()?,
            protocol: asked(self.protocol, criteria.protocol).ok()?,
            from: self.from.key(criteria.from)?,
            to: self.to.key(criteria.to)?,
            from_port: asked(self.from_port, port(criteria.from_port)).ok()?,
            to_port: asked(self.to_port, port(criteria.to_port)).ok()?,
        })
    }
}

/// The rule does not ask for a value that all rules of the shape ask for.
struct Lacks;

fn asked<T>(asked: bool, value: Option<T>) -> Result<Option<T>, Lacks> {
    if asked { value.map(Some).ok_or(Lacks) } else { Ok(None) }
}

/// The rules that may cover others.
#[derive(Default)]
pub(super) struct Index<'r> {
    /// Where each shape stands in `groups`, whose order makes the answers repeatable.
    shapes: HashMap<Shape, usize>,
    groups: Vec<(Shape, Group<'r>)>,
}

type Group<'r> = HashMap<Key<'r>, Vec<Candidate<'r>>>;

#[derive(Clone, Copy)]
struct Candidate<'r> {
    criteria: Criteria<'r>,
    rule: u32,
    /// How many rules that set a tag came before; a criterion on tags holds until the next.
    tags: u32,
    /// It makes states: whoever begins a connection there is not asked about again.
    keeps_state: bool,
}

/// A rule that is to be put into an [`Index`].
#[derive(Clone, Copy)]
pub(super) struct Entry<'r> {
    pub(super) rule: u32,
    pub(super) criteria: Criteria<'r>,
    /// The count of tag-setting rules so far.
    pub(super) tags: u32,
    pub(super) keeps_state: bool,
}

/// What a rule was found to cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Every packet.
    All,
    /// Every packet that begins a connection; it makes a state for those.
    Beginnings,
}

impl<'r> Index<'r> {
    pub(super) fn clear(&mut self) {
        self.shapes.clear();
        self.groups.clear();
    }

    /// Adds a rule.
    pub(super) fn insert(&mut self, entry: Entry<'r>, budget: &mut Budget) {
        let Entry { rule, criteria, tags, keeps_state } = entry;
        let shape = Shape::of(&criteria);
        let Some(key) = shape.key(&criteria) else { return };
        let at = *self.shapes.entry(shape).or_insert(self.groups.len());
        if at == self.groups.len() {
            self.groups.push((shape, Group::default()));
        }
        let group = self.groups[at].1.entry(key).or_default();
        if !budget.spend(1 + group.len() as u64) {
            return;
        }
        let candidate = Candidate { criteria, rule, tags, keeps_state };
        // Of equal ones the first found is enough, and the newer one if tags have changed.
        let same = |known: &&mut Candidate<'_>| {
            known.criteria == criteria && known.keeps_state == keeps_state
        };
        match group.iter_mut().find(same) {
            Some(known) if criteria.tagged.is_some() => *known = candidate,
            Some(_) => {}
            None => group.push(candidate),
        }
    }

    /// A rule that covers these criteria, one that covers all of them if there is one. `Beginnings`
    /// is an answer only if they are those of a block.
    pub(super) fn covering(
        &self,
        criteria: &Criteria<'r>,
        tags: u32,
        is_block: bool,
        budget: &mut Budget,
    ) -> Option<(u32, Extent)> {
        let mut beginnings = None;
        if !budget.spend(self.groups.len() as u64) {
            return None;
        }
        for (shape, group) in &self.groups {
            let Some(candidates) = shape.key(criteria).and_then(|key| group.get(&key)) else {
                continue;
            };
            for candidate in candidates {
                if !budget.spend(1) {
                    return None;
                }
                let tags_hold = candidate.criteria.tagged.is_none() || candidate.tags == tags;
                if !tags_hold {
                    continue;
                }
                if candidate.criteria.covers(criteria) {
                    return Some((candidate.rule, Extent::All));
                }
                if is_block
                    && candidate.keeps_state
                    && beginnings.is_none()
                    && candidate.criteria.covers_beginnings(criteria)
                {
                    beginnings = Some((candidate.rule, Extent::Beginnings));
                }
            }
        }
        beginnings
    }
}
