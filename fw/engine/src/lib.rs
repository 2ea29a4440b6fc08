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
mod deciding;
mod effects;
mod encapsulation;
pub mod engine;
mod expiry;
mod flow;
mod flows;
mod fragment;
pub mod frame;
mod install;
pub mod judge;
mod lane;
mod late;
mod lifecycle;
mod link;
mod listing;
pub mod log;
mod normalise;
mod outbox;
mod outcome;
pub mod packet;
mod pool;
mod processor;
mod progress;
pub mod reason;
pub mod reflect;
pub mod ruleset;
mod shared;
pub mod source;
mod splice;
mod state;
mod steering;
mod synproxy;
pub mod table;
pub mod time;
mod track;

pub use counters::Counters;
pub use engine::{Engine, Setup};
pub use flows::{FlowEnd, FlowRecord};
pub use fragment::Releases;
pub use frame::{Checksum, Frames, Meta, PortIndex};
pub use install::Replaced;
pub use judge::Verdict;
pub use link::records::EtherCounters;
pub use log::{LogAction, LogRecord, LogSink, StateNote};
pub use pool::Pool;
pub use reason::Reason;
pub use ruleset::program::Identity as RuleIdentity;
pub use ruleset::records::RuleCounters;
pub use ruleset::{
    CompileError, Criterion, Decision, Filter, FilterError, Outcome, PortName, PortNames, Program,
    RulePlace, SideTrace, TableName, Trace, TraceStep,
};
pub use shared::Shared;
pub use state::phases::Phases;
pub use state::tail::Tails;
pub use state::view::{PeerView, StateView};
pub use steering::Steering;
pub use time::Instant;
