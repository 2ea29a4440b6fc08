//! The states as listings show them, and how those that are chosen from a listing are ended.

use crate::engine::{Engine, tick};
use crate::frame::PortIndex;
use crate::lifecycle::Ending;
use crate::state::entry::{Entry, flag};
use crate::state::view::{Context, StateView};
use crate::state::wheel::TICKS_PER_SECOND;
use crate::time::Instant;

impl Engine {
    /// Appends the states among the next `max` places of the table, from `cursor` on (0 at first), and
    /// behind them the clients of which weir awaits the ACK of a handshake. Returns where to go on,
    /// `None` at the end.
    pub fn states(
        &self,
        now: Instant,
        cursor: u32,
        max: u32,
        out: &mut Vec<StateView>,
    ) -> Option<u32> {
        let (used, now) = (self.table.used(), tick(now));
        let places = used + self.awaited_places();
        let end = places.min(cursor.saturating_add(max));
        out.extend((cursor..end).filter_map(|place| match place.checked_sub(used) {
            None => self.view(place, now),
            Some(place) => self.awaited(place, now),
        }));
        (end < places).then_some(end)
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
