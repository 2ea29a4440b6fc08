//! Who speaks with whom.

use serde::{Deserialize, Serialize};

/// The first line of every connection, from the daemon.
///
/// `{"version":1,"weir":"0.1.0","access":"write"}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the protocol that the daemon speaks.
    pub version: u32,
    /// The version of the daemon.
    pub weir: String,
    /// What the client may do.
    pub access: Access,
}

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// List and ask.
    Read,
    /// Change things, too.
    Write,
}
