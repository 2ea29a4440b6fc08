//! What stands before the IP header in the frames of a connection: hardware addresses, tags and a PPPoE
//! session. Frames that timers make have no other at hand to take it from.
//!
//! It is that of the last segment inside the window, whichever end has sent it: a gateway
//! that another one stands in for, a host that has moved to another machine, and a line that was
//! dialled anew are found where they are now. The tags are part of the flow and stay, all but their
//! priority.

#![forbid(unsafe_code)]

use std::num::NonZeroU16;

use zerocopy::FromZeros;

use crate::flow::Path;
use crate::frame::PortIndex;
use crate::packet::{Packet, ethernet, protocol};
use crate::state::entry::{Entry, flag};

/// Bytes of the longest: Ethernet with two tags, PPPoE and PPP.
const LONGEST: usize = 14 + 8 + 8;

/// Where the two ends of a connection are.
#[derive(Clone, Copy, Debug, FromZeros)]
pub(crate) struct Encapsulation {
    /// The PPPoE session; 0 if there is none.
    session: u16,
    /// The port that the initiator is on.
    port: u8,
    length: u8,
    /// What stands before the IP header in frames of the initiator.
    bytes: [u8; LONGEST],
}

impl Encapsulation {
    /// That of a frame of the initiator, which begins with `head`.
    pub(crate) fn new(packet: &Packet, head: &[u8]) -> Self {
        let mut own = Self { session: 0, port: 0, length: 0, bytes: [0; LONGEST] };
        own.follow(packet, head, 0);
        own
    }

    /// A segment of peer `from` is inside the window; its frame begins with `head`.
    pub(crate) fn follow(&mut self, packet: &Packet, head: &[u8], from: usize) {
        let length = usize::from(packet.network_offset);
        let (Some(new), Some(room)) = (head.get(..length), self.bytes.get_mut(..length)) else {
            return;
        };
        room.copy_from_slice(new);
        let path = Path::across(packet.port);
        if from == 1 {
            ethernet::swap_addresses(room);
        }
        self.port = if from == 0 { path.from } else { path.to }.0;
        self.length = length as u8;
        self.session = packet.session.map_or(0, NonZeroU16::get);
    }

    /// From the port that the initiator is on to the responder's.
    pub(crate) const fn path(&self) -> Path {
        Path::across(PortIndex(self.port))
    }

    /// What stands before the IP header in frames of the initiator.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// A segment of a state's initiator, without its header.
    pub(crate) fn packet(&self, state: &Entry) -> Packet {
        let key = state.key();
        let (initiator, responder) = if state.has(flag::INITIATOR_UPPER) {
            (key.upper(), key.lower())
        } else {
            (key.lower(), key.upper())
        };
        Packet {
            source: initiator.0,
            source_port: initiator.1,
            destination: responder.0,
            destination_port: responder.1,
            network: key.network(),
            network_offset: self.length.into(),
            session: NonZeroU16::new(self.session),
            protocol: protocol::TCP,
            ..Packet::BLANK
        }
    }
}
