//! What a rule asks of a packet, in a form in which two rules can be compared.
//!
//! [`Criteria::covers`] is a proof: true only if every packet that the other rule matches, in the
//! same evaluation, matches this one too. [`Criteria::disjoint`] is one as well: true only if no
//! packet matches both. What cannot be known from the rules alone (the content of a table, which
//! role an interface has) counts against both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::names::TCP;
use crate::rules::{
    Address, Direction, Endpoint, Family, Flags, IcmpMatch, Interface, Ports, Rule,
};

/// `on [!] name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct On<'r> {
    pub(super) not: bool,
    pub(super) name: &'r str,
}

impl<'r> From<&'r Interface> for On<'r> {
    fn from(interface: &'r Interface) -> Self {
        Self { not: interface.not, name: &interface.name }
    }
}

impl On<'_> {
    fn covers(self, other: Self) -> bool {
        match (self.not, other.not) {
            (false, false) | (true, true) => self.name == other.name,
            (true, false) => are_different_ports(self.name, other.name),
            (false, true) => false,
        }
    }
}

fn is_role(name: &str) -> bool {
    matches!(name, "lan" | "wan")
}

/// Two roles are two ports and so are two interfaces, but an interface may have any role.
fn are_different_ports(one: &str, other: &str) -> bool {
    one != other && is_role(one) == is_role(other)
}

/// The addresses that `from` or `to` means, of the rule's family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Hosts<'r> {
    Any,
    /// From the first to the last, or all others.
    Span {
        not: bool,
        first: IpAddr,
        last: IpAddr,
    },
    Table {
        not: bool,
        name: &'r str,
    },
    UrpfFailed {
        not: bool,
    },
}

fn whole(family: Family) -> (IpAddr, IpAddr) {
    match family {
        Family::Inet => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into()),
        Family::Inet6 => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::from(u128::MAX).into()),
    }
}

const fn family_of(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::Inet,
        IpAddr::V6(_) => Family::Inet6,
    }
}

/// The address as a number, and how many bits it has.
pub(super) fn number(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

fn neighbour(address: IpAddr, up: bool) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let bits = address.to_bits();
            let next = if up { bits.checked_add(1) } else { bits.checked_sub(1) };
            next.map(|bits| Ipv4Addr::from_bits(bits).into())
        }
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let next = if up { bits.checked_add(1) } else { bits.checked_sub(1) };
            next.map(|bits| Ipv6Addr::from_bits(bits).into())
        }
    }
}

impl<'r> Hosts<'r> {
    pub(super) fn new(endpoint: &'r Endpoint) -> Self {
        let not = endpoint.not;
        match &endpoint.address {
            Address::Any => Self::Any,
            Address::Prefix(net) => Self::span(not, net.network(), last_of(*net)),
            Address::Range(first, last) => Self::span(not, *first, *last),
            Address::Table(name) => Self::Table { not, name },
            Address::UrpfFailed => Self::UrpfFailed { not },
        }
    }

    /// What is one piece is written as one: all of a family, the rest beside a prefix at its end.
    fn span(not: bool, first: IpAddr, last: IpAddr) -> Self {
        let (lowest, highest) = whole(family_of(first));
        if !not {
            let all = (first, last) == (lowest, highest);
            return if all { Self::Any } else { Self::Span { not, first, last } };
        }
        match (neighbour(first, false), neighbour(last, true)) {
            (None, Some(first)) => Self::Span { not: false, first, last: highest },
            (Some(last), None) => Self::Span { not: false, first: lowest, last },
            _ => Self::Span { not, first, last },
        }
    }

