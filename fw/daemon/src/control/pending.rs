//! Changes that are undone by themselves unless they are confirmed (`weir commit confirmed`).
//!
//! One can be pending at a time, and nothing else changes the rules meanwhile, so that what is put
//! back is what was there. In this process the deadline is one of the engine's clock, which nobody can
//! set. A process that finds a pending change at its start does not ask what time it is: it undoes it
//! at once, since whoever made it is not known to be able to reach this machine.

use std::time::Duration;

use weir_engine::Instant;
use weir_shell::protocol::Terms;

use super::composition::Composition;
use super::tables::TableStore;
use super::{Control, Loaded, Refused};

/// How long to wait before a change that could not be undone is undone again.
const AGAIN: Duration = Duration::from_secs(5);

/// A change that is in force and waits to be confirmed.
#[derive(Debug)]
pub(super) struct Pending {
    /// Its number in the history.
    number: u64,
    /// What was in force before.
    before: Composition,
    /// What was in the tables before. Entries that come into a table while the change is pending go
    /// when it is undone.
    tables: TableStore,
    /// When it is undone.
    until: Instant,
}

impl Pending {
    pub(super) const fn new(
        number: u64,
        before: Composition,
        tables: TableStore,
        until: Instant,
    ) -> Self {
        Self { number, before, tables, until }
    }

    /// What was in force before, and what was in its tables.
    pub(super) fn before(&self) -> (Composition, TableStore) {
        (self.before.clone(), self.tables.clone())
    }
}

/// A change that was taken back.
#[derive(Debug)]
pub struct Undone {
    /// Its number in the history.
    pub number: u64,
    /// What is in force instead.
    pub loaded: Loaded,
}

impl Control {
    /// What is pending, which must be the change of that number if one is given, holds from now on.
    /// Returns its number.
    ///
    /// # Errors
    /// When nothing is pending, or another change is, or its time is over. When it cannot be noted:
    /// the rules hold until the next start then, and to confirm them again tries again.
    pub fn confirm(&self, number: Option<u64>) -> Result<u64, Refused> {
        let _loading = self.loading.lock();
        let (waiting, late) = {
            let in_force = self.in_force.lock();
            let now = self.parts.clock.now();
            let pending = in_force.pending.as_ref();
            (
                pending.map(|pending| pending.number).or(in_force.unnoted),
                pending.is_some_and(|pending| pending.until <= now),
            )
        };
        let Some(waiting) = waiting else {
            return Err(Refused::Error("nothing waits to be confirmed".into()));
        };
        if number.is_some_and(|number| number != waiting) {
            return Err(Refused::Error(format!(
                "it is change {waiting} that waits to be confirmed"
            )));
        }
        if late {
            return Err(Refused::Error(format!(
                "the time of change {waiting} is over: it is about to be undone"
            )));
        }
        let noted = self.history()?.confirm(waiting);
        {
            let mut in_force = self.in_force.lock();
            in_force.pending = None;
            in_force.unnoted = noted.is_err().then_some(waiting);
        }
        self.pending_changed.notify_all();
        noted.map(|()| waiting).map_err(|error| {
            Refused::Error(format!(
                "change {waiting} holds, but that COULD NOT BE NOTED: the next start will undo it: \
                 {error}; `weir confirm` tries to note it again"
            ))
        })
    }

    /// Waits until the time of a pending change is over, and takes it back. One that cannot be taken
    /// back is tried again later.
    ///
    /// # Errors
    /// When what was before cannot be put in force; it stays pending then.
    pub fn await_unconfirmed(&self) -> Result<Undone, Refused> {
        loop {
            self.await_overdue();
            match self.undo_if(|pending| pending.until <= self.parts.clock.now()) {
                Ok(Some(undone)) => return Ok(undone),
                // Confirmed at the last moment.
                Ok(None) => {}
                Err(refused) => {
                    if let Some(pending) = &mut self.in_force.lock().pending {
                        pending.until = self.parts.clock.now().after(AGAIN);
                    }
                    return Err(refused);
                }
            }
        }
    }

    fn await_overdue(&self) {
        let mut in_force = self.in_force.lock();
        loop {
            let Some(until) = in_force.pending.as_ref().map(|pending| pending.until) else {
                self.pending_changed.wait(&mut in_force);
                continue;
            };
            let left = until.since(self.parts.clock.now());
            if left.is_zero() {
                return;
            }
            self.pending_changed.wait_for(&mut in_force, left);
        }
    }

    fn undo_if(&self, wanted: impl FnOnce(&Pending) -> bool) -> Result<Option<Undone>, Refused> {
        let _loading = self.loading.lock();
        self.undo_locked(wanted)
    }

    /// The same while `loading` is locked.
    pub(super) fn undo_locked(
        &self,
        wanted: impl FnOnce(&Pending) -> bool,
    ) -> Result<Option<Undone>, Refused> {
        let (before, tables) = match &self.in_force.lock().pending {
            Some(pending) if wanted(pending) => pending.before(),
            _ => return Ok(None),
        };
        let mut loaded = self.put_quietly(before, Some(tables), "")?;
        let Some((number, warning)) = self.drop_pending() else { return Ok(None) };
        loaded.warnings.extend(warning);
        Ok(Some(Undone { number, loaded }))
    }

    /// Forgets what is pending; it was, or is about to be, taken out of force. Returns its number, and
    /// what has to be said about it.
    pub(super) fn drop_pending(&self) -> Option<(u64, Option<String>)> {
        let pending = self.in_force.lock().pending.take()?;
        self.pending_changed.notify_all();
        let noted = self.history().and_then(|history| Ok(history.undo(pending.number)?));
        let warning = noted.err().map(|error| {
            format!(
                "that it was undone COULD NOT BE NOTED: the next start undoes it again: {error}"
            )
        });
        Some((pending.number, warning))
    }

    pub(super) fn await_confirmation(&self, pending: Pending) {
        {
            let mut in_force = self.in_force.lock();
            in_force.pending = Some(pending);
            in_force.unnoted = None;
        }
        self.pending_changed.notify_all();
    }

    /// When a change on these terms is undone.
    pub(super) fn confirm_until(&self, terms: &Terms) -> Instant {
        self.parts.clock.now().after(Duration::from_secs(terms.confirm.unwrap_or(0).into()))
    }

    /// Time until the pending change is undone.
    pub(super) fn confirm_within(&self) -> Option<Duration> {
        let in_force = self.in_force.lock();
        Some(in_force.pending.as_ref()?.until.since(self.parts.clock.now()))
    }

    /// Lets nobody but the start change the rules until [`Control::end_starting`]: what the start
    /// decides must not replace what somebody has put in force meanwhile.
    pub fn begin_starting(&self) {
        self.in_force.lock().starting = true;
    }

    /// The start has decided which rules there are.
    pub fn end_starting(&self) {
        self.in_force.lock().starting = false;
    }

    pub(super) fn refuse_while_starting(&self) -> Result<(), Refused> {
        if self.in_force.lock().starting {
            let text = "which rules this start begins with is not decided yet: try again";
            return Err(Refused::Error(text.into()));
        }
        Ok(())
    }

    pub(super) fn refuse_while_pending(&self) -> Result<(), Refused> {
        let in_force = self.in_force.lock();
        let Some(Pending { number, until, .. }) = &in_force.pending else { return Ok(()) };
        let left = until.since(self.parts.clock.now()).as_secs();
        Err(Refused::Error(format!(
            "change {number} waits to be confirmed ({left} s left): `weir confirm` or `weir rollback` \
             first"
        )))
    }
}
