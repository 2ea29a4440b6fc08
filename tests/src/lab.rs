//! The lab: a client, a firewall and a server, each a network namespace of its own, joined by two
//! cables (veth pairs) that meet in the firewall.
//!
//! ```text
//!   client             firewall              server
//!   eth0 ------------- eth1  eth2 ------------- eth0
//!   192.0.2.1          lan    wan          192.0.2.2
//!   2001:db8::1        (no addresses)      2001:db8::2
//! ```
//!
//! The hosts are real Linux hosts with their default offloads. What stands between `eth1` and
//! `eth2` is up to the test: [`Weir`] or the kernel's own [`KernelBridge`]. Labs have unique names
//! and share nothing, so that any number can stand side by side. Everything is removed when the
//! `Lab` goes out of scope, also by a panic; what a killed process left behind is swept by the next.
//!
//! Needs root. Whatever goes wrong in setting up or in a tool that ought to work panics with the
//! command and what it said: the only callers are tests, the demonstration and the benchmark, and
//! none could do anything else about it.
#![allow(clippy::missing_panics_doc, reason = "panicking is the contract, see above")]

mod bad_cable;
mod capture;
mod flood;
mod kernel_bridge;
mod kernel_synproxy;
mod log_server;
mod namespace;
mod process;
mod raw;
mod service;
mod stream;
mod visitors;
mod weir;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::faults::Faults;

use self::bad_cable::BadCable;
pub use self::capture::Capture;
pub use self::flood::SynFlood;
pub use self::kernel_bridge::KernelBridge;
pub use self::kernel_synproxy::KernelSynproxy;
pub use self::log_server::{LogServer, LogServerKind, Received, fetched};
pub use self::namespace::Namespace;
pub use self::process::{Output, Process};
pub use self::raw::RawSocket;
pub use self::service::{EchoServer, HoldingServer, TcpServer, WebServer};
pub use self::stream::Stream;
pub use self::visitors::Visitors;
pub use self::weir::{Io, Reload, Weir, WeirOptions, binary, counter_in};

/// How long a condition may take that ought to come true at once; generous, since CI has two busy
/// cores. Nothing waits this long unless it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inet => "inet",
            Self::Inet6 => "inet6",
        })
    }
}

/// An end host: a namespace with one interface, `eth0`.
#[derive(Debug)]
pub struct Host {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its IPv4 address; the prefix length is 24.
    pub inet: Ipv4Addr,
    /// Its IPv6 address; the prefix length is 64.
    pub inet6: Ipv6Addr,
    /// Hardware address of its `eth0`.
    pub mac: [u8; 6],
}

impl Host {
    /// Its address of a family.
    pub const fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::Inet => IpAddr::V4(self.inet),
            Family::Inet6 => IpAddr::V6(self.inet6),
        }
    }

    /// Its address and a port as a URL or a socket address shows them: `[2001:db8::2]:80`.
    pub fn socket(&self, family: Family, port: u16) -> String {
        std::net::SocketAddr::new(self.address(family), port).to_string()
    }

    /// Runs a command on this host; see [`Namespace::run`].
    pub fn run(&self, command: &[&str]) -> Output {
        self.namespace.run(command)
    }
}

/// What a lab looks like.
#[derive(Clone, Copy, Debug)]
pub struct Topology {
    /// MTU of every interface in bytes.
    pub mtu: u32,
    /// Receive and transmit queues of every interface.
    pub queues: u32,
    /// What the cables of client and server do to frames. Where one is bad, both hosts work without
    /// offloads: a train of segments would be lost as one, and a damaged frame be sent on with a right
    /// checksum.
    pub faults: [Option<Faults>; 2],
    /// The PPPoE session by which IP travels between the hosts. Their cables put it in and take it
    /// out, and drop packets that are too long for it; without offloads then, too.
    pub session: Option<u16>,
}

impl Default for Topology {
    fn default() -> Self {
        Self { mtu: 1500, queues: 2, faults: [None; 2], session: None }
    }
}

/// Three namespaces and two cables.
#[derive(Debug)]
pub struct Lab {
    /// Before what they join, which they look at.
    bad_cables: Vec<BadCable>,
    /// The protected side.
    pub client: Host,
    /// The box in between.
    pub firewall: Namespace,
    /// The side of the router.
    pub server: Host,
    folder: TempDir,
}

impl Lab {
    /// The firewall's interface towards the client.
    pub const LAN: &str = "eth1";
    /// The firewall's interface towards the server.
    pub const WAN: &str = "eth2";

    /// Builds a lab with default MTU and two queues an interface.
    pub fn new() -> Self {
        Self::with(Topology::default())
    }

