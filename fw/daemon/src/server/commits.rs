//! Rules that a client changes: loaded, committed, confirmed, rolled back.

use tracing::{info, warn};
use weir_shell::protocol::{Commit, Done, Load, Reply, Rollback};

use super::session::Session;
use crate::control::{Change, Control, Loaded, Refused};
use crate::history::Author;
use crate::log::events;

impl Session {
    /// Puts a rule set in force, whatever it cuts.
    pub(super) fn load(&self, control: &Control, load: &Load) -> Result<Reply, Refused> {
        let change = Change::plain(Author::User(self.uid), what("load", load));
        let loaded = control.load(load, &change)?;
        self.told("loaded", load, &loaded);
        Ok(Reply::Done(Done { count: loaded.rules as u64, note: note(&loaded.warnings) }))
    }

    /// Puts a rule set in force on terms.
    pub(super) fn commit(&self, control: &Control, commit: Commit) -> Result<Reply, Refused> {
        let Commit { load, terms } = commit;
        let what = what("commit", &load);
        let change = Change { by: Author::User(self.uid), what, terms };
        let loaded = control.load(&load, &change)?;
        self.told("committed", &load, &loaded);
        Ok(self.changed(&change, &loaded))
    }

    /// What is pending holds.
    pub(super) fn confirm(&self, control: &Control, number: Option<u64>) -> Result<Reply, Refused> {
        let number = control.confirm(number).inspect_err(|refused| warn!("{refused}"))?;
        warn!(target: events::COMMIT, "user {} confirmed change {number}", self.uid);
        Ok(Reply::Done(Done { count: number, note: None }))
    }

    /// Back to what was.
    pub(super) fn roll_back(
        &self,
        control: &Control,
        rollback: &Rollback,
    ) -> Result<Reply, Refused> {
        let terms = rollback.terms.clone();
        let change = Change { by: Author::User(self.uid), what: "rollback".into(), terms };
        let loaded = control.roll_back(rollback, change.clone())?;
        warn!(target: events::COMMIT, "user {} went back to earlier rules: {} in force", self.uid, loaded.rules);
        loaded
            .warnings
            .iter()
            .for_each(|warning| warn!(target: events::RULES_WARNING, "{warning}"));
        Ok(self.changed(&change, &loaded))
    }

    /// The answer to a change on terms: what there is to know about it, a line each.
    fn changed(&self, change: &Change, loaded: &Loaded) -> Reply {
        let mut lines = loaded.warnings.clone();
        match (loaded.number, change.terms.confirm) {
            _ if loaded.unchanged => {
                lines.push("the same rules were in force before: nothing is changed".into());
            }
            (Some(number), Some(seconds)) => {
                let uid = self.uid;
                warn!(target: events::COMMIT, "change {number} of user {uid} is undone in {seconds} s unless confirmed");
                lines.push(format!(
                    "change {number} is in force and UNDONE in {seconds} seconds unless it is \
                     confirmed: `weir confirm {number}`"
                ));
            }
            (Some(number), None) => lines.push(format!("kept as number {number}")),
            (None, _) => {}
        }
        Reply::Done(Done { count: loaded.rules as u64, note: note(&lines) })
    }

    fn told(&self, done: &str, load: &Load, loaded: &Loaded) {
        let (uid, count) = (self.uid, loaded.rules);
        let name = load.sources.first().map_or("", |source| &source.name);
        let unchanged = if loaded.unchanged { " (unchanged)" } else { "" };
        if load.anchor.is_empty() {
            info!(target: events::RULES_LOADED, "user {uid} {done} {name:?}: {count} rules in force{unchanged}");
        } else {
            let anchor = &load.anchor;
            info!(target: events::RULES_LOADED, "user {uid} {done} {name:?} into {anchor:?}: {count} rules in force{unchanged}");
        }
        loaded
            .warnings
            .iter()
            .for_each(|warning| warn!(target: events::RULES_WARNING, "{warning}"));
    }
}

/// The words of the command line for it.
fn what(verb: &str, load: &Load) -> String {
    let name = load.sources.first().map_or("", |source| &source.name);
    let within =
        if load.anchor.is_empty() { String::new() } else { format!(" into {}", load.anchor) };
    format!("{verb} {name}{within}")
}

fn note(lines: &[String]) -> Option<String> {
    (!lines.is_empty()).then(|| lines.join("\n"))
}
