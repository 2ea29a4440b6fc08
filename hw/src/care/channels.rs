//! As many queues as workers.

use std::io;

use super::{Device, Outcome, Step};
use crate::sys::ethtool::Table;

// Words of `struct ethtool_channels`: maxima, then what they are.
const RX: usize = 1;
const TX: usize = 2;
const COMBINED: usize = 4;
/// Distance from a maximum to its current value.
const NOW: usize = 4;

/// Sets the number of queues.
pub(super) struct Channels {
    pub(super) workers: u32,
}

impl Step for Channels {
    fn name(&self) -> &'static str {
        "queues"
    }

    fn consequence(&self) -> &'static str {
        "workers may have more than one queue or none, and unequal shares of receiving"
    }

    fn take(&self, device: &dyn Device) -> io::Result<Outcome> {
        // A veth takes no XDP program with fewer receive queues than its peer sends on.
        if device.driver().name == "veth" {
            return super::lack();
        }
        let before = device.read(Table::Channels)?;
        let mut wanted = before.clone();
        let kinds: &[usize] = if before[COMBINED] > 0 { &[COMBINED] } else { &[RX, TX] };
        for &kind in kinds {
            if before[kind] > 0 {
                wanted[kind + NOW] = self.workers.clamp(1, before[kind]);
            }
        }
        let most = before[COMBINED].max(before[RX]).max(1);
        let undo = if wanted == before {
            None
        } else {
            super::change(device, Table::Channels, &wanted)?;
            let undo: super::Undo = Box::new(move |device| device.write(Table::Channels, &before));
            Some(undo)
        };
        Ok(match undo {
            undo if most < self.workers => Outcome::Partly(
                undo,
                format!(
                    "has {most} queue(s) for {} workers: only so many receive, and hand over to the \
                     others",
                    self.workers
                ),
            ),
            Some(undo) => Outcome::Changed(undo),
            None => Outcome::AsItWas,
        })
    }
}

/// How many queues receive at present.
pub(super) fn count(device: &dyn Device) -> io::Result<u32> {
    let words = device.read(Table::Channels)?;
    Ok(words[COMBINED + NOW].saturating_add(words[RX + NOW]).max(1))
}
