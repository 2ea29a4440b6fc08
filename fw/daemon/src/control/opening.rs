//! `-d` and `-e`: the bridge stands open for a while, and is closed again.

use std::time::Duration;

use weir_shell::protocol::MAX_DISABLE_SECONDS;

use super::{Control, Refused};
use crate::mailbox::Letter;

impl Control {
    /// Passes everything for so many seconds.
    ///
    /// # Errors
    /// When the time is out of bounds, or a worker does not answer.
    pub fn disable(&self, seconds: u32) -> Result<(), Refused> {
        if !(1..=MAX_DISABLE_SECONDS).contains(&seconds) {
            let text = format!("the deadline must be 1 to {MAX_DISABLE_SECONDS} seconds");
            return Err(Refused::Error(text));
        }
        let mut in_force = self.in_force.lock();
        let until = self.parts.clock.now().after(Duration::from_secs(seconds.into()));
        self.tell(|done| Letter::Open(Some(until), done))?;
        in_force.open_until = Some(until);
        self.deadline_moved.notify_all();
        Ok(())
    }

    /// Waits until the time of a `disable` is over. The workers judge again by themselves by then.
    pub fn await_deadline(&self) {
        let mut in_force = self.in_force.lock();
        loop {
            let Some(until) = in_force.open_until else {
                self.deadline_moved.wait(&mut in_force);
                continue;
            };
            let left = until.since(self.parts.clock.now());
            if left.is_zero() {
                in_force.open_until = None;
                return;
            }
            self.deadline_moved.wait_for(&mut in_force, left);
        }
    }

    /// Ends a `disable`.
    ///
    /// # Errors
    /// When filtering is on already, or a worker does not answer.
    pub fn enable(&self) -> Result<(), Refused> {
        let mut in_force = self.in_force.lock();
        let open = in_force.open_until.is_some_and(|until| until > self.parts.clock.now());
        // Told in any case: it must be possible to be sure.
        self.tell(|done| Letter::Open(None, done))?;
        in_force.open_until = None;
        self.deadline_moved.notify_all();
        if open { Ok(()) } else { Err(Refused::Error("weir already enabled".into())) }
    }
}
