//! How clients come to the daemon: by its socket; or, in the shell of somebody who has given up the
//! right to open it, through the *keeper*, a process that has kept the right and can nothing else
//! (`console/keeper.rs`).
//!
//! The shell leaves its end of the connection to the keeper to the commands that it starts, and
//! names its descriptor in [`KEEPER`]. A request is one byte that carries one end of a socket pair;
//! over the other end comes the connection to the daemon, or the error number of the attempt.

use std::env;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// The environment variable that names the descriptor of the keeper.
pub(crate) const KEEPER: &str = "WEIR_KEEPER";

/// How long the keeper may take.
const PATIENCE: Duration = Duration::from_secs(5);

static KEPT: OnceLock<Option<OwnedFd>> = OnceLock::new();

/// Has every connection of this process come from a keeper.
pub(crate) fn use_keeper(socket: OwnedFd) {
    // There is one shell in a process.
    let _ = KEPT.set(Some(socket));
}

/// Connects to the daemon.
///
/// # Errors
/// Those of connect(2), and when there is a keeper and it does not answer.
pub(crate) fn connect(socket: &Path) -> io::Result<UnixStream> {
    keeper().map_or_else(|| UnixStream::connect(socket), ask)
}

/// The descriptor of the keeper's connection, which this process has made or was left.
pub(crate) fn number() -> Option<i32> {
    keeper().map(|keeper| keeper.as_raw_fd())
}

/// The connection to the keeper.
pub(crate) fn keeper() -> Option<BorrowedFd<'static>> {
    KEPT.get_or_init(|| inherited(KEEPER)).as_ref().map(AsFd::as_fd)
}

/// A descriptor that whoever has started us has left us, and named in a variable.
pub(crate) fn inherited(variable: &str) -> Option<OwnedFd> {
    let number = env::var(variable).ok()?.parse().ok()?;
    let ourselves = pidfd_open(getpid(), PidfdFlags::empty()).ok()?;
    pidfd_getfd(ourselves, number, PidfdGetfdFlags::empty()).ok()
}

fn ask(keeper: BorrowedFd<'_>) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_read_timeout(Some(PATIENCE))?;
    send(keeper, &[0], Some(theirs.as_fd()))?;
    drop(theirs);
    let mut answer = [0; 4];
    match receive(ours.as_fd(), &mut answer)? {
        (_, Some(connection)) => Ok(connection.into()),
        (4, None) => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(answer))),
        _ => Err(io::Error::other("the shell's keeper is gone: leave the shell and begin anew")),
    }
}

/// Sends some bytes and a descriptor.
pub(crate) fn send(
    to: BorrowedFd<'_>,
    bytes: &[u8],
    with: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = with.into_iter().collect();
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    sendmsg(to, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives bytes, and a descriptor if one comes with them.
pub(crate) fn receive(
    from: BorrowedFd<'_>,
    bytes: &mut [u8],
) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let into = &mut [IoSliceMut::new(bytes)];
    let received = loop {
        match recvmsg(from, into, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?,
        }
    };
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((received.bytes, descriptor))
}
