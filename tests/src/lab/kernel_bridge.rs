//! The kernel's own bridge between the firewall's interfaces: what weir is compared with, and the
//! proof that a scenario works when nothing filters.

use super::Lab;

/// A kernel bridge over both ports; taken apart when it goes out of scope.
#[derive(Debug)]
pub struct KernelBridge<'a> {
    lab: &'a Lab,
}

impl<'a> KernelBridge<'a> {
    /// Joins the ports and waits until frames can pass.
    pub fn start(lab: &'a Lab) -> Self {
        let firewall = &lab.firewall;
        firewall.ip(&[
            "link",
            "add",
            "br0",
            "type",
            "bridge",
            "stp_state",
            "0",
            "forward_delay",
            "0",
        ]);
        // `br_netfilter` hands bridged packets to the IP hooks only where a test asks for it.
        Self::set_netfilter(lab, false);
        for port in [Lab::LAN, Lab::WAN] {
            firewall.ip(&["link", "set", port, "master", "br0"]);
            firewall.ip(&["link", "set", port, "up"]);
        }
        firewall.ip(&["link", "set", "br0", "up"]);
        lab.wait_links();
        Self { lab }
    }

    /// Whether bridged packets pass the `inet` hooks of nftables too (`br_netfilter`). Returns
    /// whether this kernel can do it.
    pub fn set_netfilter(lab: &Lab, on: bool) -> bool {
        let value = if on { "1" } else { "0" };
        ["iptables", "ip6tables", "arptables"].iter().all(|table| {
            let key = format!("/proc/sys/net/bridge/bridge-nf-call-{table}");
            lab.firewall.within(|| std::fs::write(key, value)).is_ok()
        })
    }
}

impl Drop for KernelBridge<'_> {
    fn drop(&mut self) {
        let _ = self.lab.firewall.run(&["ip", "link", "delete", "br0"]);
    }
}
