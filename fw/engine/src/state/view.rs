//! A state as the listings show it.

use std::fmt;

use super::entry::{Entry, Peer, flag};
use super::tcp::{PeerState, window_scale};
use super::{datagram, sctp};
use crate::frame::PortIndex;
use crate::packet::{Address, Network, Tags, protocol};
use crate::ruleset::PortNames;
use crate::synproxy::awaited;

/// What pf calls the ends of an ICMP query.
const QUERIES: [&str; 2] = ["0", "1"];

/// A copy of a state, in words. Pairs are the initiator's value and the responder's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateView {
    /// Unique while the process lives; what `-k id` takes. 0 for a client whose handshake is awaited: there
    /// is no state yet.
    pub id: u64,
    /// The port that the initiator is on.
    pub port: PortIndex,
    /// The network layer.
    pub network: Network,
    /// IP protocol number.
    pub protocol: u8,
    /// The tag stack.
    pub tags: Tags,
    /// Address of the initiator.
    pub source: Address,
    /// Port or ICMP id of the initiator.
    pub source_port: u16,
    /// Address of the responder.
    pub destination: Address,
    /// Port or ICMP id of the responder.
    pub destination_port: u16,
    /// What is known of both ends.
    pub peers: [PeerView; 2],
    /// Seconds since the first packet.
    pub age: u32,
    /// Seconds since the last packet.
    pub idle: u32,
    /// Seconds until the state ends if no packet comes.
    pub expires: u32,
    /// Packets sent.
    pub packets: [u64; 2],
    /// Bytes of IP packets sent.
    pub bytes: [u64; 2],
    /// Numbers of the arriving and the leaving rule; `None` where no rule of those in force spoke.
    pub rules: [Option<u32>; 2],
}

/// One end of a connection as the listings show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// The tracker's word for its state; a number for ICMP, as in pf.
    pub state: &'static str,
    /// Highest sequence number sent, plus one.
    pub seq_lo: u32,
    /// Highest that the other end allows.
    pub seq_hi: u32,
    /// What is added to its sequence numbers for the other end; 0 where they are not translated.
    pub seq_diff: u32,
    /// Largest window advertised, before scaling.
    pub window: u16,
    /// Window scale, if it was negotiated.
    pub scale: Option<u8>,
}

impl PeerView {
    /// Every word that [`PeerView::state`] can be, some more than once.
    pub fn state_names() -> impl Iterator<Item = &'static str> {
        let tcp = PeerState::ALL.into_iter().map(PeerState::name);
        tcp.chain([awaited::SOURCE]).chain(sctp::NAMES).chain(datagram::NAMES).chain(QUERIES)
    }

    pub(crate) fn new(peer: &Peer, protocol: u8) -> Self {
        let state = usize::from(peer.state);
        let state = match protocol {
            protocol::TCP => PeerState::ALL.get(state).map_or("?", |state| state.name()),
            protocol::SCTP => sctp::NAMES.get(state).copied().unwrap_or("?"),
            protocol::ICMP | protocol::ICMP6 => QUERIES.get(state).copied().unwrap_or("?"),
            _ => datagram::NAMES.get(state).copied().unwrap_or("?"),
        };
        Self {
            state,
            seq_lo: peer.seq_lo,
            seq_hi: peer.seq_hi,
            seq_diff: peer.seq_diff,
            window: peer.max_win,
            scale: window_scale(peer),
        }
    }
}

/// What a listing needs to know about an entry that does not stand in it.
pub(crate) struct Context {
    pub(crate) id: u64,
    pub(crate) port: PortIndex,
    pub(crate) age: u32,
    pub(crate) idle: u32,
    pub(crate) expires: u32,
    pub(crate) rules: [Option<u32>; 2],
}

impl StateView {
    pub(crate) fn new(entry: &Entry, context: &Context) -> Self {
        let key = entry.key();
        let (source, destination) = if entry.has(flag::INITIATOR_UPPER) {
            (key.upper(), key.lower())
        } else {
            (key.lower(), key.upper())
        };
        let protocol = key.protocol();
        Self {
            id: context.id,
            port: context.port,
            network: key.network(),
            protocol,
            tags: key.tags(),
            source: source.0,
            source_port: source.1,
            destination: destination.0,
            destination_port: destination.1,
            peers: entry.peers.map(|peer| PeerView::new(&peer, protocol)),
            age: context.age,
            idle: context.idle,
            expires: context.expires,
            packets: entry.packets,
            bytes: entry.bytes,
            rules: context.rules,
        }
    }

    /// Whether both ends have agreed to the connection and neither has begun to close it. Of protocols
    /// that have no connections every state is one.
    pub fn is_connected(&self) -> bool {
        let connected = match self.protocol {
            protocol::TCP => PeerState::Established.name(),
            protocol::SCTP => sctp::NAMES[usize::from(sctp::ESTABLISHED)],
            _ => return true,
        };
        self.peers.iter().all(|peer| peer.state == connected)
    }

    /// The line of `pfctl -ss`, with the names of the ports.
    pub fn line<'a>(&'a self, ports: &'a PortNames) -> impl fmt::Display + 'a {
        Line { state: self, ports }
    }

    fn endpoint(&self, address: Address, port: u16) -> Endpoint {
        Endpoint { address, port, network: self.network, protocol: self.protocol }
    }
}

struct Line<'a> {
    state: &'a StateView,
    ports: &'a PortNames,
}

impl fmt::Display for Line<'_> {
    /// The responder stands first and the states are its and the initiator's, as pf prints a state
    /// that an arriving packet made.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state;
        f.write_str(self.ports.role(state.port))?;
        if state.tags != Tags::default() {
            write!(f, " {}", state.tags)?;
        }
        match state.protocol {
            protocol::TCP => f.write_str(" tcp ")?,
            protocol::UDP => f.write_str(" udp ")?,
            protocol::ICMP => f.write_str(" icmp ")?,
            protocol::ICMP6 => f.write_str(" ipv6-icmp ")?,
            protocol::SCTP => f.write_str(" sctp ")?,
            other => write!(f, " {other} ")?,
        }
        write!(
            f,
            "{} <- {}       {}:{}",
            state.endpoint(state.destination, state.destination_port),
            state.endpoint(state.source, state.source_port),
            state.peers[1].state,
            state.peers[0].state,
        )
    }
}

/// `192.0.2.1:80`, `2001:db8::1[80]`, or the address alone where there are no ports.
struct Endpoint {
    address: Address,
    port: u16,
    network: Network,
    protocol: u8,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address.to_ip(self.network))?;
        let has_ports = matches!(
            self.protocol,
            protocol::TCP | protocol::UDP | protocol::SCTP | protocol::ICMP | protocol::ICMP6
        );
        match (has_ports, self.network) {
            (false, _) => Ok(()),
            (true, Network::Ipv6) => write!(f, "[{}]", self.port),
            (true, _) => write!(f, ":{}", self.port),
        }
    }
}