    pub(super) fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (
                Self::Span { not, first, last },
                Self::Span { not: other_not, first: other_first, last: other_last },
            ) => match (not, other_not) {
                (false, false) => first <= other_first && other_last <= last,
                (true, true) => other_first <= first && last <= other_last,
                (true, false) => other_last < first || last < other_first,
                (false, true) => false,
            },
            _ => self == other,
        }
    }

    pub(super) fn disjoint(self, other: Self) -> bool {
        match (self, other) {
            (
                Self::Span { not, first, last },
                Self::Span { not: other_not, first: other_first, last: other_last },
            ) => match (not, other_not) {
                (false, false) => other_last < first || last < other_first,
                (true, false) => first <= other_first && other_last <= last,
                (false, true) => other_first <= first && last <= other_last,
                (true, true) => false,
            },
            (Self::Table { not, name }, Self::Table { not: other_not, name: other }) => {
                name == other && not != other_not
            }
            _ => false,
        }
    }

    /// The family that the addresses are of, if they are all of one.
    const fn family(self) -> Option<Family> {
        match self {
            Self::Span { first, .. } => Some(family_of(first)),
            _ => None,
        }
    }
}

fn last_of(net: IpNet) -> IpAddr {
    net.broadcast()
}

/// The ports of a comparison as at most two spans, in order and apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PortSet([Option<(u16, u16)>; 2]);

impl PortSet {
    pub(super) fn new(ports: Ports) -> Self {
        let span = |low: u16, high: u16| (low <= high).then_some((low, high));
        let below = |a: u16| a.checked_sub(1).and_then(|high| span(0, high));
        let above = |a: u16| a.checked_add(1).and_then(|low| span(low, u16::MAX));
        let one = |span| Self([span, None]);
        match ports {
            Ports::Equal(a) => one(span(a, a)),
            Ports::NotEqual(a) => Self::both(below(a), above(a)),
            Ports::Less(a) => one(below(a)),
            Ports::LessEqual(a) => one(span(0, a)),
            Ports::Greater(a) => one(above(a)),
            Ports::GreaterEqual(a) => one(span(a, u16::MAX)),
            Ports::Range(a, b) => one(span(a, b)),
            Ports::Inside(a, b) => {
                one(a.checked_add(1).zip(b.checked_sub(1)).and_then(|(a, b)| span(a, b)))
            }
            Ports::Outside(a, b) => Self::both(below(a), above(b)),
        }
    }

    fn both(low: Option<(u16, u16)>, high: Option<(u16, u16)>) -> Self {
        match (low, high) {
            // `5 <> 4` leaves nothing out.
            (Some((a, b)), Some((c, d))) if u32::from(b) + 1 >= u32::from(c) => {
                Self([Some((a, b.max(d))), None])
            }
            (None, high) => Self([high, None]),
            both => Self([both.0, both.1]),
        }
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == [None, None]
    }

    /// The only port, if there is only one.
    pub(super) fn single(self) -> Option<u16> {
        match self.0 {
            [Some((a, b)), None] if a == b => Some(a),
            _ => None,
        }
    }

    /// Whether there is no port that none of them has.
    pub(super) fn are_all(sets: &[Self]) -> bool {
        let mut spans: Vec<_> = sets.iter().flat_map(|set| set.spans()).collect();
        spans.sort_unstable();
        let mut next = 0;
        for (low, high) in spans {
            if u32::from(low) > next {
                return false;
            }
            next = next.max(u32::from(high) + 1);
        }
        next > u32::from(u16::MAX)
    }

    fn spans(self) -> impl Iterator<Item = (u16, u16)> {
        self.0.into_iter().flatten()
    }

    fn covers(self, other: Self) -> bool {
        other.spans().all(|(low, high)| self.spans().any(|(a, b)| a <= low && high <= b))
    }

    fn disjoint(self, other: Self) -> bool {
        other.spans().all(|(low, high)| self.spans().all(|(a, b)| high < a || b < low))
    }
}

/// Combinations of TCP flags, as a bit for each value of the flags byte. Only those that may occur:
/// what no stack sends (RFC 9293; SYN with FIN or RST, neither SYN nor ACK nor RST, FIN, PSH or URG
/// without ACK) is dropped before the rules are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FlagSet([u64; 4]);

