//! What is told when it begins and when it ends: a SYN flood, and a limit that is reached.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tracing::warn;
use weir_config::options::Syncookies;

use super::Control;
use crate::log::events;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How long a limit that is reached is not told again.
const PAUSE: Duration = Duration::from_secs(60);

/// What has been told.
#[derive(Debug, Default)]
struct Told {
    attacked: bool,
    limits: BTreeMap<String, Instant>,
}

impl Control {
    /// Looks for ever; on a thread of its own.
    pub fn watch_limits(&self) {
        let mut told = Told::default();
        loop {
            std::thread::sleep(LOOK);
            self.look(&mut told, Instant::now());
        }
    }

    fn look(&self, told: &mut Told, now: Instant) {
        let adapts = {
            let in_force = self.in_force.lock();
            in_force.program.as_ref().is_some_and(|program| {
                matches!(program.rules().options.syncookies, Syncookies::Adaptive { .. })
            })
        };
        let attacked = adapts && self.parts.shared.uses_syncookies();
        if attacked != told.attacked {
            told.attacked = attacked;
            let half_open = self.parts.shared.half_open();
            if attacked {
                warn!(
                    target: events::ATTACK_BEGIN,
                    "A SYN FLOOD BEGINS ({half_open} half-open connections): SYNs are answered with \
                     cookies"
                );
            } else {
                warn!(target: events::ATTACK_END, "the SYN flood is over: SYNs make states again");
            }
        }
        // A state table that is full has a line of its own, with what that costs.
        let full = self.memory().into_iter().filter(|limit| limit.name != "states");
        for limit in full.filter(|limit| limit.limit > 0 && limit.used >= limit.limit) {
            let recent = |at: &Instant| now.duration_since(*at) < PAUSE;
            // Ended connections that are remembered make room for others all the time.
            if limit.name == "tails" || told.limits.get(&limit.name).is_some_and(recent) {
                continue;
            }
            warn!(
                target: events::LIMIT_REACHED,
                "limit {} is reached: {} of {}", limit.name, limit.used, limit.limit
            );
            told.limits.insert(limit.name, now);
        }
    }
}
