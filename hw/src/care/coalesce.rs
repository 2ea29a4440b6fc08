//! Interrupts soon after a frame has come: a bridge adds its delay to every exchange.

use std::io;

use super::{Device, Outcome, Step, lack};
use crate::sys::ethtool::Table;

// Words of `struct ethtool_coalesce`.
const RX_USECS: usize = 1;
const TX_USECS: usize = 5;
const ADAPTIVE_RX: usize = 10;
const ADAPTIVE_TX: usize = 11;

/// Sets how long a NIC gathers frames before it interrupts.
pub(super) struct Coalesce {
    /// In microseconds.
    pub(super) usecs: u32,
}

impl Step for Coalesce {
    fn name(&self) -> &'static str {
        "interrupt coalescing"
    }

    fn consequence(&self) -> &'static str {
        "frames may wait in the NIC for its interrupt"
    }

    fn take(&self, device: &dyn Device) -> io::Result<Outcome> {
        let before = device.read(Table::Coalesce)?;
        let mut wanted = before.clone();
        (wanted[ADAPTIVE_RX], wanted[ADAPTIVE_TX]) = (0, 0);
        wanted[RX_USECS] = self.usecs;
        // 0 where a queue's two directions share an interrupt; such drivers refuse anything else.
        if before[TX_USECS] > 0 {
            wanted[TX_USECS] = self.usecs;
        }
        if wanted == before {
            return Ok(Outcome::AsItWas);
        }
        if let Err(refusal) = super::change(device, Table::Coalesce, &wanted) {
            // virtio_net shows that it waits for nothing, and lets nobody change it.
            let adaptive = before[ADAPTIVE_RX] != 0 || before[ADAPTIVE_TX] != 0;
            let waits = adaptive || [RX_USECS, TX_USECS].iter().any(|&at| before[at] > self.usecs);
            return if waits { Err(refusal) } else { lack() };
        }
        Ok(Outcome::Changed(Box::new(move |device| device.write(Table::Coalesce, &before))))
    }
}
