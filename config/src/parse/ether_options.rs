//! The `set` lines of layer 2: which control frames cross, and the spoof guards. weir's own.

use ipnet::IpNet;
use nom::Parser;
use nom::branch::alt;
use nom::combinator::{map, value};
use nom::sequence::{pair, preceded};

use super::grammar::{Host, Input, InterfaceItem, Parsed, cut, host, interface, list, plain, word};
use super::lexer::Token;
use super::resolve::{Resolved, Resolver};
use super::words::{nearest, shorten, with_hint};
use crate::ether::{ControlFrame, ControlFrames, LinkOptions, NeighbourGuard};
use crate::rules::{Address, Family};

const NEIGHBOURS: &str = "neighbour-guard";

/// A line as written.
#[derive(Debug)]
pub(super) enum LinkLine<'t, 's> {
    /// `link-control`.
    Control(Vec<&'t Token<'s>>),
    /// `neighbour-guard on PORTS { prefixes }`.
    Neighbours(Vec<InterfaceItem<'t, 's>>, Vec<Host<'t, 's>>),
    /// `neighbour-guard none`.
    NoNeighbours,
    /// `neighbour-mac-check`.
    NeighbourMac(bool),
    /// `router-guard` or `dhcp-guard`; no ports is `none`.
    Servers(Server, Vec<InterfaceItem<'t, 's>>),
}

/// Whose messages may come from some ports only.
#[derive(Clone, Copy, Debug)]
pub(super) enum Server {
    Router,
    Dhcp,
}

impl Server {
    const fn option(self) -> &'static str {
        match self {
            Self::Router => "router-guard",
            Self::Dhcp => "dhcp-guard",
        }
    }
}

/// What stands behind `set`, if it is an option of layer 2.
pub(super) fn link<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, LinkLine<'t, 's>> {
    let control = list(plain("`bpdu`, `lldp`, `lacp`, `eapol`, `pppoe` or `none`"));
    let neighbours = pair(preceded(word("on"), cut(list(interface))), cut(list(host)));
    let switch = alt((value(true, word("yes")), value(false, word("no"))));
    alt((
        map(preceded(word("link-control"), cut(control)), LinkLine::Control),
        preceded(
            word("neighbour-guard"),
            cut(alt((
                map(neighbours, |(ports, nets)| LinkLine::Neighbours(ports, nets)),
                value((), word("none")).map(|()| LinkLine::NoNeighbours),
            ))),
        ),
        map(preceded(word("neighbour-mac-check"), cut(switch)), LinkLine::NeighbourMac),
        preceded(word("router-guard"), cut(servers(Server::Router))),
        preceded(word("dhcp-guard"), cut(servers(Server::Dhcp))),
    ))
    .parse(input)
}

fn servers<'t, 's: 't>(
    server: Server,
) -> impl Fn(Input<'t, 's>) -> Parsed<'t, 's, LinkLine<'t, 's>> {
    move |input| {
        alt((
            map(preceded(word("on"), cut(list(interface))), |ports| {
                LinkLine::Servers(server, ports)
            }),
            map(word("none"), |_| LinkLine::Servers(server, Vec::new())),
        ))
        .parse(input)
    }
}

impl LinkLine<'_, '_> {
    /// Takes the line over: what was set, each with its text behind `set`. A line with an error
    /// changes nothing and is reported.
    pub(super) fn take(
        &self,
        options: &mut LinkOptions,
        resolver: &mut Resolver<'_, '_>,
    ) -> Resolved<Vec<(&'static str, String)>> {
        let (name, value) = match self {
            Self::Control(words) => {
                options.control = control(words, resolver)?;
                ("link-control", options.control.to_string())
            }
            Self::Neighbours(ports, hosts) => {
                let ports = port_names(ports, resolver);
                let nets = resolver.all(hosts, |resolver, host| nets(host, resolver));
                let (ports, nets) = (ports?, nets?.concat());
                let guards =
                    ports.into_iter().map(|port| NeighbourGuard { port, nets: nets.clone() });
                let first = options.neighbours.len();
                options.neighbours.extend(guards);
                let texts = options.neighbours[first..].iter();
                return Some(texts.map(|guard| (NEIGHBOURS, guard.to_string())).collect());
            }
            Self::NoNeighbours => {
                options.neighbours.clear();
                (NEIGHBOURS, "none".to_owned())
            }
            Self::NeighbourMac(on) => {
                options.neighbour_mac_check = *on;
                ("neighbour-mac-check", if *on { "yes" } else { "no" }.to_owned())
            }
            Self::Servers(server, ports) => {
                let names = port_names(ports, resolver)?;
                let list = match server {
                    Server::Router => &mut options.routers,
                    Server::Dhcp => &mut options.dhcp_servers,
                };
                let value = if names.is_empty() {
                    list.clear();
                    "none".to_owned()
                } else {
                    format!("on {{ {} }}", names.join(" "))
                };
                for name in names {
                    if !list.contains(&name) {
                        list.push(name);
                    }
                }
                (server.option(), value)
            }
        };
        Some(vec![(name, format!("{name} {value}"))])
    }
}

fn control(words: &[&Token<'_>], resolver: &mut Resolver<'_, '_>) -> Resolved<ControlFrames> {
    if let [only] = words
        && only.text == "none"
    {
        return Some(ControlFrames::NONE);
    }
    let frames = resolver.all(words, |resolver, at| {
        let name = &*at.text;
        ControlFrame::from_name(name).or_else(|| {
            let known = ControlFrame::ALL.map(ControlFrame::name);
            let message = format!("unknown control frame `{}`", shorten(name));
            let near = nearest(name, known.into_iter());
            resolver.error(at, with_hint(message, "", near))
        })
    })?;
    Some(frames.into_iter().collect())
}

fn port_names(
    ports: &[InterfaceItem<'_, '_>],
    resolver: &mut Resolver<'_, '_>,
) -> Resolved<Vec<String>> {
    resolver.all(ports, |resolver, item| {
        if item.not {
            return resolver.error(item.name, "`!` is not supported here: name the ports");
        }
        resolver.interface_name(item.name)
    })
}

/// `any` is all addresses of both families.
fn nets(host: &Host<'_, '_>, resolver: &mut Resolver<'_, '_>) -> Resolved<Vec<IpNet>> {
    let all = |family| match family {
        Family::Inet => IpNet::V4(ipnet::Ipv4Net::default()),
        Family::Inet6 => IpNet::V6(ipnet::Ipv6Net::default()),
    };
    let resolved = resolver.host(host)?;
    if resolved.not {
        return resolver.error(host.first, "`!` is not supported here: the longest prefix counts");
    }
    match (resolved.address, resolved.family) {
        (Address::Prefix(net), _) => Some(vec![net]),
        (Address::Any, Some(family)) => Some(vec![all(family)]),
        (Address::Any, None) => Some(vec![all(Family::Inet), all(Family::Inet6)]),
        _ => resolver.error(host.first, "`neighbour-guard` takes addresses and prefixes only"),
    }
}
