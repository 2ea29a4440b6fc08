//! Tables of addresses while weir runs (pf.conf(5), TABLES).
//!
//! A [`Table`] is an immutable snapshot: workers look addresses up in it and hold it as long as they
//! like. An [`Editor`] belongs to the control thread; each change makes a new snapshot that shares
//! all but the touched nodes with the one before ([`trie`]). [`Tables`] are all tables of a program.
//! What workers count for tables is in their own [`TableCounters`].
//!
//! An entry with a time-out is as if it were not there from its deadline on, which is rounded up to
//! 67 ms; that it still takes room until [`Editor::sweep`] shows only in the listing of memory.

#![forbid(unsafe_code)]

mod counters;
mod declared;
mod editor;
#[cfg(test)]
mod tests;
mod trie;

use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub use counters::{EntryCounters, Pages, Retired, TableCounters, TableOp, TableTally};
pub use editor::{Editor, Feedback, Full, Outcome};

use crate::packet::{Address, Network};
use crate::processor;
use crate::time::Instant;
use trie::{Item, Leaf, Search};

/// The entries of one table at one time.
#[derive(Clone, Debug)]
pub struct Table {
    /// Tells tables apart over reloads that move them.
    uid: u64,
    /// IPv4 and IPv6.
    roots: [Option<Item>; 2],
    /// Entries, those that have expired but were not swept included.
    len: u32,
    /// Entry ids are below this.
    ids: u32,
    /// Packets are counted for each entry.
    counts: bool,
    /// Counters older than this stamp are void.
    zeroed: u64,
}

/// What was found in a table: the entry with the longest prefix that holds the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Id of the entry; may be given to another entry when this one is gone.
    pub entry: u32,
    /// The entry was written with `!`: the address is not in the table.
    pub not: bool,
    /// Tells the entry from others that had its id.
    stamp: u64,
}

/// An entry as listings show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The prefix.
    pub net: IpNet,
    /// `!` was written.
    pub not: bool,
    /// When it goes by itself.
    pub expires: Option<Instant>,
    /// The key of its counters.
    pub hit: Hit,
}

impl Table {
    /// Addresses that [`Table::lookup_group`] takes at most: about as many cache misses as a core can
    /// have on their way.
    pub const GROUP: usize = 16;

    /// What to look at for an address of this network: nothing but IP is in tables.
    #[inline]
    fn root(&self, address: Address, network: Network) -> (Option<&Item>, u128) {
        match network {
            Network::Ipv4 => (self.roots[0].as_ref(), address.0 << 96),
            Network::Ipv6 => (self.roots[1].as_ref(), address.0),
            Network::Arp => (None, 0),
        }
    }

    /// The entry with the longest prefix that holds the address, if one does. It may be a `!` entry.
    #[inline]
    pub fn lookup(&self, address: Address, network: Network, now: Instant) -> Option<Hit> {
        let (root, key) = self.root(address, network);
        trie::longest(root, key, now).map(hit)
    }

    /// Looks addresses up together, [`Table::GROUP`] at most, so that their cache misses overlap: in a
    /// large table several times as fast as one after the other. The answers are in the order of the
    /// addresses, `None` behind the last.
    #[inline]
    pub fn lookup_group(
        &self,
        addresses: impl Iterator<Item = (Address, Network)>,
        now: Instant,
    ) -> [Option<Hit>; Self::GROUP] {
        processor::with_bit_counts(
            #[inline(always)]
            || self.search_group(addresses, now),
        )
    }

    #[expect(clippy::inline_always, reason = "for the form that its caller chooses")]
    #[inline(always)]
    fn search_group(
        &self,
        addresses: impl Iterator<Item = (Address, Network)>,
        now: Instant,
    ) -> [Option<Hit>; Self::GROUP] {
        let mut searches = [Search::default(); Self::GROUP];
        for (search, (address, network)) in searches.iter_mut().zip(addresses) {
            let (root, key) = self.root(address, network);
            *search = Search::new(root, key, now);
        }
        let mut under_way: [u8; Self::GROUP] = std::array::from_fn(|i| i as u8);
        let mut count = Self::GROUP;
        while count > 0 {
            // Those that have ended are left out without a branch that would be guessed wrong.
            let mut rest = 0;
            for at in 0..count {
                let i = under_way[at];
                let goes_on = searches[usize::from(i)].step(now);
                under_way[rest] = i;
                rest += usize::from(goes_on);
            }
            count = rest;
        }
        searches.map(|search| search.found(now).map(hit))
    }

