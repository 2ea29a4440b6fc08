//! `-r`: what addresses are called, by `/etc/hosts` and the name servers of `/etc/resolv.conf`
//! (hosts(5), resolv.conf(5)). The resolver of the C library is none for a static binary: it loads shared
//! libraries when it is first asked.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// How long a name server may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Name servers that are asked, as many as the C library asks.
const SERVERS: usize = 3;

/// `PTR` and `IN` (RFC 1035, section 3.2).
const POINTER: u16 = 12;
const INTERNET: u16 = 1;

/// The names of addresses, each asked for once.
#[derive(Debug, Default)]
pub(crate) struct Names {
    servers: Vec<SocketAddr>,
    /// No server has answered: the rest is not asked for.
    silent: Cell<bool>,
    known: RefCell<HashMap<IpAddr, Option<String>>>,
    asked: bool,
}

impl Names {
    /// Addresses have names.
    pub(crate) fn of_machine() -> Self {
        let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        let servers = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        Self {
            servers: name_servers(&servers),
            known: RefCell::new(known(&hosts)),
            asked: true,
            ..Self::default()
        }
    }

    /// Whether names are asked for; else nothing has one.
    pub(crate) const fn are_asked(&self) -> bool {
        self.asked
    }

    /// The name of an address, if it has one and somebody knows it.
    pub(crate) fn of(&self, address: IpAddr) -> Option<String> {
        if !self.asked {
            return None;
        }
        if let Some(known) = self.known.borrow().get(&address) {
            return known.clone();
        }
        let name = if self.silent.get() { None } else { self.look_up(address) };
        self.known.borrow_mut().insert(address, name.clone());
        name
    }

    fn look_up(&self, address: IpAddr) -> Option<String> {
        let id = RandomState::new().hash_one(address) as u16;
        let question = question(id, &reversed(address));
        for server in &self.servers {
            if let Ok(answer) = exchange(*server, &question) {
                return pointer(&answer, question.len()).filter(|name| is_harmless(name));
            }
        }
        self.silent.set(true);
        None
    }
}

/// The first name of each address.
fn known(hosts: &str) -> HashMap<IpAddr, Option<String>> {
    let mut found = HashMap::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        if let (Some(address), Some(name)) = (words.next(), words.next())
            && let Ok(address) = address.parse()
            && is_harmless(name)
        {
            found.entry(address).or_insert_with(|| Some(name.to_owned()));
        }
    }
    found
}

fn name_servers(settings: &str) -> Vec<SocketAddr> {
    let named = settings.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let is_it = words.next() == Some("nameserver");
        words.next().filter(|_| is_it)?.parse::<IpAddr>().ok()
    });
    let mut servers: Vec<_> = named.take(SERVERS).collect();
    if servers.is_empty() {
        servers.push(Ipv4Addr::LOCALHOST.into());
    }
    servers.into_iter().map(|address| SocketAddr::new(address, 53)).collect()
}

/// Whoever owns an address names it as he likes: what a host name cannot have could be a command of the
/// terminal's.
fn is_harmless(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// `1.2.0.192.in-addr.arpa`, and in nibbles for IPv6 (RFC 3596, section 2.5).
fn reversed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let mut name = String::with_capacity(72);
            for byte in address.octets().into_iter().rev() {
                // A string takes all that is written.
                let _ = write!(name, "{:x}.{:x}.", byte & 15, byte >> 4);
            }
            name + "ip6.arpa"
        }
    }
}

/// A query (RFC 1035, section 4.1).
fn question(id: u16, name: &str) -> Vec<u8> {
    // One question, and the server may ask others.
    let mut query = Vec::with_capacity(96);
    for word in [id, 0x0100, 1, 0, 0, 0] {
        query.extend_from_slice(&word.to_be_bytes());
    }
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.push(0);
    query.extend_from_slice(&POINTER.to_be_bytes());
    query.extend_from_slice(&INTERNET.to_be_bytes());
    query
}

