//! Clients whose ACK is awaited, as listings show them: no states, but what is known of them while
//! their SYN-ACK may go out again ([`resend`](super::resend)). In a flood there are no more of them.

use crate::engine::Engine;
use crate::frame::{Checksum, Meta};
use crate::packet::{Packet, Transport};
use crate::state::view::{PeerView, StateView};

/// What the client is in, beside a server that is `PROXY`.
pub(crate) const SOURCE: &str = "SRC";

impl Engine {
    /// How many places there are for such clients.
    pub(crate) fn awaited_places(&self) -> u32 {
        self.synproxy.resend.places()
    }

    /// The client in a place, in the phase that pf calls PROXY:SRC.
    pub(crate) fn awaited(&self, place: u32, tick: u32) -> Option<StateView> {
        let waiting = self.synproxy.resend.waiting(place, tick)?;
        let (port, length) = (waiting.port, waiting.frame.len() as u32);
        let meta = Meta { port, checksum: Checksum::Valid, gso_size: 0, length };
        let packet = Packet::parse(waiting.frame, &meta).ok()?;
        let Transport::Tcp(header) = packet.transport else { return None };
        let peer = |state, next: u32, window| PeerView {
            state,
            seq_lo: next,
            seq_hi: next,
            seq_diff: 0,
            window,
            scale: None,
        };
        let sent = u64::from(waiting.times) + 1;
        Some(StateView {
            // It is no state: nothing can be ended.
            id: 0,
            port,
            network: packet.network,
            protocol: packet.protocol,
            tags: packet.tags,
            source: packet.destination,
            source_port: packet.destination_port,
            destination: packet.source,
            destination_port: packet.source_port,
            peers: [
                peer(SOURCE, header.ack, 0),
                peer("PROXY", header.seq.wrapping_add(1), header.window),
            ],
            age: waiting.age,
            // It has said nothing since its SYN.
            idle: waiting.age,
            expires: waiting.left,
            packets: [1, sent],
            bytes: [0, sent * u64::from(packet.length)],
            rules: [None; 2],
        })
    }
}
