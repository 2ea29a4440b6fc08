//! A flood of SYNs from random sources, out of a host's interface.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Host, RawSocket};
use crate::syns::Syns;

/// Frames that are sent at a time: few, since real ones come one by one.
const BURST: u16 = 32;
/// What a sender that was kept waiting makes up for at most: more would be another flood than asked
/// for.
const ARREARS: Duration = Duration::from_millis(1);

/// A thread that sends; it ends when this goes out of scope.
#[derive(Debug)]
pub struct SynFlood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    begin: Instant,
    thread: Option<JoinHandle<()>>,
}

impl SynFlood {
    /// Sends SYNs to a port of a server by way of a hardware address, so many a second; as many as it
    /// can if that is `None`. All frames differ; which ones there are the seed decides.
    pub fn start(
        from: &Host,
        next_hop: [u8; 6],
        target: SocketAddr,
        rate: Option<f64>,
        seed: u64,
    ) -> Self {
        let socket = RawSocket::open(&from.namespace, "eth0");
        let mut syns = Syns::new(from.mac, next_hop, target, seed);
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let (ending, count) = (stop.clone(), sent.clone());
        let thread = std::thread::spawn(move || {
            let mut frames = syns.frames(BURST.into());
            let pause = rate.map(|rate| Duration::from_secs(1).mul_f64(f64::from(BURST) / rate));
            let mut due = Instant::now();
            while !ending.load(Ordering::Relaxed) {
                syns.fill(&mut frames);
                socket.send_all(&frames);
                count.fetch_add(BURST.into(), Ordering::Relaxed);
                if let Some(pause) = pause {
                    due += pause;
                    let now = Instant::now();
                    std::thread::sleep(due.saturating_duration_since(now));
                    due = due.max(now.checked_sub(ARREARS).unwrap_or(due));
                }
            }
        });
        Self { stop, sent, begin: Instant::now(), thread: Some(thread) }
    }

    /// Frames sent so far, and since when.
    pub fn so_far(&self) -> (u64, Duration) {
        (self.sent.load(Ordering::Relaxed), self.begin.elapsed())
    }

    /// Ends it; returns how many frames were sent and in what time. The interface may have thrown some
    /// of them away, as any interface does whose queue is full.
    pub fn stop(mut self) -> (u64, Duration) {
        self.end();
        self.so_far()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for SynFlood {
    fn drop(&mut self) {
        self.end();
    }
}
