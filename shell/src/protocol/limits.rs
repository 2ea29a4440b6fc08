//! Time-outs and bounded pools.

use serde::{Deserialize, Serialize};

/// A time-out in force.
///
/// `{"name":"tcp.first","value":120,"unit":"s"}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeout {
    /// As pf.conf(5) names it.
    pub name: String,
    /// In units of `unit`.
    pub value: u32,
    /// `s` or `states`.
    pub unit: String,
}

/// A bounded pool.
///
/// `{"name":"states","limit":100000,"used":12,"peak":340,"reserved":1000000}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// As `set limit` names it.
    pub name: String,
    /// How many there may be.
    pub limit: u64,
    /// How many there are.
    pub used: u64,
    /// How many there were at most.
    pub peak: u64,
    /// For how many memory is reserved from the start on: the highest limit that can be set. Absent
    /// where memory is taken as it is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<u64>,
}
