//! Who is compared.

use std::fmt::Write as _;

use weir_tests::lab::{Io, KernelBridge, Lab, Process, Weir, WeirOptions, binary};

const fn with_offloads(name: &'static str, kind: Kind) -> Contender {
    Contender { name, kind, offloads: true }
}

const fn without_offloads(name: &'static str, kind: Kind) -> Contender {
    Contender { name, kind, offloads: false }
}

/// What is measured, in the order of the table.
pub(crate) const CONTENDERS: [Contender; 13] = [
    with_offloads("kernel bridge", Kind::Kernel { filter: false }),
    with_offloads("kernel bridge, nftables stateful", Kind::Kernel { filter: true }),
    with_offloads("forward, packet", Kind::Forward(Io::Packet)),
    with_offloads("weir, packet", Kind::Weir(Io::Packet)),
    with_offloads("weir, xdp", Kind::Weir(Io::Xdp)),
    with_offloads("weir, packet, busy polling", Kind::Busy(Io::Packet)),
    with_offloads("weir, xdp, busy polling", Kind::Busy(Io::Xdp)),
    without_offloads("kernel bridge, hosts without offloads", Kind::Kernel { filter: false }),
    without_offloads("nftables stateful, hosts without offloads", Kind::Kernel { filter: true }),
    without_offloads("forward, packet, hosts without offloads", Kind::Forward(Io::Packet)),
    without_offloads("weir, packet, hosts without offloads", Kind::Weir(Io::Packet)),
    without_offloads("forward, xdp, hosts without offloads", Kind::Forward(Io::Xdp)),
    without_offloads("weir, xdp, hosts without offloads", Kind::Weir(Io::Xdp)),
];

/// One of them.
#[derive(Clone, Copy)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Whether the hosts leave segmentation and checksums to their interfaces, as by default.
    pub(crate) offloads: bool,
}

/// What moves the frames.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Kernel {
        filter: bool,
    },
    Forward(Io),
    Weir(Io),
    /// weir that never sleeps.
    Busy(Io),
}

/// One of them, running.
pub(crate) enum Running<'a> {
    #[expect(dead_code, reason = "held for its drop")]
    Kernel(KernelBridge<'a>),
    #[expect(dead_code, reason = "held for its drop")]
    Forward(Process),
    #[expect(dead_code, reason = "held for its drop")]
    Weir(Weir),
}

/// Puts one into a lab.
pub(crate) fn start(lab: &Lab, kind: Kind) -> Running<'_> {
    match kind {
        Kind::Kernel { filter } => {
            let bridge = KernelBridge::start(lab);
            if filter {
                let available = KernelBridge::set_netfilter(lab, true);
                assert!(available, "this kernel has no br_netfilter");
                let file = lab.folder().join("rules.nft");
                std::fs::write(&file, nft_rules()).expect("our folder");
                lab.firewall.run(&["nft", "-f", &file.to_string_lossy()]).expect_success();
            }
            Running::Kernel(bridge)
        }
        Kind::Forward(io) => {
            // Beside the binary: target/release/weir, target/release/examples/forward.
            let forward = binary().with_file_name("examples").join("forward");
            let mut command = lab.firewall.command(&forward.to_string_lossy());
            command.args(["--io", &io.to_string(), Lab::LAN, Lab::WAN]);
            let process = Process::start_with_open_input(&mut command);
            process.wait_line("forward: forwarding");
            lab.wait_links();
            Running::Forward(process)
        }
        Kind::Weir(io) => Running::Weir(Weir::start(lab, &WeirOptions::new(io, &weir_rules()))),
        Kind::Busy(io) => {
            let settings = "[ports]\nbusy_poll = true\n".to_owned();
            let options = WeirOptions { settings, ..WeirOptions::new(io, &weir_rules()) };
            Running::Weir(Weir::start(lab, &options))
        }
    }
}

/// Ports that none of the measurements uses.
const SHUT: std::ops::Range<u16> = 6001..6020;

fn weir_rules() -> String {
    let mut rules = "set limit states 200000\n".to_owned();
    for port in SHUT {
        let _ = writeln!(rules, "block quick proto tcp to port {port}");
    }
    rules + "pass\n"
}

fn nft_rules() -> String {
    let mut rules =
        "table inet filter {\n chain forward {\n  type filter hook forward priority 0; \
                     policy accept;\n  ct state established,related accept\n"
            .to_owned();
    for port in SHUT {
        let _ = writeln!(rules, "  tcp dport {port} drop");
    }
    rules + "  ct state new accept\n }\n}\n"
}
