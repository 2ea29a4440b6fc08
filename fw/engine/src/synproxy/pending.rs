//! What is known of a connection whose client has shown itself and whose server was asked.

use zerocopy::FromZeros;

use super::answer::ECN_SYN;
use super::cookie::{Proven, Terms};
use super::segment::{Segment, TcpOptions};
use crate::encapsulation::Encapsulation;
use crate::outbox::LONGEST;
use crate::packet::tcp::flags;
use crate::packet::{ECN, Packet, Tcp};
use crate::reflect;
use crate::state::entry::Entry;

/// How far the SYN that only asks stands from the one that opens the connection.
const FAR: u32 = 1 << 31;

/// Bits of [`Pending::flags`].
mod bit {
    pub(super) const SACK: u8 = 1;
    pub(super) const STAMPS: u8 = 2;
    pub(super) const SCALES: u8 = 4;
    pub(super) const ASKS: u8 = 8;
    pub(super) const ECN: u8 = 16;
    pub(super) const REPEATED: u8 = 32;
}

/// A handshake with a server.
#[derive(Clone, Copy, Debug, FromZeros)]
pub(super) struct Pending {
    /// Sequence number of the client's SYN.
    pub(super) seq: u32,
    /// That of the SYN-ACK which weir has answered.
    pub(super) cookie: u32,
    /// The timestamp of that SYN-ACK.
    pub(super) stamp: u32,
    /// The client's last timestamp.
    pub(super) client_stamp: u32,
    /// What the server sends first, once it has answered.
    pub(super) server_next: u32,
    /// Added to the client's timestamps on their way.
    pub(super) clock: u32,
    /// Tick in which the SYN goes out again.
    pub(super) due: u32,
    mss: u16,
    /// The client's window, as in its last segment.
    pub(super) window: u16,
    /// The client's window scale, and the one promised for the server.
    scales: [u8; 2],
    flags: u8,
    /// SYNs that were sent.
    pub(super) sent: u8,
    /// Time to live of the client's ACK.
    ttl: u8,
    /// Its type of service or traffic class, as of a segment that cannot experience congestion.
    tos: u8,
    pub(super) encapsulation: Encapsulation,
}

impl Pending {
    /// A place for each of so many states.
    pub(super) fn table(states: u32) -> Vec<Self> {
        // Out of memory the process would end; the state table has been allocated the same way.
        Self::new_vec_zeroed(states as usize).unwrap_or_default()
    }

    /// Begins with the client's ACK, whose frame begins with `head`. `asks`: the server is not known.
    pub(super) fn new(
        proven: &Proven,
        packet: &Packet,
        header: &Tcp,
        head: &[u8],
        client_stamp: u32,
        asks: bool,
    ) -> Self {
        let terms = proven.terms();
        let mut flags = 0;
        for (set, bit) in [
            (terms.sack, bit::SACK),
            (terms.stamps, bit::STAMPS),
            (terms.scales.is_some(), bit::SCALES),
            (asks, bit::ASKS),
            (terms.ecn, bit::ECN),
        ] {
            flags |= if set { bit } else { 0 };
        }
        Self {
            seq: proven.seq(),
            cookie: proven.cookie().seq,
            stamp: proven.cookie().stamp.unwrap_or(0),
            client_stamp,
            server_next: 0,
            clock: 0,
            due: 0,
            mss: terms.mss,
            window: header.window,
            scales: terms.scales.map_or([0; 2], |(client, server)| [client, server]),
            flags,
            sent: 1,
            ttl: packet.ttl,
            tos: packet.tos & !ECN,
            encapsulation: Encapsulation::new(packet, head),
        }
    }

    /// `max-mss` of the rules, 0 for none: it holds for SYNs that timers make, too.
    pub(super) fn clamp_mss(&mut self, most: u16) {
        if most != 0 {
            self.mss = self.mss.min(most);
        }
    }

    /// What the client was told.
    pub(super) const fn terms(&self) -> Terms {
        let [client, server] = self.scales;
        let scales = if self.flags & bit::SCALES != 0 { Some((client, server)) } else { None };
        Terms {
            mss: self.mss,
            scales,
            sack: self.flags & bit::SACK != 0,
            stamps: self.flags & bit::STAMPS != 0,
            ecn: self.flags & bit::ECN != 0,
        }
    }

