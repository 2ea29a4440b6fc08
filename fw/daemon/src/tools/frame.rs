//! A packet in words as a frame: the engine's own parser then says what it is, and whether it would
//! get as far as the rules.

use weir_config::probe::{Probe, Transport};
use weir_config::rules::{Family, RuleSet};
use weir_engine::packet::build::{self, Build};
use weir_engine::packet::crc32c::Crc32c;
use weir_engine::packet::ethernet::ethertype;
use weir_engine::packet::icmp::{Class, class};
use weir_engine::packet::{Network, icmp, ipv4, protocol, sctp};
use weir_engine::{Checksum, Meta, PortIndex, PortNames};

/// Ports of the datagram that an ICMP error quotes: traceroute's.
const QUOTED_PORTS: [u16; 2] = [40_000, 33_434];
/// IPv4 options that do nothing (RFC 791, 3.1).
const NO_OPERATIONS: [u8; 4] = [1; 4];
/// An IPv6 destination options header that holds padding (RFC 8200, 4.2 and 4.6).
const PADDING: (u8, [u8; 8]) = (60, [0, 0, 1, 4, 0, 0, 0, 0]);
/// The options that group membership reports carry by design (RFC 2113, 2.1; RFC 2711, 2.1, in a
/// hop-by-hop header).
const ROUTER_ALERT: [u8; 4] = [0x94, 4, 0, 0];
const ROUTER_ALERT6: (u8, [u8; 8]) = (0, [0, 0, 5, 2, 0, 0, 1, 0]);
/// An IPv6 fragment header: the first fragment, and more come (RFC 8200, 4.5).
const FIRST_FRAGMENT: (u8, [u8; 8]) = (44, [0, 0, 0, 1, 0, 0, 0, 1]);

/// The frame, its checksums right.
pub fn frame(probe: &Probe) -> Vec<u8> {
    let (source, destination) = (probe.source, probe.destination);
    let mut build = match probe.transport {
        Transport::Tcp { ports: [from, to], flags } => {
            build::tcp((source, from), (destination, to), flags)
        }
        Transport::Udp { ports: [from, to] } => build::udp((source, from), (destination, to)),
        Transport::Icmp { kind, code, id } => {
            let message = build::icmp(source, destination, kind, code);
            let network = match probe.family() {
                Family::Inet => Network::Ipv4,
                Family::Inet6 => Network::Ipv6,
            };
            match class(network, kind) {
                Class::Query => message.id(id, 1),
                Class::Error => message.quote(&quoted(probe)),
                Class::Other => message,
            }
        }
        Transport::Other(protocol) => build::other(source, destination, protocol),
    };
    let [from, to] = probe.macs;
    build = build.macs(from.unwrap_or(build::SOURCE_MAC), to.unwrap_or(build::DESTINATION_MAC));
    build = tagged(build, probe).tos(probe.tos).ttl(probe.ttl);
    if let Some(session) = probe.session {
        build = build.pppoe(session);
    }
    if probe.options {
        build = if reports_members(probe) {
            build.ip_options(&ROUTER_ALERT).extension(ROUTER_ALERT6.0, &ROUTER_ALERT6.1)
        } else {
            build.ip_options(&NO_OPERATIONS).extension(PADDING.0, &PADDING.1)
        };
    }
    if probe.fragment {
        let (number, header) = FIRST_FRAGMENT;
        build = build.fragment(ipv4::MORE_FRAGMENTS).extension(number, &header);
    }
    let more = probe.length.map_or(0, |length| length.saturating_sub(probe.shortest()));
    let mut length = probe.body() + more;
    if probe.fragment && probe.length.is_none() {
        // All fragments but the last are cut at a multiple of 8 (RFC 791, 3.2).
        let header = if matches!(probe.transport, Transport::Tcp { .. }) { 20 } else { 8 };
        length = (header + length).next_multiple_of(8) - header;
    }
    let mut payload = vec![0; length.into()];
    if probe.transport == Transport::Other(protocol::SCTP) {
        begin_association(&mut payload);
    }
    build.payload(&payload).frame()
}

/// Makes the payload an INIT (RFC 9260, 3.3.2), which is what rules are asked about.
fn begin_association(payload: &mut Vec<u8>) {
    const SHORTEST: usize = sctp::HEADER + 20;
    payload.resize(payload.len().max(SHORTEST), 0);
    let length = (payload.len() - sctp::HEADER) as u16;
    payload[sctp::HEADER] = sctp::chunk::INIT;
    payload[sctp::HEADER + 2..][..2].copy_from_slice(&length.to_be_bytes());
    payload[sctp::HEADER + 7] = 1;
    let mut crc = Crc32c::default();
    crc.feed(payload);
    payload[sctp::CHECKSUM..sctp::HEADER].copy_from_slice(&crc.bytes());
}

/// IGMP and multicast listener discovery.
fn reports_members(probe: &Probe) -> bool {
    match probe.transport {
        Transport::Other(number) => number == protocol::IGMP,
        Transport::Icmp { kind, .. } => {
            probe.family() == Family::Inet6 && icmp::v6::is_listener_discovery(kind)
        }
        _ => false,
    }
}

/// What is known of such a frame besides its bytes.
pub fn meta(frame: &[u8], port: PortIndex) -> Meta {
    let length = frame.len() as u32;
    Meta { port, checksum: Checksum::Unknown, gso_size: 0, length }
}

/// The port that a packet arrives on.
///
/// # Errors
/// When no port is called that; in words.
pub fn port(name: &str, ports: &PortNames) -> Result<PortIndex, String> {
    let found = ports.0.iter().position(|port| port.role == name || port.interface == name);
    found.map(|index| PortIndex(index as u8)).ok_or_else(|| {
        let known: Vec<_> = ports
            .0
            .iter()
            .map(|port| {
                if port.interface == port.role {
                    format!("`{}`", port.role)
                } else {
                    format!("`{}` (`{}`)", port.role, port.interface)
                }
            })
            .collect();
        format!("no port is called `{name}`: there are {}", known.join(" and "))
    })
}

/// What to know about explaining a packet in words by rules that look at hardware addresses which
/// the words do not say.
pub fn note(rules: &RuleSet, probe: &Probe) -> Option<String> {
    let said = probe.macs.iter().all(Option::is_some) || probe.tagged.is_some();
    (!rules.ether.is_empty() && !said).then(|| {
        "the hardware addresses that are not said are 02:00:00:00:00:01 sending to \
         02:00:00:00:00:02: `ether from .. to ..` says them, `tagged` supposes what `ether` rules \
         give"
            .to_owned()
    })
}

/// The tags, outermost first. A priority without a VLAN is in a tag of VLAN 0 (IEEE 802.1Q, 6.9).
fn tagged(build: Build, probe: &Probe) -> Build {
    let priority = u16::from(probe.prio.unwrap_or(0)) << 13;
    match (probe.vlans, probe.prio) {
        ([0, _], None) => build,
        ([outer, 0], _) => build.tag(ethertype::VLAN, priority | outer),
        ([outer, inner], _) => build.tag(ethertype::QINQ, priority | outer).vlan(inner),
    }
}

/// The packet that an error speaks of: a datagram that its destination has sent.
fn quoted(probe: &Probe) -> Vec<u8> {
    let [from, to] = QUOTED_PORTS;
    build::udp((probe.destination, from), (probe.source, to)).frame()
}
