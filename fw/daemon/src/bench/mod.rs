//! `weir bench`: the daemon's worker round on the memory port, on one core.
//!
//! What is timed is [`Worker::round`](crate::worker::Worker::round) as the daemon runs it: clock,
//! rings, engine with its counters, timer wheel, mailbox. Frames are made, put on the wire, taken off
//! it and compared with what had to come out between the rounds, outside the time. A round takes up
//! to 64 frames from each port. The clock is the thread's, which stands still while something else
//! has the core.

mod flows;
mod report;
mod rows;
mod rules;
mod stand;

use std::io;
use std::process::ExitCode;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use weir_engine::Engine;

use crate::bench::flows::{LENGTH, PARTS};
use crate::bench::report::{Line, Run};
use crate::log::grouped;

/// UDP flows, and places of the table that is filled.
const MANY: u32 = 1_000_000;
/// Flows of datagrams in fragments.
const FRAGMENTED: u32 = 100_000;
/// How full that table is, in percent.
const LOADS: [u32; 2] = [10, 90];

/// Arguments of `weir bench`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Established connections to measure with
    #[arg(long, value_name = "LIST", value_delimiter = ',',
        default_values_t = [1_000, 100_000, 1_000_000, 10_000_000],
        value_parser = clap::value_parser!(u32).range(1..=i64::from(flows::MOST)))]
    flows: Vec<u32>,
    /// Rules to measure unknown packets with
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [10, 1_000, 10_000],
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rules: Vec<u32>,
    /// Runs of each measurement; the median is printed
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Frames of established connections a run
    #[arg(long, default_value_t = 4_000_000,
        value_parser = clap::value_parser!(u32).range(1_000..=1_000_000_000))]
    frames: u32,
    /// Measure only what has this word in its name
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
    /// The core to run on; the last one that is allowed if not given
    #[arg(long)]
    core: Option<usize>,
}

/// Runs the bench and prints what it found.
pub fn main(arguments: &Arguments) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let core = pin(arguments.core)?;
    println!(
        "weir bench: core {core}, {LENGTH}-byte frames, median of {} runs (slowest to fastest)",
        arguments.runs
    );
    let &Arguments { ref flows, ref rules, runs, frames, .. } = arguments;
    let wanted = |name: &str| arguments.only.as_ref().is_none_or(|word| name.contains(word));
    let row = |name: String, measure: &dyn Fn() -> io::Result<Vec<Run>>| -> io::Result<()> {
        if wanted(&name) {
            println!("{}", Line::new(name, &measure()?));
        }
        Ok(())
    };
    for &count in flows {
        let name = format!("established TCP, {} connections", grouped(count));
        row(name, &|| rows::established(count, runs, frames))?;
        let name = format!("translated TCP, {} connections", grouped(count));
        row(name, &|| rows::translated(count, runs, frames))?;
    }
    let name = format!("established UDP, {} flows", grouped(MANY));
    row(name, &|| rows::datagrams(MANY, runs, frames))?;
    let name = format!("UDP in {PARTS} fragments, {} flows", grouped(FRAGMENTED));
    row(name, &|| rows::fragments(FRAGMENTED, runs, frames))?;
    row("new TCP connections".into(), &|| rows::new_states(runs))?;
    row("TCP handshakes".into(), &|| rows::handshakes(false, runs))?;
    row("TCP handshakes, sources limited".into(), &|| rows::handshakes(true, runs))?;
    row("SYNs answered with cookies".into(), &|| rows::cookies(runs))?;
    row("valid cookies".into(), &|| rows::proven(runs))?;
    row("closing TCP connections".into(), &|| rows::closing(runs))?;
    for percent in LOADS {
        let name = format!("found, table {percent} % full");
        row(name, &|| rows::found(MANY, percent, runs, frames))?;
        let name = format!("made, table {percent} % full");
        row(name, &|| rows::made(MANY, percent, runs))?;
    }
    for &count in rules {
        let name = format!("unknown packets, {} rules", grouped(count));
        row(name, &|| rows::unknown(count, runs))?;
    }
    if wanted("expiry") {
        for &count in flows {
            println!("{}", rows::expiry(count)?);
        }
    }
    if wanted("memory") {
        for &count in flows {
            let bytes = Engine::footprint(count).div_ceil(count as usize);
            println!("memory of {} states: {bytes} bytes each", grouped(count));
        }
    }
    Ok(())
}

/// Keeps the thread on one core and returns which.
fn pin(core: Option<usize>) -> io::Result<usize> {
    let allowed = sched_getaffinity(None)?;
    let core = core
        .or_else(|| (0..CpuSet::MAX_CPU).rev().find(|&core| allowed.is_set(core)))
        .filter(|&core| core < CpuSet::MAX_CPU && allowed.is_set(core))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no such core is allowed"))?;
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set)?;
    Ok(core)
}
