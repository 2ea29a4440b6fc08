//! What is done with what servers say: whom to believe, whether the clock is turned or set, and when to
//! ask again. A pure state machine.

use std::time::Duration;

use super::sntp::Sample;

/// The shortest and the longest time between questions (RFC 5905, MINPOLL and MAXPOLL of usual clients).
const SHORTEST: Duration = Duration::from_secs(64);
const LONGEST: Duration = Duration::from_secs(1024);

/// The time after the first failure; it doubles (RFC 4330, 10: never less than 15 seconds).
const RETRY: Duration = Duration::from_secs(16);

/// From so much on the clock is set, and not turned (RFC 5905, STEPT).
const STEP: i128 = 128_000_000;

/// From so much on a clock that was right has to be told twice (RFC 5905, PANICT).
const PANIC: i128 = 1_000_000_000_000;

/// How far two such tellings may differ.
const ALIKE: i128 = 2_000_000_000;

/// Of smaller differences the next question can wait longer.
const STEADY: i128 = 20_000_000;

/// Clocks show these years, in nanoseconds since 1970: 2020 to 2099.
const YEARS: std::ops::Range<i128> = 1_577_836_800_000_000_000..4_102_444_800_000_000_000;

/// What is done to the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Nothing.
    Leave,
    /// Set: so many nanoseconds are added.
    Step(i128),
    /// Turned slowly.
    Slew(i128),
}

/// The state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeper {
    poll: Duration,
    /// Failures in a row.
    failures: u32,
    /// A server has told the time before.
    right: bool,
    /// What nobody would believe who was told once.
    doubt: Option<i128>,
}

impl Keeper {
    pub(super) const fn new() -> Self {
        Self { poll: SHORTEST, failures: 0, right: false, doubt: None }
    }

    /// A round is over, at so many nanoseconds since 1970 of our clock. What is to be done, and how long
    /// to wait, of which an eighth more or less is up to chance.
    pub(super) fn round(
        &mut self,
        samples: &[Sample],
        too_often: bool,
        now: i128,
    ) -> (Act, Duration) {
        if too_often {
            self.poll = (self.poll * 2).min(LONGEST);
        }
        let Some(sample) = choose(samples) else {
            self.doubt = None;
            let wait = RETRY.saturating_mul(1 << self.failures.min(6));
            self.failures = self.failures.saturating_add(1);
            return (Act::Leave, if too_often { wait.max(self.poll) } else { wait });
        };
        self.failures = 0;
        let offset = sample.offset;
        if !YEARS.contains(&(now + offset)) {
            return (Act::Leave, self.poll);
        }
        let far = offset.abs();
        if self.right && far >= PANIC {
            let told = self.doubt.replace(offset);
            if told.is_none_or(|told| (told - offset).abs() > ALIKE) {
                return (Act::Leave, SHORTEST);
            }
        }
        (self.doubt, self.right) = (None, true);
        if far >= STEP {
            self.poll = SHORTEST;
            return (Act::Step(offset), self.poll);
        }
        self.poll = if far < STEADY { (self.poll * 2).min(LONGEST) } else { SHORTEST };
        (Act::Slew(offset), self.poll)
    }
}

/// The one in the middle, whom half of the others contradict on either side: of three servers one may
/// lie. Of two in the middle the nearer one.
pub(super) fn choose(samples: &[Sample]) -> Option<Sample> {
    let mut sorted = samples.to_vec();
    sorted.sort_by_key(|sample| sample.offset);
    let last = sorted.len().checked_sub(1)?;
    let middle = &sorted[last / 2..=last.div_ceil(2)];
    middle.iter().min_by_key(|sample| sample.distance).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i128 = 1_000_000_000;
    const NOW: i128 = 1_795_435_200 * SECOND;

    fn sample(offset: i128, distance: u64) -> Sample {
        Sample { offset, distance: Duration::from_millis(distance), stratum: 2 }
    }

    #[test]
    fn one_liar_of_three_is_not_believed() {
        let three = [sample(SECOND, 9), sample(-1_000_000 * SECOND, 1), sample(2 * SECOND, 5)];
        assert_eq!(choose(&three), Some(three[0]));
        assert_eq!(choose(&[sample(5, 9), sample(7, 3)]), Some(sample(7, 3)), "the nearer");
        assert_eq!(choose(&[]), None);
    }

    #[test]
    fn far_off_is_set_and_near_is_turned_and_asked_about_less_and_less() {
        let mut keeper = Keeper::new();
        // A machine without a battery.
        let day = 20_000 * 86_400 * SECOND;
        assert_eq!(keeper.round(&[sample(day, 9)], false, NOW - day), (Act::Step(day), SHORTEST));
        let mut waits = Vec::new();
        for _ in 0..6 {
            let (act, wait) = keeper.round(&[sample(-1_000_000, 9)], false, NOW);
            assert_eq!(act, Act::Slew(-1_000_000));
            waits.push(wait.as_secs());
        }
        assert_eq!(waits, [128, 256, 512, 1024, 1024, 1024]);
        assert_eq!(keeper.round(&[sample(STEADY, 9)], false, NOW), (Act::Slew(STEADY), SHORTEST));
        assert_eq!(keeper.round(&[sample(-STEP, 9)], false, NOW), (Act::Step(-STEP), SHORTEST));
    }

    #[test]
    fn a_clock_that_was_right_is_thrown_only_by_who_says_it_twice() {
        let mut keeper = Keeper::new();
        assert_eq!(keeper.round(&[sample(0, 9)], false, NOW).0, Act::Slew(0));
        assert_eq!(keeper.round(&[sample(PANIC, 9)], false, NOW), (Act::Leave, SHORTEST));
        assert_eq!(keeper.round(&[sample(-PANIC, 9)], false, NOW).0, Act::Leave, "another");
        assert_eq!(keeper.round(&[sample(-PANIC, 9)], false, NOW).0, Act::Step(-PANIC));
    }

    #[test]
    fn no_server_makes_it_another_century() {
        let mut keeper = Keeper::new();
        for offset in [-100, 100] {
            let far = offset * 365 * 86_400 * SECOND;
            assert_eq!(keeper.round(&[sample(far, 9)], false, NOW).0, Act::Leave);
        }
    }

    #[test]
    fn who_does_not_answer_is_asked_less_and_less_often() {
        let mut keeper = Keeper::new();
        let mut waits = || keeper.round(&[], false, NOW).1.as_secs();
        let waits: Vec<_> = std::iter::repeat_with(&mut waits).take(8).collect();
        assert_eq!(waits, [16, 32, 64, 128, 256, 512, 1024, 1024]);
        let mut keeper = Keeper::new();
        assert_eq!(keeper.round(&[], true, NOW).1.as_secs(), 128, "told to wait");
        assert_eq!(keeper.round(&[], true, NOW).1.as_secs(), 256);
    }
}
