//! Rules with their counters.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The rules of one rule set.
///
/// `{"origin":"/etc/weir/weir.conf","built_in":["pass quick arp"],"rules":[]}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleListing {
    /// Path of the anchor; empty for the main rule set.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub anchor: String,
    /// Name of the file they came from; absent when everything is blocked for want of rules, and
    /// for an anchor that nothing was loaded into.
    pub origin: Option<String>,
    /// What passes before any rule is asked, in words; only in the main rule set's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub built_in: Vec<String>,
    /// The rules, in order.
    pub rules: Vec<Rule>,
    /// The rule sets of anchors that were asked for with this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nested: Vec<Self>,
}

/// A rule with its counters, summed over workers.
///
/// `{"number":0,"text":"pass all flags S/SA","evaluations":9,"packets":[4,4],"bytes":[400,900],
/// "states":1,"states_total":2}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its number in its rule set, from 0.
    pub number: u32,
    /// As `-s rules` prints it.
    pub text: String,
    /// Its label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How often it was looked at.
    pub evaluations: u64,
    /// Packets it decided: arriving, leaving.
    pub packets: [u64; 2],
    /// Bytes of them.
    pub bytes: [u64; 2],
    /// States it holds now.
    pub states: u64,
    /// States it has made.
    pub states_total: u64,
    /// What its limits have refused, by the name of the reason; limits that refused nothing are not
    /// there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, u64>,
    /// The anchor that it calls, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
}

/// An anchor as a rule calls it.
///
/// `{"path":"authpf","wildcard":true}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its path; with `wildcard` that of its parent, which may be the main rule set.
    pub path: String,
    /// All anchors directly below.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wildcard: bool,
}
