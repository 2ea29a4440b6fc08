//! Packets in words, and lists of cases: what `weir explain` and `weir test` are asked.
//!
//! A packet is said in the words of rules, which may come in any order:
//!
//! ```text
//! in on wan inet proto tcp from 192.0.2.1 port 40000 to 198.51.100.2 port 22 flags S
//! ```
//!
//! | words | meaning | if left out |
//! |---|---|---|
//! | `in` | packets are judged where they arrive | the same |
//! | `on PORT` | a role (`lan`, `wan`) or the name of an interface | an error |
//! | `inet`, `inet6` | must fit the addresses | inferred from them |
//! | `proto P` | a name or a number | inferred from `flags`, `icmp-type`, `icmp6-type`; else an error |
//! | `from A [port P]` | one address; the port of TCP and UDP, a number or a service | the address: an error; the port: 40000 |
//! | `to A [port P]` | likewise | an error |
//! | `flags F` | letters out of `FSRPAUEW`, or `none` | `S` |
//! | `icmp-type T [code C]`, `icmp6-type` | names as in rules, or numbers | `echoreq` |
//! | `id N` | of an ICMP query | 1 |
//! | `tos N` | all eight bits, `0x10` or 16, or a name | 0 |
//! | `ttl N` | time to live or hop limit | 64; neighbour discovery 255 |
//! | `length N` | of the IP packet, in bytes | headers alone |
//! | `vlan N` or `vlan N.M` | outer and inner VLAN id | no tag |
//! | `pppoe N` | in this PPPoE session, 1 to 65534 | in none |
//! | `prio N` | 802.1Q priority, 0 to 7 | 0 in a tag; without one, which counts as 3 as in pf, there is none |
//! | `ether from MAC to MAC` | hardware addresses, either of them or both | what the tools choose |
//! | `options` | IPv4 options or an IPv6 options header | none |
//! | `fragment` | the first fragment of a longer packet | a whole packet |
//! | `tagged T` | the tag that a layer 2 rule gave it | none |
//!
//! A case is the same behind `pass` or `block`, and may end with the rule that has to decide: `by
//! "label"`, `by @14`, or `by @anchor/3` for rule 3 of an anchor. Each stands on a line of its own,
//! `#` begins a comment.

mod assemble;
mod cases;
mod read;
mod words;

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

pub use self::cases::{By, Case, Cases, cases};
pub use self::read::packet;
use crate::names;
use crate::print::FLAG_LETTERS;
use crate::rules::Family;

/// The source port of TCP and UDP packets whose words name none.
pub const SOURCE_PORT: u16 = 40_000;

/// A packet as a person describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Where it arrives: a role or the name of an interface, as written.
    pub port: String,
    /// Source address, of the family of `destination`.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// What is behind the IP header.
    pub transport: Transport,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Length of the IP packet in bytes, at least [`Probe::shortest`]; `None` is that.
    pub length: Option<u16>,
    /// Outer and inner VLAN id, 1 to 4094; 0 where there is no tag.
    pub vlans: [u16; 2],
    /// The PPPoE session that carries it, 1 to 65534, behind the tags.
    pub session: Option<u16>,
    /// Priority in the outermost tag, 0 to 7.
    pub prio: Option<u8>,
    /// Hardware addresses of source and destination, where they are said.
    pub macs: [Option<[u8; 6]>; 2],
    /// IPv4 options or an IPv6 options header are there.
    pub options: bool,
    /// It is the first fragment of a longer packet.
    pub fragment: bool,
    /// The tag of a layer 2 rule.
    pub tagged: Option<String>,
}

/// The transport header of a [`Probe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// Source and destination port.
        ports: [u16; 2],
        /// As in [`Flags`](crate::rules::Flags).
        flags: u8,
    },
    /// UDP.
    Udp {
        /// Source and destination port.
        ports: [u16; 2],
    },
    /// ICMP among IPv4 addresses, ICMPv6 among IPv6 ones.
    Icmp {
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
        /// The id, if the type has one.
        id: u16,
    },
    /// Any other protocol, by its number.
    Other(u8),
}

impl Probe {
    /// The family of its addresses.
    pub const fn family(&self) -> Family {
        if self.source.is_ipv4() { Family::Inet } else { Family::Inet6 }
    }

    /// The IP protocol number.
    pub const fn protocol(&self) -> u8 {
        match (self.transport, self.family()) {
            (Transport::Tcp { .. }, _) => names::TCP,
            (Transport::Udp { .. }, _) => names::UDP,
            (Transport::Icmp { .. }, Family::Inet) => names::ICMP,
            (Transport::Icmp { .. }, Family::Inet6) => names::ICMP6,
            (Transport::Other(number), _) => number,
        }
    }

