//! What the SYN-ACKs of servers teach: see [`learned`](super::learned).

use std::ops::ControlFlow;

use super::answer::Offer;
use super::learned::{Server, Traits};
use super::pending::Pending;
use crate::engine::Engine;
use crate::lane::{Arrival, Round};
use crate::packet::tcp::flags;
use crate::packet::{Packet, Transport};

impl Engine {
    /// Learns what the server has answered, and says whether that is what its client was told. If not: is
    /// something lacking, or was it only asked?
    pub(super) fn compare(
        &self,
        round: &Round<'_>,
        packet: &Packet,
        pending: &Pending,
        offer: &Offer,
    ) -> ControlFlow<bool> {
        let key = self.key;
        let server = Server::new(key, packet.tags, packet.source, packet.source_port);
        let terms = pending.terms();
        let learned = self.shared.learned();
        let seen = Traits {
            mss: offer.mss(packet.network),
            scale: offer.scale,
            sack: offer.sack,
            stamps: offer.stamps.is_some(),
            ecn: offer.ecn,
        };
        if pending.asks() {
            learned.learn(server, seen, round.now);
            return ControlFlow::Break(false);
        }
        let lacks = terms.sack && !seen.sack
            || terms.stamps && !seen.stamps
            || terms.ecn && !seen.ecn
            || terms.scales.is_some() && seen.scale.is_none();
        if lacks {
            learned.forget(server, round.now);
            return ControlFlow::Break(true);
        }
        // What was not offered now is as it was.
        if let Some(known) = learned.get(server, round.now) {
            let scale = if terms.scales.is_some() { seen.scale } else { known.scale };
            learned.confirm(server, known, Traits { scale, mss: seen.mss, ..known }, round.now);
        }
        ControlFlow::Continue(())
    }

    /// Learns from the SYN-ACK of a connection that two hosts have opened by themselves. What it does not
    /// say the client may not have asked for.
    pub(crate) fn learn(&self, arrival: &Arrival<'_>, head: &[u8], from: usize) {
        const SYN_ACK: u8 = flags::SYN | flags::ACK;
        let &Arrival { round, lane, packet, .. } = arrival;
        let is_syn_ack = matches!(packet.transport, Transport::Tcp(header)
            if header.flags & SYN_ACK == SYN_ACK);
        // Of a floating state either side may speak for the server.
        let vouched = from == 1 && !lane.key.is_floating();
        if !vouched || !round.program.answers_syns() || !is_syn_ack {
            return;
        }
        let server = Server::new(self.key, packet.tags, packet.source, packet.source_port);
        let offer = Offer::of(packet, head);
        let mss = offer.mss(packet.network);
        let learned = self.shared.learned();
        match learned.get(server, round.now) {
            Some(known) => {
                let seen = Traits {
                    mss,
                    scale: offer.scale.or(known.scale),
                    sack: known.sack || offer.sack,
                    stamps: known.stamps || offer.stamps.is_some(),
                    ecn: known.ecn || offer.ecn,
                };
                learned.confirm(server, known, seen, round.now);
            }
            None if offer.scale.is_some() && offer.sack && offer.stamps.is_some() => {
                let seen =
                    Traits { mss, scale: offer.scale, sack: true, stamps: true, ecn: offer.ecn };
                learned.learn(server, seen, round.now);
            }
            None => {}
        }
    }
}
