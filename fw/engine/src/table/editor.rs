//! Changing a table, in pf's words: `-T add`, `delete`, `replace`, `zero`, `expire`, `flush`
//! (pfctl(8)), and what pf says of each address (`PFR_FB_*`).
//!
//! An editor is the only one who changes its table. Each call costs what it touches, makes one new
//! snapshot, and either does all of what it is asked or nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use weir_config::tables::TableEntry;

use super::trie::{self, Edit, Leaf};
use super::{Entry, Table};
use crate::packet::Address;
use crate::time::Instant;

/// What became of one address of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// Nothing: it was there, or was not, as asked.
    Unchanged,
    /// It was added.
    Added,
    /// It was deleted.
    Deleted,
    /// It was given or lost its `!`, or its time-out began anew.
    Changed,
    /// Its counters were cleared.
    Cleared,
    /// The request names it twice.
    Duplicate,
    /// It is there with a `!`, the request has none, or the other way round; nothing was done.
    Conflict,
}

/// How a change went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Entries added.
    pub added: u32,
    /// Entries deleted.
    pub deleted: u32,
    /// Entries changed.
    pub changed: u32,
    /// Entries whose counters were cleared.
    pub cleared: u32,
    /// One for each address of the request, in its order.
    pub feedback: Vec<Feedback>,
    /// Entries deleted that the request does not name.
    pub gone: Vec<TableEntry>,
}

impl Outcome {
    /// Whether the table is another than before.
    pub const fn is_change(&self) -> bool {
        self.added + self.deleted + self.changed + self.cleared > 0
    }
}

/// A change would make the table larger than it may be; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Entries there would be.
    pub needed: u32,
    /// Entries there may be.
    pub room: u32,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries would be needed and there is room for {}", self.needed, self.room)
    }
}

impl std::error::Error for Full {}

/// Family (IPv4 is 0), key and length of a prefix: what tells entries apart.
type Place = (u8, u128, u8);

/// The control thread's side of a table.
#[derive(Clone, Debug)]
pub struct Editor {
    table: Arc<Table>,
    /// Ids below [`Table::ids`] that no entry has.
    free: Vec<u32>,
    /// When each entry's counters were cleared last, or the entry was made; by id.
    cleared: Vec<Instant>,
    /// When the table's were.
    zeroed: Instant,
    stamp: u64,
    /// Entries that expire, the next one first.
    timed: BTreeSet<(Instant, Place)>,
}

impl Editor {
    /// An empty table. `uid` must be new; `counts` is the declaration's `counters`.
    pub fn new(uid: u64, counts: bool, now: Instant) -> Self {
        Self {
            table: Arc::new(Table { uid, roots: [None, None], len: 0, ids: 0, counts, zeroed: 0 }),
            free: Vec::new(),
            cleared: Vec::new(),
            zeroed: now,
            stamp: 0,
            timed: BTreeSet::new(),
        }
    }

    /// The snapshot in force: for the workers.
    pub const fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Entries there are now.
    pub fn len(&self) -> u32 {
        self.table.len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.table.len == 0
    }

    /// When the table's counters were cleared, or it was made.
    pub const fn zeroed(&self) -> Instant {
        self.zeroed
    }

    /// When an entry's counters were cleared, or it was made.
    pub fn cleared(&self, entry: &Entry) -> Instant {
        self.cleared.get(entry.hit.entry as usize).map_or(self.zeroed, |&at| at.max(self.zeroed))
    }

    /// Starts or stops counting for each entry, under a new `uid`: what was counted is lost.
    pub fn set_counts(&mut self, counts: bool, uid: u64) {
        let table = Arc::make_mut(&mut self.table);
        table.counts = counts;
        table.uid = uid;
    }

