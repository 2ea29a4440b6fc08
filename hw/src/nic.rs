//! Preparation of an interface: checked, brought up, and kept from speaking by itself; all of it
//! undone when the [`Prepared`] goes.
//!
//! Preparing needs `CAP_NET_ADMIN` and belongs to the network namespace of the calling thread.
//! Refused is whatever would leave a way past the firewall: an interface with an address or that
//! something else is built on, and a host that routes. Everything else that fails is a [`Notice`]
//! with its consequence.

mod link;

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use link::{Link, Netlink};

use crate::port::Kind;
use crate::sys::{ethtool, packet, socket};

/// An interface as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, as `ip link` lists it.
    pub name: String,
    /// Its number in this network namespace.
    pub index: u32,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Name of its driver; `None` if it does not tell.
    pub driver: Option<String>,
    /// Queues that it receives on, at least 1.
    pub receive_queues: u32,
}

impl Interface {
    /// Whether frames may come out of it whose transport checksum was left to offload hardware that
    /// does not exist: the peer is on the same machine.
    pub fn may_have_partial_checksums(&self) -> bool {
        matches!(self.driver.as_deref(), Some("veth" | "virtio_net" | "tun" | "xen_netfront"))
    }
}

/// Something that did not go as it should, or that an owner would want to know, with its
/// consequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Name of the interface.
    pub interface: String,
    /// What, and what follows from it.
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.interface, self.text)
    }
}

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

/// A change that was made, and what undoes it.
enum Change {
    /// The interface was down.
    Up,
    /// A sysctl; the file was opened in the right namespace.
    Setting { path: PathBuf, file: fs::File, before: String },
    /// An offload feature.
    Feature { name: String, before: bool },
}

/// An interface that is ready to be a port. Its changes are undone by [`Prepared::restore`] or when
/// it is dropped.
pub struct Prepared {
    interface: Interface,
    notices: Vec<Notice>,
    changes: Vec<Change>,
    netlink: Netlink,
    control: OwnedFd,
    /// Keeps it promiscuous, until the process ends at the latest.
    promiscuous: Option<OwnedFd>,
    /// Keeps a second weir away from it, until the process ends at the latest.
    _lock: OwnedFd,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("interface", &self.interface).finish_non_exhaustive()
    }
}

/// Prepares the interfaces of the given names, in that order, to be the ports of one bridge.
///
/// # Errors
/// The first [`Refusal`]; what was changed by then is restored.
pub fn prepare(names: &[&str]) -> Result<Vec<Prepared>, Refusal> {
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            return Err(Refusal { interface: (*name).to_owned(), cause: Cause::Same });
        }
    }
    // All are looked at before one is changed.
    let mut links = Vec::with_capacity(names.len());
    for name in names {
        let refuse = |cause| Refusal { interface: (*name).to_owned(), cause };
        let mut netlink =
            Netlink::new().map_err(|error| refuse(Cause::Failed("open netlink", error)))?;
        let (link, notices) = examine(&mut netlink, name).map_err(refuse)?;
        links.push((link, notices, netlink));
    }
    let mut prepared = Vec::with_capacity(names.len());
    for (link, notices, netlink) in links {
        let name = link.name.clone();
        let port = Prepared::new(link, notices, netlink)
            .map_err(|cause| Refusal { interface: name, cause })?;
        prepared.push(port);
    }
    compare(&mut prepared);
    Ok(prepared)
}

/// Warns where the ports differ in what they let through.
fn compare(prepared: &mut [Prepared]) {
    let Some(smallest) = prepared.iter().map(|port| port.interface.mtu).min() else { return };
    for port in prepared {
        if port.interface.mtu > smallest {
            let mtu = port.interface.mtu;
            port.notice(format!(
                "MTU {mtu}, but only {smallest} on the other port: longer packets are lost there"
            ));
        }
    }
}

/// Kinds of interface that get their frames from one that forwards past us, or that forward
/// themselves.
const VIRTUAL: [&str; 8] =
    ["bridge", "bond", "team", "vlan", "macvlan", "macvtap", "ipvlan", "macsec"];

