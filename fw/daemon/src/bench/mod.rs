//! `weir bench`: the daemon's worker round on the memory port, on one core.
//!
//! What is timed is [`Worker::round`](crate::worker::Worker::round) as the daemon runs it: clock,
//! rings, engine with its counters, timer wheel, mailbox. Frames are made, put on the wire, taken off
//! it and compared with what had to come out between the rounds, outside the time. A round takes up
//! to 64 frames from each port. The clock is the thread's, which stands still while something else
//! has the core.

mod flows;
mod report;
mod stand;

use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use weir_engine::{Engine, Reason};

use crate::bench::flows::{Bytes, End, Flows, LENGTH};
use crate::bench::report::{Line, Run, Stall, grouped};
use crate::bench::stand::{Fate, Stand};

/// New connections of a run, and the table that all runs of them share.
const NEW_STATES: u32 = 100_000;
/// Frames of a run that no state and no rule knows.
const UNKNOWN: u32 = 200_000;
/// When every half-open state of a bench has ended.
const LATER: Duration = Duration::from_secs(600);

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
    for &count in &arguments.flows {
        let name = format!("established TCP, {} connections", grouped(count));
        println!("{}", Line::new(name, &established(count, arguments)?));
    }
    println!("{}", Line::new("new TCP connections".into(), &new_states(arguments.runs)?));
    println!("{}", Line::new("closing TCP connections".into(), &closing(arguments.runs)?));
    for &count in &arguments.rules {
        let name = format!("unknown packets, {} rules", grouped(count));
        println!("{}", Line::new(name, &unknown(count, arguments.runs)?));
    }
    for &count in &arguments.flows {
        println!("{}", expiry(count)?);
    }
    for &count in &arguments.flows {
        println!(
            "memory of {} states: {} bytes each",
            grouped(count),
            Engine::footprint(count).div_ceil(count as usize)
        );
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

/// Rules by which the bench's connections pass.
fn passing(states: u32) -> String {
    format!(
        "set limit states {states}\n\
         set timeout {{ adaptive.start 0, adaptive.end 0 }}\n\
         block\n\
         pass proto tcp from 10.0.0.0/8 to 198.18.0.0/15 port 443 flags S/SA keep state\n"
    )
}

/// `count` rules of five kinds: hosts, networks and prefixes of either end, TCP and UDP, ports and
/// port ranges. Some hold the sender or the receiver of the unknown packets; no passing one both.
fn blocking(count: u32) -> String {
    let mut rules = "block\n".to_owned();
    for i in 1..count {
        let [_, a, b, c] = i.wrapping_mul(0x9e_3779).to_be_bytes();
        let (port, length) = (1024 + i % 60_000, 17 + i % 16);
        // Writing to a string does not fail.
        let _ = match i % 5 {
            0 => writeln!(
                rules,
                "pass proto tcp from 172.{}.{b}.0/24 to 203.0.{a}.{c} port {port}",
                16 + a % 16
            ),
            1 => writeln!(rules, "pass proto udp from any to 198.18.{b}.{c} port {port}"),
            2 => writeln!(
                rules,
                "block proto tcp from 10.{a}.{b}.0/24 to any port {port}:{}",
                port + 200
            ),
            3 => writeln!(
                rules,
                "pass proto tcp from any to 198.{}.{b}.{c}/{length} port {port}",
                18 + a % 2
            ),
            _ => writeln!(rules, "block from 10.{a}.{b}.{c} to 198.51.100.0/24"),
        };
    }
    rules
}

/// Frames of established connections chosen at random, half of them each way.
fn established(count: u32, arguments: &Arguments) -> io::Result<Vec<Run>> {
    let mut stand = Stand::new(&passing(count), count)?;
    let mut flows = Flows::new(count);
    let mut batches = [Vec::new(), Vec::new()];
    connect(&mut stand, &mut flows, &mut batches)?;
    let before = stand.report()?;
    let mut runs = Vec::new();
    for _ in 0..arguments.runs {
        let (mut frames, mut time) = (0, Duration::ZERO);
        while frames < u64::from(arguments.frames) {
            for (end, batch) in [End::Client, End::Server].into_iter().zip(&mut batches) {
                batch.extend((0..Engine::BATCH).map(|_| {
                    let flow = flows.any();
                    flows.data(flow, end)
                }));
                frames += batch.len() as u64;
            }
            time += stand.step(&mut batches, Fate::Forwarded)?;
        }
        time += stand.finish(Fate::Forwarded)?;
        runs.push(Run { frames, time });
    }
    let after = stand.report()?;
    let sent: u64 = runs.iter().map(|run| run.frames).sum();
    expect("frames judged", after.counters.judged - before.counters.judged, sent)?;
    expect("states", u64::from(after.states), u64::from(count))?;
    expect("states made", after.counters.inserts, u64::from(count))?;
    expect("drops", after.counters.reasons.iter().sum(), 0)?;
    Ok(runs)
}

/// Completes the handshake of every connection.
fn connect(stand: &mut Stand, flows: &mut Flows, batches: &mut [Vec<Bytes>; 2]) -> io::Result<()> {
    let mut begin = 0;
    while begin < flows.count() {
        let end = flows.count().min(begin + Engine::BATCH as u32);
        batches[0].extend((begin..end).map(|flow| flows.syn(flow)));
        stand.step(batches, Fate::Forwarded)?;
        batches[1].extend((begin..end).map(|flow| flows.syn_ack(flow)));
        stand.step(batches, Fate::Forwarded)?;
        batches[0].extend((begin..end).map(|flow| flows.ack(flow)));
        stand.step(batches, Fate::Forwarded)?;
        begin = end;
    }
    stand.finish(Fate::Forwarded)?;
    Ok(())
}

/// SYNs of connections that there were not.
fn new_states(count: u32) -> io::Result<Vec<Run>> {
    let states = count * NEW_STATES;
    let mut stand = Stand::new(&passing(states), states)?;
    let mut flows = Flows::new(states.min(flows::MOST));
    let mut batches = [Vec::new(), Vec::new()];
    let mut runs = Vec::new();
    let mut next = 0..states;
    for _ in 0..count {
        let (mut frames, mut time) = (0, Duration::ZERO);
        while frames < u64::from(NEW_STATES) {
            batches[0].extend(next.by_ref().take(Engine::BATCH).map(|flow| flows.syn(flow)));
            if batches[0].is_empty() {
                break;
            }
            frames += batches[0].len() as u64;
            time += stand.step(&mut batches, Fate::Forwarded)?;
        }
        time += stand.finish(Fate::Forwarded)?;
        runs.push(Run { frames, time });
    }
    let report = stand.report()?;
    expect("states made", report.counters.inserts, u64::from(states))?;
    expect("states", u64::from(report.states), u64::from(states))?;
    Ok(runs)
}

/// The FIN of each end and the last ACK, of connections of which each closes once.
fn closing(count: u32) -> io::Result<Vec<Run>> {
    let states = (count * NEW_STATES).min(flows::MOST);
    let mut stand = Stand::new(&passing(states), states)?;
    let mut flows = Flows::new(states);
    let mut batches = [Vec::new(), Vec::new()];
    connect(&mut stand, &mut flows, &mut batches)?;
    let before = stand.report()?;
    let mut runs = Vec::new();
    let mut begin = 0;
    for _ in 0..count {
        let (mut frames, mut time) = (0, Duration::ZERO);
        while frames < 3 * u64::from(NEW_STATES) && begin < states {
            let some = begin..states.min(begin + Engine::BATCH as u32);
            begin = some.end;
            frames += 3 * some.len() as u64;
            batches[0].extend(some.clone().map(|flow| flows.fin(flow, End::Client)));
            time += stand.step(&mut batches, Fate::Forwarded)?;
            batches[1].extend(some.clone().map(|flow| flows.fin(flow, End::Server)));
            time += stand.step(&mut batches, Fate::Forwarded)?;
            batches[0].extend(some.map(|flow| flows.ack(flow)));
            time += stand.step(&mut batches, Fate::Forwarded)?;
        }
        time += stand.finish(Fate::Forwarded)?;
        runs.push(Run { frames, time });
    }
    let after = stand.report()?;
    expect("drops", after.counters.reasons.iter().sum(), 0)?;
    expect("states made", after.counters.inserts - before.counters.inserts, 0)?;
    Ok(runs)
}

/// States that all end at the same time, while nothing else is to be done: the longest that a frame
/// could have had to wait for it.
fn expiry(count: u32) -> io::Result<Stall> {
    let mut stand = Stand::new(&passing(count), count)?;
    let mut flows = Flows::new(count);
    let mut batches = [Vec::new(), Vec::new()];
    let mut next = 0..count;
    while !next.is_empty() {
        batches[0].extend(next.by_ref().take(Engine::BATCH).map(|flow| flows.syn(flow)));
        stand.step(&mut batches, Fate::Forwarded)?;
    }
    stand.finish(Fate::Forwarded)?;
    expect("states", u64::from(stand.report()?.states), u64::from(count))?;
    let mut stall =
        Stall { states: count, rounds: 0, longest: Duration::ZERO, all: Duration::ZERO };
    while let Some(time) = stand.idle(LATER)? {
        stall.rounds += 1;
        stall.longest = stall.longest.max(time);
        stall.all += time;
    }
    expect("states", u64::from(stand.report()?.states), 0)?;
    Ok(stall)
}

/// SYNs that no state knows and no rule lets pass.
fn unknown(rules: u32, count: u32) -> io::Result<Vec<Run>> {
    let mut stand = Stand::new(&blocking(rules), 1024)?;
    let mut flows = Flows::new(flows::MOST);
    let mut batches = [Vec::new(), Vec::new()];
    let mut runs = Vec::new();
    for _ in 0..count {
        let (mut frames, mut time) = (0, Duration::ZERO);
        while frames < u64::from(UNKNOWN) {
            batches[0].extend((0..Engine::BATCH).map(|_| {
                let flow = flows.any();
                flows.syn(flow)
            }));
            frames += batches[0].len() as u64;
            time += stand.step(&mut batches, Fate::Dropped)?;
        }
        time += stand.finish(Fate::Dropped)?;
        runs.push(Run { frames, time });
    }
    let report = stand.report()?;
    let sent: u64 = runs.iter().map(|run| run.frames).sum();
    expect("packets blocked", report.counters.reasons[Reason::BlockRule as usize], sent)?;
    expect("states", u64::from(report.states), 0)?;
    Ok(runs)
}

/// Checks a figure that says whether the worker did what it had to.
fn expect(what: &str, found: u64, wanted: u64) -> io::Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(io::Error::other(format!("{found} {what}, not {wanted}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Arguments {
        Arguments { flows: vec![], rules: vec![], runs: 2, frames: 20_000, core: None }
    }

    #[test]
    fn every_frame_of_established_connections_passes() {
        let runs = established(300, &small()).unwrap();
        assert_eq!(runs.len(), 2);
        assert!(runs.iter().all(|run| run.frames >= 20_000 && run.time > Duration::ZERO));
    }

    #[test]
    fn every_new_connection_gets_a_state() {
        let runs = new_states(1).unwrap();
        assert_eq!(runs[0].frames, u64::from(NEW_STATES));
    }

    #[test]
    fn every_connection_closes_and_every_state_ends() {
        assert_eq!(closing(1).unwrap()[0].frames, 3 * u64::from(NEW_STATES));
        let stall = expiry(5_000).unwrap();
        assert!(stall.rounds > 10 && stall.longest < stall.all);
    }

    #[test]
    fn every_unknown_packet_is_blocked() {
        for rules in [1, 10, 100] {
            assert_eq!(unknown(rules, 1).unwrap().len(), 1);
        }
    }

    #[test]
    fn a_verdict_that_is_not_the_expected_one_is_an_error() {
        let mut stand = Stand::new(&blocking(3), 16).unwrap();
        let mut flows = Flows::new(16);
        let mut batches = [vec![flows.syn(1)], Vec::new()];
        stand.step(&mut batches, Fate::Forwarded).unwrap();
        let error = stand.finish(Fate::Forwarded).unwrap_err();
        assert_eq!(error.to_string(), "1 frames had to leave by wan, 0 did");

        let mut stand = Stand::new(&passing(16), 16).unwrap();
        batches[0].push(flows.syn(2));
        stand.step(&mut batches, Fate::Dropped).unwrap();
        let error = stand.finish(Fate::Dropped).unwrap_err();
        assert!(error.to_string().starts_with("0 frames had to leave by wan, 1 did"), "{error}");
        assert!(expect("states", 1, 2).is_err());
    }
}
