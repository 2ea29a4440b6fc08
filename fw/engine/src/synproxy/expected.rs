//! Where cookies may come from: only ACKs of flows whose SYN was answered in this period or the last
//! are looked at, and each server has a budget of wrong ones.
//!
//! The flows are bits, named by their keyed hash, in two maps that take turns ([`BITS`] each). An ACK
//! that answers nothing is so refused for the price of a look at one word. Under a flood of SYNs the
//! maps fill up (half of the bits after 700,000 SYNs in a period) and say yes to more and more flows that
//! never were; nobody is refused by that who has a cookie. What such an ACK may try then is bounded by
//! the budget: when a server has got [`WRONG`] wrong cookies without timestamps in a period, ones
//! without timestamps are not looked at for the rest of it, so that a blind attacker finds one in
//! three minutes at most. Clients with timestamps do not notice.

use super::learned::Server;

/// Bits of a map; a power of two.
const BITS: usize = 1 << 20;
/// Wrong cookies without timestamps that a server may get in a period, at each worker.
const WRONG: u32 = 1 << 18;
/// Budgets; servers may share one. A power of two.
const BUDGETS: usize = 1024;

/// The flows and the budgets of one worker. [`Expected::default`] expects nothing.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Of this period and of the last one; empty before the first cookie may be sent.
    maps: [Box<[u64]>; 2],
    wrong: Box<[u32]>,
    /// Whether a bit is set in either map.
    filled: [bool; 2],
}

impl Expected {
    /// Makes room, if there is none.
    pub(super) fn reserve(&mut self) {
        if self.wrong.is_empty() {
            self.maps = [(); 2].map(|()| vec![0; BITS / 64].into());
            self.wrong = vec![0; BUDGETS].into();
        }
    }

    /// So many periods have passed.
    pub(super) fn turn(&mut self, periods: u64) {
        for _ in 0..periods.min(2) {
            self.maps.swap(0, 1);
            self.filled.swap(0, 1);
            if std::mem::take(&mut self.filled[0]) {
                self.maps[0].fill(0);
            }
        }
        self.wrong.fill(0);
    }

    const fn bit(hash: u64) -> (usize, u64) {
        // The high half names the worker.
        let at = hash as usize & (BITS - 1);
        (at / 64, 1 << (at % 64))
    }

    /// A cookie goes to the client of this flow.
    #[inline]
    pub(super) fn expect(&mut self, hash: u64) {
        let (word, bit) = Self::bit(hash);
        if let Some(word) = self.maps[0].get_mut(word) {
            *word |= bit;
            self.filled[0] = true;
        }
    }

    /// Whether one has gone there, most probably.
    #[inline]
    pub(super) fn has(&self, hash: u64) -> bool {
        let (word, bit) = Self::bit(hash);
        (0..2).any(|map| {
            self.filled[map] && self.maps[map].get(word).is_some_and(|word| word & bit != 0)
        })
    }

    /// Whether a cookie for this server may be looked at.
    pub(super) fn may_check(&self, server: Server, stamped: bool) -> bool {
        stamped || self.wrong.get(server.place(BUDGETS)).is_some_and(|&wrong| wrong < WRONG)
    }

    /// It was wrong.
    pub(super) fn was_wrong(&mut self, server: Server, stamped: bool) {
        if let Some(wrong) = self.wrong.get_mut(server.place(BUDGETS)).filter(|_| !stamped) {
            *wrong = wrong.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::HashKey;
    use crate::packet::{Address, Tags};

    #[test]
    fn flows_are_expected_for_two_periods() {
        let mut expected = Expected::default();
        expected.expect(5);
        assert!(!expected.has(5), "there is no room");
        expected.reserve();
        expected.expect(5);
        assert!(expected.has(5) && !expected.has(6));
        expected.turn(1);
        expected.expect(6);
        assert!(expected.has(5) && expected.has(6));
        expected.turn(1);
        assert!(!expected.has(5) && expected.has(6));
        expected.turn(7);
        assert!(!expected.has(6));
    }

    #[test]
    fn a_budget_is_for_a_server_and_a_period_and_not_for_timestamps() {
        let server =
            |port| Server::new(HashKey::new([5; 16]), Tags::default(), Address::v4([1; 4]), port);
        let mut expected = Expected::default();
        expected.reserve();
        for _ in 0..WRONG {
            assert!(expected.may_check(server(80), false));
            expected.was_wrong(server(80), false);
            expected.was_wrong(server(25), true);
        }
        assert!(!expected.may_check(server(80), false) && expected.may_check(server(80), true));
        assert!(expected.may_check(server(25), false));
        expected.turn(1);
        assert!(expected.may_check(server(80), false));
    }
}
