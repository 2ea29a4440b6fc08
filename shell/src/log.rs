//! The client's end of the log.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::client::Client;
use crate::protocol::{Command, Follow, LogLine, Reply};

/// Something that comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A line.
    Line(Box<LogLine>),
    /// So many lines were lost, since they were not read in time.
    Lost(u64),
}

/// Lines as they come. Whoever has had enough drops it, or shuts [`Lines::stream`] down from another
/// thread.
#[derive(Debug)]
pub struct Lines {
    stream: BufReader<UnixStream>,
}

/// Asks the daemon for its log.
///
/// # Errors
/// When the daemon cannot be reached. What it refuses, the first of the lines says.
pub fn begin(socket: &Path, follow: Follow) -> io::Result<Lines> {
    let follows = follow.follow;
    let stream = Client::connect(socket)?.send(Command::Follow(follow))?;
    if follows {
        // There may be nothing to tell for as long as it takes.
        stream.get_ref().set_read_timeout(None)?;
    }
    Ok(Lines { stream })
}

impl Iterator for Lines {
    type Item = io::Result<Told>;

    /// The next; an error when the connection breaks or is shut down, or what the daemon refuses, in
    /// words.
    fn next(&mut self) -> Option<Self::Item> {
        self.read_told().transpose()
    }
}

impl Lines {
    /// The connection, to be shut down by who waits for a signal.
    pub fn stream(&self) -> &UnixStream {
        self.stream.get_ref()
    }

    fn read_told(&mut self) -> io::Result<Option<Told>> {
        match self.read()? {
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon hung up")),
            Some(Reply::Done(_)) => Ok(None),
            Some(Reply::Log(line)) => Ok(Some(Told::Line(Box::new(line)))),
            Some(Reply::LogLost(count)) => Ok(Some(Told::Lost(count))),
            Some(Reply::Error(text)) => Err(io::Error::other(text)),
            Some(Reply::Diagnostics(found)) => {
                Err(io::Error::other(found.to_string().trim_end().to_owned()))
            }
            Some(other) => Err(io::Error::other(format!("the daemon said no log: {other:?}"))),
        }
    }

    fn read(&mut self) -> io::Result<Option<Reply>> {
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(0) => Ok(None),
            Ok(_) => serde_json::from_slice(&line)
                .map(Some)
                .map_err(|error| io::Error::other(format!("the daemon said no log: {error}"))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::Error::other("the daemon does not answer"))
            }
            Err(error) => Err(error),
        }
    }
}

/// Writes what comes, a line each: as text, or with `json` as it came.
///
/// # Errors
/// When `out` or the connection breaks, or the daemon refuses.
pub fn print(lines: &mut Lines, json: bool, out: &mut impl Write) -> io::Result<()> {
    for told in lines {
        match told? {
            Told::Line(line) if json => {
                serde_json::to_writer(&mut *out, &line)?;
                out.write_all(b"\n")?;
            }
            Told::Lost(count) if json => writeln!(out, "{{\"lost\":{count}}}")?,
            Told::Line(line) => {
                let LogLine { date, name, severity, text, .. } = &*line;
                if name == "packet" {
                    writeln!(out, "{date} {text}")?;
                } else {
                    writeln!(out, "{date} {severity} {name}: {text}")?;
                }
            }
            Told::Lost(count) => writeln!(out, "({count} lines were lost here)")?,
        }
        out.flush()?;
    }
    Ok(())
}