/// `flags S/SA`.
const SYN_OF_SYN_ACK: (u8, u8) = (SYN, SYN | ACK);

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;

const fn may_occur(value: u8) -> bool {
    if value & SYN != 0 {
        if value & (FIN | RST) != 0 {
            return false;
        }
    } else if value & (ACK | RST) == 0 {
        return false;
    }
    value & ACK != 0 || value & (FIN | PSH | URG) == 0
}

impl FlagSet {
    pub(super) fn new(flags: Flags) -> Self {
        let mut set = [0; 4];
        for value in 0..=u8::MAX {
            if may_occur(value) && value & flags.of == flags.set {
                set[usize::from(value >> 6)] |= 1 << (value & 63);
            }
        }
        Self(set)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == [0; 4]
    }

    pub(super) fn covers(self, other: Self) -> bool {
        self.0.iter().zip(other.0).all(|(mine, other)| other & !mine == 0)
    }

    fn disjoint(self, other: Self) -> bool {
        self.0.iter().zip(other.0).all(|(mine, other)| other & mine == 0)
    }
}

/// All criteria of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Criteria<'r> {
    pub(super) direction: Option<Direction>,
    pub(super) interface: Option<On<'r>>,
    pub(super) received_on: Option<On<'r>>,
    pub(super) family: Option<Family>,
    pub(super) protocol: Option<u8>,
    pub(super) from: Hosts<'r>,
    pub(super) to: Hosts<'r>,
    pub(super) from_port: Option<PortSet>,
    pub(super) to_port: Option<PortSet>,
    pub(super) os: Option<&'r str>,
    /// Set, and looked at.
    pub(super) flags: Option<(u8, u8)>,
    pub(super) icmp: Option<(u8, Option<u8>)>,
    pub(super) tos: Option<u8>,
    pub(super) prio: Option<u8>,
    pub(super) fragment: bool,
    pub(super) tagged: Option<(bool, &'r str)>,
    /// `probability`, `max-pkt-rate` or `once`: not every packet that fits matches.
    pub(super) sometimes: bool,
}

impl<'r> Criteria<'r> {
    pub(super) fn new(rule: &'r Rule) -> Self {
        let (from, to) = (Hosts::new(&rule.from), Hosts::new(&rule.to));
        Self {
            direction: rule.direction,
            interface: rule.interface.as_deref().map(On::from),
            received_on: rule.received_on.as_deref().map(On::from),
            family: rule.family.or(from.family()).or(to.family()),
            protocol: rule.protocol,
            from,
            to,
            from_port: rule.from.port.map(PortSet::new),
            to_port: rule.to.port.map(PortSet::new),
            os: rule.from.os.as_deref(),
            flags: rule.flags.filter(|flags| flags.of != 0).map(|flags| (flags.set, flags.of)),
            icmp: rule.icmp.map(|IcmpMatch { kind, code }| (kind, code)),
            tos: rule.tos,
            prio: rule.prio,
            fragment: rule.fragment,
            tagged: rule.tagged.as_ref().map(|tagged| (tagged.not, &*tagged.tag)),
            sometimes: rule.probability.is_some() || rule.max_packet_rate.is_some() || rule.once,
        }
    }

    /// Whether this rule matches every packet that the other one matches. Tags are compared as if
    /// the packet had the same tag at both rules.
    pub(super) fn covers(&self, other: &Self) -> bool {
        !self.sometimes
            && asks_no_more(self.direction, other.direction)
            && asks_no_more(self.family, other.family)
            && asks_no_more(self.protocol, other.protocol)
            && part(self.interface, other.interface, On::covers)
            && self.from.covers(other.from)
            && self.to.covers(other.to)
            && part(self.from_port, other.from_port, PortSet::covers)
            && part(self.to_port, other.to_port, PortSet::covers)
            && self.covers_flags(other)
            && part(self.icmp, other.icmp, covers_icmp)
            && part(self.received_on, other.received_on, On::covers)
            && asks_no_more(self.os, other.os)
            && asks_no_more(self.tos, other.tos)
            && asks_no_more(self.prio, other.prio)
            && (!self.fragment || other.fragment)
            && part(self.tagged, other.tagged, covers_tagged)
    }

