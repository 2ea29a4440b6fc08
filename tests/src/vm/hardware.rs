//! What a machine consists of, as QEMU is told.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Cards of conventional PCI, which have no place on a port of PCI Express.
const CONVENTIONAL: [&str; 1] = ["e1000"];

/// The QEMU to run: `QEMU` names another than the one on the path.
pub(super) fn qemu() -> String {
    std::env::var("QEMU").unwrap_or_else(|_| "qemu-system-x86_64".to_owned())
}

/// A network card of a guest.
#[derive(Clone, Debug)]
pub struct Nic {
    /// What QEMU calls the device: `virtio-net-pci`, `e1000`.
    pub model: &'static str,
    /// The network that it is plugged into; all cards with the same number hear each other.
    pub network: u32,
    /// Last byte of its hardware address, `52:54:00:00:00:XX`, and what the monitor knows it by.
    pub number: u8,
    /// Pairs of queues of a virtio card, 1 to 8; with more than one it hashes (RSS), and all cards of
    /// the machine are plugged into bridges of a network namespace of its own. Other models have what
    /// they have, and 1 here.
    pub queues: u8,
}

impl Nic {
    /// Its hardware address.
    pub fn mac(&self) -> String {
        format!("52:54:00:00:00:{:02x}", self.number)
    }

    /// Whether this QEMU has the model.
    pub fn is_there(&self) -> bool {
        let asked = Command::new(qemu())
            .args(["-device", &format!("{},help", self.model)])
            .stdin(Stdio::null())
            .output();
        asked.is_ok_and(|output| output.status.success())
    }

    /// What `-device` and the monitor's `device_add` are told.
    pub(super) fn device(&self) -> String {
        let Self { model, number, queues, .. } = self;
        let mut device =
            format!("{model},id=nic{number},netdev=net{number},mac={},romfile=", self.mac());
        if !CONVENTIONAL.contains(model) {
            let _ = write!(device, ",bus=port{number}");
        }
        if *queues > 1 {
            // An interrupt for each direction of each pair, one for settings, one for control.
            let _ = write!(device, ",mq=on,rss=on,vectors={}", 2 * queues + 2);
        }
        device
    }

    fn arguments(&self, taps: bool) -> [String; 6] {
        let Self { network, number, queues, .. } = self;
        let backend = if taps {
            format!(
                "tap,id=net{number},ifname=tap{number},queues={queues},script=no,downscript=no,\
                 vhost=off"
            )
        } else {
            format!("hubport,id=net{number},hubid={network}")
        };
        let port = format!("pcie-root-port,id=port{number},chassis={number},slot={number}");
        ["-netdev".into(), backend, "-device".into(), port, "-device".into(), self.device()]
    }
}

/// How a machine is started with these cards: QEMU, in a network namespace with bridges if a card has
/// more than one queue, which hubs of QEMU cannot serve.
pub(super) fn command(nics: &[Nic]) -> Command {
    let taps = nics.iter().any(|nic| nic.queues > 1);
    let mut command = if taps {
        let mut wires = "set -e; sysctl -qw net.ipv6.conf.default.disable_ipv6=1\n".to_owned();
        let mut networks: Vec<u32> = nics.iter().map(|nic| nic.network).collect();
        networks.sort_unstable();
        networks.dedup();
        for network in networks {
            let _ = writeln!(
                wires,
                "ip link add hub{network} type bridge mcast_snooping 0; ip link set hub{network} up"
            );
        }
        for Nic { network, number, queues, .. } in nics {
            let kind = if *queues > 1 { "multi_queue" } else { "" };
            let _ = writeln!(
                wires,
                "ip tuntap add tap{number} mode tap vnet_hdr {kind}; \
                 ip link set tap{number} master hub{network} up"
            );
        }
        wires.push_str("exec \"$0\" \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "sh", "-c", &wires]).arg(qemu());
        command
    } else {
        Command::new(qemu())
    };
    command.args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"]);
    for nic in nics {
        command.args(nic.arguments(taps));
    }
    command
}

/// Tells QEMU what to boot.
pub(super) fn boots(command: &mut Command, kernel: &Path, initrd: &Path, megabytes: u32) {
    command
        .args(["-m", &megabytes.to_string()])
        .args(["-display", "none", "-monitor", "none", "-no-reboot", "-nodefaults"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initrd)
        .args(["-append", "console=ttyS0 panic=-1"]);
}

#[cfg(test)]
mod tests {
    use super::Nic;

    #[test]
    fn only_cards_with_queues_hash_and_only_those_of_today_sit_on_ports() {
        let words = |model, queues| {
            Nic { model, network: 4, number: 10, queues }.arguments(queues > 1).join(" ")
        };
        let several = words("virtio-net-pci", 2);
        assert!(several.contains("tap,id=net10,ifname=tap10,queues=2"), "{several}");
        assert!(several.contains("mac=52:54:00:00:00:0a"), "{several}");
        assert!(several.ends_with(",bus=port10,mq=on,rss=on,vectors=6"), "{several}");
        let old = words("e1000", 1);
        assert!(old.contains("hubport,id=net10,hubid=4") && !old.contains("bus="), "{old}");
    }
}
