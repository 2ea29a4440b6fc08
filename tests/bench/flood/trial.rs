//! One firewall, one lab: what it takes without loss, and how its visitors fare.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use weir_tests::lab::{Lab, SynFlood, Visitors, WebServer};

use crate::contender::{Account, Contender, PORT, Running, received};

/// Share of the rate taken without loss that the first flood has.
const SHARE: f64 = 0.7;
/// How long a rate is tried for, many times what a port's queue holds, and how long what is on its way
/// may take afterwards.
const ATTEMPT: Duration = Duration::from_secs(1);
const SETTLE: Duration = Duration::from_millis(50);
/// Attempts to find the rate; each halves what is not known of it.
const ATTEMPTS: u32 = 6;
/// Loss that counts as none: the machine does other things, too.
const TOLERANCE: f64 = 0.001;

/// What was measured under one load.
#[derive(Debug)]
pub(crate) struct Phase {
    /// SYNs a second.
    pub(crate) flood: f64,
    /// Frames that arrived at the server, a second.
    pub(crate) at_server: f64,
    /// How long each fetch took.
    pub(crate) visits: Vec<io::Result<Duration>>,
    /// At its end, while the flood goes on.
    pub(crate) account: Option<Account>,
}

/// What was measured of a firewall.
#[derive(Debug)]
pub(crate) struct Trial {
    /// SYNs a second, and whether that is all that the sender can do.
    pub(crate) lossless: (f64, bool),
    /// Without flood, at a share of [`Trial::lossless`], at the sender's full rate.
    pub(crate) phases: [Phase; 3],
    /// Before all of it; `None` of the kernel.
    pub(crate) before: Option<Account>,
}

/// Takes all the figures of a firewall, each phase so many seconds long.
///
/// # Errors
/// What this kernel lacks.
pub(crate) fn run(contender: &Contender, seconds: u32, seed: u64) -> Result<Trial, String> {
    let lab = Lab::new();
    let running = contender.start(&lab)?;
    let _web = WebServer::start(&lab.server, PORT);
    let target = SocketAddr::new(lab.server.inet.into(), PORT);
    let next_hop = running.next_hop(&lab);
    let flood = |rate| SynFlood::start(&lab.client, next_hop, target, rate, seed);
    let visit = |pages| {
        let interval = Duration::from_millis(250);
        let visitors = Visitors { count: 50, pages, interval, patience: Duration::from_secs(3) };
        visitors.visit(&lab.client, target)
    };
    // Addresses resolved, the server known.
    visit(1);
    let phase = |rate: Option<Option<f64>>| {
        let before = received(&lab.server);
        let begin = std::time::Instant::now();
        let flooding = rate.map(flood);
        let visits = visit(4 * seconds);
        let account = running.account();
        let arrived = (received(&lab.server) - before) as f64 / begin.elapsed().as_secs_f64();
        let flood = flooding.map_or(0.0, |flooding| per_second(flooding.stop()));
        thread::sleep(SETTLE);
        Phase { flood, at_server: arrived, visits, account }
    };
    let before = running.account();
    let quiet = phase(None);
    let lossless = lossless(&lab, &running, flood);
    let phases = [quiet, phase(Some(Some(SHARE * lossless.0))), phase(Some(None))];
    Ok(Trial { lossless, phases, before })
}

fn per_second((count, duration): (u64, Duration)) -> f64 {
    count as f64 / duration.as_secs_f64()
}

/// The highest rate at which every SYN is taken, by halves of the rate that the sender is capable of;
/// and whether it is that.
fn lossless(
    lab: &Lab,
    running: &Running<'_>,
    flood: impl Fn(Option<f64>) -> SynFlood,
) -> (f64, bool) {
    let attempt = |rate| {
        let before = running.taken(lab);
        let flooding = flood(rate);
        thread::sleep(ATTEMPT);
        let sent = flooding.stop();
        thread::sleep(SETTLE);
        let lost = sent.0.saturating_sub(running.taken(lab) - before);
        (per_second(sent), (lost as f64) < TOLERANCE * sent.0 as f64)
    };
    let (mut high, all) = attempt(None);
    if all {
        return (high, true);
    }
    let mut low = 0.0;
    for _ in 0..ATTEMPTS {
        let middle = f64::midpoint(low, high);
        let (rate, all) = attempt(Some(middle));
        if all {
            low = rate;
        } else {
            high = middle;
        }
    }
    (low, false)
}
