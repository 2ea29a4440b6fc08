//! Sources: who has how many states and connections, for the limits of rules (pf.conf(5), "Stateful
//! Tracking Options").
//!
//! One table for all workers, since a limit is one number whatever worker a connection belongs to.
//! Its nodes lie in chunks that the control thread adds when `set limit src-nodes` is raised
//! ([`Sources::reserve`]); a node is found by a keyed hash of its address and of the rule that counts
//! it, over [`STRIPES`] chains of locks. These locks are taken when states begin and end and when
//! handshakes complete or connections close, never for the packets in between. Each node has a lock
//! of its own within its stripe's; whoever takes both takes the stripe's first.
//!
//! A node lives while it has states, and `src.track` seconds longer if it has ever completed a
//! handshake: spoofed SYNs leave nothing behind. States keep the index of their node, so that a node
//! that was killed (`-K`) is only taken out of its chain, and freed with its last state.

#![forbid(unsafe_code)]

mod connection;
mod fast_open;
mod limits;
mod node;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam::queue::ArrayQueue;
use parking_lot::Mutex;
use weir_config::options::Options;

pub(crate) use self::connection::release;
pub use self::limits::RuleLimits;
use self::node::{Node, Source};
use crate::flow::{HashKey, hash_source};
use crate::pool::Pool;
use crate::reason::Reason;
use crate::state::entry::NONE;
use crate::time::Instant;

/// [`CHUNK`] nodes.
type Chunk = Box<[Mutex<Node>]>;

/// Nodes that are reserved together.
const CHUNK: usize = 4096;
/// Locks over the chains.
const STRIPES: usize = 256;
/// Nodes that a search for an idle one looks at.
const SEARCH: u32 = 64;
/// Nodes that one [`Sources::sweep`] looks at; a node takes about 50 ns.
const SWEEP: u32 = 1024;
/// Sources that wait to be put into a table.
const REPORTS: usize = 1024;

/// The sources of all workers.
pub struct Sources {
    /// Heads of the chains; their number is a power of two.
    stripes: Box<[Mutex<Vec<u32>>]>,
    chunks: Box<[OnceLock<Chunk>]>,
    free: Mutex<Vec<u32>>,
    room: AtomicU32,
    places: Pool,
    inserts: AtomicU64,
    removals: AtomicU64,
    /// Where the next search or sweep begins.
    hand: AtomicU32,
    reports: ArrayQueue<Overload>,
}

/// A source that has exceeded a limit of a rule with `overload`. Nothing of it is admitted by that
/// rule until [`Sources::admit_again`].
#[derive(Clone, Debug)]
pub struct Overload {
    /// Its address.
    pub address: IpAddr,
    /// The rule's limits.
    pub rule: Arc<RuleLimits>,
    /// The limit.
    pub reason: Reason,
    node: u32,
}

/// A copy of what is known of a source.
#[derive(Clone, Debug)]
pub struct SourceView {
    /// Its address.
    pub address: IpAddr,
    /// The rule that counts it; `None` for `source-track global`.
    pub rule: Option<Arc<RuleLimits>>,
    /// States that it has begun.
    pub states: u32,
    /// Connections that count, see `set src-conn-count`.
    pub connections: u32,
    /// Tenths of connections that count for the rate now, and the seconds of the limit.
    pub rate: (u64, u32),
    /// Seconds since its first state.
    pub age: u64,
    /// Seconds until it is forgotten, if it has no states.
    pub expires: Option<u64>,
    /// Packets of its ended states.
    pub packets: u64,
    /// Bytes of these.
    pub bytes: u64,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            chunks: (0..Self::MAX as usize / CHUNK).map(|_| OnceLock::new()).collect(),
            free: Mutex::default(),
            room: AtomicU32::new(0),
            places: Pool::default(),
            inserts: AtomicU64::new(0),
            removals: AtomicU64::new(0),
            hand: AtomicU32::new(0),
            reports: ArrayQueue::new(REPORTS),
        }
    }
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("used", &self.used()).finish_non_exhaustive()
    }
}

