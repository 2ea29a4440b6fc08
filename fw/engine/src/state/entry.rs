//! One state: what the packet path touches ([`Entry`], two adjacent cache lines) and what only
//! making, expiring and removing it touches ([`Links`]).
//!
//! 128 + 48 bytes, and 11.6 in the index: 188 bytes a state. Both lines of an entry are fetched as
//! one pair by the adjacent-line prefetcher, which is why an entry is aligned to 128 and why key and
//! tracking are not squeezed into 64.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::flow::FlowKey;

/// "No entry" wherever an index of one stands.
pub(crate) const NONE: u32 = u32::MAX;

/// What the packet path needs of a state.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(128))]
pub(crate) struct Entry {
    // First line: whose frames these are, how long it lives, which rules made it.
    lower: [u64; 2],
    upper: [u64; 2],
    tail: u64,
    sides: u8,
    /// The [`Timeout`](weir_config::options::Timeout) that runs, by number.
    pub(crate) timeout: u8,
    /// Bits of [`flag`].
    pub(crate) flags: u16,
    /// Tick of the last packet.
    pub(crate) touched: u32,
    /// Records of the arriving and the leaving rule, or [`NONE`].
    pub(crate) rules: [u32; 2],
    /// Counts the lives of this slot; even while it is empty.
    pub(crate) generation: u32,
    /// The sequence number behind the last SYN that came on a TCP connection after it was answered;
    /// 0 if there was none.
    pub(crate) after_syn: u32,
    // Second line: tracking and counters, the initiator's first.
    pub(crate) peers: [Peer; 2],
    pub(crate) packets: [u64; 2],
    pub(crate) bytes: [u64; 2],
}

/// What is known of one end of a connection. For TCP as in pf's `pf_state_peer`; protocols without
/// sequence numbers use `state` only.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub(crate) struct Peer {
    /// Highest sequence number sent, plus one.
    pub(crate) seq_lo: u32,
    /// Highest that the other end allows: what it acknowledged plus its window.
    pub(crate) seq_hi: u32,
    /// What is added to its sequence numbers on their way to the other end, if
    /// [`flag::TRANSLATED`]. All numbers here are the end's own.
    pub(crate) seq_diff: u32,
    /// Largest window it advertised, before scaling.
    pub(crate) max_win: u16,
    /// Window scale and flags, see [`tcp`](super::tcp).
    pub(crate) scale: u8,
    /// State by the tracker's numbers.
    pub(crate) state: u8,
}

/// Bits of [`Entry::flags`].
pub(crate) mod flag {
    /// The initiator is the upper endpoint of the key.
    pub(crate) const INITIATOR_UPPER: u16 = 1;
    /// Both ends have shown themselves: never evicted.
    pub(crate) const PROVEN: u16 = 2;
    /// `log (all)`: every packet is logged.
    pub(crate) const LOG_ALL: u16 = 4;
    /// Packets are changed as [`Links::effects`](super::Links::effects) says.
    pub(crate) const EFFECTS: u16 = 8;
    /// Packets with IP options may pass.
    pub(crate) const ALLOW_OPTS: u16 = 16;
    /// A rule of the state has a `max-pkt-rate`.
    pub(crate) const RATED: u16 = 32;
    /// Packets are counted for entries of tables.
    pub(crate) const COUNTS_TABLES: u16 = 64;
    /// `sloppy`: TCP without windows.
    pub(crate) const SLOPPY: u16 = 1 << 12;
    /// A rule of the state has time-outs of its own, which its record knows.
    pub(crate) const OWN_TIMEOUTS: u16 = 128;
    /// `scrub (reassemble tcp)`: the [`normaliser`](crate::normalise) has a record of it.
    pub(crate) const NORMALISED: u16 = 256;
    /// It has taken places of its source, see [`Links::sources`](super::Links::sources).
    pub(crate) const LIMITED: u16 = 512;
    /// It counts as a connection of its source.
    pub(crate) const CONNECTED: u16 = 1024;
    /// The connection was refused or given up, and both ends were reset.
    pub(crate) const REFUSED: u16 = 2048;
    /// The ends of the connection do not speak of the same numbers: see [`splice`](crate::splice).
    pub(crate) const TRANSLATED: u16 = 1 << 13;
    /// A connection whose handshake weir has made: its client has acknowledged nothing yet that the
    /// server has sent.
    pub(crate) const UNHEARD: u16 = 1 << 15;
    /// More is to be done with its packets than to count them and let them pass.
    pub(crate) const MORE_TO_DO: u16 = EFFECTS | NORMALISED | TRANSLATED | COUNTS_TABLES;
    /// A rule of it has `max-idle` or `min-rate`, see [`progress`](crate::progress).
    pub(crate) const PROGRESS: u16 = 1 << 14;

