//! `[ports]`: the two ports of the bridge and how frames get through them.

use std::net::IpAddr;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use super::NicName;
use super::reader::Reader;
use crate::environment::PortPrefixes;

/// The most workers that can be asked for.
pub const MAX_WORKERS: u16 = 1024;

/// `[ports]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Interface of the protected network.
    pub lan: Option<NicName>,
    /// Interface towards the router; another one than `lan`.
    pub wan: Option<NicName>,
    /// How frames are moved.
    pub io: Io,
    /// Whether workers never sleep, but ask the ports again and again.
    pub busy_poll: bool,
    /// 1 to 1024 workers; `None` leaves it to the daemon.
    pub workers: Option<u16>,
    /// The networks behind `lan`, host bits cleared.
    pub lan_prefixes: Vec<IpNet>,
    /// The networks behind `wan`.
    pub wan_prefixes: Vec<IpNet>,
    /// Whether the loss of one port's link is passed on to the other.
    pub propagate_link: bool,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            lan: None,
            wan: None,
            io: Io::default(),
            busy_poll: false,
            workers: None,
            lan_prefixes: Vec::new(),
            wan_prefixes: Vec::new(),
            propagate_link: true,
        }
    }
}

impl Ports {
    /// What is behind the ports, by their roles and the names of their interfaces.
    pub fn prefixes(&self) -> Vec<PortPrefixes> {
        [("lan", &self.lan, &self.lan_prefixes), ("wan", &self.wan, &self.wan_prefixes)]
            .into_iter()
            .map(|(role, interface, nets)| PortPrefixes {
                names: std::iter::once(role)
                    .chain(interface.as_ref().and_then(NicName::interface))
                    .map(str::to_owned)
                    .collect(),
                nets: nets.clone(),
            })
            .collect()
    }
}

/// `io`: how frames are moved. Whether a kind can be had is the daemon's to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// The best that works.
    #[default]
    Auto,
    /// netmap rings.
    Netmap,
    /// `AF_XDP`.
    Xdp,
    /// `AF_PACKET`.
    Packet,
}

impl Io {
    /// The names, as `--io` takes them too.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("auto", Self::Auto),
        ("netmap", Self::Netmap),
        ("xdp", Self::Xdp),
        ("packet", Self::Packet),
    ];
}

impl Reader<'_> {
    /// A key of `[ports]`.
    pub(super) fn ports(&mut self, name: &str, value: &Spanned<DeValue<'_>>) {
        match name {
            "lan" | "wan" => {
                if let Some(nic) = self.nic(name, value) {
                    let ports = &mut self.settings.ports;
                    *if name == "lan" { &mut ports.lan } else { &mut ports.wan } = Some(nic);
                }
            }
            "io" => {
                let Some(text) = self.string(name, value) else { return };
                if let Some(&(_, io)) = Io::NAMES.iter().find(|(name, _)| *name == text) {
                    self.settings.ports.io = io;
                } else {
                    let message = "`io` must be one of auto, netmap, xdp, packet";
                    self.error(&value.span(), message.to_owned());
                }
            }
            "workers" => {
                if let Some(workers) = self.integer(name, value, 0, u32::from(MAX_WORKERS)) {
                    self.settings.ports.workers = (workers != 0).then_some(workers as u16);
                }
            }
            "lan_prefixes" | "wan_prefixes" => {
                if let Some(nets) = self.prefixes(name, value) {
                    let ports = &mut self.settings.ports;
                    *if name == "lan_prefixes" {
                        &mut ports.lan_prefixes
                    } else {
                        &mut ports.wan_prefixes
                    } = nets;
                }
            }
            _ => {
                if let Some(on) = self.boolean(name, value) {
                    let ports = &mut self.settings.ports;
                    *if name == "busy_poll" {
                        &mut ports.busy_poll
                    } else {
                        &mut ports.propagate_link
                    } = on;
                }
            }
        }
    }

    /// The name of an interface.
    pub(super) fn nic(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<NicName> {
        let read = self.string(name, value)?.parse();
        read.map_err(|message| self.error(&value.span(), message)).ok()
    }

    /// A list of networks; all that are none are reported.
    fn prefixes(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Vec<IpNet>> {
        let Some(items) = value.get_ref().as_array() else {
            let message = format!("`{name}` must be a list of networks, as in [\"192.0.2.0/24\"]");
            self.error(&value.span(), message);
            return None;
        };
        let mut nets = Some(Vec::new());
        for item in items {
            let text = item.get_ref().as_str().unwrap_or_default();
            let net = text.parse::<IpNet>().ok();
            let net = net.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            match (net, &mut nets) {
                (Some(net), Some(list)) => list.push(net.trunc()),
                (Some(_), None) => {}
                (None, _) => {
                    let message = format!("`{name}`: a network is written as in \"192.0.2.0/24\"");
                    self.error(&item.span(), message);
                    nets = None;
                }
            }
        }
        nets
    }
}
