//! Connections whose handshake weir makes itself: first with the client, then with the server
//! (`synproxy state`). What they say to each other afterwards is tracked like any other connection.

use super::seq::Seq;
use super::states::{Established, PeerState};
use super::window::scaled_down;
use super::{HEARD, MAX_SHIFT, OFFERED};
use crate::state::entry::Peer;

/// What one end has said in its handshake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// Sequence number that it sends next.
    pub(crate) next: u32,
    /// Its window, in bytes.
    pub(crate) window: u32,
    /// Its window scale, if both ends have one.
    pub(crate) scale: Option<u8>,
}

/// The client is there and sends `next` next; the server is asked.
pub(crate) fn ask(peers: &mut [Peer; 2], next: u32) {
    // Read together as pf prints it: PROXY:DST.
    peers[0] = Peer {
        seq_lo: next,
        seq_hi: next,
        max_win: 1,
        scale: HEARD,
        state: PeerState::Destination as u8,
        ..peers[0]
    };
    peers[1] = Peer { seq_hi: 1, max_win: 1, state: PeerState::Proxy as u8, ..peers[1] };
}

/// Whether the server has not answered yet.
#[inline]
pub(crate) const fn asks(peers: &[Peer; 2]) -> bool {
    peers[1].state == PeerState::Proxy as u8
}

/// Both are there: the initiator, and the responder.
pub(crate) fn establish(peers: &mut [Peer; 2], ends: [End; 2]) {
    for (i, peer) in peers.iter_mut().enumerate() {
        let (own, other) = (&ends[i], &ends[1 - i]);
        let shift = own.scale.map_or(0, |shift| shift.min(MAX_SHIFT));
        let offered = if own.scale.is_some() { OFFERED | shift } else { 0 };
        *peer = Peer {
            seq_lo: own.next,
            seq_hi: Seq(own.next).plus(other.window.max(1)).0,
            seq_diff: peer.seq_diff,
            max_win: scaled_down(own.window, shift).clamp(1, 0xffff) as u16,
            scale: HEARD | offered,
            state: Established as u8,
        };
    }
}
