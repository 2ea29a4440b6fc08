//! The rule sets of the bench.

use std::fmt::Write as _;

/// Rules by which the bench's connections pass.
pub(super) fn passing(states: u32) -> String {
    format!(
        "set limit states {states}\n\
         set timeout {{ adaptive.start 0, adaptive.end 0 }}\n\
         block\n\
         pass proto tcp from 10.0.0.0/8 to 198.18.0.0/15 port 443 flags S/SA keep state\n\
         pass proto udp from 10.0.0.0/8 to 198.18.0.0/15 port 443 keep state\n"
    )
}

/// The same where the sequence numbers of TCP are changed.
pub(super) fn modulating(states: u32) -> String {
    passing(states).replace("S/SA keep state", "S/SA modulate state")
}

/// The same where weir completes the handshakes of TCP first.
pub(super) fn proxying(states: u32) -> String {
    passing(states).replace("S/SA keep state", "S/SA synproxy state")
}

/// The same as the first where no client may have more than ten connections.
pub(super) fn limiting(states: u32) -> String {
    let passing = passing(states).replace("S/SA keep state", "S/SA keep state (max-src-conn 10)");
    format!("set limit src-nodes {states}\n{passing}")
}

/// `count` rules of five kinds: hosts, networks and prefixes of either end, TCP and UDP, ports and
/// port ranges. Some hold the sender or the receiver of the unknown packets; no passing one both.
pub(super) fn blocking(count: u32) -> String {
    let mut rules = "block\n".to_owned();
    for i in 1..count {
        let [_, a, b, c] = i.wrapping_mul(0x9e_3779).to_be_bytes();
        let (port, length) = (1024 + i % 60_000, 17 + i % 16);
        // Writing to a string does not fail.
        let _ = match i % 5 {
            0 => writeln!(
                rules,
                "pass proto tcp from 172.{}.{b}.0/24 to 203.0.{a}.{c} port {port}",
                16 + a % 16
            ),
            1 => writeln!(rules, "pass proto udp from any to 198.18.{b}.{c} port {port}"),
            2 => writeln!(
                rules,
                "block proto tcp from 10.{a}.{b}.0/24 to any port {port}:{}",
                port + 200
            ),
            3 => writeln!(
                rules,
                "pass proto tcp from any to 198.{}.{b}.{c}/{length} port {port}",
                18 + a % 2
            ),
            _ => writeln!(rules, "block from 10.{a}.{b}.{c} to 198.51.100.0/24"),
        };
    }
    rules
}
