//! Clients that fetch the page of a web server, each time over a new connection of a real stack.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use super::{Host, WebServer};

/// Clients of one host that work beside each other.
#[derive(Clone, Copy, Debug)]
pub struct Visitors {
    /// How many.
    pub count: u32,
    /// Pages that each of them fetches.
    pub pages: u32,
    /// From one page to the next. Who is late leaves out what has been missed, so that a server that
    /// hangs is not asked more than one that does not.
    pub interval: Duration,
    /// How long a fetch may take.
    pub patience: Duration,
}

impl Visitors {
    /// Fetches the page of a [`WebServer`] again and again. Returns for every fetch how long it took,
    /// from the SYN to the last byte, or why it failed.
    pub fn visit(&self, from: &Host, to: SocketAddr) -> Vec<io::Result<Duration>> {
        let begin = Instant::now();
        from.namespace.within(|| {
            std::thread::scope(|scope| {
                let visitors: Vec<_> = (0..self.count)
                    .map(|number| scope.spawn(move || self.one(number, begin, to)))
                    .collect();
                let fetched = visitors.into_iter().map(ScopedJoinHandle::join);
                fetched.flat_map(|all| all.expect("a visitor does not panic")).collect()
            })
        })
    }

    fn one(&self, number: u32, begin: Instant, to: SocketAddr) -> Vec<io::Result<Duration>> {
        let first = begin + self.interval * number / self.count;
        let end = first + self.interval * self.pages;
        let mut fetched = Vec::new();
        for page in 0..self.pages {
            let due = first + self.interval * page;
            let now = Instant::now();
            if now > due + self.interval || now > end {
                continue;
            }
            std::thread::sleep(due.saturating_duration_since(now));
            fetched.push(fetch(to, self.patience));
        }
        fetched
    }
}

/// Fetches the page once.
fn fetch(to: SocketAddr, patience: Duration) -> io::Result<Duration> {
    let begin = Instant::now();
    let left = || {
        let left = patience.saturating_sub(begin.elapsed());
        if left.is_zero() { Err(io::ErrorKind::TimedOut) } else { Ok(left) }
    };
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut page = Vec::new();
    loop {
        stream.set_read_timeout(Some(left()?))?;
        let mut part = [0; 512];
        match stream.read(&mut part)? {
            0 => break,
            length => page.extend_from_slice(&part[..length]),
        }
    }
    let took = begin.elapsed();
    if page.ends_with(WebServer::PAGE.as_bytes()) {
        Ok(took)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
