//! `[commit]`: what a change of the rules may do without being asked twice.

use toml::Spanned;
use toml::de::DeValue;

use super::reader::Reader;

/// `[commit]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Percent of the live states, 0 to 100, that new rules may cut without `force`: of those that
    /// they would not let begin. 100 asks for nothing.
    pub cut_percent: u8,
}

impl Default for Commit {
    fn default() -> Self {
        Self { cut_percent: 20 }
    }
}

impl Reader<'_> {
    /// A key of `[commit]`.
    pub(super) fn commit(&mut self, name: &str, value: &Spanned<DeValue<'_>>) {
        if let Some(percent) = self.integer(name, value, 0, 100) {
            self.settings.commit.cut_percent = percent as u8;
        }
    }
}
