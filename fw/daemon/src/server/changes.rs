//! Changes, and what is said of them in weir's own log.

use std::io;

use tracing::{info, warn};
use weir_shell::protocol::{Done, Load, Reply, TableAction, TableChange};

use super::session::{Session, done};
use crate::control::{Control, Refused};

/// Addresses of which one line tells what became of them.
const LINE: usize = 1024;

impl Session {
    /// Puts a rule set in force.
    pub(super) fn load(&self, control: &Control, load: &Load) -> Result<Reply, Refused> {
        let loaded = control.load(load)?;
        let (uid, count) = (self.uid, loaded.rules);
        let name = load.sources.first().map_or("", |source| &source.name);
        let note = if loaded.unchanged { " (unchanged)" } else { "" };
        if load.anchor.is_empty() {
            info!("user {uid} loaded {name:?}: {count} rules in force{note}");
        } else {
            let anchor = &load.anchor;
            info!("user {uid} loaded {name:?} into {anchor:?}: {count} rules in force{note}");
        }
        loaded.warnings.iter().for_each(|warning| warn!("{warning}"));
        Ok(Reply::Done(Done {
            count: count as u64,
            note: (!loaded.warnings.is_empty()).then(|| loaded.warnings.join("\n")),
        }))
    }

    /// Changes a table; the answer's end is left to be sent.
    pub(super) fn change_table(
        &mut self,
        control: &Control,
        change: &TableChange,
    ) -> io::Result<Result<Reply, Refused>> {
        let (outcome, mut feedback) = match control.change_table(change) {
            Ok((outcome, feedback)) => (outcome, feedback.into_iter().peekable()),
            Err(refused) => return Ok(Err(refused)),
        };
        if !change.dry_run && change.action != TableAction::Test {
            let TableChange { name, anchor, action, .. } = change;
            let within = if anchor.is_empty() { "" } else { " of anchor " };
            info!("user {}: -T {action} in table {name:?}{within}{anchor}", self.uid);
        }
        let count = outcome.addresses;
        self.connection.send(&Reply::TableOutcome(outcome))?;
        while feedback.peek().is_some() {
            self.connection.send(&Reply::TableFeedback(feedback.by_ref().take(LINE).collect()))?;
        }
        Ok(Ok(done(count)))
    }
}
