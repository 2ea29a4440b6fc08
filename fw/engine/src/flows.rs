//! Records of connections for a flow collector (`keep state (pflow)`): what a state was, made when it
//! ends.
//!
//! Whether a state's rules want it is asked of their records when it ends, so that packets pay nothing
//! for it. Records wait here until the worker takes them, between batches; what finds no room is lost
//! and counted.

#![forbid(unsafe_code)]

use crate::engine::{Engine, tick};
use crate::lifecycle::Ending;
use crate::packet::protocol;
use crate::state::tcp;
use crate::state::view::StateView;
use crate::state::wheel::TICK_NANOS;
use crate::time::Instant;

/// Records that wait at most: more than end in a round, unless somebody kills them all.
const ROOM: usize = 4096;

/// A connection that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    /// Its state as it was last.
    pub state: StateView,
    /// When it began.
    pub begun: Instant,
    /// When its last packet came; both to a tick of the timer wheel.
    pub last: Instant,
    /// Why it is over.
    pub end: FlowEnd,
}

/// Why a flow is over: `flowEndReason` of IPFIX (RFC 5102, 5.11.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FlowEnd {
    /// Nothing came for as long as its time-out says.
    Idle = 1,
    /// Both ends have said so.
    Closed = 3,
    /// Somebody wanted it so.
    Killed = 4,
    /// There was no room for it.
    Evicted = 5,
}

/// Records that wait.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    waiting: Vec<FlowRecord>,
    lost: u64,
}

impl Flows {
    /// Makes room; nothing is kept before.
    pub(crate) fn reserve(&mut self) {
        if self.waiting.capacity() == 0 {
            self.waiting.reserve_exact(ROOM);
        }
    }

    fn put(&mut self, record: FlowRecord) {
        if self.waiting.len() < self.waiting.capacity() {
            self.waiting.push(record);
        } else {
            self.lost += 1;
        }
    }
}

impl Engine {
    /// Takes the records of connections that have ended; they are to be taken after each batch and each
    /// [`Engine::advance`].
    pub fn take_flows(&mut self, take: impl FnMut(FlowRecord)) {
        if !self.flows.waiting.is_empty() {
            self.flows.waiting.drain(..).for_each(take);
        }
    }

    /// How many were lost because they were not taken in time.
    pub const fn flows_lost(&self) -> u64 {
        self.flows.lost
    }

    /// A state is about to end: notes it for the collector if one of its rules wants it.
    pub(crate) fn note_flow(&mut self, entry: u32, ending: Ending) {
        if !self.records.export_flows(self.table.get(entry).rules) {
            return;
        }
        let now = self.advanced();
        let view = self.view_ending(entry, tick(now), 0);
        let created = self.table.created(entry);
        let state = self.table.get(entry);
        let closed = view.protocol == protocol::TCP && tcp::either_closes(&state.peers);
        let end = match ending {
            Ending::TimedOut if closed => FlowEnd::Closed,
            Ending::TimedOut => FlowEnd::Idle,
            Ending::Over => FlowEnd::Closed,
            Ending::Killed => FlowEnd::Killed,
            Ending::Forgotten => FlowEnd::Evicted,
        };
        let (begun, last) = (before(now, created), before(now, state.touched));
        self.flows.put(FlowRecord { state: view, begun, last, end });
    }
}

/// The moment of a tick that is over.
fn before(now: Instant, past: u32) -> Instant {
    let ticks = tick(now).wrapping_sub(past);
    Instant(now.0.saturating_sub(u64::from(ticks) * TICK_NANOS))
}
