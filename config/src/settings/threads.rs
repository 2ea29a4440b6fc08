//! `[threads]`: how workers run.

use toml::Spanned;
use toml::de::DeValue;

use super::reader::Reader;

/// `[threads]`: how workers run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Threads {
    /// Whether two workers may be on one core.
    pub share_cores: bool,
    /// Priority of the workers among real-time threads, 1 to 99; `None`: they are ordinary threads.
    pub realtime: Option<u8>,
}

impl Reader<'_> {
    /// A key of `[threads]`.
    pub(super) fn threads(&mut self, name: &str, value: &Spanned<DeValue<'_>>) {
        if name == "share_cores" {
            if let Some(on) = self.boolean(name, value) {
                self.settings.threads.share_cores = on;
            }
        } else if let Some(priority) = self.integer(name, value, 0, 99) {
            self.settings.threads.realtime = (priority != 0).then_some(priority as u8);
        }
    }
}