    /// Whether the SYN that is out is to tell what the server knows, not to open the connection.
    pub(super) const fn asks(&self) -> bool {
        self.flags & bit::ASKS != 0
    }

    /// The server has told.
    pub(super) const fn has_asked(&mut self) {
        self.flags &= !(bit::ASKS | bit::REPEATED);
        self.sent = 1;
    }

    /// Whether the SYN that is out offers more than the client does: there are servers, and firewalls
    /// before them, that refuse it (RFC 3168, 6.1.1.1).
    pub(super) const fn overcharges(&self) -> bool {
        self.asks() && self.flags & bit::REPEATED == 0
    }

    /// Nobody has answered the SYN: it goes out again.
    pub(super) const fn repeat(&mut self) {
        self.flags |= bit::REPEATED;
    }

    /// The flags of the client's SYN.
    pub(super) const fn syn_flags(&self) -> u8 {
        if self.flags & bit::ECN != 0 { ECN_SYN } else { flags::SYN }
    }

    /// The sequence number of the SYN that is out.
    const fn asked(&self) -> u32 {
        if self.asks() { self.seq ^ FAR } else { self.seq }
    }

    /// What the server acknowledges, if it answers that.
    pub(super) const fn next(&self) -> u32 {
        self.asked().wrapping_add(1)
    }

    /// The client's window in bytes, at most what a SYN can say.
    fn syn_window(&self) -> u16 {
        let shift = self.terms().scales.map_or(0, |(client, _)| client);
        (u32::from(self.window) << shift).min(0xffff) as u16
    }

    /// The client's last timestamp as the server is told it.
    const fn shifted_stamp(&self) -> u32 {
        self.client_stamp.wrapping_add(self.clock)
    }

    /// The options of the SYN for the server: the client's, or all that there are.
    pub(super) fn options(&self) -> TcpOptions {
        let terms = self.terms();
        if self.asks() {
            // The clock is anybody's.
            return TcpOptions::of_syn(terms.mss, true, Some([self.cookie | 1, 0]), Some(0));
        }
        let stamps = terms.stamps.then_some([self.shifted_stamp(), 0]);
        TcpOptions::of_syn(terms.mss, terms.sack, stamps, terms.scales.map(|(client, _)| client))
    }

    /// The SYN for the server.
    pub(super) fn syn(&self) -> Segment {
        Segment {
            seq: self.asked(),
            ack: 0,
            flags: match self.flags & (bit::ASKS | bit::REPEATED) {
                // There are hosts, and firewalls before them, that do not answer this (RFC 3168, 6.1.1.1).
                bit::ASKS => ECN_SYN,
                0 | bit::REPEATED => self.syn_flags(),
                _ => flags::SYN,
            },
            window: self.syn_window(),
            options: self.options(),
            ttl: self.ttl,
            tos: self.tos,
        }
    }

    /// The ACK for the server's SYN-ACK.
    pub(super) fn ack(&self, server_seq: u32, server_stamp: u32) -> Segment {
        let stamps = self.terms().stamps.then_some([self.shifted_stamp(), server_stamp]);
        Segment {
            seq: self.seq.wrapping_add(1),
            ack: server_seq.wrapping_add(1),
            flags: flags::ACK,
            window: self.window,
            options: TcpOptions::of_ack(stamps),
            ttl: self.ttl,
            tos: self.tos,
        }
    }

    /// A RST that the server believes in SYN-RECEIVED.
    pub(super) fn reset_server(&self) -> Segment {
        Segment::reset(self.next())
    }

    /// A RST that the client believes.
    pub(super) fn reset_client(&self) -> Segment {
        Segment::reset(self.cookie.wrapping_add(1))
    }

    /// Writes a segment into an empty frame, in the client's name or in the server's.
    pub(super) fn write(
        &self,
        state: &Entry,
        segment: &Segment,
        towards: reflect::Towards,
        room: &mut [u8; LONGEST],
    ) -> Option<usize> {
        let link = self.encapsulation.bytes();
        room[..link.len()].copy_from_slice(link);
        let packet = self.encapsulation.packet(state);
        match towards {
            reflect::Towards::Sender => segment.write_back(room, &packet),
            reflect::Towards::Receiver => segment.write_on(room, &packet),
        }
    }
}
