//! The client's end of the control protocol.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use weir_config::PortPrefixes;

use crate::dial;
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
            let stream = dial::connect(socket)?;
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

    /// What the daemon knows to be behind the ports.
    ///
    /// # Errors
    /// As for [`Client::ask`], and when the daemon refuses.
    pub(crate) fn prefixes(&mut self) -> io::Result<Vec<PortPrefixes>> {
        let mut prefixes = Vec::new();
        let end = self.ask(Command::Interfaces, |reply| {
            let Reply::Interfaces(ports) = reply else { return Ok(()) };
            for port in ports.into_iter().filter(|port| !port.prefixes.is_empty()) {
                let nets = port.prefixes.iter().map(|net| net.parse().map_err(io::Error::other));
                let nets = nets.collect::<Result<_, _>>()?;
                prefixes.push(PortPrefixes { names: vec![port.role, port.name], nets });
            }
            Ok(())
        })?;
        match end {
            Reply::Error(text) => Err(io::Error::other(text)),
            _ => Ok(prefixes),
        }
    }

    /// Sends a command and leaves the answer to be read.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn send(mut self, command: Command) -> io::Result<BufReader<UnixStream>> {
        let mut line = serde_json::to_vec(&Request { version: VERSION, command })?;
        line.push(b'\n');
        // What a daemon says that refuses the connection is still read.
        let _ = self.stream.get_mut().write_all(&line);
        Ok(self.stream)
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
        // A daemon that refuses the connection answers and hangs up: what it said is still read. That it
        // has hung up is no end of a pipeline, which the caller may take for success.
        let sent = self.stream.get_mut().write_all(&line);
        let hung_up = |sent: io::Result<()>| {
            let why = sent.err().map_or(String::new(), |error| format!(": {error}"));
            io::Error::other(format!("the daemon hung up{why}"))
        };
        loop {
            line.clear();
            match self.stream.read_until(b'\n', &mut line) {
                Ok(0) => return Err(hung_up(sent)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::other("the daemon does not answer"));
                }
                Err(error) => return Err(hung_up(sent.and(Err(error)))),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `weir ctl` takes a broken pipe for the end of `weir ctl -ss | head`, which is none of its
    /// failures.
    #[test]
    fn a_daemon_that_is_gone_is_no_broken_pipe() {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        drop(theirs);
        let mut client = Client { stream: BufReader::new(ours) };
        let error = client.ask(Command::Interfaces, |_| Ok(())).expect_err("nobody answers");
        assert_eq!(error.kind(), io::ErrorKind::Other, "{error}");
        assert!(error.to_string().starts_with("the daemon hung up"), "{error}");
    }
}
