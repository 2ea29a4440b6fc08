//! TCP: which segments fit a connection, and what they make of it.
//!
//! The windows are those of Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter"
//! (2000), as pf uses them: for each end, the highest sequence number it sent ([`Peer::seq_lo`]) and
//! the highest the other end allows ([`Peer::seq_hi`]), window scale (RFC 7323) applied. The states
//! are pf's too, one for each end, so that listings read alike; [`TABLE`] is all of their
//! transitions. The arithmetic that decides whether a segment fits stands apart from it.

use weir_config::options::Timeout;

use super::entry::Peer;
use crate::packet::Tcp;
use crate::packet::tcp::flags;
use crate::reason::Reason;

/// State of one end, in pf's words (pfctl prints server and client state side by side).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum PeerState {
    /// Has not been heard.
    Closed,
    /// Has sent a SYN that was not acknowledged yet.
    SynSent,
    /// Its SYN was acknowledged.
    Established,
    /// Has sent a FIN that was not acknowledged yet.
    Closing,
    /// Its FIN was acknowledged.
    FinWait2,
    /// One of the two has reset the connection.
    TimeWait,
}

use PeerState::{Closed, Closing, Established, FinWait2, SynSent, TimeWait};

impl PeerState {
    /// Every state, by its number.
    pub(crate) const ALL: [Self; 6] = [Closed, SynSent, Established, Closing, FinWait2, TimeWait];

    /// As pfctl prints it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Closed => "CLOSED",
            SynSent => "SYN_SENT",
            Established => "ESTABLISHED",
            Closing => "CLOSING",
            FinWait2 => "FIN_WAIT_2",
            TimeWait => "TIME_WAIT",
        }
    }

    const fn of(peer: &Peer) -> Self {
        Self::ALL[if peer.state < 6 { peer.state as usize } else { 0 }]
    }
}

/// What a segment means for the states: a column of [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// Nothing of the rest: data without ACK.
    Plain,
    Syn,
    SynAck,
    Ack,
    /// An ACK of all that the other end has sent, a FIN included.
    AckAll,
    Fin,
    FinAckAll,
    Rst,
}

/// Which end a row of [`TABLE`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Sender,
    Receiver,
}

/// state x direction x flags: the next state of the end that sent the segment, and of the end that
/// received it.
#[rustfmt::skip]
const TABLE: [[[PeerState; 8]; 2]; 6] = {
    //             Plain        Syn          SynAck       Ack          AckAll       Fin          FinAckAll    Rst
    [
        /* CLOSED      */
        [ /* sender   */ [SynSent,     SynSent,     SynSent,     SynSent,     SynSent,     Closing,     Closing,     TimeWait],
          /* receiver */ [Closed,      Closed,      Closed,      Closed,      Closed,      Closed,      Closed,      TimeWait] ],
        /* SYN_SENT    */
        [ /* sender   */ [SynSent,     SynSent,     SynSent,     SynSent,     SynSent,     Closing,     Closing,     TimeWait],
          /* receiver */ [SynSent,     SynSent,     Established, Established, Established, Established, Established, TimeWait] ],
        /* ESTABLISHED */
        [ /* sender   */ [Established, Established, Established, Established, Established, Closing,     Closing,     TimeWait],
          /* receiver */ [Established, Established, Established, Established, Established, Established, Established, TimeWait] ],
        /* CLOSING     */
        [ /* sender   */ [Closing,     Closing,     Closing,     Closing,     Closing,     Closing,     Closing,     TimeWait],
          /* receiver */ [Closing,     Closing,     Closing,     Closing,     FinWait2,    Closing,     FinWait2,    TimeWait] ],
        /* FIN_WAIT_2  */
        [ /* sender   */ [FinWait2,    FinWait2,    FinWait2,    FinWait2,    FinWait2,    FinWait2,    FinWait2,    TimeWait],
          /* receiver */ [FinWait2,    FinWait2,    FinWait2,    FinWait2,    FinWait2,    FinWait2,    FinWait2,    TimeWait] ],
        /* TIME_WAIT   */
        [ /* sender   */ [TimeWait,    TimeWait,    TimeWait,    TimeWait,    TimeWait,    TimeWait,    TimeWait,    TimeWait],
          /* receiver */ [TimeWait,    TimeWait,    TimeWait,    TimeWait,    TimeWait,    TimeWait,    TimeWait,    TimeWait] ],
    ]
};

const fn next(state: PeerState, role: Role, event: Event) -> PeerState {
    TABLE[state as usize][role as usize][event as usize]
}

