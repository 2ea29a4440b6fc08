//! A client's connection: lines in, lines out, each within the bounds of the protocol.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use weir_shell::protocol::Reply;

use super::Bounds;
use super::room::Room;

/// One connection.
pub(super) struct Connection {
    stream: UnixStream,
    bounds: Bounds,
    /// What was read and not yet used.
    buffer: Vec<u8>,
    room: Room,
}

/// How a client's line ended.
pub(super) enum Line {
    /// With its newline, which is not part of it.
    Complete(Vec<u8>),
    /// The client is done.
    End,
}

impl Connection {
    /// Nothing is read yet. `taken_by_all` is what the requests of all connections take, in bytes.
    pub(super) fn new(stream: UnixStream, bounds: Bounds, taken_by_all: &Arc<AtomicUsize>) -> Self {
        Self { stream, bounds, buffer: Vec::new(), room: Room::new(taken_by_all) }
    }

    /// A request is answered: its room is free.
    pub(super) fn give_back(&mut self) {
        self.room.give_back();
    }

    /// Reads up to the next newline, within the bounds of the protocol.
    pub(super) fn read_line(&mut self) -> io::Result<Line> {
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

    /// Writes one line, as patient with the client as the protocol is.
    pub(super) fn send(&mut self, reply: &Reply) -> io::Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        self.send_bytes(&line)
    }

    /// Writes bytes. A client may take them as slowly as it likes, a console or a pager is slow, but
    /// must take some of them within the time of the protocol.
    pub(super) fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.set_write_timeout(Some(self.bounds.unread))?;
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => rest = &rest[length..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the client does not read",
                    ));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the client of a stream is gone or has shut down its side. What it says, it has no
    /// business saying, and ends it, too.
    pub(super) fn has_ended(&mut self) -> io::Result<bool> {
        let mut waiting = [PollFd::new(&self.stream, PollFlags::IN)];
        let ended = poll(&mut waiting, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0;
        if ended {
            // A connection that is closed with something unread is reset, and its end lost.
            let _ = self.stream.read(&mut [0; 4096]);
        }
        Ok(ended)
    }

    /// Sleeps for so long, or until the client says something or is gone.
    pub(super) fn rest(&self, time: Duration) {
        let timeout = Timespec {
            tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        let mut waiting = [PollFd::new(&self.stream, PollFlags::IN)];
        // An interrupted wait is a short one.
        let _ = poll(&mut waiting, Some(&timeout));
    }

    /// Ends it in both directions.
    pub(super) fn shut_down(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Both)
    }
}
