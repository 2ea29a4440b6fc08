//! What a worker counts for tables: pf's per-table and per-entry counters (pfctl(8), `-vvs Tables`
//! and `-T show -v`).
//!
//! Every worker has its own. Nobody resets them: a table's or an entry's counters carry the stamp of
//! the entry that they were counted for, and start anew at the first packet of another. So an id can
//! be used again at once, `-T zero` is a change like any other, and the reader drops what is stale.

use std::collections::HashMap;
use std::sync::Arc;

use weir_config::rules::Direction;

use super::{Hit, Table, Tables};
use crate::counters::Tally;

/// What became of a packet by the rule that asked the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableOp {
    /// A `block` rule.
    Block,
    /// A `match` rule.
    Match,
    /// A `pass` rule, or a state that one made.
    Pass,
}

/// What was counted for one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryCounters {
    /// Packets by direction (in, out) and by [`TableOp`].
    pub tallies: [[Tally; 3]; 2],
}

/// What was counted for a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableTally {
    /// Look-ups that found the address not to be in the table.
    pub no_match: u64,
    /// Look-ups that found it.
    pub matches: u64,
    /// By direction (in, out): what [`EntryCounters`] counts, and last the packets of states whose
    /// address the table no longer has, pf's `XPass`.
    pub tallies: [[Tally; 4]; 2],
}

impl EntryCounters {
    /// Adds what another worker has counted.
    pub fn merge(&mut self, other: &Self) {
        let all = self.tallies.iter_mut().flatten().zip(other.tallies.iter().flatten());
        all.for_each(|(tally, other)| tally.merge(other));
    }
}

impl TableTally {
    /// Adds what another worker has counted.
    pub fn merge(&mut self, other: &Self) {
        self.no_match += other.no_match;
        self.matches += other.matches;
        let all = self.tallies.iter_mut().flatten().zip(other.tallies.iter().flatten());
        all.for_each(|(tally, other)| tally.merge(other));
    }
}

/// Entries whose counters are allocated together.
const PAGE: usize = 256;
/// Stamp, then packets and bytes of each direction and operation.
const WORDS: usize = 13;

/// The counters of [`PAGE`] entries.
type Page = Box<[[u64; WORDS]]>;

/// Pages for counters of entries that are new, for one worker. A million entries need a hundred
/// megabytes, so the control thread has them zeroed, not the worker.
#[derive(Debug, Default)]
pub struct Pages(Vec<Page>);

impl Pages {
    /// What [`TableCounters::take_up`] needs for tables behind others.
    pub fn between(before: &Tables, after: &Tables) -> Self {
        let had: HashMap<u64, usize> =
            before.all().iter().map(|table| (table.uid, pages(table))).collect();
        let new = |table: &Arc<Table>| {
            pages(table).saturating_sub(had.get(&table.uid).copied().unwrap_or(0))
        };
        Self((0..after.all().iter().map(new).sum()).map(|_| page()).collect())
    }
}

fn page() -> Page {
    vec![[0; WORDS]; PAGE].into_boxed_slice()
}

/// How many pages the entries of a table need.
fn pages(table: &Table) -> usize {
    if table.counts { (table.ids as usize).div_ceil(PAGE) } else { 0 }
}

#[derive(Debug)]
struct Counted {
    uid: u64,
    stamp: u64,
    tally: TableTally,
    /// By id; empty if entries are not counted.
    pages: Vec<Page>,
}

/// The counters of one worker.
#[derive(Debug, Default)]
pub struct TableCounters {
    /// By table id.
    counted: Vec<Counted>,
    /// For what is taken up next.
    stock: Pages,
}

/// What [`TableCounters::take_up`] has no use for any more. Worth dropping elsewhere: it may be
/// large.
#[derive(Debug, Default)]
#[must_use]
pub struct Retired {
    _counted: Vec<Counted>,
    _stock: Pages,
}

impl TableCounters {
    /// Pages for the tables that are taken up next. What they do not suffice for is made then.
    pub fn stock(&mut self, pages: Pages) {
        self.stock = pages;
    }

