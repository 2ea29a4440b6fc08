//! The tables of the running firewall: what a load makes of them, `-t TABLE -T ...`, and listings.
//!
//! The control side owns them all, also those that no rule names at the moment. After a change the
//! workers get snapshots of those that the program in force names, and what they held before comes
//! back to be freed here. A lock on the store is held for the whole of a change, so that what is
//! published last is what is in force.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use weir_config::options::{Limit, Limits};
use weir_config::rules::{Address, Rule, RuleSet};
use weir_config::tables::{Table as Declaration, TableEntry};
use weir_engine::Instant;
use weir_engine::ruleset::TableName;
use weir_engine::table::{
    Editor, Entry, EntryCounters, Feedback, Outcome, Pages, Table, TableTally, Tables,
};
use weir_shell::protocol::{self, Done, TableAction, TableChange, TableFeedback, TableOutcome};

use super::composition::check_anchor;
use super::{Control, InForce, Refused};
use crate::mailbox::{CHUNK, Letter};

/// Longest name of a table in bytes, as in pf.
const LONGEST_NAME: usize = 31;

/// All tables by anchor and name.
#[derive(Clone, Debug, Default)]
pub(super) struct TableStore {
    held: BTreeMap<Name, Held>,
    /// Tables made so far.
    made: u64,
}

/// Path of the anchor and name of the table.
type Name = (String, String);

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own in pf, too")]
struct Held {
    editor: Arc<Editor>,
    persist: bool,
    constant: bool,
    /// Declared or made by hand; otherwise only rules name it, and it is empty.
    active: bool,
    /// Rules in force name it.
    referenced: bool,
}

impl TableStore {
    /// What becomes of the tables by a load: the rule set that is in force then, and the tables that
    /// its program names. `anew` tells of which anchors (`""`: the main rule set) the declarations
    /// are part of the load; a declaration with entries replaces what is in the table.
    ///
    /// # Errors
    /// When the tables are more, or larger, than the limits allow.
    pub(super) fn after_load(
        &self,
        now: Instant,
        rules: &RuleSet,
        named: &[TableName],
        anew: impl Fn(&str) -> bool,
    ) -> Result<Self, Refused> {
        let mut next = self.clone();
        next.held.values_mut().for_each(|held| held.referenced = false);
        for name in named {
            let name = (name.anchor.clone(), name.name.clone());
            next.hold(now, name).referenced = true;
        }
        let in_anchors = rules.anchors.iter().map(|(path, anchor)| (path.as_str(), &anchor.tables));
        for (anchor, tables) in std::iter::once(("", &rules.tables)).chain(in_anchors) {
            for table in tables {
                // One that went when no rule named it comes back with the rules that do.
                let name = (anchor.to_owned(), table.name.clone());
                if anew(anchor) || !next.held.get(&name).is_some_and(|held| held.active) {
                    next.declare(now, anchor, table);
                }
            }
        }
        next.held.retain(|_, held| held.referenced || held.active && held.persist);
        next.check(&rules.options.limits)?;
        Ok(next)
    }

    /// These tables as they were, instead of what they have become since, for a program that names
    /// those tables. Limits are not asked: what has been there can come back.
    pub(super) fn restored(&self, now: Instant, current: &Self, named: &[TableName]) -> Self {
        let mut next = Self { made: current.made, ..self.clone() };
        for (name, held) in &mut next.held {
            held.referenced = false;
            if !current.held.get(name).is_some_and(|other| Arc::ptr_eq(&held.editor, &other.editor))
            {
                // What workers have counted since is of other entries.
                next.made += 1;
                let counts = held.editor.table().counts();
                Arc::make_mut(&mut held.editor).set_counts(counts, next.made);
            }
        }
        for name in named {
            next.hold(now, (name.anchor.clone(), name.name.clone())).referenced = true;
        }
        next.held.retain(|_, held| held.referenced || held.active && held.persist);
        next
    }

    /// Whether the same tables are there with the same entries; when those expire is not compared.
    pub(super) fn is_same(&self, now: Instant, other: &Self) -> bool {
        self.held.len() == other.held.len()
            && self.held.iter().zip(&other.held).all(|((name, held), (other_name, other))| {
                name == other_name && held.is_same(now, other)
            })
    }