impl Sources {
    /// The highest `set limit src-nodes`.
    pub const MAX: u32 = 4 << 20;

    /// Makes room for `limit` nodes, at most [`Sources::MAX`]; never less than there was. It
    /// allocates, which is why the control thread calls it before the workers learn of the limit.
    pub fn reserve(&self, limit: u32) {
        {
            let mut free = self.free.lock();
            let before = self.room.load(Ordering::Relaxed) as usize / CHUNK;
            let wanted = (limit.min(Self::MAX) as usize).div_ceil(CHUNK);
            for (at, chunk) in self.chunks.iter().enumerate().take(wanted).skip(before) {
                chunk.get_or_init(|| (0..CHUNK).map(|_| Mutex::new(Node::free())).collect());
                free.extend((at * CHUNK..(at + 1) * CHUNK).rev().map(|index| index as u32));
            }
            if wanted <= before {
                return;
            }
            self.room.store((wanted * CHUNK) as u32, Ordering::Relaxed);
        }
        let chains = (self.room() as usize / STRIPES).next_power_of_two();
        for stripe in &self.stripes {
            let mut heads = stripe.lock();
            let old = std::mem::replace(&mut *heads, vec![NONE; chains]);
            for mut at in old {
                while at != NONE {
                    let mut node = self.node(at).lock();
                    let head = &mut heads[chain(node.hash, chains)];
                    let following = std::mem::replace(&mut node.next, *head);
                    *head = at;
                    at = following;
                }
            }
        }
    }

    /// Nodes that memory is reserved for.
    pub fn room(&self) -> u32 {
        self.room.load(Ordering::Relaxed)
    }

    /// Nodes there are.
    pub fn used(&self) -> u32 {
        self.places.used()
    }

    /// The count behind `set limit src-nodes`.
    pub(crate) const fn places(&self) -> &Pool {
        &self.places
    }

    /// Nodes made and freed since the start.
    pub fn turnover(&self) -> (u64, u64) {
        (self.inserts.load(Ordering::Relaxed), self.removals.load(Ordering::Relaxed))
    }

    /// Whether a source waits to be put into its table.
    pub fn has_overload(&self) -> bool {
        !self.reports.is_empty()
    }

    /// The next source to be put into its table.
    pub fn overload(&self) -> Option<Overload> {
        self.reports.pop()
    }

    /// What `overload` demands is done: the source's next states are judged by the rules and limits
    /// alone.
    pub fn admit_again(&self, overload: &Overload) {
        let mut node = self.node(overload.node).lock();
        let is_it = node.source.as_ref().is_some_and(|source| {
            source.address.to_ip(source.network) == overload.address
                && source.rule.as_ref().is_some_and(|rule| Arc::ptr_eq(rule, &overload.rule))
        });
        if is_it {
            node.barred = false;
        }
    }

    /// Appends the sources among the next `max` nodes, from `cursor` on (0 at first). Returns where to
    /// go on, `None` at the end.
    pub fn list(
        &self,
        now: Instant,
        cursor: u32,
        max: u32,
        out: &mut Vec<SourceView>,
    ) -> Option<u32> {
        let end = self.room().min(cursor.saturating_add(max));
        for index in cursor..end {
            let node = self.node(index).lock();
            let Some(source) = node.source.as_ref().filter(|_| node.linked) else { continue };
            if node.is_over(now) && !node.barred {
                continue;
            }
            let rate = source.rule.as_ref().and_then(|rule| rule.rate);
            out.push(SourceView {
                address: source.address.to_ip(source.network),
                rule: source.rule.clone(),
                states: node.states,
                connections: node.connections,
                rate: rate.map_or((0, 0), |rate| (node.meter.tenths(rate, now), rate.seconds)),
                age: now.since(node.created).as_secs(),
                expires: (node.states == 0).then(|| node.expires.since(now).as_secs()),
                packets: node.packets,
                bytes: node.bytes,
            });
        }
        (end < self.room()).then_some(end)
    }

