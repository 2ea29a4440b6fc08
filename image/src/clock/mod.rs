//! The clock: set by hand, or kept by time servers on the management network. What the firewall counts
//! in is another clock, which only goes forward: its time-outs and limits do not notice.

pub mod date;
mod keeper;
mod sntp;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_settime};

use self::keeper::{Act, Keeper};
use self::sntp::{PORT, Refusal};

const BILLION: i128 = 1_000_000_000;

/// Sets the clock to so many seconds since 1970, and the machine's own with it.
///
/// # Errors
/// When the kernel refuses.
pub fn set(seconds: i64) -> io::Result<()> {
    clock_settime(ClockId::Realtime, Timespec { tv_sec: seconds, tv_nsec: 0 })?;
    keep_over_power_cuts();
    Ok(())
}

/// Puts the clock forward, or back.
///
/// # Errors
/// When the kernel refuses.
pub fn put_forward(seconds: i64) -> io::Result<()> {
    step(i128::from(seconds) * BILLION)?;
    keep_over_power_cuts();
    Ok(())
}

fn step(nanoseconds: i128) -> io::Result<()> {
    let then = sntp::wall() + nanoseconds;
    let (seconds, rest) = (then.div_euclid(BILLION), then.rem_euclid(BILLION));
    let tv_sec = i64::try_from(seconds).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(clock_settime(ClockId::Realtime, Timespec { tv_sec, tv_nsec: rest as i64 })?)
}

/// Sets the clock that goes on without power. A machine without one begins with any date.
fn keep_over_power_cuts() {
    let mut command = Command::new("/bin/busybox");
    command.args(["hwclock", "-w", "-u"]);
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// What `weir box clock` is called with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Date and time in UTC, as in "2026-11-23 12:00"; none: shows the clock
    #[arg(num_args = 0..=2)]
    time: Vec<String>,
}

/// Shows the clock, or sets it.
///
/// # Errors
/// When what was typed is no date and time, or the kernel refuses.
pub fn main(arguments: &Arguments) -> io::Result<()> {
    if !arguments.time.is_empty() {
        set(date::read(&arguments.time.join(" ")).map_err(io::Error::other)?)?;
    }
    println!("{} UTC", date::written((sntp::wall() / BILLION) as i64));
    Ok(())
}

/// The thread that keeps the clock, in the network namespace of the thread that has started it.
#[derive(Debug)]
pub(crate) struct Kept {
    servers: Sender<Vec<IpAddr>>,
    said: Arc<Mutex<String>>,
}

impl Kept {
    /// With no servers at first.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (servers, orders) = channel();
        let said = Arc::new(Mutex::new(String::new()));
        let tell = Arc::clone(&said);
        let keep = move || keep(&orders, &tell);
        std::thread::Builder::new().name("weir-clock".into()).spawn(keep)?;
        Ok(Self { servers, said })
    }

    /// Whom to ask from now on; at once.
    pub(crate) fn follow(&self, servers: &[IpAddr]) {
        // The thread ends with the process.
        let _ = self.servers.send(servers.to_vec());
    }

    /// What came of it last, a line for each server.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn keep(orders: &Receiver<Vec<IpAddr>>, tell: &Mutex<String>) {
    let mut keeper = Keeper::new();
    let mut servers: Vec<(IpAddr, bool)> = Vec::new();
    let mut wait = None;
    loop {
        let order = match wait {
            None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(wait) => orders.recv_timeout(wait),
        };
        match order {
            Ok(list) => {
                servers = list.into_iter().map(|server| (server, false)).collect();
                keeper = Keeper::new();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let mut text = String::new();
        wait = (!servers.is_empty()).then(|| round(&mut keeper, &mut servers, &mut text));
        *tell.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

/// Asks all servers, and does what is to be done. How long to wait.
fn round(keeper: &mut Keeper, servers: &mut [(IpAddr, bool)], text: &mut String) -> Duration {
    let (mut samples, mut too_often) = (Vec::new(), false);
    for (server, denied) in servers {
        // Whoever does not serve us is not asked again (RFC 5905, 7.4).
        let answer =
            if *denied { Err(Refusal::Denied) } else { sntp::ask(*server, PORT, random()) };
        let _ = match answer {
            Ok(sample) => {
                samples.push(sample);
                let (ahead, stratum) = (seconds(-sample.offset), sample.stratum);
                let within = sample.distance.as_secs_f64();
                writeln!(
                    text,
                    "ntp {server}: clock {ahead:+.6} s, to {within:.3} s, stratum {stratum}"
                )
            }
            Err(refusal) => {
                too_often |= matches!(refusal, Refusal::TooOften);
                *denied = matches!(refusal, Refusal::Denied);
                writeln!(text, "ntp {server}: {refusal}")
            }
        };
    }
    let (act, wait) = keeper.round(&samples, too_often, sntp::wall());
    let done = match act {
        Act::Leave => Ok(()),
        Act::Step(by) => {
            eprintln!("weir: the clock is set by {:+.3} s, as time servers tell", seconds(by));
            let done = step(by);
            keep_over_power_cuts();
            done
        }
        Act::Slew(by) => weir_hw::sys::clock::slew(length(by), by < 0),
    };
    if let Err(error) = done {
        eprintln!("weir: the clock cannot be set: {error}");
    }
    // An eighth more or less, so that boxes that start together do not ask together.
    let eighth = wait.as_millis() as u64 / 8;
    let eighths = Duration::from_millis(random() % (2 * eighth + 1));
    (wait + eighths).saturating_sub(Duration::from_millis(eighth))
}

/// So many nanoseconds, whatever their sign.
fn length(nanoseconds: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds.unsigned_abs()).unwrap_or(u64::MAX))
}

/// Nanoseconds as seconds, for people.
#[expect(clippy::cast_precision_loss, reason = "they are printed with a few digits")]
fn seconds(nanoseconds: i128) -> f64 {
    nanoseconds as f64 / 1e9
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // A kernel that has none has no network to be attacked by either.
    let _ = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    u64::from_ne_bytes(bytes)
}
