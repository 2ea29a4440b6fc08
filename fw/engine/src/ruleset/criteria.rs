//! What a rule asks of a packet, compiled: every criterion is a range or a mask over the packet's
//! descriptor, so that one test costs a few nanoseconds and no rule is special.

use std::fmt;
use std::net::IpAddr;

use weir_config::rules::{
    Address as RuleAddress, Direction, Endpoint, Family, Interface, Ports, Rule,
};

use super::names::PortNames;
use super::reverse_path::ReversePath;
use super::tags::TagNames;
use crate::frame::PortIndex;
use crate::packet::{Address, Network, Packet, Transport, protocol};
use crate::table::{Hit, Tables};
use crate::time::Instant;

/// The first thing that a packet lacks for a rule to match, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Criterion {
    /// `in` or `out`.
    Direction,
    /// `on`.
    Interface,
    /// `received-on`.
    ReceivedOn,
    /// `inet` or `inet6`.
    Family,
    /// `proto`.
    Protocol,
    /// `from`, the address.
    Source,
    /// `from`, the port.
    SourcePort,
    /// `to`, the address.
    Destination,
    /// `to`, the port.
    DestinationPort,
    /// `flags`.
    Flags,
    /// `icmp-type` or `icmp6-type`.
    IcmpType,
    /// `code`.
    IcmpCode,
    /// `tos`.
    Tos,
    /// `prio`.
    Priority,
    /// `fragment`.
    Fragment,
    /// `tagged`.
    Tagged,
    /// `probability`: the dice fell otherwise.
    Probability,
    /// `max-pkt-rate` is exceeded.
    Rate,
    /// `once`: it has matched before.
    Once,
}

impl Criterion {
    /// The word of pf.conf(5) for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direction => "direction",
            Self::Interface => "on",
            Self::ReceivedOn => "received-on",
            Self::Family => "family",
            Self::Protocol => "proto",
            Self::Source => "from",
            Self::SourcePort => "from port",
            Self::Destination => "to",
            Self::DestinationPort => "to port",
            Self::Flags => "flags",
            Self::IcmpType => "icmp-type",
            Self::IcmpCode => "code",
            Self::Tos => "tos",
            Self::Priority => "prio",
            Self::Fragment => "fragment",
            Self::Tagged => "tagged",
            Self::Probability => "probability",
            Self::Rate => "max-pkt-rate",
            Self::Once => "once",
        }
    }
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A packet as rules look at it, on one of its two sides.
pub(crate) struct Subject {
    pub(crate) source: u128,
    pub(crate) destination: u128,
    pub(crate) ports: [u16; 2],
    /// Bits as in [`Criteria::place`].
    place: u16,
    /// The port it arrived on, as a bit.
    arrived: u8,
    pub(crate) protocol: u8,
    pub(crate) flags: u8,
    icmp: [u8; 2],
    tos: u8,
    priority: u8,
    pub(crate) network: Network,
    /// It is a fragment, whose ports, flags and ICMP type nobody knows.
    pub(crate) is_fragment: bool,
    /// The tag that rules have given it so far.
    pub(crate) tag: u16,
}

/// Bits 0 to 7 of a place are ports.
const IN: u16 = 1 << 8;
const OUT: u16 = 1 << 9;
const INET: u16 = 1 << 10;
const INET6: u16 = 1 << 11;
const PORTS: u16 = 0xff;

/// Flags that `flags S/SA` looks at, and those that it wants.
const SYN_ACK: u8 = 0x12;
const SYN: u8 = 0x02;

impl Subject {
    /// The packet, not yet on a side.
    pub(crate) fn new(packet: &Packet, tag: u16) -> Self {
        let (flags, icmp) = match packet.transport {
            Transport::Tcp(tcp) => (tcp.flags, [0; 2]),
            Transport::IcmpQuery(icmp)
            | Transport::IcmpError(icmp, _)
            | Transport::IcmpOther(icmp) => (0, [icmp.kind, icmp.code]),
            Transport::Udp | Transport::Other | Transport::Fragment(_) => (0, [0; 2]),
        };
        Self {
            source: packet.source.0,
            destination: packet.destination.0,
            ports: [packet.source_port, packet.destination_port],
            place: 0,
            arrived: 1 << packet.port.0,
            protocol: packet.protocol,
            flags,
            icmp,
            tos: packet.tos,
            priority: packet.priority,
            network: packet.network,
            is_fragment: matches!(packet.transport, Transport::Fragment(_)),
            tag,
        }
    }

