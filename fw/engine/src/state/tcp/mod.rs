//! TCP: which segments fit a connection, and what they make of it.
//!
//! The windows are those of Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter"
//! (2000), as pf uses them: for each end, the highest sequence number it sent ([`Peer::seq_lo`]) and
//! the highest the other end allows ([`Peer::seq_hi`]), window scale (RFC 7323) applied. The states
//! are pf's too, one for each end, so that listings read alike; the table of all their transitions
//! is in `states`, the arithmetic that decides whether a segment fits in `window`, what resets and
//! forgotten connections need in `recovery`, connections without windows in `sloppy`, and what is left
//! of a connection when its state has ended in `late`.

mod late;
mod proxy;
mod recovery;
mod seq;
mod sloppy;
mod states;
#[cfg(test)]
mod tests;
mod window;

use weir_config::options::Timeout;

use self::seq::Seq;
use self::states::{Closed, Closing, Established, FinWait2, SynSent, TimeWait};
use self::window::scaled_down;
use super::entry::Peer;
use crate::packet::Tcp;
use crate::packet::tcp::flags;

pub(crate) use self::late::{Late, Rest, Tail, either_closes};
pub(crate) use self::proxy::{End, ask, asks, establish};
pub(crate) use self::recovery::{
    answers_anew, challenge, contradicts, resets_late, resynchronises,
};
pub(crate) use self::sloppy::track_sloppily;
pub(crate) use self::states::PeerState;
pub(crate) use self::window::{quotes, track};

// Peer::scale: the shift in the low four bits, and how we know it.
const SHIFT: u8 = 0x0f;
/// The end was heard: its sequence numbers are known.
const HEARD: u8 = 0x40;
/// Its SYN carried the window scale option.
const OFFERED: u8 = 0x80;
/// Its SYN was never seen: the shift is the largest there is (RFC 7323, 2.3), so that a connection
/// picked up in the middle is judged too loosely rather than stalled.
const ASSUMED: u8 = 0x20;
const MAX_SHIFT: u8 = 14;

/// The flags that decide what a segment is.
const CONTROL: u8 = flags::SYN | flags::ACK | flags::FIN | flags::RST;

/// A TCP segment as tracking sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) header: Tcp,
    /// Bytes of data, of a whole GSO train.
    pub(crate) payload: u32,
    /// Window scale option of a SYN.
    pub(crate) scale: Option<u8>,
}

impl Segment {
    const fn has(&self, flag: u8) -> bool {
        self.header.flags & flag != 0
    }

    /// Sequence numbers it takes up.
    const fn span(&self) -> u32 {
        self.payload + self.has(flags::SYN) as u32 + self.has(flags::FIN) as u32
    }
}

/// Whether the segment, the first of its flow, opens a connection rather than comes from the middle
/// of one.
pub(crate) const fn opens(header: &Tcp) -> bool {
    header.flags & CONTROL == flags::SYN
}

/// Starts tracking with the first segment, sent by peer 0, or anew with another one. Returns the
/// time-out that runs.
pub(crate) fn begin(peers: &mut [Peer; 2], segment: &Segment) -> Timeout {
    let seq = Seq(segment.header.seq);
    let mut window = u32::from(segment.header.window.max(1));
    let (initiator, responder) = if opens(&segment.header) {
        let scale = segment.scale.map_or(0, |shift| OFFERED | shift.min(MAX_SHIFT));
        // The window of a SYN is not scaled; it is kept as if it were.
        window = scaled_down(window, scale & SHIFT);
        (HEARD | scale, 0)
    } else {
        let assumed = ASSUMED | OFFERED | MAX_SHIFT;
        (HEARD | assumed, assumed)
    };
    peers[0] = Peer {
        seq_lo: seq.plus(segment.span()).0,
        seq_hi: seq.plus(segment.span()).0,
        seq_diff: peers[0].seq_diff,
        max_win: window as u16,
        scale: initiator,
        state: SynSent as u8,
    };
    peers[1] = Peer {
        seq_lo: 0,
        seq_hi: 1,
        seq_diff: peers[1].seq_diff,
        max_win: 1,
        scale: responder,
        state: Closed as u8,
    };
    Timeout::TcpFirst
}

/// Whether the responder has not been heard, so that a SYN of the initiator begins anew.
pub(crate) const fn unanswered(peers: &[Peer; 2]) -> bool {
    peers[1].scale & HEARD == 0 && peers[1].state == Closed as u8
}

/// Whether the handshake is complete, whatever came after it.
pub(crate) const fn both_established(peers: &[Peer; 2]) -> bool {
    peers[0].state >= Established as u8 && peers[1].state >= Established as u8
}

/// Whether both ends are done, so that a SYN is a new connection.
pub(crate) const fn is_over(peers: &[Peer; 2]) -> bool {
    peers[0].state >= FinWait2 as u8 && peers[1].state >= FinWait2 as u8
}

/// Whether both ends have acknowledged each other. A RST proves nothing: a SYN and a RST of one
/// sender, or of a port that nobody listens on, must not make a state that is never evicted.
pub(crate) const fn is_proven(peers: &[Peer; 2]) -> bool {
    is_acknowledged(peers[0].state) && is_acknowledged(peers[1].state)
}

/// Whether the connection was reset.
pub(crate) const fn is_reset(peers: &[Peer; 2]) -> bool {
    peers[0].state == TimeWait as u8 && peers[1].state == TimeWait as u8
}

/// The connection is reset.
pub(crate) const fn reset(peers: &mut [Peer; 2]) {
    peers[0].state = TimeWait as u8;
    peers[1].state = TimeWait as u8;
}

/// Up to where a segment of peer `from` acknowledges what the other has sent, and not beyond. `None`:
/// it says nothing of that.
pub(crate) const fn acknowledged(peers: &[Peer; 2], from: usize, header: &Tcp) -> Option<u32> {
    let other = &peers[1 - from];
    if header.flags & flags::ACK == 0 || other.scale & HEARD == 0 {
        return None;
    }
    let (ack, sent) = (Seq(header.ack), Seq(other.seq_lo));
    Some(if ack.after(sent) { sent.0 } else { ack.0 })
}

/// Whether this window of an end may keep the other waiting: the other has to send at once where half of
/// the largest window is free, or a segment's worth (RFC 9293, 3.8.6.2.1).
pub(crate) const fn is_shut(peer: &Peer, window: u16) -> bool {
    const SEGMENT: u32 = 1460;
    2 * (window as u32) < peer.max_win as u32 && (window as u32) << (peer.scale & SHIFT) < SEGMENT
}

/// Whether this end has sent a FIN.
pub(crate) const fn is_closing(peer: &Peer) -> bool {
    peer.state >= Closing as u8
}

const fn is_acknowledged(state: u8) -> bool {
    state >= Established as u8 && state <= FinWait2 as u8
}

/// The window scale of a peer, if it is known.
pub(crate) const fn window_scale(peer: &Peer) -> Option<u8> {
    if peer.scale & OFFERED != 0 && peer.scale & ASSUMED == 0 {
        Some(peer.scale & SHIFT)
    } else {
        None
    }
}
