//! Small servers on a host's real stack.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::{Host, PATIENCE};

/// How long a thread waits in the kernel before it looks whether it should end.
const GLANCE: Duration = Duration::from_millis(50);
/// An HTTP/1.0 server on IPv4 and IPv6 that closes after each answer.
#[derive(Debug)]
pub struct WebServer {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl WebServer {
    /// Connections that are served at the same time. More than twice the sixteen that a client has open
    /// at once: ab opens connections that it then does not use, and these must not keep the others
    /// waiting.
    pub const CONNECTIONS: usize = 40;

    /// The page that every path shows but `/bytes/N`, which shows [`WebServer::pattern`].
    pub const PAGE: &str = "Hello from behind the weir.\n";

    /// A document of `length` bytes that differs from itself shifted by less than 64 KiB.
    pub fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
    }

    /// Listens on a port of a host.
    pub fn start(host: &Host, port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicU64::new(0));
        let listener = host.namespace.within(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)));
        let listener = listener.unwrap_or_else(|error| panic!("port {port}: {error}"));
        set_socket_timeout(&listener, Timeout::Recv, Some(GLANCE)).expect("not zero");
        let listener = Arc::new(listener);
        let threads = (0..Self::CONNECTIONS)
            .map(|_| {
                let (listener, stop, served) = (listener.clone(), stop.clone(), served.clone());
                std::thread::spawn(move || serve(&listener, &stop, &served))
            })
            .collect();
        Self { stop, served, threads }
    }

    /// Requests answered so far.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, stop: &AtomicBool, served: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        // An error is the end of a glance.
        if let Ok((stream, _)) = listener.accept()
            && answer(&stream).is_ok()
        {
            served.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn answer(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    // A client may be gone without a word, and TCP wait for it for a quarter of an hour.
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream);
    let mut request = String::new();
    lines.read_line(&mut request)?;
    let (mut line, mut body) = (String::new(), 0);
    // The header ends with an empty line.
    while lines.read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            body = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    std::io::copy(&mut lines.by_ref().take(body), &mut std::io::sink())?;
    let path = request.split_whitespace().nth(1).unwrap_or_default();
    let page = match path.strip_prefix("/bytes/").and_then(|length| length.parse().ok()) {
        Some(length) => WebServer::pattern(length),
        None => WebServer::PAGE.into(),
    };
    let length = page.len();
    let mut stream = stream;
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
    stream.write_all(&page)
}

/// A TCP server on IPv4 and IPv6; each connection is served by a thread of its own.
#[derive(Debug)]
pub struct TcpServer {
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl TcpServer {
    /// Listens on a port of a host and gives what it accepts to `serve`. Neither reads nor writes
    /// wait longer than [`PATIENCE`].
    pub fn start(
        host: &Host,
        port: u16,
        serve: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let accepted = Arc::new(AtomicU64::new(0));
        let listener = host.namespace.within(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)));
        let listener = listener.unwrap_or_else(|error| panic!("port {port}: {error}"));
        set_socket_timeout(&listener, Timeout::Recv, Some(GLANCE)).expect("not zero");
        let (ending, count, serve) = (stop.clone(), accepted.clone(), Arc::new(serve));
        let thread = std::thread::spawn(move || {
            while !ending.load(Ordering::Relaxed) {
                // An error is the end of a glance.
                let Ok((stream, _)) = listener.accept() else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                let serve = serve.clone();
                // What goes wrong with a connection is seen at its other end.
                std::thread::spawn(move || {
                    // Else they would have the listener's.
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    serve(stream)
                });
            }
        });
        Self { stop, accepted, thread: Some(thread) }
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A TCP server on IPv4 and IPv6 that counts what its `accept()` returns, and holds it open.
#[derive(Debug)]
pub struct HoldingServer {
    _server: TcpServer,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    streams: Vec<TcpStream>,
    accepted: u64,
}

impl HoldingServer {
    /// Listens on a port of a host.
    pub fn start(host: &Host, port: u16) -> Self {
        let held: Arc<Mutex<Held>> = Arc::default();
        let holding = held.clone();
        let server = TcpServer::start(host, port, move |stream| {
            let mut held = lock(&holding);
            held.streams.push(stream);
            held.accepted += 1;
            Ok(())
        });
        Self { _server: server, held }
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        lock(&self.held).accepted
    }

    /// Closes all that it holds.
    pub fn close(&self) {
        lock(&self.held).streams.clear();
    }
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().expect("nobody panics while it is held")
}

/// A UDP server on IPv4 and IPv6 that sends everything back.
#[derive(Debug)]
pub struct EchoServer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EchoServer {
    /// Listens on a port of a host.
    pub fn start(host: &Host, port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let socket = host.namespace.within(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)));
        let socket = socket.unwrap_or_else(|error| panic!("port {port}: {error}"));
        socket.set_read_timeout(Some(GLANCE)).expect("not zero");
        let ending = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !ending.load(Ordering::Relaxed) {
                match socket.recv_from(&mut buffer) {
                    Ok((length, from)) => {
                        let _ = socket.send_to(&buffer[..length], from);
                    }
                    Err(error)
                        if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    // An ICMP error for an earlier answer.
                    Err(_) => {}
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