    /// Puts it on a side: arriving at or leaving by that port.
    pub(crate) fn pass(&mut self, port: PortIndex, direction: Direction) {
        let direction = if direction == Direction::In { IN } else { OUT };
        let family = if self.network == Network::Ipv6 { INET6 } else { INET };
        self.place = direction | family | 1 << port.0;
    }

    /// Whether `flags S/SA` holds, or does not matter.
    pub(crate) const fn opens(&self) -> bool {
        self.protocol != protocol::TCP || self.flags & SYN_ACK == SYN
    }
}

/// What rules look at besides the packet.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) reverse_path: &'a ReversePath,
    pub(crate) now: Instant,
    /// What tables say of the packet, if they were asked before.
    pub(crate) answers: Option<&'a Answers>,
}

/// What rules ask tables: whether one of a packet's addresses is in this one. The first few different
/// ones of a program are asked for many packets together before rules are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) table: u32,
    /// About the destination, else the source.
    pub(crate) destination: bool,
}

impl Question {
    /// More are asked when a rule comes to them.
    pub(crate) const MAX: usize = 4;
}

/// What tables say of one packet, in the order of a program's questions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answers(pub(crate) [Option<Hit>; Question::MAX]);

/// The criteria of one rule. A packet matches if all of them hold.
#[derive(Debug)]
pub(crate) struct Criteria {
    pub(crate) from: End,
    pub(crate) to: End,
    /// Port, direction and family, a bit each of those that the rule accepts.
    place: u16,
    received_on: u8,
    /// IP protocol, or none.
    pub(crate) protocol: Option<u8>,
    /// Of `of`, exactly `set`.
    flags: (u8, u8),
    icmp: Option<(u8, Option<u8>)>,
    tos: Option<u8>,
    priority: Option<u8>,
    /// Whether the tag has to be this or must not be; `(true, 0)` for no matter.
    tagged: (bool, u16),
    fragment: bool,
}

/// Addresses and ports of one end, as ranges.
#[derive(Debug)]
pub(crate) struct End {
    low: u128,
    high: u128,
    port_low: u16,
    port_high: u16,
    not_address: bool,
    not_port: bool,
    lookup: Lookup,
}

/// Addresses that are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// None: the range says it all.
    No,
    /// `<table>`, by its place in the program's list; the number of the [`Question`] that asks this of
    /// the table, or a number that none has.
    Table(u32, u8),
    /// `urpf-failed`.
    ReversePath,
}

impl Criteria {
    /// Compiles a rule's criteria. `table` numbers the tables, `tags` the tags; `None` if there are
    /// too many of these.
    pub(crate) fn new(
        rule: &Rule,
        ports: &PortNames,
        tags: &mut TagNames,
        table: &mut impl FnMut(&str) -> u32,
    ) -> Option<Self> {
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
        Some(Self {
            from: End::new(&rule.from, table),
            to: End::new(&rule.to, table),
            place: u16::from(mask(rule.interface.as_deref(), ports)) | direction | family,
            received_on: mask(rule.received_on.as_deref(), ports),
            protocol: rule.protocol,
            flags: rule.flags.map_or((0, 0), |flags| (flags.set, flags.of)),
            icmp: rule.icmp.map(|icmp| (icmp.kind, icmp.code)),
            tos: rule.tos,
            priority: rule.prio,
            tagged: match &rule.tagged {
                None => (true, 0),
                Some(tagged) => (tagged.not, tags.intern(&tagged.tag)?),
            },
            fragment: rule.fragment,
        })
    }

    /// Gives numbers to what it asks tables.
    pub(crate) fn number_questions(&mut self, questions: &mut Vec<Question>) {
        for (end, destination) in [(&mut self.from, false), (&mut self.to, true)] {
            let Lookup::Table(table, number) = &mut end.lookup else { continue };
            let question = Question { table: *table, destination };
            let known = questions.iter().position(|&known| known == question);
            let at = known.unwrap_or_else(|| {
                if questions.len() < Question::MAX {
                    questions.push(question);
                }
                questions.len() - 1
            });
            if questions[at] == question {
                *number = at as u8;
            }
        }
    }

