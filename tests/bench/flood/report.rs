//! The tables, in Markdown.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use weir_tests::lab::Io;

use crate::contender::CONTENDERS;
use crate::throughput::{Rates, STREAMS};
use crate::trial::{Phase, Trial};

const LOADS: [&str; 3] = ["none", "70 %", "full"];
/// A fetch that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(1);

/// The value at so many percent of a list, in order: at 50 is the median.
fn quantile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last * percent).div_ceil(100)).copied().unwrap_or(f64::INFINITY)
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(&values.into_iter().collect::<Vec<_>>(), 50)
}

/// Milliseconds; a fetch that has failed takes for ever.
fn milliseconds(visits: &[io::Result<Duration>]) -> Vec<f64> {
    let one = |visit: &io::Result<Duration>| {
        visit.as_ref().map_or(f64::INFINITY, |took| took.as_secs_f64() * 1e3)
    };
    visits.iter().map(one).collect()
}

fn shown(milliseconds: f64) -> String {
    if milliseconds.is_finite() { format!("{milliseconds:.2}") } else { "never".to_owned() }
}

fn thousands(rate: f64) -> String {
    format!("{:.1}", rate / 1e3)
}

/// How visitors fared: rates and times are medians of the rounds, shares and the longest times are of
/// all of them.
pub(crate) fn visits(trials: &[Vec<Trial>]) -> String {
    let mut out =
        "\n| | taken without loss, k SYN/s | load | k SYN/s | pages fetched | within 1 s | \
                   p50, ms | p99 | longest | k frames/s at the server |\n|---|"
            .to_owned()
            + &"---|".repeat(9)
            + "\n";
    for (contender, trials) in CONTENDERS.iter().zip(trials).filter(|(_, t)| !t.is_empty()) {
        let more = if trials.iter().all(|trial| trial.lossless.1) { ">= " } else { "" };
        let lossless = median(trials.iter().map(|trial| trial.lossless.0));
        for (at, load) in LOADS.iter().enumerate() {
            let phases: Vec<&Phase> = trials.iter().map(|trial| &trial.phases[at]).collect();
            let (name, lossless) = if at == 0 {
                (contender.name, format!("{more}{}", thousands(lossless)))
            } else {
                ("", String::new())
            };
            let times: Vec<_> = phases.iter().map(|phase| milliseconds(&phase.visits)).collect();
            let all = times.concat();
            let limit = LIMIT.as_secs_f64() * 1e3;
            let good = all.iter().filter(|&&time| time <= limit).count();
            let of_rounds = |percent| median(times.iter().map(|times| quantile(times, percent)));
            let _ = writeln!(
                out,
                "| {name} | {lossless} | {load} | {} | {} | {:.1} % | {} | {} | {} | {} |",
                thousands(median(phases.iter().map(|phase| phase.flood))),
                all.len(),
                100.0 * good as f64 / all.len() as f64,
                shown(of_rounds(50)),
                shown(of_rounds(99)),
                shown(quantile(&all, 100)),
                thousands(median(phases.iter().map(|phase| phase.at_server))),
            );
        }
    }
    out
}

/// What weir says of itself in the last round, after each phase, while the flood goes on.
pub(crate) fn accounts(trials: &[Vec<Trial>]) -> String {
    let mut out = "\n| | after | memory in use, KiB | asked for | states | half-open | cookies sent | valid | \
                   invalid | expired | resent |\n|---|"
        .to_owned()
        + &"---|".repeat(10)
        + "\n";
    for (contender, trials) in CONTENDERS.iter().zip(trials) {
        let Some(trial) = trials.last() else { continue };
        let accounts = std::iter::once(("start", trial.before))
            .chain(LOADS.into_iter().zip(trial.phases.iter().map(|phase| phase.account)));
        for (load, account) in accounts {
            let Some(account) = account else { continue };
            let name = if load == "start" { contender.name } else { "" };
            let _ = writeln!(
                out,
                "| {name} | {load} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                account.memory[0],
                account.memory[1],
                account.states,
                account.half_open,
                account.sent,
                account.valid,
                account.invalid,
                account.expired,
                account.resent,
            );
        }
    }
    out
}

/// Long transfers; medians of the rounds, and of the ratios of each round.
pub(crate) fn transfers(rates: &[(Io, Vec<Rates>)]) -> String {
    let mut out = "\n| TCP, Gbit/s | streams | keep state | synproxy state | ratio |\n|---|---|---|---|---|\n"
        .to_owned();
    for (io, rounds) in rates.iter().filter(|(_, rounds)| !rounds.is_empty()) {
        for (at, streams) in STREAMS.iter().enumerate() {
            let of = |rule: usize| median(rounds.iter().map(|rates| rates[at][rule]));
            let ratio = median(rounds.iter().map(|rates| rates[at][1] / rates[at][0]));
            let (kept, proxied) = (of(0), of(1));
            let _ =
                writeln!(out, "| weir {io} | {streams} | {kept:.2} | {proxied:.2} | {ratio:.2} |");
        }
    }
    out
}
