//! The measurements: what is made of the bench's connections for each row of its table.

use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use weir_engine::{Engine, Reason};

use crate::bench::flows::{self, Bytes, Differences, End, Flows, PARTS, datagram};
use crate::bench::report::{Run, Stall};
use crate::bench::rules::{blocking, limiting, modulating, passing, proxying};
use crate::bench::stand::{Fate, Stand};

/// Connections of a run that begin or close, where each does so once; a table for all runs of them
/// has to be laid out.
const NEW_STATES: u32 = 100_000;
/// Frames of a run that no state and no rule knows.
const UNKNOWN: u64 = 200_000;
/// When every half-open state of a bench has ended.
const LATER: Duration = Duration::from_secs(600);

/// What is put on the ports for one round.
type Batches = [Vec<Bytes>; 2];

/// Frames of established connections chosen at random, half of them each way.
pub(super) fn established(count: u32, runs: u32, frames: u32) -> io::Result<Vec<Run>> {
    let mut stand = Stand::new(&passing(count), count)?;
    let mut flows = Flows::new(count);
    connect(&mut stand, &mut flows, 0..count)?;
    let before = stand.report()?;
    let runs = measure(&mut stand, runs, frames.into(), Fate::Forwarded, |batches| {
        talk(&mut flows, count, batches);
    })?;
    let after = stand.report()?;
    expect("frames judged", after.counters.judged - before.counters.judged, frames_of(&runs))?;
    expect("states", u64::from(after.states), u64::from(count))?;
    expect("states made", after.counters.inserts, u64::from(count))?;
    expect("drops", after.counters.reasons.iter().sum(), 0)?;
    Ok(runs)
}

/// The same, their sequence numbers translated (`modulate state`).
pub(super) fn translated(count: u32, runs: u32, frames: u32) -> io::Result<Vec<Run>> {
    let mut stand = Stand::new(&modulating(count), count)?;
    let differences = Rc::new(Differences::new(count));
    let mut flows = Flows::translated(&differences);
    // What is translated has to be seen to leave before it can be answered: a run for each round.
    let rounds = 3 * count.div_ceil(Engine::BATCH as u32);
    let fate = Fate::Translated(&differences);
    greet(&mut stand, &mut flows, 0..count, (rounds, 1), fate)?;
    let runs = measure(&mut stand, runs, frames.into(), fate, |batches| {
        talk(&mut flows, count, batches);
    })?;
    let report = stand.report()?;
    expect("states made", report.counters.inserts, u64::from(count))?;
    expect("drops", report.counters.reasons.iter().sum(), 0)?;
    Ok(runs)
}

/// The same for UDP flows.
pub(super) fn datagrams(count: u32, runs: u32, frames: u32) -> io::Result<Vec<Run>> {
    let mut stand = Stand::new(&passing(count), count)?;
    let mut flows = Flows::new(count);
    converse(&mut stand, count)?;
    let runs = measure(&mut stand, runs, frames.into(), Fate::Forwarded, |batches| {
        for (end, batch) in [End::Client, End::Server].into_iter().zip(batches) {
            batch.extend((0..Engine::BATCH).map(|_| datagram(flows.any(), end)));
        }
    })?;
    let report = stand.report()?;
    expect("states made", report.counters.inserts, u64::from(count))?;
    expect("drops", report.counters.reasons.iter().sum(), 0)?;
    Ok(runs)
}

/// Datagrams in fragments, of established flows chosen at random, half of them each way.
pub(super) fn fragments(count: u32, runs: u32, frames: u32) -> io::Result<Vec<Run>> {
    let mut stand = Stand::new(&passing(count), count)?;
    let mut flows = Flows::new(count);
    converse(&mut stand, count)?;
    let runs = measure(&mut stand, runs, frames.into(), Fate::Forwarded, |batches| {
        for (end, batch) in [End::Client, End::Server].into_iter().zip(batches) {
            for _ in 0..Engine::BATCH / PARTS {
                let flow = flows.any();
                batch.extend(flows.fragments(flow, end));
            }
        }
    })?;
    let report = stand.report()?;
    expect("states made", report.counters.inserts, u64::from(count))?;
    expect("drops", report.counters.reasons.iter().sum(), 0)?;
    Ok(runs)
}

