//! Challenge ACKs (RFC 5961): what a host of today answers to a RST that is inside its window and not
//! exact (3.2), and to a SYN on a connection that stands (4.2), weir answers in its name. Hosts of
//! yesterday would believe either, and end the connection for whoever guesses its window.
//!
//! The ACK goes to the host that the segment claims to come from, in the place of the segment. One that
//! lives takes it for a duplicate. One that has forgotten the connection answers with a RST that has the
//! sequence number which the ACK acknowledged (RFC 9293, 3.10.7.1): a proof, since nobody else can
//! know it. The other host may expect another number; the RST gets that of all that has been sent on its
//! way, and if something of it was lost behind weir, the host challenges by itself what comes next.
//!
//! What is acknowledged must have been acknowledged before: else a host that lives would forget data that
//! never arrived. The last acknowledgement is not kept, but what the window of that allows is, and the
//! largest window that there was ([`tracker::challenge`]).
//!
//! Each connection may be challenged once a second (RFC 5961, 7). A budget for all would tell strangers
//! whether their guesses were right (Cao et al., "Off-Path TCP Exploits: Global Rate Limit Considered
//! Dangerous", 2016). An answer is as long as its question, there are never more, and none before both
//! hosts have acknowledged each other: forged SYNs cannot make any.

#![forbid(unsafe_code)]

use crate::engine::Engine;
use crate::frame::Frames;
use crate::judge::Verdict;
use crate::lane::Arrival;
use crate::log::LogSink;
use crate::packet::{Tcp, checksum, tcp};
use crate::reason::Reason;
use crate::reflect;
use crate::state::tcp as tracker;

impl Engine {
    /// A RST or SYN of peer `from` that is refused for `reason`: dropped, and answered if it may be.
    pub(crate) fn challenge<F: Frames, L: LogSink>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        (entry, from): (u32, usize),
        reason: Reason,
        log: &mut L,
    ) -> Verdict {
        let &Arrival { round, i, packet, .. } = arrival;
        let refused = self.refuse(arrival, frames, entry, reason, log);
        let peers = &self.table.get(entry).peers;
        if !tracker::is_proven(peers) {
            return refused;
        }
        let mut ack = tracker::challenge(peers, from);
        // In the numbers that the host knows the other by.
        ack.seq = ack.seq.wrapping_add(peers[1 - from].seq_diff);
        ack.window = self.splices.seen_window(entry, 1 - from, ack.window);
        if !self.table.may_challenge(entry, round.tick)
            || reflect::acknowledge(frames, i, packet, &ack).is_err()
        {
            return refused;
        }
        self.counters.reflected += 1;
        Verdict::Reflect(reason)
    }

    /// A RST of peer `from` that answers a challenge: makes it exact for its receiver, in the frame.
    /// Returns its header then; `None` if it is none.
    pub(crate) fn take_answer<F: Frames>(
        &self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        header: &Tcp,
        (entry, from): (u32, usize),
    ) -> Option<Tcp> {
        let peers = &self.table.get(entry).peers;
        if !tracker::is_proven(peers) || header.seq != tracker::challenge(peers, from).ack {
            return None;
        }
        let &Arrival { i, packet, .. } = arrival;
        let exact = Tcp { seq: peers[from].seq_lo, ..*header };
        let finished = checksum::is_finished(packet, frames, i);
        let start = usize::from(packet.transport_offset);
        let segment = frames.head_mut(i).get_mut(start..start + usize::from(header.header))?;
        tcp::overwrite(segment, tcp::SEQ, &exact.seq.to_be_bytes(), finished);
        Some(exact)
    }
}
