//! `ether` rules, compiled: last match wins, `quick` ends (FreeBSD's pf.conf(5)).
//!
//! Every frame is asked about, states or not, and a bridge before a thousand customers may well have
//! a rule for each one's hardware address. So each side of each port has its rules sorted by the
//! address that most of them name in full, source or destination: a frame meets those of its own
//! address, found by binary search, and those that name none, merged in the order of the file.

use weir_config::ether::{EtherRule, MacMatch, VlanMatch};
use weir_config::rules::{Address as RuleAddress, Direction};

use super::records::EtherRecords;
use super::{LinkFrame, Way, number};
use crate::counters::MAX_PORTS;
use crate::frame::PortIndex;
use crate::packet::ethernet::ethertype;
use crate::packet::{Address, Network};
use crate::ruleset::PortNames;
use crate::ruleset::tags::TagNames;

/// All rules, and by which of them a port's side is ruled.
#[derive(Debug)]
pub(super) struct EtherRules {
    rules: Vec<Matcher>,
    /// By port and direction.
    sides: [[Side; 2]; MAX_PORTS],
}

impl EtherRules {
    /// `None` if there are too many tags.
    pub(super) fn new(
        rules: &[EtherRule],
        ports: &PortNames,
        tags: &mut TagNames,
        table: &mut impl FnMut(&str) -> u32,
    ) -> Option<Self> {
        let rules: Vec<_> = rules
            .iter()
            .map(|rule| Matcher::new(rule, ports, tags, table))
            .collect::<Option<_>>()?;
        let sides = std::array::from_fn(|port| {
            [Direction::In, Direction::Out].map(|direction| Side::new(&rules, port, direction))
        });
        Some(Self { rules, sides })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(super) fn get(&self, rule: u32) -> &Matcher {
        &self.rules[rule as usize]
    }

    /// The rule that decides about a frame which passes a port in a direction. `tag` is what it
    /// already carries.
    pub(super) fn winner(
        &self,
        frame: &LinkFrame,
        (port, direction): (PortIndex, Direction),
        tag: u16,
        way: Way<'_>,
        records: &mut EtherRecords,
    ) -> Option<u32> {
        let side = self.sides.get(usize::from(port.0))?.get(direction as usize)?;
        let (mut named, mut others) = (side.of(frame), &side.others[..]);
        let mut last = None;
        loop {
            let number = match (named, others) {
                ([a, rest @ ..], []) => {
                    named = rest;
                    *a
                }
                ([a, rest @ ..], [b, ..]) if a < b => {
                    named = rest;
                    *a
                }
                (_, [b, rest @ ..]) => {
                    others = rest;
                    *b
                }
                ([], []) => return last,
            };
            records.evaluate(number);
            let rule = self.get(number);
            if rule.matches(frame, tag, way) {
                if rule.quick {
                    return Some(number);
                }
                last = Some(number);
            }
        }
    }
}

/// The rules of one direction through one port, by number.
#[derive(Debug, Default)]
struct Side {
    /// Rules are sorted by the destination, not the source.
    by_destination: bool,
    /// Those that name the address in full, sorted by it.
    named: Vec<(u64, Vec<u32>)>,
    others: Vec<u32>,
}

impl Side {
    fn new(rules: &[Matcher], port: usize, direction: Direction) -> Self {
        let mine = || {
            (0..).zip(rules).filter(|(_, rule)| {
                rule.ports >> port & 1 != 0 && rule.direction.is_none_or(|its| its == direction)
            })
        };
        let naming = |end: fn(&Matcher) -> &MacTest| {
            mine().filter(|(_, rule)| end(rule).exact().is_some()).count()
        };
        let by_destination = naming(|rule| &rule.to) > naming(|rule| &rule.from);
        let (mut named, mut others) = (Vec::new(), Vec::new());
        for (number, rule) in mine() {
            match if by_destination { rule.to.exact() } else { rule.from.exact() } {
                Some(address) => named.push((address, number)),
                None => others.push(number),
            }
        }
        named.sort_unstable();
        let named = named
            .chunk_by(|a, b| a.0 == b.0)
            .map(|chunk| (chunk[0].0, chunk.iter().map(|&(_, number)| number).collect()))
            .collect();
        Self { by_destination, named, others }
    }

