//! Reasons against an interface, found without changing anything.

use std::fs;
use std::path::PathBuf;

use super::link::{Link, Netlink};
use super::{Cause, Notice};

/// Kinds of interface that get their frames from one that forwards past us, or that forward
/// themselves.
const VIRTUAL: [&str; 8] =
    ["bridge", "bond", "team", "vlan", "macvlan", "macvtap", "ipvlan", "macsec"];

/// Looks for reasons against an interface without changing anything.
pub(super) fn examine(netlink: &mut Netlink, name: &str) -> Result<(Link, Vec<Notice>), Cause> {
    let links = netlink.links().map_err(|error| Cause::Failed("list interfaces", error))?;
    let link = links.iter().find(|link| link.name == name).ok_or(Cause::Missing)?;
    if link.loopback {
        return Err(Cause::Loopback);
    }
    if !link.ethernet {
        return Err(Cause::NotEthernet);
    }
    if let Some(kind) = link.kind.as_deref().filter(|kind| VIRTUAL.contains(kind)) {
        return Err(Cause::Virtual(kind.to_owned()));
    }
    if let Some(index) = link.master {
        let master = links.iter().find(|other| other.index == index);
        return Err(Cause::Master(
            master.map_or_else(|| format!("interface {index}"), |master| master.name.clone()),
        ));
    }
    // The peer of a veth pair counts as "below" too, but receives nothing of ours.
    if let Some(upper) = links
        .iter()
        .find(|other| other.below == Some(link.index) && other.kind.as_deref() != Some("veth"))
    {
        return Err(Cause::Carries(upper.name.clone()));
    }
    let mut notices = Vec::new();
    let addresses =
        netlink.addresses(link).map_err(|error| Cause::Failed("list addresses", error))?;
    for found in addresses {
        let written = format!("{}/{}", found.ip, found.prefix);
        if !found.own_link_local {
            return Err(Cause::Address(written));
        }
        notices.push(Notice {
            interface: name.to_owned(),
            text: format!("its own link-local address {written} is taken away while it is a port"),
            warns: true,
        });
    }
    for setting in [
        "net.ipv4.ip_forward".to_owned(),
        format!("net.ipv4.conf.{name}.forwarding"),
        "net.ipv6.conf.all.forwarding".to_owned(),
        format!("net.ipv6.conf.{name}.forwarding"),
    ] {
        // A protocol that the kernel does not have is not forwarded.
        if fs::read_to_string(setting_path(&setting, name)).is_ok_and(|text| text.trim() != "0") {
            return Err(Cause::Forwards(setting));
        }
    }
    Ok((link.clone(), notices))
}

/// Where a sysctl lies. Dots in the interface's name stay dots.
pub(super) fn setting_path(setting: &str, interface: &str) -> PathBuf {
    let mut path = PathBuf::from("/proc/sys");
    match setting.split_once(&format!(".{interface}.")) {
        Some((before, after)) => {
            path.extend(before.split('.'));
            path.push(interface);
            path.push(after);
        }
        None => path.extend(setting.split('.')),
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_of_an_interface_with_a_dot() {
        assert_eq!(
            setting_path("net.ipv6.conf.eth0.7.disable_ipv6", "eth0.7"),
            PathBuf::from("/proc/sys/net/ipv6/conf/eth0.7/disable_ipv6")
        );
        assert_eq!(
            setting_path("net.ipv4.ip_forward", "eth0"),
            PathBuf::from("/proc/sys/net/ipv4/ip_forward")
        );
    }
}
