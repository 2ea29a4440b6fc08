//! The log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Which part of the log is wanted.
///
/// `{"follow":true,"last":20,"filter":"block rule 14 proto tcp to port 22"}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Follow {
    /// Also what comes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follow: bool,
    /// So many at most of what was told already; all that is remembered if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// Words that a line must fit, on one line of at most [`MAX_FILTER`](super::MAX_FILTER) bytes: any
    /// of `packets`, `events`, `pass`, `block`, `match`, `rule NUMBER`, `label NAME`, `reason NAME`,
    /// `name NAME` (of a message), `severity NAME` (and graver), then the criteria of a rule. Everything
    /// if it is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter: String,
}

/// Something that was told.
///
/// `{"time":1792000000000000000,"date":"2026-10-14T21:46:40.000000Z","name":"packet",
/// "severity":"notice","text":"rule 0/block-rule: block in on wan: IP ...","data":{"rule":"0",...}}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When, in nanoseconds since 1970.
    pub time: u64,
    /// The same as RFC 3339 has it, in UTC.
    pub date: String,
    /// Name of the message, `packet` for a logged packet; see weir-log(5).
    pub name: String,
    /// As RFC 5424 names it.
    pub severity: String,
    /// In words; nothing in it can control a terminal.
    pub text: String,
    /// What programs may want to know, by name; see weir-log(5).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
}
