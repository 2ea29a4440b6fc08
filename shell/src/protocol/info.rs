//! Status, counters and workers.

use serde::{Deserialize, Serialize};

use super::Traffic;

/// Status and counters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// weir's version.
    pub version: String,
    /// `enabled`, `disabled` (everything passes) or `blocked` (no rule set is in force).
    pub status: String,
    /// Seconds since the daemon was started.
    pub uptime: u64,
    /// Seconds until filtering comes back, if it is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_for: Option<u64>,
    /// Port kind.
    pub io: String,
    /// What the port of `set loginterface` has counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_interface: Option<InterfaceStats>,
    /// States now.
    pub states: u64,
    /// Percent that is left of each time-out because there are more states than `adaptive.start`;
    /// absent while they run in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<u32>,
    /// States of TCP connections whose handshake is not complete.
    #[serde(default)]
    pub half_open: u64,
    /// Look-ups in the state table.
    pub searches: u64,
    /// States made.
    pub inserts: u64,
    /// States that ended.
    pub removals: u64,
    /// Unproven states that had to make room for new ones.
    pub evictions: u64,
    /// Packets of TCP connections that had ended, passed or dropped.
    #[serde(default)]
    pub late: u64,
    /// Handshakes that weir makes in the names of servers.
    #[serde(default)]
    pub syncookies: Syncookies,
    /// Sources that are tracked now.
    #[serde(default)]
    pub src_nodes: u64,
    /// Sources that were seen anew.
    #[serde(default)]
    pub src_node_inserts: u64,
    /// Sources that were forgotten.
    #[serde(default)]
    pub src_node_removals: u64,
    /// Answers to blocked packets.
    pub reflected: u64,
    /// Other frames that weir itself has sent, such as the resets of a connection over a limit.
    #[serde(default)]
    pub crafted: u64,
    /// Frames passed unjudged while the filter was disabled.
    pub unfiltered: u64,
    /// Drops by reason, every reason.
    pub reasons: Vec<ReasonCount>,
    /// Frames judged by all workers together.
    pub frames: u64,
    /// Frames handed to another worker.
    pub handed_over: u64,
    /// Whether flows belong to the workers at whose queues NICs deliver them.
    #[serde(default)]
    pub steered: bool,
    /// Log records that were lost for want of room or by the rate bound.
    pub log_lost: u64,
    /// Each worker.
    pub workers: Vec<WorkerInfo>,
}

/// The port of `set loginterface`.
///
/// `{"name":"eth1","traffic":[{"passed":[10,1000],"blocked":[1,60]},...]}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStats {
    /// Name of the network interface.
    pub name: String,
    /// By family and direction: IPv4 in, IPv4 out, IPv6 in, IPv6 out.
    pub traffic: [Traffic; 4],
}

/// Handshakes that weir makes in the names of servers (`synproxy state`, `set syncookies`).
///
/// `{"mode":"adaptive","active":true,"start":25,"end":12,"sent":9000,"resent":2,"valid":70,
/// "invalid":3,"expired":1,"surplus":0,"refused":2,"silent":0,"lacking":0}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Syncookies {
    /// `never`, `always` or `adaptive`.
    pub mode: String,
    /// Whether SYNs that no rule with `synproxy state` passes are answered now.
    pub active: bool,
    /// Percent of `limit states` that half-open connections have to reach for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u8>,
    /// Percent below which it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<u8>,
    /// SYNs answered.
    pub sent: u64,
    /// Answers sent again.
    pub resent: u64,
    /// Right cookies that came back.
    pub valid: u64,
    /// Wrong ones.
    pub invalid: u64,
    /// Right ones that came too late.
    pub expired: u64,
    /// Clients turned away because a limit was reached.
    pub surplus: u64,
    /// Clients turned away because their server refused them.
    pub refused: u64,
    /// Clients turned away because their server was silent.
    pub silent: u64,
    /// Connections that ended because the server lacked an option that it had before.
    pub lacking: u64,
}

/// A counter of dropped frames.
///
/// `{"name":"block-rule","count":7,"description":"A block rule matched."}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonCount {
    /// The reason.
    pub name: String,
    /// Frames.
    pub count: u64,
    /// What it means.
    pub description: String,
}

/// What a worker has done.
///
/// `{"worker":0,"cpu":2,"states":10,"frames":1000,"handed_over":3,"back_pressure":0}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Its number.
    pub worker: u16,
    /// The CPU it is pinned to.
    pub cpu: Option<u32>,
    /// States in its table.
    pub states: u64,
    /// Frames it judged.
    pub frames: u64,
    /// Frames it handed to another worker.
    pub handed_over: u64,
    /// Rounds in which it did not receive because an output queue was more than half full.
    pub back_pressure: u64,
    /// Nanoseconds in which it had something to do, since the start.
    #[serde(default)]
    pub busy: u64,
}
