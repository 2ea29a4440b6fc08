//! The states of the two ends of a connection, and all of their transitions.

use weir_config::options::Timeout;

use super::Segment;
use crate::packet::tcp::flags;
use crate::state::entry::Peer;

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
    /// Weir makes the handshakes. Of the responder, that it has not answered; read together with the
    /// initiator's, as pf prints it.
    Proxy,
    /// The initiator has completed its handshake, that with the destination is to come.
    Destination,
}

pub(super) use PeerState::{Closed, Closing, Established, FinWait2, SynSent, TimeWait};

impl PeerState {
    /// Every state, by its number.
    pub(crate) const ALL: [Self; 8] =
        [Closed, SynSent, Established, Closing, FinWait2, TimeWait, Self::Proxy, Self::Destination];

    /// As pfctl prints it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Closed => "CLOSED",
            SynSent => "SYN_SENT",
            Established => "ESTABLISHED",
            Closing => "CLOSING",
            FinWait2 => "FIN_WAIT_2",
            TimeWait => "TIME_WAIT",
            Self::Proxy => "PROXY",
            Self::Destination => "DST",
        }
    }

    /// The state of an end that is tracked: a handshake that weir makes itself is not.
    pub(super) const fn of(peer: &Peer) -> Self {
        Self::ALL[if peer.state <= TimeWait as u8 { peer.state as usize } else { 0 }]
    }
}

/// What a segment means for the states: a column of [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
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
pub(super) enum Role {
    Sender,
    Receiver,
}

/// state x direction x flags: the next state of the end that sent the segment, and of the end that
/// received it.
#[rustfmt::skip]
pub(super) const TABLE: [[[PeerState; 8]; 2]; 6] = {
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

pub(super) const fn next(state: PeerState, role: Role, event: Event) -> PeerState {
    TABLE[state as usize][role as usize][event as usize]
}

/// The time-out that runs while the two ends are in these states (pf's, symmetric).
pub(super) const fn timeout(a: PeerState, b: PeerState) -> Timeout {
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

pub(super) const fn event(segment: &Segment, acknowledges_all: bool) -> Event {
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
