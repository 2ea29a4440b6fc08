//! The subcommands that work on rule files and need no running daemon.

pub mod check;