    /// The first criterion that does not hold. `None`: the rule matches.
    #[inline]
    pub(crate) fn fails(&self, subject: &Subject, around: Around<'_>) -> Option<Criterion> {
        let missing = subject.place & !self.place;
        if missing != 0 {
            return Some(if missing & (IN | OUT) != 0 {
                Criterion::Direction
            } else if missing & PORTS != 0 {
                Criterion::Interface
            } else {
                Criterion::Family
            });
        }
        if subject.arrived & self.received_on == 0 {
            return Some(Criterion::ReceivedOn);
        }
        if self.protocol.is_some_and(|protocol| protocol != subject.protocol) {
            return Some(Criterion::Protocol);
        }
        if subject.is_fragment
            && let Some(criterion) = self.fails_fragments(subject)
        {
            return Some(criterion);
        }
        if !self.from.holds(subject.source, subject, around) {
            return Some(Criterion::Source);
        }
        if !self.from.holds_port(subject.ports[0]) {
            return Some(Criterion::SourcePort);
        }
        if !self.to.holds(subject.destination, subject, around) {
            return Some(Criterion::Destination);
        }
        if !self.to.holds_port(subject.ports[1]) {
            return Some(Criterion::DestinationPort);
        }
        // pf looks at flags of TCP only, whatever the rule's protocol.
        if subject.protocol == protocol::TCP && subject.flags & self.flags.1 != self.flags.0 {
            return Some(Criterion::Flags);
        }
        if let Some((kind, code)) = self.icmp {
            if kind != subject.icmp[0] {
                return Some(Criterion::IcmpType);
            }
            if code.is_some_and(|code| code != subject.icmp[1]) {
                return Some(Criterion::IcmpCode);
            }
        }
        if self.tos.is_some_and(|tos| tos != subject.tos) {
            return Some(Criterion::Tos);
        }
        if self.priority.is_some_and(|priority| priority != subject.priority) {
            return Some(Criterion::Priority);
        }
        if self.fragment && !subject.is_fragment {
            return Some(Criterion::Fragment);
        }
        if (subject.tag == self.tagged.1) == self.tagged.0 && self.tagged.1 != 0 {
            return Some(Criterion::Tagged);
        }
        None
    }

    /// What a fragment that is judged for itself lacks to match: a rule that asks for more than the IP
    /// header says never applies to it (pf.conf(5), FRAGMENT HANDLING).
    fn fails_fragments(&self, subject: &Subject) -> Option<Criterion> {
        if self.from.names_ports() {
            Some(Criterion::SourcePort)
        } else if self.to.names_ports() {
            Some(Criterion::DestinationPort)
        } else if subject.protocol == protocol::TCP && self.flags.1 != 0 {
            Some(Criterion::Flags)
        } else {
            self.icmp.map(|_| Criterion::IcmpType)
        }
    }

    /// Whether a fragment can match.
    pub(crate) fn fits_fragments(&self) -> bool {
        let tcp = self.protocol == Some(protocol::TCP) && self.flags.1 != 0;
        !tcp && !self.from.names_ports() && !self.to.names_ports() && self.icmp.is_none()
    }

    /// Directions and ports that the rule accepts, bits 0 to 7 arriving and 8 to 15 leaving, for the
    /// classifier.
    pub(crate) const fn places(&self) -> u16 {
        let ports = self.place & PORTS;
        let arriving = if self.place & IN == 0 { 0 } else { ports };
        let leaving = if self.place & OUT == 0 { 0 } else { ports << 8 };
        arriving | leaving
    }

    /// Whether IPv4 and whether IPv6 packets can match.
    pub(crate) const fn families(&self) -> (bool, bool) {
        (self.place & INET != 0, self.place & INET6 != 0)
    }

    /// Whether TCP flags decide: not at all, as `flags S/SA` does, or in another way.
    pub(crate) const fn flag_test(&self) -> FlagTest {
        match self.flags {
            (0, 0) => FlagTest::None,
            (SYN, SYN_ACK) => FlagTest::Opens,
            _ => FlagTest::Other,
        }
    }

