//! What the bench prints.

use std::fmt;
use std::time::Duration;

use crate::log::grouped;

/// One run: so many frames in so much time of the worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) frames: u64,
    pub(super) time: Duration,
}

impl Run {
    /// Nanoseconds a frame.
    #[expect(clippy::cast_precision_loss, reason = "both are far below 2^53")]
    fn cost(self) -> f64 {
        self.time.as_nanos() as f64 / self.frames.max(1) as f64
    }
}

/// The runs of one measurement, printed as a line of the table: the median in millions a second,
/// the slowest and the fastest, and the median's nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Line {
    name: String,
    /// Nanoseconds a frame, ascending.
    costs: Vec<f64>,
}

impl Line {
    /// `runs` must not be empty.
    pub(super) fn new(name: String, runs: &[Run]) -> Self {
        let mut costs: Vec<f64> = runs.iter().map(|run| run.cost()).collect();
        costs.sort_by(f64::total_cmp);
        Self { name, costs }
    }

    fn median(&self) -> f64 {
        let middle = self.costs.len() / 2;
        if self.costs.len() % 2 == 1 {
            self.costs[middle]
        } else {
            f64::midpoint(self.costs[middle - 1], self.costs[middle])
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |cost: f64| 1e3 / cost;
        let (fastest, slowest) = (self.costs[0], self.costs[self.costs.len() - 1]);
        write!(
            f,
            "{:<38} {:>7.2} M/s ({:.2} to {:.2}) {:>8.1} ns each",
            self.name,
            rate(self.median()),
            rate(slowest),
            rate(fastest),
            self.median()
        )
    }
}

/// How states ended that all had the same time to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stall {
    pub(super) states: u32,
    /// Rounds that it took.
    pub(super) rounds: u32,
    /// The longest of them.
    pub(super) longest: Duration,
    /// All of them.
    pub(super) all: Duration,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("expiry of {} states", grouped(self.states));
        write!(
            f,
            "{name:<38} {} rounds, the longest {} us, {:.1} ns each",
            self.rounds,
            self.longest.as_micros(),
            Run { frames: self.states.into(), time: self.all }.cost()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_shows_the_longest_round() {
        let (longest, all) = (Duration::from_micros(25), Duration::from_micros(100));
        let text = Stall { states: 1_000, rounds: 9, longest, all }.to_string();
        assert!(text.starts_with("expiry of 1,000 states "), "{text}");
        assert!(text.ends_with(" 9 rounds, the longest 25 us, 100.0 ns each"), "{text}");
    }

    #[test]
    fn a_line_shows_the_median_and_the_spread() {
        let run = |nanos| Run { frames: 1_000_000, time: Duration::from_millis(nanos) };
        let line = Line::new("x".into(), &[run(100), run(50), run(200)]);
        let text = line.to_string();
        assert!(text.ends_with("10.00 M/s (5.00 to 20.00)    100.0 ns each"), "{text}");
        let line = Line::new("x".into(), &[run(100), run(50)]);
        assert!(line.to_string().ends_with(" 75.0 ns each"), "{line}");
    }
}
