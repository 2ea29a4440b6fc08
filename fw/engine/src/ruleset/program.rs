//! A rule set that may run: compiled once, immutable, shared by all workers.
//!
//! Every criterion of a rule becomes a range or a mask over the packet's descriptor, so that one
//! test costs a few nanoseconds and no rule is special. Rules are tried in order, as pf.conf(5) says:
//! the last match wins, `quick` ends the search.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip128::{Hasher128, SipHasher13};
use weir_config::options::{Options, StatePolicy, Timeout};
use weir_config::rules::{
    Action, Address as RuleAddress, Direction, Endpoint, Family, Interface, KeepState, Ports,
    RuleSet,
};

use super::tags::TagNames;
use crate::flow::Path;
use crate::frame::PortIndex;
use crate::link::LinkRules;
use crate::packet::{Address, Network, Packet, Transport, protocol};
use crate::state::wheel::TICKS_PER_SECOND;

/// What the rules may call a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortName {
    /// The role: `lan` or `wan`.
    pub role: String,
    /// The network interface.
    pub interface: String,
}

/// The names of all ports, by [`PortIndex`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortNames(pub Vec<PortName>);

impl PortNames {
    /// The ports that a rule's `on` means, as a bit mask; none for a name that no port has.
    pub(crate) fn mask(&self, name: &str) -> u8 {
        self.0
            .iter()
            .enumerate()
            .filter(|(_, port)| port.role == name || port.interface == name)
            .fold(0, |mask, (i, _)| mask | 1 << i)
    }

    /// The role of a port, or `?`.
    pub fn role(&self, port: PortIndex) -> &str {
        self.0.get(usize::from(port.0)).map_or("?", |port| &port.role)
    }
}

/// Why a checked rule set cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompileError {
    /// More rules than a state can refer to.
    TooManyRules(usize),
    /// More names of tags than a packet can carry.
    TooManyTags,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyRules(n) => write!(f, "{n} rules are more than the {MAX_RULES} possible"),
            Self::TooManyTags => write!(f, "there are more than {} tags", TagNames::MAX),
        }
    }
}

impl std::error::Error for CompileError {}

/// The most rules a program can have.
pub const MAX_RULES: usize = 1_000_000;

/// What makes a rule the same rule after a reload: a hash of its text and its ordinal among equals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    hash: u128,
    ordinal: u32,
}

/// A rule set that may run.
#[derive(Debug)]
pub struct Program {
    source: RuleSet,
    rules: Vec<Matcher>,
    identities: Vec<Identity>,
    skipped: u8,
    link: LinkRules,
    timeouts: [u32; Timeout::ALL.len()],
}

/// What the rules say of one side of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// `set skip` on this port.
    Abstains,
    /// No rule matched.
    Silent,
    /// The rule of this number decides.
    Rule(u32),
}

impl Program {
    /// Compiles a checked rule set for these ports.
    pub fn compile(rules: &RuleSet, ports: &PortNames) -> Result<Self, CompileError> {
        if rules.rules.len() > MAX_RULES {
            return Err(CompileError::TooManyRules(rules.rules.len()));
        }
        let mut tags = TagNames::default();
        let link = LinkRules::compile(rules, ports, &mut tags);
        if tags.overflowed() {
            return Err(CompileError::TooManyTags);
        }
        let mut seen = HashMap::new();
        let identities = rules
            .rules
            .iter()
            .map(|rule| {
                let mut hasher = SipHasher13::new();
                hasher.write(rule.to_string().as_bytes());
                let hash = hasher.finish128().as_u128();
                let count = seen.entry(hash).or_insert(0);
                *count += 1;
                Identity { hash, ordinal: *count - 1 }
            })
            .collect();
        Ok(Self {
            rules: rules.rules.iter().map(|rule| Matcher::new(rule, ports)).collect(),
            identities,
            skipped: rules.options.skip.iter().fold(0, |mask, name| mask | ports.mask(name)),
            link,
            timeouts: Timeout::ALL.map(|timeout| ticks(&rules.options, timeout)),
            source: rules.clone(),
        })
    }

    /// What was compiled.
    pub const fn rules(&self) -> &RuleSet {
        &self.source
    }

