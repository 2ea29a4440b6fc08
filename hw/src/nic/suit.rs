//! Offloads that a kind of port cannot live with.

use std::io;
use std::os::fd::AsFd;

use super::Prepared;
use super::changes::Change;
use crate::port::Kind;
use crate::sys::ethtool;

/// What arrives must be what was on the wire, tags in place; what leaves goes as it is.
const BARE: [(&str, &str); 6] = [
    ("rx-lro", "frames are merged and cannot be forwarded as they came"),
    ("rx-gro", "frames are merged and cannot be forwarded as they came"),
    ("rx-gro-hw", "frames are merged and cannot be forwarded as they came"),
    ("rx-gro-list", "frames are merged and cannot be forwarded as they came"),
    ("rx-vlan-hw-parse", "frames lose their VLAN tags"),
    ("rx-vlan-stag-hw-parse", "frames lose their service tags"),
];
/// Trains and tags are carried through, except where they cannot be taken apart again.
const CARRIED: [(&str, &str); 2] = [
    ("rx-lro", "frames are merged and cannot be forwarded as they came"),
    ("rx-gro-list", "frames are merged and cannot be forwarded as they came"),
];

/// netmap's emulated adapters see what the stack has left to the NIC (netmap(4), CAVEATS).
const UNFINISHED: [(&str, &str); 7] = [
    ("rx-checksum", "frames may arrive whose checksums are not there"),
    ("tx-checksum-ipv4", "checksums of forwarded frames may be changed"),
    ("tx-checksum-ipv6", "checksums of forwarded frames may be changed"),
    ("tx-checksum-ip-generic", "checksums of forwarded frames may be changed"),
    ("tx-tcp-segmentation", "frames may be longer than the buffers"),
    ("tx-tcp6-segmentation", "frames may be longer than the buffers"),
    ("tx-generic-segmentation", "frames may be longer than the buffers"),
];

impl Prepared {
    /// Switches those offloads off that a port of this kind cannot live with.
    pub(crate) fn suit(&mut self, kind: Kind) {
        if self.interface.is_virtual() {
            return;
        }
        let unwanted: &[&[(&str, &str)]] = match kind {
            Kind::Packet => &[&CARRIED],
            Kind::Netmap => &[&BARE, &UNFINISHED],
            _ => &[&BARE],
        };
        let features = match ethtool::features(self.control.as_fd(), &self.interface.name) {
            Ok(features) => features,
            Err(error) => {
                self.notice(format!(
                    "does not tell its offloads ({error}): merged frames or lost tags are possible"
                ));
                return;
            }
        };
        let mut switched = Vec::new();
        for &(name, consequence) in unwanted.iter().copied().flatten() {
            let Some(feature) = features.get(name).filter(|feature| feature.active) else {
                continue;
            };
            let outcome = if feature.available {
                ethtool::set_feature(
                    self.control.as_fd(),
                    &self.interface.name,
                    &features,
                    feature,
                    false,
                )
            } else {
                Err(io::Error::other("fixed by the driver"))
            };
            match outcome {
                Ok(()) => {
                    self.changes.push(Change::Feature { name: name.to_owned(), before: true });
                    switched.push((name, consequence));
                }
                Err(error) => {
                    self.notice(format!("{name} stays on ({error}): {consequence}"));
                }
            }
        }
        self.look_again(&switched);
    }

    /// A driver that keeps an offload on, because of another one or for itself, says so only here.
    fn look_again(&mut self, switched: &[(&str, &str)]) {
        if switched.is_empty() {
            return;
        }
        match ethtool::features(self.control.as_fd(), &self.interface.name) {
            Ok(features) => {
                let active = |name: &str| features.get(name).is_some_and(|feature| feature.active);
                for (name, consequence) in kept(active, switched) {
                    self.notice(format!("{name} stays on (kept by the driver): {consequence}"));
                }
            }
            Err(error) => self.notice(format!(
                "does not tell its offloads any more ({error}): some may have stayed on"
            )),
        }
    }
}

/// Those of `switched` that are active all the same, each with its consequence.
fn kept<'a>(
    active: impl Fn(&str) -> bool,
    switched: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    switched.iter().copied().filter(|(name, _)| active(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::kept;

    #[test]
    fn what_a_driver_keeps_on_is_told() {
        let active = |name: &str| ["rx-gro-hw", "rx-vlan-hw-parse"].contains(&name);
        let switched = [("rx-lro", "merged"), ("rx-gro-hw", "merged in the NIC")];
        assert_eq!(kept(active, &switched), [("rx-gro-hw", "merged in the NIC")]);
    }
}
