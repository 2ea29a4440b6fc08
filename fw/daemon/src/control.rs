//! What can be asked of the running firewall: rules loaded, states listed and killed, counters read.
//!
//! Runs on the threads of clients and of `weir run`. Changes are made one at a time; listings take
//! no lock while they run, and ask each worker for a piece at a time.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use parking_lot::{Condvar, Mutex};
use weir_config::Diagnostics;
use weir_config::rules::RuleSet;
use weir_engine::{Counters, Instant, PortNames, Program, Reason, RuleCounters, Shared, StateView};
use weir_hw::Kind;
use weir_shell::check::check;
use weir_shell::protocol::{self, Flush, Kill, Load, MAX_DISABLE_SECONDS};

use crate::clock::Clock;
use crate::last_good::LastGood;
use crate::mailbox::{CHUNK, Letter, Mailbox, Matcher, Report};
use crate::rules::Programs;

/// What passes before any rule is asked, as `-s rules` shows it.
const BUILT_IN: [&str; 2] = [
    "pass quick arp",
    "pass quick inet6 proto ipv6-icmp icmp6-type { neighbrsol, neighbradv }, if the hop limit is 255",
];

/// What the control side is made of.
pub struct Parts {
    /// The engine's clock.
    pub clock: Clock,
    /// To every worker, by its number.
    pub mailboxes: Vec<Mailbox>,
    /// CPU that each worker is pinned to.
    pub cpus: Vec<Option<u32>>,
    /// The count behind `set limit states`.
    pub shared: Arc<Shared>,
    /// Names of the ports.
    pub ports: PortNames,
    /// What the ports are.
    pub io: Kind,
    /// States that memory is reserved for.
    pub reserved: u32,
    /// For the log writer.
    pub programs: Arc<Programs>,
    /// Records that the log writer held back.
    pub held_back: Arc<AtomicU64>,
    /// Where good rule sets are kept.
    pub last_good: LastGood,
}

/// Tells the world that frames are forwarded from now on.
pub type Announce = Box<dyn FnOnce(&str) + Send>;

/// The control side of the running firewall.
pub struct Control {
    parts: Parts,
    announce: Mutex<Option<Announce>>,
    /// Held while rules change, until they are kept: what is in force last is what is kept last.
    loading: Mutex<()>,
    in_force: Mutex<InForce>,
    /// [`InForce::open_until`] has changed.
    deadline_moved: Condvar,
}

#[derive(Default)]
struct InForce {
    /// `None` before the first load.
    program: Option<Arc<Program>>,
    /// Where its rules came from; `None` if they were flushed.
    origin: Option<String>,
    open_until: Option<Instant>,
    cleared: Instant,
}

/// Why nothing was changed.
#[derive(Debug)]
pub enum Refused {
    /// The rules are wrong.
    Diagnostics(Diagnostics),
    /// Anything else.
    Error(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Diagnostics(diagnostics) => f.write_str(diagnostics.to_string().trim_end()),
            Self::Error(text) => f.write_str(text),
        }
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Error(error.to_string())
    }
}

/// How a load went.
#[derive(Debug)]
pub struct Loaded {
    /// Rules in force now.
    pub rules: usize,
    /// They were in force before.
    pub unchanged: bool,
    /// Warnings, and what could not be done about keeping the rule set.
    pub warnings: Vec<String>,
}

impl Control {
    /// Nothing is in force yet. `announce` is told the origin of the first rule set that is.
    pub fn new(parts: Parts, announce: Announce) -> Self {
        Self {
            parts,
            announce: Mutex::new(Some(announce)),
            loading: Mutex::default(),
            in_force: Mutex::default(),
            deadline_moved: Condvar::new(),
        }
    }

    /// Puts a rule set in force on all workers and keeps it, or changes nothing.
    ///
    /// # Errors
    /// When the rules are wrong, need more than is reserved, or a worker does not answer.
    pub fn load(&self, load: &Load) -> Result<Loaded, Refused> {
        let _loading = self.loading.lock();
        let mut loaded = self.put_in_force(load, "")?;
        if let Err(error) = self.parts.last_good.save(load) {
            loaded.warnings.push(format!("the rules are in force but could not be kept: {error}"));
        }
        Ok(loaded)
    }

