//! One daemon for one state directory: two would undo and forget each other's loads.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use tracing::error;

/// Keeps other daemons out of a state directory as long as the file is open. `None` where none can be
/// made in it, as on a full or read-only disk, which is said: that is no reason to cut a line off.
///
/// # Errors
/// In words, if another daemon has it.
pub fn claim(state_directory: &Path) -> Result<Option<File>, String> {
    let shown = state_directory.display();
    let lock = || -> io::Result<Option<File>> {
        DirBuilder::new().recursive(true).mode(0o700).create(state_directory)?;
        // Neither a link out of the directory nor a FIFO, which would hold the start up.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut options = File::options();
        options.write(true).create(true).mode(0o600).custom_flags(flags);
        let file = options.open(state_directory.join("lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    match lock() {
        Ok(None) => Err(format!(
            "{shown}: another weir has this state directory; give each its own (state_dir)"
        )),
        Ok(claimed) => Ok(claimed),
        Err(error) => {
            error!("{shown}: {error}; what is loaded may not be kept");
            Ok(None)
        }
    }
}
