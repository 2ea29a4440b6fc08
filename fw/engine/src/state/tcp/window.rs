//! Whether a segment lies inside the windows of its connection, and how it moves them.

use weir_config::options::Timeout;

use super::recovery::reset_fits;
use super::seq::Seq;
use super::states::{Established, FinWait2, PeerState, Role, event, next, timeout};
use super::{ASSUMED, HEARD, MAX_SHIFT, OFFERED, SHIFT, Segment};
use crate::packet::tcp::flags;
use crate::reason::Reason;
use crate::state::entry::Peer;

/// How far an acknowledgement may be ahead of what was seen, and half of how far behind before
/// scaling: the largest window and one reassembled frame, as in pf.
pub(super) const MAX_ACK_WINDOW: u32 = 0xffff + 1500;

/// Judges a segment of peer `from` and, if it fits, moves windows and states. Returns the time-out
/// that runs from now. Little is left of it where the caller knows that it is neither SYN, FIN nor RST.
#[inline(always)]
#[expect(clippy::inline_always, reason = "so that the compiler sees what the caller knows")]
pub(crate) fn track(
    peers: &mut [Peer; 2],
    from: usize,
    segment: &Segment,
) -> Result<Timeout, Reason> {
    let [initiator, responder] = peers;
    let (source, other) = if from == 0 { (initiator, responder) } else { (responder, initiator) };
    let header = &segment.header;
    let seq = Seq(header.seq);
    let mut end = seq.plus(segment.span());

    // A first segment that is refused after all must leave nothing behind.
    let before = (*source, *other);
    let unheard = source.scale & HEARD == 0;
    if unheard && other.scale & ASSUMED == 0 && !segment.has(flags::SYN | flags::RST) {
        // Only its SYN says where the responder stands.
        return Err(Reason::TcpBadAck);
    }
    if unheard {
        if segment.has(flags::SYN) {
            agree_on_scale(source, other, segment.scale);
        }
        let allowed = end.plus(scaled(other).max(1));
        source.seq_lo = seq.0;
        source.seq_hi = allowed.0;
        source.scale |= HEARD;
    }

    // Windows count scaled once both have agreed, and never in a SYN itself.
    let (mut source_shift, mut other_shift) = (0, 0);
    if source.scale & other.scale & OFFERED != 0 {
        other_shift = other.scale & SHIFT;
        if !segment.has(flags::SYN) {
            source_shift = source.scale & SHIFT;
        }
    }

    // Segments that acknowledge nothing, or an end that was not heard, pass the check of the ACK.
    let acknowledges = segment.has(flags::ACK)
        && other.scale & HEARD != 0
        && !(header.ack == 0 && segment.has(flags::RST));
    let ack = if acknowledges { Seq(header.ack) } else { Seq(other.seq_lo) };

    let empty = seq == end;
    if empty {
        // A segment without data: the sequence number says little (keep-alives, window probes).
        end = Seq(source.seq_lo);
    }

    let other_window = u32::from(other.max_win) << other_shift;
    let data_end = if segment.has(flags::FIN) { end.minus(1) } else { end };
    // The end of it counts: what was sent again may begin further back (RFC 9293, 3.4).
    // After a FIN one behind a full window, what is sent lies behind the window as well.
    let allowed = empty || Seq(source.seq_hi).at_least(data_end);
    let fits = empty || allowed && end.at_least(Seq(source.seq_lo).minus(other_window));
    let skew = other.seq_lo.wrapping_sub(ack.0).cast_signed();
    // A host takes ACKs up to a window before what was last acknowledged (RFC 5961, 5), and that is
    // up to a window behind what was sent. pf allows one of the two and loses what is reordered.
    let behind = (MAX_ACK_WINDOW << (source_shift + 1)).min(i32::MAX as u32);
    let ack_fits = skew >= -MAX_ACK_WINDOW.cast_signed() && skew <= behind.cast_signed();
    let reset_fits = !segment.has(flags::RST) || reset_fits(source, other, header, unheard);

    if !(fits && ack_fits && reset_fits) {
        let loose = (other.scale & HEARD == 0
            || other.state >= FinWait2 as u8
            || source.state >= FinWait2 as u8)
            && Seq(source.seq_hi).plus(MAX_ACK_WINDOW).at_least(data_end)
            && end.at_least(Seq(source.seq_lo).minus(MAX_ACK_WINDOW))
            && !segment.has(flags::RST | flags::SYN);
        if !loose {
            let near = Seq(source.seq_hi).at_least(seq)
                && seq.at_least(Seq(source.seq_lo).minus(other_window));
            if unheard {
                (*source, *other) = before;
            }
            let acknowledges_unsent = skew < 0;
            return Err(if segment.has(flags::SYN) {
                if segment.has(flags::ACK) { Reason::TcpBadSynAck } else { Reason::TcpBadSyn }
            } else if segment.has(flags::RST) {
                if near && ack_fits { Reason::TcpBadReset } else { Reason::TcpFarReset }
            } else if !allowed {
                Reason::TcpWindow
            } else if !fits {
                Reason::TcpOld
            } else if acknowledges_unsent {
                Reason::TcpBadAck
            } else {
                Reason::TcpOldAck
            });
        }
    }

    // What passes loosely may say anything. It must not move either end's window to where nothing of
    // that end fits any more.
    let acknowledges = acknowledges && ack_fits;
    let advances = fits || other.scale & HEARD == 0;

    let window = u32::from(header.window);
    // The window of a SYN is not scaled; it is kept as if it were.
    let kept =
        if segment.has(flags::SYN) { scaled_down(window, source.scale & SHIFT) } else { window };
    source.max_win = source.max_win.max(kept as u16);
    if advances && end.after(Seq(source.seq_lo)) {
        source.seq_lo = end.0;
    }
    let allowed = ack.plus((window << source_shift).max(1));
    if acknowledges && (allowed.at_least(Seq(other.seq_hi)) || other.seq_hi == 1) {
        other.seq_hi = allowed.0;
    }

    if header.flags & (flags::SYN | flags::FIN | flags::RST) == 0
        && source.state == Established as u8
        && other.state == Established as u8
    {
        // What `TABLE` says of nearly every segment there is.
        return Ok(Timeout::TcpEstablished);
    }
    let event = event(segment, acknowledges && ack.at_least(Seq(other.seq_lo)));
    let source_state = next(PeerState::of(source), Role::Sender, event);
    let other_state = next(PeerState::of(other), Role::Receiver, event);
    source.state = source_state as u8;
    other.state = other_state as u8;
    Ok(timeout(source_state, other_state))
}

