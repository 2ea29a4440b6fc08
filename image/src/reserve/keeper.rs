//! Keeps the reserve of the booted slot up with the settings.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::write;
use crate::backup::archive::Archive;
use crate::disk::Booted;
use crate::disk::storage::Device;

/// Looks every now and then whether something has changed, and writes it when it has.
#[derive(Debug)]
pub struct Keeper {
    slot: PathBuf,
    etc: PathBuf,
    lib: PathBuf,
    /// What the folders looked like when they were last written.
    written: Option<u64>,
    /// What they looked like when they were last looked at.
    seen: Option<u64>,
}

impl Keeper {
    /// For the booted slot.
    pub fn new(booted: &Booted) -> Self {
        let slot = booted.device(booted.slot).to_owned();
        Self {
            slot,
            etc: "/etc/weir".into(),
            lib: "/var/lib/weir".into(),
            written: None,
            seen: None,
        }
    }

    /// Looks, and writes what has changed and is at rest since the last look; a few seconds should lie
    /// between two. Tells whether something was written.
    ///
    /// # Errors
    /// When it could not be written. It is tried again when something changes.
    pub fn look(&mut self) -> io::Result<bool> {
        let now = look(&[&self.etc, &self.lib, &self.lib.join("history")]);
        let is_at_rest = self.seen.replace(now) == Some(now);
        if !is_at_rest || self.written == Some(now) {
            return Ok(false);
        }
        self.written = Some(now);
        let archive = Archive::gather(&self.etc, &self.lib)?;
        write(&mut Device::write(&self.slot)?, &archive)?;
        Ok(true)
    }
}

/// What files there are, how long they are and when they were changed.
fn look(folders: &[&Path]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut waiting: Vec<PathBuf> = folders.iter().map(|&folder| folder.to_owned()).collect();
    // A tree of folders that is larger than any archive looks the same from there on.
    for _ in 0..2000 {
        let Some(folder) = waiting.pop() else { break };
        let mut names: Vec<_> = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        names.sort_unstable();
        for path in names {
            let Ok(found) = fs::symlink_metadata(&path) else { continue };
            let what = (found.ino(), found.len(), found.mtime(), found.mtime_nsec(), found.mode());
            (&path, what).hash(&mut hasher);
            if found.is_dir() && folders[0] != path && path.starts_with(folders[0]) {
                waiting.push(path);
            }
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::{SIZE, read};
    use super::Keeper;
    use crate::disk::storage::Device;

    #[test]
    fn what_has_changed_is_written_once_it_is_at_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("slot"), vec![0; SIZE as usize]).unwrap();
        std::fs::create_dir(path("etc")).unwrap();
        let (slot, etc, lib) = (path("slot"), path("etc"), path("lib"));
        let mut keeper = Keeper { slot: slot.clone(), etc, lib, written: None, seen: None };
        let kept = || {
            let archive = read(&Device::read(&slot).unwrap()).unwrap()?;
            Some(archive.get("etc/weir.conf")?.bytes.clone())
        };
        assert_eq!((keeper.look().unwrap(), keeper.look().unwrap()), (false, true));
        for text in ["block", "pass", "block all"] {
            std::fs::write(path("etc/weir.conf"), text).unwrap();
            assert!(!keeper.look().unwrap(), "it may be being written");
            assert!(keeper.look().unwrap());
            assert_eq!(kept().as_deref(), Some(text.as_bytes()));
            assert!(!keeper.look().unwrap());
        }
        std::fs::create_dir(path("etc/tables")).unwrap();
        std::fs::write(path("etc/tables/bad"), "192.0.2.1\n").unwrap();
        assert_eq!((keeper.look().unwrap(), keeper.look().unwrap()), (false, true));
    }
}
