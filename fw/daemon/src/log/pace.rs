//! How many lines a second the packet log may have: of one rule, and of all together; and how many
//! messages of one name weir may tell of itself. What is held back is counted, and told in one line when
//! the second is over.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use weir_engine::{LogRecord, Reason};

/// Lines a second at most, of all rules together.
pub(super) const RATE: u64 = 2000;

/// Messages of weir's own that have the same name, a second at most.
const EVENTS: u32 = 100;

/// Rules that are told apart at a time; the others share one rate.
const RULES: usize = 1024;

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// What one line stands for: packets that the same rule treats alike.
type Kind = (u32, u32, u8, Option<Reason>);

/// Lines of one kind.
#[derive(Debug)]
struct Lines {
    second: Instant,
    written: u32,
    held_back: u64,
    /// The last that was held back.
    last: Option<Box<LogRecord>>,
}

/// Packets of one kind that were held back.
#[derive(Debug)]
pub(super) struct More {
    /// How many.
    pub(super) count: u64,
    /// The last of them; `None` if they are of many rules.
    pub(super) last: Option<Box<LogRecord>>,
}

/// Holds each rule to its rate.
#[derive(Debug)]
pub(super) struct RulePace {
    rate: Option<u32>,
    kinds: HashMap<Option<Kind>, Lines>,
    looked: Instant,
}

impl RulePace {
    /// So many lines a second for each kind; `None`: no bound.
    pub(super) fn new(rate: Option<u32>, now: Instant) -> Self {
        Self { rate, kinds: HashMap::new(), looked: now }
    }

    /// Whether a record may have a line.
    pub(super) fn admits(&mut self, record: &LogRecord, now: Instant) -> bool {
        let Some(rate) = self.rate else { return true };
        let kind = Some((record.epoch, record.rule, record.action as u8, record.reason));
        let known = self.kinds.len() < RULES || self.kinds.contains_key(&kind);
        let kind = kind.filter(|_| known);
        let lines = self.kinds.entry(kind).or_insert_with(|| Lines {
            second: now,
            written: 0,
            held_back: 0,
            last: None,
        });
        // What was held back in the second before is told first.
        if lines.held_back == 0 && now.duration_since(lines.second) >= SECOND {
            (lines.second, lines.written) = (now, 0);
        }
        if lines.written < rate {
            lines.written += 1;
            return true;
        }
        lines.held_back += 1;
        lines.last = kind.map(|_| Box::new(*record));
        false
    }

    /// What was held back in seconds that are over.
    pub(super) fn take(&mut self, now: Instant) -> Vec<More> {
        let mut more = Vec::new();
        if now.duration_since(self.looked) < SECOND / 4 {
            return more;
        }
        self.looked = now;
        self.kinds.retain(|_, lines| {
            if now.duration_since(lines.second) < SECOND {
                return true;
            }
            let count = std::mem::take(&mut lines.held_back);
            if count > 0 {
                more.push(More { count, last: lines.last.take() });
                (lines.second, lines.written) = (now, 0);
            }
            count > 0
        });
        more
    }
}

/// Holds weir's own messages of each name to [`EVENTS`] a second. There are as many names as
/// [`events::ALL`](super::events::ALL) has.
#[derive(Debug, Default)]
pub(super) struct EventPace {
    names: HashMap<&'static str, Said>,
}

/// Messages of one name in one second.
#[derive(Debug)]
struct Said {
    second: Instant,
    told: u32,
    held_back: u64,
}

impl EventPace {
    /// Whether a message of that name may be told.
    pub(super) fn admits(&mut self, name: &'static str, now: Instant) -> bool {
        let said =
            self.names.entry(name).or_insert_with(|| Said { second: now, told: 0, held_back: 0 });
        // What was held back in the second before is told first.
        if said.held_back == 0 && now.duration_since(said.second) >= SECOND {
            (said.second, said.told) = (now, 0);
        }
        let admitted = said.told < EVENTS;
        if admitted {
            said.told += 1;
        } else {
            said.held_back += 1;
        }
        admitted
    }

    /// What was held back in seconds that are over.
    pub(super) fn take(&mut self, now: Instant) -> Vec<(&'static str, u64)> {
        let is_over = |said: &Said| said.held_back > 0 && now.duration_since(said.second) >= SECOND;
        let over = self.names.iter_mut().filter(|(_, said)| is_over(said));
        over.map(|(name, said)| {
            (said.second, said.told) = (now, 0);
            (*name, std::mem::take(&mut said.held_back))
        })
        .collect()
    }
}

/// Holds all rules together to [`RATE`] lines in each second.
#[derive(Debug)]
pub(super) struct Pace {
    second: Instant,
    lines: u64,
    held_back: u64,
    reported: Option<Instant>,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self { second: now, lines: 0, held_back: 0, reported: None }
    }

    pub(super) fn admits(&mut self, now: Instant) -> bool {
        if now.duration_since(self.second) >= SECOND {
            self.second = now;
            self.lines = 0;
        }
        let admitted = self.lines < RATE;
        if admitted {
            self.lines += 1;
        } else {
            self.held_back += 1;
        }
        admitted
    }

    /// Whether a loss may be reported: at most once a second.
    pub(super) fn may_report(&mut self, now: Instant) -> bool {
        let due = self.reported.is_none_or(|at| now.duration_since(at) >= SECOND);
        if due {
            self.reported = Some(now);
        }
        due
    }

    /// How many lines were held back in a second that is over.
    pub(super) fn take_held_back(&mut self, now: Instant) -> Option<u64> {
        let over = now.duration_since(self.second) >= SECOND;
        (over && self.held_back > 0).then(|| std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_one_name_have_a_rate_and_the_others_are_counted() {
        let mut pace = EventPace::default();
        let start = Instant::now();
        let admitted = |pace: &mut EventPace, name, now| {
            (0..EVENTS + 7).filter(|_| pace.admits(name, now)).count() as u32
        };
        assert_eq!(admitted(&mut pace, "link", start), EVENTS);
        assert_eq!(admitted(&mut pace, "overload", start), EVENTS, "each has its own");
        assert_eq!(pace.take(start), [], "the second is not over");
        let later = start + SECOND;
        assert_eq!(admitted(&mut pace, "link", later), 0, "what was held back is told first");
        let mut told = pace.take(later);
        told.sort_unstable();
        assert_eq!(told, [("link", 7 + u64::from(EVENTS) + 7), ("overload", 7)]);
        assert_eq!(admitted(&mut pace, "link", later), EVENTS);
    }
}
