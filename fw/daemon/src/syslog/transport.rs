//! Ways to a log server: a local socket, UDP (RFC 5426), TCP with octet counting (RFC 6587, 3.4.1) and
//! TLS (RFC 5425).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_user_timeout};
use weir_config::settings::{Server, Syslog};

use super::tls::{TlsClient, TlsStream};
use crate::namespace::Namespace;

/// How long a server may take to take a connection or a message.
const PATIENCE: Duration = Duration::from_secs(10);

/// How to reach a server.
#[derive(Debug)]
pub(super) struct Transport {
    way: Way,
    namespace: Namespace,
}

#[derive(Debug)]
enum Way {
    Unix(PathBuf),
    Udp(SocketAddr),
    Tcp(SocketAddr),
    Tls(SocketAddr, TlsClient),
}

/// A connection to a server.
#[derive(Debug)]
pub(super) enum Connection {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
}

impl Transport {
    /// What the settings say; a server with an address is in that namespace.
    ///
    /// # Errors
    /// When a certificate or key cannot be read; in words.
    pub(super) fn new(settings: &Syslog, namespace: Namespace) -> Result<Self, String> {
        let way = match &settings.to {
            Server::Unix(path) => Way::Unix(path.clone()),
            Server::Udp(address) => Way::Udp(*address),
            Server::Tcp(address) => Way::Tcp(*address),
            Server::Tls(address) => Way::Tls(*address, TlsClient::new(settings, *address)?),
        };
        Ok(Self { way, namespace })
    }

    /// Connects.
    ///
    /// # Errors
    /// When the server or the namespace is not there, or it cannot show that it is the one.
    pub(super) fn connect(&self) -> io::Result<Connection> {
        let within = &self.namespace;
        Ok(match &self.way {
            Way::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Connection::Unix(socket)
            }
            Way::Udp(address) => Connection::Udp(within.within(|| datagrams(*address))?),
            Way::Tcp(address) => Connection::Tcp(within.within(|| stream(*address))?),
            Way::Tls(address, client) => {
                let stream = within.within(|| stream(*address))?;
                Connection::Tls(Box::new(client.connect(stream)?))
            }
        })
    }
}

fn datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr =
        if address.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn stream(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    set_socket_keepalive(&stream, true)?;
    // A server that has vanished without a word is given up after this.
    set_tcp_user_timeout(&stream, 2 * PATIENCE.as_millis() as u32)?;
    Ok(stream)
}

impl Connection {
    /// Sends a message.
    ///
    /// # Errors
    /// When it was not taken as a whole.
    pub(super) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Unix(socket) => socket.send(message).map(drop),
            Self::Udp(socket) => socket.send(message).map(drop),
            Self::Tcp(stream) => stream.write_all(&counted(message)),
            Self::Tls(stream) => {
                stream.write_all(&counted(message))?;
                stream.flush()
            }
        }
    }

    /// Waits until the other end says something, if it is one that could hang up.
    pub(super) fn wait_for_end(&self, patience: Duration) {
        match self {
            Self::Unix(_) | Self::Udp(_) => {}
            Self::Tcp(stream) => drop(is_readable(stream, patience)),
            Self::Tls(stream) => drop(is_readable(&stream.sock, patience)),
        }
    }

    /// Whether the other end has hung up.
    pub(super) fn has_ended(&mut self) -> bool {
        match self {
            Self::Unix(_) | Self::Udp(_) => false,
            Self::Tcp(stream) => {
                // A log server has nothing to say.
                is_readable(stream, Duration::ZERO)
                    && !matches!(stream.read(&mut [0; 512]), Ok(1..))
            }
            Self::Tls(stream) => is_readable(&stream.sock, Duration::ZERO) && !receives(stream),
        }
    }
}

/// Takes what came over TLS, tickets for instance; `false` at the end of the connection.
fn receives(stream: &mut TlsStream) -> bool {
    let rustls::StreamOwned { conn, sock } = stream;
    matches!(conn.read_tls(sock), Ok(1..))
        && conn.process_new_packets().is_ok_and(|state| !state.peer_has_closed())
}

fn is_readable(stream: &TcpStream, patience: Duration) -> bool {
    let mut waiting = [PollFd::new(stream, PollFlags::IN)];
    let timeout = Timespec {
        tv_sec: patience.as_secs().cast_signed(),
        tv_nsec: patience.subsec_nanos().into(),
    };
    poll(&mut waiting, Some(&timeout)).is_ok_and(|ready| ready > 0)
}

/// A message with its length before it.
fn counted(message: &[u8]) -> Vec<u8> {
    let mut frame = format!("{} ", message.len()).into_bytes();
    frame.extend_from_slice(message);
    frame
}

/// Whether a datagram was too long, and always will be.
pub(super) fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error())
}