    fn covers_flags(&self, other: &Self) -> bool {
        other.protocol.is_some_and(|protocol| protocol != TCP)
            || self.flags == other.flags
            || part(self.flags, other.flags, |mine, other| flag_set(mine).covers(flag_set(other)))
    }

    /// As [`Self::covers`], but only of the packets that begin a connection: of TCP the first SYN,
    /// of the rest all but fragments. For rules that make a state from such a packet the later ones
    /// are no question.
    pub(super) fn covers_beginnings(&self, other: &Self) -> bool {
        let takes_beginnings = |flags: Option<(u8, u8)>| {
            flags.is_none_or(|flags| flag_set(flags).covers(flag_set(SYN_OF_SYN_ACK)))
        };
        takes_beginnings(self.flags)
            && takes_beginnings(other.flags)
            && !other.fragment
            && Self { flags: None, ..*self }.covers(&Self { flags: None, ..*other })
    }

    /// Whether no packet matches both, in whatever evaluation: direction and ports are left out.
    pub(super) fn disjoint(&self, other: &Self) -> bool {
        differ(self.family, other.family)
            || differ(self.protocol, other.protocol)
            || self.from.disjoint(other.from)
            || self.to.disjoint(other.to)
            || both(self.from_port, other.from_port, PortSet::disjoint)
            || both(self.to_port, other.to_port, PortSet::disjoint)
            || both(self.icmp, other.icmp, |(kind, code), (other_kind, other_code)| {
                kind != other_kind || differ(code, other_code)
            })
            || self.protocol.or(other.protocol) == Some(TCP)
                && both(self.flags, other.flags, |mine, other| {
                    mine != other && flag_set(mine).disjoint(flag_set(other))
                })
            || differ(self.tos, other.tos)
    }

    /// Whether it asks for nothing but a direction and a port of the bridge.
    pub(super) fn is_broad(&self) -> bool {
        self.from == Hosts::Any
            && self.to == Hosts::Any
            && self.protocol.is_none()
            && self.from_port.is_none()
            && self.to_port.is_none()
            && self.received_on.is_none()
            && self.os.is_none()
            && self.icmp.is_none()
            && self.tos.is_none()
            && self.prio.is_none()
            && !self.fragment
            && self.tagged.is_none()
            && !self.sometimes
    }
}

fn flag_set((set, of): (u8, u8)) -> FlagSet {
    FlagSet::new(Flags { set, of })
}

/// A criterion that is a single value.
fn asks_no_more<T: PartialEq + Copy>(mine: Option<T>, other: Option<T>) -> bool {
    mine.is_none() || mine == other
}

fn part<T>(mine: Option<T>, other: Option<T>, covers: impl Fn(T, T) -> bool) -> bool {
    match (mine, other) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(mine), Some(other)) => covers(mine, other),
    }
}

fn differ<T: PartialEq + Copy>(mine: Option<T>, other: Option<T>) -> bool {
    both(mine, other, |mine, other| mine != other)
}

fn both<T>(mine: Option<T>, other: Option<T>, disjoint: impl Fn(T, T) -> bool) -> bool {
    mine.zip(other).is_some_and(|(mine, other)| disjoint(mine, other))
}

fn covers_icmp(mine: (u8, Option<u8>), other: (u8, Option<u8>)) -> bool {
    mine.0 == other.0 && asks_no_more(mine.1, other.1)
}

fn covers_tagged(mine: (bool, &str), other: (bool, &str)) -> bool {
    match (mine.0, other.0) {
        (false, false) | (true, true) => mine.1 == other.1,
        (true, false) => mine.1 != other.1,
        (false, true) => false,
    }
}
