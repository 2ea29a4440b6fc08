//! Preparation of an interface: checked, brought up, and kept from speaking by itself; all of it
//! undone when the [`Prepared`] goes.
//!
//! Preparing needs `CAP_NET_ADMIN` and belongs to the network namespace of the calling thread.
//! Refused is whatever would leave a way past the firewall: an interface with an address or that
//! something else is built on, and a host that routes. Everything else that fails is a [`Notice`]
//! with its consequence.

mod changes;
mod configure;
mod examine;
pub(crate) mod link;
mod refusal;
mod suit;
mod watch;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use changes::Change;
pub use configure::Configurator;
use examine::examine;
use link::{Link, Netlink};
pub use refusal::{Cause, Refusal};
pub use watch::LinkWatch;

use crate::care::{self, Dealing, Real, Wishes};
use crate::netmap;
use crate::sys::{ethtool, packet, socket};

/// An interface as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, as `ip link` lists it.
    pub name: String,
    /// Its number in this network namespace; 0 for a port of netmap's own, which is in none.
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
    /// Whether it is a pipe or a VALE port: netmap's own, and nothing that the kernel knows.
    pub const fn is_virtual(&self) -> bool {
        self.index == 0
    }

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
    /// Whether something is lost by it; otherwise it is only good to know.
    pub warns: bool,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.interface, self.text)
    }
}

/// What the link of an interface is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Whether the interface is up.
    pub up: bool,
    /// Whether there is a link.
    pub carrier: bool,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Mbit/s, if the link tells.
    pub speed: Option<u32>,
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
        if let Some(cause) = names[..index].iter().find_map(|other| way_past(other, name)) {
            return Err(Refusal { interface: (*name).to_owned(), cause });
        }
    }
    // All are looked at before one is changed.
    let mut links = Vec::with_capacity(names.len());
    for name in names {
        links.push(if netmap::is_virtual(name) { None } else { Some(look(name)?) });
    }
    let mut prepared = Vec::with_capacity(names.len());
    for (name, link) in names.iter().zip(links) {
        prepared.push(match link {
            Some(link) => Prepared::new(link)?,
            None => Prepared::of_netmap(name)?,
        });
    }
    compare(&mut prepared);
    Ok(prepared)
}

/// Why two ports cannot be of one bridge, by their names.
fn way_past(first: &str, second: &str) -> Option<Cause> {
    if first == second {
        return Some(Cause::Same);
    }
    if netmap::are_ends_of_one_pipe(first, second) {
        return Some(Cause::Pipe(first.to_owned()));
    }
    netmap::shared_switch(first, second).map(|switch| Cause::Switch(switch.to_owned()))
}

/// Looks for reasons against an interface.
fn look(name: &str) -> Result<(Link, Vec<Notice>, Netlink), Refusal> {
    let refuse = |cause| Refusal { interface: name.to_owned(), cause };
    let mut netlink =
        Netlink::new().map_err(|error| refuse(Cause::Failed("open netlink", error)))?;
    let (link, notices) = examine(&mut netlink, name).map_err(refuse)?;
    Ok((link, notices, netlink))
}

/// Warns where the ports differ in what they let through. Pipes and VALE ports let everything through.
fn compare(prepared: &mut [Prepared]) {
    let real = |port: &&mut Prepared| !port.interface.is_virtual();
    let mtus = prepared.iter_mut().filter(real).map(|port| port.interface.mtu);
    let Some(smallest) = mtus.min() else { return };
    for port in prepared.iter_mut().filter(real) {
        if port.interface.mtu > smallest {
            let mtu = port.interface.mtu;
            port.notice(format!(
                "MTU {mtu}, but only {smallest} on the other port: longer packets are lost there"
            ));
        }
    }
}

impl Prepared {
    fn new((link, notices, netlink): (Link, Vec<Notice>, Netlink)) -> Result<Self, Refusal> {
        let name = link.name.clone();
        Self::change(link, notices, netlink).map_err(|cause| Refusal { interface: name, cause })
    }

    /// A port that only netmap knows: there is nothing to prepare but that nobody else takes it.
    fn of_netmap(name: &str) -> Result<Self, Refusal> {
        let refuse = |cause| Refusal { interface: name.to_owned(), cause };
        let failed = |step| move |error| refuse(Cause::Failed(step, error));
        Ok(Self {
            interface: Interface {
                name: name.to_owned(),
                index: 0,
                mac: [0; 6],
                mtu: 1500,
                driver: None,
                receive_queues: 1,
            },
            notices: Vec::new(),
            changes: Vec::new(),
            netlink: Netlink::new().map_err(failed("open netlink"))?,
            control: socket::control().map_err(failed("open a control socket"))?,
            promiscuous: None,
            _lock: lock(name).map_err(refuse)?,
        })
    }

    fn change(link: Link, notices: Vec<Notice>, netlink: Netlink) -> Result<Self, Cause> {
        let control =
            socket::control().map_err(|error| Cause::Failed("open a control socket", error))?;
        let lock = lock(&link.index.to_string())?;
        let driver = ethtool::driver(control.as_fd(), &link.name).ok().map(|driver| driver.name);
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

    /// As [`Prepared::notices`], and forgets it.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    pub(crate) fn notice(&mut self, text: String) {
        self.notices.push(Notice { interface: self.interface.name.clone(), text, warns: true });
    }

    /// Forgets the notices after the first `count`.
    pub(crate) fn forget_notices(&mut self, count: usize) {
        self.notices.truncate(count);
    }