fn exchange(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(server)?;
    socket.send(question)?;
    let mut answer = vec![0; 1500];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    // The same question under the same number; any other answer is somebody else's.
    let is_answer = answer.get(..2) == question.get(..2)
        && answer.get(12..question.len()) == question.get(12..)
        && answer.get(2).is_some_and(|flags| flags & 0x80 != 0);
    if is_answer { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// The first name that an answer points to; what it answers is `behind` bytes long.
fn pointer(answer: &[u8], behind: usize) -> Option<String> {
    let word = |at: usize| Some(u16::from_be_bytes([*answer.get(at)?, *answer.get(at + 1)?]));
    let mut at = behind;
    for _ in 0..word(6)? {
        at = skipped(answer, at)?;
        let (kind, class, length) = (word(at)?, word(at + 2)?, word(at + 8)?);
        at += 10;
        if (kind, class) == (POINTER, INTERNET) {
            return name(answer, at);
        }
        at += usize::from(length);
    }
    None
}

/// Behind a name.
fn skipped(answer: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *answer.get(at)? {
            0 => return Some(at + 1),
            length if length < 64 => at += 1 + usize::from(length),
            _ => return Some(at + 2),
        }
    }
}

/// A name, parts of which may stand elsewhere (RFC 1035, section 4.1.4).
fn name(answer: &[u8], mut at: usize) -> Option<String> {
    let mut labels: Vec<&str> = Vec::new();
    // A name has no more labels than that, whatever points where.
    for _ in 0..128 {
        let length = usize::from(*answer.get(at)?);
        match length {
            0 => return Some(labels.join(".")),
            1..64 => {
                labels.push(std::str::from_utf8(answer.get(at + 1..at + 1 + length)?).ok()?);
                at += 1 + length;
            }
            _ => at = (length & 0x3f) << 8 | usize::from(*answer.get(at + 1)?),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, UdpSocket};

    use super::{Names, is_harmless, known, name_servers, question, reversed};

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// What is asked of a server that answers one question with these records.
    fn answered(records: &'static [u8], count: u8) -> Option<String> {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let names = Names {
            servers: vec![server.local_addr().expect("bound")],
            asked: true,
            ..Names::default()
        };
        let answering = std::thread::spawn(move || {
            let mut query = [0; 512];
            let (length, from) = server.recv_from(&mut query).expect("a question");
            let mut answer = query[..length].to_vec();
            answer[2] |= 0x80;
            answer[7] = count;
            answer.extend_from_slice(records);
            server.send_to(&answer, from).expect("to loopback");
        });
        let name = names.of(ip("192.0.2.1"));
        answering.join().expect("answered");
        assert_eq!(names.of(ip("192.0.2.1")), name, "asked once");
        name
    }

    #[test]
    fn names_are_what_a_server_says() {
        // A CNAME to somewhere else, as RFC 2317 has it, then `web.` and the question's `arpa`, which is
        // 12 + 2 + 2 + 2 + 4 + 8 bytes from the start.
        let records = b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x05\x00\x02\x01x\
            \xc0\x0c\x00\x0c\x00\x01\x00\x00\x00\x05\x00\x06\x03web\xc0\x1e";
        assert_eq!(answered(records, 2).as_deref(), Some("web.arpa"));
        assert_eq!(answered(b"", 0), None, "it knows none");
        assert_eq!(answered(b"\xc0\x0c\x00\x0c", 1), None, "cut off");
        let round = b"\xc0\x0c\x00\x0c\x00\x01\x00\x00\x00\x05\x00\x02\xc0\x34";
        assert_eq!(answered(round, 1), None, "it points at itself");
        let evil = b"\xc0\x0c\x00\x0c\x00\x01\x00\x00\x00\x05\x00\x06\x04\x1b[2J\x00";
        assert_eq!(answered(evil, 1), None, "the terminal's commands are no names");
    }

    #[test]
    fn questions_are_of_addresses_backwards() {
        assert_eq!(reversed(ip("192.0.2.1")), "1.2.0.192.in-addr.arpa");
        let name = reversed(ip("2001:db8::f"));
        assert!(
            name.starts_with("f.0.0.0.") && name.ends_with(".8.b.d.0.1.0.0.2.ip6.arpa"),
            "{name}"
        );
        let query = question(0x1234, "1.arpa");
        assert_eq!(query, b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x011\x04arpa\0\x00\x0c\x00\x01");
    }

    #[test]
    fn files_are_read_as_the_resolver_reads_them() {
        let hosts = known("127.0.0.1 localhost me\n# no\n::1 six # x\n127.0.0.1 other\n1.2 x\n\n");
        assert_eq!(hosts.len(), 2);
        assert_eq!(hosts[&ip("127.0.0.1")].as_deref(), Some("localhost"));
        let text = "search x\nnameserver 192.0.2.1\nnameserver ::1\nnameserver a\n";
        let servers: Vec<_> = name_servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[::1]:53"]);
        assert_eq!(name_servers("")[0].to_string(), "127.0.0.1:53");
        assert!(is_harmless("a-b_c.example") && !is_harmless("a b") && !is_harmless(""));
        assert_eq!(Names::default().of(ip("127.0.0.1")), None, "not asked for");
    }
}
