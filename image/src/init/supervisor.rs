//! What the first process does once everything is there: the data plane and the consoles are kept alive,
//! whoever has ended is buried, and the watchdog is fed as long as all that goes on.
//!
//! One thread does this. It waits for events (signals, answers of the data plane) or for the next second,
//! and never for a process, a terminal or a disk.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;

use weir_config::SourceFile;
use weir_config::settings;

use super::ask::{self, Answer};
use super::console::Role;
use super::plane::{Act, Plane};
use super::runlog::{self, LastWords};
use super::seats::Seats;
use super::servant::Servant;
use super::tell::{Teller, note};
use super::trial::{Trial, Verdict};

/// How long nothing may happen before it is looked at.
const TICK: Duration = Duration::from_millis(200);

/// How long consoles wait for a data plane to answer, so that nobody is met before it can.
const COURTESY: Duration = Duration::from_secs(20);

/// How long the data plane has to be well before no driver is loaded any more.
const SETTLED: Duration = Duration::from_secs(30);

/// The data plane runs before others when memory is short, all but never ended for it.
const OOM_SCORE: &str = "-900";

/// What is run, and where things are.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The program, and what the data plane is started with.
    pub(super) weir: PathBuf,
    pub(super) run: Vec<String>,
    /// The control socket.
    pub(super) socket: PathBuf,
    /// The settings file.
    pub(super) settings: PathBuf,
    /// Where the data plane's own log is kept.
    pub(super) log: PathBuf,
    /// The consoles.
    pub(super) terminals: Vec<PathBuf>,
    /// A person wants to repair something: nothing is forwarded.
    pub(super) rescue: bool,
    /// This slot is tried.
    pub(super) trial: bool,
}

/// What is done to the machine.
pub(super) trait Machine {
    /// Feeds the watchdog.
    fn feed(&mut self);
    /// Notes that this slot is good.
    fn keep_slot(&mut self) -> io::Result<()>;
    /// No driver is needed any more.
    fn lock_drivers(&mut self);
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The machine is started anew.
    Reboot,
    /// It is switched off.
    PowerOff,
}

/// What happens.
#[derive(Debug)]
enum Event {
    Signal(i32),
    Answer(Answer),
    /// The data plane says that it forwards, or why not.
    Status(String),
}

/// Everybody who is kept alive.
pub(super) struct Supervisor<M> {
    plan: Plan,
    machine: M,
    teller: Teller,
    plane: Plane,
    pid: Option<Pid>,
    last_words: LastWords,
    seats: Seats,
    /// Looks after the management port.
    network: Servant,
    trial: Option<Trial>,
    begun: Instant,
    well_since: Option<Instant>,
    locked: bool,
    /// The settings name both ports.
    configured: bool,
    /// The data plane has answered since the start: consoles need not wait.
    open: bool,
    events: Receiver<Event>,
    sender: Sender<Event>,
}

