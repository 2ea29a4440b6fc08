//! From many rules to the few that can matter for one packet. It knows nothing of pf: rules are boxes
//! with an order of precedence.
//!
//! The method is decision trees over the boxes, a union of published ones:
//! - equal cuts of a cell, as fine as the memory allows (`HiCuts`, Gupta and `McKeown` 1999), but only
//!   over the part of it where rules begin or end, so that one step finds a customer in a rack;
//! - a cut at the middle border where equal cuts do not tell clusters apart (`HyperSplit`, Qi et al.
//!   2009; the two together: `CutSplit`, Li et al. 2018);
//! - separate trees for rules with narrow sources and narrow destinations, which would multiply in
//!   one, joined again where a model says that it pays (`EffiCuts`, Vamanan et al. 2010);
//! - rules that a better-ranked one hides in a whole cell are left out of it (`HiCuts`' redundancy).
//!
//! Bit vectors (`ABV`) were left aside because a vector of 100,000 bits for each of as many borders
//! has no place in a cache, tuple space search because prefixes of all lengths on both sides make
//! hundreds of tuples, each a probe, and an attacker chooses which are hit.
//!
//! What is bounded, whatever the packet: 48 steps down each of at most four trees, in step with each
//! other, and [`Limits::compared`] comparisons. A build stops at [`Limits::work`] and
//! [`Limits::bytes`]. [`SMALL`] sets are never refused: at worst they are one list.
//!
//! Nanoseconds a look-up with all candidates read, half of the packets in a rule and half anywhere,
//! from `cargo bench -p weir-engine --bench classify` on a busy machine; on the right what the first
//! version took in an earlier run, with a tree for each group, leaves merged as they were tested and
//! 128-bit keys for IPv6, beside the rules tried one by one in that run:
//!
//! | rules | 10 | 1,000 | 10,000 | 100,000 | 10,000, first version | one by one |
//! |---|---|---|---|---|---|---|
//! | prefixes of all lengths | 43 | 50 | 77 | 380 | 165 | 157,000 |
//! | the same, IPv6 | 50 | 80 | 139 | 152 | 319 | 123,000 |
//! | a hosting rack | 56 | 43 | 48 | 65 | 139 | 79,000 |
//! | access lists | 33 | 32 | 57 | 53 | 158 | 148,000 |
//! | firewalls | 51 | 47 | 47 | 91 | 213 | 185,000 |
//! | IP chains | 45 | 44 | 70 | 155 | 234 | 158,000 |
//! | blocked hosts | 37 | 45 | 41 | 58 | 111 | 96,000 |
//!
//! 10 rules cost about as much: what is left is mostly the same for every set.

mod build;
mod cut;
mod group;
mod tree;
mod word;

use std::fmt;
use std::ops::RangeInclusive;

use tree::{Found, Trees};

/// What a packet is to the classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Source address, IPv4 mapped as in [`crate::packet::Address`].
    pub source: u128,
    /// Destination address, likewise.
    pub destination: u128,
    /// Whether the packet is IPv6; else it is IPv4.
    pub ipv6: bool,
    /// Source and destination port; 0 where the protocol has none.
    pub ports: [u16; 2],
    /// IP protocol.
    pub protocol: u8,
    /// Whether it opens a connection; what that means is the caller's business.
    pub opens: bool,
}

/// A box of packets: all fields must lie in their ranges. An empty range holds nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Source addresses, IPv4 mapped.
    pub source: RangeInclusive<u128>,
    /// Destination addresses, IPv4 mapped.
    pub destination: RangeInclusive<u128>,
    /// Source and destination ports.
    pub ports: [RangeInclusive<u16>; 2],
    /// IP protocols.
    pub protocol: RangeInclusive<u8>,
    /// Only packets that open a connection, or only others; `None`: both.
    pub opens: Option<bool>,
    /// Holds IPv4 packets.
    pub ipv4: bool,
    /// Holds IPv6 packets.
    pub ipv6: bool,
}

impl Region {
    /// Every packet.
    pub const ALL: Self = Self {
        source: 0..=u128::MAX,
        destination: 0..=u128::MAX,
        ports: [0..=u16::MAX, 0..=u16::MAX],
        protocol: 0..=u8::MAX,
        opens: None,
        ipv4: true,
        ipv6: true,
    };

    /// Whether a packet lies in it.
    pub fn holds(&self, key: &Key) -> bool {
        (if key.ipv6 { self.ipv6 } else { self.ipv4 })
            && self.source.contains(&key.source)
            && self.destination.contains(&key.destination)
            && self.ports[0].contains(&key.ports[0])
            && self.ports[1].contains(&key.ports[1])
            && self.protocol.contains(&key.protocol)
            && self.opens.is_none_or(|opens| opens == key.opens)
    }
}

