//! A SYN is made into the SYN-ACK with which the server would answer it.

use weir_config::rules::{Direction, KeepState};

use super::cookie::{Flow, Terms};
use super::learned::{Server, Traits};
use super::segment::{Segment, TcpOptions, is_plain};
use crate::engine::Engine;
use crate::frame::Frames;
use crate::judge::Verdict;
use crate::lane::{Arrival, Lane};
use crate::outcome::{Outcome, family};
use crate::packet::tcp::{TcpOption, flags};
use crate::packet::{Network, Packet, Transport};
use crate::reason::Reason;
use crate::reflect::{self, Towards};
use crate::ruleset::{Decision, Program};
use crate::state::tcp as tracker;
use crate::track::verify;

/// What a client may send in a segment to a server that is not known, in bytes: Ethernet with room
/// for tunnels, as firewalls clamp it.
const MSS: [u16; 2] = [1380, 1360];

/// The flags by which hosts agree on explicit congestion notification, and those of a SYN and of a
/// SYN-ACK that do (RFC 3168, 6.1.1).
const SETS_UP: u8 = flags::SYN | flags::ACK | flags::ECE | flags::CWR;
pub(super) const ECN_SYN: u8 = flags::SYN | flags::ECE | flags::CWR;
const ECN_SYN_ACK: u8 = flags::SYN | flags::ACK | flags::ECE;

/// The options of a SYN that matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offer {
    /// Maximum segment size, in bytes.
    pub(super) mss: Option<u16>,
    pub(super) scale: Option<u8>,
    pub(super) sack: bool,
    /// Timestamp and echo.
    pub(super) stamps: Option<[u32; 2]>,
    /// Explicit congestion notification (RFC 3168, 6.1.1).
    pub(super) ecn: bool,
}

impl Offer {
    /// Those of a segment, whose frame begins with `head`.
    pub(super) fn of(packet: &Packet, head: &[u8]) -> Self {
        let mut offer = Self::default();
        if let Transport::Tcp(header) = packet.transport {
            offer.ecn = matches!(header.flags & SETS_UP, ECN_SYN | ECN_SYN_ACK);
        }
        for option in packet.tcp_options(head) {
            match option {
                TcpOption::MaximumSegmentSize(mss) => offer.mss = Some(mss),
                TcpOption::WindowScale(scale) => offer.scale = Some(scale),
                TcpOption::SackPermitted => offer.sack = true,
                TcpOption::Timestamps { value, echo } => offer.stamps = Some([value, echo]),
                _ => {}
            }
        }
        offer
    }

    /// What an end without the option takes (RFC 9293, 3.7.1).
    pub(super) fn mss(&self, network: Network) -> u16 {
        self.mss.unwrap_or(if network == Network::Ipv6 { 1220 } else { 536 })
    }

    /// What both this client and a server know.
    fn agree(&self, network: Network, traits: Option<&Traits>) -> Terms {
        let mss = self.mss(network);
        let Some(traits) = traits else {
            return Terms { mss, scales: None, sack: false, stamps: false, ecn: false };
        };
        let stamps = self.stamps.is_some() && traits.stamps;
        Terms {
            mss,
            scales: self.scale.zip(traits.scale),
            sack: self.sack && traits.sack,
            stamps,
            // A cookie without timestamps has no bit for it.
            ecn: stamps && self.ecn && traits.ecn,
        }
    }
}

/// Whether a packet is a SYN, and SYNs may be answered under these rules.
pub(crate) fn may_answer(program: &Program, packet: &Packet) -> bool {
    program.answers_syns()
        && matches!(&packet.transport, Transport::Tcp(header) if tracker::opens(header))
}

/// The flow of a client's packet.
pub(super) fn flow(lane: &Lane) -> Flow {
    let Packet { source, source_port, destination, destination_port, .. } = lane.packet;
    Flow { hash: lane.hash, from_above: (source, source_port) > (destination, destination_port) }
}

