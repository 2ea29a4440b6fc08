//! What there is to be named: asked from the daemon when somebody wants a word completed, for a
//! moment only. Whatever does not come in time is not offered.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use weir_config::settings::KEYS;

use super::pattern::Kind;
use crate::client::Client;
use crate::protocol::{Command, Reply, SourceQuery, StateQuery};

/// How long an answer may take, all of it.
const PATIENCE: Duration = Duration::from_millis(300);

/// Names that are offered at most.
const MOST: usize = 200;

/// Longest line of an answer, in bytes.
const LINE: u64 = 4 << 20;

/// Knows names.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    socket: PathBuf,
}

impl Seen {
    /// Those that the daemon behind a socket knows.
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// What an argument of this kind may be.
    pub(crate) fn names(&self, kind: Kind, begun: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut add = |name: &str| {
            if name.starts_with(begun) && kind.accepts(name) {
                found.insert(name.to_owned());
            }
            found.len() < MOST
        };
        // Half an answer is better than none.
        let _ = match kind {
            Kind::Table => {
                self.ask(Command::Tables { anchor: String::new(), recursive: false }, |reply| {
                    match reply {
                        Reply::Tables(tables) => tables.iter().all(|table| add(&table.name)),
                        _ => true,
                    }
                })
            }
            Kind::Label => {
                self.ask(Command::RulesIn { anchor: String::new(), recursive: true }, |reply| {
                    match reply {
                        Reply::Rules(listing) => std::iter::once(&listing)
                            .chain(&listing.nested)
                            .flat_map(|listing| &listing.rules)
                            .filter_map(|rule| rule.label.as_deref())
                            .all(&mut add),
                        _ => true,
                    }
                })
            }
            Kind::Anchor => self.ask(Command::Anchors, |reply| match reply {
                Reply::Anchors(paths) => paths.iter().all(|path| add(path)),
                _ => true,
            }),
            Kind::Address => self.addresses(&mut add),
            Kind::Port => {
                let _ = add("lan") && add("wan");
                self.ask(Command::Interfaces, |reply| match reply {
                    Reply::Interfaces(ports) => ports.iter().all(|port| add(&port.name)),
                    _ => true,
                })
            }
            Kind::Nic => nics(&mut add),
            Kind::RuleSet => {
                let _ = add("running") && add("file");
                Ok(())
            }
            Kind::Key => {
                let _ = KEYS.iter().all(|(section, key)| match *section {
                    "" => add(key),
                    _ => add(&format!("{section}.{key}")),
                });
                Ok(())
            }
            Kind::Id
            | Kind::Number
            | Kind::Time
            | Kind::Date
            | Kind::Clock
            | Kind::File
            | Kind::Which
            | Kind::Whose
            | Kind::Words => Ok(()),
        };
        found
    }

    /// Those of sources that are limited, then those of states.
    fn addresses(&self, add: &mut dyn FnMut(&str) -> bool) -> io::Result<()> {
        self.ask(Command::Sources(SourceQuery::default()), |reply| match reply {
            Reply::Sources(sources) => {
                sources.iter().all(|source| add(&source.address.to_string()))
            }
            _ => true,
        })?;
        self.ask(Command::States(StateQuery::default()), |reply| match reply {
            Reply::States(states) => states
                .iter()
                .all(|state| add(&state.source.to_string()) && add(&state.destination.to_string())),
            _ => true,
        })
    }

    /// Asks, and reads on as long as `each` wants more and there is time.
    fn ask(&self, command: Command, mut each: impl FnMut(Reply) -> bool) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let stream = Client::connect_within(&self.socket, PATIENCE)?.send(command)?;
        let mut line = Vec::new();
        let mut reader = BufReader::new(Hasty { stream, deadline });
        loop {
            line.clear();
            let mut bounded = io::Read::take(&mut reader, LINE);
            if bounded.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let reply: Reply = serde_json::from_slice(&line)?;
            if reply.ends() || !each(reply) {
                return Ok(());
            }
        }
    }
}

/// A connection that is read until a moment, however slowly bytes drop in.
struct Hasty {
    stream: BufReader<UnixStream>,
    deadline: Instant,
}

impl io::Read for Hasty {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.get_ref().set_read_timeout(Some(left))?;
        self.stream.read(into)
    }
}

/// The interfaces of this machine.
fn nics(add: &mut dyn FnMut(&str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir("/sys/class/net")? {
        let name = entry?.file_name();
        if name != "lo" && !name.to_str().is_none_or(&mut *add) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_daemon_that_says_nothing_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let seen = Seen::new(&path);
        assert!(seen.names(Kind::Table, "").is_empty(), "nobody is there");
        let listener = UnixListener::bind(&path).unwrap();
        assert!(seen.names(Kind::Table, "").is_empty(), "nobody answers");
        drop(listener);
    }

    #[test]
    fn names_come_from_what_the_daemon_lists() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let daemon = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let hello = b"{\"hello\":{\"version\":1,\"weir\":\"0\",\"access\":\"read\"}}\n";
            stream.write_all(hello).unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            let text =
                b"{\"anchors\":[\"guests\",\"web\",\"web/a\",\"-f\"]}\n{\"done\":{\"count\":4}}\n";
            stream.write_all(text).unwrap();
        });
        let found: Vec<_> = Seen::new(&path).names(Kind::Anchor, "we").into_iter().collect();
        assert_eq!(found, ["web", "web/a"]);
        daemon.join().unwrap();
    }
}
