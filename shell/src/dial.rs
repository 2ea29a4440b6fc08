//! How clients come to the daemon: by its socket; or, in the shell of somebody who has given up the
//! right to open it, through the *keeper*, a process that has kept the right and can nothing else
//! (`console/keeper.rs`).
//!
//! The shell leaves its end of the connection to the keeper to the commands that it starts, and
//! names its descriptor in [`KEEPER`]. A request is a message that carries one end of a socket pair.
//! One of the byte [`CONNECT`] asks for the daemon: over the other end comes the connection, or the error
//! number of the attempt. One that begins with [`RUN`] names a verb of `weir box` with its arguments, and
//! carries what the verb has as its standard streams too: over the other end comes its exit status.
//!
//! Whoever holds that descriptor can ask the keeper. So the shell and its commands are not dumpable
//! while they do: no other process of their user can trace them, take their descriptors (ptrace(2),
//! `pidfd_getfd(2)`), or find in a core file what was typed.

use std::env;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, recvmsg, sendmsg,
    socket_with,
};
use rustix::process::{
    DumpableBehavior, PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open,
    set_dumpable_behavior,
};

/// The environment variable that names the descriptor of the keeper.
pub(crate) const KEEPER: &str = "WEIR_KEEPER";

/// How long the daemon may take to accept a connection, however long its answers take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// Asks for a connection to the daemon.
pub(crate) const CONNECT: u8 = 0;

/// Asks for a verb of `weir box`: behind it its words, each ended by a zero.
pub(crate) const RUN: u8 = 1;

/// Longest request, in bytes.
pub(crate) const LONGEST: usize = 4096;

/// Descriptors that a message carries at most.
const MOST: usize = 4;

static KEPT: OnceLock<Option<Left>> = OnceLock::new();

/// A descriptor, and the number by which processes that are started inherit it.
#[derive(Debug)]
pub(crate) struct Left {
    /// Ours, closed when another program takes the place of this one.
    pub(crate) descriptor: OwnedFd,
    /// The same, open in children.
    pub(crate) number: i32,
}

/// Has every connection of this process come from a keeper.
pub(crate) fn use_keeper(socket: OwnedFd) {
    let number = socket.as_raw_fd();
    // There is one shell in a process.
    let _ = KEPT.set(Some(Left { descriptor: socket, number }));
}

/// Connects to the daemon, which may take so long to accept.
///
/// # Errors
/// Those of connect(2), and when there is a keeper and it does not answer.
pub(crate) fn connect(socket: &Path, patience: Duration) -> io::Result<UnixStream> {
    let patience = patience.min(PATIENCE);
    match keeper() {
        Some(keeper) => ask(keeper, patience),
        None => reach(socket, patience),
    }
}

/// Connects to a socket.
///
/// # Errors
/// Those of connect(2).
pub(crate) fn reach(socket: &Path, patience: Duration) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC;
    let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    set_socket_timeout(&stream, Timeout::Send, Some(patience))?;
    rustix::net::connect(&stream, &SocketAddrUnix::new(socket)?).map_err(|error| match error {
        // What connect(2) says when the time is over.
        Errno::AGAIN => io::Error::new(io::ErrorKind::TimedOut, "it accepts no connection"),
        error => error.into(),
    })?;
    set_socket_timeout(&stream, Timeout::Send, None)?;
    Ok(stream.into())
}

/// The number of the keeper's connection, which this process has made or was left.
pub(crate) fn number() -> Option<i32> {
    left().map(|left| left.number)
}

/// The connection to the keeper.
pub(crate) fn keeper() -> Option<BorrowedFd<'static>> {
    left().map(|left| left.descriptor.as_fd())
}

fn left() -> Option<&'static Left> {
    let find = || {
        let found = inherited(KEEPER);
        if found.is_some() {
            hide();
        }
        found
    };
    KEPT.get_or_init(find).as_ref()
}

/// Keeps other processes of the same user out of this one.
pub(crate) fn hide() {
    // It is refused to nobody (prctl(2)).
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// A descriptor that whoever has started us has left us, and named in a variable.
pub(crate) fn inherited(variable: &str) -> Option<Left> {
    let number = env::var(variable).ok()?.parse().ok()?;
    let ourselves = pidfd_open(getpid(), PidfdFlags::empty()).ok()?;
    let descriptor = pidfd_getfd(ourselves, number, PidfdGetfdFlags::empty()).ok()?;
    Some(Left { descriptor, number })
}

fn ask(keeper: BorrowedFd<'_>, patience: Duration) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_read_timeout(Some(patience))?;
    send(keeper, &[CONNECT], &[theirs.as_fd()])?;
    drop(theirs);
    let mut answer = [0; 4];
    let answered = receive(ours.as_fd(), &mut answer).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            io::Error::new(io::ErrorKind::TimedOut, "it accepts no connection")
        }
        _ => error,
    })?;
    match (answered.0, answered.1.into_iter().next()) {
        (_, Some(connection)) => Ok(connection.into()),
        (4, None) => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(answer))),
        _ => Err(gone()),
    }
}

/// Has the keeper run a verb of `weir box` with these standard streams, and waits for its end. `None` if
/// a signal has ended it.
///
/// # Errors
/// Why it was not run.
pub(crate) fn run(
    keeper: BorrowedFd<'_>,
    words: &[String],
    [input, output, errors]: [BorrowedFd<'_>; 3],
) -> io::Result<Option<i32>> {
    let mut request = vec![RUN];
    for word in words {
        request.extend_from_slice(word.as_bytes());
        request.push(0);
    }
    if request.len() > LONGEST {
        return Err(io::Error::other("the command is too long"));
    }
    let (ours, theirs) = UnixStream::pair()?;
    send(keeper, &request, &[theirs.as_fd(), input, output, errors])?;
    drop(theirs);
    let mut answer = Vec::new();
    (&ours).take(8).read_to_end(&mut answer)?;
    let Ok(answer) = <[u8; 8]>::try_from(answer) else { return Err(gone()) };
    let [ended, status] =
        [0, 4].map(|at| i32::from_ne_bytes([0, 1, 2, 3].map(|byte| answer[at + byte])));
    match ended {
        EXITED => Ok(Some(status)),
        SIGNALLED => Ok(None),
        BUSY => Err(io::Error::other("another command of this shell acts on the machine")),
        _ => Err(io::Error::from_raw_os_error(status)),
    }
}

/// How a verb has ended, before its exit status or an error number: in the answer to [`RUN`].
pub(crate) const EXITED: i32 = 0;
/// A signal has ended it.
pub(crate) const SIGNALLED: i32 = 1;
/// The last one has not ended.
pub(crate) const BUSY: i32 = 2;
/// It was not run.
pub(crate) const REFUSED: i32 = 3;

fn gone() -> io::Error {
    io::Error::other("the shell's keeper is gone: leave the shell and begin anew")
}

/// Sends some bytes and descriptors.
pub(crate) fn send(to: BorrowedFd<'_>, bytes: &[u8], with: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !with.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(with));
    }
    sendmsg(to, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives bytes, and the descriptors that come with them.
pub(crate) fn receive(from: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let into = &mut [IoSliceMut::new(bytes)];
    let received = loop {
        match recvmsg(from, into, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?,
        }
    };
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok((received.bytes, descriptors))
}
