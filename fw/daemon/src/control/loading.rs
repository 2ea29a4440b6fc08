//! Rule sets are put in force here, and taken out of it.
//!
//! A change is one transaction over options, rules, layer 2, tables and anchors: everything is
//! parsed, checked and compiled, then published to all workers, or nothing changes. Publishing does
//! not fail half-way: once the first worker has its letter, the change holds. A worker that does not
//! answer in time takes it up when it answers again, before anything that is published later; one
//! whose mailbox is full is stuck, and the process ends, which closes the bridge.

use std::sync::Arc;

use tracing::warn;
use weir_config::options::Limit;
use weir_config::rules::RuleSet;
use weir_config::{beyond_limit, check_calls};
use weir_engine::Program;
use weir_engine::Tails;
use weir_engine::source::Sources;
use weir_engine::table::{Pages, Tables};
use weir_shell::protocol::Load;

use super::change::{Change, Manner, check_terms};
use super::composition::{Composition, Piece, count};
use super::pending::Pending;
use super::tables::TableStore;
use super::{Control, InForce, Refused};
use crate::history::{Author, History};
use crate::mailbox::Letter;
use crate::rules::Places;

/// How a load went.
#[derive(Debug)]
pub struct Loaded {
    /// Rules in force now.
    pub rules: usize,
    /// They were in force before.
    pub unchanged: bool,
    /// Warnings, and what could not be done about keeping the rule set.
    pub warnings: Vec<String>,
    /// Under which number they are kept.
    pub number: Option<u64>,
}

impl Control {
    /// Puts what was loaded in force on all workers and keeps it, or changes nothing.
    ///
    /// # Errors
    /// When the rules are wrong, or need more than is reserved; when another change waits to be
    /// confirmed.
    pub fn load(&self, load: &Load, change: &Change) -> Result<Loaded, Refused> {
        self.change(change, |next| {
            let (piece, warnings) = Piece::read(load, &self.prefixes())?;
            next.take(piece)?;
            Ok(warnings)
        })
    }

    /// Blocks everything that no state lets pass. A change that waits to be confirmed is taken back:
    /// nothing is put in force by itself afterwards.
    ///
    /// # Errors
    /// When a worker is stuck.
    pub fn flush_rules(&self) -> Result<(), Refused> {
        let _loading = self.loading.lock();
        self.refuse_while_starting()?;
        let (mut next, tables) = {
            let in_force = self.in_force.lock();
            in_force.pending.as_ref().map_or_else(
                || (in_force.composition.clone(), None),
                |pending| {
                    let (before, tables) = pending.before();
                    (before, Some(tables))
                },
            )
        };
        next.flush_rules();
        // What was kept stays: it is what a start with a broken file needs.
        self.put_quietly(next, tables, "")?;
        if let Some((_, Some(warning))) = self.drop_pending() {
            warn!("{warning}");
        }
        Ok(())
    }

    /// Empties an anchor, and with `recursive` all below it.
    ///
    /// # Errors
    /// When there is no such anchor, or a worker is stuck.
    pub fn flush_anchor(
        &self,
        anchor: &str,
        recursive: bool,
        change: &Change,
    ) -> Result<(), Refused> {
        self.change(change, |next| {
            if anchor.is_empty() {
                next.flush_rules();
            }
            if next.flush_anchor(anchor, recursive) || anchor.is_empty() {
                Ok(Vec::new())
            } else {
                Err(no_anchor(anchor))
            }
        })
        .map(drop)
    }

    /// Goes back to the defaults of all options.
    ///
    /// # Errors
    /// When a worker is stuck.
    pub fn reset_options(&self, change: &Change) -> Result<(), Refused> {
        self.change(change, |next| {
            next.reset_options();
            Ok(Vec::new())
        })
        .map(drop)
    }

    /// One transaction; `edit` tells what is to be warned of.
    pub(super) fn change(
        &self,
        change: &Change,
        edit: impl FnOnce(&mut Composition) -> Result<Vec<String>, Refused>,
    ) -> Result<Loaded, Refused> {
        let _loading = self.loading.lock();
        self.change_locked(change, edit)
    }

