//! Ethertypes (IANA, IEEE Registration Authority).

/// Name and number, in the order of the numbers; of two names for a number the first is the usual.
const ETHERTYPES: &[(&str, u16)] = &[
    ("ip", 0x0800),
    ("ip4", 0x0800),
    ("ipv4", 0x0800),
    ("inet", 0x0800),
    ("arp", 0x0806),
    ("wol", 0x0842),
    ("rarp", 0x8035),
    ("appletalk", 0x809b),
    ("aarp", 0x80f3),
    ("ipx", 0x8137),
    ("ip6", 0x86dd),
    ("ipv6", 0x86dd),
    ("inet6", 0x86dd),
    ("mac-control", 0x8808),
    ("slow", 0x8809),
    ("lacp", 0x8809),
    ("mpls", 0x8847),
    ("mpls-multicast", 0x8848),
    ("pppoe-discovery", 0x8863),
    ("pppoe-session", 0x8864),
    ("homeplug", 0x887b),
    ("eapol", 0x888e),
    ("profinet", 0x8892),
    ("aoe", 0x88a2),
    ("ethercat", 0x88a4),
    ("goose", 0x88b8),
    ("lldp", 0x88cc),
    ("homeplug-av", 0x88e1),
    ("mrp", 0x88e3),
    ("macsec", 0x88e5),
    ("mvrp", 0x88f5),
    ("mmrp", 0x88f6),
    ("ptp", 0x88f7),
    ("cfm", 0x8902),
    ("fcoe", 0x8906),
    ("roce", 0x8915),
    ("loopback", 0x9000),
];

/// The ethertype of that name.
pub fn ethertype_by_name(name: &str) -> Option<u16> {
    ETHERTYPES.iter().find(|&&(known, _)| known == name).map(|&(_, number)| number)
}

/// Every name, for near misses.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ETHERTYPES.iter().map(|&(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_numbers_are_types() {
        assert!(ETHERTYPES.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        for (i, &(name, number)) in ETHERTYPES.iter().enumerate() {
            assert!(number >= 0x600, "{name} is a length");
            assert!(ETHERTYPES[..i].iter().all(|&(before, _)| before != name), "{name}");
        }
        assert_eq!(ethertype_by_name("pppoe-session"), Some(0x8864));
        assert_eq!(ethertype_by_name("llc"), None);
    }
}
