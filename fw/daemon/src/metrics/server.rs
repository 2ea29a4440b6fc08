//! The HTTP server of the metrics: one page, `GET /metrics`, a connection for each request.
//!
//! A client can hold one of [`MAX_CLIENTS`] threads for [`PATIENCE`], and nothing else. When all are held,
//! the one that has kept us waiting for its request for longest makes room for who comes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::net::{Shutdown, shutdown};
use tracing::{debug, info, warn};
use weir_config::settings::Metrics;

use super::page::CONTENT_TYPE;
use crate::namespace::Namespace;

/// Clients at a time.
const MAX_CLIENTS: usize = 8;

/// How long a client may take for its request and for the answer, each.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the thread of a client that was hung up on may take to end.
const LEAVING: Duration = Duration::from_millis(100);

/// Between two attempts to listen in a namespace that others set up: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Longest head of a request, in bytes.
const HEAD: usize = 8192;

/// Makes the page anew; an error is said to the client.
pub type Source = dyn Fn() -> Result<Arc<str>, String> + Send + Sync;

/// Where clients come from.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A client's connection.
trait Stream: Read + Write + Send {
    fn set_timeouts(&self, patience: Duration) -> io::Result<()>;

    /// Something to hang up with while another thread reads.
    fn handle(&self) -> io::Result<OwnedFd>;
}

impl Stream for TcpStream {
    fn handle(&self) -> io::Result<OwnedFd> {
        self.try_clone().map(Into::into)
    }

    fn set_timeouts(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience)).and_then(|()| self.set_write_timeout(Some(patience)))
    }
}

impl Stream for UnixStream {
    fn handle(&self) -> io::Result<OwnedFd> {
        self.try_clone().map(Into::into)
    }

    fn set_timeouts(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience)).and_then(|()| self.set_write_timeout(Some(patience)))
    }
}

/// Serves the page there until the process ends. Returns the port, of a TCP address that leaves it open.
///
/// A TCP address is in `namespace`. One apart from the process' own is set up by others, who may be later
/// than we are: then the address is tried again until it can be had.
///
/// # Errors
/// When nothing can be listened on there, or the kernel gives no thread.
pub fn start(at: &Metrics, namespace: &Namespace, source: Arc<Source>) -> io::Result<Option<u16>> {
    let thread = std::thread::Builder::new().name("weir-metrics".into());
    let (listener, port) = match at {
        &Metrics::Tcp(address) if namespace.is_apart() => {
            let namespace = namespace.clone();
            thread.spawn(move || accept(&await_listener(address, &namespace), &source))?;
            return Ok(None);
        }
        Metrics::Tcp(address) => {
            let listener = TcpListener::bind(address)?;
            let port = listener.local_addr()?.port();
            (Listener::Tcp(listener), Some(port))
        }
        Metrics::Unix(path) => (Listener::Unix(bind(path)?), None),
    };
    thread.spawn(move || accept(&listener, &source))?;
    Ok(port)
}