    /// Builds a lab.
    pub fn with(topology: Topology) -> Self {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(Namespace::sweep);

        let firewall = Namespace::new("firewall");
        let client = Namespace::new("client");
        let server = Namespace::new("server");
        only_bridges(&firewall);
        for host in [&client, &server] {
            for key in ["default", "all"] {
                host.sysctl(&format!("net.ipv6.conf.{key}.accept_dad"), "0");
                host.sysctl(&format!("net.ipv6.conf.{key}.dad_transmits"), "0");
                host.sysctl(&format!("net.ipv6.conf.{key}.router_solicitations"), "0");
                // A cable pulled and plugged in again finds the addresses where they were.
                host.sysctl(&format!("net.ipv6.conf.{key}.keep_addr_on_down"), "1");
            }
        }
        let mut lab = Self {
            bad_cables: Vec::new(),
            client: Host {
                mac: [0x02, 0, 0, 0, 0, 0x01],
                inet: Ipv4Addr::new(192, 0, 2, 1),
                inet6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
                namespace: client,
            },
            server: Host {
                mac: [0x02, 0, 0, 0, 0, 0x02],
                inet: Ipv4Addr::new(192, 0, 2, 2),
                inet6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
                namespace: server,
            },
            firewall,
            folder: tempfile::Builder::new()
                .prefix("weirlab-")
                .tempdir()
                .expect("temporary folder"),
        };
        let hosts = [(&lab.client, Self::LAN), (&lab.server, Self::WAN)];
        let cables = hosts.into_iter().zip(topology.faults).zip(1..);
        let cables = cables.filter_map(|(((host, port), faults), seed)| {
            let line = topology.session.map(|_| Faults::default());
            lab.plug(host, port, topology, faults.or(line).map(|faults| (faults, seed)))
        });
        let bad_cables: Vec<_> = cables.collect();
        if !bad_cables.is_empty() {
            for (host, _) in hosts {
                host.run(&["ethtool", "-K", "eth0", "tx", "off", "gso", "off"]).expect_success();
            }
        }
        lab.bad_cables = bad_cables;
        lab
    }

    /// A folder that vanishes with the lab.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Joins a host to a port of the firewall, over a bad cable if there are faults and a seed.
    fn plug(
        &self,
        host: &Host,
        port: &str,
        topology: Topology,
        faults: Option<(Faults, u64)>,
    ) -> Option<BadCable> {
        let mac = host.mac.map(|byte| format!("{byte:02x}")).join(":");
        let address = ["address", &mac];
        let bad_cable = if let Some((faults, seed)) = faults {
            let middle = Namespace::new("cable");
            only_bridges(&middle);
            cable(topology, (&host.namespace, "eth0", &address), (&middle, BadCable::NEAR));
            cable(topology, (&middle, BadCable::FAR, &[]), (&self.firewall, port));
            for end in [BadCable::NEAR, BadCable::FAR] {
                middle.ip(&["link", "set", end, "up"]);
            }
            Some(BadCable::start(middle, faults, topology.session, seed))
        } else {
            cable(topology, (&host.namespace, "eth0", &address), (&self.firewall, port));
            None
        };
        self.firewall.ip(&["link", "set", port, "up"]);
        host.namespace.ip(&["link", "set", "lo", "up"]);
        host.namespace.ip(&["link", "set", "eth0", "up"]);
        let inet = format!("{}/24", host.inet);
        let inet6 = format!("{}/64", host.inet6);
        host.namespace.ip(&["addr", "add", &inet, "dev", "eth0"]);
        host.namespace.ip(&["-6", "addr", "add", &inet6, "dev", "eth0", "nodad"]);
        Self::wait_usable(host);
        bad_cable
    }

    /// Joins the client, whose cable was deleted, to a port of the firewall that gets this name and
    /// hardware address, as when an adapter is plugged in again.
    pub fn plug_in(&self, port: &str, mac: &str) {
        self.plug(&self.client, port, Topology::default(), None);
        self.firewall.ip(&["link", "set", port, "address", mac]);
    }

    fn wait_usable(host: &Host) {
        eventually(&format!("eth0 of {} usable", host.namespace.name()), || {
            let shown = host.namespace.ip(&["addr", "show", "dev", "eth0"]);
            shown.contains("LOWER_UP") && !shown.contains("tentative")
        });
    }

    /// Waits until both hosts see a carrier on their cables and can use their addresses.
    pub fn wait_links(&self) {
        for host in [&self.client, &self.server] {
            Self::wait_usable(host);
        }
    }

    /// Sends one ping from the client to the server; whether it was answered within a second.
    pub fn pings(&self, family: Family) -> bool {
        let to = self.server.address(family).to_string();
        self.client.run(&["ping", "-n", "-c", "1", "-W", "1", &to]).success()
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

/// A box whose only job is to bridge: its ports are to have no address, link-local ones included.
fn only_bridges(namespace: &Namespace) {
    namespace.sysctl("net.ipv6.conf.default.disable_ipv6", "1");
    namespace.sysctl("net.ipv6.conf.all.disable_ipv6", "1");
    // New namespaces take over the first one's IPv4 settings, and weir refuses hosts that route.
    namespace.sysctl("net.ipv4.ip_forward", "0");
}

/// Makes a veth pair. More settings can be given for the first end.
fn cable(
    topology: Topology,
    (namespace, name, more): (&Namespace, &str, &[&str]),
    (far, far_name): (&Namespace, &str),
) {
    let (queues, mtu) = (topology.queues.to_string(), topology.mtu.to_string());
    let settings = ["numtxqueues", &queues, "numrxqueues", &queues, "mtu", &mtu];
    let near = [&["link", "add", name], more, &settings].concat();
    let far = [&["type", "veth", "peer", "name", far_name], &settings[..], &["netns", far.name()]];
    namespace.ip(&[near, far.concat()].concat());
}

/// A file in `config/etc`, the folder of what weir ships.
pub fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/etc").join(name)
}

/// Waits until a condition holds. Panics with `what` when [`PATIENCE`] is over.
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(within(PATIENCE, condition), "waited {PATIENCE:?} in vain: {what}");
}

/// Waits until a condition holds, at most `limit`; whether it came true.
pub fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
