//! `weir`: the one binary.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    weir_daemon::cli::main(std::env::args_os())
}
