//! `[history]`: how much is kept of what was in force.

use toml::Spanned;
use toml::de::DeValue;

use super::reader::Reader;

/// The most loads that can be kept.
pub const MAX_ENTRIES: u32 = 10_000;

/// The most room that they can be given, in MiB: a tebibyte.
pub const MAX_MEBIBYTES: u32 = 1 << 20;

/// `[history]`: the oldest loads are forgotten when either bound is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// How many loads are kept, 1 to [`MAX_ENTRIES`].
    pub entries: u32,
    /// How much room they may take together, in MiB, 1 to [`MAX_MEBIBYTES`].
    pub mebibytes: u32,
}

impl Default for History {
    fn default() -> Self {
        Self { entries: 100, mebibytes: 256 }
    }
}

impl Reader<'_> {
    /// A key of `[history]`.
    pub(super) fn history(&mut self, name: &str, value: &Spanned<DeValue<'_>>) {
        if name == "entries" {
            if let Some(entries) = self.integer(name, value, 1, MAX_ENTRIES) {
                self.settings.history.entries = entries;
            }
        } else if let Some(mebibytes) = self.integer(name, value, 1, MAX_MEBIBYTES) {
            self.settings.history.mebibytes = mebibytes;
        }
    }
}