/// The time-out that runs while the two ends are in these states (pf's, symmetric).
const fn timeout(a: PeerState, b: PeerState) -> Timeout {
    let (low, high) = if a as u8 <= b as u8 { (a as u8, b as u8) } else { (b as u8, a as u8) };
    if low >= FinWait2 as u8 {
        Timeout::TcpClosed
    } else if low >= Closing as u8 {
        Timeout::TcpFinWait
    } else if low < Established as u8 {
        Timeout::TcpOpening
    } else if high >= Closing as u8 {
        Timeout::TcpClosing
    } else {
        Timeout::TcpEstablished
    }
}

/// A sequence number: compared modulo 2^32 (RFC 9293, 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seq(u32);

impl Seq {
    const fn at_least(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() >= 0
    }

    const fn after(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() > 0
    }

    const fn plus(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }

    const fn minus(self, n: u32) -> Self {
        Self(self.0.wrapping_sub(n))
    }
}

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

/// How far an acknowledgement may be ahead of what was seen, and half of how far behind before
/// scaling: the largest window and one reassembled frame, as in pf.
const MAX_ACK_WINDOW: u32 = 0xffff + 1500;

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

/// Starts tracking with the first segment, sent by peer 0. Returns the time-out that runs.
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
        seq_diff: 0,
        max_win: window as u16,
        scale: initiator,
        state: SynSent as u8,
    };
    peers[1] = Peer {
        seq_lo: 0,
        seq_hi: 1,
        seq_diff: 0,
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

/// Whether this end has sent a FIN.
pub(crate) const fn is_closing(peer: &Peer) -> bool {
    peer.state >= Closing as u8
}

const fn is_acknowledged(state: u8) -> bool {
    state >= Established as u8 && state <= FinWait2 as u8
}

/// Judges a segment of peer `from` and, if it fits, moves windows and states. Returns the time-out
/// that runs from now.
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
    let fits = empty
        || Seq(source.seq_hi).at_least(data_end)
            && end.at_least(Seq(source.seq_lo).minus(other_window));
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
            if unheard {
                (*source, *other) = before;
            }
            return Err(match (segment.has(flags::SYN), fits, ack_fits) {
                (true, ..) => Reason::TcpBadSyn,
                (_, false, _) => Reason::TcpWindow,
                (_, _, false) => Reason::TcpBadAck,
                _ => Reason::TcpBadReset,
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

/// Whether a RST is one that the other end would believe, as far as can be seen from here.
/// `answers` a SYN: nothing came before it from the end that sends it.
const fn reset_fits(source: &Peer, other: &Peer, header: &Tcp, answers: bool) -> bool {
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

/// Whether an ICMP error may quote this segment of peer `from`: it is one that may be on its way.
pub(crate) const fn quotes(peers: &[Peer; 2], from: usize, seq: u32) -> bool {
    let (source, other) = (&peers[from], &peers[1 - from]);
    let window = (other.max_win as u32) << (other.scale & SHIFT);
    Seq(source.seq_hi).at_least(Seq(seq))
        && Seq(seq).at_least(Seq(source.seq_lo).minus(window.saturating_add(MAX_ACK_WINDOW)))
}

/// The window scale of a peer, if it is known.
pub(crate) const fn window_scale(peer: &Peer) -> Option<u8> {
    if peer.scale & OFFERED != 0 && peer.scale & ASSUMED == 0 {
        Some(peer.scale & SHIFT)
    } else {
        None
    }
}

const fn event(segment: &Segment, acknowledges_all: bool) -> Event {
    if segment.has(flags::RST) {
        Event::Rst
    } else if segment.has(flags::SYN) {
        if segment.has(flags::ACK) { Event::SynAck } else { Event::Syn }
    } else if segment.has(flags::FIN) {
        if acknowledges_all { Event::FinAckAll } else { Event::Fin }
    } else if !segment.has(flags::ACK) {
        Event::Plain
    } else if acknowledges_all {
        Event::AckAll
    } else {
        Event::Ack
    }
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
const fn scaled_down(window: u32, shift: u8) -> u32 {
    (window + (1 << shift) - 1) >> shift
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(flags: u8, seq: u32, ack: u32, window: u16, payload: u32) -> Segment {
        Segment { header: Tcp { seq, ack, window, flags, header: 20 }, payload, scale: None }
    }

    fn syn(flags: u8, seq: u32, ack: u32, scale: Option<u8>) -> Segment {
        Segment { scale, ..segment(flags, seq, ack, 64_240, 0) }
    }

    const CLIENT: usize = 0;
    const SERVER: usize = 1;
    const ACK: u8 = flags::ACK;
    const SYN: u8 = flags::SYN;
    const FIN: u8 = flags::FIN;
    const RST: u8 = flags::RST;

    /// A connection after its handshake; the next bytes are 1001 and 5001.
    fn established(scale: Option<u8>) -> [Peer; 2] {
        let mut peers = [Peer::default(); 2];
        assert_eq!(begin(&mut peers, &syn(SYN, 1000, 0, scale)), Timeout::TcpFirst);
        let answered = track(&mut peers, SERVER, &syn(SYN | ACK, 5000, 1001, scale));
        assert_eq!(answered, Ok(Timeout::TcpOpening));
        let done = track(&mut peers, CLIENT, &segment(ACK, 1001, 5001, 502, 0));
        assert_eq!(done, Ok(Timeout::TcpEstablished));
        assert!(is_proven(&peers));
        peers
    }

    fn states(peers: &[Peer; 2]) -> (PeerState, PeerState) {
        (PeerState::of(&peers[CLIENT]), PeerState::of(&peers[SERVER]))
    }

    #[test]
    fn client_closes_first() {
        let mut peers = established(Some(7));
        let steps = [
            (CLIENT, FIN | ACK, 1001, 5001, (Closing, Established), Timeout::TcpClosing),
            (SERVER, ACK, 5001, 1002, (FinWait2, Established), Timeout::TcpClosing),
            (SERVER, FIN | ACK, 5001, 1002, (FinWait2, Closing), Timeout::TcpFinWait),
            (CLIENT, ACK, 1002, 5002, (FinWait2, FinWait2), Timeout::TcpClosed),
        ];
        for (from, flags, seq, ack, expected, timeout) in steps {
            assert_eq!(track(&mut peers, from, &segment(flags, seq, ack, 502, 0)), Ok(timeout));
            assert_eq!(states(&peers), expected);
        }
        assert!(is_over(&peers));
    }

    #[test]
    fn an_old_ack_does_not_acknowledge_a_fin() {
        let mut peers = established(Some(7));
        track(&mut peers, CLIENT, &segment(FIN | ACK, 1001, 5001, 502, 100)).unwrap();
        track(&mut peers, SERVER, &segment(ACK, 5001, 1101, 502, 0)).unwrap();
        assert_eq!(states(&peers), (Closing, Established));
        track(&mut peers, SERVER, &segment(ACK, 5001, 1102, 502, 0)).unwrap();
        assert_eq!(states(&peers), (FinWait2, Established));
    }

    #[test]
    fn simultaneous_open_establishes_both() {
        let mut peers = [Peer::default(); 2];
        begin(&mut peers, &syn(SYN, 1000, 0, Some(7)));
        track(&mut peers, SERVER, &syn(SYN, 5000, 0, Some(7))).unwrap();
        assert_eq!(states(&peers), (SynSent, SynSent));
        track(&mut peers, CLIENT, &syn(SYN | ACK, 1000, 5001, Some(7))).unwrap();
        track(&mut peers, SERVER, &syn(SYN | ACK, 5000, 1001, Some(7))).unwrap();
        assert_eq!(states(&peers), (Established, Established));
    }

    #[test]
    fn a_window_is_scaled_only_if_both_offer_it() {
        let peers = established(Some(7));
        assert_eq!(window_scale(&peers[CLIENT]), Some(7));
        // 502 << 7 bytes beyond what was acknowledged.
        assert_eq!(peers[SERVER].seq_hi, 5001 + (502 << 7));

        let mut peers = [Peer::default(); 2];
        begin(&mut peers, &syn(SYN, 1000, 0, Some(7)));
        track(&mut peers, SERVER, &syn(SYN | ACK, 5000, 1001, None)).unwrap();
        track(&mut peers, CLIENT, &segment(ACK, 1001, 5001, 64_240, 0)).unwrap();
        assert_eq!(window_scale(&peers[CLIENT]), None);
        // As advertised, but for the rounding of the SYN's window to the scale.
        assert!((64_240..64_240 + 128).contains(&(peers[SERVER].seq_hi - 5001)));
    }

    #[test]
    fn data_beyond_the_window_is_refused_and_changes_nothing() {
        let mut peers = established(Some(0));
        let before = peers;
        let beyond = segment(ACK, 1001 + 64_240, 5001, 502, 1);
        assert_eq!(track(&mut peers, CLIENT, &beyond), Err(Reason::TcpWindow));
        let old = segment(ACK, 1001_u32.wrapping_sub(70_000), 5001, 502, 1);
        assert_eq!(track(&mut peers, CLIENT, &old), Err(Reason::TcpWindow));
        let ahead = segment(ACK, 1001, 5001 + 70_000, 502, 1);
        assert_eq!(track(&mut peers, CLIENT, &ahead), Err(Reason::TcpBadAck));
        assert_eq!(peers, before);
    }

    #[test]
    fn a_refused_answer_leaves_nothing_behind() {
        let mut peers = [Peer::default(); 2];
        begin(&mut peers, &syn(SYN, 1000, 0, Some(7)));
        let before = peers;
        let forged = syn(SYN | ACK, 77, 1001 + 900_000, Some(3));
        assert_eq!(track(&mut peers, SERVER, &forged), Err(Reason::TcpBadSyn));
        assert_eq!(peers, before);
        assert!(track(&mut peers, SERVER, &syn(SYN | ACK, 5000, 1001, Some(7))).is_ok());
    }

    #[test]
    fn a_reset_must_be_exact() {
        for (offset, expected) in [(0_u32, true), (1, true), (2, false), (1000, false)] {
            let mut peers = established(Some(7));
            let reset = segment(RST, 5001 + offset, 0, 0, 0);
            let result = track(&mut peers, SERVER, &reset);
            assert_eq!(result.is_ok(), expected, "offset {offset}");
            assert_eq!(is_over(&peers), expected);
        }
    }

    #[test]
    fn a_host_that_has_closed_may_reset_with_an_older_number() {
        let mut peers = established(Some(7));
        let late = segment(RST, 1001, 0, 0, 0).header;
        track(&mut peers, CLIENT, &segment(ACK, 1001, 5001, 502, 100)).unwrap();
        assert!(!resets_late(&peers, CLIENT, &late));
        track(&mut peers, CLIENT, &segment(FIN | ACK, 1101, 5001, 502, 0)).unwrap();
        assert!(resets_late(&peers, CLIENT, &late));
        let guessed = segment(RST, 1001 + 10_000_000, 0, 0, 0).header;
        assert!(!resets_late(&peers, CLIENT, &guessed));
    }

    #[test]
    fn a_refused_connection_is_over() {
        let mut peers = [Peer::default(); 2];
        begin(&mut peers, &syn(SYN, 1000, 0, Some(7)));
        assert!(unanswered(&peers));
        let refused = track(&mut peers, SERVER, &segment(RST | ACK, 0, 1001, 0, 0));
        assert_eq!(refused, Ok(Timeout::TcpClosed));
        assert!(is_over(&peers));
    }

    #[test]
    fn a_whole_window_in_flight_does_not_stall() {
        let mut peers = established(Some(7));
        let window: u32 = 502 << 7;
        let mut sent = 0;
        while sent < window {
            let train = (window - sent).min(65_000);
            let data = segment(ACK, 5001 + sent, 1001, 502, train);
            assert!(track(&mut peers, SERVER, &data).is_ok());
            sent += train;
        }
        let more = segment(ACK, 5001 + sent, 1001, 502, 1);
        assert_eq!(track(&mut peers, SERVER, &more), Err(Reason::TcpWindow));
        // The oldest segment again, and ACKs of every byte in between.
        assert!(track(&mut peers, SERVER, &segment(ACK, 5001, 1001, 502, 1448)).is_ok());
        for acked in (0..=window).step_by(1000) {
            let ack = segment(ACK, 1001, 5001 + acked, 502, 0);
            assert!(track(&mut peers, CLIENT, &ack).is_ok());
        }
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut peers = [Peer::default(); 2];
        begin(&mut peers, &syn(SYN, u32::MAX - 1, 0, Some(7)));
        track(&mut peers, SERVER, &syn(SYN | ACK, u32::MAX, u32::MAX, Some(7))).unwrap();
        track(&mut peers, CLIENT, &segment(ACK, u32::MAX, 0, 502, 5000)).unwrap();
        track(&mut peers, SERVER, &segment(ACK, 0, 4999, 502, 5000)).unwrap();
        assert_eq!(states(&peers), (Established, Established));
        assert_eq!((peers[CLIENT].seq_lo, peers[SERVER].seq_lo), (4999, 5000));
    }

    #[test]
    fn a_connection_from_the_middle_is_judged_loosely() {
        let mut peers = [Peer::default(); 2];
        begin(&mut peers, &segment(ACK, 1_000_000, 9_000_000, 229, 1448));
        for i in 0..50 {
            let data = segment(ACK, 9_000_000 + i * 60_000, 1_001_448, 229, 60_000);
            assert!(track(&mut peers, SERVER, &data).is_ok(), "segment {i}");
        }
        assert_eq!(window_scale(&peers[CLIENT]), None);
    }

    #[test]
    fn errors_may_quote_what_is_in_flight_only() {
        let peers = established(Some(0));
        assert!(quotes(&peers, CLIENT, 1001));
        assert!(!quotes(&peers, CLIENT, 1001 + 70_000));
        assert!(!quotes(&peers, CLIENT, 1001_u32.wrapping_sub(200_000)));
    }

    #[test]
    fn states_never_go_back() {
        for state in PeerState::ALL {
            for role in [Role::Sender, Role::Receiver] {
                for after in TABLE[state as usize][role as usize] {
                    assert!(after >= state, "{state:?} {role:?} {after:?}");
                }
            }
        }
    }
}
