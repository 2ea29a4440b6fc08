//! `ether` rules, compiled: last match wins, `quick` ends (FreeBSD's pf.conf(5)).
//!
//! Every frame is asked about, states or not, and a bridge before a thousand customers may well have
//! a rule for each one's hardware address. So each side of each port has its rules sorted by the
//! address that most of them name in full, source or destination: a frame meets those of its own
//! address, found by binary search, and those that name none, merged in the order of the file.

use weir_config::ether::{EtherRule, MacMatch, VlanMatch};
use weir_config::rules::{Address as RuleAddress, Direction};

use super::records::EtherRecords;
use super::{LinkFrame, number};
use crate::counters::MAX_PORTS;
use crate::frame::PortIndex;
use crate::packet::Address;
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
    pub(super) fn new(rules: &[EtherRule], ports: &PortNames, tags: &mut TagNames) -> Self {
        let rules: Vec<_> = rules.iter().map(|rule| Matcher::new(rule, ports, tags)).collect();
        let sides = std::array::from_fn(|port| {
            [Direction::In, Direction::Out].map(|direction| Side::new(&rules, port, direction))
        });
        Self { rules, sides }
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
        port: PortIndex,
        direction: Direction,
        tag: u16,
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
            if rule.matches(frame, tag) {
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
    from: MacTest,
    to: MacTest,
    l3: [AddressTest; 2],
    /// `tag`, 0 for none.
    tag: u16,
    /// `tagged`: `!` and the tag.
    tagged: Option<(bool, u16)>,
}

impl Matcher {
    fn new(rule: &EtherRule, ports: &PortNames, tags: &mut TagNames) -> Self {
        Self {
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
            ethertype: rule.ethertype,
            from: MacTest::new(rule.from),
            to: MacTest::new(rule.to),
            l3: [&rule.l3_from, &rule.l3_to].map(AddressTest::new),
            tag: rule.tag.as_deref().map_or(0, |tag| tags.intern(tag)),
            tagged: rule.tagged.as_ref().map(|tagged| (tagged.not, tags.intern(&tagged.tag))),
        }
    }

    pub(super) const fn passes(&self) -> bool {
        self.pass
    }

    pub(super) const fn tag(&self) -> u16 {
        self.tag
    }

    /// Port and direction apart, which [`Side`] has seen to.
    fn matches(&self, frame: &LinkFrame, tag: u16) -> bool {
        self.vlan.0 <= frame.vlan
            && frame.vlan <= self.vlan.1
            && self.ethertype.is_none_or(|ethertype| ethertype == frame.ethertype)
            && self.from.matches(frame.source)
            && self.to.matches(frame.destination)
            && self.l3[0].matches(frame.l3[0])
            && self.l3[1].matches(frame.l3[1])
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

/// An address behind `l3`. The parser has given the rule the ethertype of its family.
#[derive(Debug)]
struct AddressTest {
    low: u128,
    high: u128,
    not: bool,
}

impl AddressTest {
    fn new(l3: &Option<(bool, RuleAddress)>) -> Self {
        let (not, (low, high)) = match l3 {
            None | Some((_, RuleAddress::Any)) => (false, (0, u128::MAX)),
            Some((not, RuleAddress::Prefix(net))) => {
                (*not, (Address::from(net.network()).0, Address::from(net.broadcast()).0))
            }
            Some((not, RuleAddress::Range(low, high))) => {
                (*not, (Address::from(*low).0, Address::from(*high).0))
            }
            // The parser refuses these behind `l3`.
            Some((_, RuleAddress::Table(_) | RuleAddress::UrpfFailed)) => (false, (1, 0)),
        };
        Self { low, high, not }
    }

    const fn matches(&self, address: u128) -> bool {
        (self.low <= address && address <= self.high) != self.not
    }
}
