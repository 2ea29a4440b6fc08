//! What a logged packet says to programs: names and values, as log servers get them in structured data
//! (RFC 5424, 6.3).

use std::fmt::Write as _;

use weir_config::rules::Direction;
use weir_engine::packet::{Network, Packet, Tags, Transport};
use weir_engine::{Checksum, LogRecord, Meta};

use super::message::LoggedPacket;
use super::teller;
use crate::rules::RuleName;

/// A name and its value.
pub type Field = (&'static str, String);

/// Every name that a logged packet may have, in this order; then those that messages have which sum up.
pub const NAMES: [&str; 28] = [
    "rule", "label", "reason", "action", "dir", "on", "log", "vlan", "proto", "src", "sport",
    "dst", "dport", "flags", "seq", "ack", "win", "type", "code", "id", "frag", "len", "payload",
    "ttl", "tos", "state", "of", "count",
];

/// The fields of a packet. What it does not have is left out.
pub fn of_packet(logged: &LoggedPacket) -> Vec<Field> {
    let LoggedPacket { record, rule, .. } = logged;
    let mut fields = of_judgement(record, rule.as_ref(), logged.role());
    fields.reserve(16);
    let mut put = |name, value: String| fields.push((name, value));
    if let Some(to) = rule.as_ref().map(|rule| rule.log_to).filter(|&to| to != 0) {
        put("log", format!("pflog{to}"));
    }
    // What was logged was read once before, but its headers may be longer than what was kept.
    let Some(packet) = packet_of(record) else {
        put("len", record.length.to_string());
        return fields;
    };
    if packet.tags != Tags::default() {
        let Tags { outer, inner } = packet.tags;
        put("vlan", if inner == 0 { outer.to_string() } else { format!("{outer}.{inner}") });
    }
    put("proto", protocol(&packet));
    put("src", packet.source.to_ip(packet.network).to_string());
    if has_ports(&packet) {
        put("sport", packet.source_port.to_string());
    }
    put("dst", packet.destination.to_ip(packet.network).to_string());
    if has_ports(&packet) {
        put("dport", packet.destination_port.to_string());
    }
    match packet.transport {
        Transport::Tcp(tcp) => {
            put("flags", flags(tcp.flags));
            put("seq", tcp.seq.to_string());
            put("ack", tcp.ack.to_string());
            put("win", tcp.window.to_string());
        }
        Transport::IcmpQuery(icmp) | Transport::IcmpOther(icmp) | Transport::IcmpError(icmp, _) => {
            put("type", icmp.kind.to_string());
            put("code", icmp.code.to_string());
            if matches!(packet.transport, Transport::IcmpQuery(_)) {
                put("id", packet.source_port.to_string());
            }
        }
        Transport::Fragment(fragment) => put("frag", fragment.offset.to_string()),
        Transport::Udp | Transport::Sctp(_) | Transport::Other => {}
    }
    put("len", packet.length.to_string());
    if has_ports(&packet) {
        put("payload", packet.payload.to_string());
    }
    if packet.network != Network::Arp {
        put("ttl", packet.ttl.to_string());
        put("tos", packet.tos.to_string());
    }
    if let Some(state) = &record.state {
        let [initiator, responder] = &state.peers;
        put("state", format!("{}:{}", responder.state, initiator.state));
    }
    fields
}

/// What packets have in common that a rule treats alike.
pub(super) fn of_judgement(record: &LogRecord, rule: Option<&RuleName>, role: &str) -> Vec<Field> {
    let number = rule.map_or_else(|| "none".to_owned(), |rule| rule.number.clone());
    let mut fields = vec![("rule", number)];
    if let Some(label) = rule.and_then(|rule| rule.label.clone()) {
        fields.push(("label", label));
    }
    if let Some(reason) = record.reason {
        fields.push(("reason", reason.to_string()));
    }
    fields.push(("action", teller::action_name(record.action).to_owned()));
    fields.push(("dir", teller::direction(record).to_owned()));
    fields.push(("on", role.to_owned()));
    fields
}

/// The packet that a record is about, as far as its first bytes tell.
pub fn packet_of(record: &LogRecord) -> Option<Packet> {
    let head = &record.bytes[..usize::from(record.captured).min(record.bytes.len())];
    let meta = Meta {
        port: record.port,
        // Nobody looks at the checksum of what was judged.
        checksum: Checksum::Valid,
        gso_size: 0,
        length: record.length,
    };
    Packet::parse(head, &meta).ok()
}

/// Where the rule that spoke saw the packet.
pub const fn place_of(record: &LogRecord) -> (weir_engine::PortIndex, Direction) {
    (record.at, record.direction)
}

const fn has_ports(packet: &Packet) -> bool {
    matches!(packet.transport, Transport::Tcp(_) | Transport::Udp | Transport::Sctp(_))
}

fn protocol(packet: &Packet) -> String {
    use weir_engine::packet::protocol::{ICMP, ICMP6, IGMP, SCTP, TCP, UDP};
    match (packet.network, packet.protocol) {
        (Network::Arp, _) => "arp".into(),
        (_, TCP) => "tcp".into(),
        (_, UDP) => "udp".into(),
        (_, ICMP) => "icmp".into(),
        (_, ICMP6) => "icmp6".into(),
        (_, SCTP) => "sctp".into(),
        (_, IGMP) => "igmp".into(),
        (_, number) => number.to_string(),
    }
}

/// The letters of pf.conf(5): `SA`.
fn flags(bits: u8) -> String {
    let mut text = String::new();
    for (i, letter) in ["F", "S", "R", "P", "A", "U", "E", "W"].into_iter().enumerate() {
        if bits >> i & 1 != 0 {
            let _ = write!(text, "{letter}");
        }
    }
    text
}