    /// Whether the address is in the table.
    #[inline]
    pub fn contains(&self, address: Address, network: Network, now: Instant) -> bool {
        self.lookup(address, network, now).is_some_and(|hit| !hit.not)
    }

    /// The entry with the longest prefix that holds the address.
    pub fn longest(&self, address: std::net::IpAddr, now: Instant) -> Option<Entry> {
        let family = usize::from(address.is_ipv6());
        let network = if address.is_ipv6() { Network::Ipv6 } else { Network::Ipv4 };
        let (root, key) = self.root(address.into(), network);
        trie::longest(root, key, now).map(|leaf| entry(family, leaf))
    }

    /// Entries that have not expired, IPv4 first, by address, shorter prefixes first.
    pub fn entries(&self, now: Instant) -> Vec<Entry> {
        self.entries_after(None, usize::MAX, now)
    }

    /// The first `most` of the [entries](Self::entries) behind one, which need not be there any more;
    /// of all if it is `None`.
    pub fn entries_after(&self, last: Option<IpNet>, most: usize, now: Instant) -> Vec<Entry> {
        let mut found = Vec::with_capacity(most.min(self.len as usize));
        let last = last.map(|net| match net {
            IpNet::V4(net) => (0, (u128::from(u32::from(net.network())) << 96, net.prefix_len())),
            IpNet::V6(net) => (1, (u128::from(net.network()), net.prefix_len())),
        });
        for (family, root) in self.roots.iter().enumerate() {
            let after = match last {
                Some((of, _)) if of > family => continue,
                Some((of, place)) if of == family => Some(place),
                _ => None,
            };
            if let Some(root) = root {
                trie::visit_after(root, after, &mut |leaf| {
                    if found.len() < most && leaf.is_live(now) {
                        found.push(entry(family, leaf));
                    }
                    found.len() < most
                });
            }
        }
        found
    }

    /// How many entries there are; those that have expired count until they are swept.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are no entries.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether packets are counted for each entry.
    pub const fn counts(&self) -> bool {
        self.counts
    }

    /// Tells tables apart.
    pub const fn uid(&self) -> u64 {
        self.uid
    }

    /// The stamp that the table's own counters must have to be of use.
    pub const fn zeroed(&self) -> u64 {
        self.zeroed
    }

    /// Bytes that the entries take: at most 104 each, what the allocator adds left out.
    pub fn footprint(&self) -> usize {
        self.roots.iter().flatten().map(trie::footprint).sum()
    }
}

#[inline]
fn hit(leaf: &Leaf) -> Hit {
    Hit { entry: leaf.id, not: leaf.not, stamp: leaf.stamp() }
}

fn entry(family: usize, leaf: &Leaf) -> Entry {
    let (key, length) = leaf.place();
    // The assertions hold: a leaf is made from a prefix of its family.
    let net = if family == 0 {
        IpNet::V4(Ipv4Net::new_assert(((key >> 96) as u32).into(), length))
    } else {
        IpNet::V6(Ipv6Net::new_assert(key.into(), length))
    };
    Entry { net, not: leaf.not, expires: leaf.deadline(), hit: hit(leaf) }
}

/// All tables of a program, in the order of its table ids.
#[derive(Clone, Debug, Default)]
pub struct Tables(Vec<Arc<Table>>);

impl Tables {
    /// From one snapshot for each id.
    pub const fn new(tables: Vec<Arc<Table>>) -> Self {
        Self(tables)
    }

    /// The table of this id.
    #[inline]
    pub fn get(&self, id: u32) -> Option<&Table> {
        self.0.get(id as usize).map(|table| &**table)
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<Table>] {
        &self.0
    }
}
