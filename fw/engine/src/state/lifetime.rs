//! How long a state lives without a packet: the time-outs of the rule set, those of single rules in
//! their place, and both shortened while there are many states (pf.conf(5), `adaptive.start`).

use std::sync::atomic::{AtomicU32, Ordering};

use weir_config::options::Timeout;
use weir_config::rules::StateOptions;

use super::wheel::TICKS_PER_SECOND;

/// By how much time-outs are shortened, in units of 2^-32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pace(u64);

impl Pace {
    /// Not at all.
    pub(crate) const FULL: Self = Self(1 << 32);

    /// As pf does: linearly from `start` states on, to nothing at `end`. Never, if the two are no
    /// range.
    pub(crate) const fn of(states: u32, start: u32, end: u32) -> Self {
        if states <= start || start >= end {
            return Self::FULL;
        }
        // Rounded up, so that a round share of a round time-out is what one expects.
        Self(((end.saturating_sub(states) as u64) << 32).div_ceil((end - start) as u64))
    }

    /// What is left of a time-out.
    pub(crate) const fn scale(self, ticks: u32) -> u32 {
        ((ticks as u64 * self.0) >> 32) as u32
    }

    /// The same in percent, `None` if nothing is shortened.
    pub(crate) fn percent(self) -> Option<u32> {
        (self < Self::FULL).then_some(self.scale(100))
    }
}

/// A time-out in ticks of the wheel; the adaptive pair stays a number of states.
pub(crate) const fn ticks(timeout: Timeout, value: u32) -> u32 {
    if timeout.counts_states() { value } else { value.saturating_mul(TICKS_PER_SECOND) }
}

/// The time-outs that a rule has for its states, and how many these are: shared by all workers, and
/// kept by the rule's record for as long as one of its states lives.
#[derive(Debug)]
pub(crate) struct Lifetimes {
    /// By the number of the [`Timeout`]; [`UNSET`] where that of the rule set holds.
    ticks: [u32; Timeout::ALL.len()],
    /// `adaptive.start` and `adaptive.end`, if the rule has them.
    adaptive: Option<(u32, u32)>,
    states: AtomicU32,
}

const UNSET: u32 = u32::MAX;

impl Lifetimes {
    /// Those of a rule that has some.
    pub(crate) fn of(options: &StateOptions) -> Option<Self> {
        let mut ticks_of = [UNSET; Timeout::ALL.len()];
        // How long a source is remembered is no matter of its states.
        let own = options.timeouts.iter().filter(|(timeout, _)| *timeout != Timeout::SrcTrack);
        let mut count = 0;
        for &(timeout, value) in own {
            ticks_of[timeout as usize] = ticks(timeout, value);
            count += 1;
        }
        let set = |timeout: Timeout| {
            let value = ticks_of[timeout as usize];
            if value == UNSET { 0 } else { value }
        };
        // As in pf, a start of 0 leaves the rule to the pair of the rule set.
        let pair = (set(Timeout::AdaptiveStart), set(Timeout::AdaptiveEnd));
        let adaptive = (pair.0 != 0).then_some(pair);
        (count > 0).then_some(Self { ticks: ticks_of, adaptive, states: AtomicU32::new(0) })
    }

    /// A time-out by its number, in ticks, if the rule has its own.
    pub(crate) const fn ticks(&self, timeout: u8) -> Option<u32> {
        let ticks = self.ticks[timeout as usize];
        if ticks == UNSET { None } else { Some(ticks) }
    }

    /// By how much its states shorten their time-outs, if the rule says so for itself.
    pub(crate) fn pace(&self) -> Option<Pace> {
        let (start, end) = self.adaptive?;
        Some(Pace::of(self.states.load(Ordering::Relaxed), start, end))
    }

    /// Counts a new state. Whether the others live shorter by it.
    pub(crate) fn begin(&self) -> bool {
        self.states.fetch_add(1, Ordering::Relaxed);
        self.pace().is_some_and(|pace| pace < Pace::FULL)
    }

    /// Counts a state that has ended.
    pub(crate) fn end(&self) {
        self.states.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_linearly_between_the_two_as_pf_does() {
        let left = |states| Pace::of(states, 60, 120).scale(8000);
        assert_eq!([left(0), left(60), left(90), left(120), left(500)], [8000, 8000, 4000, 0, 0]);
        for states in 61..120 {
            assert_eq!(left(states), 8000 * (120 - states) / 60);
        }
        assert_eq!(Pace::of(97, 60, 120).percent(), Some(38));
        assert_eq!(Pace::of(60, 60, 120).percent(), None);
        // No range: off.
        assert_eq!(Pace::of(5, 0, 0), Pace::FULL);
        assert_eq!(Pace::of(500, 120, 60), Pace::FULL);
        assert_eq!(Pace::FULL.scale(u32::MAX), u32::MAX);
    }
}