/// What the classifier knows of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Their union holds every packet that the rule can match.
    pub regions: Vec<Region>,
    /// Where the rule applies, a bit each of whatever the caller tells apart (directions, ports). Not
    /// looked at for a packet; only a rule that applies in all places of another can hide it.
    pub places: u16,
    /// Whether the rule matches every packet in its regions and places.
    pub exact: bool,
    /// Of all ranked rules that match in a place only the one with the lowest rank matters. A rule
    /// without a rank is always a candidate.
    pub rank: Option<u32>,
}

/// What a classifier may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the finished structure.
    pub bytes: usize,
    /// Units of work to build it: a region looked at once, 2 to 20 ns.
    pub work: u64,
    /// Regions that one look-up may have to compare with the packet.
    pub compared: usize,
}

impl Default for Limits {
    /// A million rules for single hosts take 75 MiB.
    fn default() -> Self {
        Self { bytes: 512 << 20, work: 4_000_000_000, compared: 4096 }
    }
}

/// Why a rule set is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooComplex {
    /// The structure would be larger than [`Limits::bytes`], which is given.
    Memory(usize),
    /// It would take more than [`Limits::work`], which is given.
    Work(u64),
    /// So many regions lie over each other that one look-up would compare more than
    /// [`Limits::compared`].
    Overlap {
        /// Regions that a look-up would compare.
        compared: usize,
        /// The limit.
        limit: usize,
        /// One of the rules they belong to.
        rule: u32,
    },
}

impl fmt::Display for TooComplex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(limit) => write!(
                f,
                "the rules overlap in too many ways: telling them apart takes more than {} MiB",
                limit >> 20
            ),
            Self::Work(limit) => write!(
                f,
                "the rules overlap in too many ways: telling them apart takes more than {limit} steps"
            ),
            Self::Overlap { compared, limit, rule } => write!(
                f,
                "{compared} rules (rule {rule} is one) overlap so that one packet would be \
                 compared with all of them; the most is {limit}"
            ),
        }
    }
}

impl std::error::Error for TooComplex {}

/// Rule sets up to this size are never refused.
pub const SMALL: usize = 128;

/// The structure: immutable, looked up by any number of threads.
#[derive(Debug)]
pub struct Classifier {
    ipv4: Trees<u32>,
    ipv6: Trees<u64>,
    /// Protocols that no rule tells apart have one number.
    protocols: [u8; 256],
}

impl Classifier {
    /// Builds it. Deterministic: the same rules and limits give the same structure or refusal.
    pub fn build(rules: &[Rule], limits: &Limits) -> Result<Self, TooComplex> {
        build::classifier(rules, limits)
    }

    /// Ascending numbers of the rules that can matter for a packet: all unranked ones with a region
    /// that holds it, and for every place the ranked one of the lowest rank. More may be reported,
    /// but only rules with a region that holds the packet.
    #[inline]
    pub fn candidates(&self, key: &Key) -> Candidates<'_> {
        let protocol = self.protocols[usize::from(key.protocol)];
        let fields = [
            u32::from(key.ports[0]),
            u32::from(key.ports[1]),
            u32::from(protocol),
            u32::from(key.opens),
        ];
        Candidates(if key.ipv6 {
            let [a, b, c, d] = fields.map(u64::from);
            let (source, destination) = (key.source, key.destination);
            let upper = [(source >> 64) as u64, (destination >> 64) as u64];
            let lower = [source as u64, destination as u64];
            let fields = [upper[0], upper[1], lower[0], lower[1], a, b, c, d];
            Family::Ipv6(self.ipv6.find(&fields))
        } else {
            let [a, b, c, d] = fields;
            let addresses = [key.source as u32, key.destination as u32];
            Family::Ipv4(self.ipv4.find(&[addresses[0], addresses[1], a, b, c, d, 0, 0]))
        })
    }

    /// Bytes it takes.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.ipv4.memory() + self.ipv6.memory()
    }
}

/// The rules that can matter for one packet, in ascending order, each once.
#[derive(Clone, Debug)]
pub struct Candidates<'a>(Family<'a>);

#[derive(Clone, Debug)]
enum Family<'a> {
    Ipv4(Found<'a, u32>),
    Ipv6(Found<'a, u64>),
}

impl Iterator for Candidates<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        match &mut self.0 {
            Family::Ipv4(found) => found.next(),
            Family::Ipv6(found) => found.next(),
        }
    }
}
