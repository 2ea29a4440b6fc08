//! A checked rule set: what the parser makes of a rule file, expanded as pf expands it, and what
//! the engine compiles. Every rule here stands for itself: lists and macros are gone, families are
//! inferred, `block-policy` and the implied `flags S/SA keep state` are written out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::ether::EtherRule;
use crate::options::{Options, StatePolicy, Timeout};
use crate::tables::Table;

/// A rule file that was read without an error.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleSet {
    /// The `set` lines.
    pub options: Options,
    /// The tables of the main rule set, in the order of their declaration.
    pub tables: Vec<Table>,
    /// The layer 2 rules, in order.
    pub ether: Vec<EtherRule>,
    /// The rules after expansion, in order; a rule's number is its index.
    pub rules: Vec<Rule>,
    /// The anchors that have content, by full path without a leading slash (`a/b`). Paths that only
    /// an anchor rule names are not here.
    pub anchors: BTreeMap<String, Anchor>,
}

/// The content of an anchor: a rule set of its own, whose rules count from 0 again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Anchor {
    /// Its tables. A rule's `<name>` means the table of its own anchor or, if that has none, of the
    /// nearest anchor around it (pf.conf(5), ANCHORS; pf looks at the anchor and the main rule set).
    pub tables: Vec<Table>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// One rule after expansion (pf.conf(5), PACKET FILTERING). `None` and `Any` match everything. There
/// can be a million of them: what is seldom there, and what all rules of an expansion have alike, is
/// beside the rule and shared, so that a rule takes less than 300 bytes.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "words of the language that stand or do not")]
pub struct Rule {
    /// `pass`, `block` or `match`, and how; or the call of an anchor.
    pub action: Action,
    /// `in`, `out`, or both.
    pub direction: Option<Direction>,
    /// `log`.
    pub log: Option<Log>,
    /// `quick`: the evaluation ends here if the rule matches.
    pub quick: bool,
    /// `on`.
    pub interface: Option<Arc<Interface>>,
    /// `received-on`: the port that the packet arrived on.
    pub received_on: Option<Arc<Interface>>,
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
    /// `tos`: the type of service or traffic class, all eight bits.
    pub tos: Option<u8>,
    /// `prio`: the priority of the 802.1Q tag, 0 to 7; untagged frames have 3 as in pf.
    pub prio: Option<u8>,
    /// `max-pkt-rate`: the rule matches only up to this rate.
    pub max_packet_rate: Option<Rate>,
    /// `set (...)`: what is written into matching packets.
    pub set: SetFields,
    /// `keep state` or one of its kin; [`KeepState::No`] for `block`, `match` and anchors.
    pub state: KeepState,
    /// `keep state (...)`.
    pub state_options: Arc<StateOptions>,
    /// `probability`.
    pub probability: Option<Probability>,
    /// `fragment`: matches only fragments.
    pub fragment: bool,
    /// `scrub (...)`.
    pub scrub: Scrub,
    /// `allow-opts`.
    pub allow_opts: bool,
    /// `label`, its macros expanded: 1 to 63 bytes without quotes or backslashes.
    pub label: Option<String>,
    /// `once`: gone after its first match.
    pub once: bool,
    /// `tag`: given to matching packets.
    pub tag: Option<String>,
    /// `[!] tagged`.
    pub tagged: Option<Arc<Tagged>>,
    /// Where the rule stands in its file.
    pub source: Source,
}

/// What a rule does with a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Lets it pass.
    #[default]
    Pass,
    /// Stops it.
    Block(Return),
    /// `match`: does not decide, but its options hold for the packet.
    Match,
    /// `anchor`: the rules of another rule set are asked here.
    Anchor(Box<AnchorCall>),
}

/// `anchor "name" ...`: which rule sets are asked (pf.conf(5), ANCHORS).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnchorCall {
    /// The full path of the anchor without a leading slash; with `wildcard` that of its parent,
    /// empty for the main rule set. Anchors without a name are called `_1`, `_2`, ... as in pf.
    pub path: String,
    /// `"path/*"`: all anchors directly below, in alphabetical order.
    pub wildcard: bool,
    /// The body stood behind it in braces, and is printed there.
    pub inline: bool,
    /// As written, for printing: relative to the anchor it stands in, or with a leading slash. Empty
    /// for an anchor without a name.
    pub written: String,
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
    /// `(matches)`: all rules that match the packet from here on.
    pub matches: bool,
    /// `(to pflogN)`: N.
    pub to: u8,
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
    /// `os`, in `from` only: the name of a fingerprint.
    pub os: Option<Arc<str>>,
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
    /// `<name>`.
    Table(String),
    /// `urpf-failed`, in `from` only: of all prefixes that the settings file gives to ports, the
    /// longest that holds the address is not one of the port the packet arrived on.
    UrpfFailed,
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

