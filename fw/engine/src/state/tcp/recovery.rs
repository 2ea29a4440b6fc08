//! Resets, and what hosts do when one of them has forgotten a connection.

use super::seq::Seq;
use super::states::{Closing, SynSent, TimeWait};
use super::window::MAX_ACK_WINDOW;
use super::{ASSUMED, SHIFT, Segment, both_established, opens, unanswered};
use crate::packet::Tcp;
use crate::packet::tcp::{self, flags};
use crate::state::entry::Peer;

/// Whether a RST is one that the other end would believe, as far as can be seen from here.
/// `answers` a SYN: nothing came before it from the end that sends it.
pub(super) const fn reset_fits(source: &Peer, other: &Peer, header: &Tcp, answers: bool) -> bool {
    // In SYN-SENT the ACK alone counts (RFC 9293, 3.10.7.3). A host that has forgotten its SYN-ACK
    // answers the SYN, repeated, with sequence number 0.
    let refuses_syn = header.flags & flags::ACK != 0 && header.ack == other.seq_lo;
    if answers && other.scale & ASSUMED == 0 {
        return refuses_syn;
    }
    let exact = header.seq.wrapping_sub(source.seq_lo).wrapping_add(1) <= 2;
    let late_refusal = refuses_syn && header.seq == 0 && source.state == SynSent as u8;
    // Once reset, each segment still on its way is answered by a RST with what that acknowledged.
    let again = source.state == TimeWait as u8;
    exact || late_refusal || again
}

/// Whether the segment belongs to the recovery from a connection that one end has forgotten (RFC
/// 9293, 3.5.1; RFC 5961, 4): it passes, and changes nothing.
///
/// A SYN of the initiator where its SYN was already answered is answered by an ACK of what the
/// responder knows, if that has the old connection still; if only the responder knows of one, its
/// first segment is such an ACK, not a SYN. The initiator answers that with a RST.
#[inline]
pub(crate) const fn resynchronises(peers: &[Peer; 2], from: usize, segment: &Segment) -> bool {
    let header = &segment.header;
    if !unanswered(peers) {
        return from == 0 && opens(header);
    }
    if peers[0].scale & ASSUMED != 0 {
        // Of a connection picked up in the middle nothing is known that this could contradict.
        return false;
    }
    let kind = header.flags & (flags::SYN | flags::ACK | flags::RST);
    if from == 0 {
        return kind == flags::RST && header.seq != peers[0].seq_lo;
    }
    // Data that overtook its SYN-ACK (RFC 7413) is of no use, but no offence: where it stands, and
    // the window scale, the SYN-ACK will tell.
    let skew = header.ack.wrapping_sub(peers[0].seq_lo).wrapping_add(MAX_ACK_WINDOW);
    kind == flags::ACK && (segment.payload == 0 || skew <= 2 * MAX_ACK_WINDOW)
}

/// Whether a SYN of peer `from` is one that a host of RFC 793 would end the connection for: it lies
/// inside the window. Any other its receiver answers with an ACK of what that knows. The first bytes of
/// a window that was rounded up are left out: the duplicate of the SYN that began the connection seems
/// to lie there.
pub(crate) const fn contradicts(peers: &[Peer; 2], from: usize, header: &Tcp) -> bool {
    let seq = Seq(header.seq);
    let first = Seq(challenge(peers, from).ack).plus(rounding(&peers[1 - from]));
    both_established(peers) && seq.at_least(first) && Seq(peers[from].seq_hi).at_least(seq)
}

/// How many bytes too large the largest window of a peer may be kept: that of a SYN, which is not
/// scaled and has 16 bits (RFC 7323, 2.2), is rounded up.
const fn rounding(peer: &Peer) -> u32 {
    let unit = 1 << (peer.scale & SHIFT);
    if (peer.max_win as u32) * unit < 0x1_0000 + unit { unit - 1 } else { 0 }
}

/// The ACK that challenges peer `from` in the name of the other end. It acknowledges nothing that this
/// has not, since its window was never larger than the largest, and promises no more than was: a host
/// whose connection it is loses nothing by it. Each number is that of its end's own.
pub(crate) const fn challenge(peers: &[Peer; 2], from: usize) -> Tcp {
    let (source, other) = (&peers[from], &peers[1 - from]);
    let window = (other.max_win as u32) << (other.scale & SHIFT);
    Tcp {
        seq: other.seq_lo,
        ack: source.seq_hi.wrapping_sub(window),
        window: other.max_win,
        flags: flags::ACK,
        header: tcp::HEADER as u8,
    }
}

/// Whether the responder answers a SYN that came when it was believed to have a connection, which it
/// has forgotten then. `next` is the sequence number behind that SYN. Duplicates of the SYN and the
/// answer that began the connection look the same but for their place.
pub(crate) const fn answers_anew(peers: &[Peer; 2], from: usize, header: &Tcp, next: u32) -> bool {
    /// How much a connection may send while a duplicate is on its way.
    const RECENT: u32 = 1 << 28;
    let duplicate = peers[0].seq_lo.wrapping_sub(next) < RECENT
        && peers[1].seq_lo.wrapping_sub(header.seq) < RECENT;
    from == 1
        && header.flags & flags::ACK != 0
        && header.flags & (flags::SYN | flags::RST) != 0
        && header.ack == next
        && !duplicate
}

/// Whether a RST of peer `from` that is not exact may still be the host's own: one that has closed
/// answers what is on its way to it, and the answer has the sequence number that that acknowledged
/// (RFC 9293, 3.10.7.1). It may pass then, and changes nothing.
pub(crate) const fn resets_late(peers: &[Peer; 2], from: usize, header: &Tcp) -> bool {
    let (source, other) = (&peers[from], &peers[1 - from]);
    let window = (other.max_win as u32) << (other.scale & SHIFT);
    (source.state >= Closing as u8 || other.state >= Closing as u8)
        && header.flags & flags::RST != 0
        && Seq(source.seq_hi).at_least(Seq(header.seq))
        && Seq(header.seq).at_least(Seq(source.seq_lo).minus(window))
}
