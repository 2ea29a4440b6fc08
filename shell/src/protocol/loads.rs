//! Rule sets as a client sends them.

use serde::{Deserialize, Serialize};

/// A rule set as text. The daemon opens no file that a client names: it parses again from exactly
/// these texts.
///
/// `{"sources":[{"name":"/etc/weir/weir.conf","text":"pass\n"}],"macros":["ext=wan"]}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// The rule file, then every file that reading it has read: those of `include`, `load anchor`
    /// and tables.
    pub sources: Vec<Source>,
    /// `name=value` as `-D` takes it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macros: Vec<String>,
    /// Path of the anchor that is loaded; the main rule set if it is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub anchor: String,
    /// What of it is put in force.
    #[serde(default, skip_serializing_if = "Part::is_all")]
    pub part: Part,
    /// Options that the files do not set stay as they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merge: bool,
}

/// What of a load is put in force; the rest of it must be right, too, but changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Everything.
    #[default]
    All,
    /// `-R`: the rules, those of layer 2 and of anchors included.
    Rules,
    /// `-T load`: the tables.
    Tables,
    /// `-O`: the `set` options.
    Options,
}

impl Part {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    const fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }
}

/// One file of a rule set.
///
/// `{"name":"stdin","text":"block all\n"}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// What messages call it.
    pub name: String,
    /// What is in it.
    pub text: String,
}