/// What a passing rule does about state; later is more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeepState {
    /// `no state`.
    #[default]
    No,
    /// `keep state`, implied by `pass`.
    Keep,
    /// `modulate state`: sequence numbers of TCP are made unpredictable. Only on rules that may
    /// match TCP; others hold [`KeepState::Keep`].
    Modulate,
    /// `synproxy state`. As `Modulate`.
    Synproxy,
}

/// The options of `keep state (...)` (pf.conf(5), STATEFUL FILTERING), with what the parser adds:
/// `source-track` where a limit needs it, `src.track` from `max-src-conn-rate`, the adaptive pair
/// from `max`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateOptions {
    /// `max`: states that the rule may have made at a time.
    pub max: Option<u32>,
    /// `no-sync`.
    pub no_sync: bool,
    /// `source-track`.
    pub source_track: Option<SourceTrack>,
    /// `max-src-states`.
    pub max_src_states: Option<u32>,
    /// `max-src-conn`.
    pub max_src_conn: Option<u32>,
    /// `max-src-conn-rate`.
    pub max_src_conn_rate: Option<Rate>,
    /// `max-src-nodes`.
    pub max_src_nodes: Option<u32>,
    /// `overload`.
    pub overload: Option<Overload>,
    /// `max-idle`: seconds without progress that end a TCP connection.
    pub max_idle: Option<u32>,
    /// `min-rate`: bytes that a TCP connection must make progress by, in how many seconds.
    pub min_rate: Option<Rate>,
    /// `if-bound` or `floating`.
    pub policy: Option<StatePolicy>,
    /// `sloppy`.
    pub sloppy: bool,
    /// `pflow`.
    pub pflow: bool,
    /// Time-outs for the states of this rule, in the order of [`Timeout::ALL`], each at most once.
    pub timeouts: Vec<(Timeout, u32)>,
}

/// `source-track`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceTrack {
    /// `rule`: each rule counts for itself.
    Rule,
    /// `global`: all rules with this option count together.
    Global,
}

/// `count/seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// In how many seconds; at least 1.
    pub seconds: u32,
}

/// `overload <table> [flush [global]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overload {
    /// The table that the source is put into.
    pub table: String,
    /// Which of its states end.
    pub flush: OverloadFlush,
}

/// What `overload` does to the states of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverloadFlush {
    /// Nothing.
    No,
    /// `flush`: those of this rule end.
    Rule,
    /// `flush global`: all end.
    Global,
}

/// `set (...)` on a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetFields {
    /// `prio N` or `prio (N, M)`: 802.1Q priority, the second for TCP ACKs without data and packets
    /// with `lowdelay`.
    pub prio: Option<(u8, Option<u8>)>,
    /// `tos`: type of service or traffic class.
    pub tos: Option<u8>,
}

/// `scrub (...)` on a rule (pf.conf(5), TRAFFIC NORMALISATION).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrub {
    /// `no-df`.
    pub no_df: bool,
    /// `random-id`.
    pub random_id: bool,
    /// `min-ttl`; 1 to 255.
    pub min_ttl: Option<u8>,
    /// `max-mss`; 1 to 65535.
    pub max_mss: Option<u16>,
    /// `reassemble tcp`.
    pub reassemble_tcp: bool,
}

/// `probability`, as pf keeps it: of 2^32 draws so many match. At least 1; `100%` is `u32::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probability(pub u32);

/// `[!] tagged name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// `!` was written.
    pub not: bool,
    /// The tag.
    pub tag: String,
}

/// Where something stands in the rule files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Index of the file in the order in which the files were handed over.
    pub file: u32,
    /// Line, counted from 1.
    pub line: u32,
}

#[cfg(test)]
mod tests {
    use super::Rule;

    /// A million rules have to find room.
    #[test]
    fn a_rule_is_small() {
        assert!(size_of::<Rule>() < 300, "{} bytes", size_of::<Rule>());
    }
}
