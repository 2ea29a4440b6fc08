//! The states as listings show them, and how those that are chosen from a listing are ended.

use crate::engine::{Engine, tick};
use crate::flow::{FlowKey, Path};
use crate::frame::{Meta, PortIndex};
use crate::lifecycle::Ending;
use crate::packet::{Packet, Transport};
use crate::state::entry::{Entry, NONE, flag};
use crate::state::view::{Context, StateView};
use crate::state::wheel::{TICKS_PER_SECOND, is_due};
use crate::time::Instant;

/// Set in a cursor that is among the clients of which weir awaits the ACK of a handshake; the table has
/// fewer places than that.
const AWAITED: u32 = 1 << 31;

impl Engine {
    /// Appends the states among the next `max` places of the table, from `cursor` on (0 at first), and
    /// behind them the clients of which weir awaits the ACK of a handshake. Returns where to go on,
    /// `None` at the end. However the table grows between two calls, nothing comes twice.
    pub fn states(
        &self,
        now: Instant,
        cursor: u32,
        max: u32,
        out: &mut Vec<StateView>,
    ) -> Option<u32> {
        let now = tick(now);
        let (mut left, mut waiting) = (max, cursor & !AWAITED);
        if cursor & AWAITED == 0 {
            let used = self.table.used();
            let end = used.min(cursor.saturating_add(max));
            out.extend((cursor..end).filter_map(|entry| self.view(entry, now)));
            if end < used {
                return Some(end);
            }
            (left, waiting) = (max - end.saturating_sub(cursor), 0);
        }
        let places = self.awaited_places();
        let end = places.min(waiting.saturating_add(left));
        out.extend((waiting..end).filter_map(|place| self.awaited(place, now)));
        (end < places).then_some(AWAITED | end)
    }

    /// Ends the states that `matches` among the next `max` places of the table, as far as there is room
    /// for what their hosts are told. Returns how many, and where to go on once what
    /// [`Engine::crafted`] holds has been taken.
    pub fn kill(
        &mut self,
        now: Instant,
        cursor: u32,
        max: u32,
        matches: &dyn Fn(&StateView) -> bool,
    ) -> (u32, Option<u32>) {
        let end = self.table.used().min(cursor.saturating_add(max));
        let mut killed = 0;
        for entry in cursor..end {
            if self.view(entry, tick(now)).is_some_and(|view| matches(&view)) {
                if !self.may_end(entry) {
                    return (killed, Some(entry));
                }
                self.end(entry, Ending::Killed, tick(now));
                killed += 1;
            }
        }
        (killed, (end < self.table.used()).then_some(end))
    }

    /// The state that a frame would be judged by, found by its key as [`Engine::judge`] finds it. `None`
    /// for what quotes another packet: an ICMP error belongs to the flow of that.
    pub fn state_of(&self, now: Instant, head: &[u8], meta: &Meta) -> Option<StateView> {
        let (program, now) = (self.program.as_ref()?, tick(now));
        let packet = Packet::parse(head, meta).ok()?;
        if matches!(packet.transport, Transport::IcmpError(..) | Transport::IcmpOther(_)) {
            return None;
        }
        let path = Path::across(packet.port);
        let (key, sender_is_lower) = FlowKey::of_packet(&packet, path, program.is_floating());
        let hash = key.hash(self.key);
        let other = || {
            let (key, _) = key.other_policy(sender_is_lower, path);
            self.table.find(&key, hash, NONE)
        };
        let found = self.table.find(&key, hash, NONE);
        let entry = found.or_else(|| self.table.has_other_policy(&key).then(other)?)?;
        let is_over = is_due(self.deadline(self.table.get(entry), program), now);
        if is_over { None } else { self.view(entry, now) }
    }

    fn view(&self, entry: u32, now: u32) -> Option<StateView> {
        let program = self.program.as_ref()?;
        let state = self.table.get(entry);
        if !state.is_live() {
            return None;
        }
        let left = self.next_look(entry, program).wrapping_sub(now).cast_signed();
        Some(self.view_ending(entry, now, left.max(0).cast_unsigned() / TICKS_PER_SECOND))
    }

    /// A live state, which ends in so many seconds.
    pub(crate) fn view_ending(&self, entry: u32, now: u32, expires: u32) -> StateView {
        let state = self.table.get(entry);
        let context = Context {
            id: u64::from(state.generation) << 32 | u64::from(self.worker) << 26 | u64::from(entry),
            port: initiator_port(state),
            age: now.wrapping_sub(self.table.created(entry)) / TICKS_PER_SECOND,
            idle: now.wrapping_sub(state.touched) / TICKS_PER_SECOND,
            expires,
            rules: state.rules.map(|record| self.records.number(record)),
        };
        StateView::new(state, &context)
    }
}

/// The port that the initiator is on; for a floating state the LAN stands for "any".
fn initiator_port(entry: &Entry) -> PortIndex {
    let sides = entry.key().sides;
    if entry.has(flag::INITIATOR_UPPER) { PortIndex(sides & 7) } else { PortIndex(sides >> 3 & 7) }
}