    /// The rules that name this frame's address.
    fn of(&self, frame: &LinkFrame) -> &[u32] {
        let address = if self.by_destination { frame.destination } else { frame.source };
        match self.named.binary_search_by_key(&address, |&(address, _)| address) {
            Ok(at) => &self.named[at].1,
            Err(_) => &[],
        }
    }
}

/// One rule. A frame matches if all of these hold.
#[derive(Debug)]
pub(super) struct Matcher {
    pass: bool,
    quick: bool,
    direction: Option<Direction>,
    /// A bit for each port that `on` means.
    ports: u8,
    /// Lowest and highest id; 0 is no tag.
    vlan: (u16, u16),
    ethertype: Option<u16>,
    /// Only IPv4 and IPv6, since it looks at addresses of whichever family.
    is_ip: bool,
    from: MacTest,
    to: MacTest,
    l3: [AddressTest; 2],
    /// `tag`, 0 for none.
    tag: u16,
    /// `tagged`: `!` and the tag.
    tagged: Option<(bool, u16)>,
}

impl Matcher {
    fn new(
        rule: &EtherRule,
        ports: &PortNames,
        tags: &mut TagNames,
        table: &mut impl FnMut(&str) -> u32,
    ) -> Option<Self> {
        let l3 = [&rule.l3_from, &rule.l3_to].map(|side| AddressTest::new(side.as_ref(), table));
        Some(Self {
            pass: rule.pass,
            quick: rule.quick,
            direction: rule.direction,
            ports: rule.interface.as_ref().map_or(u8::MAX, |on| {
                let named = ports.mask(&on.name);
                if on.not { !named } else { named }
            }),
            vlan: match rule.vlan {
                None => (0, u16::MAX),
                Some(VlanMatch::Untagged) => (0, 0),
                Some(VlanMatch::Tagged) => (1, u16::MAX),
                Some(VlanMatch::Ids(low, high)) => (low, high),
            },
            is_ip: rule.ethertype.is_none() && l3 != [AddressTest::Any; 2],
            ethertype: rule.ethertype,
            from: MacTest::new(rule.from),
            to: MacTest::new(rule.to),
            l3,
            tag: match &rule.tag {
                None => 0,
                Some(tag) => tags.intern(tag)?,
            },
            tagged: match &rule.tagged {
                None => None,
                Some(tagged) => Some((tagged.not, tags.intern(&tagged.tag)?)),
            },
        })
    }

    pub(super) const fn passes(&self) -> bool {
        self.pass
    }

    pub(super) const fn tag(&self) -> u16 {
        self.tag
    }

    /// Port and direction apart, which [`Side`] has seen to.
    fn matches(&self, frame: &LinkFrame, tag: u16, way: Way<'_>) -> bool {
        self.vlan.0 <= frame.vlan
            && frame.vlan <= self.vlan.1
            && self.ethertype.is_none_or(|ethertype| ethertype == frame.ethertype)
            && self.from.matches(frame.source)
            && self.to.matches(frame.destination)
            && (!self.is_ip || matches!(frame.ethertype, ethertype::IPV4 | ethertype::IPV6))
            && self.l3[0].matches(frame.l3[0], frame, way)
            && self.l3[1].matches(frame.l3[1], frame, way)
            && self.tagged.is_none_or(|(not, wanted)| (wanted == tag) != not)
    }
}

/// `[!] address & mask`; a mask of 0 is any.
#[derive(Debug)]
struct MacTest {
    address: u64,
    mask: u64,
    not: bool,
}

impl MacTest {
    const WHOLE: u64 = (1 << 48) - 1;

    fn new(mac: Option<MacMatch>) -> Self {
        let any = Self { address: 0, mask: 0, not: false };
        mac.map_or(any, |mac| Self {
            address: number(mac.address),
            mask: number(mac.mask),
            not: mac.not,
        })
    }

    /// The one address that matches.
    fn exact(&self) -> Option<u64> {
        (self.mask == Self::WHOLE && !self.not).then_some(self.address)
    }

    const fn matches(&self, address: u64) -> bool {
        (address & self.mask == self.address) != self.not
    }
}

/// An address behind `l3`. The parser has given a rule the ethertype of its address's family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AddressTest {
    Any,
    /// Bounds and `!`.
    Range(Address, Address, bool),
    /// Number of the table and `!`.
    Table(u32, bool),
}

impl AddressTest {
    fn new(l3: Option<&(bool, RuleAddress)>, table: &mut impl FnMut(&str) -> u32) -> Self {
        match l3 {
            // The parser refuses `urpf-failed` behind `l3`.
            None | Some((_, RuleAddress::Any | RuleAddress::UrpfFailed)) => Self::Any,
            Some((not, RuleAddress::Prefix(net))) => {
                Self::Range(net.network().into(), net.broadcast().into(), *not)
            }
            Some((not, RuleAddress::Range(low, high))) => {
                Self::Range((*low).into(), (*high).into(), *not)
            }
            Some((not, RuleAddress::Table(name))) => Self::Table(table(name), *not),
        }
    }

    fn matches(self, address: Address, frame: &LinkFrame, way: Way<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Range(low, high, not) => (low <= address && address <= high) != not,
            Self::Table(table, not) => {
                let ipv6 = frame.ethertype == ethertype::IPV6;
                let network = if ipv6 { Network::Ipv6 } else { Network::Ipv4 };
                let table = way.tables.get(table);
                table.is_some_and(|table| table.contains(address, network, way.now)) != not
            }
        }
    }
}