    /// What it says about layer 2.
    pub(crate) const fn link(&self) -> &LinkRules {
        &self.link
    }

    pub(crate) const fn options(&self) -> &Options {
        &self.source.options
    }

    pub(crate) fn identities(&self) -> &[Identity] {
        &self.identities
    }

    pub(crate) fn is_floating(&self) -> bool {
        self.source.options.state_policy == StatePolicy::Floating
    }

    /// A time-out by its number, in ticks of the wheel.
    #[inline]
    pub(crate) const fn ticks(&self, timeout: u8) -> u32 {
        self.timeouts[timeout as usize]
    }

    pub(crate) fn action(&self, rule: u32) -> &Action {
        &self.rules[rule as usize].action
    }

    pub(crate) fn keeps_state(&self, rule: u32) -> bool {
        matches!(self.rules[rule as usize].state, KeepState::Keep)
    }

    /// `log`: of the packet that makes a state, and of every one.
    pub(crate) fn logs(&self, rule: u32) -> (bool, bool) {
        let rule = &self.rules[rule as usize];
        (rule.log, rule.log_all)
    }

    /// Whether `set skip` makes both ports of a way abstain, so that packets pass unjudged.
    #[inline]
    pub(crate) const fn skips(&self, path: Path) -> bool {
        self.skipped >> path.from.0 & self.skipped >> path.to.0 & 1 != 0
    }

    /// What the rules say of a packet that passes one port in one direction. `looked_at` is told how
    /// many rules were tried, from the first on.
    pub(crate) fn side(
        &self,
        packet: &Packet,
        direction: Direction,
        path: Path,
        mut looked_at: impl FnMut(u32),
    ) -> Side {
        let port = match direction {
            Direction::In => path.from,
            Direction::Out => path.to,
        };
        if self.skipped & 1 << port.0 != 0 {
            return Side::Abstains;
        }
        let subject = Subject::new(packet, direction, port);
        let mut last = Side::Silent;
        for (number, rule) in (0..).zip(&self.rules) {
            if rule.matches(&subject) {
                last = Side::Rule(number);
                if rule.quick {
                    looked_at(number + 1);
                    return last;
                }
            }
        }
        looked_at(self.rules.len() as u32);
        last
    }
}

fn ticks(options: &Options, timeout: Timeout) -> u32 {
    if timeout.counts_states() {
        options.timeouts.get(timeout)
    } else {
        options.timeouts.get(timeout).saturating_mul(TICKS_PER_SECOND)
    }
}

/// A packet as rules look at it.
struct Subject {
    source: u128,
    destination: u128,
    ports: [u16; 2],
    /// Bits of [`Matcher::place`].
    place: u16,
    protocol: u8,
    flags: u8,
    icmp: [u8; 2],
}

const IN: u16 = 1 << 8;
const OUT: u16 = 1 << 9;
const INET: u16 = 1 << 10;
const INET6: u16 = 1 << 11;

impl Subject {
    fn new(packet: &Packet, direction: Direction, port: PortIndex) -> Self {
        let direction = if direction == Direction::In { IN } else { OUT };
        let family = if packet.network == Network::Ipv6 { INET6 } else { INET };
        let (flags, icmp) = match packet.transport {
            Transport::Tcp(tcp) => (tcp.flags, [0; 2]),
            Transport::IcmpQuery(icmp)
            | Transport::IcmpError(icmp, _)
            | Transport::IcmpOther(icmp) => (0, [icmp.kind, icmp.code]),
            Transport::Udp | Transport::Other => (0, [0; 2]),
        };
        Self {
            source: packet.source.0,
            destination: packet.destination.0,
            ports: [packet.source_port, packet.destination_port],
            place: direction | family | 1 << port.0,
            protocol: packet.protocol,
            flags,
            icmp,
        }
    }
}

/// One rule, compiled. A packet matches if all of these hold.
#[derive(Debug)]
struct Matcher {
    from: Endpoints,
    to: Endpoints,
    /// Port, direction and family, a bit each of those that the rule accepts.
    place: u16,
    /// IP protocol, or none.
    protocol: Option<u8>,
    /// Of `of`, exactly `set`.
    flags: (u8, u8),
    icmp: Option<(u8, Option<u8>)>,
    quick: bool,
    action: Action,
    state: KeepState,
    log: bool,
    log_all: bool,
}

