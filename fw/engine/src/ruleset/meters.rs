//! What rules remember across packets and workers: whether a `once` rule has matched, and how fast
//! packets come to a `max-pkt-rate` rule, or connections from a source. Shared by all workers, without locks; a rule that is the
//! same after a reload keeps its meter.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use weir_config::rules::Rate;

use crate::time::Instant;

/// The memory of one rule.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    spent: AtomicBool,
    /// Milliseconds of the last packet in the upper half, packets in the lower, see [`UNIT`].
    rate: AtomicU64,
}

/// Parts of a packet in which [`Meter::rate`] counts, so that the decay loses little.
const UNIT: u64 = 256;

impl Meter {
    /// Whether a `once` rule may still match.
    pub(crate) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    /// A `once` rule matches: `true` for the first packet of all workers.
    pub(crate) fn spend(&self) -> bool {
        !self.is_spent() && !self.spent.swap(true, Ordering::Relaxed)
    }

    /// Counts a packet; `true` if the rate, with this packet, is within the limit. What was counted
    /// fades linearly over the time of the limit (`pf_add_threshold` of pf).
    pub(crate) fn admit(&self, limit: Rate, now: Instant) -> bool {
        let mut within = true;
        let counted = |old| {
            let (count, time) = faded(old, limit, now);
            let count = (count + UNIT).min(u64::from(u32::MAX));
            within = count <= u64::from(limit.count) * UNIT;
            Some(time << 32 | count)
        };
        // Cannot fail: the closure never returns `None`.
        let _ = self.rate.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted);
        within
    }

    /// What counts now, in tenths of a packet.
    pub(crate) fn tenths(&self, limit: Rate, now: Instant) -> u64 {
        faded(self.rate.load(Ordering::Relaxed), limit, now).0 * 10 / UNIT
    }

    /// Whether one packet more would be within the limit.
    pub(crate) fn would_admit(&self, limit: Rate, now: Instant) -> bool {
        let (count, _) = faded(self.rate.load(Ordering::Relaxed), limit, now);
        count + UNIT <= u64::from(limit.count) * UNIT
    }
}

/// What is left of a count now, and now in milliseconds.
fn faded(rate: u64, limit: Rate, now: Instant) -> (u64, u64) {
    let time = (now.0 / 1_000_000) & u64::from(u32::MAX);
    let (last, count) = (rate >> 32, rate & u64::from(u32::MAX));
    // Workers' clocks may differ by a round.
    let passed = (time as u32).wrapping_sub(last as u32);
    let passed = if passed.cast_signed() < 0 { 0 } else { u64::from(passed) };
    let period = u64::from(limit.seconds.max(1)) * 1000;
    (if passed >= period { 0 } else { count - count * passed / period }, time)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_once_rule_is_spent_once() {
        let meter = Meter::default();
        assert!(!meter.is_spent() && meter.spend() && meter.is_spent() && !meter.spend());
    }

    #[test]
    fn a_rate_admits_its_count_and_fades() {
        let limit = Rate { count: 10, seconds: 5 };
        let (meter, start) = (Meter::default(), Instant(1 << 40));
        assert_eq!((0..20).filter(|_| meter.admit(limit, start)).count(), 10);
        assert!(!meter.would_admit(limit, start));
        // Twenty came: half the time takes ten of them away, which leaves room for none.
        assert!(!meter.admit(limit, start.after(Duration::from_millis(2500))));
        assert!(meter.admit(limit, start.after(Duration::from_secs(6))));
        assert!(meter.would_admit(limit, start.after(Duration::from_secs(60))));
    }
}
