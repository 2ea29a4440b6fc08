//! What goes over a cable, seen by tcpdump, which puts VLAN tags back where the kernel had taken
//! them out.

use std::io::Read;
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::namespace::Namespace;

#[derive(Debug, Default)]
struct Seen {
    frames: Vec<Vec<u8>>,
    ready: bool,
    ended: bool,
}

/// A running capture; ended when it goes out of scope.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Child,
    frames: Arc<(Mutex<Seen>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

impl Capture {
    /// Captures what comes in and goes out by an interface of a namespace and fits a pcap-filter(7)
    /// expression. From the moment this returns nothing is missed.
    pub fn start(namespace: &Namespace, interface: &str, filter: &str) -> Self {
        let mut tcpdump = namespace
            .command("tcpdump")
            .args(["-i", interface, "-n", "-U", "--immediate-mode", "-B", "16384", "-w", "-"])
            .args(filter.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("tcpdump: {error} (`make deps` installs it)"));
        let stream = tcpdump.stdout.take().expect("piped above");
        let frames = Arc::new((Mutex::new(Seen::default()), Condvar::new()));
        let shared = frames.clone();
        let reader = std::thread::spawn(move || {
            let _ = read_pcap(stream, &shared);
            shared.0.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
            shared.1.notify_all();
        });
        let capture = Self { tcpdump, frames, reader: Some(reader) };
        // tcpdump writes the file header once the interface is open.
        assert!(capture.wait_until(PATIENCE, |f| f.ready), "tcpdump {filter:?} did not start");
        capture
    }

    /// Every frame so far.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        self.frames.0.lock().unwrap_or_else(PoisonError::into_inner).frames.clone()
    }

    /// How many frames so far `wanted` accepts.
    pub fn count(&self, wanted: impl Fn(&[u8]) -> bool) -> usize {
        self.frames().iter().filter(|frame| wanted(frame)).count()
    }

    /// Waits for a frame that `wanted` accepts; `None` when `limit` is over.
    pub fn frame_within(&self, limit: Duration, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let mut found = None;
        let mut seen = 0;
        self.wait_until(limit, |all| {
            found = all.frames[seen..].iter().find(|frame| wanted(frame)).cloned();
            seen = all.frames.len();
            found.is_some()
        });
        found
    }

    /// Waits for a frame that `wanted` accepts; panics with `what` if none comes.
    pub fn wait(&self, what: &str, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        self.frame_within(PATIENCE, wanted)
            .unwrap_or_else(|| panic!("{what}: not seen among {} frames", self.frames().len()))
    }

    fn wait_until(&self, limit: Duration, mut condition: impl FnMut(&Seen) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        let (lock, changed) = &*self.frames;
        let mut frames = lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if condition(&frames) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || frames.ended {
                return false;
            }
            frames = changed.wait_timeout(frames, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Reads a pcap stream (pcap-savefile(5)) as tcpdump on this machine writes it.
fn read_pcap(mut stream: impl Read, to: &(Mutex<Seen>, Condvar)) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24])?;
    to.0.lock().unwrap_or_else(PoisonError::into_inner).ready = true;
    to.1.notify_all();
    loop {
        let mut header = [0; 16];
        stream.read_exact(&mut header)?;
        let captured = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
        let mut frame = vec![0; captured as usize];
        stream.read_exact(&mut frame)?;
        to.0.lock().unwrap_or_else(PoisonError::into_inner).frames.push(frame);
        to.1.notify_all();
    }
}
