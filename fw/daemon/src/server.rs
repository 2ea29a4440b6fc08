//! The control socket: who may connect, one thread a client, bounds on everything a client can do.
//!
//! A client can hold one of [`MAX_CLIENTS`] threads for a bounded time, and nothing else: the workers
//! never wait for it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, flock};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{geteuid, umask};
use tracing::{debug, info, warn};
use weir_hw::pcap::ng::Writer;
use weir_shell::protocol::{
    Capture, Command, Done, IDLE, Load, MAX_CLIENTS, MAX_REQUEST, MAX_REQUESTS, Reply, Request,
    RuleListing, TIMEOUT, TableAction, TableChange, VERSION,
};

use crate::control::{Control, Refused, Watch};

/// The socket, bound but not yet served.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// Held as long as the socket is ours.
    _lock: File,
}

/// Addresses of which one line tells what became of them.
const LINE: usize = 1024;

/// What a client may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long a begun request may take to arrive, and a line of an answer to be taken.
    pub timeout: Duration,
    /// How long a connection may be silent between requests.
    pub idle: Duration,
    /// How many clients are served at a time.
    pub clients: usize,
    /// Longest request in bytes.
    pub request: usize,
    /// Bytes of the requests of all clients at a time.
    pub requests: usize,
}

impl Default for Bounds {
    /// Those of the protocol.
    fn default() -> Self {
        Self {
            timeout: TIMEOUT,
            idle: IDLE,
            clients: MAX_CLIENTS,
            request: MAX_REQUEST,
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
    pub fn start(&self, control: Arc<Control>, bounds: Bounds) -> io::Result<()> {
        let listener = self.listener.try_clone()?;
        std::thread::Builder::new()
            .name("weir-control".into())
            .spawn(move || accept(&listener, &control, bounds))
            .map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whoever comes next would clear it away anyway.
        let _ = fs::remove_file(&self.path);
    }
}

fn accept(listener: &UnixListener, control: &Arc<Control>, bounds: Bounds) {
    // Each client's thread holds one of these.
    let places: Arc<()> = Arc::default();
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
        if Arc::strong_count(&places) > bounds.clients {
            // It fits the socket's buffer, or is lost; nobody waits for it.
            let _ = stream.set_nonblocking(true);
            let _ = Session::new(stream, bounds, &requests).and_then(|mut session| {
                session.send(&Reply::Error(format!("more than {} clients", bounds.clients)))
            });
            continue;
        }
        let control = Arc::clone(control);
        let place = Arc::clone(&places);
        let requests = Arc::clone(&requests);
        let spawned = std::thread::Builder::new().name("weir-client".into()).spawn(move || {
            let served = Session::new(stream, bounds, &requests)
                .and_then(|mut session| session.serve(&control));
            if let Err(error) = served {
                debug!("control client: {error}");
            }
            drop(place);
        });
        if let Err(error) = spawned {
            warn!("control socket: no thread for a client: {error}");
        }
    }
}

/// One client.
struct Session {
    stream: UnixStream,
    /// User id of the process at the other end when it connected.
    uid: u32,
    bounds: Bounds,
    /// What was read and not yet used.
    buffer: Vec<u8>,
    room: Room,
}

/// What a session takes of the room that all requests have together.
struct Room {
    taken_by_all: Arc<AtomicUsize>,
    /// By this session.
    taken: usize,
}

impl Room {
    /// Bytes that every session may have for itself.
    const FREE: usize = 64 << 10;

    /// Makes sure of room for a request of that length so far; `false` if there is none.
    fn take(&mut self, length: usize, limit: usize) -> bool {
        let more = length.saturating_sub(Self::FREE).saturating_sub(self.taken);
        let fits = more == 0 || {
            let before = self.taken_by_all.fetch_add(more, Ordering::Relaxed);
            self.taken += more;
            before + more <= limit
        };
        if !fits {
            self.give_back();
        }
        fits
    }

