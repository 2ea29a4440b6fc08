//! The interfaces of this machine: what they are, what they can be as ports, and which two to bridge.

mod drivers;
mod recommend;

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

pub use drivers::{Driver, ZeroCopy, driver};
pub use recommend::{Recommendation, recommend};

use crate::nic::link::{Link, Netlink};
use crate::sys::ethtool::{self, Table};
use crate::sys::socket;

/// An interface that carries Ethernet frames, as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nic {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// The one that it was made with; `None` if the driver does not tell.
    pub permanent_mac: Option<[u8; 6]>,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
    /// Whether it has a link; known only while it is up.
    pub carrier: Option<bool>,
    /// Mbit/s, if there is a link that tells.
    pub speed: Option<u32>,
    /// Whether its link sends and receives at once.
    pub full_duplex: Option<bool>,
    /// Name of its driver.
    pub driver: Option<String>,
    /// Where it is on the PCI bus: `0000:01:00.0`.
    pub pci: Option<String>,
    /// NUMA node.
    pub node: Option<u32>,
    /// Queues that receive now.
    pub queues: u32,
    /// Queues that there can be.
    pub most_queues: u32,
    /// `veth`, `bridge` and the like; `None` is hardware.
    pub kind: Option<String>,
    /// Whether it is a station or an access point of a wireless network (IEEE 802.11).
    pub wireless: bool,
    /// Addresses, but not the link-local ones that the kernel makes.
    pub addresses: Vec<String>,
    /// Whether a default route leaves by it.
    pub default_route: bool,
    /// The bridge or bond that it belongs to.
    pub master: Option<String>,
}

impl Nic {
    /// Whether it has this hardware address, now or by birth.
    pub fn has_mac(&self, mac: [u8; 6]) -> bool {
        self.permanent_mac == Some(mac) || self.mac == mac
    }

    /// What is known of its driver.
    pub fn known(&self) -> Option<&'static Driver> {
        self.driver.as_deref().and_then(driver)
    }
}

/// The Ethernet interfaces of the calling thread's network namespace, by name. Needs no privileges.
///
/// # Errors
/// When the kernel does not list them.
pub fn nics() -> io::Result<Vec<Nic>> {
    let mut netlink = Netlink::new()?;
    let control = socket::control()?;
    let links = netlink.links()?;
    let routes = netlink.default_routes()?;
    let mut nics = Vec::new();
    for link in links.iter().filter(|link| link.ethernet && !link.loopback) {
        let addresses = netlink.addresses(link)?.into_iter().filter(|found| !found.own_link_local);
        let master = link.master.map(|index| {
            let master = links.iter().find(|other| other.index == index);
            master.map_or_else(|| format!("interface {index}"), |master| master.name.clone())
        });
        nics.push(Nic {
            addresses: addresses.map(|found| format!("{}/{}", found.ip, found.prefix)).collect(),
            default_route: routes.contains(&link.index),
            master,
            ..hardware(link, control.as_fd())
        });
    }
    nics.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(nics)
}

/// What driver and bus tell.
fn hardware(link: &Link, control: std::os::fd::BorrowedFd<'_>) -> Nic {
    let driver = ethtool::driver(control, &link.name).unwrap_or_default();
    let pci = Path::new("/sys/bus/pci/devices").join(&driver.bus);
    let pci = (!driver.bus.is_empty() && pci.exists()).then_some(pci);
    let node = pci.as_ref().and_then(|device| fs::read_to_string(device.join("numa_node")).ok());
    let (speed, full_duplex) = if link.carrier {
        ethtool::link_mode(control, &link.name).unwrap_or_default()
    } else {
        (None, None)
    };
    // struct ethtool_channels: maxima of rx, tx, other, combined; then what they are.
    let channels = ethtool::read(control, &link.name, Table::Channels);
    let (queues, most_queues) = channels
        .map_or((link.receive_queues, link.receive_queues), |words| {
            (words[5].saturating_add(words[8]), words[1].max(words[4]))
        });
    Nic {
        name: link.name.clone(),
        mac: link.mac,
        permanent_mac: link.permanent,
        mtu: link.mtu,
        up: link.up,
        carrier: link.up.then_some(link.carrier),
        speed,
        full_duplex,
        driver: Some(driver.name).filter(|name| !name.is_empty()),
        pci: pci.map(|_| driver.bus),
        // -1: the machine has one node, or does not tell.
        node: node.and_then(|text| text.trim().parse().ok()),
        queues: queues.max(1),
        most_queues: most_queues.max(queues).max(1),
        kind: link.kind.clone(),
        wireless: Path::new("/sys/class/net").join(&link.name).join("phy80211").exists(),
        ..Nic::default()
    }
}
