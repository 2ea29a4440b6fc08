//! Both directions of a connection to queues of the same number, on both ports: one key, one table, one
//! choice of fields, so that one worker receives both, and judges them if the NICs do as they are told
//! ([`dealing`]).
//!
//! The key repeats two bytes. Toeplitz' hash of such a key does not change when source and destination
//! change places, since both go through the same bits of it (Woo and Park, "Scalable TCP Session
//! Monitoring with Symmetric Receive-side Scaling", 2012).

use std::io;

use super::{Device, Outcome, Step, Undo, all, is_lack, lack};
use crate::sys::ethtool::Hash;

/// What a NIC that hashes addresses and ports alike tells (`RXH_IP_SRC`, `RXH_IP_DST`,
/// `RXH_L4_B_0_1`, `RXH_L4_B_2_3`).
const FOUR_TUPLE: u64 = 0xf0;

/// `TCP_V4_FLOW`, `UDP_V4_FLOW`, `TCP_V6_FLOW`, `UDP_V6_FLOW`
const FLOWS: [u32; 4] = [1, 2, 5, 6];

/// How a NIC deals out what it receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dealing {
    /// What the key of Toeplitz' hash repeats.
    pub word: u16,
    /// The queue for each value of the hash, modulo its length.
    pub queues: Vec<u32>,
}

/// How a NIC deals out TCP and UDP by addresses and ports; `None` if it does that in another way, or
/// does not tell.
pub(crate) fn dealing(device: &dyn Device) -> Option<Dealing> {
    let Hash { table, key, function, transform } = device.hash().ok()?;
    let word = u16::from_be_bytes(*key.first_chunk()?);
    let as_told = function == Hash::TOEPLITZ
        && transform == 0
        && !table.is_empty()
        && key == repeated(word, key.len())
        && FLOWS.iter().all(|&flow| device.flow_fields(flow).is_ok_and(|is| is == FOUR_TUPLE));
    as_told.then_some(Dealing { word, queues: table })
}

fn repeated(word: u16, length: usize) -> Vec<u8> {
    word.to_be_bytes().into_iter().cycle().take(length).collect()
}

/// Addresses and ports of TCP and UDP are hashed.
pub(super) struct Fields;

impl Step for Fields {
    fn name(&self) -> &'static str {
        "hashed fields"
    }

    fn consequence(&self) -> &'static str {
        "connections between two hosts share a queue, and one worker receives them all"
    }

    fn shares_out(&self) -> bool {
        true
    }

    fn take(&self, device: &dyn Device) -> io::Result<Outcome> {
        let mut before = Vec::new();
        let mut refused = None;
        for flow in FLOWS {
            let change = || -> io::Result<Option<u64>> {
                let was = device.flow_fields(flow)?;
                if was == FOUR_TUPLE {
                    return Ok(None);
                }
                device.set_flow_fields(flow, FOUR_TUPLE)?;
                Ok(Some(was))
            };
            match change() {
                Ok(was) => before.extend(was.map(|was| (flow, was))),
                Err(error) => refused = Some(error),
            }
        }
        let undo = (!before.is_empty()).then(|| -> Undo {
            Box::new(move |device| {
                all(before.iter().map(|&(flow, was)| device.set_flow_fields(flow, was)))
            })
        });
        match (undo, refused) {
            (None, None) => Ok(Outcome::AsItWas),
            // Drivers that cannot choose (virtio_net without RSS) say EINVAL.
            (None, Some(error)) if error.raw_os_error() == Some(libc::EINVAL) => lack(),
            (None, Some(error)) => Err(error),
            (Some(undo), None) => Ok(Outcome::Changed(undo)),
            (Some(undo), Some(error)) => Ok(Outcome::Partly(
                Some(undo),
                format!(
                    "some kinds of packets are hashed otherwise ({error}): {}",
                    self.consequence()
                ),
            )),
        }
    }
}

/// A key whose hash is the same in both directions.
pub(super) struct Key {
    /// What it repeats.
    pub(super) word: u16,
}

impl Step for Key {
    fn name(&self) -> &'static str {
        "hash key"
    }

    fn consequence(&self) -> &'static str {
        "the two directions of a connection arrive at different workers"
    }

    fn shares_out(&self) -> bool {
        true
    }

    fn take(&self, device: &dyn Device) -> io::Result<Outcome> {
        let before = device.hash()?;
        if before.table.is_empty() {
            return lack();
        }
        if before.transform & Hash::SYMMETRIC_XOR != 0 || self.is(&before.key) {
            return Ok(Outcome::AsItWas);
        }
        let back = Hash { table: Vec::new(), ..before.clone() };
        if !before.key.is_empty() {
            let key = Hash {
                table: Vec::new(),
                key: repeated(self.word, before.key.len()),
                function: if before.function == 0 { 0 } else { Hash::TOEPLITZ },
                transform: before.transform,
            };
            if device.set_hash(&key).is_ok() {
                return Ok(Outcome::Changed(Box::new(move |device| device.set_hash(&back))));
            }
        }
        let mixed = Hash {
            table: Vec::new(),
            key: Vec::new(),
            function: 0,
            transform: Hash::SYMMETRIC_XOR,
        };
        match device.set_hash(&mixed) {
            Ok(()) => Ok(Outcome::Changed(Box::new(move |device| device.set_hash(&back)))),
            // An old kernel says EINVAL of what it does not know.
            Err(error) if is_lack(&error) || error.raw_os_error() == Some(libc::EINVAL) => lack(),
            Err(error) => Err(error),
        }
    }
}

impl Key {
    fn is(&self, key: &[u8]) -> bool {
        !key.is_empty() && key == repeated(self.word, key.len())
    }
}

/// All queues take turns in the table.
pub(super) struct Table {
    pub(super) queues: u32,
}

impl Step for Table {
    fn name(&self) -> &'static str {
        "indirection table"
    }

    fn consequence(&self) -> &'static str {
        "queues get unequal shares of what arrives"
    }

    fn shares_out(&self) -> bool {
        true
    }

    fn take(&self, device: &dyn Device) -> io::Result<Outcome> {
        let before = device.hash()?;
        if before.table.is_empty() {
            return lack();
        }
        let queues = super::channels::count(device)?.min(self.queues).max(1);
        let table: Vec<u32> = (0..queues).cycle().take(before.table.len()).collect();
        if table == before.table {
            return Ok(Outcome::AsItWas);
        }
        let only =
            |table| Hash { table, key: Vec::new(), function: 0, transform: before.transform };
        device.set_hash(&only(table))?;
        let back = only(before.table.clone());
        Ok(Outcome::Changed(Box::new(move |device| device.set_hash(&back))))
    }
}
