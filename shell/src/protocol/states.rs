//! States: listed and removed.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::StateCriterion;

/// A state.
///
/// `{"id":"00000000000000a1","worker":0,"port":"wan","protocol":6,
/// "source":"192.0.2.1","source_port":40000,"destination":"198.51.100.2","destination_port":80,
/// "peers":[{"state":"ESTABLISHED","seq_lo":1,"seq_hi":2,"wscale":7},...],
/// "age":5,"idle":1,"expires":86398,"packets":[5,4],"bytes":[500,400],"rules":[3,null]}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its id, sixteen hexadecimal digits.
    pub id: String,
    /// The worker that owns it.
    pub worker: u16,
    /// The port its initiator is on, by role.
    pub port: String,
    /// VLAN ids, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<u16>,
    /// IP protocol number.
    pub protocol: u8,
    /// Address of the initiator.
    pub source: IpAddr,
    /// Its port, or the id of an ICMP query, or 0.
    pub source_port: u16,
    /// Address of the responder.
    pub destination: IpAddr,
    /// Its port, or the id of an ICMP query, or 0.
    pub destination_port: u16,
    /// Initiator and responder.
    pub peers: [Peer; 2],
    /// Seconds since it was made.
    pub age: u32,
    /// Seconds since the last packet.
    pub idle: u32,
    /// Seconds until it ends if nothing more comes.
    pub expires: u32,
    /// Packets from the initiator and from the responder.
    pub packets: [u64; 2],
    /// Bytes of them.
    pub bytes: [u64; 2],
    /// The rules that let it pass, arriving and leaving: their numbers, counted over the main rule
    /// set and then the anchors in the order of their paths.
    pub rules: [Option<u32>; 2],
    /// For those in anchors, how logs call them: `3.webfarm.0` is rule 0 of `webfarm`, which rule 3
    /// of the main rule set calls.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub anchored: [Option<String>; 2],
}

fn is_empty(pair: &[Option<String>; 2]) -> bool {
    pair.iter().all(Option::is_none)
}

/// One end of a state.
///
/// `{"state":"ESTABLISHED","seq_lo":1000,"seq_hi":66536,"wscale":7}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its state by name; for ICMP a number.
    pub state: String,
    /// Lowest sequence number it may send next.
    pub seq_lo: u32,
    /// Highest sequence number it may send up to.
    pub seq_hi: u32,
    /// What is added to its sequence numbers for the other end, if they are translated.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seq_diff: u32,
    /// Window scale, if both ends have offered one.
    pub wscale: Option<u8>,
}

/// Which states to remove.
///
/// `{"where":[{"from":"192.0.2.0/24"},{"to":"198.51.100.2"}]}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kill {
    /// All of these hold; at least one, so that nobody removes all states by leaving it out.
    #[serde(rename = "where")]
    pub criteria: Vec<StateCriterion>,
}

/// Whether a number need not be said.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}
