//! The client's end of the control protocol.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use weir_config::PortPrefixes;

use crate::console;
use crate::dial;
use crate::protocol::{Access, Command, MAX_REQUEST, Reply, Request, VERSION};

/// How long the daemon may take for a line. Loading rules takes the longest.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long it may take to say what it is.
const GREETING: Duration = Duration::from_secs(20);

/// Longest first line of the daemon's, in bytes.
const LONGEST_HELLO: u64 = 4096;

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    access: Access,
    /// Waiting ends when it can be read.
    interrupt: Option<OwnedFd>,
}

/// The first line of a connection, of whatever version.
#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Greeting {
    Hello { version: u32, weir: String, access: serde_json::Value },
    Error(String),
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there, or not to us, or it is a daemon of another version.
    pub fn connect(socket: &Path) -> io::Result<Self> {
        Self::connect_within(socket, PATIENCE)
    }

    /// Connects; no line of the daemon's may take longer than `patience`.
    ///
    /// # Errors
    /// When nobody listens there, or not to us, or it is a daemon of another version.
    pub fn connect_within(socket: &Path, patience: Duration) -> io::Result<Self> {
        Self::connect_until(socket, patience, None)
    }

    /// Connects; no line of the daemon's may take longer than `patience`, and none is waited for any
    /// longer when `interrupt` can be read.
    ///
    /// # Errors
    /// When nobody listens there, or not to us, or it is a daemon of another version, and when it is
    /// interrupted.
    pub(crate) fn connect_until(
        socket: &Path,
        patience: Duration,
        interrupt: Option<OwnedFd>,
    ) -> io::Result<Self> {
        let connect = || {
            let stream = dial::connect(socket, patience)?;
            stream.set_read_timeout(Some(patience.min(GREETING)))?;
            stream.set_write_timeout(Some(patience))?;
            Ok(stream)
        };
        let stream = connect().map_err(|error: io::Error| {
            let text = format!("cannot reach `weir run` at {}: {error}", socket.display());
            // The pipe is the one to the keeper, not that of our output.
            let kind = match error.kind() {
                io::ErrorKind::BrokenPipe => io::ErrorKind::Other,
                kind => kind,
            };
            io::Error::new(kind, text)
        })?;
        let client = Self::greeted(stream, interrupt)?;
        client.stream.get_ref().set_read_timeout(Some(patience))?;
        Ok(client)
    }

    /// Reads the daemon's first line.
    fn greeted(stream: UnixStream, interrupt: Option<OwnedFd>) -> io::Result<Self> {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        wait(&stream, interrupt.as_ref())?;
        (&mut stream).take(LONGEST_HELLO).read_until(b'\n', &mut line).map_err(unanswered)?;
        match serde_json::from_slice(&line) {
            Ok(Greeting::Hello { version: VERSION, access, .. }) => {
                let access = serde_json::from_value(access).map_err(io::Error::other)?;
                Ok(Self { stream, access, interrupt })
            }
            Ok(Greeting::Hello { version, weir, .. }) => Err(io::Error::other(format!(
                "the daemon is weir {weir} and speaks version {version} of the control protocol, this \
                 is weir {} and speaks version {VERSION}: use the one that the daemon runs from",
                env!("CARGO_PKG_VERSION")
            ))),
            Ok(Greeting::Error(text)) => Err(io::Error::other(text)),
            Err(_) if line.is_empty() => Err(io::Error::other("the daemon hung up")),
            Err(error) => {
                let text = format!("what listens there is no weir of this version: {error}");
                Err(io::Error::other(text))
            }
        }
    }

    /// What the daemon lets us do.
    pub const fn access(&self) -> Access {
        self.access
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
    pub fn send(mut self, command: Command) -> io::Result<BufReader<UnixStream>> {
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
    pub fn ask(
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
            wait(&self.stream, self.interrupt.as_ref())?;
            match self.stream.read_until(b'\n', &mut line) {
                Ok(_) if line.ends_with(b"\n") => {}
                // With half a line before it, or none.
                Ok(_) => return Err(hung_up(sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(unanswered(error));
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

/// Waits until there is something to read, for as long as the stream waits.
fn wait(stream: &BufReader<UnixStream>, interrupt: Option<&OwnedFd>) -> io::Result<()> {
    let Some(interrupt) = interrupt.filter(|_| stream.buffer().is_empty()) else { return Ok(()) };
    let patience = stream.get_ref().read_timeout()?;
    let on = [stream.get_ref().as_fd(), interrupt.as_fd()];
    match console::wait(on, patience)? {
        [true, _] => Ok(()),
        // Not of the kind that those who read try again.
        [false, true] => Err(io::Error::other("interrupted")),
        [false, false] => Err(unanswered(io::ErrorKind::WouldBlock.into())),
    }
}

/// Says what a time-out means.
fn unanswered(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        return io::Error::other("the daemon does not answer");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of connecting to a daemon that begins so.
    fn greeted(line: &str) -> Result<Access, String> {
        let (ours, mut theirs) = UnixStream::pair().expect("sockets");
        theirs.write_all(line.as_bytes()).expect("it fits");
        drop(theirs);
        Client::greeted(ours, None).map(|client| client.access()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_daemon_of_another_version_is_told_by_its_first_line() {
        let hello = r#"{"hello":{"version":1,"weir":"0.1.0","access":"read"}}"#;
        assert_eq!(greeted(&format!("{hello}\n")), Ok(Access::Read));
        let later = "{\"hello\":{\"version\":2,\"weir\":\"9.9\",\"access\":\"more\",\"new\":[]}}\n";
        let error = greeted(later).expect_err("another version");
        assert!(error.starts_with("the daemon is weir 9.9 and speaks version 2 "), "{error}");
        let refused = greeted("{\"error\":\"permission denied\"}\n");
        assert_eq!(refused, Err("permission denied".to_owned()));
        assert_eq!(greeted(""), Err("the daemon hung up".to_owned()));
        for line in ["220 mail.example ESMTP\n", "{}\n", &"x".repeat(8192)] {
            let error = greeted(line).expect_err("no weir");
            assert!(error.starts_with("what listens there is no weir"), "{error}");
        }
    }

    /// `weir ctl` takes a broken pipe for the end of `weir ctl -ss | head`, which is none of its
    /// failures.
    #[test]
    fn a_daemon_that_is_gone_is_no_broken_pipe() {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        drop(theirs);
        let mut client =
            Client { stream: BufReader::new(ours), access: Access::Write, interrupt: None };
        let error = client.ask(Command::Interfaces, |_| Ok(())).expect_err("nobody answers");
        assert_eq!(error.kind(), io::ErrorKind::Other, "{error}");
        assert!(error.to_string().starts_with("the daemon hung up"), "{error}");
    }

    #[test]
    fn whoever_waits_may_be_interrupted() {
        let (ours, _theirs) = UnixStream::pair().expect("sockets");
        let (interrupt, mut key) = UnixStream::pair().expect("sockets");
        key.write_all(b"x").expect("it fits");
        // No time-out: this would wait for ever.
        let error = Client::greeted(ours, Some(interrupt.into())).expect_err("nobody answers");
        assert_eq!(error.to_string(), "interrupted");
    }

    #[test]
    fn half_a_line_is_a_daemon_that_hung_up() {
        let (ours, mut theirs) = UnixStream::pair().expect("sockets");
        theirs.write_all(b"{\"states\":[{\"id\":").expect("it fits");
        theirs.shutdown(std::net::Shutdown::Write).expect("ours");
        let mut client =
            Client { stream: BufReader::new(ours), access: Access::Write, interrupt: None };
        let error = client.ask(Command::Interfaces, |_| Ok(())).expect_err("no answer");
        assert_eq!(error.to_string(), "the daemon hung up");
    }
}
