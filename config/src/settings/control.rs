//! `[control]`: who may use the control socket besides root.

use toml::Spanned;
use toml::de::DeValue;

use super::reader::Reader;

/// `[control]`: groups of users (group(5)); nobody if a name is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Whose members may look and change things.
    pub write_group: String,
    /// Whose members may look.
    pub read_group: String,
}

impl Default for Control {
    fn default() -> Self {
        Self { write_group: "weir".into(), read_group: "weir-ro".into() }
    }
}

impl Reader<'_> {
    /// A key of `[control]`.
    pub(super) fn control(&mut self, name: &str, value: &Spanned<DeValue<'_>>) {
        let Some(group) = self.string(name, value) else { return };
        if group.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control()) {
            self.error(&value.span(), format!("`{name}` must be the name of a group"));
            return;
        }
        let group = group.to_owned();
        if name == "write_group" {
            self.settings.control.write_group = group;
        } else {
            self.settings.control.read_group = group;
        }
    }
}
