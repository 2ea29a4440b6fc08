//! Says in weir's own log that the state table is full: once when it begins, then at most every ten
//! seconds while it lasts, with what it has cost since.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;
use weir_engine::Shared;

use crate::log::events;

/// How often the counters are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Time between two lines.
const PAUSE: Duration = Duration::from_secs(10);

/// What has been told.
struct Told {
    evicted: u64,
    refused: u64,
    at: Option<Instant>,
}

impl Told {
    /// The line that is due, if one is.
    fn line(
        &mut self,
        (evicted, refused): (u64, u64),
        states: u32,
        now: Instant,
    ) -> Option<String> {
        let new = (evicted - self.evicted, refused - self.refused);
        if new == (0, 0) || self.at.is_some_and(|at| now.duration_since(at) < PAUSE) {
            return None;
        }
        *self = Self { evicted, refused, at: Some(now) };
        Some(format!(
            "THE STATE TABLE IS FULL ({states} states): {} half-open states made room for new ones, \
             {} new connections were refused; see `set limit states`",
            new.0, new.1
        ))
    }
}

/// Starts the thread that watches.
///
/// # Errors
/// When there can be no more threads.
pub(crate) fn start(shared: Arc<Shared>) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("weir-crowding".into())
        .spawn(move || {
            let mut told = Told { evicted: 0, refused: 0, at: None };
            loop {
                std::thread::sleep(LOOK);
                let line = told.line(shared.crowded_out(), shared.states(), Instant::now());
                if let Some(line) = line {
                    warn!(target: events::STATES_FULL, "{line}");
                }
            }
        })
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_at_once_then_every_ten_seconds_and_nothing_twice() {
        let mut told = Told { evicted: 0, refused: 0, at: None };
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(told.line((0, 0), 5, begin), None);
        let first = told.line((7, 0), 100, after(1)).expect("the table is full");
        assert!(first.contains("(100 states): 7 half-open"), "{first}");
        assert_eq!(told.line((9, 3), 100, after(2)), None);
        let second = told.line((9, 3), 100, after(11)).expect("it still is");
        assert!(second.contains("2 half-open") && second.contains("3 new"), "{second}");
        assert_eq!(told.line((9, 3), 100, after(60)), None);
    }
}
