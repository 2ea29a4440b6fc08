//! Which states or sources a request means: criteria that all must hold, their order and how many.

use serde::{Deserialize, Serialize};

/// Criteria of one request at most, those in `not` included.
pub const MAX_CRITERIA: usize = 32;

/// How many things a sorted listing keeps at most.
pub const MAX_SORTED: u32 = 10_000;

/// How many a sorted listing keeps unless the request says otherwise.
pub const SORTED: u32 = 1_000;

/// Which states are listed, and how.
///
/// `{"where":[{"host":"192.0.2.1"},{"state":"ESTABLISHED"}],"sort":"bytes","limit":10}`
pub type StateQuery = Query<StateCriterion, StateOrder>;

/// Which sources are listed, and how.
///
/// `{"where":[{"states":{"over":100}}],"sort":"rate","limit":10}`
pub type SourceQuery = Query<SourceCriterion, SourceOrder>;

/// Which things are listed, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query<C, O> {
    /// All of these hold, [`MAX_CRITERIA`] at most.
    #[serde(rename = "where", default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub criteria: Vec<C>,
    /// In this order, the largest first; in no order if there is none.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub sort: Option<O>,
    /// The smallest first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reverse: bool,
    /// No more than so many. With `sort` [`SORTED`] unless it is given, and [`MAX_SORTED`] at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only tell how many there are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub count: bool,
}

/// Everything, in no order.
impl<C, O> Default for Query<C, O> {
    fn default() -> Self {
        Self { criteria: Vec::new(), sort: None, reverse: false, limit: None, count: false }
    }
}

const fn none<O>() -> Option<O> {
    None
}

/// What a state must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateCriterion {
    /// Anything else.
    ///
    /// `{"not":{"host":"192.0.2.1"}}`
    Not(Box<Self>),
    /// One of its hosts is this address or in this prefix.
    Host(String),
    /// Its initiator is.
    From(String),
    /// Its responder is.
    To(String),
    /// One of its ports, or the id of its ICMP query, is in this range.
    ///
    /// `{"port":[80,80]}`
    Port(u16, u16),
    /// The initiator's is.
    FromPort(u16, u16),
    /// The responder's is.
    ToPort(u16, u16),
    /// It is of this version of IP, 4 or 6.
    Ip(u8),
    /// It is of this IP protocol, by number.
    Proto(u8),
    /// One of its ends is in this state; with a colon the responder and the initiator are, as
    /// listings print them.
    ///
    /// `{"state":"FIN_WAIT_2:ESTABLISHED"}`
    State(String),
    /// A rule of this number, or of this name if it is in an anchor, let it pass on one of the ports.
    ///
    /// `{"rule":"3.webfarm.0"}`
    Rule(String),
    /// A rule with this label did.
    Label(String),
    /// Its initiator is on this port, by role or by the name of the interface.
    Interface(String),
    /// It has this VLAN id.
    Vlan(u16),
    /// It has this id, sixteen hexadecimal digits.
    Id(String),
    /// Seconds since its first packet.
    Age(Bound),
    /// Seconds since its last packet.
    Idle(Bound),
    /// Seconds until it ends.
    Expires(Bound),
    /// Packets of both ends.
    Packets(Bound),
    /// Bytes of both ends.
    Bytes(Bound),
    /// Bytes a second of both ends, on an average since its first packet.
    Rate(Bound),
}

/// By what states are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateOrder {
    /// Seconds since the first packet.
    Age,
    /// Seconds since the last packet.
    Idle,
    /// Seconds until it ends.
    Expires,
    /// Packets of both ends.
    Packets,
    /// Bytes of both ends.
    Bytes,
    /// Bytes a second of both ends, on an average.
    Rate,
}

/// What a source must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceCriterion {
    /// Anything else.
    Not(Box<Self>),
    /// It is this address or in this prefix.
    Host(String),
    /// It is of this version of IP, 4 or 6.
    Ip(u8),
    /// A rule of this number, or of this name if it is in an anchor, counts it.
    Rule(String),
    /// States that it has begun.
    States(Bound),
    /// Its connections.
    Connections(Bound),
    /// Tenths of connections that count for `max-src-conn-rate` now.
    Rate(Bound),
    /// Seconds since its first state.
    Age(Bound),
}

/// By what sources are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceOrder {
    /// States that they have begun.
    States,
    /// Their connections.
    Connections,
    /// Connections that count for `max-src-conn-rate` now.
    Rate,
    /// Seconds since the first state.
    Age,
    /// Packets of ended states.
    Packets,
    /// Bytes of ended states.
    Bytes,
}

/// A number beyond another.
///
/// `{"over":60}`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// It is larger.
    Over(u64),
    /// It is smaller.
    Under(u64),
}

impl Bound {
    /// Whether the number is.
    pub const fn holds(self, number: u64) -> bool {
        match self {
            Self::Over(bound) => number > bound,
            Self::Under(bound) => number < bound,
        }
    }
}

impl<C, O> Query<C, O> {
    /// How many things the listing has at most; `None` if it has all.
    pub fn most(&self) -> Option<u32> {
        match self.sort {
            Some(_) => Some(self.limit.unwrap_or(SORTED).min(MAX_SORTED)),
            None => self.limit,
        }
    }
}