    /// Takes care of the NIC for so many workers, before it is opened: queues, rings, hash, flow
    /// control, how long it gathers frames.
    pub fn care(&mut self, wishes: &Wishes, workers: usize) {
        if self.interface.is_virtual() {
            return;
        }
        let report = care::care(&self.device(), wishes, workers);
        self.enter(report);
        if let Ok(queues) = ethtool::receive_queues(self.control.as_fd(), &self.interface.name) {
            self.interface.receive_queues = queues.max(1);
        }
    }

    /// Has the queues of the NIC interrupt these CPUs in turn, after it was opened.
    pub fn point_interrupts(&mut self, wishes: &Wishes, cpus: &[u32]) {
        if !self.interface.is_virtual() {
            let report = care::point(&self.device(), wishes, cpus);
            self.enter(report);
        }
    }

    fn device(&self) -> Real<'_> {
        Real { control: self.control.as_fd(), index: self.interface.index }
    }

    /// Enters what steps of care have come to.
    fn enter(&mut self, report: care::Report) {
        let taken = report.undo.into_iter().map(|(name, undo)| Change::Care(name, undo));
        self.changes.extend(taken);
        report.warnings.into_iter().for_each(|warning| self.notice(warning));
        if !report.lacks.is_empty() {
            let driver = self.interface.driver.as_deref().unwrap_or("its driver");
            let text = format!("{driver} has no {}", report.lacks.join(", no "));
            self.notices.push(Notice {
                interface: self.interface.name.clone(),
                text,
                warns: false,
            });
        }
    }

    /// How it deals out what it receives, if that is as [`Prepared::care`] has wanted it.
    pub fn dealing(&self) -> Option<Dealing> {
        if self.interface.is_virtual() {
            return None;
        }
        care::dealing(&Real { control: self.control.as_fd(), index: self.interface.index })
    }

    /// Prepares the interface of this name instead, which has come back after it was gone. The old
    /// one must be gone, since its changes are not undone before.
    ///
    /// # Errors
    /// A [`Refusal`]; this one stays as it was then.
    pub fn replace(&mut self, name: &str) -> Result<(), Refusal> {
        *self = Self::new(look(name)?)?;
        Ok(())
    }

    /// What its link is like now; `None` when the interface is gone.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn link(&mut self) -> io::Result<Option<LinkState>> {
        if self.interface.is_virtual() {
            let mtu = self.interface.mtu;
            return Ok(Some(LinkState { up: true, carrier: true, mtu, speed: None }));
        }
        let links = self.netlink.links()?;
        let Some(link) = links.into_iter().find(|link| link.index == self.interface.index) else {
            return Ok(None);
        };
        let speed = link.carrier.then(|| ethtool::link_mode(self.control.as_fd(), &link.name));
        let speed = speed.and_then(|mode| mode.ok()?.0);
        Ok(Some(LinkState { up: link.up, carrier: link.carrier, mtu: link.mtu, speed }))
    }

    /// Sets the interface up, or down for the while. Whoever sets it down sets it up again before it is
    /// restored.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn set_up(&mut self, up: bool) -> io::Result<()> {
        self.netlink.set_up(self.interface.index, up)
    }

    /// Whether its interface is still there.
    pub fn is_present(&self) -> bool {
        self.interface.is_virtual()
            || socket::interface_name(self.control.as_fd(), self.interface.index).is_ok()
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
}

impl Drop for Prepared {
    fn drop(&mut self) {
        for notice in self.undo() {
            tracing::warn!("{notice}");
        }
    }
}

/// Takes the name that stands for a port in this network namespace: an interface's index, or what
/// netmap calls it. The kernel frees it when the process ends, however it ends.
fn lock(port: &str) -> Result<OwnedFd, Cause> {
    let fail = |error| Cause::Failed("take its lock", error);
    let fd = socket::control().map_err(fail)?;
    match socket::bind_abstract(fd.as_fd(), &format!("weir/port/{port}")) {
        Ok(()) => Ok(fd),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(Cause::Taken),
        Err(error) => Err(fail(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_interface_twice_is_refused() {
        let refusal = prepare(&["lo", "lo"]).unwrap_err();
        assert!(matches!(refusal.cause, Cause::Same));
    }

    #[test]
    fn netmap_ports_that_reach_each_other_are_refused() {
        let refused = |names: &[&str]| prepare(names).unwrap_err().to_string();
        let said = refused(&["vale0:a", "vale0:b"]);
        assert!(said.starts_with("vale0:b: ") && said.contains("switch vale0,"), "{said}");
        let said = refused(&["weir{1", "weir}1"]);
        assert!(said.starts_with("weir}1: ") && said.contains("same pipe as weir{1"), "{said}");
    }

    #[test]
    fn only_interfaces_of_the_kernel_have_an_mtu_to_be_compared() {
        let process = std::process::id();
        let names = [format!("vale0:mtu{process}"), format!("mtu{process}{{1")];
        let mut ports = names.map(|name| Prepared::of_netmap(&name).unwrap());
        let notices = |ports: &[Prepared; 2]| ports.each_ref().map(|port| port.notices().len());
        (ports[0].interface.index, ports[0].interface.mtu) = (1, 9000);
        compare(&mut ports);
        assert_eq!(notices(&ports), [0, 0]);
        ports[1].interface.index = 2;
        compare(&mut ports);
        assert_eq!(notices(&ports), [1, 0]);
    }
}