/// Looks for reasons against an interface without changing anything.
fn examine(netlink: &mut Netlink, name: &str) -> Result<(Link, Vec<Notice>), Cause> {
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
fn setting_path(setting: &str, interface: &str) -> PathBuf {
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

impl Prepared {
    fn new(link: Link, notices: Vec<Notice>, netlink: Netlink) -> Result<Self, Cause> {
        let control =
            socket::control().map_err(|error| Cause::Failed("open a control socket", error))?;
        let lock = lock(link.index)?;
        let driver = ethtool::driver(control.as_fd(), &link.name).ok();
        let receive_queues = ethtool::receive_queues(control.as_fd(), &link.name)
            .unwrap_or(link.receive_queues)
            .max(1);
        let interface = Interface {
            name: link.name,
            index: link.index,
            mac: link.mac,
            mtu: link.mtu,
            driver,
            receive_queues,
        };
        let mut prepared = Self {
            interface,
            notices,
            changes: Vec::new(),
            netlink,
            control,
            promiscuous: None,
            _lock: lock,
        };
        prepared.silence();
        if !link.up {
            // Where IPv6 was switched off above, coming up says nothing on the wire.
            prepared
                .netlink
                .set_up(prepared.interface.index, true)
                .map_err(|error| Cause::Failed("bring it up", error))?;
            prepared.changes.push(Change::Up);
        }
        match packet::promiscuous(prepared.interface.index) {
            Ok(fd) => prepared.promiscuous = Some(fd),
            Err(error) => prepared.notice(format!(
                "cannot be made promiscuous ({error}): frames for other hosts may not arrive"
            )),
        }
        if link.up && !link.carrier {
            prepared.notice("no carrier: nothing is forwarded until there is a link".to_owned());
        }
        Ok(prepared)
    }

    /// The interface.
    pub const fn interface(&self) -> &Interface {
        &self.interface
    }

    /// What there is to say about the preparation so far.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    pub(crate) fn notice(&mut self, text: String) {
        self.notices.push(Notice { interface: self.interface.name.clone(), text });
    }

    /// Forgets the notices after the first `count`.
    pub(crate) fn forget_notices(&mut self, count: usize) {
        self.notices.truncate(count);
    }

    /// Keeps the host's own stack from using the interface.
    fn silence(&mut self) {
        let name = self.interface.name.clone();
        self.set(
            &format!("net.ipv6.conf.{name}.disable_ipv6"),
            "1",
            "this host may send neighbour and router solicitations on it",
        );
        // arp(7): 8, no answer for any local address.
        self.set(
            &format!("net.ipv4.conf.{name}.arp_ignore"),
            "8",
            "this host may answer ARP requests on it while weir does not run",
        );
    }

    fn set(&mut self, setting: &str, value: &str, consequence: &str) {
        let path = setting_path(setting, &self.interface.name);
        let attempt = || -> io::Result<Option<Change>> {
            let before = match fs::read_to_string(&path) {
                Ok(text) => text.trim().to_owned(),
                // The kernel does without this protocol.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            if before == value {
                return Ok(None);
            }
            let file = fs::OpenOptions::new().write(true).open(&path)?;
            // A sysctl takes only what is written at offset 0 (`sysctl_writes_strict`).
            file.write_all_at(value.as_bytes(), 0)?;
            Ok(Some(Change::Setting { path: path.clone(), file, before }))
        };
        match attempt() {
            Ok(change) => self.changes.extend(change),
            Err(error) => {
                self.notice(format!("cannot set {setting} to {value} ({error}): {consequence}"));
            }
        }
    }

    /// Switches those offloads off that a port of this kind cannot live with.
    pub(crate) fn suit(&mut self, kind: Kind) {
        // What arrives must be what was on the wire, tags in place; what leaves goes as it is.
        const BARE: [(&str, &str); 6] = [
            ("rx-lro", "frames are merged and cannot be forwarded as they came"),
            ("rx-gro", "frames are merged and cannot be forwarded as they came"),
            ("rx-gro-hw", "frames are merged and cannot be forwarded as they came"),
            ("rx-gro-list", "frames are merged and cannot be forwarded as they came"),
            ("rx-vlan-hw-parse", "frames lose their VLAN tags"),
            ("rx-vlan-stag-hw-parse", "frames lose their service tags"),
        ];
        // Trains and tags are carried through, except where they cannot be taken apart again.
        const CARRIED: [(&str, &str); 2] = [
            ("rx-lro", "frames are merged and cannot be forwarded as they came"),
            ("rx-gro-list", "frames are merged and cannot be forwarded as they came"),
        ];
        let unwanted: &[(&str, &str)] = if kind == Kind::Packet { &CARRIED } else { &BARE };
        let features = match ethtool::features(self.control.as_fd(), &self.interface.name) {
            Ok(features) => features,
            Err(error) => {
                self.notice(format!(
                    "does not tell its offloads ({error}): merged frames or lost tags are possible"
                ));
                return;
            }
        };
        for &(name, consequence) in unwanted {
            let Some(feature) = features.get(name).filter(|feature| feature.active) else {
                continue;
            };
            let outcome = if feature.available {
                ethtool::set_feature(
                    self.control.as_fd(),
                    &self.interface.name,
                    &features,
                    feature,
                    false,
                )
            } else {
                Err(io::Error::other("fixed by the driver"))
            };
            match outcome {
                Ok(()) => {
                    self.changes.push(Change::Feature { name: name.to_owned(), before: true });
                }
                Err(error) => {
                    self.notice(format!("{name} stays on ({error}): {consequence}"));
                }
            }
        }
    }

    /// Takes back what [`Prepared::suit`] did, for a kind of port that could not be opened.
    pub(crate) fn unsuit(&mut self) {
        let (features, others) = std::mem::take(&mut self.changes)
            .into_iter()
            .partition(|change| matches!(change, Change::Feature { .. }));
        self.changes = others;
        let notices = self.revert(features);
        self.notices.extend(notices);
    }

    /// Undoes every change, the last one first. Returns what could not be undone; an interface that
    /// is gone needs nothing.
    pub fn restore(mut self) -> Vec<Notice> {
        self.undo()
    }

    fn undo(&mut self) -> Vec<Notice> {
        self.promiscuous = None;
        let changes = std::mem::take(&mut self.changes);
        self.revert(changes)
    }

    fn revert(&mut self, changes: Vec<Change>) -> Vec<Notice> {
        let mut notices = Vec::new();
        // It may have been renamed meanwhile.
        let Ok(name) = socket::interface_name(self.control.as_fd(), self.interface.index) else {
            return notices;
        };
        for change in changes.into_iter().rev() {
            let (what, outcome) = match change {
                Change::Up => (
                    "set it down again".to_owned(),
                    self.netlink.set_up(self.interface.index, false),
                ),
                Change::Setting { path, file, before } => (
                    format!("set {} to {before} again", path.display()),
                    file.write_all_at(before.as_bytes(), 0),
                ),
                Change::Feature { name: feature, before } => (
                    format!("switch {feature} {} again", if before { "on" } else { "off" }),
                    ethtool::features(self.control.as_fd(), &name).and_then(|features| {
                        let known = features.get(&feature).ok_or(io::ErrorKind::NotFound)?;
                        ethtool::set_feature(self.control.as_fd(), &name, &features, known, before)
                    }),
                ),
            };
            if let Err(error) = outcome {
                let text = format!("cannot {what}: {error}");
                notices.push(Notice { interface: name.clone(), text });
            }
        }
        notices
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        for notice in self.undo() {
            tracing::warn!("{notice}");
        }
    }
}

/// Takes the name that stands for an interface of this network namespace. The kernel frees it when
/// the process ends, however it ends.
fn lock(index: u32) -> Result<OwnedFd, Cause> {
    let fail = |error| Cause::Failed("take its lock", error);
    let fd = socket::control().map_err(fail)?;
    match socket::bind_abstract(fd.as_fd(), &format!("weir/port/{index}")) {
        Ok(()) => Ok(fd),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(Cause::Taken),
        Err(error) => Err(fail(error)),
    }
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

    #[test]
    fn same_interface_twice_is_refused() {
        let refusal = prepare(&["lo", "lo"]).unwrap_err();
        assert!(matches!(refusal.cause, Cause::Same));
    }
}