    /// The table, which is made if it is not there.
    fn hold(&mut self, now: Instant, name: Name) -> &mut Held {
        self.held.entry(name).or_insert_with(|| {
            self.made += 1;
            Held {
                editor: Arc::new(Editor::new(self.made, false, now)),
                persist: false,
                constant: false,
                active: false,
                referenced: false,
            }
        })
    }

    fn declare(&mut self, now: Instant, anchor: &str, table: &Declaration) {
        self.made += 1;
        let uid = self.made;
        let held = self.hold(now, (anchor.to_owned(), table.name.clone()));
        held.active = true;
        held.persist = table.persist;
        held.constant = table.constant;
        if held.editor.table().counts() != table.counters {
            Arc::make_mut(&mut held.editor).set_counts(table.counters, uid);
        }
        if let Some(entries) = &table.entries {
            // It cannot fail: whether there is room is asked of all tables together.
            let _ = Arc::make_mut(&mut held.editor).replace(now, entries, u32::MAX);
        }
    }

    /// Whether the tables are within their limits.
    fn check(&self, limits: &Limits) -> Result<(), Refused> {
        let (tables, entries) = self.used();
        for (name, limit, used) in
            [("tables", limits.tables, tables), ("table-entries", limits.table_entries, entries)]
        {
            if used > u64::from(limit) {
                return Err(Refused::Error(format!(
                    "there would be {used} {}: set limit {name} {limit}",
                    name.replace('-', " ")
                )));
            }
        }
        Ok(())
    }

    /// Tables and entries of all of them.
    pub(super) fn used(&self) -> (u64, u64) {
        let active = self.held.values().filter(|held| held.active);
        active.fold((0, 0), |(tables, entries), held| {
            (tables + 1, entries + u64::from(held.editor.len()))
        })
    }

    /// What the workers need for a program that names these tables.
    pub(super) fn contents(&self, now: Instant, named: &[TableName]) -> Arc<Tables> {
        let snapshot = |name: &TableName| {
            // A program in force names nothing that is not held; an empty table would be right.
            let held = self.held.get(&(name.anchor.clone(), name.name.clone()));
            held.map_or_else(
                || Arc::clone(Editor::new(0, false, now).table()),
                |held| Arc::clone(held.editor.table()),
            )
        };
        Arc::new(Tables::new(named.iter().map(snapshot).collect()))
    }

    /// When the next entry expires.
    fn next_expiry(&self) -> Option<Instant> {
        self.held.values().filter_map(|held| held.editor.next_expiry()).min()
    }

    /// Takes expired entries out.
    fn sweep(&mut self, now: Instant) -> bool {
        let due = |held: &&mut Held| held.editor.next_expiry().is_some_and(|at| at <= now);
        let mut swept = 0;
        for held in self.held.values_mut().filter(due) {
            swept += Arc::make_mut(&mut held.editor).sweep(now);
        }
        swept > 0
    }

