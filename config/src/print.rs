//! Rules and options as `pfctl -nvf` and `-sr` print them. What is printed parses to itself.

use std::fmt::{self, Display, Formatter};

use ipnet::IpNet;

use crate::names;
use crate::options::{BlockPolicy, Limits, Options, StatePolicy, Timeout, Timeouts};
use crate::rules::{
    Action, Address, Direction, Endpoint, Family, Flags, Interface, KeepState, Ports, Return, Rule,
    RuleSet,
};

/// Letters of the TCP flags, lowest bit first (pf.conf(5), `flags`).
pub(crate) const FLAG_LETTERS: &str = "FSRPAUEW";

/// The rule in pfctl's form, without its number and without a newline.
impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.action {
            Action::Pass => f.write_str("pass")?,
            Action::Block(answer) => {
                f.write_str("block ")?;
                answer.print(self.family, f)?;
            }
            Action::Match => f.write_str("match")?,
            Action::Anchor(call) => write!(f, "anchor \"{}\"", call.written)?,
        }
        if let Some(direction) = self.direction {
            write!(f, " {direction}")?;
        }
        if let Some(log) = self.log {
            f.write_str(if log.all { " log (all)" } else { " log" })?;
        }
        if self.quick {
            f.write_str(" quick")?;
        }
        if let Some(interface) = &self.interface {
            write!(f, " on {interface}")?;
        }
        if let Some(family) = self.family {
            write!(f, " {family}")?;
        }
        if let Some(protocol) = self.protocol {
            match names::protocol_name(protocol) {
                Some(name) => write!(f, " proto {name}")?,
                None => write!(f, " proto {protocol}")?,
            }
        }
        if self.from.is_any() && self.to.is_any() {
            f.write_str(" all")?;
        } else {
            write!(f, " from {} to {}", self.from, self.to)?;
        }
        if let Some(flags) = self.flags {
            write!(f, " flags {flags}")?;
        }
        self.print_icmp(f)?;
        if self.action == Action::Pass && self.state == KeepState::No {
            f.write_str(" no state")?;
        }
        if let Some(label) = &self.label {
            write!(f, " label \"{label}\"")?;
        }
        Ok(())
    }
}

impl Rule {
    fn print_icmp(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(icmp) = self.icmp else { return Ok(()) };
        let (family, word) = match self.protocol {
            Some(names::ICMP6) => (Family::Inet6, "icmp6-type"),
            _ => (Family::Inet, "icmp-type"),
        };
        match names::type_name(family, icmp.kind) {
            Some(name) => write!(f, " {word} {name}")?,
            None => write!(f, " {word} {}", icmp.kind)?,
        }
        match icmp.code.map(|code| (code, names::code_name(family, icmp.kind, code))) {
            Some((_, Some(name))) => write!(f, " code {name}"),
            Some((code, None)) => write!(f, " code {code}"),
            None => Ok(()),
        }
    }
}

impl Return {
    /// The type of ICMP's destination unreachable in that family (RFC 792, RFC 4443).
    pub(crate) const fn unreachable_type(family: Family) -> u8 {
        match family {
            Family::Inet => 3,
            Family::Inet6 => 1,
        }
    }

    /// Its code for an unreachable port, the default of `return-icmp`.
    pub(crate) const fn port_unreachable(family: Family) -> u8 {
        match family {
            Family::Inet => 3,
            Family::Inet6 => 4,
        }
    }

    fn print(self, family: Option<Family>, f: &mut Formatter<'_>) -> fmt::Result {
        let code = |family, code: Option<u8>| {
            let code = code.unwrap_or(Self::port_unreachable(family));
            names::code_name(family, Self::unreachable_type(family), code)
                .map_or_else(|| code.to_string(), str::to_owned)
        };
        match self {
            Self::Drop => f.write_str("drop"),
            Self::Auto => f.write_str("return"),
            Self::Rst { ttl: None } => f.write_str("return-rst"),
            Self::Rst { ttl: Some(ttl) } => write!(f, "return-rst(ttl {ttl})"),
            Self::Icmp { v4, v6 } => match family {
                Some(Family::Inet) => write!(f, "return-icmp({})", code(Family::Inet, v4)),
                Some(Family::Inet6) => write!(f, "return-icmp6({})", code(Family::Inet6, v6)),
                None => {
                    let (v4, v6) = (code(Family::Inet, v4), code(Family::Inet6, v6));
                    write!(f, "return-icmp({v4}, {v6})")
                }
            },
        }
    }
}