    /// Forgets the sources that `matches` (`-K`, `-F Sources`); tells how many. Their states live on
    /// and count for nobody.
    pub fn forget(&self, matches: &dyn Fn(IpAddr) -> bool) -> u64 {
        let mut forgotten = 0;
        for index in 0..self.room() {
            let hash = {
                let node = self.node(index).lock();
                let Some(source) = node.source.as_ref().filter(|_| node.linked) else { continue };
                if !matches(source.address.to_ip(source.network)) {
                    continue;
                }
                node.hash
            };
            forgotten += u64::from(self.drop_if(index, hash, |_| true));
        }
        forgotten
    }

    /// Counts a new state of a source in. `held` is the node that the state has taken for its other
    /// rule, or [`NONE`]: where that counts together with this one, the state counts once. `half_open`: it
    /// counts as a connection from now on.
    #[expect(clippy::too_many_arguments, reason = "a limit depends on all of this")]
    fn acquire(
        &self,
        key: HashKey,
        source: Source,
        rule: &RuleLimits,
        options: &Options,
        held: u32,
        half_open: bool,
        now: Instant,
    ) -> Result<u32, Reason> {
        let hash = hash_source(key, source.address, source.tracker());
        let mut heads = self.stripes[stripe(hash)].lock();
        let chains = heads.len();
        if chains == 0 {
            return Err(Reason::SrcNodeLimit);
        }
        let head = &mut heads[chain(hash, chains)];
        let mut at = *head;
        while at != NONE {
            let mut node = self.node(at).lock();
            if node.source.as_ref() == Some(&source) {
                if at == held {
                    let over = rule.max_src_states.is_some_and(|most| node.states > most);
                    return if over { Err(Reason::MaxSrcStates) } else { Ok(NONE) };
                }
                return node.admit(rule, options, half_open, now).map(|()| at);
            }
            at = node.next;
        }
        if let Some(rule) = &source.rule
            && !rule.reserve_node()
        {
            return Err(Reason::MaxSrcNodes);
        }
        let Some(index) = self.take(options.limits.src_nodes) else {
            if let Some(rule) = &source.rule {
                rule.release_node();
            }
            return Err(Reason::SrcNodeLimit);
        };
        let mut node = Node::of(source, hash, *head, now);
        // A limit of none is not one that can be written.
        let admitted = node.admit(rule, options, half_open, now);
        *self.node(index).lock() = node;
        *head = index;
        admitted.map(|()| index)
    }

    /// A free place.
    fn take(&self, limit: u32) -> Option<u32> {
        if !self.places.reserve(limit) {
            return None;
        }
        let index = self.free.lock().pop();
        if index.is_some() {
            self.inserts.fetch_add(1, Ordering::Relaxed);
        } else {
            self.places.release();
        }
        index
    }

    /// Counts a completed handshake in.
    fn connect(
        &self,
        index: u32,
        rule: &Arc<RuleLimits>,
        counted: bool,
        now: Instant,
    ) -> Result<(), Reason> {
        self.node(index).lock().connect(rule, counted, now)
    }

    /// A source goes beyond what a rule allows it. `sure`: a server has taken part in the handshake;
    /// else the source is not reported before [`Sources::hear`]. Whether it is reported now: the rule
    /// wants that, and it is not yet.
    pub(crate) fn report(
        &self,
        index: u32,
        rule: &Arc<RuleLimits>,
        reason: Reason,
        sure: bool,
    ) -> bool {
        let mut node = self.node(index).lock();
        if node.barred || rule.overload().is_none() {
            return false;
        }
        node.surplus = Some((Arc::clone(rule), reason));
        node.heard |= sure;
        self.tell(index, &mut node)
    }

