//! States begin and end.

use weir_config::options::Limit;

use crate::engine::Engine;
use crate::flow::FlowKey;
use crate::outbox::RESETS;
use crate::packet::protocol;
use crate::ruleset::Program;
use crate::ruleset::records::Records;
use crate::shared::Shared;
use crate::source;
use crate::state::entry::{Entry, Links, NONE, flag};
use crate::state::tail::Tails;
use crate::state::tcp::{self, Rest, Tail};
use crate::time::Instant;

/// How a state ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing has come for as long as its time-out says.
    TimedOut,
    /// Its connection is over, and another one begins or may.
    Over,
    /// Somebody wants it so.
    Killed,
    /// It makes room, or nothing can find it any more.
    Forgotten,
}

impl Engine {
    /// Whether there is room for what the hosts of a state hear when it is ended by force.
    pub(crate) fn may_end(&self, entry: u32) -> bool {
        !self.is_asking(entry) || self.outbox.has_room(RESETS)
    }

    /// Ends a state.
    pub(crate) fn end(&mut self, entry: u32, ending: Ending, tick: u32) {
        self.give_up_asking(entry, ending);
        self.note_flow(entry, ending);
        let now = self.advanced();
        let (state, links) = self.table.with_links(entry);
        let hash = state.key().hash(self.key);
        account_end(state, links, &mut self.records, &self.shared, now);
        let translated = state.has(flag::TRANSLATED);
        let answered = if translated { self.synproxy.answered(entry) } else { None };
        remember(&mut self.tails, state, hash, ending, tick, answered);
        self.table.remove(entry, hash);
        self.counters.removals += 1;
        self.shared.pool(Limit::States).release();
    }

    /// Makes a state, unproven; evicts the oldest unproven one if there is no room. `None` if there
    /// is none to evict.
    pub(crate) fn begin(
        &mut self,
        key: &FlowKey,
        hash: u64,
        flags: u16,
        timeout: u8,
        now: u32,
        program: &Program,
    ) -> Option<u32> {
        let limit = program.options().limits.states;
        if self.table.len() == self.table.capacity()
            || !self.shared.pool(Limit::States).reserve(limit)
        {
            // With a limit that was lowered one place less would not do; `drain` sees to that.
            let evicted = self.shared.states() <= limit && self.evict(now);
            if !evicted || !self.shared.pool(Limit::States).reserve(limit) {
                self.shared.count_refusal();
                return None;
            }
        }
        let deadline = now.wrapping_add(self.expiry.scale(program.ticks(timeout))).wrapping_add(1);
        let entry = self.table.insert(key, hash, flags, timeout, now, deadline);
        if entry.is_some() {
            self.counters.inserts += 1;
            if key.protocol() == protocol::TCP {
                self.tails.forget(key.sided(hash));
            }
        } else {
            self.shared.pool(Limit::States).release();
        }
        entry
    }

    /// Ends the oldest unproven state. `false`: there is none, or no room to tell its hosts.
    pub(crate) fn evict(&mut self, now: u32) -> bool {
        let Some(oldest) = self.table.oldest_unproven() else { return false };
        if !self.may_end(oldest) {
            return false;
        }
        self.end(oldest, Ending::Forgotten, now);
        self.counters.evictions += 1;
        self.shared.count_eviction();
        true
    }
}

/// Remembers the tail of a TCP connection whose handshake was complete, if more of it may come; of one
/// that was killed while its server was asked, too, since its client's handshake was.
fn remember(
    tails: &mut Tails,
    state: &Entry,
    hash: u64,
    ending: Ending,
    now: u32,
    answered: Option<u32>,
) {
    let more_may_come = match ending {
        Ending::TimedOut => tcp::either_closes(&state.peers),
        Ending::Over | Ending::Killed => true,
        Ending::Forgotten => false,
    };
    let asks = state.has(flag::TRANSLATED) && tcp::asks(&state.peers);
    let complete = state.has(flag::PROVEN) || asks && ending == Ending::Killed;
    if more_may_come && complete && state.key().protocol() == protocol::TCP {
        let rest = match ending {
            _ if state.has(flag::TRANSLATED) => Rest::Untranslatable,
            Ending::Killed => Rest::Silenced,
            _ => Rest::Passes,
        };
        // Of a server that has not answered no number is known.
        let anywhere = state.has(flag::SLOPPY) || asks;
        let tail = Tail::new(&state.peers, state.sender(true), anywhere, rest, answered);
        tails.remember(state.key().sided(hash), tail, now);
    }
}

fn account_end(entry: &Entry, links: &Links, records: &mut Records, shared: &Shared, now: Instant) {
    source::release(shared, entry, links, now);
    for record in distinct(entry.rules) {
        records.release(record);
    }
}

/// The records that a state refers to: none, one or two. A rule that passed it both arriving and
/// leaving counts it once.
pub(crate) fn distinct([arriving, leaving]: [u32; 2]) -> impl Iterator<Item = u32> {
    let leaving = if leaving == arriving { NONE } else { leaving };
    [arriving, leaving].into_iter().filter(|&record| record != NONE)
}