    /// Makes room for what these tables count. Counters of tables that were there before live on,
    /// also under another id.
    pub fn take_up(&mut self, tables: &Tables) -> Retired {
        let same = self.counted.len() == tables.all().len()
            && self
                .counted
                .iter()
                .zip(tables.all())
                .all(|(counted, table)| counted.uid == table.uid);
        let mut retired = Vec::new();
        if !same {
            let mut old: HashMap<u64, Counted> =
                self.counted.drain(..).map(|counted| (counted.uid, counted)).collect();
            self.counted = tables
                .all()
                .iter()
                .map(|table| {
                    old.remove(&table.uid).unwrap_or_else(|| Counted {
                        uid: table.uid,
                        stamp: table.zeroed,
                        tally: TableTally::default(),
                        pages: Vec::new(),
                    })
                })
                .collect();
            retired = old.into_values().collect();
        }
        for (counted, table) in self.counted.iter_mut().zip(tables.all()) {
            counted.take_up(table, &mut self.stock);
        }
        Retired { _counted: retired, _stock: std::mem::take(&mut self.stock) }
    }

    /// Counts a look-up.
    #[inline]
    pub fn evaluated(&mut self, table: u32, found: bool) {
        if let Some(counted) = self.counted.get_mut(table as usize) {
            *(if found { &mut counted.tally.matches } else { &mut counted.tally.no_match }) += 1;
        }
    }

    /// Counts a packet by a rule that names the table. `hit` is what a look-up finds now, `negated`
    /// says that the rule has `!` before the table.
    #[inline]
    pub fn count(
        &mut self,
        table: u32,
        hit: Option<Hit>,
        negated: bool,
        direction: Direction,
        op: TableOp,
        bytes: u32,
    ) {
        let Some(counted) = self.counted.get_mut(table as usize) else {
            return;
        };
        let direction = usize::from(direction == Direction::Out);
        let found = hit.is_some_and(|hit| !hit.not);
        if found == negated {
            counted.tally.tallies[direction][3].add(bytes);
            return;
        }
        counted.tally.tallies[direction][op as usize].add(bytes);
        if let Some(hit) = hit
            && let Some(page) = counted.pages.get_mut(hit.entry as usize / PAGE)
        {
            let words = &mut page[hit.entry as usize % PAGE];
            let stamp = hit.stamp.max(counted.stamp) + 1;
            if words[0] != stamp {
                *words = [0; WORDS];
                words[0] = stamp;
            }
            let at = 1 + 2 * (3 * direction + op as usize);
            words[at] += 1;
            words[at + 1] += u64::from(bytes);
        }
    }

    /// What was counted for a table since it was zeroed.
    pub fn table(&self, table: u32) -> Option<TableTally> {
        self.counted.get(table as usize).map(|counted| counted.tally)
    }

    /// What was counted for each table, by its id.
    pub fn tables(&self) -> Vec<TableTally> {
        self.counted.iter().map(|counted| counted.tally).collect()
    }

    /// What was counted for an entry of a table, whose id and [`Table::uid`] these are, by what a
    /// look-up for it finds; `None` if nothing was, or the id is another table's now.
    pub fn entry(&self, table: u32, uid: u64, hit: Hit) -> Option<EntryCounters> {
        let counted = self.counted.get(table as usize).filter(|counted| counted.uid == uid)?;
        let words = &counted.pages.get(hit.entry as usize / PAGE)?[hit.entry as usize % PAGE];
        (words[0] == hit.stamp.max(counted.stamp) + 1).then(|| {
            let tally = |at: usize| Tally { packets: words[at], bytes: words[at + 1] };
            EntryCounters {
                tallies: [[tally(1), tally(3), tally(5)], [tally(7), tally(9), tally(11)]],
            }
        })
    }
}

impl Counted {
    fn take_up(&mut self, table: &Table, stock: &mut Pages) {
        if self.stamp != table.zeroed {
            self.stamp = table.zeroed;
            self.tally = TableTally::default();
        }
        while self.pages.len() < pages(table) {
            self.pages.push(stock.0.pop().unwrap_or_else(page));
        }
    }
}
