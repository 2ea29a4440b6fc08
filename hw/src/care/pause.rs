//! Flow control (IEEE 802.3 annex 31B): one slow host behind the bridge must not stop all others.

use std::io;

use super::{Device, Outcome, Step};
use crate::sys::ethtool::Table;

// Words of `struct ethtool_pauseparam`.
const NEGOTIATE: usize = 1;
const RX: usize = 2;
const TX: usize = 3;

/// Switches pause frames off or on.
pub(super) struct Pause {
    pub(super) on: bool,
}

impl Step for Pause {
    fn name(&self) -> &'static str {
        "flow control"
    }

    fn consequence(&self) -> &'static str {
        "pause frames of a neighbour may stop all that leaves by this port"
    }

    fn take(&self, device: &dyn Device) -> io::Result<Outcome> {
        let before = device.read(Table::Pause)?;
        let mut wanted = before.clone();
        (wanted[RX], wanted[TX]) = (u32::from(self.on), u32::from(self.on));
        if wanted == before {
            return Ok(Outcome::AsItWas);
        }
        // What is negotiated would win over what is set.
        wanted[NEGOTIATE] = 0;
        device.write(Table::Pause, &wanted)?;
        Ok(Outcome::Changed(Box::new(move |device| device.write(Table::Pause, &before))))
    }
}
