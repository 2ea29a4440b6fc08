//! `[memory]`: what is reserved at the start.

use toml::Spanned;
use toml::de::DeValue;

use super::reader::Reader;

/// `[memory]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// How many states memory is reserved for, over all workers: at least 1. `set limit states` of
    /// the rules works within it.
    pub states: u32,
}

impl Default for Memory {
    fn default() -> Self {
        Self { states: 1_000_000 }
    }
}

impl Reader<'_> {
    /// A key of `[memory]`.
    pub(super) fn memory(&mut self, name: &str, value: &Spanned<DeValue<'_>>) {
        if let Some(states) = self.integer(name, value, 1, u32::MAX) {
            self.settings.memory.states = states;
        }
    }
}
