//! weir's firewall, sans-IO: frames, time and rule sets in; verdicts, crafted frames and log
//! records out. No sockets, threads, clock or randomness of its own.
//!
//! An [`Engine`] serves one worker. It is handed its memory, a compiled [`Program`], batches of
//! [`Frames`] and the time; it answers with a [`Verdict`] a frame. [`judge`] is the way of a frame
//! from top to bottom.

#![deny(unsafe_code)]

mod admit;
mod challenge;
mod chance;
pub mod classifier;
pub mod counters;
mod effects;
mod encapsulation;
pub mod engine;
mod flow;
mod fragment;
pub mod frame;
pub mod judge;
mod link;
pub mod log;
mod normalise;
mod outbox;
pub mod packet;
mod pool;
mod processor;
mod progress;
pub mod reason;
pub mod reflect;
pub mod ruleset;
pub mod source;
mod splice;
mod state;
mod synproxy;
pub mod table;
pub mod time;
mod track;

pub use counters::Counters;
pub use engine::{Engine, Replaced, Setup, Shared};
pub use fragment::Releases;
pub use frame::{Checksum, Frames, Meta, PortIndex};
pub use judge::Verdict;
pub use link::records::EtherCounters;
pub use log::{LogAction, LogRecord, LogSink, StateNote};
pub use pool::Pool;
pub use reason::Reason;
pub use ruleset::records::RuleCounters;
pub use ruleset::{
    CompileError, Criterion, Decision, Outcome, PortName, PortNames, Program, RulePlace, SideTrace,
    TableName, Trace, TraceStep,
};
pub use state::tail::Tails;
pub use state::view::{PeerView, StateView};
pub use time::Instant;
