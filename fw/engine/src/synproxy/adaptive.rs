//! `set syncookies adaptive`: SYNs are answered with cookies from so many half-open connections on,
//! and until there are few again, as pf does it (`pf_syncookies_check`).
//!
//! What counts is the share of `set limit states` over all workers that TCP states take whose handshake
//! is not complete. While cookies are sent there are no such states: then those that were sent and have
//! not come back count in their place, so that cookies do not end before the flood does.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use weir_config::options::Syncookies;

use super::Synproxy;
use super::expected::Expected;
use crate::engine::Engine;
use crate::ruleset::Program;
use crate::time::Instant;

/// What all workers share of it.
#[derive(Debug, Default)]
pub(crate) struct Mode {
    half_open: AtomicU32,
    /// Cookies that were sent lately and have not come back.
    open: AtomicU32,
    active: AtomicBool,
}

impl Mode {
    /// Whether SYNs are answered with cookies.
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// TCP states whose handshake is not complete.
    pub(crate) fn half_open(&self) -> u32 {
        self.half_open.load(Ordering::Relaxed)
    }

    fn set(&self, active: bool) {
        if self.is_active() != active {
            self.active.store(active, Ordering::Relaxed);
        }
    }

    /// Decides anew.
    fn settle(&self, syncookies: Syncookies, states: u32) {
        match syncookies {
            Syncookies::Never => self.set(false),
            Syncookies::Always => self.set(true),
            Syncookies::Adaptive { start, end } => {
                let reaches =
                    |count: u64, percent: u8| count * 100 >= u64::from(states) * u64::from(percent);
                let half_open = u64::from(self.half_open());
                let open = u64::from(self.open.load(Ordering::Relaxed));
                if self.is_active() {
                    self.set(reaches(half_open + open, end));
                } else {
                    self.set(reaches(half_open, start));
                }
            }
        }
    }
}

impl Engine {
    /// Whether SYNs that make a state otherwise are answered with cookies.
    #[inline]
    pub(super) fn uses_cookies(&self, program: &Program) -> bool {
        match program.options().syncookies {
            Syncookies::Never => false,
            Syncookies::Always => true,
            Syncookies::Adaptive { .. } => self.shared.mode().is_active(),
        }
    }

    /// Once a round: secrets keep up with the clock, SYN-ACKs go out again, and the mode is
    /// decided. Whether more SYN-ACKs are to go out.
    pub(crate) fn settle_synproxy(&mut self, program: &Program, now: Instant, tick: u32) -> bool {
        let Self { synproxy, outbox, counters, shared, table, .. } = self;
        let periods = synproxy.secrets.turn(now);
        if periods > 0 {
            Expected::turn(&mut synproxy.expected, periods);
            let [open, _] = synproxy.open;
            synproxy.open = [0, if periods == 1 { open } else { 0 }];
        }
        let more = synproxy.resend.due(tick, |port, frame| {
            let sent = outbox.has_room_to_spare()
                && outbox.push(port, |room| {
                    room.get_mut(..frame.len())?.copy_from_slice(frame);
                    Some(frame.len())
                });
            counters.synproxy.resent += u64::from(sent);
            sent
        });
        synproxy.tell(shared.mode(), table.half_open());
        shared.mode().settle(program.options().syncookies, program.options().limits.states);
        more
    }
}

impl Synproxy {
    /// Tells all workers what has changed here.
    fn tell(&mut self, mode: &Mode, half_open: u32) {
        let open = self.open[0].saturating_add(self.open[1]);
        let now = [half_open, open];
        for (i, shared) in [&mode.half_open, &mode.open].into_iter().enumerate() {
            if self.told[i] != now[i] {
                shared.fetch_add(now[i].wrapping_sub(self.told[i]), Ordering::Relaxed);
                self.told[i] = now[i];
            }
        }
    }
}
