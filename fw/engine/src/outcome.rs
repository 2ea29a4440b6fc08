//! What becomes of a packet: it is counted for its port, changed on its way, told to the log.

use weir_config::rules::Direction;

use crate::counters::Tally;
use crate::effects::Effects;
use crate::engine::Engine;
use crate::flow::Path;
use crate::frame::{Frames, PortIndex};
use crate::judge::Verdict;
use crate::lane::Arrival;
use crate::log::{CAPTURE, LogAction, LogRecord, LogSink, StateNote};
use crate::packet::{Network, Packet};
use crate::reason::Reason;
use crate::state::entry::NONE;

/// Index in [`PortCounters::traffic`](crate::counters::PortCounters::traffic).
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    Passed,
    Blocked,
}

/// What is to be logged of a packet.
pub(crate) struct Event {
    /// Number of the rule that speaks.
    pub(crate) rule: Option<u32>,
    /// Where it speaks.
    pub(crate) way: (PortIndex, Direction),
    pub(crate) verdict: Verdict,
    /// The state as it was.
    pub(crate) state: Option<StateNote>,
    pub(crate) is_debug: bool,
}

impl Engine {
    pub(crate) fn forward(&mut self, packet: &Packet) -> Verdict {
        let Path { from, to } = Path::across(packet.port);
        let family = family(packet);
        self.tally(family, from, Direction::In, Outcome::Passed).add(packet.length);
        self.tally(family, to, Direction::Out, Outcome::Passed).add(packet.length);
        Verdict::Forward(to)
    }

    /// Counts a packet that is blocked arriving, or after it arrived well, leaving.
    pub(crate) fn block(
        &mut self,
        packet: &Packet,
        direction: Direction,
        reason: Reason,
    ) -> Verdict {
        let Path { from, to } = Path::across(packet.port);
        let family = family(packet);
        if direction == Direction::In {
            self.tally(family, from, Direction::In, Outcome::Blocked).add(packet.length);
        } else {
            self.tally(family, from, Direction::In, Outcome::Passed).add(packet.length);
            self.tally(family, to, Direction::Out, Outcome::Blocked).add(packet.length);
        }
        Verdict::Drop(reason)
    }

    /// Changes a packet that passes; of a datagram in fragments the first, the others follow.
    pub(crate) fn apply<F: Frames>(
        &mut self,
        effects: Effects,
        packet: &Packet,
        frames: &mut F,
        i: usize,
    ) {
        effects.apply(packet, frames, i, &mut self.chance);
        self.fragments.effects = effects;
    }

    #[inline]
    pub(crate) fn tally(
        &mut self,
        family: usize,
        port: PortIndex,
        direction: Direction,
        outcome: Outcome,
    ) -> &mut Tally {
        let port = &mut self.counters.ports[usize::from(port.0)];
        &mut port.traffic[family][direction as usize][outcome as usize]
    }

    pub(crate) fn log<F: Frames, L: LogSink>(
        &self,
        arrival: &Arrival<'_>,
        frames: &F,
        event: &Event,
        log: &mut L,
    ) {
        let &Arrival { round, i, packet, .. } = arrival;
        let &Event { rule, way: (at, direction), verdict, state, is_debug } = event;
        let (action, reason) = match verdict {
            _ if rule.is_some_and(|rule| round.program.is_match(rule)) => (LogAction::Match, None),
            Verdict::Drop(reason) | Verdict::Reflect(reason) => (LogAction::Block, Some(reason)),
            Verdict::Forward(_) | Verdict::Answer | Verdict::Handover(_) | Verdict::Hold(_) => {
                (LogAction::Pass, None)
            }
        };
        let head = frames.head(i);
        let captured = head.len().min(CAPTURE);
        let mut bytes = [0; CAPTURE];
        bytes[..captured].copy_from_slice(&head[..captured]);
        log.log(&LogRecord {
            time: round.now,
            port: packet.port,
            at,
            direction,
            action,
            reason,
            state,
            is_debug,
            rule: rule.unwrap_or(NONE),
            epoch: self.epoch,
            length: frames.meta(i).length,
            captured: captured as u16,
            network_offset: packet.network_offset,
            bytes,
        });
    }
}

pub(crate) const fn family(packet: &Packet) -> usize {
    match packet.network {
        Network::Ipv4 => 0,
        Network::Ipv6 => 1,
        Network::Arp => 2,
    }
}
