//! The kernel's own SYN proxy: nftables' `synproxy`, in a firewall that routes, since the kernel has
//! none for bridges. Hosts keep their addresses and believe that they share a link: the firewall
//! answers ARP for each of them (`proxy_arp`).

use super::{Lab, eventually};

/// Address of the firewall on both links, which no host has.
const ADDRESS: &str = "192.0.2.254/32";

/// A firewall that routes IPv4 between client and server, and protects one port of all servers.
#[derive(Debug)]
pub struct KernelSynproxy<'a> {
    lab: &'a Lab,
}

impl<'a> KernelSynproxy<'a> {
    /// Sets everything up, as nft(8) and the wiki of nftables say, with what the server of the lab
    /// offers written down: maximum segment size, window scale, SACK, timestamps.
    ///
    /// # Errors
    /// What `nft` says if this kernel has no `synproxy`.
    pub fn start(lab: &'a Lab, port: u16) -> Result<Self, String> {
        let firewall = &lab.firewall;
        let rules = format!(
            "table inet filter {{\n chain first {{\n  type filter hook prerouting priority raw;\n  \
             iifname {lan} tcp dport {port} tcp flags syn notrack\n }}\n \
             chain forward {{\n  type filter hook forward priority filter;\n  \
             tcp dport {port} ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm\n  \
             ct state invalid drop\n }}\n}}\n",
            lan = Lab::LAN,
        );
        let file = lab.folder().join("synproxy.nft");
        std::fs::write(&file, rules).expect("our folder");
        let said = firewall.run(&["nft", "-f", &file.to_string_lossy()]);
        if !said.success() {
            return Err(said.stderr);
        }
        for (host, link) in [(&lab.client, Lab::LAN), (&lab.server, Lab::WAN)] {
            firewall.sysctl(&format!("net.ipv4.conf.{link}.proxy_arp"), "1");
            firewall.sysctl(&format!("net.ipv4.conf.{link}.rp_filter"), "0");
            firewall.ip(&["addr", "add", ADDRESS, "dev", link]);
            firewall.ip(&["route", "add", &host.inet.to_string(), "dev", link]);
        }
        let client = lab.client.inet.to_string();
        firewall.ip(&["route", "add", "default", "via", &client, "dev", Lab::LAN]);
        firewall.sysctl("net.ipv4.conf.all.rp_filter", "0");
        firewall.sysctl("net.ipv4.tcp_syncookies", "1");
        firewall.sysctl("net.ipv4.tcp_timestamps", "1");
        // So that the ACK of a handshake that conntrack has not seen goes to the proxy.
        firewall.sysctl("net.netfilter.nf_conntrack_tcp_loose", "0");
        firewall.sysctl("net.ipv4.ip_forward", "1");
        for host in [&lab.client, &lab.server] {
            host.namespace.ip(&["neigh", "flush", "dev", "eth0"]);
        }
        lab.wait_links();
        eventually("a ping passes", || lab.pings(super::Family::Inet));
        Ok(Self { lab })
    }

    /// SYNs that it has answered so far.
    pub fn answered(&self) -> u64 {
        let read = || std::fs::read_to_string("/proc/thread-self/net/stat/synproxy");
        let text = self.lab.firewall.within(read).expect("a kernel with synproxy has it");
        // A line for each processor, in hexadecimal; the second number counts SYNs.
        let count = |line: &str| {
            let word = line.split_whitespace().nth(1);
            u64::from_str_radix(word.expect("five numbers"), 16).expect("hexadecimal")
        };
        text.lines().skip(1).map(count).sum()
    }
}

impl Drop for KernelSynproxy<'_> {
    fn drop(&mut self) {
        self.lab.firewall.sysctl("net.ipv4.ip_forward", "0");
        let _ = self.lab.firewall.run(&["nft", "flush", "ruleset"]);
    }
}
