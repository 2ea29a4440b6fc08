//! The states in sum: by phase, and by host.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Hosts that a tally names at most.
pub const MAX_TALLY: u32 = 100;

/// All states in sum.
///
/// `{"states":3,"phases":[{"protocol":6,"state":"ESTABLISHED:ESTABLISHED","states":3}],
/// "sources":[{"address":"192.0.2.1","states":2,"packets":9,"bytes":900}],"destinations":[],
/// "estimated":false}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateTally {
    /// How many there are.
    pub states: u64,
    /// By protocol and what both ends are in, the most frequent first.
    pub phases: Vec<Phase>,
    /// The initiators of most states.
    pub sources: Vec<HostTally>,
    /// The responders of most states.
    pub destinations: Vec<HostTally>,
    /// There are too many hosts to count each: the numbers of hosts are lower bounds.
    pub estimated: bool,
}

/// States that stand alike.
///
/// `{"protocol":6,"state":"ESTABLISHED:ESTABLISHED","states":3}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// IP protocol number.
    pub protocol: u8,
    /// What the responder and the initiator are in, as listings print it.
    pub state: String,
    /// How many there are.
    pub states: u64,
}

/// The states of a host.
///
/// `{"address":"192.0.2.1","states":2,"packets":9,"bytes":900}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostTally {
    /// Its address.
    pub address: IpAddr,
    /// How many it has.
    pub states: u64,
    /// Packets of these, of both ends.
    pub packets: u64,
    /// Bytes of these.
    pub bytes: u64,
}
