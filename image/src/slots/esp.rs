//! The EFI system partition, mounted only while something is looked up or written there.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::disk::{Booted, RUN};

/// What may be on an installed partition beside what the image brings: the settings that the loader
/// reads.
pub(crate) const SETTINGS: [&str; 2] = ["grub/password.cfg", "grub/console.cfg"];

/// Does something in the mounted partition of the disk that was booted; one process at a time.
///
/// # Errors
/// When it cannot be mounted, what is done there fails, or it cannot be written back.
pub fn with<T>(booted: &Booted, inside: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    with_device(&booted.esp, inside)
}

/// The same of any.
pub(crate) fn with_device<T>(
    device: &Path,
    inside: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    let run = Path::new(RUN);
    fs::create_dir_all(run)?;
    let lock = File::create(run.join("esp.lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    mounted(device, &run.join("esp"), ("vfat", c"umask=077"), MountFlags::empty(), inside)
}

/// Mounts a file system, does something there and unmounts it. Nothing in it is a program or a device.
///
/// # Errors
/// When it cannot be mounted, what is done there fails, or it cannot be written back.
pub(crate) fn mounted<T>(
    device: &Path,
    folder: &Path,
    (kind, options): (&str, &std::ffi::CStr),
    flags: MountFlags,
    inside: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    fs::create_dir_all(folder)?;
    let flags = flags | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(device, folder, kind, flags | MountFlags::NOATIME, options)
        .map_err(|error| io::Error::other(format!("{} ({kind}): {error}", device.display())))?;
    let done = inside(folder);
    // It is synced by that.
    let away = unmount(folder, UnmountFlags::empty())
        .map_err(|error| io::Error::other(format!("{}: {error}", device.display())));
    let done = done?;
    away.map(|()| done)
}
