//! What lies between both hosts: a bad link, the bridge, another bad link, and behind the bridge a
//! router whose next hop becomes narrow now and then. A thread moves the frames; it reads the clock
//! and hands it to the bridge, which has none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use weir_config::options::Limit;
use weir_engine::packet::tcp::flags::{ACK, ECE, FIN, PSH, RST, SYN};
use weir_engine::packet::{build, icmp};
use weir_engine::{Counters, LogRecord, PortIndex};
use weir_tests::bridge::{Bridge, Moving};
use weir_tests::faults::{Faults, Link};
use weir_tests::random::Random;

use crate::tap::Tap;

/// How long it sleeps at most before it looks whether it should end.
const GLANCE: Duration = Duration::from_millis(20);
/// Frames behind which the router's next hop changes its MTU.
const CHANGE: u64 = 1500;
/// The router behind the bridge.
const ROUTER: (IpAddr, IpAddr) = (
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfe)),
);
/// ICMPv6 (RFC 4443, 3.2).
const PACKET_TOO_BIG: u8 = 2;
const LAN: usize = 0;
const WAN: usize = 1;

/// What goes wrong on the way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    pub(crate) faults: Faults,
    /// Of those that allow it, so many in a thousand are marked "congestion experienced" (RFC 3168).
    pub(crate) congestion: u32,
    /// MTUs of the router's next hop, one after the other; none: it is as wide as the hosts' links.
    pub(crate) mtus: &'static [usize],
    /// Frames of an attacker who guesses, in every thousand rounds.
    pub(crate) hostility: u32,
}

/// What was seen of TCP's options: proof that the hosts used them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) scaled: u64,
    pub(crate) timestamps: u64,
    pub(crate) selective: u64,
    pub(crate) echoes_of_congestion: u64,
    /// Frames that the router could not send on.
    pub(crate) too_big: u64,
}

/// How it went.
pub(crate) struct Report {
    pub(crate) counters: Counters,
    pub(crate) log: Vec<LogRecord>,
    pub(crate) seen: Seen,
    /// What is left after everything has timed out: states, fragments, frames held.
    pub(crate) left: [usize; 3],
}

/// Connections that stand, client and server.
pub(crate) type Standing = Arc<Mutex<Vec<[SocketAddr; 2]>>>;

pub(crate) struct Wire {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Report>>,
}

struct Work {
    begin: Instant,
    taps: [Tap; 2],
    bridge: Bridge,
    trouble: Trouble,
    /// Of each side: towards the bridge, and from it.
    links: [[Link; 2]; 2],
    random: Random,
    standing: Standing,
    /// Frames that the router has had.
    routed: u64,
    seen: Seen,
    log: Vec<LogRecord>,
}