/// Addresses and ports of one end, as ranges.
#[derive(Debug)]
struct Endpoints {
    low: u128,
    high: u128,
    port_low: u16,
    port_high: u16,
    not_address: bool,
    not_port: bool,
}

impl Matcher {
    fn new(rule: &weir_config::rules::Rule, ports: &PortNames) -> Self {
        let all_ports = (1_u16 << ports.0.len()) - 1;
        let on = match &rule.interface {
            None => all_ports,
            Some(Interface { not, name }) => {
                let named = u16::from(ports.mask(name));
                if *not { all_ports & !named } else { named }
            }
        };
        let direction = match rule.direction {
            None => IN | OUT,
            Some(Direction::In) => IN,
            Some(Direction::Out) => OUT,
        };
        let family = match rule.family {
            None => INET | INET6,
            Some(Family::Inet) => INET,
            Some(Family::Inet6) => INET6,
        };
        Self {
            from: Endpoints::new(&rule.from),
            to: Endpoints::new(&rule.to),
            place: on | direction | family,
            protocol: rule.protocol,
            flags: rule.flags.map_or((0, 0), |flags| (flags.set, flags.of)),
            icmp: rule.icmp.map(|icmp| (icmp.kind, icmp.code)),
            quick: rule.quick,
            action: rule.action.clone(),
            state: rule.state,
            log: rule.log.is_some(),
            log_all: rule.log.is_some_and(|log| log.all),
        }
    }

    #[inline]
    fn matches(&self, subject: &Subject) -> bool {
        subject.place & !self.place == 0
            && self.protocol.is_none_or(|protocol| protocol == subject.protocol)
            && self.from.matches(subject.source, subject.ports[0])
            && self.to.matches(subject.destination, subject.ports[1])
            // pf looks at flags of TCP only, whatever the rule's protocol.
            && (subject.protocol != protocol::TCP || subject.flags & self.flags.1 == self.flags.0)
            && self.icmp.is_none_or(|(kind, code)| {
                kind == subject.icmp[0] && code.is_none_or(|code| code == subject.icmp[1])
            })
    }
}

impl Endpoints {
    fn new(endpoint: &Endpoint) -> Self {
        let (low, high) = match endpoint.address {
            RuleAddress::Any => (0, u128::MAX),
            RuleAddress::Prefix(net) => range(net.network(), net.broadcast()),
            RuleAddress::Range(first, last) => range(first, last),
            // Refused by `compile`.
            RuleAddress::Table(_) | RuleAddress::UrpfFailed => (1, 0),
        };
        let (port_low, port_high, not_port) = match endpoint.port {
            None => (0, u16::MAX, false),
            Some(Ports::Equal(a)) => (a, a, false),
            Some(Ports::NotEqual(a)) => (a, a, true),
            Some(Ports::Less(a)) => (a, u16::MAX, true),
            Some(Ports::LessEqual(a)) => (0, a, false),
            Some(Ports::Greater(a)) => (0, a, true),
            Some(Ports::GreaterEqual(a)) => (a, u16::MAX, false),
            Some(Ports::Range(a, b)) => (a, b, false),
            // Nothing lies between a and a + 1: an empty range, written as "not everything".
            Some(Ports::Inside(a, b)) if u32::from(a) + 1 >= u32::from(b) => (0, u16::MAX, true),
            Some(Ports::Inside(a, b)) => (a + 1, b - 1, false),
            Some(Ports::Outside(a, b)) => (a, b, true),
        };
        Self { low, high, port_low, port_high, not_address: endpoint.not, not_port }
    }

    #[inline]
    fn matches(&self, address: u128, port: u16) -> bool {
        ((self.low <= address && address <= self.high) != self.not_address)
            && ((self.port_low <= port && port <= self.port_high) != self.not_port)
    }
}

fn range(first: IpAddr, last: IpAddr) -> (u128, u128) {
    (Address::from(first).0, Address::from(last).0)
}
