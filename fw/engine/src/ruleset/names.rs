//! What rules may call the ports.

use ipnet::IpNet;

use crate::frame::PortIndex;

/// What the rules may call a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortName {
    /// The role: `lan` or `wan`.
    pub role: String,
    /// The network interface.
    pub interface: String,
    /// The networks behind it, for `urpf-failed`.
    pub prefixes: Vec<IpNet>,
}

/// The names of all ports, by [`PortIndex`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortNames(pub Vec<PortName>);

impl PortNames {
    /// Index of the first port of that name.
    pub fn named(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|port| port.role == name || port.interface == name)
    }

    /// The ports that a rule's `on` means, as a bit mask; none for a name that no port has.
    pub fn mask(&self, name: &str) -> u8 {
        self.0
            .iter()
            .enumerate()
            .filter(|(_, port)| port.role == name || port.interface == name)
            .fold(0, |mask, (i, _)| mask | 1 << i)
    }

    /// Every port.
    pub(crate) fn all(&self) -> u8 {
        (0..self.0.len()).fold(0, |mask, i| mask | 1 << i)
    }

    /// The role of a port, or `?`.
    pub fn role(&self, port: PortIndex) -> &str {
        self.0.get(usize::from(port.0)).map_or("?", |port| &port.role)
    }
}
