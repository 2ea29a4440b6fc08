//! `[management]` and `[clock]`: how weir itself is reached, apart from what it forwards, and whom it
//! asks what time it is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::NicName;
use super::nic_name::mac;
use super::reader::Reader;
use crate::parse::nearest;

/// The most addresses that the management port can be given.
pub const MAX_ADDRESSES: usize = 16;

/// The most gateways.
pub const MAX_GATEWAYS: usize = 4;

/// The most NTP servers.
pub const MAX_NTP: usize = 8;

/// The largest VLAN id (IEEE 802.1Q; 4095 is reserved).
const MAX_VLAN: u32 = 4094;

/// `[management]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Management {
    /// `namespace`: the network namespace (`/run/netns/NAME`) in which log servers, the flow collector
    /// and clients of the metrics are; the daemon's own if there is none.
    pub namespace: Option<String>,
    /// `nic`: the interface that is moved there.
    pub nic: Option<NicName>,
    /// `inband`: whether the bridge has a third port there instead.
    pub inband: bool,
    /// `inband_tag`: the VLAN that it is in, 1 to 4094; untagged if there is none.
    pub inband_tag: Option<u16>,
    /// `inband_mac`: its hardware address; one that weir makes up and keeps if there is none.
    pub inband_mac: Option<[u8; 6]>,
    /// `addresses`: what the interface there is given.
    pub addresses: Vec<ManagementAddress>,
    /// `gateways`: where it sends what is not on its networks.
    pub gateways: Vec<IpAddr>,
}

impl Default for Management {
    fn default() -> Self {
        Self {
            namespace: None,
            nic: None,
            inband: false,
            inband_tag: None,
            inband_mac: None,
            addresses: vec![ManagementAddress::Dhcp],
            gateways: Vec::new(),
        }
    }
}

/// Where an address of the management port comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagementAddress {
    /// DHCP for IPv4 (RFC 2131).
    Dhcp,
    /// Stateless autoconfiguration for IPv6 (RFC 4862).
    Slaac,
    /// This one, with the length of its network's prefix.
    Fixed(IpNet),
}

impl FromStr for ManagementAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "dhcp" => return Ok(Self::Dhcp),
            "slaac" => return Ok(Self::Slaac),
            _ => {}
        }
        let Ok(net) = text.parse::<IpNet>() else {
            let near = nearest(text, ["dhcp", "slaac"].into_iter());
            let hint = near.map_or(String::new(), |near| format!(", did you mean \"{near}\"?"));
            return Err(format!(
                "`{}` is neither \"dhcp\", \"slaac\" nor an address with the length of its prefix, as \
                 in \"192.0.2.10/24\"{hint}",
                text.escape_debug()
            ));
        };
        host(net.addr())?;
        // RFC 3021: with 31 bits both are hosts.
        if let IpNet::V4(net) = net
            && net.prefix_len() < 31
        {
            if net.addr() == net.network() {
                return Err(format!("`{net}` is the network, not an address in it"));
            }
            if net.addr() == net.broadcast() {
                return Err(format!("`{net}` is the broadcast address of its network"));
            }
        }
        Ok(Self::Fixed(net))
    }
}

impl fmt::Display for ManagementAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dhcp => f.write_str("dhcp"),
            Self::Slaac => f.write_str("slaac"),
            Self::Fixed(net) => net.fmt(f),
        }
    }
}

/// Whether it can be the address of a host on a network.
fn host(address: IpAddr) -> Result<IpAddr, String> {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast {
        return Err(format!("`{address}` is no address of a host"));
    }
    Ok(address)
}

/// `[clock]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// `ntp`: NTP servers, asked from the management namespace; the clock is left alone if there is
    /// none.
    pub ntp: Vec<IpAddr>,
}