    /// Puts the rule set in force that was kept last.
    ///
    /// # Errors
    /// When there is none, and as for [`Control::load`].
    pub fn load_last_good(&self) -> Result<Loaded, Refused> {
        let _loading = self.loading.lock();
        self.put_in_force(&self.parts.last_good.read()?, " (last good)")
    }

    fn put_in_force(&self, load: &Load, remark: &str) -> Result<Loaded, Refused> {
        let (rules, warnings) = parse(load)?;
        let states = rules.options.limits.states;
        if states > self.parts.reserved {
            return Err(Refused::Error(format!(
                "set limit states {states}: memory is reserved for {} states only ([memory] states \
                 in the settings file)",
                self.parts.reserved
            )));
        }
        let unchanged = {
            let in_force = self.in_force.lock();
            let program = in_force.program.as_ref();
            in_force.origin.is_some() && program.is_some_and(|program| *program.rules() == rules)
        };
        // Compiled before anything is locked that listings need.
        let program = if unchanged { None } else { Some(self.compile(&rules)?) };
        let mut in_force = self.in_force.lock();
        if let Some(program) = program {
            self.install(&mut in_force, program)?;
        }
        let name = load.sources.first().map_or("", |source| &source.name);
        let origin = format!("{name}{remark}");
        if let Some(announce) = self.announce.lock().take() {
            announce(&origin);
        }
        in_force.origin = Some(origin);
        Ok(Loaded { rules: rules.rules.len(), unchanged, warnings })
    }

