//! `[shell]`: the shell at the console.

use toml::Spanned;
use toml::de::DeValue;

use super::reader::Reader;

/// The longest time that a shell may stay unlocked without a key, in seconds: a day.
pub const MAX_IDLE_LOCK: u32 = 86_400;

/// `[shell]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shell {
    /// Seconds without a key after which a shell with a password asks for it again, at most
    /// [`MAX_IDLE_LOCK`]; 0: never.
    pub idle_lock: u32,
}

impl Default for Shell {
    fn default() -> Self {
        Self { idle_lock: 600 }
    }
}

impl Reader<'_> {
    /// A key of `[shell]`.
    pub(super) fn shell(&mut self, name: &str, value: &Spanned<DeValue<'_>>) {
        if let Some(seconds) = self.integer(name, value, 0, MAX_IDLE_LOCK) {
            self.settings.shell.idle_lock = seconds;
        }
    }
}