impl Engine {
    /// Whether weir answers a SYN that the rules decide so about, and keeps no state of it.
    pub(crate) fn answers(&self, program: &Program, packet: &Packet, decision: &Decision) -> bool {
        may_answer(program, packet) && self.demands_proof(program, decision)
    }

    /// Whether a TCP connection that the rules decide so about has to complete a handshake with weir.
    pub(crate) fn demands_proof(&self, program: &Program, decision: &Decision) -> bool {
        let rules = || decision.rules.into_iter().flatten().map(|rule| program.compiled(rule));
        program.answers_syns()
            && decision.passes
            && decision.keeps != KeepState::No
            && !rules().any(|rule| rule.sloppy)
            && (rules().any(|rule| rule.state == KeepState::Synproxy) || self.uses_cookies(program))
    }

    /// The server of a packet that goes to it.
    pub(super) fn server(&self, packet: &Packet) -> Server {
        Server::new(self.key, packet.tags, packet.destination, packet.destination_port)
    }

    /// Makes a SYN into the server's SYN-ACK, which goes back. The rest of the handshake is in
    /// [`complete`](super::complete).
    pub(crate) fn answer_syn<F: Frames>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        decision: &Decision,
    ) -> Verdict {
        let &Arrival { round, i, lane, packet } = arrival;
        let Transport::Tcp(header) = packet.transport else {
            return self.block(packet, Direction::In, Reason::SynproxyUnfit);
        };
        if let Err(reason) = verify(packet, &header, frames, i) {
            return self.block(packet, Direction::In, reason);
        }
        let head = frames.head(i);
        if !is_plain(packet, head) || !reflect::is_between_hosts(packet, head) {
            return self.block(packet, Direction::In, Reason::SynproxyUnfit);
        }
        let offer = Offer::of(packet, head);
        let server = self.server(packet);
        let traits = self.shared.learned().get(server, round.now);
        let agreed = offer.agree(packet.network, traits.as_ref());
        let plain = agreed.plain();
        let guessed = plain != agreed && self.synproxy.expected.is_guessed(server);
        let terms = if guessed { plain } else { agreed };
        let cookie = self.synproxy.secrets.cookie(flow(lane), header.seq, terms);
        let ipv6 = usize::from(packet.network == Network::Ipv6);
        let mss = traits.map_or(MSS[ipv6], |traits| traits.mss);
        let echo = offer.stamps.map_or(0, |[value, _]| value);
        let syn_ack = Segment {
            seq: cookie.seq,
            ack: header.seq.wrapping_add(1),
            flags: if terms.ecn { ECN_SYN_ACK } else { flags::SYN | flags::ACK },
            // The client keeps quiet until the server is there.
            window: 0,
            options: TcpOptions::of_syn(
                mss,
                terms.sack,
                cookie.stamp.map(|stamp| [stamp, echo]),
                terms.scales.map(|(_, server)| server),
            ),
            ttl: reflect::TTL,
            tos: 0,
        };
        let Some(answer) = syn_ack.over(frames, i, packet, Towards::Sender) else {
            return self.block(packet, Direction::In, Reason::SynproxyUnfit);
        };
        if !decision.effects.is_none() {
            self.apply(decision.effects, &answer, frames, i);
        }
        self.synproxy.expected.expect(flow(lane));
        self.reopen(lane, header.seq);
        self.synproxy.open[0] += 1;
        self.synproxy.resend.remember(lane.hash, packet.port, frames.head(i), round.tick);
        self.counters.synproxy.sent += 1;
        self.answered(packet, &answer)
    }

    /// Counts a packet that came and what it was made into, which goes back.
    pub(super) fn answered(&mut self, packet: &Packet, answer: &Packet) -> Verdict {
        let (family, port) = (family(packet), packet.port);
        self.tally(family, port, Direction::In, Outcome::Passed).add(packet.length);
        self.tally(family, port, Direction::Out, Outcome::Passed).add(answer.length);
        Verdict::Answer
    }
}
