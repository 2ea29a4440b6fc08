//! Captures.

use serde::{Deserialize, Serialize};

/// Longest filter of a capture, in bytes.
pub const MAX_FILTER: usize = 4096;

/// What is to be captured.
///
/// `{"port":"wan","filter":"proto tcp to port 22","both_ways":true,"snap":128,"count":10}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// The port, by its role or its interface; both if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The criteria of a rule, on one line of at most [`MAX_FILTER`] bytes; every frame if it is
    /// empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// And what answers such packets.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub both_ways: bool,
    /// Bytes of each frame at most; 0 for all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub snap: u32,
    /// It ends after so many packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// It ends after so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
}

/// The capture has begun.
///
/// `{"snap":262144}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureBegun {
    /// Bytes of each frame at most.
    pub snap: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}