    /// `-T add`: entries that are not there yet; one that is there and is given a time-out has it
    /// begin anew. There may be `room` entries in the end.
    ///
    /// # Errors
    /// When there is no room for all of them; then nothing has changed.
    pub fn add(
        &mut self,
        now: Instant,
        entries: &[TableEntry],
        room: u32,
    ) -> Result<Outcome, Full> {
        self.sweep(now);
        let mut outcome = Outcome::with(entries.len());
        let mut edits = Edits::default();
        for (place, index) in sorted(entries, &mut outcome) {
            let entry = &entries[index];
            let timeout = Timeout::Anew(entry.timeout);
            let feedback = match self.find(place) {
                None => {
                    edits.put(place, leaf(entry), Work { count: Count::New, timeout });
                    Feedback::Added
                }
                Some(old) if old.not != entry.not => Feedback::Conflict,
                Some(old) if entry.timeout.is_some() => {
                    edits.put(place, *old, Work { count: Count::On, timeout });
                    Feedback::Changed
                }
                Some(_) => Feedback::Unchanged,
            };
            outcome.note(index, feedback);
        }
        self.carry_out(now, edits, outcome, room)
    }

    /// `-T delete`: entries that are there just as they are named.
    pub fn delete(&mut self, now: Instant, entries: &[TableEntry]) -> Outcome {
        self.sweep(now);
        let mut outcome = Outcome::with(entries.len());
        let mut edits = Edits::default();
        for (place, index) in sorted(entries, &mut outcome) {
            let feedback = match self.find(place) {
                None => Feedback::Unchanged,
                Some(old) if old.not != entries[index].not => Feedback::Conflict,
                Some(old) => {
                    edits.remove(place, *old);
                    Feedback::Deleted
                }
            };
            outcome.note(index, feedback);
        }
        self.commit(now, edits);
        outcome
    }

    /// `-T replace`, and what a declaration with entries does: the table has these and no others.
    /// Entries that stay keep their counters.
    ///
    /// # Errors
    /// As for [`Editor::add`].
    pub fn replace(
        &mut self,
        now: Instant,
        entries: &[TableEntry],
        room: u32,
    ) -> Result<Outcome, Full> {
        self.sweep(now);
        let mut outcome = Outcome::with(entries.len());
        let mut edits = Edits::default();
        let mut old = self.leaves().into_iter().peekable();
        let gone = |place: Place, leaf: Leaf, edits: &mut Edits, outcome: &mut Outcome| {
            outcome.gone.push(TableEntry {
                not: leaf.not,
                net: super::entry(usize::from(place.0), &leaf).net,
                timeout: None,
            });
            outcome.deleted += 1;
            edits.remove(place, leaf);
        };
        for (place, index) in sorted(entries, &mut outcome) {
            while let Some((before, leaf)) = old.next_if(|(before, _)| *before < place) {
                gone(before, leaf, &mut edits, &mut outcome);
            }
            let entry = &entries[index];
            let timeout = Timeout::Anew(entry.timeout);
            let feedback = match old.next_if(|(same, _)| *same == place) {
                None => {
                    edits.put(place, leaf(entry), Work { count: Count::New, timeout });
                    Feedback::Added
                }
                Some((_, mut old)) if old.not != entry.not => {
                    old.not = entry.not;
                    edits.put(place, old, Work { count: Count::Anew, timeout });
                    Feedback::Changed
                }
                Some((_, old)) => {
                    let was_timed = old.deadline().is_some();
                    if was_timed || entry.timeout.is_some() {
                        edits.put(place, old, Work { count: Count::On, timeout });
                    }
                    if was_timed == entry.timeout.is_some() {
                        // That a time-out begins anew is no change of the entry.
                        Feedback::Unchanged
                    } else {
                        Feedback::Changed
                    }
                }
            };
            outcome.note(index, feedback);
        }
        for (place, leaf) in old {
            gone(place, leaf, &mut edits, &mut outcome);
        }
        self.carry_out(now, edits, outcome, room)
    }

    /// `-T flush`: deletes all entries; tells how many there were.
    pub fn flush(&mut self, now: Instant) -> u32 {
        self.sweep(now);
        let table = Arc::make_mut(&mut self.table);
        table.roots = [None, None];
        self.stamp += 1;
        // Ids are handed out anew, so the counters of all are void.
        table.ids = 0;
        self.free.clear();
        self.cleared.clear();
        self.timed.clear();
        std::mem::take(&mut table.len)
    }

