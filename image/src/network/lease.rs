//! What DHCP has given: written down by the script that udhcpc calls (`/usr/lib/weir/dhcp`), one line
//! each, `NAME value`.

use std::net::Ipv4Addr;

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) address: Ipv4Addr,
    /// Length of the network's prefix.
    pub(super) prefix: u8,
    pub(super) router: Option<Ipv4Addr>,
    /// How long it is good for, if the server told.
    pub(super) seconds: Option<u32>,
}

/// Reads it; `None` if there is none, or nothing that an interface could be given.
pub(super) fn read(text: &str) -> Option<Lease> {
    let value = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::trim)
    };
    let host = |address: &Ipv4Addr| {
        !(address.is_unspecified()
            || address.is_loopback()
            || address.is_multicast()
            || address.is_broadcast())
    };
    let address = value("address")?.parse().ok().filter(host)?;
    let prefix = value("mask")?.parse().ok().filter(|prefix| (1..=32).contains(prefix))?;
    Some(Lease {
        address,
        prefix,
        router: value("router").and_then(|text| text.parse().ok()).filter(host),
        seconds: value("seconds").and_then(|text| text.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_and_nonsense_is_none() {
        let text = "address 192.0.2.77\nmask 24\nrouter 192.0.2.1\nseconds 3600\n";
        let lease = Lease {
            address: "192.0.2.77".parse().unwrap(),
            prefix: 24,
            router: Some("192.0.2.1".parse().unwrap()),
            seconds: Some(3600),
        };
        assert_eq!(read(text), Some(lease.clone()));
        let bare = Lease { router: None, seconds: None, ..lease };
        assert_eq!(read("address 192.0.2.77\nmask 24\nrouter \nseconds \n"), Some(bare));
        for none in [
            "",
            "address \nmask 24\nrouter \nseconds \n",
            "address 0.0.0.0\nmask 24\n",
            "address 127.0.0.1\nmask 8\n",
            "address 224.0.0.1\nmask 24\n",
            "address 192.0.2.77\nmask 0\n",
            "address 192.0.2.77\nmask 33\n",
            "address 192.0.2.77\n",
            "address x\nmask 24\n",
        ] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
