//! `urpf-failed` on a bridge: the settings file says which prefixes are on which port, and a source
//! address belongs to the port with the longest prefix that holds it (RFC 3704, 2.2).

use super::names::PortNames;
use crate::packet::Address;

/// The prefixes of all ports, longest first.
#[derive(Debug, Default)]
pub(crate) struct ReversePath {
    prefixes: Vec<Prefix>,
}

#[derive(Debug)]
struct Prefix {
    first: u128,
    last: u128,
    /// The ports it is on, as bits.
    ports: u8,
}

impl ReversePath {
    /// Of these ports.
    pub(crate) fn new(ports: &PortNames) -> Self {
        let mut all: Vec<Prefix> = Vec::new();
        for (i, port) in ports.0.iter().enumerate() {
            for net in &port.prefixes {
                let [first, last] = [net.network(), net.broadcast()].map(|ip| Address::from(ip).0);
                match all.iter_mut().find(|known| (known.first, known.last) == (first, last)) {
                    Some(known) => known.ports |= 1 << i,
                    None => all.push(Prefix { first, last, ports: 1 << i }),
                }
            }
        }
        all.sort_by_key(|prefix| prefix.last - prefix.first);
        Self { prefixes: all }
    }

    /// Whether a source that came in by one of these ports should not have.
    pub(crate) fn fails(&self, source: u128, arrived: u8) -> bool {
        let holds = |prefix: &&Prefix| prefix.first <= source && source <= prefix.last;
        self.prefixes.iter().find(holds).is_none_or(|prefix| prefix.ports & arrived == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::names::PortName;

    #[test]
    fn the_longest_prefix_says_where_an_address_lives() {
        let port = |role: &str, nets: &[&str]| PortName {
            role: role.into(),
            interface: role.into(),
            prefixes: nets.iter().map(|net| net.parse().expect("a prefix")).collect(),
        };
        let path = ReversePath::new(&PortNames(vec![
            port("lan", &["192.0.2.0/24"]),
            port("wan", &["0.0.0.0/0", "192.0.2.128/25"]),
        ]));
        let fails = |ip: &str, port: u8| {
            path.fails(
                Address::from(ip.parse::<std::net::IpAddr>().expect("an address")).0,
                1 << port,
            )
        };
        assert!(!fails("192.0.2.1", 0) && fails("192.0.2.1", 1));
        assert!(fails("192.0.2.200", 0) && !fails("192.0.2.200", 1));
        assert!(!fails("203.0.113.1", 1) && fails("203.0.113.1", 0));
        // No prefix holds it: no port should send it.
        assert!(fails("2001:db8::1", 0) && fails("2001:db8::1", 1));
    }
}
