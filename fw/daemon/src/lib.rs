//! The daemon: workers that move and judge frames, the control socket, the log writer, and the
//! command line of the one binary.
//!
//! [`run`] puts everything together; [`worker`] is the way of a batch.

#![forbid(unsafe_code)]

pub mod batch;
pub mod bench;
pub mod cli;
pub mod clock;
mod closed;
pub mod control;
mod crowding;
pub mod developer;
pub mod handover;
pub mod history;
pub mod hold;
pub mod ipfix;
pub mod log;
pub mod mailbox;
pub mod metrics;
pub mod namespace;
mod notify;
pub mod pflog;
pub mod ports;
mod random;
pub mod replay;
pub mod rules;
pub mod run;
pub mod server;
pub mod settings;
pub mod syslog;
pub mod tap;
pub mod tools;
pub mod verdict;
pub mod worker;
