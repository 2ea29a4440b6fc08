//! What is left of a connection when its state has ended: its final windows.

use super::seq::Seq;
use super::states::Closing;
use super::window::MAX_ACK_WINDOW;
use super::{SHIFT, Segment};
use crate::packet::tcp::flags;
use crate::state::entry::Peer;

/// Where both ends of a connection stood, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The lower endpoint of the flow's key first.
    ends: [End; 2],
    /// How far behind a segment may be, four bits for each end: see [`Tail::behind`].
    behind: u8,
    rest: Rest,
    /// Names the sequence number of the client's SYN, if weir has answered that; else 0.
    began: u16,
}

/// What becomes of the last segments of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Those that carry nothing pass.
    Passes,
    /// Nothing passes: somebody ended it by force.
    Silenced,
    /// Nothing passes, since nobody knows any more how to translate it. What the ends acknowledge is
    /// not known in the numbers that they use.
    Untranslatable,
}

/// One end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct End {
    /// Highest sequence number sent, plus one.
    seq_lo: u32,
    /// Highest that the other end allows.
    seq_hi: u32,
}

/// The least binary logarithm of bytes that a segment may be behind by.
const LEAST: u32 = 16;
/// Of a connection without windows.
const ANYWHERE: u32 = 31;
const _: () = assert!(MAX_ACK_WINDOW >= 1 << LEAST && ANYWHERE - LEAST < 1 << 4);

/// What is to be done with a segment of a connection that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// It carries nothing and is the last of a connection.
    Passes,
    /// It would have belonged to the connection, and is of no use to anybody.
    Silenced,
    /// It has nothing to do with the connection.
    Stranger,
}

impl Tail {
    /// Of nothing.
    pub(crate) const BLANK: Self =
        Self { ends: [End { seq_lo: 0, seq_hi: 0 }; 2], behind: 0, rest: Rest::Passes, began: 0 };

    /// Of a connection; `lower` is the index of the lower endpoint in `peers`, `began` the sequence number
    /// of the client's SYN if weir has answered that.
    pub(crate) fn new(
        peers: &[Peer; 2],
        lower: usize,
        sloppy: bool,
        rest: Rest,
        began: Option<u32>,
    ) -> Self {
        let (lower, upper) = (&peers[lower], &peers[1 - lower]);
        let end = |peer: &Peer| End { seq_lo: peer.seq_lo, seq_hi: peer.seq_hi };
        // A host answers what a window ago was on its way to it.
        let behind = |other: &Peer| {
            let window = u32::from(other.max_win) << (other.scale & SHIFT);
            let bits = window.max(MAX_ACK_WINDOW).next_power_of_two().trailing_zeros();
            (if sloppy { ANYWHERE } else { bits.min(ANYWHERE) } - LEAST) as u8
        };
        Self {
            ends: [end(lower), end(upper)],
            behind: behind(lower) << 4 | behind(upper),
            rest,
            began: began.map_or(0, name),
        }
    }

    /// Weir answers a SYN of the same flow with this sequence number. A client that counts from the same
    /// number again is served again.
    pub(crate) const fn reopen(&mut self, seq: u32) {
        if self.began == name(seq) {
            self.began = 0;
        }
    }

    /// Whether a segment with this sequence number would complete the handshake with which the connection
    /// began, behind the SYN or as a probe before what follows it.
    pub(crate) fn completes(&self, seq: u32) -> bool {
        [seq.wrapping_sub(1), seq].map(name).contains(&self.began)
    }

    /// How far behind a segment of that end may be: the binary logarithm of bytes, or [`ANYWHERE`].
    const fn behind(&self, end: usize) -> u32 {
        (self.behind >> (4 * end) & 0xf) as u32 + LEAST
    }

    /// Whether the segment, which is no SYN and sent by the lower endpoint or the upper, is one that
    /// the connection may still have sent.
    pub(crate) fn judge(&self, sender_is_lower: bool, segment: &Segment) -> Late {
        let from = usize::from(!sender_is_lower);
        let fits = self.holds(from, segment.header.seq, segment.span())
            && (segment.header.flags & flags::ACK == 0
                || self.rest == Rest::Untranslatable
                || self.acknowledges(1 - from, segment.header.ack));
        if !fits {
            return Late::Stranger;
        }
        let empty = segment.payload == 0 && segment.header.flags & flags::SYN == 0;
        if self.rest == Rest::Passes && empty { Late::Passes } else { Late::Silenced }
    }

    /// Whether an ICMP error may quote this segment.
    pub(crate) fn quotes(&self, sender_is_lower: bool, seq: u32) -> bool {
        self.rest == Rest::Untranslatable || self.holds(usize::from(!sender_is_lower), seq, 0)
    }

    /// Whether a segment of this end lies inside its final window. A FIN lies behind all data, and a
    /// keep-alive one before what was sent (RFC 9293, 3.8.4).
    const fn holds(&self, end: usize, seq: u32, span: u32) -> bool {
        let End { seq_lo, seq_hi } = self.ends[end];
        if self.behind(end) >= ANYWHERE {
            return true;
        }
        let behind = 1 << self.behind(end);
        Seq(seq_hi).plus(1).at_least(Seq(seq).plus(span))
            && Seq(seq).plus(1).at_least(Seq(seq_lo).minus(behind))
    }

    /// Whether an ACK of what this end has sent may come: of a FIN that came late, too.
    const fn acknowledges(&self, end: usize, ack: u32) -> bool {
        let seq_lo = self.ends[end].seq_lo;
        if self.behind(end) >= ANYWHERE {
            return true;
        }
        Seq(seq_lo).plus(1).at_least(Seq(ack))
            && Seq(ack).at_least(Seq(seq_lo).minus(1 << self.behind(end)))
    }
}

/// What tells the SYNs of a flow apart; never 0.
const fn name(seq: u32) -> u16 {
    (seq % 0xffff) as u16 + 1
}

/// Whether a connection in these states has come to its end rather than fallen asleep.
pub(crate) const fn either_closes(peers: &[Peer; 2]) -> bool {
    peers[0].state >= Closing as u8 || peers[1].state >= Closing as u8
}
