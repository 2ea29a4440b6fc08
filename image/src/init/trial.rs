//! The trial of a slot that an upgrade has written: kept when the box has been well for a while, else
//! left by a reboot, since the boot loader tries a slot only once.

use std::time::{Duration, Instant};

/// How long the box has to be well, without a break.
const WELL: Duration = Duration::from_secs(60);

/// When it has to have been.
const LONGEST: Duration = Duration::from_secs(300);

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The slot is good.
    Keep,
    /// It is not: reboot.
    Leave,
}

/// A trial that is under way.
#[derive(Debug)]
pub(crate) struct Trial {
    begun: Instant,
    well_since: Option<Instant>,
}

impl Trial {
    /// Begins.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { begun: now, well_since: None }
    }

    /// What comes of it, told how the box is now.
    pub(crate) fn judge(&mut self, now: Instant, well: bool) -> Option<Verdict> {
        self.well_since = if well { Some(self.well_since.unwrap_or(now)) } else { None };
        if self.well_since.is_some_and(|since| now.duration_since(since) >= WELL) {
            return Some(Verdict::Keep);
        }
        (now.duration_since(self.begun) >= LONGEST).then_some(Verdict::Leave)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second and verdict of a trial in which the box is as `well` says.
    fn outcome(well: impl Fn(u64) -> bool) -> (u64, Verdict) {
        let begun = Instant::now();
        let mut trial = Trial::new(begun);
        (0..)
            .find_map(|second| {
                let verdict = trial.judge(begun + Duration::from_secs(second), well(second))?;
                Some((second, verdict))
            })
            .expect("it ends")
    }

    #[test]
    fn a_minute_of_health_without_a_break_keeps_the_slot() {
        assert_eq!(outcome(|second| second >= 7), (67, Verdict::Keep));
        assert_eq!(outcome(|second| second != 30), (91, Verdict::Keep));
    }

    #[test]
    fn five_minutes_without_one_leave_it() {
        assert_eq!(outcome(|_| false), (300, Verdict::Leave));
        assert_eq!(outcome(|second| second % 59 != 0), (300, Verdict::Leave));
        assert_eq!(outcome(|second| second >= 260), (300, Verdict::Leave));
    }
}
