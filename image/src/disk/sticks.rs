//! File systems that somebody has plugged in: partitions of other disks than the one that was booted.

use std::ffi::CStr;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use super::gpt::Table;
use super::storage::Device;
use super::{Booted, RUN, disk_names, partitions};
use crate::slots::esp;

/// What is tried, with what is asked for when nothing may be written: ext4 must not replay a journal.
const KINDS: [(&str, &CStr); 3] = [("vfat", c""), ("exfat", c""), ("ext4", c"noload")];

/// Mounts each, one after the other, until `each` has found what it looks for. What cannot be mounted
/// is left out. Nothing is written if `flags` say so.
///
/// # Errors
/// When `each` fails, or what it has written cannot be kept.
pub(crate) fn find<T>(
    booted: &Booted,
    flags: MountFlags,
    mut each: impl FnMut(&Path) -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    let read_only = flags.contains(MountFlags::RDONLY);
    for device in candidates(booted, Path::new("/sys/block"), Path::new("/dev"))? {
        for (kind, options) in KINDS {
            let options = if read_only { options } else { c"" };
            let mut mounted = false;
            let inside = |folder: &Path| {
                mounted = true;
                each(folder)
            };
            let folder = Path::new(RUN).join("stick");
            match esp::mounted(&device, &folder, (kind, options), flags, inside) {
                Err(_) if !mounted => {}
                Ok(None) => break,
                found => return found,
            }
        }
    }
    Ok(None)
}

/// The partitions of other disks that are not weir's, and disks without any.
fn candidates(booted: &Booted, disks: &Path, nodes: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for name in disk_names(disks)? {
        if name == booted.name() {
            continue;
        }
        let known = partitions(disks, &name);
        if known.is_empty() {
            found.push(nodes.join(&name));
        }
        let table = Device::read(&nodes.join(&name)).and_then(|disk| Table::read(&disk)).ok();
        for (number, partition) in known {
            let called = table.as_ref().and_then(|table| table.name(number));
            if !called.is_some_and(|called| called.starts_with("weir-")) {
                found.push(nodes.join(partition));
            }
        }
    }
    Ok(found)
}
