//! SCTP associations (RFC 9260). What belongs to one is known by its verification tags: each end
//! chooses one in its INIT or INIT ACK, and all that is sent to it carries that. Nobody who does not
//! see an association can guess them, so that nobody else can end or disturb it.
//!
//! [`Peer::seq_lo`] is the tag that an end goes by, 0 while it is not known; [`Peer::seq_hi`] the one
//! that it would like to go by: the responder's before its cookie has come back, and of both ends while
//! one of them starts anew (RFC 9260, 5.2). The time-outs are those of TCP, as in `FreeBSD`'s pf.
//! Other addresses of a host with several are other flows.

use weir_config::options::Timeout;

use super::entry::Peer;
use crate::packet::Sctp;
use crate::packet::sctp::chunk;
use crate::reason::Reason;

/// Peer states, by number.
pub(crate) const NAMES: [&str; 5] =
    ["CLOSED", "COOKIE_WAIT", "ESTABLISHED", "SHUTDOWN_PENDING", "CLOSED"];
const COOKIE_WAIT: u8 = 1;
pub(crate) const ESTABLISHED: u8 = 2;
const SHUTDOWN_PENDING: u8 = 3;
const ENDED: u8 = 4;

/// Whether the packet begins an association.
pub(crate) const fn opens(packet: &Sctp) -> bool {
    packet.has(chunk::INIT)
}

/// Whether the packet may begin, move or end an association, so that its checksum is worth a look.
pub(crate) const fn moves(packet: &Sctp) -> bool {
    const STANDS: u16 = 1 << chunk::DATA
        | 1 << chunk::SACK
        | 1 << chunk::HEARTBEAT
        | 1 << chunk::HEARTBEAT_ACK
        | 1 << chunk::ERROR;
    packet.chunks & !STANDS != 0
}

/// Starts with the INIT of peer 0. Returns the time-out that runs.
pub(crate) const fn begin(peers: &mut [Peer; 2], packet: &Sctp) -> Timeout {
    peers[0].seq_lo = packet.initiate;
    peers[0].state = COOKIE_WAIT;
    Timeout::TcpFirst
}

/// Whether an INIT is a new association.
pub(crate) const fn is_over(peers: &[Peer; 2]) -> bool {
    peers[0].state == ENDED
}

/// Whether both ends have shown that they see what the other sends.
pub(crate) const fn is_proven(peers: &[Peer; 2]) -> bool {
    const fn shown(state: u8) -> bool {
        matches!(state, ESTABLISHED | SHUTDOWN_PENDING)
    }
    shown(peers[0].state) && shown(peers[1].state)
}

/// Judges a packet of peer `from` and, if it belongs to the association, moves it. Returns the time-out
/// that runs from now.
pub(crate) fn track(peers: &mut [Peer; 2], from: usize, packet: &Sctp) -> Result<Timeout, Reason> {
    let [initiator, responder] = peers;
    let (source, other) = if from == 0 { (initiator, responder) } else { (responder, initiator) };
    if packet.has(chunk::INIT) {
        // Again, from both sides at once, or of a host that has lost its memory: the other end knows.
        if source.seq_lo == 0 {
            source.seq_lo = packet.initiate;
        } else if source.seq_lo != packet.initiate {
            source.seq_hi = packet.initiate;
        }
        source.state = source.state.max(COOKIE_WAIT);
        return Ok(timeout(source, other));
    }
    let to_other = packet.tag == other.seq_lo && other.seq_lo != 0;
    let to_other_anew = packet.tag == other.seq_hi && other.seq_hi != 0;
    if packet.has(chunk::INIT_ACK) {
        if !to_other && !to_other_anew {
            return Err(Reason::SctpTag);
        }
        // A responder keeps nothing yet, and chooses another tag for each copy of the INIT: the
        // other end has taken the first that reached it, or the last.
        if source.seq_lo == 0 {
            source.seq_lo = packet.initiate;
        } else if source.seq_lo != packet.initiate {
            source.seq_hi = packet.initiate;
        }
        return Ok(timeout(source, other));
    }
    if packet.has(chunk::COOKIE_ECHO) {
        // The tag is that of the INIT ACK which the sender took; the cookie the other end checks.
        if !to_other && !to_other_anew {
            return Err(Reason::SctpTag);
        }
        if !to_other {
            other.seq_lo = packet.tag;
            // The one who starts anew goes by its new tag from here on.
            if source.seq_hi != 0 {
                source.seq_lo = source.seq_hi;
            }
            (source.seq_hi, other.seq_hi) = (0, 0);
            source.state = source.state.min(COOKIE_WAIT);
            other.state = other.state.min(COOKIE_WAIT);
        }
        source.state = source.state.max(ESTABLISHED);
        return Ok(timeout(source, other));
    }
    let reflected = packet.reflected && packet.tag == source.seq_lo && source.seq_lo != 0;
    // An INIT is refused with its own tag before there is any other.
    if !(to_other || reflected || to_other_anew && packet.has(chunk::ABORT)) {
        return Err(Reason::SctpTag);
    }
    if packet.has(chunk::ABORT) || packet.has(chunk::SHUTDOWN_COMPLETE) {
        if to_other_anew {
            // Only the attempt to start anew is refused.
            other.seq_hi = 0;
            return Ok(timeout(source, other));
        }
        (source.state, other.state) = (ENDED, ENDED);
    } else if packet.has(chunk::SHUTDOWN) || packet.has(chunk::SHUTDOWN_ACK) {
        source.state = source.state.max(SHUTDOWN_PENDING);
    } else if packet.has(chunk::COOKIE_ACK) {
        source.state = source.state.max(ESTABLISHED);
    }
    Ok(timeout(source, other))
}

/// Whether an ICMP error may quote a packet of peer `from` with this tag.
pub(crate) const fn quotes(peers: &[Peer; 2], from: usize, tag: u32) -> bool {
    let other = &peers[1 - from];
    tag == other.seq_lo || tag == other.seq_hi
}

const fn timeout(a: &Peer, b: &Peer) -> Timeout {
    let (low, high) = if a.state <= b.state { (a.state, b.state) } else { (b.state, a.state) };
    match (low, high) {
        (_, ENDED) => Timeout::TcpClosed,
        (SHUTDOWN_PENDING, _) => Timeout::TcpFinWait,
        (ESTABLISHED, SHUTDOWN_PENDING) => Timeout::TcpClosing,
        (ESTABLISHED, _) => Timeout::TcpEstablished,
        _ => Timeout::TcpOpening,
    }
}
