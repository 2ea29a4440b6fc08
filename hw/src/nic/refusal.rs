//! Why an interface must not become a port.

use std::fmt;
use std::io;

/// Why an interface must not become a port.
#[derive(Debug)]
pub struct Refusal {
    /// Name of the interface.
    pub interface: String,
    /// What is the matter.
    pub cause: Cause,
}

/// The causes of a [`Refusal`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Cause {
    /// There is no interface of that name.
    Missing,
    /// It is the loopback interface.
    Loopback,
    /// It does not carry Ethernet frames.
    NotEthernet,
    /// It is a bridge, bond or team itself, or a VLAN or the like on another interface: its kind.
    Virtual(String),
    /// It belongs to the bridge, bond or team of this name.
    Master(String),
    /// The interface of this name (a VLAN, a macvlan ...) is built on it.
    Carries(String),
    /// It has this address, written with its prefix length.
    Address(String),
    /// The host forwards packets: this setting is 1.
    Forwards(String),
    /// Both ports are this interface.
    Same,
    /// It is of the same netmap pipe as the port of this name.
    Pipe(String),
    /// Both ports belong to the VALE switch of this name.
    Switch(String),
    /// Another weir has it.
    Taken,
    /// This step failed.
    Failed(&'static str, io::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.interface)?;
        match &self.cause {
            Cause::Missing => f.write_str("no such interface"),
            Cause::Loopback => f.write_str("the loopback interface cannot be a port"),
            Cause::NotEthernet => f.write_str("not an Ethernet interface"),
            Cause::Virtual(kind) => write!(f, "a {kind} interface cannot be a port"),
            Cause::Master(name) => write!(
                f,
                "belongs to {name}, which would forward its frames past the firewall; \
                 take it out with: ip link set {} nomaster",
                self.interface
            ),
            Cause::Carries(name) => write!(
                f,
                "{name} is built on it and would receive its frames past the firewall; \
                 remove that first"
            ),
            Cause::Address(address) => write!(
                f,
                "has the address {address}; a port of the bridge has none, or this host could be \
                 reached past the firewall; remove it with: ip addr del {address} dev {}",
                self.interface
            ),
            Cause::Forwards(setting) => write!(
                f,
                "this host forwards packets ({setting} = 1) and could route around the firewall; \
                 switch it off with: sysctl -w {setting}=0"
            ),
            Cause::Same => f.write_str("both ports are the same interface"),
            Cause::Pipe(other) => write!(
                f,
                "is of the same pipe as {other}: what leaves by one port would come in by the other"
            ),
            Cause::Switch(switch) => write!(
                f,
                "both ports belong to the switch {switch}, which forwards between them past the \
                 firewall; give each port a switch of its own"
            ),
            Cause::Taken => f.write_str("another weir has this port"),
            Cause::Failed(step, error) => write!(f, "cannot {step}: {error}"),
        }
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Failed(_, error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_the_way_out() {
        let refusal = Refusal {
            interface: "eth1".into(),
            cause: Cause::Forwards("net.ipv4.ip_forward".into()),
        };
        let text = refusal.to_string();
        assert!(text.starts_with("eth1: "), "{text}");
        assert!(text.contains("sysctl -w net.ipv4.ip_forward=0"), "{text}");
    }
}
