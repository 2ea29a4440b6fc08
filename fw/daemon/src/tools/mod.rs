//! The subcommands that work on rule files and need no running daemon, and the one that watches it.

pub mod capture;
pub mod changes;
pub mod check;
pub mod difference;
pub mod explain;
pub mod fate;
mod following;
pub mod frame;
pub mod junit;
pub mod log;
pub mod policy;
pub mod telling;
pub mod test;
