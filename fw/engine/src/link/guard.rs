//! Spoof guards: who may say "this address is mine", "I am your router", "here is your lease".
//!
//! They look at each message by itself, first packet or not: no state lets one through. What they
//! bind is a port of the bridge; hosts behind the same port can still deceive each other, which no
//! bridge sees.

use weir_config::ether::{LinkOptions, NeighbourGuard};

use crate::packet::icmp::{HEADER as ICMP_HEADER, v4, v6};
use crate::packet::{Address, Network, Packet, Transport};
use crate::reason::Reason;
use crate::ruleset::PortNames;

/// The clients' port of DHCP (RFC 2131, 4.1). What goes there comes from a server, or wants to pass
/// for one: a client need not look at the source port.
const DHCP_CLIENT: u16 = 68;
/// The same of `DHCPv6` (RFC 9915, 7.2).
const DHCP6_CLIENT: u16 = 546;

/// Where the target of a neighbour message stands, from its ICMPv6 header (RFC 4861, 4.3 and 4.4).
const TARGET: usize = 8;
/// Options of neighbour discovery (RFC 4861, 4.6.1).
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;

/// What `set neighbour-guard`, `neighbour-mac-check`, `router-guard` and `dhcp-guard` ask for.
#[derive(Debug)]
pub(super) struct Guards {
    /// For IPv4 and for IPv6.
    neighbours: [Bindings; 2],
    mac_check: bool,
    /// The ports behind which routers are, a bit each.
    routers: Option<u8>,
    /// The same for DHCP servers.
    dhcp_servers: Option<u8>,
}

impl Guards {
    pub(super) fn new(options: &LinkOptions, ports: &PortNames) -> Self {
        let behind = |names: &[String]| {
            let mask = names.iter().fold(0, |mask, name| mask | ports.mask(name));
            (!names.is_empty()).then_some(mask)
        };
        Self {
            neighbours: [true, false].map(|v4| Bindings::new(&options.neighbours, v4, ports)),
            mac_check: options.neighbour_mac_check,
            routers: behind(&options.routers),
            dhcp_servers: behind(&options.dhcp_servers),
        }
    }

    pub(super) fn are_active(&self) -> bool {
        self.guard_neighbours() || self.routers.is_some() || self.dhcp_servers.is_some()
    }

    fn guard_neighbours(&self) -> bool {
        self.mac_check || self.neighbours.iter().any(|bindings| !bindings.0.is_empty())
    }

    /// Why a packet must not come from the port that it came from.
    #[inline]
    pub(super) fn objection(&self, packet: &Packet, head: &[u8]) -> Option<Reason> {
        let elsewhere =
            |ports: Option<u8>| ports.is_some_and(|ports| ports >> packet.port.0 & 1 == 0);
        match (packet.network, packet.transport) {
            (Network::Arp, _) => self.arp(packet, head).err(),
            (Network::Ipv6, Transport::IcmpOther(icmp)) => match icmp.kind {
                v6::ROUTER_ADVERTISEMENT | v6::REDIRECT if elsewhere(self.routers) => {
                    Some(Reason::RouterGuard)
                }
                v6::ROUTER_SOLICITATION..=v6::REDIRECT if self.guard_neighbours() => {
                    self.neighbour_discovery(packet, icmp.kind, head).err()
                }
                _ => None,
            },
            (Network::Ipv4, Transport::IcmpOther(icmp)) => {
                let routers = matches!(icmp.kind, v4::REDIRECT | v4::ROUTER_ADVERTISEMENT);
                (routers && elsewhere(self.routers)).then_some(Reason::RouterGuard)
            }
            (network, Transport::Udp) => {
                let client = if network == Network::Ipv6 { DHCP6_CLIENT } else { DHCP_CLIENT };
                (packet.destination_port == client && elsewhere(self.dhcp_servers))
                    .then_some(Reason::DhcpGuard)
            }
            _ => None,
        }
    }

    /// The sender claims its address; a probe (RFC 5227, 2.1.1), which has none yet, the target.
    fn arp(&self, packet: &Packet, head: &[u8]) -> Result<(), Reason> {
        let probes = packet.source == Address::v4([0; 4]);
        let claimed = if probes { packet.destination } else { packet.source };
        self.neighbours[0].check(claimed, packet)?;
        let at = usize::from(packet.network_offset) + SENDER_MAC;
        if self.mac_check && head.get(at..at + 6) != head.get(6..12) {
            return Err(Reason::NeighbourMac);
        }
        Ok(())
    }

