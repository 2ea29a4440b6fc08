//! Whether the data plane, `weir run`, is started, waited for, or killed, and with that whether the
//! watchdog is fed. A machine of states without a clock and without processes.
//!
//! It is started again at once when it ends; after a pause only if it ends at once again and again. If it
//! does not answer any more it is killed, which closes the bridge and helps against whatever a new process
//! helps against. The watchdog is for what that does not help against: it goes hungry when this machine of
//! states is not asked any more, since init hangs, or when a killed process does not go, since it hangs in
//! the kernel. Links, missing interfaces, wrong settings and broken rule files are none of these: there the
//! process answers, or ends and is started again, as often as need be.

use std::time::{Duration, Instant};

/// How long it may take to answer for the first time: tables of millions of states, slow NICs.
const START: Duration = Duration::from_secs(120);

/// How long it may be silent then.
pub(crate) const SILENCE: Duration = Duration::from_secs(20);

/// How long it may take to end when it is told to: it sets the interfaces back (8 s at most).
const STOP: Duration = Duration::from_secs(12);

/// How long it may take to go when it is killed.
const DEATH: Duration = Duration::from_secs(10);

/// A process that has lived so long has not ended at once.
const LIFE: Duration = Duration::from_secs(10);

/// The pauses after lives that were short: the first, doubled each time, and the longest.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Start the process.
    Start,
    /// It does not answer: SIGKILL.
    Kill,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not there, and not to be before that moment.
    Away { until: Option<Instant> },
    /// There; `answer` is when it was asked what it has answered, and whether it has ports.
    There { since: Instant, answer: Option<(Instant, bool)> },
    /// There, and told to end.
    Stopping { since: Instant },
    /// There, and killed.
    Killed { since: Instant },
}

/// What is known of the process.
#[derive(Debug)]
pub(crate) struct Plane {
    phase: Phase,
    /// Lives in a row that were short.
    short: u32,
}

impl Plane {
    /// It was never started.
    pub(crate) const fn new() -> Self {
        Self { phase: Phase::Away { until: None }, short: 0 }
    }

    /// What is to be done now, if the process is `wanted`.
    pub(crate) fn step(&mut self, now: Instant, wanted: bool) -> Option<Act> {
        let deadline = match self.phase {
            Phase::Away { until } => {
                return (wanted && until.is_none_or(|until| now >= until)).then_some(Act::Start);
            }
            Phase::There { since, answer: None } => since + START,
            Phase::There { answer: Some((at, _)), .. } => at + SILENCE,
            Phase::Stopping { since } => since + STOP,
            Phase::Killed { .. } => return None,
        };
        (now >= deadline).then(|| {
            self.phase = Phase::Killed { since: now };
            Act::Kill
        })
    }

    /// It was started.
    pub(crate) const fn started(&mut self, now: Instant) {
        self.phase = Phase::There { since: now, answer: None };
    }