/// SYNs of connections that there were not.
pub(super) fn new_states(runs: u32) -> io::Result<Vec<Run>> {
    let states = runs * NEW_STATES;
    let mut stand = Stand::new(&passing(states), states)?;
    let mut flows = Flows::new(states);
    let mut next = 0..flows.count();
    let runs = measure(&mut stand, runs, NEW_STATES.into(), Fate::Forwarded, |batches| {
        let some = next.by_ref().take(Engine::BATCH);
        batches[0].extend(some.map(|flow| flows.syn(flow)));
    })?;
    let report = stand.report()?;
    expect("states made", report.counters.inserts, frames_of(&runs))?;
    expect("states", u64::from(report.states), frames_of(&runs))?;
    Ok(runs)
}

/// The three segments of handshakes, each of a client of its own. `limited`: clients may not have as
/// many connections as they like, so each becomes a source that is counted.
pub(super) fn handshakes(limited: bool, runs: u32) -> io::Result<Vec<Run>> {
    let states = runs * NEW_STATES;
    let rules = if limited { limiting(states) } else { passing(states) };
    let mut stand = Stand::new(&rules, states)?;
    let mut flows = Flows::new(states);
    let frames = 3 * u64::from(NEW_STATES);
    let mut turns = Turns::new(0..states);
    let runs = measure(&mut stand, runs, frames, Fate::Forwarded, |batches| {
        turns.take(batches, |turn, flow| match turn {
            0 => flows.syn(flow),
            1 => flows.syn_ack(flow),
            _ => flows.ack(flow),
        });
    })?;
    let report = stand.report()?;
    expect("drops", report.counters.reasons.iter().sum(), 0)?;
    expect("states made", report.counters.inserts, frames_of(&runs) / 3)?;
    expect("sources", stand.sources().into(), if limited { states.into() } else { 0 })?;
    Ok(runs)
}

/// SYNs that are answered with cookies, none of which comes back.
pub(super) fn cookies(runs: u32) -> io::Result<Vec<Run>> {
    let clients = runs * NEW_STATES;
    let mut stand = Stand::new(&proxying(1024), 1024)?;
    let runs = ask_for_cookies(&mut stand, clients, runs)?.1;
    let report = stand.report()?;
    expect("cookies", report.counters.synproxy.sent, frames_of(&runs))?;
    expect("states", report.states.into(), 0)?;
    Ok(runs)
}

/// ACKs with valid cookies: each makes a state and a SYN for the server.
pub(super) fn proven(runs: u32) -> io::Result<Vec<Run>> {
    let states = runs * NEW_STATES;
    let mut stand = Stand::new(&proxying(states), states)?;
    let mut flows = ask_for_cookies(&mut stand, states, 1)?.0;
    let mut next = 0..states;
    let runs = measure(&mut stand, runs, NEW_STATES.into(), Fate::Proven, |batches| {
        let some = next.by_ref().take(Engine::BATCH);
        batches[0].extend(some.map(|flow| flows.ack(flow)));
    })?;
    let report = stand.report()?;
    expect("valid cookies", report.counters.synproxy.valid, frames_of(&runs))?;
    expect("states", report.states.into(), frames_of(&runs))?;
    Ok(runs)
}

/// The SYN of each client in some runs, answered.
fn ask_for_cookies(stand: &mut Stand, clients: u32, runs: u32) -> io::Result<(Flows, Vec<Run>)> {
    let differences = Rc::new(Differences::new(clients));
    let mut flows = Flows::translated(&differences);
    let mut next = 0..clients;
    let each = (clients / runs).into();
    let runs = measure(stand, runs, each, Fate::Answered(&differences), |batches| {
        let some = next.by_ref().take(Engine::BATCH);
        batches[0].extend(some.map(|flow| flows.syn(flow)));
    })?;
    Ok((flows, runs))
}

/// The FIN of each end and the last ACK, of connections of which each closes once.
pub(super) fn closing(runs: u32) -> io::Result<Vec<Run>> {
    let states = runs * NEW_STATES;
    let mut stand = Stand::new(&passing(states), states)?;
    let mut flows = Flows::new(states);
    connect(&mut stand, &mut flows, 0..states)?;
    let before = stand.report()?;
    let frames = 3 * u64::from(NEW_STATES);
    let mut turns = Turns::new(0..states);
    let runs = measure(&mut stand, runs, frames, Fate::Forwarded, |batches| {
        turns.take(batches, |turn, flow| match turn {
            0 => flows.fin(flow, End::Client),
            1 => flows.fin(flow, End::Server),
            _ => flows.ack(flow),
        });
    })?;
    let after = stand.report()?;
    expect("drops", after.counters.reasons.iter().sum(), 0)?;
    expect("states made", after.counters.inserts - before.counters.inserts, 0)?;
    Ok(runs)
}

