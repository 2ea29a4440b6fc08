//! Why a rule does not match a packet, in words: the first criterion that does not hold, with what
//! the rule wants and what the packet has.

use std::net::IpAddr;

use weir_config::names;
use weir_config::rules::{Address, Direction, Endpoint, Family, Interface, Rule};
use weir_engine::packet::{Network, Packet, Transport};
use weir_engine::table::{Table, Tables};
use weir_engine::{Criterion, Instant, PortIndex, PortNames, Program, RulePlace};

/// What a rule is compared with.
pub struct Scene<'a> {
    /// The rules.
    pub program: &'a Program,
    /// What is in the tables.
    pub tables: &'a Tables,
    /// Names of the ports.
    pub ports: &'a PortNames,
    /// The time.
    pub now: Instant,
    /// The packet.
    pub packet: &'a Packet,
    /// The port that it passes.
    pub port: PortIndex,
    /// Whether it arrives or leaves there.
    pub direction: Direction,
    /// The tag that it has.
    pub tag: Option<&'a str>,
}

impl Scene<'_> {
    /// What the packet lacks for the rule.
    pub fn why(&self, place: &RulePlace<'_>, criterion: Criterion) -> String {
        let (rule, packet) = (place.rule, self.packet);
        let is_fragment = matches!(packet.transport, Transport::Fragment(_));
        match criterion {
            Criterion::SourcePort | Criterion::DestinationPort if is_fragment => {
                "a fragment shows no ports".to_owned()
            }
            Criterion::Flags if is_fragment => "a fragment shows no flags".to_owned(),
            Criterion::IcmpType if is_fragment => "a fragment shows no ICMP type".to_owned(),
            Criterion::Direction => {
                let wanted = rule.direction.unwrap_or(self.direction);
                format!("{} is not {wanted}", self.direction)
            }
            Criterion::Interface => {
                format!("on {}", self.interface(rule.interface.as_deref(), self.port))
            }
            Criterion::ReceivedOn => {
                let received = self.interface(rule.received_on.as_deref(), packet.port);
                format!("received on {received}")
            }
            Criterion::Family => match family(packet) {
                Family::Inet => "inet is not inet6".to_owned(),
                Family::Inet6 => "inet6 is not inet".to_owned(),
            },
            Criterion::Protocol => {
                let wanted = rule.protocol.unwrap_or(0);
                format!("proto {} is not {}", protocol(packet.protocol), protocol(wanted))
            }
            Criterion::Source => self.address("source", &rule.from, place, self.ends()[0]),
            Criterion::Destination => self.address("destination", &rule.to, place, self.ends()[1]),
            Criterion::SourcePort => port("source port", &rule.from, packet.source_port),
            Criterion::DestinationPort => port("port", &rule.to, packet.destination_port),
            Criterion::Flags => match (packet.transport, rule.flags) {
                (Transport::Tcp(tcp), Some(flags)) => {
                    format!("flags {} are not {flags}", letters(tcp.flags))
                }
                _ => "the flags differ".to_owned(),
            },
            Criterion::IcmpType | Criterion::IcmpCode => self.icmp(rule, criterion),
            Criterion::Tos => {
                format!("tos 0x{:02x} is not 0x{:02x}", packet.tos, rule.tos.unwrap_or(0))
            }
            Criterion::Priority => {
                format!("prio {} is not {}", packet.priority, rule.prio.unwrap_or(0))
            }
            Criterion::Fragment => "it is no fragment".to_owned(),
            Criterion::Tagged => {
                let has = self.tag.map_or("not tagged".to_owned(), |tag| format!("tagged {tag}"));
                match &rule.tagged {
                    Some(tagged) if tagged.not => format!("{has}, which `!` excludes"),
                    Some(tagged) => format!("{has}, which is not {}", tagged.tag),
                    None => has,
                }
            }
            Criterion::Probability => "the dice do not fall for it".to_owned(),
            Criterion::Rate => "its max-pkt-rate is exceeded".to_owned(),
            Criterion::Once => "it has matched once already".to_owned(),
        }
    }

    /// What the tables of a rule that matched have found.
    pub fn findings(&self, place: &RulePlace<'_>) -> Vec<String> {
        let ends = [&place.rule.from, &place.rule.to];
        let found = ends.into_iter().zip(self.ends()).filter_map(|(end, address)| {
            let Address::Table(name) = &end.address else { return None };
            Some(self.look_up(name, place, address))
        });
        found.collect()
    }

    fn ends(&self) -> [IpAddr; 2] {
        let network = self.packet.network;
        [self.packet.source.to_ip(network), self.packet.destination.to_ip(network)]
    }

    fn interface(&self, wanted: Option<&Interface>, port: PortIndex) -> String {
        let role = self.ports.role(port);
        match wanted {
            Some(Interface { not: true, name }) => format!("{role}, which `! {name}` excludes"),
            Some(Interface { not: false, name }) => format!("{role} is not {name}"),
            None => role.to_owned(),
        }
    }

    fn address(
        &self,
        what: &str,
        wanted: &Endpoint,
        place: &RulePlace<'_>,
        address: IpAddr,
    ) -> String {
        if let Address::Table(name) = &wanted.address {
            let excluded = if wanted.not { ", which `!` excludes" } else { "" };
            return format!("{what}: {}{excluded}", self.look_up(name, place, address));
        }
        let not = if wanted.not { "" } else { "not " };
        let excluded = if wanted.not { ", which `!` excludes" } else { "" };
        match &wanted.address {
            Address::UrpfFailed => format!("{what} {address} came by the right port"),
            Address::Prefix(net) if net.prefix_len() == net.max_prefix_len() => {
                format!("{what} {address} is {not}{}{excluded}", net.addr())
            }
            other => format!("{what} {address} is {not}in {other}{excluded}"),
        }
    }

    fn look_up(&self, name: &str, place: &RulePlace<'_>, address: IpAddr) -> String {
        let table = table(self.program, self.tables, place.anchor, name);
        let found = table.and_then(|table| table.longest(address, self.now));
        match found {
            Some(entry) if entry.not => {
                format!("<{name}> does not hold {address}: ! {}", entry.net)
            }
            Some(entry) => format!("<{name}> holds {address}: {}", entry.net),
            None => format!("<{name}> does not hold {address}"),
        }
    }

    fn icmp(&self, rule: &Rule, criterion: Criterion) -> String {
        let (Some(wanted), Some((kind, code))) = (rule.icmp, icmp(self.packet)) else {
            return "it is no ICMP message".to_owned();
        };
        let family = family(self.packet);
        let name =
            |kind| names::type_name(family, kind).map_or_else(|| kind.to_string(), str::to_owned);
        if let (Criterion::IcmpCode, Some(wanted)) = (criterion, wanted.code) {
            let name = |code| {
                names::code_name(family, kind, code).map_or_else(|| code.to_string(), str::to_owned)
            };
            return format!("code {} is not {}", name(code), name(wanted));
        }
        let word = if family == Family::Inet { "icmp-type" } else { "icmp6-type" };
        format!("{word} {} is not {}", name(kind), name(wanted.kind))
    }
}

