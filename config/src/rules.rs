//! A checked rule set: what the parser makes of a rule file, expanded as pf expands it, and what
//! the engine compiles. Every rule here stands for itself: lists and macros are gone, families are
//! inferred, `block-policy` and the implied `flags S/SA keep state` are written out.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::options::Options;

/// A rule file that was read without an error.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleSet {
    /// The `set` lines.
    pub options: Options,
    /// The rules after expansion, in order; a rule's number is its index.
    pub rules: Vec<Rule>,
}

/// One rule after expansion (pf.conf(5), PACKET FILTERING). `None` and `Any` match everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// `pass` or `block`, and how.
    pub action: Action,
    /// `in`, `out`, or both.
    pub direction: Option<Direction>,
    /// `log`.
    pub log: Option<Log>,
    /// `quick`: the evaluation ends here if the rule matches.
    pub quick: bool,
    /// `on`.
    pub interface: Option<Interface>,
    /// `inet` or `inet6`.
    pub family: Option<Family>,
    /// `proto`, as an IP protocol number.
    pub protocol: Option<u8>,
    /// `from`.
    pub from: Endpoint,
    /// `to`.
    pub to: Endpoint,
    /// `flags`; `None` for rules that do not look at them. `flags any` is an empty mask; it stands
    /// only on rules that keep state and may match TCP, where it replaces the implied `S/SA`.
    pub flags: Option<Flags>,
    /// `icmp-type` or `icmp6-type`.
    pub icmp: Option<IcmpMatch>,
    /// `keep state` or `no state`; [`KeepState::No`] for `block`.
    pub state: KeepState,
    /// `label`, its macros expanded: 1 to 63 bytes without quotes or backslashes.
    pub label: Option<String>,
    /// Where the rule stands in its file.
    pub source: Source,
}

/// What a rule does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Lets it pass.
    Pass,
    /// Stops it.
    Block(Return),
}

/// What the sender of a blocked packet hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// `drop`: nothing.
    Drop,
    /// `return`: a RST for TCP, ICMP port unreachable for the rest.
    Auto,
    /// `return-rst`: a RST for TCP, nothing for the rest.
    Rst {
        /// `(ttl N)`: time to live of the RST; `None` is the engine's default.
        ttl: Option<u8>,
    },
    /// `return-icmp`, `return-icmp6`: destination unreachable with these codes.
    Icmp {
        /// Code for IPv4 (RFC 792); `None` if and only if the rule is `inet6`.
        v4: Option<u8>,
        /// Code for IPv6 (RFC 4443); `None` if and only if the rule is `inet`.
        v6: Option<u8>,
    },
}

/// The way of a packet through one port, as that port sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Arriving.
    In,
    /// Leaving.
    Out,
}

/// `log` and its options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// `(all)`: every packet of the state, not just the one that made it.
    pub all: bool,
}

/// `on [!] name`: a role (`lan`, `wan`) or the name of a network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// `!` was written.
    pub not: bool,
    /// As written.
    pub name: String,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

/// `from` or `to`: an address and a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// `!` was written before the address, which is then not [`Address::Any`].
    pub not: bool,
    /// The address.
    pub address: Address,
    /// The port, for TCP and UDP.
    pub port: Option<Ports>,
}

/// The address part of an [`Endpoint`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Address {
    /// `any`.
    #[default]
    Any,
    /// A prefix, its host bits cleared.
    Prefix(IpNet),
    /// `a - b`, both included, of one family, `a <= b`.
    Range(IpAddr, IpAddr),
}

/// A port comparison (pf.conf(5), `port`). Bounds are in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// `= a`.
    Equal(u16),
    /// `!= a`.
    NotEqual(u16),
    /// `< a`.
    Less(u16),
    /// `<= a`.
    LessEqual(u16),
    /// `> a`.
    Greater(u16),
    /// `>= a`.
    GreaterEqual(u16),
    /// `a:b`, both included.
    Range(u16, u16),
    /// `a >< b`, both excluded.
    Inside(u16, u16),
    /// `a <> b`: below a or above b.
    Outside(u16, u16),
}

impl Ports {
    /// Whether a port satisfies the comparison.
    pub const fn matches(self, port: u16) -> bool {
        match self {
            Self::Equal(a) => port == a,
            Self::NotEqual(a) => port != a,
            Self::Less(a) => port < a,
            Self::LessEqual(a) => port <= a,
            Self::Greater(a) => port > a,
            Self::GreaterEqual(a) => port >= a,
            Self::Range(a, b) => a <= port && port <= b,
            Self::Inside(a, b) => a < port && port < b,
            Self::Outside(a, b) => port < a || port > b,
        }
    }
}

/// `flags set/of`: of the flags in `of`, exactly those in `set` are on. Bits as in the TCP header:
/// FIN 1, SYN 2, RST 4, PSH 8, ACK 0x10, URG 0x20, ECE 0x40, CWR 0x80.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    /// The flags that must be on.
    pub set: u8,
    /// The flags that are looked at; 0 is `flags any`.
    pub of: u8,
}

/// `icmp-type T [code C]` or `icmp6-type`; which of the two follows from the rule's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpMatch {
    /// The type.
    pub kind: u8,
    /// The code, if one was written.
    pub code: Option<u8>,
}

/// What a passing rule does about state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepState {
    /// `keep state`, implied by `pass`.
    Keep,
    /// `no state`.
    No,
}

/// Where something stands in the rule files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Index of the file in the order in which the files were handed over.
    pub file: u32,
    /// Line, counted from 1.
    pub line: u32,
}
