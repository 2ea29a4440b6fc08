//! What can be asked of the running firewall, one file an idea: rule sets put in force (`loading`),
//! tables changed (`tables`), the bridge held open (`opening`), states listed and killed (`states`),
//! sources too, and put into tables (`sources`), both as a query asks (`filter`, `listing`) or in sum (`tally`), frames
//! captured (`captures`), the rest listed (`listings`). What is in force is put together from its loads
//! in `composition`; what was is kept (`past`), a change may have to be confirmed (`pending`), and may be
//! asked what it would cut (`cut`).
//!
//! Runs on the threads of clients and of `weir run`. Changes are made one at a time; listings take
//! no lock while they run, and ask each worker for a piece at a time.

mod best;
mod captures;
mod change;
mod composition;
mod cut;
mod explain;
mod files;
mod filter;
mod following;
mod listing;
mod listings;
mod loading;
mod measuring;
mod opening;
mod past;
mod pending;
mod seat;
mod settings;
mod sources;
mod states;
mod tables;
mod tally;
mod watching;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use weir_config::{Diagnostics, PortPrefixes};
use weir_engine::table::Tables;
use weir_engine::{Instant, PortIndex, PortNames, Program, Shared};
use weir_hw::Kind;
use weir_shell::protocol::{Cut, Flush};

use self::captures::Captures;
use self::composition::Composition;
use self::measuring::Measured;
use self::pending::Pending;
use self::tables::TableStore;
use crate::clock::Clock;
use crate::handover::Bell;
use crate::history::{Author, History};
use crate::ipfix;
use crate::log::Sinks;
use crate::mailbox::{Letter, Mailbox, Report, RuleMatcher};
use crate::rules::{Places, Programs};

pub use captures::Watch;
pub use change::Change;
pub use files::OwnFiles;
pub use following::LogFilter;
pub use loading::Loaded;
pub use past::Found;
pub use pending::Undone;
pub use seat::Guard;

/// What the control side is made of.
pub struct Parts {
    /// The engine's clock.
    pub clock: Clock,
    /// To every worker, by its number.
    pub mailboxes: Vec<Mailbox>,
    /// CPU that each worker is pinned to.
    pub cpus: Vec<u32>,
    /// The count behind `set limit states`.
    pub shared: Arc<Shared>,
    /// Rung by workers when a source has exceeded a limit.
    pub overloads: Arc<Bell>,
    /// Names of the ports.
    pub ports: PortNames,
    /// What the ports are.
    pub io: Kind,
    /// Whether flows belong to the workers at whose queues NICs deliver them.
    pub steered: bool,
    /// States that memory is reserved for.
    pub reserved: u32,
    /// For the log writer.
    pub programs: Arc<Programs>,
    /// Everybody who is told what happens.
    pub log: Arc<Sinks>,
    /// What became of flow records.
    pub flows: Arc<ipfix::Counts>,
    /// Where rule sets are kept; nowhere in a replay.
    pub history: Option<History>,
    /// The rule file that a start and SIGHUP load.
    pub rules_file: String,
    /// Percent of the live states that a change may cut without being asked for twice.
    pub cut_percent: u8,
    /// Ends the process because a worker is stuck.
    pub give_up: GiveUp,
}

/// Ends the process, and with it all forwarding; told why.
pub type GiveUp = Box<dyn Fn(&str) + Send + Sync>;

/// Tells the world that frames are forwarded from now on.
pub type Announce = Box<dyn FnOnce(&str) + Send>;

/// The control side of the running firewall.
pub struct Control {
    parts: Parts,
    announce: Mutex<Option<Announce>>,
    /// The files it was started with, and who may sit at its console; nothing in a replay.
    own: Option<(OwnFiles, Guard)>,
    /// Held while rules change, until they are kept: what is in force last is what is kept last.
    loading: Mutex<()>,
    in_force: Mutex<InForce>,
    /// Locked before `in_force` by whoever needs both.
    tables: Mutex<TableStore>,
    captures: Mutex<Captures>,
    measured: Measured,
    /// An entry of a table may expire earlier than was known.
    tables_changed: Condvar,
    /// [`InForce::open_until`] has changed.
    deadline_moved: Condvar,
    /// [`InForce::pending`] has changed.
    pending_changed: Condvar,
    /// Held while a worker is asked for a piece of a listing.
    walking: Mutex<()>,
}

#[derive(Default)]
struct InForce {
    /// `None` before the first load.
    program: Option<Arc<Program>>,
    /// What the workers have in their tables.
    tables: Arc<Tables>,
    /// Of its rules.
    places: Arc<Places>,
    /// What it is made of.
    composition: Composition,
    /// Where its rules came from; `None` if they were flushed.
    origin: Option<String>,
    open_until: Option<Instant>,
    /// The start has not decided yet which rules there are.
    starting: bool,
    /// What has to be confirmed.
    pending: Option<Pending>,
    /// The number of a change that was confirmed, which could not be noted.
    unnoted: Option<u64>,
    /// When the counters were set to zero, and those of ports alone since.
    cleared: Instant,
    ports_cleared: BTreeMap<PortIndex, Instant>,
}