    /// The source claims its address; a solicitation without one (RFC 4862, 5.4.2) and an
    /// advertisement claim the target.
    fn neighbour_discovery(&self, packet: &Packet, kind: u8, head: &[u8]) -> Result<(), Reason> {
        let [_, bindings] = &self.neighbours;
        let unspecified = packet.source == Address(0);
        if !unspecified {
            bindings.check(packet.source, packet)?;
        }
        let at = usize::from(packet.transport_offset);
        // What follows the IP packet is padding.
        let end = at + ICMP_HEADER + packet.payload as usize;
        if end > head.len() {
            return Err(Reason::SplitHeader);
        }
        let message = &head[at..end];
        if kind == v6::NEIGHBOUR_ADVERTISEMENT || kind == v6::NEIGHBOUR_SOLICITATION && unspecified
        {
            let target = message.get(TARGET..).and_then(<[u8]>::first_chunk);
            bindings.check(Address::v6(*target.ok_or(Reason::TruncatedIcmp)?), packet)?;
        }
        let (options, wanted) = match kind {
            v6::ROUTER_SOLICITATION => (8, SOURCE_LINK_ADDRESS),
            v6::ROUTER_ADVERTISEMENT => (16, SOURCE_LINK_ADDRESS),
            v6::NEIGHBOUR_SOLICITATION => (24, SOURCE_LINK_ADDRESS),
            v6::NEIGHBOUR_ADVERTISEMENT => (24, TARGET_LINK_ADDRESS),
            // A redirect tells the address of another.
            _ => return Ok(()),
        };
        let told = message.get(options..).ok_or(Reason::TruncatedIcmp)?;
        if self.mac_check && !link_addresses_are(told, wanted, head.get(6..12).unwrap_or_default())
        {
            return Err(Reason::NeighbourMac);
        }
        Ok(())
    }
}

/// Where the hardware address of the sender stands in an ARP packet (RFC 826).
const SENDER_MAC: usize = 8;

/// Whether all options of that kind hold that hardware address. An option that cannot be read spoils
/// the message (RFC 4861, 6.1 and 7.1).
fn link_addresses_are(mut options: &[u8], kind: u8, mac: &[u8]) -> bool {
    while let [its, units, ..] = *options {
        let length = usize::from(units) * 8;
        let Some(value) = options.get(2..length) else { return false };
        if its == kind && value != mac {
            return false;
        }
        options = &options[length..];
    }
    options.is_empty()
}