    fn give_back(&mut self) {
        self.taken_by_all.fetch_sub(std::mem::take(&mut self.taken), Ordering::Relaxed);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// How a client's line ended.
enum Line {
    /// With its newline, which is not part of it.
    Complete(Vec<u8>),
    /// The client is done.
    End,
}

impl Session {
    fn new(
        stream: UnixStream,
        bounds: Bounds,
        taken_by_all: &Arc<AtomicUsize>,
    ) -> io::Result<Self> {
        let uid = socket_peercred(stream.as_fd())?.uid.as_raw();
        let room = Room { taken_by_all: Arc::clone(taken_by_all), taken: 0 };
        Ok(Self { stream, uid, bounds, buffer: Vec::new(), room })
    }

    /// Answers requests until the client hangs up or breaks a bound.
    fn serve(&mut self, control: &Control) -> io::Result<()> {
        if self.uid != 0 && self.uid != geteuid().as_raw() {
            return self.send(&Reply::Error("permission denied".into()));
        }
        loop {
            let line = match self.read_line() {
                Ok(Line::Complete(line)) => line,
                Ok(Line::End) => return Ok(()),
                Err(error) => {
                    self.send(&Reply::Error(error.to_string()))?;
                    return Err(error);
                }
            };
            let reply = match request(&line) {
                Ok(Command::Capture(capture)) => match self.capture(control, &capture)? {
                    Some(refused) => refused,
                    None => return Ok(()),
                },
                Ok(command) => self.answer(control, command)?,
                Err(text) => Reply::Error(text),
            };
            self.send(&reply)?;
            self.room.give_back();
        }
    }

    /// Reads up to the next newline, within the bounds of the protocol.
    fn read_line(&mut self) -> io::Result<Line> {
        let mut deadline = None;
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|&byte| byte == b'\n') {
                let rest = self.buffer.split_off(searched + at + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                return Ok(Line::Complete(line));
            }
            searched = self.buffer.len();
            let longest = self.bounds.request;
            if searched >= longest {
                let text = format!("a request is longer than {longest} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            if !self.room.take(searched, self.bounds.requests) {
                let text = "other clients' requests take all the room there is: try again";
                return Err(io::Error::new(io::ErrorKind::OutOfMemory, text));
            }
            let patience = if searched == 0 {
                self.bounds.idle
            } else {
                deadline
                    .get_or_insert_with(|| Instant::now() + self.bounds.timeout)
                    .saturating_duration_since(Instant::now())
            };
            let slow = || io::Error::new(io::ErrorKind::TimedOut, "the client is too slow");
            if patience.is_zero() {
                return Err(slow());
            }
            self.stream.set_read_timeout(Some(patience))?;
            let mut chunk = [0; 16 << 10];
            let most = chunk.len().min(longest - searched);
            match self.stream.read(&mut chunk[..most]) {
                Ok(0) if self.buffer.is_empty() => return Ok(Line::End),
                Ok(0) => {
                    let text = "the connection ended within a request";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
                }
                Ok(length) => self.buffer.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(slow()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes one line, all of it within the time of the protocol.
    fn send(&mut self, reply: &Reply) -> io::Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        self.send_bytes(&line)
    }

    /// Writes bytes, all of them within the time of the protocol.
    fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + self.bounds.timeout;
        let mut rest = bytes;
        while !rest.is_empty() {
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read"));
            }
            self.stream.set_write_timeout(Some(patience))?;
            match self.stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => rest = &rest[length..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends a listing of so many things; the answer's end is left to be sent.
    fn list(
        &mut self,
        listing: Result<(usize, Reply), Refused>,
    ) -> io::Result<Result<Reply, Refused>> {
        match listing {
            Ok((count, listing)) => {
                self.send(&listing)?;
                Ok(Ok(done(count as u64)))
            }
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// Changes a table; the answer's end is left to be sent.
    fn change_table(
        &mut self,
        control: &Control,
        change: &TableChange,
    ) -> io::Result<Result<Reply, Refused>> {
        let (outcome, mut feedback) = match control.change_table(change) {
            Ok((outcome, feedback)) => (outcome, feedback.into_iter().peekable()),
            Err(refused) => return Ok(Err(refused)),
        };
        if !change.dry_run && change.action != TableAction::Test {
            let TableChange { name, anchor, action, .. } = change;
            let within = if anchor.is_empty() { "" } else { " of anchor " };
            info!("user {}: -T {action} in table {name:?}{within}{anchor}", self.uid);
        }
        let count = outcome.addresses;
        self.send(&Reply::TableOutcome(outcome))?;
        while feedback.peek().is_some() {
            self.send(&Reply::TableFeedback(feedback.by_ref().take(LINE).collect()))?;
        }
        Ok(Ok(done(count)))
    }

    /// Sends what is in a table; the answer's end is left to be sent.
    fn entries(
        &mut self,
        control: &Control,
        anchor: &str,
        name: &str,
    ) -> io::Result<Result<Reply, Refused>> {
        let mut broken = None;
        let listed = control.table_entries(anchor, name, |entries| {
            keep(&mut broken, self.send(&Reply::TableEntries(entries)))
        });
        broken.map_or_else(|| Ok(listed.map(done)), Err)
    }

    /// Puts a rule set in force.
    fn load(&self, control: &Control, load: &Load) -> Result<Reply, Refused> {
        let loaded = control.load(load)?;
        let (uid, count) = (self.uid, loaded.rules);
        let name = load.sources.first().map_or("", |source| &source.name);
        let note = if loaded.unchanged { " (unchanged)" } else { "" };
        if load.anchor.is_empty() {
            info!("user {uid} loaded {name:?}: {count} rules in force{note}");
        } else {
            let anchor = &load.anchor;
            info!("user {uid} loaded {name:?} into {anchor:?}: {count} rules in force{note}");
        }
        loaded.warnings.iter().for_each(|warning| warn!("{warning}"));
        Ok(Reply::Done(Done {
            count: count as u64,
            note: (!loaded.warnings.is_empty()).then(|| loaded.warnings.join("\n")),
        }))
    }

    /// Captures until the client has had enough, one way or another. What is returned says why nothing
    /// was begun; else the connection is over.
    fn capture(&mut self, control: &Control, capture: &Capture) -> io::Result<Option<Reply>> {
        let uid = self.uid;
        if uid != 0 {
            let text = "permission denied: only root may capture";
            return Ok(Some(Reply::Error(text.into())));
        }
        let mut watch = match control.watch(capture) {
            Ok(watch) => watch,
            Err(refused) => return Ok(Some(refusal(refused))),
        };
        let filter = match capture.filter.as_str() {
            "" => "everything".to_owned(),
            filter => filter.escape_debug().to_string(),
        };
        info!("user {uid} begins to capture {filter}");
        self.send(&Reply::Capture(watch.begun()))?;
        let streamed = self.stream(capture, &mut watch);
        let ([lan, wan], [lan_lost, wan_lost]) = (watch.written(), watch.lost());
        let (seen, lost) = (lan + wan, lan_lost + wan_lost);
        match &streamed {
            Ok(()) => info!("user {uid} captured {seen} packets, {lost} were lost"),
            Err(error) => info!("user {uid} captured {seen} packets, {lost} were lost: {error}"),
        }
        streamed.map(|()| None)
    }

    /// Sends what a capture sees.
    fn stream(&mut self, capture: &Capture, watch: &mut Watch<'_>) -> io::Result<()> {
        /// How much is sent at a time, in bytes, more or less.
        const SHARE: usize = 256 << 10;
        let deadline =
            capture.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
        let mut writer =
            Writer::new(Vec::new(), "weir capture", &watch.interfaces(), watch.begun().snap)?;
        let mut left = capture.count.unwrap_or(u64::MAX);
        let mut ending = false;
        loop {
            if !ending {
                let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                ending = left == 0 || late || self.has_ended()?;
                if ending {
                    watch.stop();
                }
            }
            left -= watch.write_some(&mut writer, SHARE, left);
            let last = ending && (left == 0 || !watch.has_more());
            if last {
                watch.write_statistics(&mut writer);
            }
            let bytes = writer.take_output();
            if !bytes.is_empty() {
                self.send_bytes(&bytes)?;
            }
            if last {
                return self.stream.shutdown(std::net::Shutdown::Both);
            }
            if !ending && !watch.has_more() && left > 0 {
                self.rest(deadline);
            }
        }
    }

    /// Sleeps for as long as packets of a capture may wait, but not after the client has ended it.
    fn rest(&self, deadline: Option<Instant>) {
        /// So long packets of a capture wait at most.
        const REST: Duration = Duration::from_millis(20);
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let rest = left.map_or(REST, |left| left.min(REST));
        let timeout = Timespec { tv_sec: 0, tv_nsec: rest.subsec_nanos().into() };
        let mut waiting = [PollFd::new(&self.stream, PollFlags::IN)];
        // An interrupted wait is a short one.
        let _ = poll(&mut waiting, Some(&timeout));
    }

    /// Whether the client of a capture is gone or has shut down its side. What it says, it has no
    /// business saying, and ends it, too.
    fn has_ended(&mut self) -> io::Result<bool> {
        let mut waiting = [PollFd::new(&self.stream, PollFlags::IN)];
        let ended = poll(&mut waiting, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0;
        if ended {
            // A connection that is closed with something unread is reset, and its end lost.
            let _ = self.stream.read(&mut [0; 4096]);
        }
        Ok(ended)
    }

    /// Carries a command out; sends the lines of a listing and returns the one that ends it.
    fn answer(&mut self, control: &Control, command: Command) -> io::Result<Reply> {
        let uid = self.uid;
        let result = match command {
            Command::Load(load) => self.load(control, &load),
            Command::Rules => self.list(control.rules("", false).map(rules))?,
            Command::RulesIn { anchor, recursive } => {
                self.list(control.rules(&anchor, recursive).map(rules))?
            }
            Command::EtherRules => self.list(control.ether_rules().map(rules))?,
            Command::Anchors => {
                let anchors = control.anchors();
                self.list(Ok((anchors.len(), Reply::Anchors(anchors))))?
            }
            Command::Table(change) => self.change_table(control, &change)?,
            Command::Tables { anchor, recursive } => {
                let tables = control.tables(&anchor, recursive);
                self.list(tables.map(|tables| (tables.len(), Reply::Tables(tables))))?
            }
            Command::TableEntries { anchor, name } => self.entries(control, &anchor, &name)?,
            Command::States => {
                let mut broken = None;
                let listed =
                    control.states(|states| keep(&mut broken, self.send(&Reply::States(states))));
                match broken {
                    Some(error) => return Err(error),
                    None => listed.map(done),
                }
            }
            Command::Info => {
                self.list(control.info().map(|info| (1, Reply::Info(Box::new(info)))))?
            }
            Command::Interfaces => {
                let ports = control.interfaces();
                self.list(ports.map(|ports| (ports.len(), Reply::Interfaces(ports))))?
            }
            Command::Timeouts => {
                let timeouts = control.timeouts();
                self.list(Ok((timeouts.len(), Reply::Timeouts(timeouts))))?
            }
            Command::Memory => {
                let limits = control.memory();
                self.list(Ok((limits.len(), Reply::Memory(limits))))?
            }
            Command::Kill(kill) => control.kill(&kill).map(|count| {
                info!("user {uid} killed {count} states");
                done(count)
            }),
            Command::Sources => {
                let mut broken = None;
                let listed = control
                    .sources(|sources| keep(&mut broken, self.send(&Reply::Sources(sources))));
                match broken {
                    Some(error) => return Err(error),
                    None => listed.map(done),
                }
            }
            Command::KillSources { from } => control.kill_sources(&from).map(|count| {
                info!("user {uid} killed {count} sources");
                done(count)
            }),
            Command::Flush(what) => control.flush(&what).map(|count| {
                warn!("user {uid} flushed {what}");
                done(count)
            }),
            Command::Enable => control.enable().map(|()| {
                warn!("user {uid} enabled filtering");
                done(0)
            }),
            Command::Explain(explain) => {
                let told = control.explain(&explain);
                self.list(told.map(|told| (1, Reply::Explanation(Box::new(told)))))?
            }
            // It takes the connection over before it comes here.
            Command::Capture(_) => Err(Refused::Error("a capture is no listing".into())),
            Command::Disable { .. } if uid != 0 => {
                Err(Refused::Error("permission denied: only root may disable filtering".into()))
            }
            Command::Disable { seconds } => control.disable(seconds).map(|()| {
                warn!("user {uid} DISABLED FILTERING: everything passes for {seconds} s");
                done(0)
            }),
        };
        Ok(result.unwrap_or_else(refusal))
    }
}

/// Why nothing was done.
fn refusal(refused: Refused) -> Reply {
    match refused {
        Refused::Diagnostics(diagnostics) => Reply::Diagnostics(diagnostics),
        Refused::Error(text) => Reply::Error(text),
    }
}

/// Remembers why a line could not be sent: then nothing more is.
fn keep(broken: &mut Option<io::Error>, sent: io::Result<()>) -> io::Result<()> {
    sent.inspect_err(|error| *broken = Some(io::Error::new(error.kind(), error.to_string())))
}

/// A listing of rules, and how many they are.
fn rules(listing: RuleListing) -> (usize, Reply) {
    (listing.rules.len(), Reply::Rules(listing))
}

/// The end of an answer that went well.
const fn done(count: u64) -> Reply {
    Reply::Done(Done { count, note: None })
}

/// Reads a request line; the error is for the client.
fn request(line: &[u8]) -> Result<Command, String> {
    /// What every version of the protocol will have.
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    if let Ok(Versioned { version }) = serde_json::from_slice(line)
        && version != VERSION
    {
        return Err(format!("protocol version {version} is not spoken here, only {VERSION}"));
    }
    serde_json::from_slice::<Request>(line)
        .map(|request| request.command)
        .map_err(|error| format!("malformed request: {error}"))
}