    /// `-T zero`: clears the counters of the table and of all entries. Costs nothing.
    pub fn zero(&mut self, now: Instant) {
        self.stamp += 1;
        self.zeroed = now;
        Arc::make_mut(&mut self.table).zeroed = self.stamp;
    }

    /// `-T zero` with addresses: clears the counters of these.
    pub fn zero_entries(&mut self, now: Instant, entries: &[TableEntry]) -> Outcome {
        self.sweep(now);
        let mut outcome = Outcome::with(entries.len());
        let mut edits = Edits::default();
        for (place, index) in sorted(entries, &mut outcome) {
            let feedback = match self.find(place) {
                None => Feedback::Unchanged,
                Some(old) if old.not != entries[index].not => Feedback::Conflict,
                Some(old) => {
                    edits.put(place, *old, Work { count: Count::Anew, timeout: Timeout::Stays });
                    Feedback::Cleared
                }
            };
            outcome.note(index, feedback);
        }
        self.commit(now, edits);
        outcome
    }

    /// `-T expire`: deletes the entries whose counters were cleared longer ago than `age`.
    pub fn expire(&mut self, now: Instant, age: Duration) -> Outcome {
        let old: Vec<TableEntry> = self
            .table
            .entries(now)
            .iter()
            .filter(|entry| now.since(self.cleared(entry)) > age)
            .map(|entry| TableEntry { not: entry.not, net: entry.net, timeout: None })
            .collect();
        let mut outcome = self.delete(now, &old);
        outcome.gone = old;
        outcome
    }

    /// Takes out the entries that have expired; tells how many. Their look-ups have failed before.
    pub fn sweep(&mut self, now: Instant) -> u32 {
        let mut edits = Edits::default();
        for &(deadline, place) in &self.timed {
            if deadline > now {
                break;
            }
            if let Some(leaf) = self.find(place) {
                edits.remove(place, *leaf);
            }
        }
        edits.sort();
        let count = edits.len();
        self.commit(now, edits);
        count
    }

    /// When [`Editor::sweep`] will have something to do.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.timed.first().map(|&(deadline, _)| deadline)
    }

    fn find(&self, (family, key, length): Place) -> Option<&Leaf> {
        trie::find(self.table.roots[usize::from(family)].as_ref(), key, length)
    }

    /// All entries in the order of their places.
    fn leaves(&self) -> Vec<(Place, Leaf)> {
        let mut all = Vec::with_capacity(self.table.len as usize);
        for (family, root) in (0..).zip(&self.table.roots) {
            if let Some(root) = root {
                trie::visit(root, &mut |leaf| {
                    let (key, length) = leaf.place();
                    all.push(((family, key, length), *leaf));
                });
            }
        }
        all.sort_unstable_by_key(|(place, _)| *place);
        all
    }

    fn carry_out(
        &mut self,
        now: Instant,
        edits: Edits,
        outcome: Outcome,
        room: u32,
    ) -> Result<Outcome, Full> {
        let needed = self.table.len - outcome.deleted + outcome.added;
        if needed > room && outcome.added > 0 {
            return Err(Full { needed, room });
        }
        self.commit(now, edits);
        Ok(outcome)
    }

    /// Numbers and dates the entries and makes the new snapshot.
    fn commit(&mut self, now: Instant, mut edits: Edits) {
        if edits.len() == 0 {
            return;
        }
        self.stamp += 1;
        let table = Arc::make_mut(&mut self.table);
        // Freed first: a replaced table shall not need twice the ids.
        for (family, edit) in edits.all() {
            let (key, length) = edit.leaf.place();
            if let Some(deadline) = edit.leaf.deadline() {
                self.timed.remove(&(deadline, (family, key, length)));
            }
            if !edit.put {
                self.free.push(edit.leaf.id);
                table.len -= 1;
            }
        }
        for (family, (edits, work)) in (0..).zip(edits.families.iter_mut().zip(&edits.work)) {
            for (Edit { leaf, put }, work) in edits.iter_mut().zip(work) {
                if !*put {
                    continue;
                }
                if work.count == Count::New {
                    leaf.id = self.free.pop().unwrap_or(table.ids);
                    table.ids = table.ids.max(leaf.id + 1);
                    table.len += 1;
                    self.cleared.resize(table.ids as usize, now);
                }
                if work.count != Count::On {
                    leaf.set_stamp(self.stamp);
                    self.cleared[leaf.id as usize] = now;
                }
                if let Timeout::Anew(timeout) = work.timeout {
                    leaf.set_deadline(
                        timeout.map(|seconds| now.after(Duration::from_secs(seconds.into()))),
                    );
                }
                if let Some(deadline) = leaf.deadline() {
                    let (key, length) = leaf.place();
                    self.timed.insert((deadline, (family, key, length)));
                }
            }
        }
        for (root, edits) in table.roots.iter_mut().zip(&edits.families) {
            *root = trie::apply(root.as_ref(), edits);
        }
    }
}