    /// The same while `loading` is locked.
    pub(super) fn change_locked(
        &self,
        change: &Change,
        edit: impl FnOnce(&mut Composition) -> Result<Vec<String>, Refused>,
    ) -> Result<Loaded, Refused> {
        let terms = &change.terms;
        check_terms(terms)?;
        if change.by != Author::Start {
            self.refuse_while_starting()?;
        }
        self.refuse_while_pending()?;
        let before = self.in_force.lock().composition.clone();
        let mut next = before.clone();
        let mut warnings = edit(&mut next)?;
        // An anchor alone is nothing to start with.
        let loads = next.has_rules().then(|| next.loads());
        let mut begun = None;
        let put = self.put_in_force(
            next,
            &mut Manner {
                remark: "",
                may_cut: Some(terms.force),
                tables: None,
                before: &mut |rules| {
                    if terms.confirm.is_some() {
                        begun = Some(self.begin(change, rules, loads.as_deref(), &before)?);
                    }
                    Ok(())
                },
            },
        );
        let history = self.parts.history.as_ref();
        let mut loaded = match (put, begun) {
            (Ok((loaded, _)), None) => loaded,
            (Ok((loaded, tables)), Some(number)) => {
                warnings.extend(loaded.warnings);
                let until = self.confirm_until(terms);
                self.await_confirmation(Pending::new(number, before, tables, until));
                return Ok(Loaded { warnings, number: Some(number), ..loaded });
            }
            (Err(refused), begun) => {
                if let (Some(number), Some(history)) = (begun, history) {
                    // A worker may have it, and the process ends then: the next start must not take
                    // it for what somebody wants. What stays pending is undone by that start.
                    let _ = history.undo(number);
                }
                return Err(refused);
            }
        };
        if let (Some(loads), Some(history)) = (loads, history) {
            match history.keep(change.origin(loaded.rules), &loads) {
                Ok(number) => loaded.number = Some(number),
                Err(error) => warnings.push(format!(
                    "the rules are in force but COULD NOT BE KEPT: {error}: a start with a broken \
                     rule file will not find them"
                )),
            }
        }
        warnings.append(&mut loaded.warnings);
        Ok(Loaded { warnings, ..loaded })
    }

    /// Notes on disk that rules are about to be put in force that have to be confirmed.
    fn begin(
        &self,
        change: &Change,
        rules: usize,
        loads: Option<&[Load]>,
        before: &Composition,
    ) -> Result<u64, Refused> {
        let no_rules = "without main rules there is nothing that could be confirmed";
        let loads = loads.ok_or_else(|| Refused::Error(no_rules.into()))?;
        if !before.has_rules() {
            let text =
                "nothing was changed: without main rules in force there is nothing to go back to";
            return Err(Refused::Error(text.into()));
        }
        let history = self.history()?;
        let begun = history
            // A crash goes back to what was kept last, which has to be what is in force now.
            .ensure_good(change.origin_of("in force before", before.count()), &before.loads())
            .and_then(|()| history.begin(change.origin(rules), loads));
        begun.map_err(|error| {
            Refused::Error(format!(
                "nothing was changed: that this has to be confirmed cannot be noted, so that it would \
                 not be undone after a crash: {error}"
            ))
        })
    }

    /// Where rule sets are kept.
    pub(super) fn history(&self) -> Result<&History, Refused> {
        let nowhere = || Refused::Error("rule sets are not kept here".into());
        self.parts.history.as_ref().ok_or_else(nowhere)
    }

    /// Puts rules in force that nobody has to be asked about.
    pub(super) fn put_quietly(
        &self,
        next: Composition,
        tables: Option<TableStore>,
        remark: &str,
    ) -> Result<Loaded, Refused> {
        let mut manner = Manner { remark, may_cut: None, tables, before: &mut |_| Ok(()) };
        self.put_in_force(next, &mut manner).map(|(loaded, _)| loaded)
    }

