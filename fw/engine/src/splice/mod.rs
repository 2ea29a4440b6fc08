//! Connections whose two ends do not speak of the same numbers: sequence and acknowledgement numbers,
//! SACK blocks, timestamps and windows are translated for the life of the connection, as pf does for
//! `modulate state` and `synproxy state`.
//!
//! The tracker knows each end by the numbers that it uses itself: what an end acknowledges is brought
//! back into the other's numbers before its segment is tracked ([`own_space`]), and the segment is
//! rewritten when it passes ([`rewrite`]). By how much an end's sequence numbers differ for the other
//! stands in its [`Peer`]; a record beside the state table, by entry, holds by how much its clock and
//! its windows do. Only states with [`flag::TRANSLATED`] are looked at, and the records are made
//! when the first rule needs them.
//!
//! - `modulate state`: a number for each end, made from the flow and a key ([`modulate`]).
//! - `synproxy state`: the client was answered with other numbers than the server then chose.
//! - `scrub (reassemble tcp)`: timestamps are shifted by random numbers, see
//!   [`normalise`](crate::normalise).
//!
//! Frames that weir makes itself are written in the numbers that their receiver knows. What comes when
//! the state is gone is not translated, so its tail silences it.
//!
//! A GSO train is translated once, in the header that the kernel copies to its segments. ICMP errors
//! quote a segment as it was beyond weir; their quotes are turned back ([`quote`]).

mod modulate;
mod quote;
mod rewrite;

use zerocopy::FromZeros;

use self::rewrite::Translation;
use crate::engine::Engine;
use crate::frame::Frames;
use crate::packet::tcp::flags;
use crate::packet::{Packet, Tcp, Transport, checksum};
use crate::state::entry::{Peer, flag};

pub(crate) use self::modulate::differences;

/// What is to be translated beside sequence numbers. Pairs are the initiator's value and the
/// responder's.
#[derive(Clone, Copy, Debug, Default, FromZeros)]
pub(crate) struct Splice {
    /// Added to the timestamps of this end on their way, taken off their echoes (RFC 7323).
    pub(crate) clock: [u32; 2],
    /// How far the windows of this end are shifted to the left, or to the right if negative: the other
    /// end was told another window scale.
    pub(crate) window: [i8; 2],
}

/// The records of a worker's states, by entry. Empty until a rule needs them.
#[derive(Debug, Default)]
pub(crate) struct Splices {
    records: Vec<Splice>,
}

impl Splices {
    /// Makes room for the records of so many states, if there is none. Memory is taken by those that
    /// are used only, a page at a time.
    pub(crate) fn reserve(&mut self, states: u32) {
        if self.records.is_empty() {
            // Out of memory the process would end; its table has been allocated the same way.
            self.records = Splice::new_vec_zeroed(states as usize).unwrap_or_default();
        }
    }

    /// A state begins: its ends have the same clocks and windows for each other.
    pub(crate) fn begin(&mut self, entry: u32) {
        if let Some(record) = self.records.get_mut(entry as usize) {
            record.zero();
        }
    }

    /// What is translated of a state beside sequence numbers.
    #[inline]
    pub(crate) fn get(&self, entry: u32) -> Splice {
        self.records.get(entry as usize).copied().unwrap_or_default()
    }

    /// A window of end `of` as the other end has to read it.
    pub(crate) fn seen_window(&self, entry: u32, of: usize, window: u16) -> u16 {
        rewrite::shifted(window, self.get(entry).window[of])
    }

    /// The same, to be changed; `None` if no rule needs records.
    pub(crate) fn get_mut(&mut self, entry: u32) -> Option<&mut Splice> {
        self.records.get_mut(entry as usize)
    }
}

/// A segment's header with what it acknowledges in the numbers of the end that it goes to.
#[inline]
pub(crate) const fn own_space(header: &Tcp, receiver: &Peer) -> Tcp {
    if acknowledges(header.flags, header.ack) {
        Tcp { ack: header.ack.wrapping_sub(receiver.seq_diff), ..*header }
    } else {
        *header
    }
}

/// Whether the acknowledgement number says anything. A RST that answers a SYN, or data that nobody
/// expects, may have the flag and no number.
const fn acknowledges(set: u8, ack: u32) -> bool {
    set & flags::ACK != 0 && !(ack == 0 && set & flags::RST != 0)
}

impl Engine {
    /// Translates a segment of peer `from` that its state lets pass, and keeps its checksum right.
    pub(crate) fn translate<F: Frames>(
        &self,
        frames: &mut F,
        i: usize,
        packet: &Packet,
        (entry, from): (u32, usize),
    ) {
        let Transport::Tcp(header) = packet.transport else { return };
        let peers = &self.table.get(entry).peers;
        let translation = Translation::new(peers, &self.splices.get(entry), from);
        if translation.is_none() {
            return;
        }
        let finished = checksum::is_finished(packet, frames, i);
        let start = usize::from(packet.transport_offset);
        let end = start + usize::from(header.header);
        if let Some(segment) = frames.head_mut(i).get_mut(start..end) {
            translation.apply(segment, finished);
        }
    }

    /// Turns the segment that an ICMP error quotes back into what peer `from` has sent.
    pub(crate) fn translate_quote<F: Frames>(
        &self,
        frames: &mut F,
        i: usize,
        packet: &Packet,
        (entry, from): (u32, usize),
    ) {
        let state = self.table.get(entry);
        if state.has(flag::TRANSLATED)
            && let Transport::IcmpError(_, quote) = &packet.transport
        {
            quote::turn_back(frames.head_mut(i), packet, quote, &state.peers, from);
        }
    }
}