/// Frames of established connections in a table of so many places of which some percent are taken.
/// The connections are the same at each load, a tenth of the places: so that the processor's caches
/// are not what makes the difference.
pub(super) fn found(places: u32, percent: u32, runs: u32, frames: u32) -> io::Result<Vec<Run>> {
    let (mut stand, mut flows) = filled(places, percent)?;
    let runs = measure(&mut stand, runs, frames.into(), Fate::Forwarded, |batches| {
        talk(&mut flows, places / 10, batches);
    })?;
    let report = stand.report()?;
    expect("drops", report.counters.reasons.iter().sum(), 0)?;
    Ok(runs)
}

/// SYNs of connections that there were not, in such a table. All runs together fill it by another
/// twentieth.
pub(super) fn made(places: u32, percent: u32, runs: u32) -> io::Result<Vec<Run>> {
    let (mut stand, mut flows) = filled(places, percent)?;
    let mut next = places / 100 * percent..places;
    let some = u64::from((places / 20 / runs).max(1));
    let runs = measure(&mut stand, runs, some, Fate::Forwarded, |batches| {
        batches[0].extend(next.by_ref().take(Engine::BATCH).map(|flow| flows.syn(flow)));
    })?;
    let report = stand.report()?;
    expect("drops", report.counters.reasons.iter().sum(), 0)?;
    expect("states", report.states.into(), u64::from(next.start))?;
    Ok(runs)
}

/// A table of so many places, some percent of them taken by established connections.
fn filled(places: u32, percent: u32) -> io::Result<(Stand, Flows)> {
    let mut stand = Stand::new(&passing(places), places)?;
    let mut flows = Flows::new(places);
    connect(&mut stand, &mut flows, 0..places / 100 * percent)?;
    Ok((stand, flows))
}