    /// It could not even be started: that counts as a short life.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.short += 1;
        self.phase = Phase::Away { until: Some(now + self.pause()) };
    }

    /// It was told to end, to be started again.
    pub(crate) const fn stopping(&mut self, now: Instant) {
        if let Phase::There { .. } = self.phase {
            self.phase = Phase::Stopping { since: now };
        }
    }

    /// It has answered what it was asked at that moment; it has ports, or says why it has none.
    pub(crate) fn answered(&mut self, asked: Instant, has_ports: bool) {
        if let Phase::There { since, answer } = &mut self.phase
            && asked >= *since
        {
            *answer = Some((asked, has_ports));
        }
    }

    /// It has ended.
    pub(crate) fn ended(&mut self, now: Instant) {
        let short = match self.phase {
            Phase::There { since, .. } => now.duration_since(since) < LIFE,
            Phase::Stopping { .. } | Phase::Killed { .. } | Phase::Away { .. } => false,
        };
        self.short = if short { self.short + 1 } else { 0 };
        self.phase = Phase::Away { until: Some(now + self.pause()) };
    }

    fn pause(&self) -> Duration {
        match self.short.checked_sub(1) {
            None => Duration::ZERO,
            Some(doubled) => PAUSE.saturating_mul(1 << doubled.min(10)).min(LONGEST_PAUSE),
        }
    }

    /// How many short lives in a row there were.
    pub(crate) const fn short(&self) -> u32 {
        self.short
    }

    /// Whether the watchdog is fed.
    pub(crate) fn feeds(&self, now: Instant) -> bool {
        match self.phase {
            Phase::Killed { since } => now.duration_since(since) < DEATH,
            _ => true,
        }
    }

    /// Whether it has answered lately, and has ports.
    pub(crate) fn is_healthy(&self, now: Instant) -> bool {
        match self.phase {
            Phase::There { answer: Some((at, has_ports)), .. } => {
                has_ports && now.duration_since(at) < SILENCE
            }
            _ => false,
        }
    }

    /// Whether this life of it has answered.
    pub(crate) const fn has_answered(&self) -> bool {
        matches!(self.phase, Phase::There { answer: Some(_), .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// One that runs, and the moment when it was started.
    fn running() -> (Plane, Instant) {
        let (mut plane, now) = (Plane::new(), Instant::now());
        assert_eq!(plane.step(now, true), Some(Act::Start));
        plane.started(now);
        (plane, now)
    }

    #[test]
    fn it_is_started_when_it_is_wanted() {
        let (mut plane, now) = (Plane::new(), Instant::now());
        assert_eq!(plane.step(now, false), None);
        assert!(plane.feeds(now + 1000 * SECOND), "nothing is meant to run");
        assert_eq!(plane.step(now, true), Some(Act::Start));
    }

    #[test]
    fn one_that_dies_is_there_again_within_a_second() {
        let (mut plane, mut now) = running();
        for _ in 0..5 {
            now += 30 * SECOND;
            plane.answered(now, true);
            plane.ended(now);
            assert_eq!(plane.step(now, true), Some(Act::Start));
            plane.started(now);
        }
        now += SECOND;
        plane.ended(now);
        assert_eq!(plane.step(now + Duration::from_millis(200), true), Some(Act::Start));
    }

    #[test]
    fn one_that_dies_again_and_again_is_started_every_few_seconds_for_ever() {
        let (mut plane, mut now) = running();
        let mut longest = Duration::ZERO;
        for round in 0..200 {
            plane.ended(now);
            let died = now;
            while plane.step(now, true).is_none() {
                assert!(plane.feeds(now), "round {round}");
                now += Duration::from_millis(50);
            }
            longest = longest.max(now - died);
            plane.started(now);
        }
        assert_eq!(longest, LONGEST_PAUSE);
        now += LIFE;
        plane.ended(now);
        assert_eq!((plane.step(now, true), plane.short()), (Some(Act::Start), 0), "forgiven");
    }

    #[test]
    fn one_that_does_not_answer_is_killed_before_the_watchdog_bites() {
        let (mut plane, now) = running();
        plane.answered(now + 5 * SECOND, true);
        let silent = now + 5 * SECOND + SILENCE;
        let before = now + 4 * SECOND + SILENCE;
        assert!(plane.is_healthy(before));
        assert_eq!(plane.step(before, true), None);
        assert!(!plane.is_healthy(silent));
        assert_eq!(plane.step(silent, true), Some(Act::Kill));
        assert_eq!(plane.step(silent + SECOND, true), None, "once");
        assert!(plane.feeds(silent + SECOND));
        plane.ended(silent + SECOND);
        assert_eq!(plane.step(silent + SECOND, true), Some(Act::Start), "at once");
        assert!(plane.feeds(silent + 100 * SECOND));
    }

    #[test]
    fn one_that_cannot_be_killed_starves_the_watchdog() {
        let (mut plane, now) = running();
        let killed = now + START;
        let before = now + START.saturating_sub(SECOND);
        assert_eq!(plane.step(before, true), None, "it may take long to begin");
        assert_eq!(plane.step(killed, true), Some(Act::Kill));
        assert!(plane.feeds(killed + DEATH.saturating_sub(SECOND)));
        assert!(!plane.feeds(killed + DEATH));
    }

    #[test]
    fn one_without_ports_answers_and_is_left_alone() {
        let (mut plane, mut now) = running();
        for _ in 0..100 {
            now += 5 * SECOND;
            plane.answered(now, false);
            assert_eq!(plane.step(now, true), None);
            assert!(plane.feeds(now) && !plane.is_healthy(now));
        }
    }

    #[test]
    fn an_answer_of_the_one_before_counts_for_nothing() {
        let (mut plane, now) = running();
        plane.ended(now + SECOND);
        plane.started(now + 2 * SECOND);
        plane.answered(now + SECOND, true);
        assert!(!plane.has_answered());
    }

    #[test]
    fn one_that_is_told_to_end_and_does_not_is_killed() {
        let (mut plane, now) = running();
        plane.answered(now, true);
        plane.stopping(now);
        assert_eq!(plane.step(now + STOP.saturating_sub(SECOND), true), None);
        assert_eq!(plane.step(now + STOP, true), Some(Act::Kill));
        let (mut plane, now) = running();
        plane.stopping(now + SECOND);
        plane.ended(now + SECOND);
        assert_eq!(plane.step(now + SECOND, true), Some(Act::Start), "nothing was short");
    }
}
