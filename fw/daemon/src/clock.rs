//! The engine's clock and the wall's.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_engine::time::Instant;

/// Counts from the moment it was made. The wall's clock is compared with it, so that a point in time of
/// the engine can be printed as a date.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    hand: Hand,
}

/// What moves a clock. What it points to lives as long as the process, which has one clock.
#[derive(Clone, Copy, Debug)]
enum Hand {
    /// Time itself, since then.
    Machine(std::time::Instant, &'static Wall),
    /// Somebody who plays back what has been, from so long after 1970 on.
    Replay(&'static AtomicU64, Duration),
}

/// What the wall's clock said when the engine's began, as far as is known now: it may have been set
/// since, by hand or by NTP when the network was there at last.
#[derive(Debug, Default)]
struct Wall {
    /// Nanoseconds since 1970.
    base: AtomicU64,
    /// When it was looked at, in nanoseconds of the engine's clock.
    looked: AtomicU64,
}

impl Wall {
    /// How often it is looked at.
    const LOOK: u64 = 1_000_000_000;
    /// Smaller differences, in nanoseconds, come of reading two clocks one after the other: points in
    /// time must not change places for these.
    const STEP: u64 = 10_000_000;

    /// What it said at 0 of the engine's clock, which is at `now`; `read` reads it.
    fn base(&self, now: u64, read: impl FnOnce() -> Duration) -> u64 {
        let (known, looked) =
            (self.base.load(Ordering::Relaxed), self.looked.load(Ordering::Relaxed));
        if now.saturating_sub(looked) < Self::LOOK {
            return known;
        }
        self.looked.store(now, Ordering::Relaxed);
        let base = (read().as_nanos() as u64).saturating_sub(now);
        if base.abs_diff(known) < Self::STEP {
            return known;
        }
        self.base.store(base, Ordering::Relaxed);
        base
    }
}

/// A clock before 1970 prints dates from 1970 on.
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Clock {
    /// A clock whose base is now.
    pub fn start() -> Self {
        let base = AtomicU64::new(wall().as_nanos() as u64);
        let wall = Box::leak(Box::new(Wall { base, ..Wall::default() }));
        Self { hand: Hand::Machine(std::time::Instant::now(), wall) }
    }

    /// A clock that stands still until [`Clock::set`]; `wall` is its base, since 1970.
    pub fn standing(wall: Duration) -> Self {
        Self { hand: Hand::Replay(Box::leak(Box::default()), wall) }
    }

    /// Moves a clock that was made by [`Clock::standing`]; others go on as they do.
    pub fn set(&self, now: Instant) {
        if let Hand::Replay(hand, _) = self.hand {
            hand.store(now.0, Ordering::Relaxed);
        }
    }

    /// Time since the base.
    pub fn now(&self) -> Instant {
        match self.hand {
            Hand::Machine(base, _) => Instant(base.elapsed().as_nanos() as u64),
            Hand::Replay(hand, _) => Instant(hand.load(Ordering::Relaxed)),
        }
    }

    /// A point in time in nanoseconds since 1970, by what the wall's clock says now.
    pub fn since_epoch(&self, at: Instant) -> u64 {
        let base = match self.hand {
            Hand::Machine(_, kept) => kept.base(self.now().0, wall),
            Hand::Replay(_, wall) => wall.as_nanos() as u64,
        };
        base.saturating_add(at.0)
    }

    /// The date of a point in time, as [`Clock::since_epoch`] has it.
    pub fn date(&self, at: Instant) -> Date {
        Date(Duration::from_nanos(self.since_epoch(at)))
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

    use super::{Clock, Date, Wall};

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
    fn a_wall_clock_that_is_set_moves_dates_within_a_second() {
        let (second, wall) = (1_000_000_000, Wall::default());
        let at = |seconds, nanos| move || Duration::new(seconds, nanos);
        // It was read 900 us later than the other: no step.
        assert_eq!(wall.base(second, at(1, 900_000)), 0);
        assert_eq!(wall.base(second + 5, || panic!("it was read just now")), 0);
        // NTP sets it forward by an hour, and by hand it is set back to before the beginning.
        assert_eq!(wall.base(2 * second, at(3602, 0)), 3600 * second);
        assert_eq!(wall.base(2 * second + 1, || panic!("it was read just now")), 3600 * second);
        assert_eq!(wall.base(9 * second, at(3, 0)), 0);
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
