//! Ports with their counters.

use serde::{Deserialize, Serialize};

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// `lan` or `wan`.
    pub role: String,
    /// Name of the network interface.
    pub name: String,
    /// Port kind.
    pub io: String,
    /// `set skip on` it is in force.
    pub skip: bool,
    /// Networks behind it, as the settings file says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
    /// Seconds since the counters were cleared.
    pub cleared: u64,
    /// By family and direction: IPv4 in, IPv4 out, IPv6 in, IPv6 out, rest in, rest out.
    pub traffic: [Traffic; 6],
    /// What the port itself has counted since it was opened.
    pub device: Device,
}

/// Packets and bytes of one family and direction.
///
/// `{"passed":[10,1000],"blocked":[1,60]}`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets and bytes that passed.
    pub passed: [u64; 2],
    /// Packets and bytes that were blocked.
    pub blocked: [u64; 2],
}

/// Counters of the ring or socket behind a port, summed over its queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Frames taken in.
    pub received: u64,
    /// Frames given out.
    pub transmitted: u64,
    /// Frames that came in broken.
    pub malformed: u64,
    /// Frames that this port can never send.
    pub unsendable: u64,
    /// Frames lost before weir saw them.
    pub missed: u64,
    /// Rounds in which a full transmit ring left frames waiting.
    pub transmit_full: u64,
    /// Rounds in which an empty pool left frames in the receive ring.
    pub pool_empty: u64,
}
