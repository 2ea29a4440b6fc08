//! `[nics]`: what is set on the interfaces while weir runs.

use toml::Spanned;
use toml::de::DeValue;

use super::reader::Reader;

/// The longest time to gather frames for, in microseconds.
pub const MAX_INTERRUPT_USECS: u32 = 10_000;

/// `[nics]`: what is set on the interfaces while weir runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nics {
    /// Whether anything is.
    pub tune: bool,
    /// Entries in each ring; `None`: the largest power of two that there can be.
    pub ring: Option<u32>,
    /// Microseconds that a NIC may gather frames for before it interrupts, at most
    /// [`MAX_INTERRUPT_USECS`].
    pub interrupt_usecs: u32,
    /// Whether pause frames are obeyed and sent.
    pub flow_control: bool,
}

impl Default for Nics {
    fn default() -> Self {
        Self { tune: true, ring: None, interrupt_usecs: 10, flow_control: false }
    }
}

impl Reader<'_> {
    /// A key of `[nics]`.
    pub(super) fn nics(&mut self, name: &str, value: &Spanned<DeValue<'_>>) {
        match name {
            "ring" => {
                if let Some(entries) = self.integer(name, value, 0, 1 << 16) {
                    self.settings.nics.ring = (entries != 0).then_some(entries);
                }
            }
            "interrupt_usecs" => {
                if let Some(usecs) = self.integer(name, value, 0, MAX_INTERRUPT_USECS) {
                    self.settings.nics.interrupt_usecs = usecs;
                }
            }
            _ => {
                if let Some(on) = self.boolean(name, value) {
                    let nics = &mut self.settings.nics;
                    *if name == "tune" { &mut nics.tune } else { &mut nics.flow_control } = on;
                }
            }
        }
    }
}