    /// Carries a change out; tells what became of it and of each address, and whether the workers
    /// must hear of it.
    fn change(
        &mut self,
        now: Instant,
        change: &TableChange,
        limits: &Limits,
    ) -> Result<(TableOutcome, Vec<TableFeedback>, bool), Refused> {
        let refuse = |text: String| Err(Refused::Error(text));
        let entries = entries(&change.addresses)?;
        let name = (change.anchor.clone(), change.name.clone());
        let makes = matches!(change.action, TableAction::Add | TableAction::Replace);
        let held = self.held.get(&name).filter(|held| held.active);
        if held.is_none() && !makes {
            return refuse("Table does not exist.".into());
        }
        if held.is_some_and(|held| held.constant) && !change.action.leaves_entries() {
            return refuse(format!("table <{}> is const: it cannot be changed", change.name));
        }
        let created = held.is_none();
        if created {
            check_name(&change.name)?;
            check_anchor(&change.anchor)?;
            if self.used().0 >= u64::from(limits.tables) {
                let limit = limits.tables;
                return refuse(format!("there are {limit} tables already: set limit tables"));
            }
        }
        let elsewhere = self.used().1 - held.map_or(0, |held| u64::from(held.editor.len()));
        let room = u32::try_from(u64::from(limits.table_entries).saturating_sub(elsewhere))
            .unwrap_or(u32::MAX);
        let held = self.hold(now, name.clone());
        let mut told =
            TableOutcome { created, addresses: entries.len() as u64, ..Default::default() };
        if change.action == TableAction::Test {
            let told_each = test(held.editor.table(), now, &change.addresses, &entries, &mut told)?;
            let feedback = if change.feedback { told_each } else { Vec::new() };
            return Ok((told, feedback, false));
        }
        if change.action == TableAction::Kill {
            told.deleted = 1;
            if held.referenced {
                let uid = self.made + 1;
                self.made = uid;
                let held = self.hold(now, name);
                *held = Held {
                    editor: Arc::new(Editor::new(uid, false, now)),
                    referenced: true,
                    persist: false,
                    constant: false,
                    active: false,
                };
            } else {
                self.held.remove(&name);
            }
            return Ok((told, Vec::new(), true));
        }
        let edited = edit(Arc::make_mut(&mut held.editor), now, change, &entries, room);
        let outcome = match edited {
            Ok(outcome) => outcome,
            Err(error) => {
                if created && !held.referenced {
                    self.held.remove(&name);
                }
                return refuse(error);
            }
        };
        if created {
            held.active = true;
            held.persist = true;
        }
        told.added = outcome.added.into();
        told.deleted = outcome.deleted.into();
        told.changed = outcome.changed.into();
        told.cleared = outcome.cleared.into();
        if matches!(change.action, TableAction::Expire { .. }) {
            told.addresses = outcome.gone.len() as u64;
        }
        let feedback = if change.feedback { feedback(&entries, &outcome) } else { Vec::new() };
        Ok((told, feedback, created || outcome.is_change()))
    }
}

impl Held {
    fn is_same(&self, now: Instant, other: &Self) -> bool {
        let flags = |held: &Self| (held.persist, held.constant, held.active);
        let entries = |held: &Self| -> Vec<_> {
            let entries = held.editor.table().entries(now).into_iter();
            entries.map(|entry| (entry.net, entry.not, entry.expires.is_some())).collect()
        };
        flags(self) == flags(other)
            && (Arc::ptr_eq(&self.editor, &other.editor) || entries(self) == entries(other))
    }
}

/// The editor's part of a change.
fn edit(
    editor: &mut Editor,
    now: Instant,
    change: &TableChange,
    entries: &[TableEntry],
    room: u32,
) -> Result<Outcome, String> {
    let full = |full| format!("{full}: set limit table-entries");
    Ok(match change.action {
        TableAction::Add => editor.add(now, entries, room).map_err(full)?,
        TableAction::Replace => editor.replace(now, entries, room).map_err(full)?,
        TableAction::Delete => editor.delete(now, entries),
        TableAction::Zero if entries.is_empty() => {
            editor.zero(now);
            Outcome { cleared: 1, ..Outcome::default() }
        }
        TableAction::Zero => editor.zero_entries(now, entries),
        TableAction::Expire { seconds } => editor.expire(now, Duration::from_secs(seconds)),
        TableAction::Flush | TableAction::Kill | TableAction::Test => {
            Outcome { deleted: editor.flush(now), ..Outcome::default() }
        }
    })
}

/// Which of these addresses are in the table.
fn test(
    table: &Table,
    now: Instant,
    written: &[String],
    entries: &[TableEntry],
    told: &mut TableOutcome,
) -> Result<Vec<TableFeedback>, Refused> {
    let mut feedback = Vec::with_capacity(entries.len());
    for (text, entry) in written.iter().zip(entries) {
        if entry.net.prefix_len() != entry.net.max_prefix_len() {
            return Err(Refused::Error(format!("{text}: only addresses can be tested")));
        }
        let found = table.longest(entry.net.addr(), now);
        let matched = found.is_some_and(|found| !found.not);
        told.matched += u64::from(matched);
        feedback.push(TableFeedback {
            address: text.clone(),
            feedback: match found {
                None => protocol::Feedback::None,
                Some(_) if matched => protocol::Feedback::Match,
                Some(_) => protocol::Feedback::NotMatch,
            },
            entry: found.as_ref().map(written_entry),
        });
    }
    Ok(feedback)
}

/// Reads the addresses of a request.
fn entries(addresses: &[String]) -> Result<Vec<TableEntry>, Refused> {
    addresses
        .iter()
        .map(|text| text.parse().map_err(|error| Refused::Error(format!("{text}: {error}"))))
        .collect()
}