    /// Blocks everything that no state lets pass.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn flush_rules(&self) -> Result<(), Refused> {
        let _loading = self.loading.lock();
        let mut in_force = self.in_force.lock();
        // Options live on: time-outs and limits go on to hold for the states there are.
        let options = in_force.program.as_ref().map(|program| program.rules().options.clone());
        let mut rules = RuleSet { options: options.unwrap_or_default(), ..RuleSet::default() };
        // Two skipped ports would pass everything.
        rules.options.skip.clear();
        self.install(&mut in_force, self.compile(&rules)?)?;
        in_force.origin = None;
        Ok(())
    }

    fn compile(&self, rules: &RuleSet) -> Result<Arc<Program>, Refused> {
        Program::compile(rules, &self.parts.ports)
            .map(Arc::new)
            .map_err(|error| Refused::Error(error.to_string()))
    }

    fn install(&self, in_force: &mut InForce, program: Arc<Program>) -> Result<(), Refused> {
        self.parts.programs.push(Arc::clone(&program));
        self.tell(|done| Letter::Install(Arc::clone(&program), done))?;
        in_force.program = Some(program);
        Ok(())
    }

    /// Sends a letter to every worker, then waits for all answers.
    fn tell<T>(
        &self,
        mut make: impl FnMut(crossbeam::channel::Sender<T>) -> Letter,
    ) -> io::Result<Vec<T>> {
        let answers: Vec<_> =
            self.parts.mailboxes.iter().map(|mailbox| mailbox.post(&mut make)).collect();
        answers.into_iter().map(|answer| answer?.wait()).collect()
    }

    /// Passes everything for so many seconds.
    ///
    /// # Errors
    /// When the time is out of bounds, or a worker does not answer.
    pub fn disable(&self, seconds: u32) -> Result<(), Refused> {
        if !(1..=MAX_DISABLE_SECONDS).contains(&seconds) {
            let text = format!("the deadline must be 1 to {MAX_DISABLE_SECONDS} seconds");
            return Err(Refused::Error(text));
        }
        let mut in_force = self.in_force.lock();
        let until = self.parts.clock.now().after(Duration::from_secs(seconds.into()));
        self.tell(|done| Letter::Open(Some(until), done))?;
        in_force.open_until = Some(until);
        self.deadline_moved.notify_all();
        Ok(())
    }

    /// Waits until the time of a `disable` is over. The workers judge again by themselves by then.
    pub fn await_deadline(&self) {
        let mut in_force = self.in_force.lock();
        loop {
            let Some(until) = in_force.open_until else {
                self.deadline_moved.wait(&mut in_force);
                continue;
            };
            let left = until.since(self.parts.clock.now());
            if left.is_zero() {
                in_force.open_until = None;
                return;
            }
            self.deadline_moved.wait_for(&mut in_force, left);
        }
    }

    /// Ends a `disable`.
    ///
    /// # Errors
    /// When filtering is on already, or a worker does not answer.
    pub fn enable(&self) -> Result<(), Refused> {
        let mut in_force = self.in_force.lock();
        let open = in_force.open_until.is_some_and(|until| until > self.parts.clock.now());
        // Told in any case: it must be possible to be sure.
        self.tell(|done| Letter::Open(None, done))?;
        in_force.open_until = None;
        self.deadline_moved.notify_all();
        if open { Ok(()) } else { Err(Refused::Error("weir already enabled".into())) }
    }

    /// Removes states; tells how many.
    ///
    /// # Errors
    /// When the request makes no sense, or a worker does not answer.
    pub fn kill(&self, kill: &Kill) -> Result<u64, Refused> {
        let matches: Matcher = match kill {
            Kill::Hosts { from, to } => {
                let from = prefix(from)?;
                let to = to.as_deref().map(prefix).transpose()?;
                Arc::new(move |state: &StateView| {
                    from.contains(&state.source.to_ip(state.network))
                        && to.is_none_or(|to| to.contains(&state.destination.to_ip(state.network)))
                })
            }
            Kill::Id(id) => {
                let id = u64::from_str_radix(id.trim_start_matches("0x"), 16)
                    .map_err(|_| Refused::Error(format!("`{id}` is not the id of a state")))?;
                Arc::new(move |state: &StateView| state.id == id)
            }
            Kill::Label(label) => {
                let numbers: Vec<u32> = {
                    let in_force = self.in_force.lock();
                    let rules = in_force.program.iter().flat_map(|program| &program.rules().rules);
                    (0..)
                        .zip(rules)
                        .filter(|(_, rule)| rule.label.as_ref() == Some(label))
                        .map(|(number, _)| number)
                        .collect()
                };
                Arc::new(move |state: &StateView| {
                    state.rules.iter().flatten().any(|rule| numbers.binary_search(rule).is_ok())
                })
            }
        };
        self.kill_matching(&matches)
    }

    /// Removes all states; tells how many.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn flush_states(&self) -> Result<u64, Refused> {
        let all: Matcher = Arc::new(|_: &StateView| true);
        self.kill_matching(&all)
    }

    fn kill_matching(&self, matches: &Matcher) -> Result<u64, Refused> {
        let mut killed = 0;
        for mailbox in &self.parts.mailboxes {
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                let (count, next) =
                    mailbox.ask(|reply| Letter::Kill(at, Arc::clone(matches), reply))?;
                killed += u64::from(count);
                cursor = next;
            }
        }
        Ok(killed)
    }

    /// Sets all counters to zero.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn clear_counters(&self) -> Result<(), Refused> {
        let mut in_force = self.in_force.lock();
        self.tell(Letter::ClearCounters)?;
        in_force.cleared = self.parts.clock.now();
        Ok(())
    }

    /// Empties something; tells how much there was.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn flush(&self, what: Flush) -> Result<u64, Refused> {
        match what {
            Flush::Rules => self.flush_rules().map(|()| 0),
            Flush::States => self.flush_states(),
            Flush::Info => self.clear_counters().map(|()| 0),
        }
    }

    /// The rules in force with their counters.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn rules(&self) -> Result<protocol::RuleListing, Refused> {
        // Locked until the workers have answered, so that numbers and counters belong together.
        let in_force = self.in_force.lock();
        let reports = self.reports()?;
        let rules = in_force.program.iter().flat_map(|program| &program.rules().rules);
        let rules = rules
            .enumerate()
            .map(|(number, rule)| {
                let mut sum = RuleCounters::default();
                let mut states = 0;
                for counters in reports.iter().filter_map(|report| report.rules.get(number)) {
                    sum.evaluations += counters.evaluations;
                    for i in 0..2 {
                        sum.packets[i] += counters.packets[i];
                        sum.bytes[i] += counters.bytes[i];
                    }
                    states += u64::from(counters.states);
                    sum.states_total += counters.states_total;
                }
                protocol::Rule {
                    number: number as u32,
                    text: rule.to_string(),
                    label: rule.label.clone(),
                    evaluations: sum.evaluations,
                    packets: sum.packets,
                    bytes: sum.bytes,
                    states,
                    states_total: sum.states_total,
                }
            })
            .collect();
        Ok(protocol::RuleListing {
            origin: in_force.origin.clone(),
            built_in: BUILT_IN.map(Into::into).into(),
            rules,
        })
    }

    /// Lists all states, piece by piece; tells how many.
    ///
    /// # Errors
    /// When a worker does not answer, or `each` fails.
    pub fn states(
        &self,
        mut each: impl FnMut(Vec<protocol::State>) -> io::Result<()>,
    ) -> Result<u64, Refused> {
        let mut count = 0;
        let mut room = Vec::with_capacity(CHUNK);
        for (worker, mailbox) in self.parts.mailboxes.iter().enumerate() {
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                (room, cursor) = mailbox.ask(|reply| Letter::States(at, room, reply))?;
                if !room.is_empty() {
                    count += room.len() as u64;
                    each(room.iter().map(|state| self.state(worker, state)).collect())?;
                    room.clear();
                }
            }
        }
        Ok(count)
    }

    fn state(&self, worker: usize, state: &StateView) -> protocol::State {
        protocol::State {
            id: format!("{:016x}", state.id),
            worker: worker as u16,
            port: self.parts.ports.role(state.port).to_owned(),
            vlans: [state.tags.outer, state.tags.inner].into_iter().filter(|&id| id != 0).collect(),
            protocol: state.protocol,
            source: state.source.to_ip(state.network),
            source_port: state.source_port,
            destination: state.destination.to_ip(state.network),
            destination_port: state.destination_port,
            peers: state.peers.each_ref().map(|peer| protocol::Peer {
                state: peer.state.to_owned(),
                seq_lo: peer.seq_lo,
                seq_hi: peer.seq_hi,
                wscale: peer.scale,
            }),
            age: state.age,
            expires: state.expires,
            packets: state.packets,
            bytes: state.bytes,
            rules: state.rules,
        }
    }

    /// Status and counters.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn info(&self) -> Result<protocol::Info, Refused> {
        let reports = self.reports()?;
        let now = self.parts.clock.now();
        let (blocked, open_for) = {
            let in_force = self.in_force.lock();
            let left = in_force.open_until.map(|until| until.since(now));
            (in_force.origin.is_none(), left.filter(|left| !left.is_zero()))
        };
        let sum = summed(&reports);
        let status = match (open_for, blocked) {
            (Some(_), _) => "disabled",
            (None, true) => "blocked",
            (None, false) => "enabled",
        };
        Ok(protocol::Info {
            version: env!("CARGO_PKG_VERSION").into(),
            status: status.into(),
            uptime: now.0 / 1_000_000_000,
            open_for: open_for.map(|left| left.as_secs() + 1),
            io: self.parts.io.to_string(),
            states: reports.iter().map(|report| u64::from(report.states)).sum(),
            searches: sum.searches,
            inserts: sum.inserts,
            removals: sum.removals,
            evictions: sum.evictions,
            reflected: sum.reflected,
            unfiltered: sum.unfiltered,
            reasons: Reason::ALL
                .iter()
                .map(|&reason| protocol::ReasonCount {
                    name: reason.name().into(),
                    count: sum.reasons[reason as usize],
                    description: reason.description().into(),
                })
                .collect(),
            // What was handed over is counted again where it was judged.
            frames: sum.judged - sum.handed_over,
            handed_over: sum.handed_over,
            log_lost: self.parts.held_back.load(Ordering::Relaxed)
                + reports.iter().map(|report| report.log_lost).sum::<u64>(),
            workers: reports
                .iter()
                .enumerate()
                .map(|(i, report)| protocol::WorkerInfo {
                    worker: i as u16,
                    cpu: self.parts.cpus.get(i).copied().flatten(),
                    states: report.states.into(),
                    frames: report.counters.judged - report.counters.handed_over,
                    handed_over: report.counters.handed_over,
                    back_pressure: report.back_pressure,
                })
                .collect(),
        })
    }

    /// The ports with their counters.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn interfaces(&self) -> Result<Vec<protocol::Interface>, Refused> {
        let reports = self.reports()?;
        let in_force = self.in_force.lock();
        let program = in_force.program.as_ref();
        let skip = program.map_or(&[][..], |program| &program.rules().options.skip[..]);
        let sum = summed(&reports);
        let ports = self.parts.ports.0.iter().zip(&sum.ports).enumerate();
        Ok(ports
            .map(|(i, (port, counters))| {
                let traffic = counters.traffic.as_flattened();
                let mut device = protocol::Device::default();
                for stats in reports.iter().filter_map(|report| report.ports.get(i)) {
                    device.received += stats.received;
                    device.transmitted += stats.transmitted;
                    device.malformed += stats.malformed;
                    device.unsendable += stats.unsendable;
                    device.missed += stats.missed;
                    device.transmit_full += stats.transmit_full;
                    device.pool_empty += stats.pool_empty;
                }
                protocol::Interface {
                    role: port.role.clone(),
                    name: port.interface.clone(),
                    io: self.parts.io.to_string(),
                    skip: skip.iter().any(|name| *name == port.role || *name == port.interface),
                    cleared: self.parts.clock.now().since(in_force.cleared).as_secs(),
                    traffic: std::array::from_fn(|i| {
                        let [passed, blocked] = traffic[i].map(|t| [t.packets, t.bytes]);
                        protocol::Traffic { passed, blocked }
                    }),
                    device,
                }
            })
            .collect())
    }

    /// The time-outs in force.
    pub fn timeouts(&self) -> Vec<protocol::Timeout> {
        use weir_config::options::{Timeout, Timeouts};
        let in_force = self.in_force.lock();
        let defaults = Timeouts::default();
        let program = in_force.program.as_ref();
        let values = program.map_or(&defaults, |program| &program.rules().options.timeouts);
        Timeout::ALL
            .iter()
            .map(|&timeout| protocol::Timeout {
                name: timeout.name().into(),
                value: values.get(timeout),
                unit: if timeout.counts_states() { "states" } else { "s" }.into(),
            })
            .collect()
    }

    /// The bounded pools and their use.
    pub fn memory(&self) -> Vec<protocol::Limit> {
        let in_force = self.in_force.lock();
        let program = in_force.program.as_ref();
        let limits = program.map(|program| program.rules().options.limits.clone());
        vec![protocol::Limit {
            name: "states".into(),
            limit: limits.unwrap_or_default().states.into(),
            used: self.parts.shared.states().into(),
            peak: self.parts.shared.high_water().into(),
            reserved: self.parts.reserved.into(),
        }]
    }

    fn reports(&self) -> io::Result<Vec<Report>> {
        self.tell(Letter::Report)
    }
}

fn summed(reports: &[Report]) -> Counters {
    let mut sum = Counters::default();
    for report in reports {
        sum.merge(&report.counters);
    }
    sum
}

/// Checks a rule set; also tells what it warns of.
fn parse(load: &Load) -> Result<(RuleSet, Vec<String>), Refused> {
    if load.sources.len() != 1 {
        return Err(Refused::Error("a load takes exactly one source".into()));
    }
    let checked = check(load).map_err(Refused::Error)?;
    let warnings = checked.diagnostics.iter().map(ToString::to_string).collect();
    match checked.rules {
        Some(rules) => Ok((rules, warnings)),
        None => Err(Refused::Diagnostics(checked.diagnostics)),
    }
}

/// An address or a prefix.
fn prefix(text: &str) -> Result<IpNet, Refused> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| Refused::Error(format!("`{text}` is neither an address nor a prefix")))
}
