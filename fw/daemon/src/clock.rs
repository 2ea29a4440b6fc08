//! The engine's clock and the wall's.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_engine::time::Instant;

/// Counts from the moment it was made. Both clocks are read together then, so that a point in time
/// of the engine can be printed as a date.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    hand: Hand,
    wall: Duration,
}

/// What moves a clock.
#[derive(Clone, Copy, Debug)]
enum Hand {
    /// Time itself, since then.
    Machine(std::time::Instant),
    /// Somebody who plays back what has been. It lives as long as the process: a replay has one.
    Replay(&'static AtomicU64),
}

impl Clock {
    /// A clock whose base is now.
    pub fn start() -> Self {
        Self {
            hand: Hand::Machine(std::time::Instant::now()),
            // A clock before 1970 prints dates from 1970 on.
            wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }

    /// A clock that stands still until [`Clock::set`]; `wall` is its base, since 1970.
    pub fn standing(wall: Duration) -> Self {
        Self { hand: Hand::Replay(Box::leak(Box::default())), wall }
    }

    /// Moves a clock that was made by [`Clock::standing`]; others go on as they do.
    pub fn set(&self, now: Instant) {
        if let Hand::Replay(hand) = self.hand {
            hand.store(now.0, Ordering::Relaxed);
        }
    }

    /// Time since the base.
    pub fn now(&self) -> Instant {
        match self.hand {
            Hand::Machine(base) => Instant(base.elapsed().as_nanos() as u64),
            Hand::Replay(hand) => Instant(hand.load(Ordering::Relaxed)),
        }
    }

    /// A point in time in nanoseconds since 1970.
    pub const fn since_epoch(&self, at: Instant) -> u64 {
        (self.wall.as_nanos() as u64).saturating_add(at.0)
    }

    /// The date of a point in time.
    pub const fn date(&self, at: Instant) -> Date {
        Date(self.wall.saturating_add(Duration::from_nanos(at.0)))
    }
}

/// A date, printed as RFC 3339 does, in UTC, with microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Date(Duration);

impl Date {
    /// So long after 1970-01-01 00:00 UTC.
    pub const fn since_epoch(time: Duration) -> Self {
        Self(time)
    }

    /// The date without parts of a second.
    pub fn to_seconds(self) -> String {
        let mut text = self.to_string();
        text.truncate(text.len() - ".000000Z".len());
        text.push('Z');
        text
    }
}

/// `Feb 29 23:59:59`, as RFC 3164 has it.
struct Bsd(Date);

impl fmt::Display for Bsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let (_, month, day) = self.0.civil();
        let seconds = self.0.0.as_secs();
        let (hour, minute) = (seconds / 3600 % 24, seconds / 60 % 60);
        let month = MONTHS[month as usize - 1];
        write!(f, "{month} {day:2} {hour:02}:{minute:02}:{:02}", seconds % 60)
    }
}

impl Date {
    /// As RFC 3164 writes dates: without the year, in UTC.
    pub fn bsd(self) -> impl fmt::Display {
        Bsd(self)
    }

    /// Year, month (1 to 12) and day.
    const fn civil(self) -> (u64, u64, u64) {
        let days = self.0.as_secs() / 86_400;
        // Days to date as in H. Hinnant, "chrono-Compatible Low-Level Date Algorithms",
        // civil_from_days: years begin in March, so that the leap day is the last.
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let (month, year) = if month < 10 {
            (month + 3, era * 400 + year_of_era)
        } else {
            (month - 9, era * 400 + year_of_era + 1)
        };
        (year, month, day)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        let seconds = self.0.as_secs() % 86_400;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            self.0.subsec_micros()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_engine::Instant;

    use super::{Clock, Date};

    #[test]
    fn a_standing_clock_is_moved_by_hand() {
        let clock = Clock::standing(Duration::from_secs(951_782_400));
        assert_eq!(clock.now(), Instant(0));
        clock.set(Instant(1_500_000_000));
        assert_eq!(clock.now(), Instant(1_500_000_000));
        assert_eq!(clock.since_epoch(clock.now()), 951_782_401_500_000_000);
        assert_eq!(clock.date(clock.now()).to_string(), "2000-02-29T00:00:01.500000Z");
    }

    #[test]
    fn dates_are_right() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (951_868_799, "2000-02-29T23:59:59.000000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000Z"),
            (4_102_444_800, "2100-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(Date(Duration::from_secs(seconds)).to_string(), text);
        }
    }
}