fn check_name(name: &str) -> Result<(), Refused> {
    let good = |byte: u8| byte.is_ascii_graphic() && !b"<>\"{}".contains(&byte);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(good) {
        let text = format!("`{name}` is not the name of a table: 1 to {LONGEST_NAME} letters");
        return Err(Refused::Error(text));
    }
    Ok(())
}

/// What became of each address of a request, then what went without being named.
fn feedback(entries: &[TableEntry], outcome: &Outcome) -> Vec<TableFeedback> {
    let one = |entry: &TableEntry, feedback| TableFeedback {
        address: TableEntry { timeout: None, ..*entry }.to_string(),
        feedback,
        entry: None,
    };
    let asked = entries.iter().zip(&outcome.feedback).map(|(entry, feedback)| {
        one(
            entry,
            match feedback {
                Feedback::Unchanged => protocol::Feedback::None,
                Feedback::Added => protocol::Feedback::Added,
                Feedback::Deleted => protocol::Feedback::Deleted,
                Feedback::Changed => protocol::Feedback::Changed,
                Feedback::Cleared => protocol::Feedback::Cleared,
                Feedback::Duplicate => protocol::Feedback::Duplicate,
                Feedback::Conflict => protocol::Feedback::Conflict,
            },
        )
    });
    let gone = outcome.gone.iter().map(|entry| one(entry, protocol::Feedback::Deleted));
    asked.chain(gone).collect()
}

fn written_entry(entry: &Entry) -> String {
    TableEntry { not: entry.not, net: entry.net, timeout: None }.to_string()
}

impl Control {
    /// Changes a table or asks about it; also tells what became of each address, if that is asked.
    ///
    /// # Errors
    /// When the table is not there, is const or would be too large, or an address is none.
    pub fn change_table(
        &self,
        change: &TableChange,
    ) -> Result<(TableOutcome, Vec<TableFeedback>), Refused> {
        let now = self.parts.clock.now();
        let limits = self.limits();
        let mut store = self.tables.lock();
        if change.dry_run {
            let (outcome, feedback, _) = store.clone().change(now, change, &limits)?;
            return Ok((outcome, feedback));
        }
        let (outcome, feedback, changed) = store.change(now, change, &limits)?;
        if changed {
            self.count_tables(&store);
            self.publish_tables(&store, &mut self.in_force.lock())?;
            self.tables_changed.notify_all();
        }
        Ok((outcome, feedback))
    }

    /// Deletes the tables of an anchor that rules do not declare const, and with `recursive` those of
    /// all below it; tells how many.
    ///
    /// # Errors
    /// When a worker is stuck.
    pub fn flush_tables(&self, anchor: &str, recursive: bool) -> Result<u64, Refused> {
        check_anchor(anchor)?;
        let now = self.parts.clock.now();
        let limits = self.limits();
        let mut store = self.tables.lock();
        let chosen: Vec<Name> = store
            .held
            .iter()
            .filter(|((path, _), held)| held.active && is_in(path, anchor, recursive))
            .map(|(name, _)| name.clone())
            .collect();
        for (anchor, name) in &chosen {
            let change = TableChange {
                name: name.clone(),
                anchor: anchor.clone(),
                action: TableAction::Kill,
                addresses: Vec::new(),
                dry_run: false,
                feedback: false,
            };
            store.change(now, &change, &limits)?;
        }
        self.count_tables(&store);
        self.publish_tables(&store, &mut self.in_force.lock())?;
        Ok(chosen.len() as u64)
    }

    /// Brings the counts of tables and of their entries up to date, after any change of the store.
    pub(super) fn count_tables(&self, store: &TableStore) {
        let (tables, entries) = store.used();
        // Limits are numbers of 32 bits.
        self.parts.shared.pool(Limit::Tables).set(tables as u32);
        self.parts.shared.pool(Limit::TableEntries).set(entries as u32);
    }

