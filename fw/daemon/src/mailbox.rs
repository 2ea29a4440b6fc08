//! What the control threads ask of a worker. A worker reads its mailbox between batches, at most one
//! letter a round, and never waits: whoever asks gives it the room to answer in.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use weir_engine::table::{EntryCounters, Hit, Pages, TableTally, Tables};
use weir_engine::{
    Counters, EtherCounters, Instant, Meta, Phases, PortIndex, Program, Replaced, RuleCounters,
    StateView, Tails,
};
use weir_hw::Stats;

use crate::handover::Bell;
use crate::tap::TapSender;
use crate::worker::Berth;

/// State slots that a worker looks at for one letter; larger tables take several.
pub const CHUNK: usize = 1024;

/// How long a worker may take to answer before it counts as stuck. A round takes well under a
/// millisecond.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether a state is meant, asked on the worker's thread.
pub type Matcher = Arc<dyn Fn(&StateView) -> bool + Send + Sync>;

/// Whether a rule is meant, by its id; asked on the worker's thread.
pub type RuleMatcher = dyn Fn(u32) -> bool + Send + Sync;

/// One request to a worker.
pub enum Letter {
    /// Judge by this program and these tables from the next batch on. What they replace comes back,
    /// to be freed by whoever asked.
    Install(Arc<Program>, Arc<Tables>, Pages, Sender<Replaced>),
    /// Go on with these tables.
    Tables(Arc<Tables>, Pages, Sender<Replaced>),
    /// Remember ended connections in this room. What it replaces comes back, to be freed.
    Tails(Tails, Sender<Tails>),
    /// Tell what was counted for each table, by its id.
    TableTallies(Sender<Vec<TableTally>>),
    /// Tell what was counted for entries of the table of this id and [`Table::uid`]. They come back,
    /// so that one list serves all.
    ///
    /// [`Table::uid`]: weir_engine::table::Table::uid
    EntryCounters(u32, u64, Vec<Hit>, Sender<(Vec<Hit>, Vec<EntryCounters>)>),
    /// Part from all ports, and from what other workers have handed over of their memory. Twice to all
    /// workers before new ports come: after the first time nobody hands anything over any more.
    Part(Sender<()>),
    /// Go on with these ports.
    Ports(Box<Berth>, Sender<()>),
    /// Pass everything until then; `None`: judge.
    Open(Option<Instant>, Sender<()>),
    /// Tell the counters.
    Report(Sender<Report>),
    /// Set the counters to zero, but those of rules.
    ClearCounters(Sender<()>),
    /// Set the counters of a port to zero.
    ClearPort(PortIndex, Sender<()>),
    /// Set the counters of some rules to zero.
    ClearRules(Arc<RuleMatcher>, Sender<()>),
    /// Set the counters of all rules of layer 2 to zero.
    ClearEtherRules(Sender<()>),
    /// List the states in [`CHUNK`] slots from a cursor on.
    States(u32, Vec<StateView>, Sender<(Vec<StateView>, Option<u32>)>),
    /// Tell the state that a frame would be judged by.
    StateOf(Box<[u8]>, Meta, Sender<Option<StateView>>),
    /// Copy frames for whoever watches. What comes back found no place among [`MAX_TAPS`].
    ///
    /// [`MAX_TAPS`]: crate::tap::MAX_TAPS
    Watch(TapSender, Sender<Option<TapSender>>),
    /// Copy no more for the tap of this id. It comes back, to be freed.
    Unwatch(u64, Sender<Option<TapSender>>),
    /// Remove matching states in [`CHUNK`] slots from a cursor on.
    Kill(u32, Matcher, Sender<(u32, Option<u32>)>),
}

/// A worker's counters.
#[derive(Clone, Debug)]
pub struct Report {
    /// The engine's.
    pub counters: Counters,
    /// By rule of the program in force.
    pub rules: Vec<RuleCounters>,
    /// By `ether` rule of the program in force.
    pub ether: Vec<EtherCounters>,
    /// States in its table, and of these in each phase.
    pub states: u32,
    /// See [`Report::states`].
    pub phases: Phases,
    /// Its queues of the ports.
    pub ports: Vec<Stats>,
    /// Rounds in which it did not receive because an output queue was more than half full.
    pub back_pressure: u64,
    /// Log records that found no room.
    pub log_lost: u64,
    /// Nanoseconds in which it had something to do.
    pub busy: u64,
    /// Flow records that were lost before anybody could take them.
    pub flows_lost: u64,
}

/// The control threads' end.
#[derive(Clone)]
pub struct Mailbox {
    letters: Sender<Letter>,
    bells: Arc<[Bell]>,
    worker: usize,
}

impl Mailbox {
    /// Both ends for worker `worker`, whose bell is among `bells`.
    pub fn new(worker: usize, bells: Arc<[Bell]>) -> (Self, Receiver<Letter>) {
        let (letters, receiver) = bounded(64);
        (Self { letters, bells, worker }, receiver)
    }

    /// Sends a letter that `make` puts an address for the answer on.
    ///
    /// # Errors
    /// When the mailbox is full or the worker has ended.
    pub fn post<T>(&self, make: impl FnOnce(Sender<T>) -> Letter) -> io::Result<Answer<T>> {
        let (sender, receiver) = bounded(1);
        self.letters
            .send_timeout(make(sender), PATIENCE)
            .map_err(|_| io::Error::other(format!("worker {} does not answer", self.worker)))?;
        self.bells[self.worker].ring();
        Ok(Answer { receiver, worker: self.worker })
    }

    /// Sends a letter and waits for the answer.
    ///
    /// # Errors
    /// When the worker does not answer within five seconds.
    pub fn ask<T>(&self, make: impl FnOnce(Sender<T>) -> Letter) -> io::Result<T> {
        self.post(make)?.wait()
    }
}

/// An answer on its way.
pub struct Answer<T> {
    receiver: Receiver<T>,
    worker: usize,
}

impl<T> Answer<T> {
    /// Waits for it.
    ///
    /// # Errors
    /// When the worker does not answer within five seconds.
    pub fn wait(self) -> io::Result<T> {
        self.receiver
            .recv_timeout(PATIENCE)
            .map_err(|_| io::Error::other(format!("worker {} does not answer", self.worker)))
    }

    /// The answer, if it is there.
    pub fn at_once(self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}