/// States that all end at the same time, while nothing else is to be done: the longest that a frame
/// could have had to wait for it.
pub(super) fn expiry(count: u32) -> io::Result<Stall> {
    let mut stand = Stand::new(&passing(count), count)?;
    let mut flows = Flows::new(count);
    let mut batches = Batches::default();
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
pub(super) fn unknown(rules: u32, runs: u32) -> io::Result<Vec<Run>> {
    let mut stand = Stand::new(&blocking(rules), 1024)?;
    let mut flows = Flows::new(flows::MOST);
    let runs = measure(&mut stand, runs, UNKNOWN, Fate::Dropped, |batches| {
        batches[0].extend((0..Engine::BATCH).map(|_| {
            let flow = flows.any();
            flows.syn(flow)
        }));
    })?;
    let report = stand.report()?;
    let blocked = report.counters.reasons[Reason::BlockRule as usize];
    expect("packets blocked", blocked, frames_of(&runs))?;
    expect("states", u64::from(report.states), 0)?;
    Ok(runs)
}

/// Runs of rounds, each run until the worker has had so many frames or there are no more; `fill`
/// makes those of a round.
fn measure(
    stand: &mut Stand,
    runs: u32,
    frames: u64,
    fate: Fate<'_>,
    mut fill: impl FnMut(&mut Batches),
) -> io::Result<Vec<Run>> {
    let mut batches = Batches::default();
    let mut measured = Vec::new();
    for _ in 0..runs {
        let mut run = Run { frames: 0, time: Duration::ZERO };
        while run.frames < frames {
            fill(&mut batches);
            let filled: usize = batches.iter().map(Vec::len).sum();
            if filled == 0 {
                break;
            }
            run.frames += filled as u64;
            run.time += stand.step(&mut batches, fate)?;
        }
        run.time += stand.finish(fate)?;
        measured.push(run);
    }
    Ok(measured)
}

/// Connections that exchange three segments each, a batch of them at a time: from the client, the
/// server and the client again.
struct Turns {
    left: Range<u32>,
    batch: Range<u32>,
    turn: u8,
}

impl Turns {
    fn new(flows: Range<u32>) -> Self {
        Self { batch: flows.start..flows.start, left: flows, turn: 2 }
    }

    /// Puts the next segment of each on its port.
    fn take(&mut self, batches: &mut Batches, mut segment: impl FnMut(u8, u32) -> Bytes) {
        self.turn = (self.turn + 1) % 3;
        if self.turn == 0 {
            let end = self.left.end.min(self.left.start + Engine::BATCH as u32);
            self.batch = self.left.start..end;
            self.left.start = end;
        }
        let port = usize::from(self.turn == 1);
        batches[port].extend(self.batch.clone().map(|flow| segment(self.turn, flow)));
    }
}

/// Data of some of the first `count` connections, chosen at random, each way.
fn talk(flows: &mut Flows, count: u32, batches: &mut Batches) {
    for (end, batch) in [End::Client, End::Server].into_iter().zip(batches) {
        batch.extend((0..Engine::BATCH).map(|_| {
            let flow = flows.any_below(count);
            flows.data(flow, end)
        }));
    }
}

/// Completes the handshake of some connections.
fn connect(stand: &mut Stand, flows: &mut Flows, which: Range<u32>) -> io::Result<()> {
    let frames = 3 * u64::from(which.end - which.start);
    greet(stand, flows, which, (1, frames), Fate::Forwarded)
}

/// The same in some runs of some frames.
fn greet(
    stand: &mut Stand,
    flows: &mut Flows,
    which: Range<u32>,
    (runs, frames): (u32, u64),
    fate: Fate<'_>,
) -> io::Result<()> {
    let mut turns = Turns::new(which);
    measure(stand, runs, frames, fate, |batches| {
        turns.take(batches, |turn, flow| match turn {
            0 => flows.syn(flow),
            1 => flows.syn_ack(flow),
            _ => flows.ack(flow),
        });
    })
    .map(drop)
}

/// A datagram each way of the first `count` flows.
fn converse(stand: &mut Stand, count: u32) -> io::Result<()> {
    for end in [End::Client, End::Server] {
        let mut next = 0..count;
        measure(stand, 1, count.into(), Fate::Forwarded, |batches| {
            let some = next.by_ref().take(Engine::BATCH);
            batches[end as usize].extend(some.map(|flow| datagram(flow, end)));
        })?;
    }
    Ok(())
}

/// Frames of all runs.
fn frames_of(runs: &[Run]) -> u64 {
    runs.iter().map(|run| run.frames).sum()
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

    const FRAMES: u32 = 20_000;

    #[test]
    fn every_frame_of_established_flows_passes() {
        for row in [established, translated, datagrams, fragments] {
            let runs = row(300, 2, FRAMES).unwrap();
            assert_eq!(runs.len(), 2);
            let whole = |run: &Run| run.frames >= FRAMES.into() && run.time > Duration::ZERO;
            assert!(runs.iter().all(whole));
        }
    }

    #[test]
    fn every_new_connection_gets_a_state() {
        let runs = new_states(1).unwrap();
        assert_eq!(runs[0].frames, u64::from(NEW_STATES));
    }

    #[test]
    fn every_client_becomes_a_source_where_they_are_limited() {
        for limited in [false, true] {
            let runs = handshakes(limited, 1).unwrap();
            assert_eq!(frames_of(&runs), 3 * u64::from(NEW_STATES));
        }
    }

    #[test]
    fn every_cookie_is_given_and_redeemed() {
        assert_eq!(cookies(1).unwrap()[0].frames, u64::from(NEW_STATES));
        assert_eq!(proven(1).unwrap()[0].frames, u64::from(NEW_STATES));
    }

    #[test]
    fn every_connection_closes_and_every_state_ends() {
        assert_eq!(closing(1).unwrap()[0].frames, 3 * u64::from(NEW_STATES));
        let stall = expiry(5_000).unwrap();
        assert!(stall.rounds > 10 && stall.longest < stall.all);
    }

    #[test]
    fn states_are_found_and_made_in_a_table_that_is_nearly_full() {
        for percent in [10, 90] {
            assert_eq!(found(10_000, percent, 2, FRAMES).unwrap().len(), 2);
            // Whole batches: 250 connections a run become 256.
            assert_eq!(frames_of(&made(10_000, percent, 2).unwrap()), 512);
        }
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
