//! Long rings: they bridge the moments in which a worker does something else.

use std::io;

use super::{Device, Outcome, Step};
use crate::sys::ethtool::Table;

// Words of `struct ethtool_ringparam`: maxima, then what they are.
const RX: usize = 1;
const TX: usize = 4;
/// Distance from a maximum to its current value.
const NOW: usize = 4;

/// Sets ring sizes.
pub(super) struct Rings {
    /// Entries; `None` is the largest power of two that there can be: ice has room for 8,160, and
    /// refuses zero-copy to a ring of that length.
    pub(super) entries: Option<u32>,
}

impl Step for Rings {
    fn name(&self) -> &'static str {
        "ring sizes"
    }

    fn consequence(&self) -> &'static str {
        "bursts may be lost before weir sees them"
    }

    fn take(&self, device: &dyn Device) -> io::Result<Outcome> {
        let before = device.read(Table::Rings)?;
        let mut wanted = before.clone();
        for kind in [RX, TX] {
            let most = before[kind];
            if most > 0 {
                wanted[kind + NOW] = self.entries.unwrap_or(1 << most.ilog2()).min(most);
            }
        }
        if wanted == before {
            return Ok(Outcome::AsItWas);
        }
        super::change(device, Table::Rings, &wanted)?;
        Ok(Outcome::Changed(Box::new(move |device| device.write(Table::Rings, &before))))
    }
}
