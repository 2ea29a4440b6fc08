//! Changes of the rules that are kept and can be taken back.

use serde::{Deserialize, Serialize};

use super::Load;

/// The longest comment, in bytes.
pub const MAX_COMMENT: usize = 1024;

/// The longest time that a change may wait to be confirmed: a day, in seconds.
pub const MAX_CONFIRM_SECONDS: u32 = 86_400;

/// A load that is put in force with care.
///
/// `{"load":{"sources":[{"name":"a","text":"pass\n"}]},"terms":{"comment":"open up","confirm":300}}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// The rules.
    pub load: Load,
    /// How it is put in force.
    #[serde(default)]
    pub terms: Terms,
}

/// Back to what was in force before.
///
/// `{"number":12,"terms":{"comment":"the web farm is gone"}}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// To the load of this number. Without one: a change that waits to be confirmed is undone; else
    /// to the load before the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// How it is put in force.
    #[serde(default)]
    pub terms: Terms,
}

/// How a change is put in force.
///
/// `{"comment":"let mail in","confirm":300,"force":true}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Why it is made, at most [`MAX_COMMENT`] bytes in one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Seconds, 1 to [`MAX_CONFIRM_SECONDS`], after which it is undone unless it has been confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<u32>,
    /// Also if it cuts more of the live states than the settings file allows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// What is kept, and where the daemon starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// What can be read, the oldest first.
    pub entries: Vec<Entry>,
    /// What cannot, in words that name the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
    /// Seconds until the pending entry is undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within: Option<u64>,
    /// The rule file that a start and SIGHUP load.
    pub rules_file: String,
}

/// A load that took effect.
///
/// `{"number":12,"time":1767225600,"date":"2026-01-01T00:00:00Z","by":"root","uid":0,"what":"commit /etc/weir/weir.conf",
/// "comment":"let mail in","rules":14,"bytes":912,"fate":"kept"}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Counted from 1; never used again while newer ones are kept.
    pub number: u64,
    /// Seconds since 1970, by the machine's clock.
    pub time: u64,
    /// The same as a date (RFC 3339), in UTC.
    pub date: String,
    /// The user's name, or what else began it: `start`, `SIGHUP`.
    pub by: String,
    /// The user's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// What was done, in the words of the command line.
    pub what: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Rules that were in force then, those in anchors included.
    pub rules: u64,
    /// Length of what is kept.
    pub bytes: u64,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It held until the next one.
    #[default]
    Kept,
    /// It waits to be confirmed.
    Pending,
    /// It was not confirmed, and taken back.
    Undone,
}

/// A rule set as it was, or is, in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Which; absent for what is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Entry>,
    /// What makes it, one after the other.
    pub loads: Vec<Load>,
    /// Its rules written out, by anchor; the main rule set, whose name is empty, is the first.
    pub rules: Vec<Expanded>,
    /// Why there are no rules: today they would be refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// The rules of a rule set as `-s rules` prints them.
///
/// `{"anchor":"","rules":["pass all flags S/SA"]}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expanded {
    /// Path of its anchor.
    pub anchor: String,
    /// In order.
    pub rules: Vec<String>,
}

/// A change was not made because of the connections that it would cut.
///
/// `{"states":1000,"cut":400,"limit":20}`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Live states.
    pub states: u64,
    /// How many of them the new rules would not let begin.
    pub cut: u64,
    /// Percent that may be without `force`.
    pub limit: u8,
}

impl Cut {
    /// Whether it is more than allowed.
    pub const fn is_too_much(&self) -> bool {
        self.cut * 100 > self.states * self.limit as u64
    }
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { states, cut, .. } = self;
        let percent = (cut * 100).div_ceil((*states).max(1));
        write!(
            f,
            "{cut} of {states} live states ({percent} %) would not be let begin by these rules"
        )
    }
}
