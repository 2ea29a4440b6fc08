//! Rule sets are put in force here, and taken out of it.
//!
//! A change is one transaction over options, rules, layer 2, tables and anchors: everything is
//! parsed, checked and compiled, then published to all workers, or nothing changes. Publishing does
//! not fail half-way: once the first worker has its letter, the change holds. A worker that does not
//! answer in time takes it up when it answers again, before anything that is published later; one
//! whose mailbox is full is stuck, and the process ends, which closes the bridge.

use std::sync::Arc;

use weir_config::options::Limit;
use weir_config::rules::RuleSet;
use weir_config::{beyond_limit, check_calls};
use weir_engine::Program;
use weir_engine::Tails;
use weir_engine::source::Sources;
use weir_engine::table::{Pages, Tables};
use weir_shell::protocol::Load;

use super::composition::{Composition, Piece};
use super::{Control, InForce, Refused};
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
}

impl Control {
    /// Puts what was loaded in force on all workers and keeps it, or changes nothing.
    ///
    /// # Errors
    /// When the rules are wrong, or need more than is reserved.
    pub fn load(&self, load: &Load) -> Result<Loaded, Refused> {
        self.change(|next| {
            let (piece, warnings) = Piece::read(load, &self.prefixes())?;
            next.take(piece)?;
            Ok(warnings)
        })
    }

    /// Puts the rule set in force that was kept last.
    ///
    /// # Errors
    /// When there is none, and as for [`Control::load`].
    pub fn load_last_good(&self) -> Result<Loaded, Refused> {
        let _loading = self.loading.lock();
        let mut next = Composition::default();
        let nowhere = || Refused::Error("rule sets are not kept here".into());
        let last_good = self.parts.last_good.as_ref().ok_or_else(nowhere)?;
        for load in last_good.read()? {
            next.take(Piece::read(&load, &self.prefixes())?.0)?;
        }
        self.put_in_force(next, " (last good)")
    }

    /// Blocks everything that no state lets pass.
    ///
    /// # Errors
    /// When a worker is stuck.
    pub fn flush_rules(&self) -> Result<(), Refused> {
        let _loading = self.loading.lock();
        let mut next = self.in_force.lock().composition.clone();
        next.flush_rules();
        // What was kept stays: it is what a start with a broken file needs.
        self.put_in_force(next, "").map(drop)
    }

    /// Empties an anchor, and with `recursive` all below it.
    ///
    /// # Errors
    /// When there is no such anchor, or a worker is stuck.
    pub fn flush_anchor(&self, anchor: &str, recursive: bool) -> Result<(), Refused> {
        self.change(|next| {
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
    pub fn reset_options(&self) -> Result<(), Refused> {
        self.change(|next| {
            next.reset_options();
            Ok(Vec::new())
        })
        .map(drop)
    }

    /// One transaction; `edit` tells what is to be warned of.
    fn change(
        &self,
        edit: impl FnOnce(&mut Composition) -> Result<Vec<String>, Refused>,
    ) -> Result<Loaded, Refused> {
        let _loading = self.loading.lock();
        let mut next = self.in_force.lock().composition.clone();
        let mut warnings = edit(&mut next)?;
        // An anchor alone is nothing to start with.
        let kept = next.has_rules().then(|| next.loads());
        let mut loaded = self.put_in_force(next, "")?;
        if let (Some(loads), Some(last_good)) = (kept, &self.parts.last_good)
            && let Err(error) = last_good.save(&loads)
        {
            warnings.push(format!("the rules are in force but could not be kept: {error}"));
        }
        warnings.append(&mut loaded.warnings);
        Ok(Loaded { warnings, ..loaded })
    }

    fn put_in_force(&self, next: Composition, remark: &str) -> Result<Loaded, Refused> {
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
        let mut store = self.tables.lock();
        let named = program.as_ref().or(previous.as_ref()).map_or(&[][..], |next| next.tables());
        let tables =
            store.after_load(now, &rules, named, |path| next.declares_anew(&before, path))?;
        let contents = tables.contents(now, named);
        let mut warnings = Vec::new();
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
        *store = tables;
        self.count_tables(&store);
        self.parts.shared.pool(Limit::Anchors).set(rules.anchors.len() as u32);
        self.tables_changed.notify_all();
        if let Some(origin) = next.origin("") {
            let origin = format!("{origin}{remark}");
            if let Some(announce) = self.announce.lock().take() {
                announce(&origin);
            }
            in_force.origin = Some(origin);
        } else {
            in_force.origin = None;
        }
        in_force.composition = next;
        let in_anchors = rules.anchors.values().map(|anchor| anchor.rules.len());
        Ok(Loaded { rules: rules.rules.len() + in_anchors.sum::<usize>(), unchanged, warnings })
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
