//! The ledger of what was changed on an interface, and how each change is undone.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::examine::setting_path;
use super::{Notice, Prepared};
use crate::care::{Real, Undo};
use crate::sys::{ethtool, socket};

/// A change that was made, and what undoes it.
pub(super) enum Change {
    /// The interface was down.
    Up,
    /// A sysctl; the file was opened in the right namespace.
    Setting { path: PathBuf, file: fs::File, before: String },
    /// An offload feature.
    Feature { name: String, before: bool },
    /// A step of care, with its name.
    Care(&'static str, Undo),
}

impl Prepared {
    /// Sets a sysctl.
    pub(super) fn set(&mut self, setting: &str, value: &str, consequence: &str) {
        let path = setting_path(setting, &self.interface.name);
        let attempt = || -> io::Result<Option<Change>> {
            let before = match fs::read_to_string(&path) {
                Ok(text) => text.trim().to_owned(),
                // The kernel does without this protocol.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            if before == value {
                return Ok(None);
            }
            let file = fs::OpenOptions::new().write(true).open(&path)?;
            // A sysctl takes only what is written at offset 0 (`sysctl_writes_strict`).
            file.write_all_at(value.as_bytes(), 0)?;
            Ok(Some(Change::Setting { path: path.clone(), file, before }))
        };
        match attempt() {
            Ok(change) => self.changes.extend(change),
            Err(error) => {
                self.notice(format!("cannot set {setting} to {value} ({error}): {consequence}"));
            }
        }
    }

    /// Takes back what [`Prepared::suit`] did, for a kind of port that could not be opened.
    pub(crate) fn unsuit(&mut self) {
        let (features, others) = std::mem::take(&mut self.changes)
            .into_iter()
            .partition(|change| matches!(change, Change::Feature { .. }));
        self.changes = others;
        let notices = self.revert(features);
        self.notices.extend(notices);
    }

    /// Undoes changes, the last one first. Returns what could not be undone.
    pub(super) fn revert(&mut self, changes: Vec<Change>) -> Vec<Notice> {
        let mut notices = Vec::new();
        let control = self.control.as_fd();
        // It may have been renamed meanwhile.
        let Ok(name) = socket::interface_name(control, self.interface.index) else {
            return notices;
        };
        for change in changes.into_iter().rev() {
            let (what, outcome) = match change {
                Change::Up => (
                    "set it down again".to_owned(),
                    self.netlink.set_up(self.interface.index, false),
                ),
                Change::Setting { path, file, before } => (
                    format!("set {} to {before} again", path.display()),
                    file.write_all_at(before.as_bytes(), 0),
                ),
                Change::Feature { name: feature, before } => (
                    format!("switch {feature} {} again", if before { "on" } else { "off" }),
                    ethtool::features(control, &name).and_then(|features| {
                        let known = features.get(&feature).ok_or(io::ErrorKind::NotFound)?;
                        ethtool::set_feature(control, &name, &features, known, before)
                    }),
                ),
                Change::Care(step, undo) => (
                    format!("set its {step} as before"),
                    undo(&Real { control, index: self.interface.index }),
                ),
            };
            if let Err(error) = outcome {
                let text = format!("cannot {what}: {error}");
                notices.push(Notice { interface: name.clone(), text, warns: true });
            }
        }
        notices
    }
}
