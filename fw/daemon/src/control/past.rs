//! What was in force before: listed, shown, put in force again.

use std::collections::BTreeMap;

use tracing::error;
use weir_config::rules::{Rule, RuleSet};
use weir_shell::protocol::{self, Entry, Expanded, Load, Rollback, Version};

use super::change::Change;
use super::composition::{Composition, Piece};
use super::{Control, Loaded, Refused};

/// A start has found this.
#[derive(Debug)]
pub enum Found {
    /// Nothing that keeps the rule file from being loaded.
    Nothing,
    /// A change was never confirmed: it is undone now.
    Pending(u64),
    /// The history cannot be read: whether a change is pending is not known, which counts as if
    /// one were.
    Unreadable(String),
}

impl Control {
    /// Whether a change waits to be confirmed that another process has begun; it is undone then.
    pub fn end_left_over(&self) -> Found {
        let Some(history) = &self.parts.history else { return Found::Nothing };
        let pending = match history.pending() {
            Ok(pending) => pending,
            Err(error) => return Found::Unreadable(error.to_string()),
        };
        for &number in &pending {
            // It stays pending then, and the next start undoes it again.
            if let Err(error) = history.undo(number) {
                error!("that change {number} is undone cannot be noted: {error}");
            }
        }
        pending.last().map_or(Found::Nothing, |&number| Found::Pending(number))
    }

    /// The number of the change that has put these main rules in force last, if it was undone.
    /// Tables are not compared, nor what `-a` loads.
    pub fn was_undone(&self, load: &Load) -> Option<u64> {
        let history = self.parts.history.as_ref()?;
        let rules = self.main_rules(std::slice::from_ref(load))?;
        let same = |loads: &[Load]| self.main_rules(loads).as_ref() == Some(&rules);
        history.undone_last(same).ok()?
    }

    /// The main rules that loads make, in words.
    fn main_rules(&self, loads: &[Load]) -> Option<Vec<String>> {
        let main: Vec<Load> = loads.iter().filter(|load| load.anchor.is_empty()).cloned().collect();
        let rules = self.compose(&main).ok()?.compose();
        let mut words = vec![rules.options.to_string()];
        words.extend(rules.ether.iter().map(ToString::to_string));
        for Expanded { anchor, rules } in expanded(&rules) {
            words.push(format!("anchor {anchor}"));
            words.extend(rules);
        }
        Some(words)
    }

    /// Puts the rule set in force that was kept last; older ones where a newer is damaged or would be
    /// refused today, which is among the warnings then.
    ///
    /// # Errors
    /// When there is none, or a change waits to be confirmed.
    pub fn load_last_good(&self) -> Result<Loaded, Refused> {
        let _loading = self.loading.lock();
        self.refuse_while_pending()?;
        let mut warnings = Vec::new();
        for kept in self.history()?.good()? {
            let tried = kept.map_err(Refused::Error).and_then(|(entry, loads)| {
                let remark = format!(" (last good, number {})", entry.number);
                let loaded =
                    self.compose(&loads).and_then(|next| self.put_quietly(next, None, &remark));
                loaded
                    .map(|loaded| Loaded { number: Some(entry.number), ..loaded })
                    .map_err(|refused| Refused::Error(format!("{}: {refused}", entry.number)))
            });
            match tried {
                Ok(mut loaded) => {
                    loaded.warnings.splice(0..0, warnings);
                    return Ok(loaded);
                }
                Err(refused) => warnings.push(refused.to_string()),
            }
        }
        warnings.push("there is none".into());
        Err(Refused::Error(warnings.join("\n")))
    }

    /// Goes back: undoes what is pending, or puts an earlier load in force. Returns the number of
    /// what was undone, or under which the earlier one is kept now.
    ///
    /// # Errors
    /// When there is no such load, it is damaged, or as for [`Control::load`].
    pub fn roll_back(&self, rollback: &Rollback, mut change: Change) -> Result<Loaded, Refused> {
        let _loading = self.loading.lock();
        let (number, loads) = match rollback.number {
            Some(number) => (number, self.history()?.read(number)?.1),
            None => match self.undo_locked(|_| true)? {
                Some(undone) => return Ok(undone.loaded),
                None => self.one_before()?,
            },
        };
        change.what = format!("rollback {number}");
        self.change_locked(&change, |next| {
            *next = self.compose(&loads)?;
            Ok(Vec::new())
        })
    }

    /// The last load that held and is not what is in force, and its number.
    fn one_before(&self) -> Result<(u64, Vec<Load>), Refused> {
        let history = self.history()?;
        if let Some(number) = history.newest_undone()? {
            // Whoever meant that one was a moment too late, and must not go back twice.
            return Err(Refused::Error(format!(
                "change {number} is undone already, and what was before it is in force: `weir \
                 rollback N` goes further back"
            )));
        }
        let current = self.in_force.lock().composition.loads();
        let mut good = history.good()?.filter_map(Result::ok);
        let before = good.find(|(_, loads)| *loads != current);
        let none = || Refused::Error("nothing else was in force before".into());
        before.map(|(entry, loads)| (entry.number, loads)).ok_or_else(none)
    }

    /// All that is kept.
    ///
    /// # Errors
    /// When the history cannot be read.
    pub fn past(&self) -> Result<protocol::History, Refused> {
        let listing = self.history()?.list()?;
        Ok(protocol::History {
            entries: listing.entries,
            damaged: listing.damaged,
            confirm_within: self.confirm_within().map(|left| left.as_secs()),
            rules_file: self.parts.rules_file.clone(),
        })
    }

    /// A rule set that was in force, or the one that is.
    ///
    /// # Errors
    /// When there is none of that number, or it is damaged.
    pub fn version(&self, number: Option<u64>) -> Result<Version, Refused> {
        let Some(number) = number else {
            let composition = self.in_force.lock().composition.clone();
            let rules = expanded(&composition.compose());
            return Ok(Version { loads: composition.loads(), rules, ..Version::default() });
        };
        let (entry, loads) = self.history()?.read(number)?;
        Ok(self.expand(Some(entry), loads))
    }

    fn expand(&self, entry: Option<Entry>, loads: Vec<Load>) -> Version {
        let (rules, refused) = match self.compose(&loads) {
            Ok(composition) => (expanded(&composition.compose()), None),
            Err(refused) => (Vec::new(), Some(refused.to_string())),
        };
        Version { entry, loads, rules, refused }
    }

    fn compose(&self, loads: &[Load]) -> Result<Composition, Refused> {
        let mut composition = Composition::default();
        for load in loads {
            composition.take(Piece::read(load, &self.prefixes())?.0)?;
        }
        Ok(composition)
    }
}

/// The rules as they are listed.
fn expanded(rules: &RuleSet) -> Vec<Expanded> {
    let mut sets = BTreeMap::from([("", &rules.rules)]);
    sets.extend(rules.anchors.iter().map(|(path, anchor)| (&**path, &anchor.rules)));
    let of = |(anchor, rules): (&str, &Vec<Rule>)| Expanded {
        anchor: anchor.to_owned(),
        rules: rules.iter().map(ToString::to_string).collect(),
    };
    sets.into_iter().map(of).collect()
}
