//! Links and addresses by netlink (`rtnetlink(7)`), one question and its whole answer at a time.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::RawFd;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// A netlink socket, in the network namespace of the thread that made it.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// What the kernel tells about an interface.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags, as the kernel tells them")]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: [u8; 6],
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    pub(crate) carrier: bool,
    pub(crate) loopback: bool,
    pub(crate) ethernet: bool,
    /// Index of the bridge, bond or team that it belongs to.
    pub(crate) master: Option<u32>,
    /// Index of the interface below it, if that is in the same namespace.
    pub(crate) below: Option<u32>,
    /// `veth`, `vlan`, `bridge` ...; hardware has none.
    pub(crate) kind: Option<String>,
    pub(crate) receive_queues: u32,
    /// Hardware address that it was made with, if the driver tells.
    pub(crate) permanent: Option<[u8; 6]>,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) ip: IpAddr,
    pub(crate) prefix: u8,
    /// Made by the kernel when the interface came up, not by an administrator.
    pub(crate) own_link_local: bool,
}

impl Netlink {
    pub(crate) fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// All interfaces. One whose description this build cannot read is left out.
    pub(crate) fn links(&mut self) -> io::Result<Vec<Link>> {
        let answers = self.ask(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
        let links = answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(message) => Some(link(message)),
            _ => None,
        });
        Ok(links.collect())
    }

    /// The addresses of one interface.
    pub(crate) fn addresses(&mut self, link: &Link) -> io::Result<Vec<Address>> {
        let answers =
            self.ask(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP)?;
        let addresses = answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message) if message.header.index == link.index => {
                address(&message, link.mac)
            }
            _ => None,
        });
        Ok(addresses.collect())
    }

    /// Numbers of the interfaces that default routes of either family leave by.
    pub(crate) fn default_routes(&mut self) -> io::Result<BTreeSet<u32>> {
        let mut found = BTreeSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            for answer in self.ask(RouteNetlinkMessage::GetRoute(message), NLM_F_DUMP)? {
                let RouteNetlinkMessage::NewRoute(route) = answer else { continue };
                if route.header.destination_prefix_length != 0
                    || route.header.kind != RouteType::Unicast
                {
                    continue;
                }
                for attribute in route.attributes {
                    match attribute {
                        RouteAttribute::Oif(index) => {
                            found.insert(index);
                        }
                        RouteAttribute::MultiPath(hops) => {
                            found.extend(hops.iter().map(|hop| hop.interface_index));
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(found)
    }

    /// Sets an interface up or down.
    pub(crate) fn set_up(&mut self, index: u32, up: bool) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.change_mask = LinkFlags::Up;
        if up {
            message.header.flags = LinkFlags::Up;
        }
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
    }

    /// Moves an interface to the namespace behind a descriptor.
    pub(crate) fn move_to(&mut self, index: u32, namespace: RawFd) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::NetNsFd(namespace));
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
    }

    /// Gives an interface an address, or takes it away.
    pub(crate) fn set_address(
        &mut self,
        index: u32,
        ip: IpAddr,
        prefix: u8,
        there: bool,
    ) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = prefix;
        message.header.family = family(ip);
        message.attributes.push(AddressAttribute::Local(ip));
        message.attributes.push(AddressAttribute::Address(ip));
        if let IpAddr::V4(v4) = ip
            && prefix < 31
        {
            let hosts = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let all = Ipv4Addr::from(u32::from(v4) | hosts);
            message.attributes.push(AddressAttribute::Broadcast(all));
        }
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        let (request, flags) = if there {
            (RouteNetlinkMessage::NewAddress(message), flags)
        } else {
            (RouteNetlinkMessage::DelAddress(message), NLM_F_ACK)
        };
        self.ask(request, flags).map(drop)
    }

    /// The default route of the gateway's family.
    pub(crate) fn set_default_route(&mut self, index: u32, gateway: IpAddr) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(gateway);
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.attributes.push(RouteAttribute::Gateway(match gateway {
            IpAddr::V4(v4) => RouteAddress::Inet(v4),
            IpAddr::V6(v6) => RouteAddress::Inet6(v6),
        }));
        message.attributes.push(RouteAttribute::Oif(index));
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        self.ask(RouteNetlinkMessage::NewRoute(message), flags).map(drop)
    }

    /// Sends a request and collects what comes until the kernel says that this was all.
    fn ask(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message =
            NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(request));
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answers = Vec::new();
        loop {
            let (received, _) = self.socket.recv_from_full()?;
            let mut rest = received.as_slice();
            // struct nlmsghdr: 16 bytes, the message's length first, messages aligned to 4.
            while let Some(length) = rest.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)) {
                let length = length as usize;
                if length < 16 || length > rest.len() {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let parsed = NetlinkMessage::deserialize(&rest[..length]);
                rest = &rest[length.next_multiple_of(4).min(rest.len())..];
                let Ok(message) = parsed else { continue };
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(answers),
                    // Code 0 is the acknowledgement.
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answers),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    _ => {}
                }
            }
        }
    }
}

const fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn link(message: LinkMessage) -> Link {
    let header = &message.header;
    let mut link = Link {
        index: header.index,
        name: String::new(),
        mac: [0; 6],
        mtu: 0,
        up: header.flags.contains(LinkFlags::Up),
        carrier: header.flags.contains(LinkFlags::LowerUp),
        loopback: header.flags.contains(LinkFlags::Loopback),
        ethernet: header.link_layer_type == LinkLayerType::Ether,
        master: None,
        below: None,
        kind: None,
        receive_queues: 1,
        permanent: None,
    };
    let mut elsewhere = false;
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(bytes) => link.mac = bytes.try_into().unwrap_or_default(),
            LinkAttribute::PermAddress(bytes) => link.permanent = bytes.try_into().ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) if index != 0 => link.master = Some(index),
            LinkAttribute::Link(index) if index != 0 => link.below = Some(index),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::NumRxQueues(count) => link.receive_queues = count.max(1),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Kind(kind) = info {
                        link.kind = Some(kind.to_string());
                    }
                }
            }
            _ => {}
        }
    }
    if elsewhere {
        link.below = None;
    }
    link
}

fn address(message: &AddressMessage, mac: [u8; 6]) -> Option<Address> {
    let mut found = None;
    let mut by_kernel = false;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => found = Some(*address),
            AddressAttribute::Address(address) => found = found.or(Some(*address)),
            AddressAttribute::Protocol(protocol) => {
                by_kernel = *protocol == AddressProtocol::LinkLocal;
            }
            _ => {}
        }
    }
    let ip = found?;
    // Before Linux 5.18 the kernel does not tell who made an address, but by default it makes it
    // of the hardware address.
    let own_link_local = match ip {
        IpAddr::V6(v6) => v6.is_unicast_link_local() && (by_kernel || v6 == link_local(mac)),
        IpAddr::V4(_) => false,
    };
    Some(Address { ip, prefix: message.header.prefix_len, own_link_local })
}

/// RFC 4291, appendix A: the link-local address with the modified EUI-64 of a hardware address.
fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let mut octets = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 0];
    octets[8..11].copy_from_slice(&mac[..3]);
    octets[8] ^= 2;
    octets[13..].copy_from_slice(&mac[3..]);
    Ipv6Addr::from(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_address_of_a_hardware_address() {
        let made = link_local([0x02, 0xfc, 0, 0, 0, 1]);
        assert_eq!(made, "fe80::fc:ff:fe00:1".parse::<Ipv6Addr>().unwrap());
    }
}
