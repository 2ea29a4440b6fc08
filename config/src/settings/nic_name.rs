//! How a network interface is named: by its name, which may change with the order in which drivers
//! load, or by what stays, its hardware address or its place on the PCI bus.

use std::fmt;
use std::str::FromStr;

/// A name of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NicName {
    /// As `ip link` lists it: `eth0`; or a port of netmap's own, a pipe `eth0{1` or one of a switch,
    /// `vale0:a`.
    Interface(String),
    /// Hardware address: `mac:52:54:00:12:34:56`, or without `mac:`.
    Mac([u8; 6]),
    /// Place on the PCI bus: `pci:0000:01:00.0`; the domain 0000 may be left out.
    Pci(String),
}

impl NicName {
    /// The name of the interface, if it is that.
    pub fn interface(&self) -> Option<&str> {
        match self {
            Self::Interface(name) => Some(name),
            Self::Mac(_) | Self::Pci(_) => None,
        }
    }
}

impl FromStr for NicName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("pci:") {
            return pci(path).map(Self::Pci).ok_or_else(|| {
                format!("`{}` is no PCI path, as in pci:0000:01:00.0", text.escape_debug())
            });
        }
        if let Some(address) = text.strip_prefix("mac:") {
            return mac(address).map(Self::Mac).ok_or_else(|| {
                format!("`{}` is no MAC, as in mac:52:54:00:12:34:56", text.escape_debug())
            });
        }
        if let Some(address) = mac(text) {
            return Ok(Self::Mac(address));
        }
        if is_interface(text) || is_vale(text) {
            return Ok(Self::Interface(text.to_owned()));
        }
        Err(format!("`{}` is no name of an interface", text.escape_debug()))
    }
}

impl fmt::Display for NicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(name) => f.write_str(name),
            Self::Pci(path) => write!(f, "pci:{path}"),
            Self::Mac(bytes) => {
                let bytes = bytes.map(|byte| format!("{byte:02x}"));
                write!(f, "mac:{}", bytes.join(":"))
            }
        }
    }
}

fn hex(text: &str, digits: usize) -> Option<u32> {
    let right = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    right.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

/// A hardware address.
pub(super) fn mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut bytes {
        *byte = hex(parts.next()?, 2)? as u8;
    }
    parts.next().is_none().then_some(bytes)
}

/// Domain, bus, device, function, as the kernel writes them.
fn pci(text: &str) -> Option<String> {
    let (front, function) = text.split_once('.')?;
    let parts: Vec<&str> = front.split(':').collect();
    let (domain, bus, device) = match parts[..] {
        [domain, bus, device] => (domain, bus, device),
        [bus, device] => ("0000", bus, device),
        _ => return None,
    };
    let [domain, bus] = [hex(domain, 4)?, hex(bus, 2)?];
    let device = hex(device, 2).filter(|&device| device < 32)?;
    let function = hex(function, 1).filter(|&function| function < 8)?;
    Some(format!("{domain:04x}:{bus:02x}:{device:02x}.{function}"))
}

/// What Linux takes as the name of an interface (`dev_valid_name`).
fn is_interface(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= 15
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
}

/// Whether it is a name for a port of one of netmap's switches, as in `vale0:a`.
fn is_vale(name: &str) -> bool {
    name.strip_prefix("vale").and_then(|rest| rest.split_once(':')).is_some_and(|(switch, port)| {
        name.len() <= 15
            && switch.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && is_interface(port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_kinds_of_names_are_read_and_written() {
        for (typed, kind, written) in [
            ("eth0", NicName::Interface("eth0".into()), "eth0"),
            ("eth0{1", NicName::Interface("eth0{1".into()), "eth0{1"),
            ("vale0:a", NicName::Interface("vale0:a".into()), "vale0:a"),
            (
                "52-54-00-aB-34-56",
                NicName::Mac([0x52, 0x54, 0, 0xab, 0x34, 0x56]),
                "mac:52:54:00:ab:34:56",
            ),
            (
                "mac:52:54:00:ab:34:56",
                NicName::Mac([0x52, 0x54, 0, 0xab, 0x34, 0x56]),
                "mac:52:54:00:ab:34:56",
            ),
            ("pci:0000:0A:1f.7", NicName::Pci("0000:0a:1f.7".into()), "pci:0000:0a:1f.7"),
            ("pci:01:00.0", NicName::Pci("0000:01:00.0".into()), "pci:0000:01:00.0"),
        ] {
            assert_eq!(typed.parse(), Ok(kind.clone()), "{typed}");
            assert_eq!(kind.to_string(), written);
            assert_eq!(written.parse(), Ok(kind));
        }
    }

    #[test]
    fn what_names_nothing_is_said() {
        for (text, said) in [
            ("", "`` is no name of an interface"),
            ("a b", "`a b` is no name of an interface"),
            ("eth0:1", "`eth0:1` is no name of an interface"),
            ("sixteen_letters_", "`sixteen_letters_` is no name of an interface"),
            ("52:54:00:12:34", "`52:54:00:12:34` is no name of an interface"),
            (
                "mac:52:54:00:12:34:5g",
                "`mac:52:54:00:12:34:5g` is no MAC, as in mac:52:54:00:12:34:56",
            ),
            ("pci:01:00", "`pci:01:00` is no PCI path, as in pci:0000:01:00.0"),
            ("pci:01:20.0", "`pci:01:20.0` is no PCI path, as in pci:0000:01:00.0"),
            ("pci:01:+1.0", "`pci:01:+1.0` is no PCI path, as in pci:0000:01:00.0"),
        ] {
            assert_eq!(text.parse::<NicName>(), Err(said.to_owned()));
        }
    }
}
