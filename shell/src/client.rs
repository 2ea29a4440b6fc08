//! The client's end of the control protocol.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::protocol::{Command, MAX_REQUEST, Reply, Request, VERSION};

/// How long the daemon may take for a line. Loading rules takes the longest.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to the daemon.
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there, or not to us.
    pub(crate) fn connect(socket: &Path) -> io::Result<Self> {
        let connect = || {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        let stream = connect().map_err(|error: io::Error| {
            let text = format!("cannot reach `weir run` at {}: {error}", socket.display());
            io::Error::new(error.kind(), text)
        })?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a command, gives every line of the answer to `each` and returns the one that ends it.
    ///
    /// # Errors
    /// When the connection breaks, the daemon says something unreadable, or `each` fails.
    pub(crate) fn ask(
        &mut self,
        command: Command,
        mut each: impl FnMut(Reply) -> io::Result<()>,
    ) -> io::Result<Reply> {
        let mut line = serde_json::to_vec(&Request { version: VERSION, command })?;
        line.push(b'\n');
        if line.len() > MAX_REQUEST {
            let text = format!(
                "{} bytes are more than the {MAX_REQUEST} that weir takes at once: the files are too \
                 large",
                line.len()
            );
            return Err(io::Error::other(text));
        }
        // A daemon that refuses the connection answers and hangs up: what it said is still read.
        let sent = self.stream.get_mut().write_all(&line);
        loop {
            line.clear();
            match self.stream.read_until(b'\n', &mut line) {
                Ok(0) => {
                    sent?;
                    return Err(io::Error::other("the daemon hung up"));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::other("the daemon does not answer"));
                }
                Err(error) => {
                    sent?;
                    return Err(error);
                }
            }
            let reply: Reply = serde_json::from_slice(&line).map_err(|error| {
                io::Error::other(format!("the daemon speaks another protocol: {error}"))
            })?;
            if reply.ends() {
                return Ok(reply);
            }
            each(reply)?;
        }
    }
}
