//! The control socket: who may connect, one thread a client, bounds on everything a client can do.
//!
//! A client can hold one of [`MAX_CLIENTS`] threads for a bounded time, and nothing else: the workers
//! never wait for it. Who may do what is decided in `access`. What a client's thread does is in `session`, on a `connection` that keeps the
//! bounds.

mod access;
mod captures;
mod changes;
mod commits;
mod connection;
mod follow;
mod listings;
mod places;
mod room;
mod session;

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, flock};
use rustix::process::umask;
use tracing::{debug, warn};
use weir_shell::protocol::{
    Access, IDLE, MAX_CLIENTS, MAX_QUESTION, MAX_REQUEST, MAX_REQUESTS, Reply, TIMEOUT, UNREAD,
};

pub use self::access::Groups;
use self::access::{Door, Peer};
use self::connection::Connection;
use self::places::Places;
use self::session::Session;
use crate::control::Control;
use crate::log::events;

/// The socket, bound but not yet served.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// Held as long as the socket is ours.
    _lock: File,
}

/// What a client may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long a begun request may take to arrive.
    pub timeout: Duration,
    /// How long a client may take nothing of an answer.
    pub unread: Duration,
    /// How long a connection may be silent between requests.
    pub idle: Duration,
    /// How many clients are served at a time.
    pub clients: usize,
    /// Longest request in bytes.
    pub request: usize,
    /// The same of clients that may only look.
    pub question: usize,
    /// Bytes of the requests of all clients at a time.
    pub requests: usize,
}

impl Default for Bounds {
    /// Those of the protocol.
    fn default() -> Self {
        Self {
            timeout: TIMEOUT,
            unread: UNREAD,
            idle: IDLE,
            clients: MAX_CLIENTS,
            request: MAX_REQUEST,
            question: MAX_QUESTION,
            requests: MAX_REQUESTS,
        }
    }
}

impl Server {
    /// Takes the socket over, also from a daemon that died.
    ///
    /// # Errors
    /// When another daemon serves it, or it cannot be made.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let fail = |what: &str, error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {what}: {error}", path.display()))
        };
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(directory)
                .map_err(|error| fail("cannot make its directory", error))?;
        }
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|error| fail("cannot open its lock", error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            if error == rustix::io::Errno::WOULDBLOCK {
                let text = format!("{}: another `weir run` serves this socket", path.display());
                io::Error::new(io::ErrorKind::AddrInUse, text)
            } else {
                fail("cannot lock it", error.into())
            }
        })?;
        // With the lock in hand, what lies there is left over. Only a socket is cleared away.
        match fs::symlink_metadata(path) {
            Ok(found) if std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
                fs::remove_file(path).map_err(|error| fail("cannot remove it", error))?;
            }
            Ok(_) => {
                let text = format!("{}: exists and is not a socket", path.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
            Err(_) => {}
        }
        // Nobody else makes files now: the daemon has no other threads yet.
        let before = umask(Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(path);
        umask(before);
        let listener = bound.map_err(|error| fail("cannot listen", error))?;
        Ok(Self { listener, path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Serves clients on threads of their own until the process ends.
    ///
    /// # Errors
    /// When the kernel gives no thread or descriptor.
    pub fn start(&self, control: Arc<Control>, bounds: Bounds, groups: Groups) -> io::Result<()> {
        let mut door = Door::new(groups);
        if let Err(error) = self.open_to(door.numbers()) {
            warn!("{}: only root may connect: {error}", self.path.display());
        }
        let listener = self.listener.try_clone()?;
        std::thread::Builder::new()
            .name("weir-control".into())
            .spawn(move || accept(&listener, &control, bounds, door))
            .map(drop)
    }

    /// Lets the members of the groups connect that there are. Who else can is turned away.
    fn open_to(&self, numbers: [Option<u32>; 2]) -> io::Result<()> {
        let mode = match numbers {
            [None, None] => return Ok(()),
            // A socket has one group only.
            [Some(_), Some(_)] => 0o666,
            [one, other] => {
                chown(&self.path, None, one.or(other))?;
                0o660
            }
        };
        fs::set_permissions(&self.path, Permissions::from_mode(mode))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whoever comes next would clear it away anyway.
        let _ = fs::remove_file(&self.path);
    }
}

fn accept(listener: &UnixListener, control: &Arc<Control>, bounds: Bounds, mut door: Door) {
    let places = Places::new(bounds.clients);
    // Bytes of requests that are under way.
    let requests: Arc<AtomicUsize> = Arc::default();
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!("control socket: {error}");
                // Out of descriptors, most likely: let clients finish.
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        let refuse = |stream: UnixStream, text: String| {
            // It fits the socket's buffer, or is lost; nobody waits for it.
            let _ = stream.set_nonblocking(true);
            let _ = Connection::new(stream, bounds, &requests).send(&Reply::Error(text));
        };
        let peer = match Peer::of(&stream, &mut door) {
            Ok(peer) => peer,
            Err(error) => {
                warn!("control socket: cannot tell who connects: {error}");
                continue;
            }
        };
        let Some(access) = peer.access else {
            warn!(target: events::LOGIN_REFUSED, "user {} was refused at the control socket", peer.uid);
            refuse(stream, "permission denied".into());
            continue;
        };
        let place = match places.take(peer, access) {
            Ok(place) => place,
            Err(text) => {
                refuse(stream, text);
                continue;
            }
        };
        let mut session = Session::new(
            Connection::new(stream, bounds.of(peer, access), &requests),
            peer.uid,
            access,
        );
        let control = Arc::clone(control);
        let spawned = std::thread::Builder::new().name("weir-client".into()).spawn(move || {
            if let Err(error) = session.serve(&control) {
                debug!("control client: {error}");
            }
            drop(place);
        });
        if let Err(error) = spawned {
            warn!("control socket: no thread for a client: {error}");
        }
    }
}

impl Bounds {
    /// Those of a client that may do so much.
    const fn of(self, peer: Peer, access: Access) -> Self {
        let request = match access {
            Access::Read => self.question,
            Access::Write => self.request,
        };
        Self { request, requests: peer.share(self.requests), ..self }
    }
}