    /// A connection of the source has acknowledged what its server has sent. Whether it is reported
    /// now.
    fn hear(&self, index: u32) -> bool {
        let mut node = self.node(index).lock();
        node.heard = true;
        self.tell(index, &mut node)
    }

    /// Reports a source that has gone beyond a limit, once it was heard.
    fn tell(&self, index: u32, node: &mut Node) -> bool {
        let Some(source) = node.source.as_ref().filter(|_| node.heard) else { return false };
        let address = source.address.to_ip(source.network);
        let Some((rule, reason)) = node.surplus.take() else { return false };
        let report = Overload { address, rule, reason, node: index };
        // If there is no room the next surplus connection tells.
        node.barred = self.reports.push(report).is_ok();
        node.barred
    }

    /// Counts a connection out.
    fn disconnect(&self, index: u32) {
        self.node(index).lock().disconnect();
    }

    /// Counts a state out. `traffic` is its packets and bytes.
    fn release(&self, index: u32, connected: bool, traffic: [u64; 2], now: Instant) {
        let hash = {
            let mut node = self.node(index).lock();
            if !node.release(connected, traffic, now) || !node.leaves_nothing() {
                return;
            }
            node.hash
        };
        self.drop_if(index, hash, |node| node.states == 0);
    }

    /// Frees a node that is idle so that another source finds room, one of a few; `false` if none is.
    fn reclaim(&self, now: Instant) -> bool {
        (0..SEARCH).any(|_| self.drop_next(|node| node.is_idle(now) && !node.barred))
    }

    /// Frees nodes whose time is over, of a few that are next.
    pub(crate) fn sweep(&self, now: Instant) {
        if self.used() == 0 {
            return;
        }
        for _ in 0..SWEEP.min(self.room()) {
            self.drop_next(|node| node.is_over(now) && !node.barred);
        }
    }

    /// Frees the next node that the hand comes to, if `may` says so.
    fn drop_next(&self, may: impl Fn(&Node) -> bool) -> bool {
        let room = self.room();
        if room == 0 {
            return false;
        }
        let index = self.hand.fetch_add(1, Ordering::Relaxed) % room;
        let hash = {
            let node = self.node(index).lock();
            if node.source.is_none() || !may(&node) {
                return false;
            }
            node.hash
        };
        self.drop_if(index, hash, may)
    }

    /// Takes a node out of its chain, and frees it if it has no states. `may` is asked again under
    /// the lock of the chain: another worker may have been faster.
    fn drop_if(&self, index: u32, hash: u64, may: impl Fn(&Node) -> bool) -> bool {
        let mut heads = self.stripes[stripe(hash)].lock();
        let mut node = self.node(index).lock();
        if node.source.is_none() || node.hash != hash || !may(&node) {
            return false;
        }
        if std::mem::replace(&mut node.linked, false) {
            let chains = heads.len();
            let head = &mut heads[chain(hash, chains)];
            if *head == index {
                *head = node.next;
            } else {
                let mut at = *head;
                while at != NONE {
                    let mut before = self.node(at).lock();
                    if before.next == index {
                        before.next = node.next;
                        break;
                    }
                    at = before.next;
                }
            }
            if let Some(rule) = node.source.as_ref().and_then(|source| source.rule.as_ref()) {
                rule.release_node();
            }
        }
        if node.states == 0 {
            *node = Node::free();
            drop(node);
            self.free.lock().push(index);
            self.places.release();
            self.removals.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    fn node(&self, index: u32) -> &Mutex<Node> {
        let chunk = self.chunks[index as usize / CHUNK].get();
        // Every index comes from `free`, which names reserved nodes only.
        &chunk.expect("reserved")[index as usize % CHUNK]
    }
}

const fn stripe(hash: u64) -> usize {
    hash as usize % STRIPES
}

const fn chain(hash: u64, chains: usize) -> usize {
    (hash >> 32) as usize & (chains - 1)
}