/// Whether an ICMP error may quote this segment of peer `from`: it is one that may be on its way.
pub(crate) const fn quotes(peers: &[Peer; 2], from: usize, seq: u32) -> bool {
    let (source, other) = (&peers[from], &peers[1 - from]);
    let window = (other.max_win as u32) << (other.scale & SHIFT);
    Seq(source.seq_hi).at_least(Seq(seq))
        && Seq(seq).at_least(Seq(source.seq_lo).minus(window.saturating_add(MAX_ACK_WINDOW)))
}

/// The responder's SYN: scaling counts only if both have offered it (RFC 7323, 2.2). Returns the
/// window of the segment as it is to be kept.
fn agree_on_scale(source: &mut Peer, other: &mut Peer, offered: Option<u8>) {
    source.scale &= !(OFFERED | ASSUMED | SHIFT);
    if other.scale & OFFERED == 0 {
        return;
    }
    if let Some(shift) = offered {
        source.scale |= OFFERED | shift.min(MAX_SHIFT);
    } else {
        // No scaling then: the window of the other's SYN was meant as it stood.
        let meant = u32::from(other.max_win) << (other.scale & SHIFT);
        other.max_win = meant.min(0xffff) as u16;
        other.scale &= !(OFFERED | SHIFT);
    }
}

/// The largest window that the peer has advertised, in bytes.
fn scaled(peer: &Peer) -> u32 {
    u32::from(peer.max_win) << (peer.scale & SHIFT)
}

/// Rounds up, so that a scaled window never allows less than was advertised.
pub(super) const fn scaled_down(window: u32, shift: u8) -> u32 {
    (window + (1 << shift) - 1) >> shift
}
