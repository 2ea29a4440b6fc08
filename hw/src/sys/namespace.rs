//! Network namespaces with a name (`ip-netns(8)`).

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::mount::mount_bind;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Opens the namespace at a path, as in `/run/netns/NAME`, and makes it if there is none.
///
/// # Errors
/// When it cannot be made, which needs `CAP_SYS_ADMIN`.
pub fn open_or_make(path: &Path) -> io::Result<OwnedFd> {
    if let Ok(found) = File::open(path)
        && within(&found, || ()).is_ok()
    {
        return Ok(found.into());
    }
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    // Where the file that stands for it is mounted.
    File::options().create(true).append(true).open(path)?;
    on_a_thread(|| {
        // SAFETY: only the network is parted, of a thread that ends here: no memory, files or folder
        // that other threads rely on.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
        Ok(mount_bind("/proc/thread-self/ns/net", path)?)
    })?;
    Ok(File::open(path)?.into())
}

/// Does something in a network namespace, on a thread of its own: what sockets it makes and what
/// processes it starts stay there.
///
/// # Errors
/// When the namespace cannot be entered, which needs `CAP_SYS_ADMIN`.
pub fn within<T: Send>(namespace: impl AsFd + Sync, f: impl FnOnce() -> T + Send) -> io::Result<T> {
    on_a_thread(|| {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(f())
    })
}

fn on_a_thread<T: Send>(f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, f)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