impl Wire {
    /// Begins to move frames between the LAN's host and the WAN's.
    pub(crate) fn start(
        taps: [Tap; 2],
        bridge: Bridge,
        trouble: Trouble,
        seed: u64,
        standing: Standing,
    ) -> Self {
        let mut random = Random(seed);
        // A frame is damaged once at most: of two flipped bits TCP's checksum need not tell.
        let behind = Faults { corruption: 0, ..trouble.faults };
        let faults = [trouble.faults, behind];
        let links = [(); 2].map(|()| faults.map(|faults| Link::new(faults, random.next())));
        let mut work = Work {
            begin: Instant::now(),
            taps,
            bridge,
            trouble,
            links,
            random,
            standing,
            routed: 0,
            seen: Seen::default(),
            log: Vec::new(),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !ending.load(Ordering::Relaxed) {
                work.round();
                work.wait();
            }
            work.finish()
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends it, and lets everything in the bridge time out.
    pub(crate) fn stop(mut self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is ended once");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Work {
    fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    fn round(&mut self) {
        let now = self.now();
        let mut arriving = Vec::new();
        for side in [LAN, WAN] {
            while let Some(frame) = self.taps[side].take() {
                self.seen.note(frame);
                self.links[side][0].put(now, frame);
            }
            while let Some(mut frame) = self.links[side][0].take(now) {
                if self.random.per_mille(self.trouble.congestion) {
                    mark_congestion(&mut frame);
                }
                if side == WAN
                    && let Some(error) = self.narrow(&frame)
                {
                    self.links[WAN][1].put(now, &error);
                    continue;
                }
                arriving.push((PortIndex(side as u8), frame));
            }
        }
        if self.random.per_mille(self.trouble.hostility) {
            arriving.extend(self.attack());
        }
        while !arriving.is_empty() {
            let mut leaving = self.bridge.judge(now, std::mem::take(&mut arriving), &mut self.log);
            leaving.append(&mut self.bridge.advance(now));
            for (port, frame) in leaving {
                let side = usize::from(port.0);
                match (side == WAN).then(|| self.narrow(&frame)).flatten() {
                    // The router's complaint has to pass the bridge.
                    Some(error) => arriving.push((PortIndex::WAN, error)),
                    None => self.links[side][1].put(now, &frame),
                }
            }
        }
        for (tap, links) in self.taps.iter_mut().zip(&mut self.links) {
            while let Some(frame) = links[1].take(now) {
                tap.put(&frame);
            }
        }
    }

    /// Sleeps until a host sends something or a link delivers.
    fn wait(&self) {
        let due = self.links.iter().flatten().filter_map(Link::next_due).min();
        let pause = due.map_or(GLANCE, |due| due.saturating_sub(self.now()).min(GLANCE));
        let mut taps = self.taps.each_ref().map(|tap| PollFd::new(tap, PollFlags::IN));
        let timeout = Timespec { tv_sec: 0, tv_nsec: pause.subsec_nanos().into() };
        match poll(&mut taps, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("waiting for frames: {error}"),
        }
    }

    /// What the router says of an IP packet that does not fit through its next hop (RFC 1191, 8201).
    fn narrow(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let mtus = self.trouble.mtus;
        if mtus.is_empty() {
            return None;
        }
        self.routed += 1;
        let mtu = mtus[(self.routed / CHANGE) as usize % mtus.len()];
        if frame.len() - 14 <= mtu {
            return None;
        }
        self.seen.too_big += 1;
        let [from, to] = [&frame[6..12], &frame[..6]].map(|mac| mac.try_into().expect("six bytes"));
        // RFC 1812, 4.3.2.3, and RFC 4443, 3.2: as much as fits, within reason.
        let quoted = &frame[..frame.len().min(14 + 500)];
        let mtu = mtu as u16;
        let error = match frame[12..14] {
            [0x08, 0x00] => {
                let to: [u8; 4] = frame[26..30].try_into().expect("four bytes");
                build::icmp(ROUTER.0, to, icmp::v4::UNREACHABLE, 4).id(0, mtu)
            }
            [0x86, 0xdd] => {
                let to: [u8; 16] = frame[22..38].try_into().expect("sixteen bytes");
                build::icmp(ROUTER.1, to, PACKET_TOO_BIG, 0).id(0, mtu)
            }
            _ => return None,
        };
        Some(error.quote(quoted).macs(to, from).frame())
    }

    /// Some frames of somebody who knows addresses and ports, but sees nothing.
    fn attack(&mut self) -> Vec<Moving> {
        let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if standing.is_empty() {
            return Vec::new();
        }
        let random = &mut self.random;
        let frames = (0..10).map(|_| {
            let [client, server] = random.one_of(&standing);
            let toward_server = random.below(2) == 0;
            let (from, to) = if toward_server { (client, server) } else { (server, client) };
            let flags = random.one_of(&[RST, RST | ACK, SYN, SYN | ACK, PSH | ACK, FIN | ACK]);
            let segment = build::tcp(from, to, flags)
                .seq(random.next() as u32)
                .ack(if flags & ACK == 0 { 0 } else { random.next() as u32 })
                .payload(if flags & PSH == 0 { b"" } else { b"malice" })
                .macs([2, 0, 0, 0, 0, 66], [2, 0, 0, 0, 0, if toward_server { 2 } else { 1 }]);
            (if toward_server { PortIndex::LAN } else { PortIndex::WAN }, segment.frame())
        });
        frames.collect()
    }

    fn finish(mut self) -> Report {
        let mut now = self.now();
        let end = now + Duration::from_secs(90_000);
        while now < end && (self.bridge.shared.states() > 0 || self.bridge.held() > 0) {
            now += Duration::from_secs(1);
            self.bridge.advance(now);
        }
        let used = |limit| self.bridge.shared.pool(limit).used() as usize;
        Report {
            counters: self.bridge.counters(),
            left: [used(Limit::States), used(Limit::Frags), self.bridge.held()],
            seen: self.seen,
            log: self.log,
        }
    }
}

impl Seen {
    /// Looks at a frame of a host.
    fn note(&mut self, frame: &[u8]) {
        let at = match frame.get(12..14) {
            Some([0x08, 0x00]) if frame.get(23) == Some(&6) => 34,
            Some([0x86, 0xdd]) if frame.get(20) == Some(&6) => 54,
            _ => return,
        };
        let Some(&[offset, flags]) = frame.get(at + 12..).and_then(<[u8]>::first_chunk) else {
            return;
        };
        let options = frame.get(at + 20..at + usize::from(offset >> 4) * 4).unwrap_or_default();
        self.scaled += u64::from(has_option(options, 3));
        self.selective += u64::from(has_option(options, 5));
        self.timestamps += u64::from(has_option(options, 8));
        self.echoes_of_congestion += u64::from(flags & (ECE | SYN) == ECE);
    }
}

/// Whether a kind is among TCP options (RFC 9293, 3.1).
fn has_option(mut options: &[u8], wanted: u8) -> bool {
    loop {
        match *options {
            [1, ..] => options = &options[1..],
            [kind, length, ..] if kind != 0 && length >= 2 => {
                if kind == wanted {
                    return true;
                }
                options = options.get(usize::from(length)..).unwrap_or_default();
            }
            _ => return false,
        }
    }
}

/// Marks a packet that says its hosts would understand, as a congested router does.
fn mark_congestion(frame: &mut [u8]) {
    match frame[12..14] {
        [0x08, 0x00] if matches!(frame[15] & 3, 1 | 2) => {
            let old = u16::from_be_bytes([frame[14], frame[15]]);
            let checksum = u16::from_be_bytes([frame[24], frame[25]]);
            let checksum = weir_engine::packet::checksum::update(checksum, old, old | 3);
            frame[15] |= 3;
            frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        }
        [0x86, 0xdd] if matches!(frame[15] >> 4 & 3, 1 | 2) => frame[15] |= 0x30,
        _ => {}
    }
}