    /// All that can make a segment of an established connection anything but an ordinary one. With
    /// [`PROVEN`] alone of them there is nothing to do for it but to see that it fits, and to count.
    pub(crate) const SPECIAL: u16 =
        !(INITIATOR_UPPER | ALLOW_OPTS | OWN_TIMEOUTS | LIMITED | CONNECTED);
}

impl Entry {
    /// Starts a new life for this slot.
    pub(crate) fn begin(&mut self, key: &FlowKey, flags: u16, timeout: u8, tick: u32) {
        let generation = self.generation.wrapping_add(1);
        *self = Self {
            lower: key.lower,
            upper: key.upper,
            tail: key.tail,
            sides: key.sides,
            timeout,
            flags,
            touched: tick,
            rules: [NONE; 2],
            generation,
            after_syn: 0,
            peers: [Peer::default(); 2],
            packets: [0; 2],
            bytes: [0; 2],
        };
    }

    /// Ends it.
    pub(crate) const fn end(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// Whether the slot holds a state.
    #[inline]
    pub(crate) const fn is_live(&self) -> bool {
        self.generation & 1 == 1
    }

    /// Whether this is the live state of the flow.
    #[inline]
    pub(crate) fn is(&self, key: &FlowKey) -> bool {
        self.lower == key.lower
            && self.upper == key.upper
            && self.tail == key.tail
            && self.sides == key.sides
            && self.is_live()
    }

    /// The key of the flow.
    pub(crate) const fn key(&self) -> FlowKey {
        FlowKey { lower: self.lower, upper: self.upper, tail: self.tail, sides: self.sides }
    }

    /// Index in `peers` and the counters of the lower (`true`) or the upper endpoint.
    #[inline]
    pub(crate) const fn sender(&self, is_lower: bool) -> usize {
        ((self.flags & flag::INITIATOR_UPPER != 0) == is_lower) as usize
    }

    /// Whether a bit of [`flag`] is set.
    #[inline]
    pub(crate) const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// What only making, expiring and removing a state touches.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct Links {
    /// Tick in which it was made.
    pub(crate) created: u32,
    /// Tick in which the wheel looks at it next.
    pub(crate) due: u32,
    /// Neighbours in the wheel's slot; `wheel_next` chains free entries too.
    pub(crate) wheel_next: u32,
    pub(crate) wheel_previous: u32,
    /// Neighbours among the unproven states, by age.
    pub(crate) younger: u32,
    pub(crate) older: u32,
    /// What its rules want done to its packets, packed, if [`flag::EFFECTS`].
    pub(crate) effects: u64,
    /// Nodes of its source, one for each of its rules that tracks sources, if [`flag::LIMITED`].
    pub(crate) sources: [u32; 2],
    /// Lower half of the tick of its last challenge ACK.
    pub(crate) challenged: u16,
    /// Highest TTL of the initiator's packets of the handshake.
    pub(crate) ttl: u8,
    pub(crate) spare: [u8; 5],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_two_cache_lines() {
        assert_eq!(size_of::<Entry>(), 128);
        assert_eq!(std::mem::offset_of!(Entry, peers), 64);
        assert_eq!(size_of::<Links>(), 48);
    }
}
