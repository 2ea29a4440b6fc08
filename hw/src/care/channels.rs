//! As many queues as workers.

use std::io;

use super::{Device, Outcome, Step, Undo};
use crate::sys::ethtool::{Hash, Table};

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
        let undo =
            if wanted == before { None } else { Some(set(device, before, &wanted, self.workers)?) };
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

/// Sets the number of queues. There cannot be fewer than the indirection table names, if somebody has set
/// that (`ethtool_set_channels`), as a weir with more workers that was killed: it is narrowed first then.
fn set(device: &dyn Device, before: Vec<u32>, wanted: &[u32], workers: u32) -> io::Result<Undo> {
    let Err(refusal) = super::change(device, Table::Channels, wanted) else {
        return Ok(Box::new(move |device| device.write(Table::Channels, &before)));
    };
    let table = device.hash().map(|hash| hash.table).unwrap_or_default();
    if refusal.raw_os_error() != Some(libc::EINVAL) || table.iter().all(|&queue| queue < workers) {
        return Err(refusal);
    }
    let narrowed = (0..workers).cycle().take(table.len()).collect();
    let set_table = |device: &dyn Device, table| {
        let transform = device.hash()?.transform;
        device.set_hash(&Hash { table, key: Vec::new(), function: 0, transform })
    };
    set_table(device, narrowed)?;
    if let Err(refusal) = super::change(device, Table::Channels, wanted) {
        set_table(device, table)?;
        return Err(refusal);
    }
    Ok(Box::new(move |device| {
        device.write(Table::Channels, &before)?;
        set_table(device, table)
    }))
}

/// How many queues receive at present.
pub(super) fn count(device: &dyn Device) -> io::Result<u32> {
    let words = device.read(Table::Channels)?;
    Ok(words[COMBINED + NOW].saturating_add(words[RX + NOW]).max(1))
}
