//! A running firewall on the memory port behind its control socket, and a client that speaks the
//! protocol by hand.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::TempDir;
use weir_daemon::control::{Control, Parts};
use weir_daemon::history::{Bounds as Kept, History};
use weir_daemon::rules::Programs;
use weir_daemon::server::{Bounds, Groups, Server};
use weir_hw::Kind;
use weir_shell::protocol::{
    Command, Done, Info, Load, Reply, Request, RuleListing, Source, State, StateQuery, VERSION,
};

use crate::house::{Arrivals, House, Running, datagram, names, wait_for};

/// What a firewall in that directory keeps.
pub(crate) fn history(directory: &TempDir) -> History {
    History::new(&directory.path().join("state"), Kept { entries: 50, bytes: 1 << 24 })
}

/// A running firewall on the memory port with its control socket.
pub(crate) struct Seat {
    pub(crate) running: Running,
    pub(crate) control: Arc<Control>,
    _server: Server,
    pub(crate) directory: TempDir,
    /// Origins that were announced.
    pub(crate) announced: Arc<Mutex<Vec<String>>>,
}

/// States that memory is said to be reserved for.
pub(crate) const RESERVED: u32 = 100_000;

/// The groups that may look, and change things, in these tests.
pub(crate) const MAY_LOOK: u32 = 4711;
pub(crate) const MAY_CHANGE: u32 = 4712;

/// Longest request in these tests.
pub(crate) const MAX_REQUEST: usize = 2 << 20;

/// Longest request of those who may only look.
pub(crate) const MAX_QUESTION: usize = 4096;

/// How long a slow client has in these tests.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(300);

impl Seat {
    pub(crate) fn new() -> Self {
        Self::in_directory(tempfile::tempdir().unwrap())
    }

    /// With what another has kept there.
    pub(crate) fn in_directory(directory: TempDir) -> Self {
        let running = House::new(2, 1024).start();
        let announced: Arc<Mutex<Vec<String>>> = Arc::default();
        let paper = Arc::clone(&announced);
        let house = &running.house;
        let parts = Parts {
            clock: house.clock,
            mailboxes: house.mailboxes.clone(),
            cpus: vec![0, 3],
            shared: Arc::clone(&house.shared),
            overloads: Arc::clone(&house.overloads),
            ports: names(),
            io: Kind::Memory,
            steered: false,
            reserved: RESERVED,
            programs: Arc::new(Programs::default()),
            log: Arc::default(),
            flows: Arc::default(),
            history: Some(history(&directory)),
            rules_file: "/etc/weir/weir.conf".into(),
            cut_percent: 20,
            give_up: Box::new(|why| panic!("{why}")),
        };
        let announce = Box::new(move |origin: &str| paper.lock().push(origin.to_owned()));
        let control = Arc::new(Control::new(parts, announce));
        let server = Server::bind(&directory.path().join("sock")).unwrap();
        let bounds = Bounds {
            timeout: TIMEOUT,
            unread: TIMEOUT,
            idle: Duration::from_secs(10),
            clients: 8,
            request: MAX_REQUEST,
            question: MAX_QUESTION,
            requests: MAX_REQUEST + (MAX_REQUEST >> 1),
        };
        let file = directory.path().join("group");
        std::fs::write(&file, format!("see:x:{MAY_LOOK}:\ndo:x:{MAY_CHANGE}:\n")).unwrap();
        let groups = Groups { write: "do".into(), read: "see".into(), file };
        server.start(Arc::clone(&control), bounds, groups).unwrap();
        Self { running, control, _server: server, directory, announced }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("sock")
    }

    /// A client that has been greeted.
    pub(crate) fn client(&self) -> Client {
        let mut client = self.stranger();
        match client.read() {
            Some(Reply::Hello(hello)) => assert_eq!(hello.version, VERSION),
            other => panic!("{other:?}"),
        }
        client
    }

    /// A client that has read nothing yet.
    pub(crate) fn stranger(&self) -> Client {
        let stream = UnixStream::connect(self.path()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Client(BufReader::new(stream))
    }

    /// Sends datagrams of so many flows from the LAN and waits until they have left.
    pub(crate) fn make_states(&self, flows: u16) {
        (0..flows).for_each(|flow| self.send(flow));
    }

    /// Sends a datagram of a flow from the LAN and waits until it has left.
    pub(crate) fn send(&self, flow: u16) {
        assert!(self.running.house.lan.put(0, &datagram(flow, 0)));
        wait_for("a datagram", || Arrivals::default().take(&self.running.house.wan, 2) > 0);
    }
}

pub(crate) struct Client(pub(crate) BufReader<UnixStream>);

impl Client {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// The next line; `None` at the end of the connection.
    pub(crate) fn read(&mut self) -> Option<Reply> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"))),
            // What we sent and the daemon did not want to read.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn request(&mut self, command: Command) {
        let mut line = serde_json::to_vec(&Request { version: VERSION, command }).unwrap();
        line.push(b'\n');
        self.write(&line);
    }

    /// The whole answer to a command.
    pub(crate) fn ask(&mut self, command: Command) -> Vec<Reply> {
        self.request(command);
        let mut replies = vec![self.read().expect("an answer")];
        while !replies[replies.len() - 1].ends() {
            replies.push(self.read().expect("more of the answer"));
        }
        replies
    }

    /// The last line of the answer.
    pub(crate) fn end(&mut self, command: Command) -> Reply {
        self.ask(command).pop().unwrap()
    }

    pub(crate) fn error(&mut self) -> String {
        match self.read() {
            Some(Reply::Error(text)) => text,
            other => panic!("{other:?} is no error"),
        }
    }

    pub(crate) fn info(&mut self) -> Info {
        match self.ask(Command::Info).swap_remove(0) {
            Reply::Info(info) => *info,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn states(&mut self) -> Vec<State> {
        let listed =
            self.ask(Command::States(StateQuery::default())).into_iter().filter_map(|reply| {
                match reply {
                    Reply::States(states) => Some(states),
                    _ => None,
                }
            });
        listed.flatten().collect()
    }

    /// The texts of the rules in force.
    pub(crate) fn rules(&mut self) -> Vec<String> {
        self.listing("", false).rules.into_iter().map(|rule| rule.text).collect()
    }

    pub(crate) fn listing(&mut self, anchor: &str, recursive: bool) -> RuleListing {
        let command = Command::RulesIn { anchor: anchor.into(), recursive };
        match self.ask(command).swap_remove(0) {
            Reply::Rules(listing) => listing,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn load(text: &str) -> Command {
    let sources = vec![Source { name: "test.conf".into(), text: text.into() }];
    Command::Load(Load { sources, ..Load::default() })
}

pub(crate) fn done(count: u64) -> Reply {
    Reply::Done(Done { count, note: None })
}
