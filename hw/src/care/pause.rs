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
        // What is negotiated would win over what is set, and is offered to the neighbour even while
        // both are off.
        if !self.on || wanted != before {
            wanted[NEGOTIATE] = 0;
        }
        if wanted == before {
            return Ok(Outcome::AsItWas);
        }
        if let Err(refusal) = super::change(device, Table::Pause, &wanted) {
            // i40e and ice negotiate them with the rest of the link or not at all, and offer what is
            // set.
            let negotiating = before[NEGOTIATE];
            if wanted[NEGOTIATE] == negotiating {
                return Err(refusal);
            }
            wanted[NEGOTIATE] = negotiating;
            if wanted == before {
                return Ok(Outcome::AsItWas);
            }
            super::change(device, Table::Pause, &wanted)?;
        }
        Ok(Outcome::Changed(Box::new(move |device| device.write(Table::Pause, &before))))
    }
}