/// Why nothing was changed.
#[derive(Debug)]
pub enum Refused {
    /// The rules are wrong.
    Diagnostics(Diagnostics),
    /// They would cut too many states.
    Cut(Cut),
    /// Anything else.
    Error(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Diagnostics(diagnostics) => f.write_str(diagnostics.to_string().trim_end()),
            Self::Cut(cut) => write!(f, "{cut}, and no more than {} % may be cut", cut.limit),
            Self::Error(text) => f.write_str(text),
        }
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Error(error.to_string())
    }
}

impl Control {
    /// Nothing is in force yet. `announce` is told the origin of the first rule set that is.
    pub fn new(parts: Parts, announce: Announce) -> Self {
        Self {
            parts,
            announce: Mutex::new(Some(announce)),
            own: None,
            loading: Mutex::default(),
            in_force: Mutex::default(),
            tables: Mutex::default(),
            captures: Mutex::default(),
            measured: Measured::default(),
            tables_changed: Condvar::new(),
            deadline_moved: Condvar::new(),
            pending_changed: Condvar::new(),
            walking: Mutex::default(),
        }
    }

    /// With files that clients may read and write, and a guarded console.
    #[must_use]
    pub fn with_own(self, files: OwnFiles, guard: Guard) -> Self {
        Self { own: Some((files, guard)), ..self }
    }

    /// What is behind the ports, as rules ask for it.
    pub fn prefixes(&self) -> Vec<PortPrefixes> {
        let ports = self.parts.ports.0.iter().map(|port| PortPrefixes {
            names: vec![port.role.clone(), port.interface.clone()],
            nets: port.prefixes.clone(),
        });
        ports.filter(|port| !port.nets.is_empty()).collect()
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

    /// Sets all counters to zero but those of rules.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn clear_counters(&self) -> Result<(), Refused> {
        let mut in_force = self.in_force.lock();
        self.tell(Letter::ClearCounters)?;
        in_force.cleared = self.parts.clock.now();
        in_force.ports_cleared.clear();
        Ok(())
    }

    /// Sets the counters of a port to zero.
    ///
    /// # Errors
    /// When there is no such port, or a worker does not answer.
    pub fn clear_port_counters(&self, name: &str) -> Result<(), Refused> {
        let port = self.port_named(name)?;
        let mut in_force = self.in_force.lock();
        self.tell(|done| Letter::ClearPort(port, done))?;
        in_force.ports_cleared.insert(port, self.parts.clock.now());
        Ok(())
    }

    /// The port of a role or an interface.
    fn port_named(&self, name: &str) -> Result<PortIndex, Refused> {
        let port = self.parts.ports.named(name).map(|port| PortIndex(port as u8));
        port.ok_or_else(|| {
            Refused::Error(format!("there is no port `{name}`: expected lan or wan"))
        })
    }

    /// Sets the counters of an anchor's rules to zero, those of the anchors without a name that they
    /// call, and with `recursive` those of all anchors below.
    ///
    /// # Errors
    /// When there is no such anchor, or a worker does not answer.
    pub fn clear_rule_counters(&self, anchor: &str, recursive: bool) -> Result<(), Refused> {
        // Locked until the workers have answered, so that ids mean what they mean here.
        let in_force = self.in_force.lock();
        let mut ids: Vec<Range<u32>> = Vec::new();
        for shown in in_force.below(anchor, recursive)? {
            if let Some((first, rules)) = in_force.rules_of(shown) {
                ids.push(first..first + rules.len() as u32);
            }
        }
        let program = in_force.program.iter();
        for limits in program.flat_map(|program| {
            ids.iter().flat_map(Clone::clone).filter_map(|id| program.limits(id))
        }) {
            limits.clear();
        }
        let chosen: Arc<RuleMatcher> = Arc::new(move |id| ids.iter().any(|ids| ids.contains(&id)));
        self.tell(|done| Letter::ClearRules(Arc::clone(&chosen), done))?;
        if anchor.is_empty() {
            self.tell(Letter::ClearEtherRules)?;
        }
        Ok(())
    }

    /// Empties something; tells how much there was.
    ///
    /// # Errors
    /// When a worker does not answer, or a change of the rules waits to be confirmed.
    pub fn flush(&self, what: &Flush, by: Author) -> Result<u64, Refused> {
        let change = Change::plain(by, format!("flush {what}"));
        match what {
            Flush::Rules => self.flush_rules().map(|()| 0),
            Flush::RulesIn { anchor, recursive } => {
                self.flush_anchor(anchor, *recursive, &change).map(|()| 0)
            }
            Flush::States => self.flush_states(),
            Flush::Sources => Ok(self.flush_sources()),
            Flush::Info => self.clear_counters().map(|()| 0),
            Flush::Port { port } => self.clear_port_counters(port).map(|()| 0),
            Flush::RuleCounters { anchor, recursive } => {
                self.clear_rule_counters(anchor, *recursive).map(|()| 0)
            }
            Flush::Tables { anchor, recursive } => self.flush_tables(anchor, *recursive),
            Flush::Options => self.reset_options(&change).map(|()| 0),
        }
    }

    fn reports(&self) -> io::Result<Vec<Report>> {
        let begun = std::time::Instant::now();
        let reports = self.tell(Letter::Report)?;
        self.measured.note_round_trip(begun.elapsed());
        Ok(reports)
    }
}
