//! What comes of a TCP connection whose state has ended: its [tail](crate::state::tail) says what is to
//! be done with it, before rules could take it for an attack, and keeps a handshake of before from
//! bringing it back.

use weir_config::rules::Direction;

use crate::engine::Engine;
use crate::flow::FlowKey;
use crate::frame::Frames;
use crate::judge::Verdict;
use crate::lane::{Arrival, Lane};
use crate::packet::{Tcp, Transport, protocol};
use crate::reason::Reason;
use crate::state::tcp::{self as tracker, Late, Tail};
use crate::track::segment;

impl Engine {
    /// What is remembered of the flow's connection if its state has ended, and whether the packet's sender
    /// is the lower endpoint there.
    fn tail(&self, flow: &Lane, tick: u32) -> Option<(Tail, bool)> {
        let find = |(key, sender_is_lower): (FlowKey, bool)| {
            Some((self.tails.find(key.sided(flow.hash), tick)?, sender_is_lower))
        };
        // One that began under the other state policy stands in the same set.
        let other = || flow.key.other_policy(flow.sender_is_lower, flow.path());
        find((flow.key, flow.sender_is_lower)).or_else(|| find(other()))
    }

    /// Whether a segment would complete the handshake of a connection that has ended. Another connection
    /// of the same flow begins with another number, or with a SYN that weir has seen since.
    pub(crate) fn is_late(&self, arrival: &Arrival<'_>, header: &Tcp) -> bool {
        !self.tails.is_empty()
            && self
                .tail(arrival.lane, arrival.round.tick)
                .is_some_and(|(tail, _)| tail.completes(header.seq))
    }

    /// A SYN of a flow was answered: another connection may begin where one has ended.
    pub(crate) fn reopen(&mut self, flow: &Lane, seq: u32) {
        if !self.tails.is_empty() {
            let (other, _) = flow.key.other_policy(flow.sender_is_lower, flow.path());
            for key in [&flow.key, &other] {
                self.tails.reopen(key.sided(flow.hash), seq);
            }
        }
    }

    /// A packet of a connection whose state has ended not long ago. `None`: it is not, or the rules
    /// are to judge it all the same.
    pub(crate) fn judge_late<F: Frames>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &F,
    ) -> Option<Verdict> {
        let &Arrival { round, i, lane, packet } = arrival;
        let known = || self.tail(lane, round.tick);
        let late = match &packet.transport {
            Transport::Tcp(header) if !tracker::opens(header) => {
                let (tail, sender_is_lower) = known()?;
                tail.judge(sender_is_lower, &segment(packet, header, frames.head(i)))
            }
            Transport::IcmpError(_, quote)
                if quote.protocol == protocol::TCP && packet.destination == quote.source =>
            {
                let (tail, sender_is_lower) = known()?;
                if tail.quotes(sender_is_lower, quote.seq) {
                    Late::Silenced
                } else {
                    Late::Stranger
                }
            }
            _ => return None,
        };
        if late == Late::Stranger {
            return None;
        }
        self.counters.late += 1;
        if late == Late::Passes && !packet.options {
            return Some(self.forward(packet));
        }
        Some(self.block(packet, Direction::In, Reason::TcpLate))
    }
}
