//! Sources that rules limit.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A source that rules limit.
///
/// `{"address":"192.0.2.1","states":3,"connections":2,"rate":[15,10],"age":5,"expires":null,
/// "packets":9,"bytes":900,"rule":3}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackedSource {
    /// Its address.
    pub address: IpAddr,
    /// States that it has begun.
    pub states: u32,
    /// Its connections, as `set src-conn-count` counts them.
    pub connections: u32,
    /// Tenths of connections that count for `max-src-conn-rate` now, and its seconds; 0 and 0 without
    /// one.
    pub rate: (u64, u32),
    /// Seconds since its first state.
    pub age: u64,
    /// Seconds until it is forgotten, if it has no states.
    pub expires: Option<u64>,
    /// Packets of its ended states.
    pub packets: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Number of the rule that counts it, as for a state; absent for `source-track global`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// If that is in an anchor, how logs call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchored: Option<String>,
}