/// Listens in another namespace, as soon as it and the address are there.
fn await_listener(address: SocketAddr, namespace: &Namespace) -> Listener {
    let (mut pause, mut said) = (FIRST_PAUSE, false);
    loop {
        match namespace.within(|| TcpListener::bind(address)) {
            Ok(listener) => {
                if said {
                    info!("metrics are served at {address}");
                }
                return Listener::Tcp(listener);
            }
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    warn!("metrics cannot be served at {address} yet: {error}");
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Takes over what a daemon that died has left; only a socket is cleared away.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    if fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Clients whose requests are not there yet, by number, and so by age.
type Awaited = Arc<Mutex<BTreeMap<u64, OwnedFd>>>;

fn accept(listener: &Listener, source: &Arc<Source>) {
    // Each client's thread holds one of these.
    let places: Arc<()> = Arc::default();
    let awaited = Awaited::default();
    for number in 0.. {
        let stream: io::Result<Box<dyn Stream>> = match listener {
            Listener::Tcp(listener) => {
                listener.accept().map(|(stream, _)| Box::new(stream) as Box<dyn Stream>)
            }
            Listener::Unix(listener) => {
                listener.accept().map(|(stream, _)| Box::new(stream) as Box<dyn Stream>)
            }
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                warn!("metrics: {error}");
                // Out of descriptors, most likely: let clients finish.
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        if Arc::strong_count(&places) > MAX_CLIENTS && !makes_room(&awaited, &places) {
            continue;
        }
        match stream.handle() {
            Ok(handle) => drop(awaited.lock().insert(number, handle)),
            Err(error) => {
                warn!("metrics: {error}");
                continue;
            }
        }
        let (place, source) = (Arc::clone(&places), Arc::clone(source));
        let waits = Arc::clone(&awaited);
        let spawned = std::thread::Builder::new().name("weir-metrics".into()).spawn(move || {
            if let Err(error) = serve(stream, &*source, &|| drop(waits.lock().remove(&number))) {
                debug!("metrics: {error}");
            }
            drop(place);
        });
        if let Err(error) = spawned {
            awaited.lock().remove(&number);
            warn!("metrics: no thread for a client: {error}");
        }
    }
}

/// Hangs up on the client who was asked first and has not said what it wants; `false` if there is none,
/// or if those who were hung up on do not go.
fn makes_room(awaited: &Awaited, places: &Arc<()>) -> bool {
    let Some((_, handle)) = awaited.lock().pop_first() else { return false };
    // One that is gone already cannot be hung up on.
    let _ = shutdown(&handle, Shutdown::Both);
    for _ in 0..LEAVING.as_millis() {
        if Arc::strong_count(places) <= MAX_CLIENTS {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Arc::strong_count(places) <= 2 * MAX_CLIENTS
}

/// Answers one request; `heard` is called when it is there, or will not come.
fn serve(mut stream: Box<dyn Stream>, source: &Source, heard: &dyn Fn()) -> io::Result<()> {
    let head = read_head(&mut *stream);
    heard();
    let head = head?;
    let (status, kind, body) = answer(&head, source);
    let body_is_wanted = !head.starts_with("HEAD ");
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n",
        body.len()
    );
    if status.starts_with("405") {
        answer.push_str("Allow: GET, HEAD\r\n");
    }
    answer.push_str("\r\n");
    if body_is_wanted {
        answer.push_str(&body);
    }
    let deadline = Instant::now() + PATIENCE;
    let mut rest = answer.as_bytes();
    while !rest.is_empty() {
        stream.set_timeouts(left(deadline)?)?;
        match stream.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => rest = &rest[length..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What is answered to a request (RFC 9112, 3): status, type and body.
fn answer(head: &str, source: &Source) -> (&'static str, &'static str, Arc<str>) {
    const PLAIN: &str = "text/plain; charset=utf-8";
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let is_http = version.is_some_and(|version| version.starts_with("HTTP/1."));
    let path = target.unwrap_or_default().split('?').next();
    match (method, path) {
        _ if !is_http || words.next().is_some() => ("400 Bad Request", PLAIN, "HTTP/1.1\n".into()),
        (Some("GET" | "HEAD"), Some("/metrics")) => match source() {
            Ok(page) => ("200 OK", CONTENT_TYPE, page),
            Err(text) => ("503 Service Unavailable", PLAIN, format!("{text}\n").into()),
        },
        (Some("GET" | "HEAD"), _) => ("404 Not Found", PLAIN, "see /metrics\n".into()),
        _ => ("405 Method Not Allowed", PLAIN, "GET\n".into()),
    }
}

/// Up to the empty line.
fn read_head(stream: &mut dyn Stream) -> io::Result<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            head.truncate(end);
            return Ok(String::from_utf8_lossy(&head).into_owned());
        }
        if head.len() >= HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a head without an end"));
        }
        stream.set_timeouts(left(deadline)?)?;
        match stream.read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => head.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// How long there is until then.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn ask(stream: &mut (impl Read + Write), request: &str) -> String {
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn one_page_is_served_and_nothing_else() {
        let works = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&works);
        let source: Arc<Source> = Arc::new(move || {
            if asked.load(Ordering::Relaxed) { Ok("a 1\n".into()) } else { Err("no".into()) }
        });
        let at = Metrics::Tcp("127.0.0.1:0".parse().unwrap());
        let port = start(&at, &Namespace::default(), Arc::clone(&source)).unwrap().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let fetch = |request: &str| ask(&mut TcpStream::connect(address).unwrap(), request);
        let page = fetch("GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(
            page.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4;"),
            "{page}"
        );
        assert!(page.ends_with("Content-Length: 4\r\nConnection: close\r\n\r\na 1\n"), "{page}");
        assert!(fetch("HEAD /metrics HTTP/1.0\r\n\r\n").ends_with("close\r\n\r\n"));
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("GET /metrics/x HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("nonsense\r\n\r\n", "400"),
            ("GET /metrics HTTP/1.1 x\r\n\r\n", "400"),
        ] {
            assert!(fetch(request).starts_with(&format!("HTTP/1.1 {status} ")), "{request}");
        }
        // A head without an end, and one that never comes: hung up on, and nobody waits for them.
        let mut endless = TcpStream::connect(address).unwrap();
        let _ = endless.write_all(&[b'x'; HEAD + 1]);
        let mut nothing = Vec::new();
        let _ = endless.read_to_end(&mut nothing);
        assert!(nothing.is_empty());
        let _silent: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        works.store(false, Ordering::Relaxed);
        assert!(fetch("GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 503 "));
        // Those who say nothing make room for those who ask, the first of them first.
        let mut many: Vec<_> =
            (0..2 * MAX_CLIENTS).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert!(fetch("GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 503 "));
        assert!(!matches!(many[0].read(&mut [0; 9]), Ok(1..)));

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/metrics.sock");
        let own = Namespace::default();
        for _ in 0..2 {
            start(&Metrics::Unix(path.clone()), &own, Arc::clone(&source)).unwrap();
            let mut client = UnixStream::connect(&path).unwrap();
            assert!(ask(&mut client, "GET /metrics HTTP/1.1\r\n\r\n").contains(" 503 "));
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "x").unwrap();
        assert!(start(&Metrics::Unix(path), &own, source).is_err(), "no file is cleared away");
    }
}
