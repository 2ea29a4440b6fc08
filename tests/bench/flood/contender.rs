//! Who stands between the visitors and their server.

use weir_tests::lab::{Host, Io, KernelBridge, KernelSynproxy, Lab, Weir, WeirOptions, counter_in};

/// Port of the web server.
pub(crate) const PORT: u16 = 80;

/// One kind of firewall.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contender {
    /// For the tables.
    pub(crate) name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// The kernel's bridge, and whether the server sends SYN cookies of its own.
    Bridge {
        server_cookies: bool,
    },
    /// The kernel's `synproxy` in a firewall that routes.
    Router,
    Weir {
        io: Io,
        rules: &'static str,
    },
}

const SYNPROXY: &str = "pass proto icmp\npass proto tcp to port 80 synproxy state\n";
const SYNCOOKIES: &str =
    "set syncookies always\npass proto icmp\npass proto tcp to port 80 keep state\n";

/// All of them, in the order of the tables.
pub(crate) const CONTENDERS: [Contender; 7] = [
    Contender {
        name: "kernel bridge, nothing protects",
        kind: Kind::Bridge { server_cookies: false },
    },
    Contender {
        name: "kernel bridge, cookies of the server's own",
        kind: Kind::Bridge { server_cookies: true },
    },
    Contender { name: "nftables synproxy, routed", kind: Kind::Router },
    Contender { name: "weir xdp, synproxy", kind: Kind::Weir { io: Io::Xdp, rules: SYNPROXY } },
    Contender {
        name: "weir xdp, syncookies always",
        kind: Kind::Weir { io: Io::Xdp, rules: SYNCOOKIES },
    },
    Contender {
        name: "weir packet, synproxy",
        kind: Kind::Weir { io: Io::Packet, rules: SYNPROXY },
    },
    Contender {
        name: "weir packet, syncookies always",
        kind: Kind::Weir { io: Io::Packet, rules: SYNCOOKIES },
    },
];

/// One of them at work.
pub(crate) enum Running<'a> {
    Bridge(#[expect(dead_code, reason = "held for its drop")] KernelBridge<'a>),
    Router(KernelSynproxy<'a>),
    Weir(Box<Weir>),
}

impl Contender {
    /// Puts it into a lab, whose server does not protect itself unless this is what is tried.
    ///
    /// # Errors
    /// What this kernel lacks.
    pub(crate) fn start<'a>(&self, lab: &'a Lab) -> Result<Running<'a>, String> {
        let server_cookies = matches!(self.kind, Kind::Bridge { server_cookies: true });
        let value = if server_cookies { "1" } else { "0" };
        lab.server.namespace.sysctl("net.ipv4.tcp_syncookies", value);
        // Whoever claims to be somewhere else is answered there: by way of the client, which does not
        // pass anything on.
        let gateway = lab.client.inet.to_string();
        lab.server.namespace.ip(&["route", "add", "default", "via", &gateway]);
        lab.client.namespace.sysctl("net.ipv4.ip_forward", "0");
        Ok(match self.kind {
            Kind::Bridge { .. } => Running::Bridge(KernelBridge::start(lab)),
            Kind::Router => Running::Router(KernelSynproxy::start(lab, PORT)?),
            Kind::Weir { io, rules } => {
                Running::Weir(Box::new(Weir::start(lab, &WeirOptions::new(io, rules))))
            }
        })
    }
}

/// What weir says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Account {
    /// Memory in use, and memory that it has asked for, in KiB.
    pub(crate) memory: [u64; 2],
    pub(crate) states: u64,
    pub(crate) half_open: u64,
    pub(crate) sent: u64,
    pub(crate) valid: u64,
    pub(crate) invalid: u64,
    pub(crate) expired: u64,
    pub(crate) resent: u64,
}

impl Running<'_> {
    /// SYNs that have been taken so far: that have reached the one who would answer them.
    pub(crate) fn taken(&self, lab: &Lab) -> u64 {
        match self {
            Self::Bridge(_) => received(&lab.server),
            Self::Router(router) => router.answered(),
            Self::Weir(weir) => weir.counter("sent"),
        }
    }

    /// Hardware address to which the client sends what is for the server.
    pub(crate) fn next_hop(&self, lab: &Lab) -> [u8; 6] {
        match self {
            Self::Bridge(_) | Self::Weir(_) => lab.server.mac,
            Self::Router(_) => {
                let shown = lab.firewall.ip(&["-o", "link", "show", "dev", Lab::LAN]);
                let address = shown.split("link/ether ").nth(1).and_then(|rest| rest.get(..17));
                let bytes = address.expect("it is Ethernet").split(':');
                let bytes = bytes.map(|byte| u8::from_str_radix(byte, 16).expect("ip's words"));
                bytes.collect::<Vec<_>>().try_into().expect("six bytes")
            }
        }
    }

    /// What weir counts now; `None` of the kernel.
    pub(crate) fn account(&self) -> Option<Account> {
        let Self::Weir(weir) = self else { return None };
        let info = weir.show(&["-s", "info"]);
        let count = |name| counter_in(&info, name);
        Some(Account {
            memory: ["VmRSS", "VmData"].map(|what| weir.memory(what)),
            states: count("current entries"),
            half_open: count("half-open tcp"),
            sent: count("sent"),
            valid: count("valid"),
            invalid: count("invalid"),
            expired: count("expired"),
            resent: count("resent"),
        })
    }
}

/// Frames that have arrived at a host.
pub(crate) fn received(host: &Host) -> u64 {
    let read = || std::fs::read_to_string("/proc/thread-self/net/dev");
    let text = host.namespace.within(read).expect("/proc is mounted");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:"));
    // Bytes, packets.
    let packets = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    packets.unwrap_or_else(|| panic!("no packets of eth0 in:\n{text}"))
}
