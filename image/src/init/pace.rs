//! When what has ended is started again: at once after a life that was not short, and less and less often
//! after short ones.

use std::time::{Duration, Instant};

/// A life that was shorter was short.
const LIFE: Duration = Duration::from_secs(2);

/// The pause after a short life: the first, doubled each time, and the longest.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The lives of one program.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    /// Short lives in a row.
    short: u32,
    until: Option<Instant>,
}

impl Pace {
    /// It was never started.
    pub(super) const fn new(now: Instant) -> Self {
        Self { since: now, short: 0, until: None }
    }

    /// Whether it may be started.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// It is started.
    pub(super) const fn started(&mut self, now: Instant) {
        self.since = now;
    }

    /// It has ended, or could not be started.
    pub(super) fn ended(&mut self, now: Instant) {
        self.short = if now.duration_since(self.since) < LIFE { self.short + 1 } else { 0 };
        let pause = match self.short.checked_sub(1) {
            None => Duration::ZERO,
            Some(doubled) => PAUSE.saturating_mul(1 << doubled.min(10)).min(LONGEST_PAUSE),
        };
        self.until = Some(now + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_at_once_is_started_less_and_less_often() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            assert!(pace.is_over(now));
            pace.started(now);
            pace.ended(now);
            pauses.push(pace.until.expect("a pause") - now);
            now = pace.until.expect("a pause");
        }
        assert_eq!((pauses[0], pauses[1]), (PAUSE, PAUSE * 2));
        assert_eq!(pauses.last(), Some(&LONGEST_PAUSE));
        pace.started(now);
        pace.ended(now + LIFE);
        assert!(pace.is_over(now + LIFE), "at once");
    }
}