impl Reader<'_> {
    /// A key of `[management]`.
    pub(super) fn management(&mut self, name: &str, value: &Spanned<DeValue<'_>>) {
        match name {
            "namespace" => {
                let Some(text) = self.string(name, value) else { return };
                if !text.is_empty() && !is_namespace(text) {
                    let message =
                        "`namespace` must be a name in /run/netns, as `ip netns` lists them";
                    self.error(&value.span(), message.into());
                    return;
                }
                self.settings.management.namespace = (!text.is_empty()).then(|| text.to_owned());
            }
            "nic" => {
                self.settings.management.nic = match value.get_ref().as_str() {
                    Some("none") => None,
                    _ => self.nic(name, value),
                };
            }
            "inband" => {
                if let Some(on) = self.boolean(name, value) {
                    self.settings.management.inband = on;
                }
            }
            "inband_tag" => {
                if let Some(tag) = self.integer(name, value, 0, MAX_VLAN) {
                    self.settings.management.inband_tag = (tag != 0).then_some(tag as u16);
                }
            }
            "inband_mac" => {
                let Some(text) = self.string(name, value) else { return };
                let address = mac(text);
                match address {
                    _ if text == "auto" => self.settings.management.inband_mac = None,
                    // IEEE 802, 8.2.2: the lowest bit of the first byte says that it is a group's.
                    Some([first, ..]) if first & 1 == 0 && address != Some([0; 6]) => {
                        self.settings.management.inband_mac = address;
                    }
                    _ => {
                        let message = "`inband_mac` must be \"auto\" or the hardware address of a \
                                       single host, as in \"02:00:5e:10:00:01\"";
                        self.error(&value.span(), message.into());
                    }
                }
            }
            "addresses" => {
                let example = "\"dhcp\", \"slaac\" or addresses, as in [\"192.0.2.10/24\"]";
                if let Some(list) = self.list(name, example, MAX_ADDRESSES, value, str::parse) {
                    self.settings.management.addresses = list;
                }
            }
            _ => {
                if let Some(list) = self.hosts(name, MAX_GATEWAYS, value) {
                    self.settings.management.gateways = list;
                }
            }
        }
    }

    /// A key of `[clock]`.
    pub(super) fn clock(&mut self, name: &str, value: &Spanned<DeValue<'_>>) {
        if let Some(list) = self.hosts(name, MAX_NTP, value) {
            self.settings.clock.ntp = list;
        }
    }

    /// What keys of `[management]` and `[ports]` say of each other.
    pub(super) fn management_agrees(&mut self, table: &DeTable<'_>) {
        let Some(section) = table.get("management") else { return };
        let management = &self.settings.management;
        let key = |name: &str| {
            let keys = section.get_ref().as_table();
            let found = keys.and_then(|keys| keys.get_key_value(name));
            found.map_or_else(|| section.span(), |(key, _)| key.span())
        };
        let ports = [("lan", &self.settings.ports.lan), ("wan", &self.settings.ports.wan)];
        let mut found = Vec::new();
        if let Some(nic) = &management.nic {
            if let Some((role, _)) = ports.iter().find(|(_, port)| port.as_ref() == Some(nic)) {
                found.push(("nic", format!("`nic` and `{role}` are both `{nic}`")));
            }
            if management.inband {
                let message = "`nic` and `inband`: there is one management port".to_owned();
                found.push(("inband", message));
            }
        }
        for (name, is_set) in [("nic", management.nic.is_some()), ("inband", management.inband)] {
            if is_set && management.namespace.is_none() {
                found.push((name, format!("`{name}` needs `namespace`")));
            }
        }
        if management.inband {
            let message = "`inband`: the in-band management port is not built yet: give `nic`";
            found.push(("inband", message.to_owned()));
        }
        for (name, message) in found {
            self.error(&key(name), message);
        }
    }

    /// A list of hosts' addresses.
    fn hosts(
        &mut self,
        name: &str,
        most: usize,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Vec<IpAddr>> {
        self.list(name, "addresses, as in [\"192.0.2.1\"]", most, value, |text| {
            let address = text.parse();
            let none = |_| format!("`{}` is no address, as in \"192.0.2.1\"", text.escape_debug());
            host(address.map_err(none)?)
        })
    }

    /// A list of at most so many different things that are written as strings; all that is wrong with
    /// it is reported.
    fn list<T: PartialEq>(
        &mut self,
        name: &str,
        example: &str,
        most: usize,
        value: &Spanned<DeValue<'_>>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let items = value.get_ref().as_array().filter(|items| items.len() <= most);
        let Some(items) = items else {
            self.error(
                &value.span(),
                format!("`{name}` must be a list of {example}, {most} at most"),
            );
            return None;
        };
        let mut list = Vec::new();
        for item in items {
            let text = item.get_ref().as_str();
            match text.ok_or_else(|| "it must be a string".to_owned()).and_then(&read) {
                Ok(one) if list.contains(&one) => {
                    self.error(&item.span(), format!("`{name}`: it is in the list already"));
                }
                Ok(one) => list.push(one),
                Err(message) => self.error(&item.span(), format!("`{name}`: {message}")),
            }
        }
        (list.len() == items.len()).then_some(list)
    }
}

