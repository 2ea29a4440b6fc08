//! How many of the live connections new rules would not let begin: what a change would cut off if every
//! connection began anew now. Connections of TCP and SCTP that are only beginning, or closing, are left
//! out: a flood of SYNs must not hide that everybody else is cut off.
//!
//! Asked of each state is the packet that begins such a connection, made of what the state knows: tags,
//! addresses, protocol and ports, on the port of the initiator. What it does not know is what packets
//! commonly have, and rules of layer 2 are not asked. States themselves outlive a change of the rules.
//!
//! The workers list their states a piece at a time, and the rules are asked on the thread of whoever
//! makes the change: frames are forwarded meanwhile.

use std::net::IpAddr;

use weir_config::options::StatePolicy;
use weir_engine::packet::build::{self, Build};
use weir_engine::packet::ethernet::ethertype;
use weir_engine::packet::tcp::flags;
use weir_engine::packet::{Packet, protocol, sctp};
use weir_engine::table::Tables;
use weir_engine::{Checksum, Instant, Meta, PortIndex, Program, StateView};
use weir_shell::protocol::Cut;

use super::{Control, Refused};
use crate::mailbox::{CHUNK, Letter};

/// An INIT chunk of the least length (RFC 9260, 3.3.2).
const INIT: [u8; 20] = {
    let mut chunk = [0; 20];
    (chunk[0], chunk[3], chunk[7]) = (sctp::chunk::INIT, 20, 1);
    chunk
};

impl Control {
    /// What has to be said about what a program, with these tables, would cut, if anything.
    ///
    /// # Errors
    /// When it cuts too much, or that cannot be known, and it may not.
    pub(super) fn warn_of_cut(
        &self,
        program: &Program,
        previous: &Program,
        tables: &Tables,
        may_cut: bool,
    ) -> Result<Option<String>, Refused> {
        match self.would_cut(program, previous, tables) {
            Ok(cut) if cut.is_too_much() && !may_cut => Err(Refused::Cut(cut)),
            Ok(cut) if cut.is_too_much() => Ok(Some(format!("{cut}: they live on until they end"))),
            Ok(_) => Ok(None),
            Err(refused) if !may_cut => Err(refused),
            // Whoever does not ask to be stopped is not stopped by a worker that is late.
            Err(refused) => Ok(Some(format!("what this cuts is not known: {refused}"))),
        }
    }

    /// Asks a program, with these tables, about all connections.
    fn would_cut(
        &self,
        program: &Program,
        previous: &Program,
        tables: &Tables,
    ) -> Result<Cut, Refused> {
        let now = self.parts.clock.now();
        // Where the initiator of a floating state is, nobody knows.
        let floating = [program, previous]
            .iter()
            .any(|program| program.rules().options.state_policy == StatePolicy::Floating);
        let mut cut = Cut { states: 0, cut: 0, limit: self.parts.cut_percent };
        let mut room = Vec::with_capacity(CHUNK);
        for mailbox in &self.parts.mailboxes {
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                (room, cursor) = mailbox.ask(|reply| Letter::States(at, room, reply))?;
                room.retain(StateView::is_connected);
                cut.states += room.len() as u64;
                let lost =
                    room.iter().filter(|state| !begins(program, tables, now, state, floating));
                cut.cut += lost.count() as u64;
                room.clear();
            }
        }
        Ok(cut)
    }
}

/// Whether the rules may let a connection like this one begin.
fn begins(
    program: &Program,
    tables: &Tables,
    now: Instant,
    state: &StateView,
    floating: bool,
) -> bool {
    let frame = first_frame(state);
    let ports = if floating { vec![PortIndex(0), PortIndex(1)] } else { vec![state.port] };
    ports.into_iter().any(|port| {
        let length = frame.len() as u32;
        let meta = Meta { port, checksum: Checksum::Unknown, gso_size: 0, length };
        // What cannot be made into a packet is not held against the rules.
        Packet::parse(&frame, &meta).map_or(true, |packet| program.may_pass(&packet, tables, now))
    })
}

/// What begins such a connection.
fn first_frame(state: &StateView) -> Vec<u8> {
    let source: IpAddr = state.source.to_ip(state.network);
    let destination: IpAddr = state.destination.to_ip(state.network);
    let (from, to) = ((source, state.source_port), (destination, state.destination_port));
    let begin = match state.protocol {
        protocol::TCP => build::tcp(from, to, flags::SYN),
        protocol::UDP => build::udp(from, to),
        protocol::SCTP => build::sctp(from, to, 0, &INIT),
        protocol::ICMP | protocol::ICMP6 => build::echo(source, destination, state.source_port, 1),
        other => build::other(source, destination, other),
    };
    tagged(begin, state).frame()
}

fn tagged(begin: Build, state: &StateView) -> Build {
    match (state.tags.outer, state.tags.inner) {
        (0, _) => begin,
        (outer, 0) => begin.vlan(outer),
        (outer, inner) => begin.tag(ethertype::QINQ, outer).vlan(inner),
    }
}
