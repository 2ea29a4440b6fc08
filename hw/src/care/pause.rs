//! Flow control (IEEE 802.3 annex 31B): one slow host behind the bridge must not stop all others.

use std::io;

use super::{Device, Outcome, Step, Undo};
use crate::sys::ethtool::Table;

// Words of `struct ethtool_pauseparam`.
const NEGOTIATE: usize = 1;
const RX: usize = 2;
const TX: usize = 3;

/// Drivers that set the NIC at once, and go on offering pause frames to the neighbour until the link is
/// negotiated anew. What both have offered by then wins whenever the link comes up
/// (`e1000e_set_pauseparam` and `e1000e_config_fc_after_link_up`, and their like).
const STILL_OFFERING: [&str; 4] = ["e1000", "e1000e", "igb", "igc"];

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
        let offered = offer(device, &wanted);
        let undo: Undo = Box::new(move |device| {
            device.write(Table::Pause, &before)?;
            offer(device, &before)
        });
        Ok(match offered {
            Ok(()) => Outcome::Changed(undo),
            Err(error) => Outcome::Partly(
                Some(undo),
                format!("its link is not negotiated anew ({error}): {}", self.consequence()),
            ),
        })
    }
}

/// Has the neighbour offered what was set, where it is not anyway.
fn offer(device: &dyn Device, set: &[u32]) -> io::Result<()> {
    let still_offering = STILL_OFFERING.contains(&device.driver().name.as_str());
    if set[NEGOTIATE] == 0 && still_offering { device.renegotiate() } else { Ok(()) }
}