impl Outcome {
    fn with(addresses: usize) -> Self {
        Self { feedback: vec![Feedback::Duplicate; addresses], ..Self::default() }
    }

    fn note(&mut self, index: usize, feedback: Feedback) {
        self.feedback[index] = feedback;
        match feedback {
            Feedback::Added => self.added += 1,
            Feedback::Deleted => self.deleted += 1,
            Feedback::Changed => self.changed += 1,
            Feedback::Cleared => self.cleared += 1,
            Feedback::Unchanged | Feedback::Duplicate | Feedback::Conflict => {}
        }
    }
}

/// What is to be done to an entry that is put.
#[derive(Clone, Copy, Debug)]
struct Work {
    count: Count,
    timeout: Timeout,
}

/// What becomes of an entry's time-out.
#[derive(Clone, Copy, Debug)]
enum Timeout {
    /// It stays.
    Stays,
    /// It begins anew, in seconds; or there is none.
    Anew(Option<u32>),
}

/// What becomes of an entry's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    /// The entry is new.
    New,
    /// They begin anew.
    Anew,
    /// They go on.
    On,
}

/// Edits of both families, in the order of their places.
#[derive(Debug, Default)]
struct Edits {
    families: [Vec<Edit>; 2],
    /// Beside each edit; that of a removal has no meaning.
    work: [Vec<Work>; 2],
}

impl Edits {
    fn put(&mut self, place: Place, leaf: Leaf, work: Work) {
        self.push(place, Edit { leaf, put: true }, work);
    }

    fn remove(&mut self, place: Place, leaf: Leaf) {
        let work = Work { count: Count::On, timeout: Timeout::Stays };
        self.push(place, Edit { leaf, put: false }, work);
    }

    fn push(&mut self, (family, ..): Place, edit: Edit, work: Work) {
        self.families[usize::from(family)].push(edit);
        self.work[usize::from(family)].push(work);
    }

    /// For removals, whose work is all the same.
    fn sort(&mut self) {
        for edits in &mut self.families {
            edits.sort_unstable_by_key(|edit| edit.leaf.place());
        }
    }

    fn all(&self) -> impl Iterator<Item = (u8, &Edit)> {
        (0..).zip(&self.families).flat_map(|(family, edits)| edits.iter().map(move |e| (family, e)))
    }

    fn len(&self) -> u32 {
        (self.families[0].len() + self.families[1].len()) as u32
    }
}

/// The places of a request's addresses in order, each with the index of the address. Of those that
/// are named twice only the first; the others stay [`Feedback::Duplicate`].
fn sorted(entries: &[TableEntry], outcome: &mut Outcome) -> Vec<(Place, usize)> {
    debug_assert_eq!(entries.len(), outcome.feedback.len());
    let mut places: Vec<_> =
        entries.iter().enumerate().map(|(index, entry)| (place(entry), index)).collect();
    places.sort_unstable();
    places.dedup_by_key(|(place, _)| *place);
    places
}

fn place(entry: &TableEntry) -> Place {
    match entry.net.trunc() {
        IpNet::V4(net) => {
            let key = Address::v4(net.addr().octets()).0 << 96;
            (0, key, net.prefix_len())
        }
        IpNet::V6(net) => (1, net.addr().into(), net.prefix_len()),
    }
}

fn leaf(entry: &TableEntry) -> Leaf {
    let (_, key, length) = place(entry);
    Leaf::new(key, length, entry.not)
}
