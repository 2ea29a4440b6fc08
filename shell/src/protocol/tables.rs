//! Tables in the control protocol.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A change of a table, or a question about it.
///
/// `{"name":"bad","action":"add","addresses":["192.0.2.1","!192.0.2.7 timeout 1h"]}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TableChange {
    /// Its name.
    pub name: String,
    /// Path of the anchor it is in; the main rule set if it is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub anchor: String,
    /// What is to be done.
    pub action: TableAction,
    /// Addresses and prefixes as in a table file: with `!` before them, `timeout N` behind them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Only tell what would happen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Tell what became of each address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub feedback: bool,
}

/// What pfctl's `-T` can do to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableAction {
    /// Adds addresses; makes the table if there is none, as a persistent one.
    Add,
    /// Deletes addresses.
    Delete,
    /// Makes these addresses the only ones; makes the table if there is none.
    Replace,
    /// Tells which of the addresses are in the table.
    Test,
    /// Clears the counters of these addresses, or of the table and all in it if there are none.
    Zero,
    /// Deletes addresses whose counters were cleared longer ago.
    Expire {
        /// Than so many seconds.
        seconds: u64,
    },
    /// Deletes all addresses.
    Flush,
    /// Deletes the table.
    Kill,
}

impl TableAction {
    /// Whether a table that is `const` allows it.
    pub const fn leaves_entries(self) -> bool {
        matches!(self, Self::Test | Self::Zero | Self::Kill)
    }
}

/// As `-T` takes it.
impl fmt::Display for TableAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "add",
            Self::Delete => "delete",
            Self::Replace => "replace",
            Self::Test => "test",
            Self::Zero => "zero",
            Self::Expire { seconds } => return write!(f, "expire {seconds}"),
            Self::Flush => "flush",
            Self::Kill => "kill",
        })
    }
}

/// How a change of a table went.
///
/// `{"created":false,"addresses":3,"added":2,"deleted":0,"changed":0,"cleared":0,"matched":0}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableOutcome {
    /// The table was made.
    pub created: bool,
    /// Addresses in the request; for `expire` those that were old enough.
    pub addresses: u64,
    /// Addresses added.
    pub added: u64,
    /// Addresses deleted; for `kill` tables.
    pub deleted: u64,
    /// Addresses that were given or lost their `!` or time-out.
    pub changed: u64,
    /// Addresses, or the one table, whose counters were cleared.
    pub cleared: u64,
    /// Addresses that are in the table.
    pub matched: u64,
}

/// What became of one address.
///
/// `{"address":"192.0.2.1","feedback":"added"}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFeedback {
    /// The address or prefix, with `!` before it if there was one.
    pub address: String,
    /// What became of it.
    pub feedback: Feedback,
    /// For `test`: the entry with the longest prefix that holds the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
}

/// What becomes of an address, by pf's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feedback {
    /// Nothing.
    None,
    /// It is in the table.
    Match,
    /// It is held by a `!` entry.
    NotMatch,
    /// It was added.
    Added,
    /// It was deleted.
    Deleted,
    /// It was changed.
    Changed,
    /// Its counters were cleared.
    Cleared,
    /// It was named before.
    Duplicate,
    /// It is there with another sign.
    Conflict,
}

/// A table.
///
/// `{"name":"bad","anchor":"","persist":true,"const":false,"active":true,"referenced":true,
/// "counters":false,"addresses":2,"cleared":17,"anchors":0,"rules":1,"evaluations":[10,3],
/// "traffic":[[[3,180],[0,0],[0,0],[0,0]],[[0,0],[0,0],[0,0],[0,0]]]}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own in pf, too")]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Path of the anchor it is in; empty for the main rule set.
    pub anchor: String,
    /// It stays when no rule names it.
    pub persist: bool,
    /// It cannot be changed.
    #[serde(rename = "const")]
    pub constant: bool,
    /// It is declared, or was made by `add`; otherwise only rules name it.
    pub active: bool,
    /// Rules name it.
    pub referenced: bool,
    /// Packets are counted for each address.
    pub counters: bool,
    /// How many addresses and prefixes are in it.
    pub addresses: u64,
    /// Seconds since its counters were cleared.
    pub cleared: u64,
    /// Anchors other than its own with rules that name it.
    pub anchors: u64,
    /// Rules that name it.
    pub rules: u64,
    /// Look-ups that did not find the address, and those that did.
    pub evaluations: [u64; 2],
    /// Packets and bytes: in, out; of each blocked, matched, passed, and passed by a state although
    /// the address is no longer in the table.
    pub traffic: [[[u64; 2]; 4]; 2],
}

/// An entry of a table.
///
/// `{"address":"!192.0.2.0/24","cleared":17,"expires":3583,
/// "traffic":[[[3,180],[0,0],[0,0]],[[0,0],[0,0],[0,0]]]}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableEntry {
    /// The address or prefix, `!` before it if it was written with one.
    pub address: String,
    /// Seconds since its counters were cleared, or it was added.
    pub cleared: u64,
    /// Seconds until it goes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Packets and bytes: in, out; of each blocked, matched, passed. Only if the table counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<[[[u64; 2]; 3]; 2]>,
}
