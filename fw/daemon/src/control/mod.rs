//! What can be asked of the running firewall, one file an idea: rule sets put in force (`loading`),
//! the bridge held open (`opening`), states listed and killed (`states`), the rest listed
//! (`listings`).
//!
//! Runs on the threads of clients and of `weir run`. Changes are made one at a time; listings take
//! no lock while they run, and ask each worker for a piece at a time.

mod explain;
mod listings;
mod loading;
mod opening;
mod states;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::{Condvar, Mutex};
use weir_config::Diagnostics;
use weir_engine::table::Tables;
use weir_engine::{Instant, PortNames, Program, Shared};
use weir_hw::Kind;
use weir_shell::protocol::Flush;

use crate::clock::Clock;
use crate::last_good::LastGood;
use crate::mailbox::{Letter, Mailbox, Report};
use crate::rules::Programs;

pub use loading::Loaded;

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
    /// What is in its tables.
    tables: Arc<Tables>,
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

    /// Sends a letter to every worker, then waits for all answers.
    fn tell<T>(
        &self,
        mut make: impl FnMut(crossbeam::channel::Sender<T>) -> Letter,
    ) -> io::Result<Vec<T>> {
        let answers: Vec<_> =
            self.parts.mailboxes.iter().map(|mailbox| mailbox.post(&mut make)).collect();
        answers.into_iter().map(|answer| answer?.wait()).collect()
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

    fn reports(&self) -> io::Result<Vec<Report>> {
        self.tell(Letter::Report)
    }
}
