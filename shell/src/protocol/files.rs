//! The two files that are the daemon's own: its rule file and its settings file.
//!
//! The daemon opens no file that a client names; these two it was started with. A client that may
//! change the firewall reads and writes them through it, whatever rights on files it has itself; one that may
//! only look does not read them, since they may be readable for root alone.

use serde::{Deserialize, Serialize};

use super::Load;

/// What is to be done with one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Files {
    /// Sends the rule file.
    Rules,
    /// Sends the settings file.
    Settings,
    /// Writes the rule file, if it has no errors; nothing of it is put in force.
    StoreRules(StoreRules),
    /// Changes one key of the settings file, if the file has no errors then. Comments stay.
    Set(Setting),
}

/// A rule file to be written.
///
/// `{"load":{"sources":[{"name":"/etc/weir/weir.conf","text":"pass\n"}]},"version":"00c0ffee"}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreRules {
    /// Its text, and the files that it names, as they are sent to be loaded. Only root's may name
    /// files outside the folder of the rule file.
    pub load: Load,
    /// The version that was changed: if the file is another by now, it is not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A key of the settings file.
///
/// `{"key":"ports.wan","value":"eth3"}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The section, a dot and the key; the key alone if it stands before the first section.
    pub key: String,
    /// A value as TOML writes it, or a word that stands for the string; absent: the key is taken out,
    /// so that its default holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// One of the files.
///
/// `{"path":"/etc/weir/weir.conf","text":"pass\n","version":"00c0ffee"}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnFile {
    /// Where it is.
    pub path: String,
    /// What is in it; nothing if it is not there.
    pub text: String,
    /// Another for another text.
    pub version: String,
}
