//! `[shell]`: the shell at the console.

use toml::Spanned;
use toml::de::DeValue;

use super::reader::Reader;

/// The longest time that a shell may stay unlocked without a key, in seconds: a day.
pub const MAX_IDLE_LOCK: u32 = 86_400;

/// The shortest, in seconds: the kernel notes when a terminal was read from in steps of 8 s
/// (`tty_update_time`), so that less could lock out somebody who types.
pub(super) const MIN_IDLE_LOCK: u32 = 16;

/// `[shell]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shell {
    /// Seconds without a key after which a shell with a password asks for it again, from
    /// [`MIN_IDLE_LOCK`] to [`MAX_IDLE_LOCK`]; 0: never.
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
        match self.integer(name, value, 0, MAX_IDLE_LOCK) {
            None => {}
            Some(1..MIN_IDLE_LOCK) => {
                let text = format!("`{name}` is 0, for never, or {MIN_IDLE_LOCK} or more");
                self.error(&value.span(), text);
            }
            Some(seconds) => self.settings.shell.idle_lock = seconds,
        }
    }
}