    /// Also returns the tables that were there before.
    fn put_in_force(
        &self,
        next: Composition,
        manner: &mut Manner<'_>,
    ) -> Result<(Loaded, TableStore), Refused> {
        let rules = next.compose();
        let states = rules.options.limits.states;
        if states > self.parts.reserved {
            return Err(Refused::Error(format!(
                "set limit states {states}: memory is reserved for {} states only ([memory] states \
                 in the settings file)",
                self.parts.reserved
            )));
        }
        let sources = rules.options.limits.src_nodes;
        if sources > Sources::MAX {
            return Err(Refused::Error(format!(
                "set limit src-nodes {sources}: there can be {} at most",
                Sources::MAX
            )));
        }
        check_calls(&rules).map_err(|fault| Refused::Error(fault.message))?;
        if let Some(message) = beyond_limit(&rules) {
            return Err(Refused::Error(message));
        }
        let (unchanged, previous, before) = {
            let in_force = self.in_force.lock();
            let program = in_force.program.clone();
            let unchanged = in_force.composition.has_rules() == next.has_rules()
                && program.as_ref().is_some_and(|program| *program.rules() == rules);
            (unchanged, program, in_force.composition.clone())
        };
        // Compiled before anything is locked that listings need.
        let program =
            if unchanged { None } else { Some(self.compile(&rules, previous.as_deref())?) };
        let tails = self.room_for_tails(&rules, previous.as_deref())?;
        let now = self.parts.clock.now();
        let mut warnings = Vec::new();
        let count = count(&rules);
        let named = program.as_ref().or(previous.as_ref()).map_or(&[][..], |next| next.tables());
        let mut unchanged = unchanged;
        if let Some(may_cut) = manner.may_cut
            && let Some(previous) = previous.as_deref()
        {
            let store = self.tables.lock().clone();
            let tables =
                store.after_load(now, &rules, named, |path| next.declares_anew(&before, path))?;
            // The rules may be the same, and declare other entries than there are by now.
            unchanged = unchanged && tables.is_same(now, &store);
            if !unchanged {
                let asked = program.as_deref().unwrap_or(previous);
                let contents = tables.contents(now, named);
                warnings.extend(self.warn_of_cut(asked, previous, &contents, may_cut)?);
            }
        }
        if !unchanged {
            (manner.before)(count)?;
        }
        let mut store = self.tables.lock();
        let tables = match manner.tables.take() {
            Some(kept) => kept.restored(now, &store, named),
            None => {
                store.after_load(now, &rules, named, |path| next.declares_anew(&before, path))?
            }
        };
        let contents = tables.contents(now, named);
        if let Some(name) = &rules.options.log_interface
            && self.parts.ports.named(name).is_none()
        {
            warnings.push(format!("set loginterface {name}: there is no such port"));
        }
        let mut in_force = self.in_force.lock();
        // Before the first main rules workers have no program, and drop everything, ARP too.
        let begun = in_force.program.is_some() || next.has_rules();
        if let Some(program) = program.filter(|_| begun) {
            warnings.append(&mut self.publish(
                &mut in_force,
                program,
                tails,
                &contents,
                Places::new(&rules),
            )?);
        } else {
            // The rules are the same; what is in the tables need not be.
            self.publish_tables(&tables, &mut in_force)?;
        }
        let replaced = std::mem::replace(&mut *store, tables);
        self.count_tables(&store);
        self.parts.shared.pool(Limit::Anchors).set(rules.anchors.len() as u32);
        self.tables_changed.notify_all();
        if let Some(origin) = next.origin("") {
            let origin = format!("{origin}{}", manner.remark);
            if let Some(announce) = self.announce.lock().take() {
                announce(&origin);
            }
            in_force.origin = Some(origin);
        } else {
            in_force.origin = None;
        }
        in_force.composition = next;
        Ok((Loaded { rules: count, unchanged, warnings, number: None }, replaced))
    }

    fn compile(
        &self,
        rules: &RuleSet,
        previous: Option<&Program>,
    ) -> Result<Arc<Program>, Refused> {
        Program::compile(rules, &self.parts.ports, previous)
            .map(Arc::new)
            .map_err(|error| Refused::Error(error.to_string()))
    }

    /// Room for each worker to remember ended connections in, if `set limit tails` says another
    /// number than before.
    fn room_for_tails(
        &self,
        rules: &RuleSet,
        previous: Option<&Program>,
    ) -> Result<Vec<Tails>, Refused> {
        let limit = rules.options.limits.tails;
        if previous.is_some_and(|previous| previous.rules().options.limits.tails == limit) {
            return Ok(Vec::new());
        }
        let workers = self.parts.mailboxes.len() as u16;
        (0..workers)
            .map(|_| Tails::new(limit, workers))
            .collect::<Option<_>>()
            .ok_or_else(|| Refused::Error(format!("no memory for set limit tails {limit}")))
    }

    /// Gives a program to all workers; tells of those that have not answered.
    fn publish(
        &self,
        in_force: &mut InForce,
        program: Arc<Program>,
        tails: Vec<Tails>,
        tables: &Arc<Tables>,
        places: Places,
    ) -> Result<Vec<String>, Refused> {
        self.parts.shared.prepare(&program);
        let places = Arc::new(places);
        self.parts.programs.push(Arc::clone(&program), Arc::clone(&places));
        let mut replaced = Vec::with_capacity(tails.len());
        for (mailbox, tails) in self.parts.mailboxes.iter().zip(tails) {
            let posted = mailbox.post(|done| Letter::Tails(tails, done));
            replaced.push(posted.inspect_err(|error| (self.parts.give_up)(&error.to_string()))?);
        }
        let mut answers = Vec::with_capacity(self.parts.mailboxes.len());
        for mailbox in &self.parts.mailboxes {
            let pages = Pages::between(&in_force.tables, tables);
            let posted = mailbox.post(|done| {
                Letter::Install(Arc::clone(&program), Arc::clone(tables), pages, done)
            });
            // Some may have theirs: there is no way back, and without this one none forward.
            answers.push(posted.inspect_err(|error| (self.parts.give_up)(&error.to_string()))?);
        }
        in_force.program = Some(program);
        in_force.tables = Arc::clone(tables);
        in_force.places = places;
        let late = answers.into_iter().filter_map(|answer| answer.wait().err());
        let late = late.map(|error| format!("{error}: it will take up the rules when it does"));
        let late = late.collect();
        // A worker that has taken up the program has given these back before; they are freed here.
        for answer in replaced {
            drop(answer.at_once());
        }
        Ok(late)
    }
}

/// An anchor that nothing fills and no rule calls.
pub(super) fn no_anchor(path: &str) -> Refused {
    Refused::Error(format!("Anchor '{path}' not found."))
}
