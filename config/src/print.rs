//! Rules and options as `pfctl -nvf` and `-sr` print them. What is printed parses to itself.

mod options;
mod state;

use std::fmt::{self, Display, Formatter};

use ipnet::IpNet;

use crate::names;
use crate::rules::{
    Action, Address, Direction, Endpoint, Family, Flags, Interface, Log, Ports, Probability,
    Return, Rule, RuleSet, Scrub, SetFields,
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
            Action::Anchor(call) if call.written.is_empty() => f.write_str("anchor")?,
            Action::Anchor(call) => write!(f, "anchor \"{}\"", call.written)?,
        }
        if let Some(direction) = self.direction {
            write!(f, " {direction}")?;
        }
        if let Some(log) = self.log {
            write!(f, " {log}")?;
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
            write!(f, " proto {}", names::protocol_text(protocol))?;
        }
        if self.from.is_any() && self.to.is_any() {
            f.write_str(" all")?;
        } else {
            write!(f, " from {} to {}", self.from, self.to)?;
        }
        if let Some(port) = &self.received_on {
            write!(f, " {}received-on {}", if port.not { "!" } else { "" }, port.name)?;
        }
        if let Some(flags) = self.flags {
            write!(f, " flags {flags}")?;
        }
        self.print_icmp(f)?;
        if let Some(tos) = self.tos {
            write!(f, " tos {tos:#04x}")?;
        }
        if let Some(prio) = self.prio {
            write!(f, " prio {prio}")?;
        }
        if let Some(rate) = self.max_packet_rate {
            write!(f, " max-pkt-rate {rate}")?;
        }
        if self.set != SetFields::default() {
            write!(f, " set ({})", self.set)?;
        }
        self.print_state(f)?;
        if self.fragment {
            f.write_str(" fragment")?;
        }
        if self.scrub != Scrub::default() {
            write!(f, " scrub ({})", self.scrub)?;
        }
        if self.allow_opts {
            f.write_str(" allow-opts")?;
        }
        if let Some(label) = &self.label {
            write!(f, " label \"{label}\"")?;
        }
        if self.once {
            f.write_str(" once")?;
        }
        if let Some(tag) = &self.tag {
            write!(f, " tag {tag}")?;
        }
        if let Some(tagged) = &self.tagged {
            write!(f, "{} tagged {}", if tagged.not { " !" } else { "" }, tagged.tag)?;
        }
        Ok(())
    }
}

/// `log` and what stands in its parentheses.
impl Display for Log {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("log")?;
        let to = (self.to != 0).then(|| format!("to pflog{}", self.to));
        let words = [self.all.then_some("all"), self.matches.then_some("matches"), to.as_deref()];
        let words: Vec<_> = words.into_iter().flatten().collect();
        if words.is_empty() { Ok(()) } else { write!(f, " ({})", words.join(", ")) }
    }
}

/// What stands in the parentheses of `set (...)`.
impl Display for SetFields {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.prio {
            Some((prio, Some(low_delay))) => write!(f, "prio({prio}, {low_delay})")?,
            Some((prio, None)) => write!(f, "prio {prio}")?,
            None => {}
        }
        match self.tos {
            Some(tos) => {
                write!(f, "{}tos {tos:#04x}", if self.prio.is_some() { ", " } else { "" })
            }
            None => Ok(()),
        }
    }
}

/// What stands in the parentheses of `scrub (...)`.
impl Display for Scrub {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ttl = self.min_ttl.map(|ttl| format!("min-ttl {ttl}"));
        let mss = self.max_mss.map(|size| format!("max-mss {size}"));
        let words = [
            self.no_df.then_some("no-df"),
            self.random_id.then_some("random-id"),
            ttl.as_deref(),
            self.reassemble_tcp.then_some("reassemble tcp"),
            mss.as_deref(),
        ];
        f.write_str(&words.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}

/// In percent with up to six digits behind the point, as pf rounds it.
impl Display for Probability {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let percent = format!("{:.6}", f64::from(self.0) * 100.0 / (f64::from(u32::MAX) + 1.0));
        write!(f, "{}%", percent.trim_end_matches('0').trim_end_matches('.'))
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
        if let Some(port) = self.port {
            write!(f, " port {port}")?;
        }
        match &self.os {
            Some(os) => write!(f, " os \"{os}\""),
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

/// The options, the tables and the rules, one a line: a file that parses to this rule set, less the
/// anchors whose rules do not stand in braces.
impl Display for RuleSet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.options.fmt(f)?;
        self.tables.iter().try_for_each(|table| writeln!(f, "{table}"))?;
        self.printed("", false).fmt(f)
    }
}
