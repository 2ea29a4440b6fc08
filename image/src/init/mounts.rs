//! The file systems that are no disk's.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

/// Kind, place, options; none of them takes programs but those of the root.
const MOUNTS: [(&str, &str, Option<&std::ffi::CStr>); 4] = [
    ("proc", "/proc", None),
    ("sysfs", "/sys", None),
    ("devtmpfs", "/dev", Some(c"mode=0755")),
    ("tmpfs", "/run", Some(c"mode=0755,size=25%")),
];

/// Mounts them; those that are there already stay.
///
/// # Errors
/// The first that cannot be mounted, by its place.
pub(super) fn mount_all() -> io::Result<()> {
    for (kind, place, options) in MOUNTS {
        let mut flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        if kind != "devtmpfs" {
            flags |= MountFlags::NODEV;
        }
        match mount(kind, place, kind, flags, options) {
            // The kernel's way to say that it is there.
            Ok(()) | Err(Errno::BUSY) => {}
            Err(error) => return Err(io::Error::other(format!("{place}: {error}"))),
        }
    }
    for (folder, mode) in [("/run/tmp", 0o1777), ("/run/weir", 0o755), ("/run/weir-box", 0o755)] {
        if !Path::new(folder).exists() {
            fs::DirBuilder::new().mode(0o700).create(folder)?;
        }
        fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    }
    Ok(())
}