/// `@14`, or `@anchor/3` for rule 3 of an anchor.
pub fn rule_id(place: &RulePlace<'_>) -> String {
    match place.anchor {
        "" => format!("@{}", place.number),
        anchor => format!("@{anchor}/{}", place.number),
    }
}

/// The table that a rule of an anchor means by `<name>`: that of the nearest anchor around it.
fn table<'t>(program: &Program, tables: &'t Tables, anchor: &str, name: &str) -> Option<&'t Table> {
    let mut anchor = anchor;
    loop {
        let known = program.tables().iter().position(|t| t.anchor == anchor && t.name == name);
        if let Some(id) = known {
            return tables.get(id as u32);
        }
        if anchor.is_empty() {
            return None;
        }
        anchor = anchor.rfind('/').map_or("", |slash| &anchor[..slash]);
    }
}

fn family(packet: &Packet) -> Family {
    if packet.network == Network::Ipv6 { Family::Inet6 } else { Family::Inet }
}

fn icmp(packet: &Packet) -> Option<(u8, u8)> {
    match packet.transport {
        Transport::IcmpQuery(icmp) | Transport::IcmpError(icmp, _) | Transport::IcmpOther(icmp) => {
            Some((icmp.kind, icmp.code))
        }
        Transport::Tcp(_) | Transport::Udp | Transport::Other | Transport::Fragment(_) => None,
    }
}

fn port(what: &str, wanted: &Endpoint, port: u16) -> String {
    match wanted.port {
        Some(ports) => format!("{what} {port} is not {ports}"),
        None => format!("{what} {port}"),
    }
}

/// A protocol by name, or by number if it has none.
pub fn protocol(number: u8) -> String {
    names::protocol_name(number).map_or_else(|| number.to_string(), str::to_owned)
}

fn letters(flags: u8) -> String {
    if flags == 0 {
        return "none".to_owned();
    }
    "FSRPAUEW"
        .chars()
        .enumerate()
        .filter(|(bit, _)| flags >> bit & 1 == 1)
        .map(|(_, c)| c)
        .collect()
}
