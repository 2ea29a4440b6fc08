//! Packets to be explained.

use serde::{Deserialize, Serialize};

/// A packet to be explained.
///
/// `{"packet":"in on wan proto udp from ::1 to ::2 port 53","all":true}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// In the words of [`weir_config::probe`].
    pub packet: String,
    /// Tell every rule, not just those that match.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}