    /// Gives the workers what is in the tables now.
    pub(super) fn publish_tables(
        &self,
        store: &TableStore,
        in_force: &mut InForce,
    ) -> Result<(), Refused> {
        let Some(program) = &in_force.program else {
            return Ok(());
        };
        let tables = store.contents(self.parts.clock.now(), program.tables());
        let mut answers = Vec::with_capacity(self.parts.mailboxes.len());
        for mailbox in &self.parts.mailboxes {
            let pages = Pages::between(&in_force.tables, &tables);
            let posted = mailbox.post(|done| Letter::Tables(Arc::clone(&tables), pages, done));
            answers.push(posted.inspect_err(|error| (self.parts.give_up)(&error.to_string()))?);
        }
        in_force.tables = tables;
        // One that is late takes them up when it answers again, before anything that comes later.
        for answer in answers {
            drop(answer.wait());
        }
        Ok(())
    }

    pub(super) fn limits(&self) -> Limits {
        let in_force = self.in_force.lock();
        in_force
            .program
            .as_ref()
            .map_or_else(Limits::default, |program| program.rules().options.limits.clone())
    }

    /// Takes expired entries out when they are due; never returns.
    pub fn sweep_tables(&self) -> ! {
        let mut store = self.tables.lock();
        loop {
            let now = self.parts.clock.now();
            if store.sweep(now) {
                self.count_tables(&store);
                // A worker that is stuck has been told of.
                let _ = self.publish_tables(&store, &mut self.in_force.lock());
            }
            match store.next_expiry() {
                // Not more often than once a second: what has expired is not found anyway.
                Some(at) => {
                    let pause = at.since(now).max(Duration::from_secs(1));
                    self.tables_changed.wait_for(&mut store, pause);
                }
                None => self.tables_changed.wait(&mut store),
            }
        }
    }

    /// The tables of an anchor, and with `recursive` those of all below it.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn tables(&self, anchor: &str, recursive: bool) -> Result<Vec<protocol::Table>, Refused> {
        let now = self.parts.clock.now();
        // Locked until the workers have answered, so that numbers of tables mean the same to all.
        let (chosen, program, tallies) = {
            let store = self.tables.lock();
            let in_force = self.in_force.lock();
            let chosen = store.held.iter().filter(|((path, _), _)| is_in(path, anchor, recursive));
            let chosen: Vec<_> = chosen.map(|(name, held)| (name.clone(), held.clone())).collect();
            (chosen, in_force.program.clone(), self.tell(Letter::TableTallies)?)
        };
        let named = program.as_ref().map_or(&[][..], |program| program.tables());
        let ids: BTreeMap<_, _> =
            named.iter().map(|table| (&*table.anchor, &*table.name)).zip(0..).collect();
        let references = program.as_ref().map(|program| References::of(program.rules()));
        let listed = chosen.into_iter().map(|((anchor, name), held)| {
            let id: Option<&usize> = ids.get(&(&*anchor, &*name));
            let mut sum = TableTally::default();
            for tally in tallies.iter().filter_map(|all| all.get(*id?)) {
                sum.merge(tally);
            }
            let (anchors, rules) =
                references.as_ref().map_or((0, 0), |references| references.to(&anchor, &name));
            let traffic = sum.tallies.map(|ops| ops.map(|tally| [tally.packets, tally.bytes]));
            protocol::Table {
                name,
                anchor,
                persist: held.persist,
                constant: held.constant,
                active: held.active,
                referenced: held.referenced,
                counters: held.editor.table().counts(),
                addresses: held.editor.len().into(),
                cleared: now.since(held.editor.zeroed()).as_secs(),
                anchors,
                rules,
                evaluations: [sum.no_match, sum.matches],
                traffic,
            }
        });
        Ok(listed.collect())
    }

    /// Lists the entries of a table in order, some at a time; tells how many. What changes meanwhile is
    /// listed as it is when its turn comes: nothing is held from one piece to the next.
    ///
    /// # Errors
    /// When there is no such table (any more), a worker does not answer, or `each` fails.
    pub fn table_entries(
        &self,
        anchor: &str,
        name: &str,
        mut each: impl FnMut(Vec<protocol::TableEntry>) -> io::Result<()>,
    ) -> Result<Done, Refused> {
        let name = (anchor.to_owned(), name.to_owned());
        let (mut count, mut last) = (0, None);
        loop {
            let piece = self.piece_of_table(&name, last)?;
            let Some((net, _)) = piece.last() else { return Ok(Done { count, note: None }) };
            last = Some(*net);
            count += piece.len() as u64;
            each(piece.into_iter().map(|(_, entry)| entry).collect())?;
        }
    }

    /// At most [`CHUNK`] entries of a table, those behind one of them.
    fn piece_of_table(
        &self,
        name: &Name,
        last: Option<IpNet>,
    ) -> Result<Vec<(IpNet, protocol::TableEntry)>, Refused> {
        let now = self.parts.clock.now();
        let (editor, id) = {
            let store = self.tables.lock();
            let Some(held) = store.held.get(name).filter(|held| held.active) else {
                return Err(Refused::Error("Table does not exist.".into()));
            };
            let in_force = self.in_force.lock();
            let named = in_force.program.as_ref().map_or(&[][..], |program| program.tables());
            let id =
                named.iter().position(|table| (&table.anchor, &table.name) == (&name.0, &name.1));
            (Arc::clone(&held.editor), id)
        };
        let table = editor.table();
        let entries = table.entries_after(last, CHUNK, now);
        let mut sums = vec![EntryCounters::default(); entries.len()];
        if let Some(id) = id.filter(|_| table.counts()) {
            let mut hits: Vec<_> = entries.iter().map(|entry| entry.hit).collect();
            for mailbox in &self.parts.mailboxes {
                let counted;
                (hits, counted) = mailbox.ask(|reply| {
                    Letter::EntryCounters(id as u32, table.uid(), std::mem::take(&mut hits), reply)
                })?;
                for (sum, counted) in sums.iter_mut().zip(counted) {
                    sum.merge(&counted);
                }
            }
        }
        let views = entries.iter().zip(sums).map(|(entry, sum)| {
            let counted = || sum.tallies.map(|ops| ops.map(|tally| [tally.packets, tally.bytes]));
            let view = protocol::TableEntry {
                address: written_entry(entry),
                cleared: now.since(editor.cleared(entry)).as_secs(),
                expires: entry.expires.map(|at| at.since(now).as_secs()),
                traffic: table.counts().then(counted),
            };
            (entry.net, view)
        });
        Ok(views.collect())
    }
}

