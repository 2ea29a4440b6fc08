//! The names that rules may use for numbers: services, protocols, ethertypes, ICMP types and codes.
//! Tables in the crate, so that a rule file means the same everywhere and nothing is opened.

mod ethertypes;
mod icmp;
mod protocols;
mod services;
mod tos;

pub use ethertypes::ethertype_by_name;
pub use icmp::{code_by_name, code_name, type_by_name, type_name};
pub use protocols::{protocol_by_name, protocol_name};
pub use tos::tos_by_name;

/// IP protocol number of ICMP.
pub const ICMP: u8 = 1;
/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;
/// IP protocol number of `ICMPv6`.
pub const ICMP6: u8 = 58;

/// The port of a service, as `getservbyname(3)` gives it for TCP, else for UDP.
pub fn service_by_name(name: &str) -> Option<u16> {
    services::SERVICES
        .binary_search_by_key(&name, |&(known, _)| known)
        .ok()
        .map(|at| services::SERVICES[at].1)
}

/// Every service name, for near misses.
pub(crate) fn service_names() -> impl Iterator<Item = &'static str> {
    services::SERVICES.iter().map(|&(name, _)| name)
}

/// Every protocol name, for near misses.
pub(crate) fn protocol_names() -> impl Iterator<Item = &'static str> {
    protocols::names()
}

/// Every name of an ethertype, for near misses.
pub(crate) fn ethertype_names() -> impl Iterator<Item = &'static str> {
    ethertypes::names()
}

/// The protocol as listings show it: its name, else its number.
pub fn protocol_text(number: u8) -> String {
    protocol_name(number).map_or_else(|| number.to_string(), str::to_owned)
}

/// Every name of a type of service, for near misses.
pub(crate) use tos::names as tos_names;

/// Every type or code name of a family, for near misses.
pub(crate) use icmp::{code_names, type_names};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_sorted_and_distinct() {
        assert!(services::SERVICES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(service_by_name("www"), Some(80));
        assert_eq!(service_by_name("bootps"), Some(67));
        assert_eq!(service_by_name("nonsense"), None);
    }

    #[test]
    fn a_protocol_name_leads_back_to_its_number() {
        for number in 0..=255 {
            if let Some(name) = protocol_name(number) {
                assert_eq!(protocol_by_name(name), Some(number), "{name}");
            }
        }
        assert_eq!(protocol_by_name("icmp6"), Some(ICMP6));
        assert_eq!(protocol_name(ICMP6), Some("ipv6-icmp"));
        assert_eq!(protocol_name(103), Some("pim"));
        assert_eq!(protocol_name(166), None);
    }

    #[test]
    fn types_of_service_are_the_octets_of_their_rfcs() {
        // RFC 2474 and 2597: class and drop precedence in the upper six bits. RFC 3246: 101110.
        for class in 1..=4 {
            for precedence in 1..=3 {
                let name = format!("af{class}{precedence}");
                assert_eq!(tos_by_name(&name), Some((class << 3 | precedence << 1) << 2), "{name}");
            }
        }
        for class in 0..=7 {
            assert_eq!(tos_by_name(&format!("cs{class}")), Some(class << 5));
        }
        assert_eq!(tos_by_name("ef"), Some(0b1011_1000));
        // RFC 791.
        assert_eq!(tos_by_name("lowdelay"), Some(0x10));
        assert_eq!(tos_by_name("critical"), Some(0xa0));
        assert_eq!(tos_by_name("nonsense"), None);
    }

    #[test]
    fn an_icmp_name_leads_back_to_its_number() {
        use crate::rules::Family::{Inet, Inet6};
        for family in [Inet, Inet6] {
            for kind in 0..=255 {
                if let Some(name) = type_name(family, kind) {
                    assert_eq!(type_by_name(family, name), Some(kind), "{name}");
                }
                for code in 0..=255 {
                    if let Some(name) = code_name(family, kind, code) {
                        assert_eq!(code_by_name(family, kind, name), Some(code), "{name}");
                    }
                }
            }
        }
        assert_eq!(type_name(Inet6, 130), Some("groupqry"));
        assert_eq!(code_by_name(Inet6, 1, "beyond-unr"), Some(2));
    }
}