/// Whether it can be the name of a file in `/run/netns`.
fn is_namespace(name: &str) -> bool {
    name.len() <= 255
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Settings, parse};
    use crate::source::SourceFile;

    fn read(text: &str) -> Result<Settings, String> {
        parse(&SourceFile::new("f", text)).map_err(|found| found.to_string())
    }

    #[test]
    fn everything_can_be_set() {
        let settings = read(
            "[management]\nnamespace = \"management\"\nnic = \"mac:02:00:00:00:00:07\"\ninband = \
             false\ninband_tag = 4094\ninband_mac = \"02-00-5e-10-00-01\"\naddresses = [\"dhcp\", \
             \"slaac\", \"192.0.2.10/24\", \"2001:db8::10/64\", \"198.51.100.0/31\"]\ngateways = \
             [\"192.0.2.1\", \"fe80::1\"]\n[clock]\nntp = [\"192.0.2.123\"]\n",
        )
        .expect("valid");
        let fixed = |text: &str| ManagementAddress::Fixed(text.parse().expect("a prefix"));
        let management = Management {
            namespace: Some("management".into()),
            nic: Some(NicName::Mac([2, 0, 0, 0, 0, 7])),
            inband: false,
            inband_tag: Some(4094),
            inband_mac: Some([2, 0, 0x5e, 0x10, 0, 1]),
            addresses: vec![
                ManagementAddress::Dhcp,
                ManagementAddress::Slaac,
                fixed("192.0.2.10/24"),
                fixed("2001:db8::10/64"),
                fixed("198.51.100.0/31"),
            ],
            gateways: ["192.0.2.1", "fe80::1"].map(|text| text.parse().expect("an address")).into(),
        };
        for address in &management.addresses {
            assert_eq!(address.to_string().parse().as_ref(), Ok(address));
        }
        assert_eq!(settings.management, management);
        assert_eq!(settings.clock.ntp, ["192.0.2.123".parse::<IpAddr>().expect("an address")]);
        let plain = "[management]\nnamespace = \"\"\nnic = \"none\"\ninband_tag = 0\ninband_mac = \
                     \"auto\"\n";
        assert_eq!(read(plain), Ok(Settings::default()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, message) in [
            ("namespace = \"a/b\"", "2:13: `namespace` must be a name in /run/netns"),
            ("namespace = \"..\"", "2:13: `namespace` must be a name in /run/netns"),
            ("nic = \"a b\"", "2:7: `a b` is no name of an interface"),
            ("nic = 1", "2:7: `nic` must be a string, not integer"),
            ("nic = \"eth2\"", "2:1: `nic` needs `namespace`"),
            ("inband = \"yes\"", "2:10: `inband` must be true or false"),
            ("inband_tag = 4095", "2:14: `inband_tag` must be a number from 0 to 4094"),
            ("inband_mac = \"01:00:5e:00:00:01\"", "2:14: `inband_mac` must be \"auto\" or the"),
            ("inband_mac = \"00:00:00:00:00:00\"", "2:14: `inband_mac` must be \"auto\" or the"),
            ("inband_mac = \"mac\"", "2:14: `inband_mac` must be \"auto\" or the"),
            ("addresses = \"dhcp\"", "2:13: `addresses` must be a list of \"dhcp\", \"slaac\" or"),
            (
                "addresses = [\"dhpc\"]",
                "2:14: `addresses`: `dhpc` is neither \"dhcp\", \"slaac\" nor an address with the \
                 length of its prefix, as in \"192.0.2.10/24\", did you mean \"dhcp\"?",
            ),
            ("addresses = [\"192.0.2.10\"]", "2:14: `addresses`: `192.0.2.10` is neither"),
            (
                "addresses = [\"192.0.2.0/24\"]",
                "2:14: `addresses`: `192.0.2.0/24` is the network, not an address in it",
            ),
            (
                "addresses = [\"192.0.2.255/24\"]",
                "2:14: `addresses`: `192.0.2.255/24` is the broadcast address of its network",
            ),
            (
                "addresses = [\"ff02::1/64\"]",
                "2:14: `addresses`: `ff02::1` is no address of a host",
            ),
            ("addresses = [\"dhcp\", \"dhcp\"]", "2:22: `addresses`: it is in the list already"),
            ("gateways = [\"gw\"]", "2:13: `gateways`: `gw` is no address, as in \"192.0.2.1\""),
            ("gateways = [1]", "2:13: `gateways`: it must be a string"),
            ("gateway = []", "2:1: unknown key `gateway`, did you mean `gateways`?"),
            ("ntp = []", "2:1: `ntp` belongs to the section [clock]"),
        ] {
            let found = read(&format!("[management]\n{text}\n")).expect_err(text);
            assert!(found.starts_with(&format!("f:{message}")), "{text}: {found}");
            assert_eq!(found.lines().count(), 1, "{found}");
        }
        let many = ["\"192.0.2.1\""; MAX_NTP + 1].join(", ");
        let found = read(&format!("[clock]\nntp = [{many}]\n")).expect_err("too many");
        assert!(found.starts_with("f:2:7: `ntp` must be a list of addresses"), "{found}");
        let found = read("[managment]\n").expect_err("misspelt");
        assert!(found.contains("did you mean `management`?"), "{found}");
    }

    #[test]
    fn the_management_port_is_one_and_no_port_of_the_bridge() {
        let found = read(
            "[management]\nnamespace = \"m\"\nnic = \"eth0\"\n[ports]\nlan = \"eth1\"\nwan = \"eth0\"\n",
        );
        assert_eq!(found, Err("f:3:1: `nic` and `wan` are both `eth0`\n".into()));
        let found = read("[management]\nnamespace = \"m\"\nnic = \"eth2\"\ninband = true\n");
        assert!(found.expect_err("two").contains("f:4:1: `nic` and `inband`: there is one"));
    }
}
