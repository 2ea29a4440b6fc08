//! Who sits at the console: the password that the shell asks for, and how long it stays unlocked.
//!
//! The password guards the shell's face, not the protocol: whoever may speak to the daemon otherwise
//! needs none.

use serde::{Deserialize, Serialize};

/// Longest password, in bytes.
pub const MAX_PASSWORD: usize = 256;

/// Shortest password, in letters.
pub const MIN_PASSWORD: usize = 8;

/// A question about the seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeatRequest {
    /// Whether a password is asked for, and when the shell locks itself.
    Ask,
    /// Tries a password. After a wrong one the next is looked at only after a time that doubles with
    /// each failure: `error` says for how many seconds.
    Login {
        /// As it was typed.
        password: String,
    },
    /// Sets another password.
    Change {
        /// The one until now; empty if there was none.
        old: String,
        /// The one from now on, [`MIN_PASSWORD`] to [`MAX_PASSWORD`]; empty: none is asked for.
        new: String,
    },
}

/// How the seat is guarded.
///
/// `{"password":true,"version":"00c0ffee","idle":600}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// A password is asked for.
    pub password: bool,
    /// Another for another password, which whoever knew the last one need not know; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Seconds without a key after which the shell locks itself; 0: never.
    pub idle: u32,
}
