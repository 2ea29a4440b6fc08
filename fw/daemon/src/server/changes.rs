//! Changes of tables, and what is said of them in weir's own log.

use std::io;

use tracing::info;
use weir_shell::protocol::{Reply, TableAction, TableChange};

use super::session::{Session, done};
use crate::control::{Control, Refused};
use crate::log::events;

/// Addresses of which one line tells what became of them.
const LINE: usize = 1024;

impl Session {
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
            info!(target: events::TABLE_CHANGED, "user {}: -T {action} in table {name:?}{within}{anchor}", self.uid);
        }
        let count = outcome.addresses;
        self.connection.send(&Reply::TableOutcome(outcome))?;
        while feedback.peek().is_some() {
            self.connection.send(&Reply::TableFeedback(feedback.by_ref().take(LINE).collect()))?;
        }
        Ok(Ok(done(count)))
    }
}
