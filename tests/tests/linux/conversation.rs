//! One connection between real sockets: what each end sends, and the proof that it arrives.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::PoisonError;
use std::time::Duration;

use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};
use weir_tests::lab::Namespace;
use weir_tests::random::Random;

use crate::wire::Standing;

/// How long a read or a write may take: many retransmissions one after the other.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a server waits for the reset that ends a connection.
const RESET: Duration = Duration::from_secs(3);
/// What a slow reader reads at a time, and how long it then looks away, so that its window closes.
const SIP: usize = 16_384;
const PAUSE: Duration = Duration::from_millis(15);

/// What happens in a connection, as a seed decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plot {
    seed: u64,
    /// Bytes that the client sends, and the server.
    lengths: [u64; 2],
    ending: Ending,
    /// The end that reads slowly, in a small buffer.
    slow: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Each end closes when it has sent everything: half-closed connections on the way.
    Independent,
    /// This end closes when the other one has.
    Last(usize),
    /// The server answers when it has read everything; then the client resets.
    Reset,
}

impl Plot {
    pub(crate) fn new(random: &mut Random) -> Self {
        let mut length = || {
            let most = random.one_of(&[1, 200, 3_000, 40_000, 400_000]);
            random.below(most)
        };
        let mut lengths = [length(), length()];
        let ending = match random.below(8) {
            0..4 => Ending::Independent,
            4 => Ending::Last(0),
            5 => Ending::Last(1),
            _ => Ending::Reset,
        };
        if ending == Ending::Reset {
            // The answer that the client waits for.
            lengths[1] += 1;
        }
        let slow = (random.below(6) == 0).then(|| random.below(2) as usize);
        Self { seed: random.next(), lengths, ending, slow }
    }

    /// The byte that an end sends at a position.
    fn byte(&self, end: usize, position: u64) -> u8 {
        let seed = self.seed.rotate_left(end as u32 * 8 + (position % 64) as u32);
        (seed ^ (position >> 6)) as u8
    }

    /// Plays it, over a port of the server that nobody else uses.
    pub(crate) fn play(
        &self,
        [client, server]: [&Namespace; 2],
        to: SocketAddr,
        standing: &Standing,
    ) -> Result<(), String> {
        let told = |what: &str, error: &io::Error| format!("{to}, {self:?}: {what}: {error}");
        let listener = server.within(|| TcpListener::bind(to));
        let listener = listener.map_err(|error| told("listening", &error))?;
        if self.slow == Some(1) {
            // What is accepted takes it over; set later, the window scale would be another.
            set_socket_recv_buffer_size(&listener, SIP).expect("a socket");
        }
        std::thread::scope(|scope| {
            let serving = scope.spawn(|| {
                let (stream, from) = listener.accept().map_err(|e| told("accepting", &e))?;
                standing.lock().unwrap_or_else(PoisonError::into_inner).push([from, to]);
                let result = self.act(1, &stream, standing, to);
                result.map_err(|error| told("the server", &error))
            });
            let stream = client.within(|| connect(to, self.slow == Some(0)));
            let stream = stream.map_err(|error| {
                // Nobody will come: the listener is not to wait for ever.
                let _ = server.within(|| TcpStream::connect(to));
                told("connecting", &error)
            })?;
            let result = self.act(0, &stream, standing, to);
            // What the server waits for last.
            drop(stream);
            result.map_err(|error| told("the client", &error))?;
            serving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn act(
        &self,
        end: usize,
        stream: &TcpStream,
        standing: &Standing,
        server: SocketAddr,
    ) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let listens_first = match self.ending {
            Ending::Independent => false,
            Ending::Last(last) => end == last,
            Ending::Reset => end == 1,
        };
        let closes = || {
            // What an attacker sends from now on may meet a host that knows it no more.
            let mut standing = standing.lock().unwrap_or_else(PoisonError::into_inner);
            standing.retain(|[_, to]| *to != server);
        };
        let write = || {
            self.write(end, stream)?;
            closes();
            // A reset ends in place of a FIN.
            if self.ending == Ending::Reset { Ok(()) } else { stream.shutdown(Shutdown::Write) }
        };
        if listens_first {
            self.read(end, stream)?;
            write()?;
        } else {
            std::thread::scope(|scope| {
                let writing = scope.spawn(write);
                self.read(end, stream)?;
                writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })?;
        }
        match (self.ending, end) {
            (Ending::Reset, 0) => set_socket_linger(stream, Some(Duration::ZERO))?,
            (Ending::Reset, _) => {
                stream.set_read_timeout(Some(RESET))?;
                let mut reader = stream;
                match reader.read(&mut [0]) {
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                    // It is sent once, and was lost.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    other => return Err(io::Error::other(format!("no reset but {other:?}"))),
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn write(&self, end: usize, mut stream: &TcpStream) -> io::Result<()> {
        let mut at = 0;
        let mut chunk = Vec::new();
        while at < self.lengths[end] {
            let until = self.lengths[end].min(at + 30_000);
            chunk.clear();
            chunk.extend((at..until).map(|position| self.byte(end, position)));
            stream.write_all(&chunk)?;
            at = until;
        }
        Ok(())
    }

    /// Reads all that the other end sends, and its FIN unless it is to come later or not at all.
    fn read(&self, end: usize, mut stream: &TcpStream) -> io::Result<()> {
        let (other, expected) = (1 - end, self.lengths[1 - end]);
        let mut buffer = vec![0; SIP];
        let mut at = 0;
        loop {
            if at == expected && self.ending == Ending::Reset {
                return Ok(());
            }
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            for (position, &byte) in (at..).zip(&buffer[..count]) {
                if byte != self.byte(other, position) || position >= expected {
                    return Err(io::Error::other(format!("another byte at {position}")));
                }
            }
            at += count as u64;
            if self.slow == Some(end) {
                std::thread::sleep(PAUSE);
            }
        }
        if at == expected {
            Ok(())
        } else {
            Err(io::Error::other(format!("ends after {at} of {expected} bytes")))
        }
    }
}

/// Connects; a small buffer has to be there before the SYN names the window scale.
fn connect(to: SocketAddr, slow: bool) -> io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType};
    let family = match to.ip() {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    if slow {
        set_socket_recv_buffer_size(&socket, SIP)?;
    }
    rustix::net::connect(&socket, &to)?;
    Ok(socket.into())
}
