//! What an interface needs that is no port of the bridge but speaks for this machine: a namespace of its
//! own, addresses, a way out.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::link::{Link, Netlink};

/// Sets up the interfaces of the network namespace that it was made in.
pub struct Configurator {
    netlink: Netlink,
}

impl Configurator {
    /// For the namespace of the calling thread.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub fn new() -> io::Result<Self> {
        Ok(Self { netlink: Netlink::new()? })
    }

    /// Sets an interface up or down.
    ///
    /// # Errors
    /// When there is none of this name, or the kernel refuses.
    pub fn set_up(&mut self, name: &str, up: bool) -> io::Result<()> {
        let link = self.link(name)?;
        self.netlink.set_up(link.index, up)
    }

    /// Moves an interface to another namespace, where it is down and has no addresses.
    ///
    /// # Errors
    /// As [`Configurator::set_up`].
    pub fn move_to(&mut self, name: &str, namespace: BorrowedFd<'_>) -> io::Result<()> {
        let link = self.link(name)?;
        self.netlink.move_to(link.index, namespace.as_raw_fd())
    }

    /// The addresses of an interface with the lengths of their prefixes, but for those that the kernel
    /// makes of its hardware address.
    ///
    /// # Errors
    /// As [`Configurator::set_up`].
    pub fn addresses(&mut self, name: &str) -> io::Result<Vec<(IpAddr, u8)>> {
        let link = self.link(name)?;
        let found =
            self.netlink.addresses(&link)?.into_iter().filter(|found| !found.own_link_local);
        Ok(found.map(|found| (found.ip, found.prefix)).collect())
    }

    /// Gives an interface an address; one that it has is no error.
    ///
    /// # Errors
    /// As [`Configurator::set_up`].
    pub fn add_address(&mut self, name: &str, ip: IpAddr, prefix: u8) -> io::Result<()> {
        let link = self.link(name)?;
        self.netlink.set_address(link.index, ip, prefix, true)
    }

    /// Takes an address from an interface, and the routes with it that it had brought.
    ///
    /// # Errors
    /// As [`Configurator::set_up`].
    pub fn remove_address(&mut self, name: &str, ip: IpAddr, prefix: u8) -> io::Result<()> {
        let link = self.link(name)?;
        self.netlink.set_address(link.index, ip, prefix, false)
    }

    /// Sends what is elsewhere to a gateway, which replaces the one of the same family.
    ///
    /// # Errors
    /// As [`Configurator::set_up`]; the gateway must be on a network of the interface.
    pub fn set_gateway(&mut self, name: &str, gateway: IpAddr) -> io::Result<()> {
        let link = self.link(name)?;
        self.netlink.set_default_route(link.index, gateway)
    }

    /// Whether an interface has a link, if it is up.
    ///
    /// # Errors
    /// As [`Configurator::set_up`].
    pub fn has_link(&mut self, name: &str) -> io::Result<bool> {
        Ok(self.link(name)?.carrier)
    }

    fn link(&mut self, name: &str) -> io::Result<Link> {
        let link = self.netlink.links()?.into_iter().find(|link| link.name == name);
        link.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no interface {name}")))
    }
}
