//! Connections of which only a part is seen, because their packets take two ways: `keep state
//! (sloppy)`, as pf's `pf_tcp_track_sloppy`. Flags alone move the states; sequence numbers count for
//! nothing.

use weir_config::options::Timeout;

use super::states::{Closing, Established, FinWait2, SynSent, TimeWait, timeout};
use super::{HEARD, PeerState, Segment};
use crate::packet::tcp::flags;
use crate::state::entry::Peer;

/// Lets a segment of peer `from` move the states. Returns the time-out that runs from now.
pub(crate) fn track_sloppily(peers: &mut [Peer; 2], from: usize, segment: &Segment) -> Timeout {
    let [initiator, responder] = peers;
    let (source, other) = if from == 0 { (initiator, responder) } else { (responder, initiator) };
    source.scale |= HEARD;
    let other_is_silent = other.scale & HEARD == 0;
    if segment.has(flags::SYN) {
        source.state = source.state.max(SynSent as u8);
    }
    if segment.has(flags::FIN) {
        source.state = source.state.max(Closing as u8);
    }
    if segment.has(flags::ACK) {
        match (PeerState::of(source), PeerState::of(other)) {
            (_, SynSent) => other.state = Established as u8,
            (_, Closing) => other.state = FinWait2 as u8,
            // The other direction takes another way: what it acknowledges has happened there.
            (SynSent, _) if other_is_silent => {
                source.state = Established as u8;
                other.state = Established as u8;
            }
            (Closing, Established) if other_is_silent => other.state = Closing as u8,
            _ => {}
        }
    }
    if segment.has(flags::RST) {
        source.state = TimeWait as u8;
        other.state = TimeWait as u8;
    }
    timeout(PeerState::of(source), PeerState::of(other))
}