    /// Whether it is an ICMP or ICMPv6 error, which quotes the packet that it speaks of.
    pub const fn is_error(&self) -> bool {
        match (self.transport, self.family()) {
            (Transport::Icmp { kind, .. }, Family::Inet) => matches!(kind, 3 | 4 | 11 | 12),
            (Transport::Icmp { kind, .. }, Family::Inet6) => matches!(kind, 1..=4),
            _ => false,
        }
    }

    /// Bytes of the IP packet if nothing is behind its headers. An ICMP error quotes a UDP datagram
    /// without payload.
    pub const fn shortest(&self) -> u16 {
        let (ip, extra) = match self.family() {
            Family::Inet => (20, if self.options { 4 } else { 0 }),
            Family::Inet6 => (40, 8 * (self.options as u16 + self.fragment as u16)),
        };
        let transport = match self.transport {
            Transport::Tcp { .. } => 20,
            Transport::Icmp { .. } if self.is_error() => 8 + ip + 8,
            Transport::Udp { .. } | Transport::Icmp { .. } => 8 + self.body(),
            Transport::Other(_) => 0,
        };
        ip + extra + transport
    }

    /// Bytes behind the ICMPv6 header that every message of this type has (RFC 4861, 4.2 to 4.5): a
    /// packet without them is a broken one, and dropped for that.
    pub const fn body(&self) -> u16 {
        match (self.transport, self.family()) {
            (Transport::Icmp { kind: 134, .. }, Family::Inet6) => 8,
            (Transport::Icmp { kind: 135 | 136, .. }, Family::Inet6) => 16,
            (Transport::Icmp { kind: 137, .. }, Family::Inet6) => 32,
            _ => 0,
        }
    }

    /// What the hop limit is if nobody says it: neighbour discovery must not have been forwarded.
    const fn usual_ttl(transport: Transport, family: Family) -> u8 {
        match (transport, family) {
            (Transport::Icmp { kind: 133..=137, .. }, Family::Inet6) => 255,
            _ => 64,
        }
    }
}

/// The packet in words that read as this packet; what is inferred is said, what is usual is not.
impl Display for Probe {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let protocol = self.protocol();
        write!(f, "in on {} {} proto ", self.port, self.family())?;
        match names::protocol_name(protocol).filter(|_| protocol != 0) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "{protocol}")?,
        }
        match self.transport {
            Transport::Tcp { ports: [from, to], .. } | Transport::Udp { ports: [from, to] } => {
                write!(f, " from {} port {from} to {} port {to}", self.source, self.destination)?;
            }
            _ => write!(f, " from {} to {}", self.source, self.destination)?,
        }
        match self.transport {
            Transport::Tcp { flags: 0, .. } => f.write_str(" flags none")?,
            Transport::Tcp { flags, .. } => {
                let letters = FLAG_LETTERS.chars().enumerate();
                let set = letters.filter(|(bit, _)| flags >> bit & 1 == 1);
                write!(f, " flags {}", set.map(|(_, letter)| letter).collect::<String>())?;
            }
            Transport::Icmp { kind, code, id } => self.print_icmp(f, kind, code, id)?,
            Transport::Udp { .. } | Transport::Other(_) => {}
        }
        if self.tos != 0 {
            write!(f, " tos 0x{:02x}", self.tos)?;
        }
        if self.ttl != Self::usual_ttl(self.transport, self.family()) {
            write!(f, " ttl {}", self.ttl)?;
        }
        if let Some(length) = self.length {
            write!(f, " length {length}")?;
        }
        match self.vlans {
            [0, _] => {}
            [outer, 0] => write!(f, " vlan {outer}")?,
            [outer, inner] => write!(f, " vlan {outer}.{inner}")?,
        }
        if let Some(session) = self.session {
            write!(f, " pppoe {session}")?;
        }
        if let Some(prio) = self.prio {
            write!(f, " prio {prio}")?;
        }
        if self.macs != [None; 2] {
            f.write_str(" ether")?;
        }
        for (word, mac) in ["from", "to"].into_iter().zip(self.macs) {
            if let Some([a, b, c, d, e, last]) = mac {
                write!(f, " {word} {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{last:02x}")?;
            }
        }
        for (set, word) in [(self.options, " options"), (self.fragment, " fragment")] {
            f.write_str(if set { word } else { "" })?;
        }
        match &self.tagged {
            Some(tag) => write!(f, " tagged \"{tag}\""),
            None => Ok(()),
        }
    }
}

impl Probe {
    fn print_icmp(&self, f: &mut Formatter<'_>, kind: u8, code: u8, id: u16) -> fmt::Result {
        let family = self.family();
        f.write_str(if family == Family::Inet { " icmp-type " } else { " icmp6-type " })?;
        match names::type_name(family, kind) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "{kind}")?,
        }
        match names::code_name(family, kind, code) {
            Some(name) => write!(f, " code {name}")?,
            None if code != 0 => write!(f, " code {code}")?,
            None => {}
        }
        if id == read::ICMP_ID { Ok(()) } else { write!(f, " id {id}") }
    }
}
