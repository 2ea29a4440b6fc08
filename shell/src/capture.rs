//! The client's end of a capture.

use std::io::{self, BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::client::Client;
use crate::protocol::{Capture, CaptureBegun, Command, Reply};

/// Asks the daemon to begin a capture. What comes back is the connection, on which a pcapng section
/// follows until the daemon ends it; it does so when we shut down our side.
///
/// # Errors
/// When the daemon cannot be reached or refuses, in words.
pub fn begin(socket: &Path, capture: Capture) -> io::Result<(CaptureBegun, BufReader<UnixStream>)> {
    let mut stream = Client::connect(socket)?.send(Command::Capture(capture))?;
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    let reply: Reply = serde_json::from_slice(&line)
        .map_err(|error| io::Error::other(format!("the daemon said no capture: {error}")))?;
    match reply {
        Reply::Capture(begun) => {
            // There may be nothing to capture for as long as it takes.
            stream.get_ref().set_read_timeout(None)?;
            Ok((begun, stream))
        }
        Reply::Diagnostics(diagnostics) => {
            Err(io::Error::other(diagnostics.to_string().trim_end().to_owned()))
        }
        Reply::Error(text) => Err(io::Error::other(text)),
        other => Err(io::Error::other(format!("the daemon said no capture: {other:?}"))),
    }
}