impl Display for Direction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::In => "in",
            Self::Out => "out",
        })
    }
}

impl Display for Interface {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.not { "! " } else { "" }, self.name)
    }
}

impl Display for Family {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inet => "inet",
            Self::Inet6 => "inet6",
        })
    }
}

impl Endpoint {
    /// Whether it matches every packet.
    pub fn is_any(&self) -> bool {
        *self == Self::default()
    }
}

impl Display for Endpoint {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.not { "! " } else { "" }, self.address)?;
        match self.port {
            Some(port) => write!(f, " port {port}"),
            None => Ok(()),
        }
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Prefix(network) if network.prefix_len() == network.max_prefix_len() => {
                match network {
                    IpNet::V4(network) => network.addr().fmt(f),
                    IpNet::V6(network) => network.addr().fmt(f),
                }
            }
            Self::Prefix(network) => network.fmt(f),
            Self::Range(low, high) => write!(f, "{low} - {high}"),
            Self::Table(name) => write!(f, "<{name}>"),
            Self::UrpfFailed => f.write_str("urpf-failed"),
        }
    }
}

impl Display for Ports {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal(a) => write!(f, "= {a}"),
            Self::NotEqual(a) => write!(f, "!= {a}"),
            Self::Less(a) => write!(f, "< {a}"),
            Self::LessEqual(a) => write!(f, "<= {a}"),
            Self::Greater(a) => write!(f, "> {a}"),
            Self::GreaterEqual(a) => write!(f, ">= {a}"),
            Self::Range(a, b) => write!(f, "{a}:{b}"),
            Self::Inside(a, b) => write!(f, "{a} >< {b}"),
            Self::Outside(a, b) => write!(f, "{a} <> {b}"),
        }
    }
}

impl Display for Flags {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.of == 0 {
            return f.write_str("any");
        }
        let letters = |bits: u8| {
            FLAG_LETTERS.chars().enumerate().filter(move |(bit, _)| bits >> bit & 1 == 1)
        };
        let set: String = letters(self.set).map(|(_, letter)| letter).collect();
        let of: String = letters(self.of).map(|(_, letter)| letter).collect();
        write!(f, "{set}/{of}")
    }
}

impl Display for BlockPolicy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drop => "drop",
            Self::Return => "return",
        })
    }
}

impl Display for StatePolicy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IfBound => "if-bound",
            Self::Floating => "floating",
        })
    }
}

/// `set` lines for everything that is not the default, each with its newline.
impl Display for Options {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let states = self.limits.states;
        if states != Limits::default().states {
            writeln!(f, "set limit states {states}")?;
        }
        let mut usual = Timeouts::default();
        usual.follow_limit(states);
        for timeout in Timeout::ALL {
            let value = self.timeouts.get(timeout);
            if value != usual.get(timeout) {
                writeln!(f, "set timeout {timeout} {value}")?;
            }
        }
        if self.block_policy != BlockPolicy::Drop {
            writeln!(f, "set block-policy {}", self.block_policy)?;
        }
        if self.state_policy != StatePolicy::IfBound {
            writeln!(f, "set state-policy {}", self.state_policy)?;
        }
        if !self.skip.is_empty() {
            writeln!(f, "set skip on {{ {} }}", self.skip.join(" "))?;
        }
        self.link.fmt(f)
    }
}

/// The options and the rules, one a line: a file that parses to this rule set.
impl Display for RuleSet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.options.fmt(f)?;
        self.ether.iter().try_for_each(|rule| writeln!(f, "{rule}"))?;
        self.rules.iter().try_for_each(|rule| writeln!(f, "{rule}"))
    }
}
