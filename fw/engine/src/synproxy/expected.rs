//! Where cookies may come from: only ACKs of flows whose SYN was answered in this period or the last
//! are looked at, and each server has a budget of wrong ones.
//!
//! The flows are bits, named by their keyed hash, in two maps that take turns ([`BITS`] each). An ACK
//! that answers nothing is so refused for the price of a look at one word. Under a flood of SYNs the
//! maps fill up (half of the bits after 700,000 SYNs in a period) and say yes to more and more flows that
//! never were; nobody is refused by that who has a cookie.
//!
//! Whoever sends SYNs in other names, and guesses what weir has answered them, looks like their owners:
//! nothing but the cookie tells them apart. So no budget may refuse all that come without timestamps, or
//! it would be there to be used up: a blind attacker could shut out the hosts that send none, Windows by
//! default. What a budget brings is cookies that are harder to guess. When a server has got [`MANY`]
//! wrong ones without timestamps in two periods, its clients without timestamps are promised nothing but
//! a segment size, as with SYN cookies elsewhere, until there are fewer again; when it has got
//! [`TOO_MANY`], such [plain](super::cookie::Terms::plain) cookies are the only ones without timestamps
//! that are looked at. Between the two there is time for those that are on their way.
//!
//! **Odds.** Of the ACKs up to the budget one in 2^22 is taken for true: one attack in four that go on
//! to it. Of those beyond it, one in 2^27: at a million a second one in two minutes, at each worker.
//! Clients with timestamps do not notice; they have 16 bits more.

use super::cookie::Flow;
use super::learned::Server;

/// Bits of a map; a power of two.
const BITS: usize = 1 << 20;
/// Wrong cookies without timestamps that a server may get in two periods, at each worker, before it
/// promises less.
const MANY: u32 = 1 << 18;
/// How many before what it has promised does not count any more.
const TOO_MANY: u32 = 1 << 20;
/// Budgets; servers may share one. A power of two.
const BUDGETS: usize = 1024;

/// The flows and the budgets of one worker. [`Expected::default`] expects nothing.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Of this period and of the last one; empty before the first cookie may be sent.
    maps: [Box<[u64]>; 2],
    /// In this period and in the last one.
    wrong: Box<[[u32; 2]]>,
    /// Whether a bit is set in either map.
    filled: [bool; 2],
}

impl Expected {
    /// Makes room, if there is none.
    pub(super) fn reserve(&mut self) {
        if self.wrong.is_empty() {
            self.maps = [(); 2].map(|()| vec![0; BITS / 64].into());
            self.wrong = vec![[0; 2]; BUDGETS].into();
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
        for [now, before] in &mut self.wrong {
            *before = if periods == 1 { *now } else { 0 };
            *now = 0;
        }
    }

    /// Of the client's direction: what its server says proves nothing, and is not counted as wrong.
    const fn bit(flow: Flow) -> (usize, u64) {
        // The high half names the worker.
        let at = (flow.hash ^ flow.from_above as u64) as usize & (BITS - 1);
        (at / 64, 1 << (at % 64))
    }

    /// A cookie goes to the client of this flow.
    #[inline]
    pub(super) fn expect(&mut self, flow: Flow) {
        let (word, bit) = Self::bit(flow);
        if let Some(word) = self.maps[0].get_mut(word) {
            *word |= bit;
            self.filled[0] = true;
        }
    }

    /// Whether one has gone there, most probably.
    #[inline]
    pub(super) fn has(&self, flow: Flow) -> bool {
        let (word, bit) = Self::bit(flow);
        (0..2).any(|map| {
            self.filled[map] && self.maps[map].get(word).is_some_and(|word| word & bit != 0)
        })
    }

    /// Whether many have guessed cookies of this server: it promises nothing that makes them easier.
    #[inline]
    pub(super) fn is_guessed(&self, server: Server) -> bool {
        self.count(server) >= MANY
    }

    /// Whether so many have that no others count.
    pub(super) fn is_exhausted(&self, server: Server) -> bool {
        self.count(server) >= TOO_MANY
    }

    fn count(&self, server: Server) -> u32 {
        self.wrong.get(server.place(BUDGETS)).map_or(0, |[now, before]| now.saturating_add(*before))
    }

    /// A cookie of this server without timestamps was wrong.
    pub(super) fn was_wrong(&mut self, server: Server) {
        if let Some([now, _]) = self.wrong.get_mut(server.place(BUDGETS)) {
            *now = now.saturating_add(1);
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
        let [one, other] = [4, 6].map(|hash| Flow { hash, from_above: false });
        let mut expected = Expected::default();
        expected.expect(one);
        assert!(!expected.has(one), "there is no room");
        expected.reserve();
        expected.expect(one);
        assert!(expected.has(one) && !expected.has(other));
        assert!(!expected.has(Flow { from_above: true, ..one }), "the server's answer");
        expected.turn(1);
        expected.expect(other);
        assert!(expected.has(one) && expected.has(other));
        expected.turn(1);
        assert!(!expected.has(one) && expected.has(other));
        expected.turn(7);
        assert!(!expected.has(other));
    }

    #[test]
    fn a_budget_is_for_a_server_and_two_periods() {
        let server =
            |port| Server::new(HashKey::new([5; 16]), Tags::default(), Address::v4([1; 4]), port);
        let mut expected = Expected::default();
        expected.was_wrong(server(80));
        expected.reserve();
        let mut levels = vec![];
        for _ in 0..=TOO_MANY {
            levels.push((expected.is_guessed(server(80)), expected.is_exhausted(server(80))));
            expected.was_wrong(server(80));
        }
        let (many, too_many) = (MANY as usize, TOO_MANY as usize);
        assert_eq!(levels[many - 1..=many], [(false, false), (true, false)]);
        assert_eq!(levels[too_many - 1..], [(true, false), (true, true)]);
        assert!(!expected.is_guessed(server(25)));
        expected.turn(1);
        assert!(expected.is_exhausted(server(80)));
        expected.turn(1);
        assert!(!expected.is_guessed(server(80)));
    }
}