    /// Whether place, family, protocol, addresses, ports and [`FlagTest::Opens`] say everything.
    pub(crate) fn is_box(&self) -> bool {
        self.received_on == u8::MAX
            && self.flag_test() != FlagTest::Other
            && self.icmp.is_none()
            && self.tos.is_none()
            && self.priority.is_none()
            && !self.fragment
            && self.tagged.1 == 0
            && self.from.lookup == Lookup::No
            && self.to.lookup == Lookup::No
    }
}

/// See [`Criteria::flag_test`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlagTest {
    /// No flags are looked at.
    None,
    /// `flags S/SA`.
    Opens,
    /// Anything else.
    Other,
}

/// The ports that `on` means; a rule without it accepts all, those included that there are not.
fn mask(interface: Option<&Interface>, ports: &PortNames) -> u8 {
    match interface {
        None => u8::MAX,
        Some(Interface { not: false, name }) => ports.mask(name),
        Some(Interface { not: true, name }) => ports.all() & !ports.mask(name),
    }
}

impl End {
    fn new(endpoint: &Endpoint, table: &mut impl FnMut(&str) -> u32) -> Self {
        let mut lookup = Lookup::No;
        let (low, high) = match &endpoint.address {
            RuleAddress::Any => (0, u128::MAX),
            RuleAddress::Prefix(net) => range(net.network(), net.broadcast()),
            RuleAddress::Range(first, last) => range(*first, *last),
            RuleAddress::Table(name) => {
                lookup = Lookup::Table(table(name), u8::MAX);
                (0, u128::MAX)
            }
            RuleAddress::UrpfFailed => {
                lookup = Lookup::ReversePath;
                (0, u128::MAX)
            }
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
        Self { low, high, port_low, port_high, not_address: endpoint.not, not_port, lookup }
    }

    #[inline]
    fn holds(&self, address: u128, subject: &Subject, around: Around<'_>) -> bool {
        let inside = match self.lookup {
            Lookup::No => self.low <= address && address <= self.high,
            Lookup::Table(table, question) => {
                let known = around.answers.and_then(|answers| answers.0.get(usize::from(question)));
                let hit = match known {
                    Some(&answer) => answer,
                    None => around.tables.get(table).and_then(|table| {
                        table.lookup(Address(address), subject.network, around.now)
                    }),
                };
                hit.is_some_and(|hit| !hit.not)
            }
            Lookup::ReversePath => around.reverse_path.fails(address, subject.arrived),
        };
        inside != self.not_address
    }

    #[inline]
    fn holds_port(&self, port: u16) -> bool {
        (self.port_low <= port && port <= self.port_high) != self.not_port
    }

    const fn names_ports(&self) -> bool {
        self.port_low != 0 || self.port_high != u16::MAX || self.not_port
    }

    /// The table that is asked, and whether `!` stands before it.
    pub(crate) const fn table(&self) -> Option<(u32, bool)> {
        if let Lookup::Table(table, _) = self.lookup {
            Some((table, self.not_address))
        } else {
            None
        }
    }

    /// The address ranges that can match, one or two; all if a table decides.
    pub(crate) fn addresses(&self) -> Vec<(u128, u128)> {
        if self.lookup != Lookup::No {
            return vec![(0, u128::MAX)];
        }
        ranges(self.low, self.high, u128::MAX, self.not_address)
    }

    /// The port ranges that can match: none, one or two.
    pub(crate) fn ports(&self) -> Vec<(u16, u16)> {
        ranges(self.port_low, self.port_high, u16::MAX, self.not_port)
    }
}

/// A range, or what is left of everything without it.
fn ranges<T>(low: T, high: T, max: T, not: bool) -> Vec<(T, T)>
where
    T: Copy + Ord + From<u8> + std::ops::Add<Output = T> + std::ops::Sub<Output = T>,
{
    if !not {
        return vec![(low, high)];
    }
    let (zero, one) = (T::from(0), T::from(1));
    let mut rest = Vec::new();
    if low > high {
        return vec![(zero, max)];
    }
    if low > zero {
        rest.push((zero, low - one));
    }
    if high < max {
        rest.push((high + one, max));
    }
    rest
}

fn range(first: IpAddr, last: IpAddr) -> (u128, u128) {
    (Address::from(first).0, Address::from(last).0)
}