/// Which port the addresses of one family are bound to: disjoint ranges in order, made of prefixes of
/// which the longest counts.
#[derive(Debug)]
struct Bindings(Vec<Binding>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Binding {
    low: u128,
    high: u128,
    /// A bit for each port.
    ports: u8,
}

impl Bindings {
    fn new(guards: &[NeighbourGuard], v4: bool, ports: &PortNames) -> Self {
        let nets = guards.iter().flat_map(|guard| {
            let ports = ports.mask(&guard.port);
            guard.nets.iter().filter(move |net| net.addr().is_ipv4() == v4).map(move |net| {
                Binding {
                    low: Address::from(net.network()).0,
                    high: Address::from(net.broadcast()).0,
                    ports,
                }
            })
        });
        Self(disjoint(nets.collect()))
    }

    fn check(&self, address: Address, packet: &Packet) -> Result<(), Reason> {
        let after = self.0.partition_point(|binding| binding.low <= address.0);
        let bound = after.checked_sub(1).map(|at| self.0[at]);
        match bound.filter(|binding| address.0 <= binding.high) {
            Some(binding) if binding.ports >> packet.port.0 & 1 == 0 => Err(Reason::NeighbourGuard),
            _ => Ok(()),
        }
    }
}

/// Cuts prefixes, which hold each other or have nothing in common, into ranges of which each has
/// the ports of the innermost. Equal prefixes share theirs.
fn disjoint(mut nets: Vec<Binding>) -> Vec<Binding> {
    nets.sort_by_key(|net| (net.low, std::cmp::Reverse(net.high)));
    nets.dedup_by(|next, kept| {
        let equal = (next.low, next.high) == (kept.low, kept.high);
        if equal {
            kept.ports |= next.ports;
        }
        equal
    });
    let mut ranges = Vec::with_capacity(nets.len());
    // Prefixes around the place that has been reached, the innermost last, and that place.
    let mut around: Vec<Binding> = Vec::new();
    let mut at = Some(0);
    let mut close = |around: &mut Vec<Binding>, at: &mut Option<u128>, before: Option<u128>| {
        while let Some(&inner) = around.last()
            && before.is_none_or(|before| inner.high < before)
        {
            if let Some(low) = at.filter(|&low| low <= inner.high) {
                ranges.push(Binding { low, ..inner });
            }
            *at = inner.high.checked_add(1);
            around.pop();
        }
        if let (Some(inner), Some(low), Some(before)) = (around.last(), *at, before)
            && low < before
        {
            ranges.push(Binding { low, high: before - 1, ..*inner });
        }
    };
    for net in nets {
        close(&mut around, &mut at, Some(net.low));
        at = Some(net.low);
        around.push(net);
    }
    close(&mut around, &mut at, None);
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(low: u128, high: u128, ports: u8) -> Binding {
        Binding { low, high, ports }
    }

    #[test]
    fn the_innermost_prefix_counts() {
        let nets = vec![net(0, 15, 1), net(4, 7, 2), net(6, 6, 4), net(4, 7, 8), net(32, 35, 1)];
        let wanted = [
            net(0, 3, 1),
            net(4, 5, 10),
            net(6, 6, 4),
            net(7, 7, 10),
            net(8, 15, 1),
            net(32, 35, 1),
        ];
        assert_eq!(disjoint(nets), wanted);
        assert_eq!(
            disjoint(vec![net(0, u128::MAX, 1), net(u128::MAX, u128::MAX, 2)]),
            [net(0, u128::MAX - 1, 1), net(u128::MAX, u128::MAX, 2)]
        );
        assert_eq!(
            disjoint(vec![net(8, 15, 1), net(8, 11, 2), net(12, 15, 4)]),
            [net(8, 11, 2), net(12, 15, 4)]
        );
        assert_eq!(disjoint(Vec::new()), []);
    }

    /// Against the definition, over all prefixes of six bits.
    #[test]
    fn ranges_say_what_the_longest_prefix_says() {
        let mut seed = 7_u64;
        let mut below = |bound: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % bound
        };
        for _ in 0..2000 {
            let nets: Vec<_> = (0..below(8))
                .map(|_| {
                    let size = 1 << below(7);
                    let low = below(64) / size * size;
                    net(low.into(), (low + size - 1).into(), 1 << below(4))
                })
                .collect();
            let ranges = disjoint(nets.clone());
            assert!(ranges.windows(2).all(|pair| pair[0].high < pair[1].low), "{nets:?}");
            for address in 0..64 {
                let holding = |net: &&Binding| net.low <= address && address <= net.high;
                let size = nets.iter().filter(holding).map(|net| net.high - net.low).min();
                let wanted = size.map(|size| {
                    let longest = nets.iter().filter(holding).filter(|n| n.high - n.low == size);
                    longest.fold(0, |ports, net| ports | net.ports)
                });
                let found = ranges.iter().find(holding).map(|range| range.ports);
                assert_eq!(found, wanted, "{address} in {nets:?}");
            }
        }
    }

    #[test]
    fn link_addresses_are_read_to_the_end() {
        let mac = [2, 0, 0, 0, 0, 7];
        let told = |options: &[u8]| link_addresses_are(options, SOURCE_LINK_ADDRESS, &mac);
        assert!(told(&[]));
        assert!(told(&[1, 1, 2, 0, 0, 0, 0, 7]));
        assert!(told(&[5, 1, 0, 0, 0, 0, 5, 220, 1, 1, 2, 0, 0, 0, 0, 7]));
        assert!(!told(&[5, 1, 0, 0, 0, 0, 5, 220, 1, 1, 2, 0, 0, 0, 0, 8]));
        assert!(!told(&[1, 1, 2, 0, 0, 0, 0, 7, 1, 1, 2, 0, 0, 0, 0, 9]));
        assert!(told(&[2, 1, 2, 0, 0, 0, 0, 9]), "the other kind");
        assert!(!told(&[5, 0, 0, 0, 0, 0, 5, 220]), "length zero");
        assert!(!told(&[5, 2, 0, 0, 0, 0, 5, 220]), "longer than the message");
        assert!(!told(&[5]), "half an option");
    }
}