impl<M: Machine> Supervisor<M> {
    /// Catches signals; nothing is started yet.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(super) fn new(plan: Plan, machine: M, teller: Teller) -> io::Result<Self> {
        let (sender, events) = channel();
        let mut signals = Signals::new([SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR2])?;
        let caught = sender.clone();
        std::thread::Builder::new().name("weir-signals".into()).spawn(move || {
            for signal in signals.forever() {
                if caught.send(Event::Signal(signal)).is_err() {
                    return;
                }
            }
        })?;
        let answered = sender.clone();
        ask::start(&plan.socket, move |answer| answered.send(Event::Answer(answer)).is_ok())?;
        let now = Instant::now();
        let mut supervisor = Self {
            seats: Seats::new(&plan.terminals),
            network: Servant::new(&["box", "network"]),
            trial: plan.trial.then(|| Trial::new(now)),
            plan,
            machine,
            teller,
            plane: Plane::new(),
            pid: None,
            last_words: LastWords::default(),
            begun: now,
            well_since: None,
            locked: false,
            configured: false,
            open: false,
            events,
            sender,
        };
        supervisor.look_at_settings();
        Ok(supervisor)
    }

    /// Keeps everybody alive until somebody wants an end.
    pub(super) fn serve(&mut self) -> End {
        loop {
            let now = Instant::now();
            if let Some(end) = self.step(now) {
                return end;
            }
            let event = match self.events.recv_timeout(TICK) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return End::Reboot,
            };
            if let Some(end) = self.attend(event) {
                return end;
            }
        }
    }

    /// What is due.
    fn step(&mut self, now: Instant) -> Option<End> {
        match self.plane.step(now, self.configured && !self.plan.rescue) {
            Some(Act::Start) => self.start_plane(now),
            Some(Act::Kill) => {
                self.teller.say("weir does not answer: it is ended and started again");
                self.kill_plane(Signal::KILL);
            }
            None => {}
        }
        let role = match (self.plan.rescue, self.configured) {
            (true, _) => Role::Rescue,
            (false, true) => Role::Shell,
            (false, false) => Role::Setup,
        };
        if role != Role::Shell || self.open || now.duration_since(self.begun) > COURTESY {
            self.seats.step(now, role, &self.plan.weir);
        }
        if !self.plan.rescue {
            self.network.step(now, &self.plan.weir);
        }
        if self.plane.feeds(now) {
            self.machine.feed();
        }
        let healthy = self.plane.is_healthy(now);
        self.well_since = if healthy { self.well_since.or(Some(now)) } else { None };
        if !self.locked && self.well_since.is_some_and(|since| now.duration_since(since) > SETTLED)
        {
            self.machine.lock_drivers();
            self.locked = true;
        }
        self.judge_trial(now, healthy)
    }

    /// A slot that is tried is kept, or left by a reboot. A box that nobody has set up is well when its
    /// dialogue is there.
    fn judge_trial(&mut self, now: Instant, healthy: bool) -> Option<End> {
        let well = healthy || (!self.configured && self.seats.any());
        match self.trial.as_mut()?.judge(now, well)? {
            Verdict::Keep => {
                self.trial = None;
                match self.machine.keep_slot() {
                    Ok(()) => self.teller.say("the upgrade is well and is kept"),
                    Err(error) => self.teller.say(&format!(
                        "the upgrade is well, but THAT CANNOT BE NOTED ({error}): the next start is \
                         that of the version before"
                    )),
                }
                None
            }
            Verdict::Leave => {
                self.teller
                    .say("THE UPGRADE IS NOT WELL: the machine goes back to the version before");
                Some(End::Reboot)
            }
        }
    }

    fn attend(&mut self, event: Event) -> Option<End> {
        let now = Instant::now();
        match event {
            Event::Signal(SIGCHLD) => self.bury(now),
            Event::Signal(SIGHUP) => {
                self.look_at_settings();
                if self.pid.is_some() {
                    self.plane.stopping(now);
                    self.kill_plane(Signal::TERM);
                }
            }
            Event::Signal(SIGTERM) => return Some(End::Reboot),
            Event::Signal(SIGUSR2) => return Some(End::PowerOff),
            // Ctrl-Alt-Del, by whoever finds a keyboard.
            Event::Signal(_) => {}
            Event::Answer(Answer { asked, has_ports }) => {
                self.plane.answered(asked, has_ports);
                self.open |= self.plane.has_answered();
            }
            Event::Status(line) => {
                let line = line.trim_start_matches("weir: ");
                self.teller.say(&format!("{line}{}", uptime()));
            }
        }
        None
    }

    fn start_plane(&mut self, now: Instant) {
        match self.spawn_plane() {
            Ok(pid) => {
                self.pid = Some(pid);
                self.plane.started(now);
            }
            Err(error) => {
                self.teller.say(&format!("weir cannot be started: {error}"));
                self.plane.failed(now);
            }
        }
    }

    fn spawn_plane(&mut self) -> io::Result<Pid> {
        let (output, theirs) = io::pipe()?;
        let sender = self.sender.clone();
        self.last_words = runlog::keep(output, &self.plan.log, move |line| {
            let _ = sender.send(Event::Status(line));
        })?;
        let child = Command::new(&self.plan.weir)
            .args(&self.plan.run)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(theirs.try_clone()?)
            .stderr(theirs)
            .spawn()?;
        // Where it cannot be said, it is one like others.
        let _ = fs::write(format!("/proc/{}/oom_score_adj", child.id()), OOM_SCORE);
        Pid::from_raw(child.id().cast_signed()).ok_or_else(|| io::Error::other("no process id"))
    }

    fn kill_plane(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            let _ = kill_process(pid, signal);
        }
    }

    /// Buries all who have ended, also those whose parents have.
    fn bury(&mut self, now: Instant) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if Some(pid) == self.pid {
                self.pid = None;
                self.plane.ended(now);
                self.tell_end(status);
            } else if self.network.ended(pid, now) {
                note("what looks after the management port has ended: it is started again");
            } else if self.seats.ended(pid, now) && !self.configured {
                // Whoever was there may have set the box up.
                self.look_at_settings();
            }
        }
    }

    /// Says that the data plane has ended; not each time if it ends at once again and again.
    fn tell_end(&self, status: WaitStatus) {
        let words = self.last_words.get();
        let words = if words.is_empty() { words } else { format!(": {words}") };
        let text = match (status.exit_status(), status.terminating_signal()) {
            (Some(0), _) => "weir has ended".to_owned(),
            (Some(code), _) => format!("weir has ended with status {code}{words}"),
            // It had no time for last words.
            (_, Some(9)) => "weir was killed".to_owned(),
            (_, Some(signal)) => format!("weir was ended by signal {signal}{words}"),
            _ => return,
        };
        match self.plane.short() {
            0..=3 => self.teller.say(&format!("{text}; it is started again")),
            short if short.is_multiple_of(12) => {
                self.teller.say(&format!("{text}; it is started again every few seconds"));
            }
            _ => note(&text),
        }
    }

    fn look_at_settings(&mut self) {
        let name = self.plan.settings.display().to_string();
        self.configured = match fs::read_to_string(&self.plan.settings) {
            Err(_) => false,
            Ok(text) => match settings::parse(&SourceFile::new(name, text)) {
                Ok(settings) => settings.ports.lan.is_some() && settings.ports.wan.is_some(),
                // It was set up, and has to be repaired: weir says what is wrong.
                Err(_) => true,
            },
        };
    }

    /// The data plane, if it runs, and the rest of what is needed for the end.
    pub(super) fn into_parts(self) -> (M, Teller, Option<Pid>) {
        (self.machine, self.teller, self.pid)
    }
}

/// How long the kernel has run, in words.
fn uptime() -> String {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    match text.split(' ').next() {
        Some(seconds) if !seconds.is_empty() => format!(" ({seconds} s)"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