/// Whether the tables of an anchor are asked for.
pub(super) fn is_in(path: &str, anchor: &str, recursive: bool) -> bool {
    let below = || path.strip_prefix(anchor).is_some_and(|rest| rest.starts_with('/'));
    path == anchor || recursive && (anchor.is_empty() || below())
}

/// How many anchors other than its own, and how many rules in all, name each table.
#[derive(Default)]
struct References<'a> {
    /// By anchor and name.
    counts: BTreeMap<(&'a str, &'a str), (u64, u64)>,
}

impl<'a> References<'a> {
    /// Those of a rule set. What a rule names is the table of its own anchor and of each above it, up to
    /// the nearest that declares one.
    fn of(set: &'a RuleSet) -> Self {
        let mut found = Self::default();
        let declares = |path: &str, name: &str| {
            let anchor = set.anchors.get(path);
            anchor.is_some_and(|anchor| anchor.tables.iter().any(|table| table.name == name))
        };
        let in_anchors = set.anchors.iter().map(|(path, anchor)| (path.as_str(), &anchor.rules));
        for (path, rules) in std::iter::once(("", &set.rules)).chain(in_anchors) {
            let mut naming: BTreeMap<&str, u64> = BTreeMap::new();
            for name in rules.iter().flat_map(names) {
                *naming.entry(name).or_default() += 1;
            }
            for (name, rules) in naming {
                let mut above = path;
                loop {
                    let count = found.counts.entry((above, name)).or_default();
                    count.0 += u64::from(above != path);
                    count.1 += rules;
                    if above.is_empty() || declares(above, name) {
                        break;
                    }
                    above = above.rsplit_once('/').map_or("", |(parent, _)| parent);
                }
            }
        }
        found
    }

    /// To a table.
    fn to(&self, anchor: &'a str, name: &'a str) -> (u64, u64) {
        self.counts.get(&(anchor, name)).copied().unwrap_or_default()
    }
}

/// The tables that a rule names, each once.
fn names(rule: &Rule) -> impl Iterator<Item = &str> {
    let overload = rule.state_options.overload.as_ref().map(|overload| &*overload.table);
    let hosts = [&rule.from.address, &rule.to.address].map(|address| match address {
        Address::Table(table) => Some(&**table),
        _ => None,
    });
    let all: BTreeSet<&str> = hosts.into_iter().chain([overload]).flatten().collect();
    all.into_iter()
}
