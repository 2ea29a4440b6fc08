//! Asks the data plane how it is: its control socket has to answer, and each of its workers behind it,
//! since the counters that `info` tells are theirs.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use weir_shell::client::Client;
use weir_shell::protocol::{Command, Reply};

/// How often.
pub(super) const ROUND: Duration = Duration::from_secs(3);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// When it was asked.
    pub(super) asked: Instant,
    /// Whether it has ports; else its socket is there for the console.
    pub(super) has_ports: bool,
}

/// Asks for ever, on a thread of its own; answers go to `tell`, which returns `false` when nobody wants
/// them any more. Silence is no answer.
pub(super) fn start(
    socket: &Path,
    tell: impl Fn(Answer) -> bool + Send + 'static,
) -> io::Result<()> {
    let socket = socket.to_owned();
    let asking = move || {
        loop {
            // While it does not answer somebody waits for it.
            let pause = match ask(&socket) {
                Ok(answer) if !tell(answer) => return,
                Ok(_) => ROUND,
                Err(_) => ROUND / 20,
            };
            std::thread::sleep(pause);
        }
    };
    std::thread::Builder::new().name("weir-ask".into()).spawn(asking).map(drop)
}

fn ask(socket: &Path) -> io::Result<Answer> {
    let asked = Instant::now();
    let mut client = Client::connect_within(socket, PATIENCE)?;
    let mut has_ports = false;
    let end = client.ask(Command::Info, |reply| {
        if let Reply::Info(info) = reply {
            has_ports = !info.workers.is_empty();
        }
        Ok(())
    })?;
    match end {
        Reply::Done(_) => Ok(Answer { asked, has_ports }),
        Reply::Error(text) => Err(io::Error::other(text)),
        _ => Err(io::Error::other("no answer to the question")),
    }
}
