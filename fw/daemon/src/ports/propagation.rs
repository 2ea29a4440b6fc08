//! A port without a link takes the other one's link down, so that what is behind that one notices; and up
//! again when the link is back.
//!
//! A port is held down only for as long as the other one has no link. What happens to its own link then
//! is our own doing and says nothing; and for a while after it was let go it may still have none, since
//! both ends of a cable have to agree first. So neither port can hold the other one in turn.

use std::time::{Duration, Instant};

/// How long a link may take to come up after it could. Gigabit over copper takes 2 to 4 s.
pub(super) const GRACE: Duration = Duration::from_secs(6);

/// What is to be done with a port, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Set it down.
    Hold(usize),
    /// Set it up again.
    Release(usize),
}

/// Which port is held down, and why a lost link may not be one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Propagation {
    /// Whether setting the port down takes its link down.
    able: [bool; 2],
    held: [bool; 2],
    /// Until when it counts for nothing that the port has no link.
    grace: [Option<Instant>; 2],
}

impl Propagation {
    /// At the start no link has to be there yet.
    pub(super) fn new(able: [bool; 2], now: Instant) -> Self {
        Self { able, held: [false; 2], grace: [Some(now + GRACE); 2] }
    }

    /// Whether a port is held down.
    pub(super) const fn holds(&self, port: usize) -> bool {
        self.held[port]
    }

    /// Both ports were opened anew, for which drivers may have let their links go: these have time to
    /// come back.
    pub(super) fn wait(&mut self, now: Instant) {
        self.grace = [Some(now + GRACE); 2];
    }

    /// What is to be done, given which ports have a link, and when to ask again at the latest.
    pub(super) fn step(
        &mut self,
        links: [bool; 2],
        now: Instant,
    ) -> (Option<Action>, Option<Instant>) {
        for (grace, link) in self.grace.iter_mut().zip(links) {
            *grace = grace.filter(|&until| !link && now < until);
        }
        if let Some(held) = self.held.iter().position(|&held| held) {
            // Its own link tells nothing.
            return if links[1 - held] {
                (Some(self.let_go(held, now)), self.grace[held])
            } else {
                (None, None)
            };
        }
        for (lost, other) in [(0, 1), (1, 0)] {
            if !links[lost] && links[other] && self.able[other] && self.grace[lost].is_none() {
                self.held[other] = true;
                return (Some(Action::Hold(other)), None);
            }
        }
        (None, self.grace.iter().flatten().min().copied())
    }

    /// A port that is held is not held any more: the bridge ends or opens anew, or somebody else has set
    /// the port up.
    pub(super) fn let_go(&mut self, port: usize, now: Instant) -> Action {
        self.held[port] = false;
        self.grace[port] = Some(now + GRACE);
        Action::Release(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: [bool; 2] = [true; 2];

    fn started() -> (Propagation, Instant) {
        let now = Instant::now();
        let mut propagation = Propagation::new([true; 2], now);
        assert_eq!(propagation.step(UP, now), (None, None));
        (propagation, now)
    }

    #[test]
    fn a_lost_link_takes_the_other_one_down_and_up_again() {
        let (mut ports, now) = started();
        assert_eq!(ports.step([false, true], now), (Some(Action::Hold(1)), None));
        // The other one's link goes by our own doing.
        assert_eq!(ports.step([false, false], now), (None, None));
        let (action, again) = ports.step([true, false], now);
        assert_eq!((action, again), (Some(Action::Release(1)), Some(now + GRACE)));
        assert_eq!(ports.step([true, false], now), (None, Some(now + GRACE)), "not yet up");
        assert_eq!(ports.step(UP, now), (None, None));
    }

    #[test]
    fn a_cable_that_was_pulled_meanwhile_is_noticed_after_a_while() {
        let (mut ports, now) = started();
        ports.step([false, true], now);
        ports.step([true, false], now);
        let later = now + GRACE;
        assert_eq!(ports.step([true, false], later), (Some(Action::Hold(0)), None));
        assert_eq!(ports.step([false, true], later).0, Some(Action::Release(0)));
        assert_eq!(ports.step(UP, later), (None, None));
    }

    #[test]
    fn two_lost_links_hold_nothing() {
        let (mut ports, now) = started();
        assert_eq!(ports.step([false, false], now), (None, None));
        assert_eq!(ports.step([true, false], now).0, Some(Action::Hold(0)), "one is back");
        assert_eq!(ports.step([false, true], now).0, Some(Action::Release(0)));
    }

    #[test]
    fn links_that_come_up_at_the_start_are_waited_for() {
        let now = Instant::now();
        let mut ports = Propagation::new([true; 2], now);
        assert_eq!(ports.step([true, false], now), (None, Some(now + GRACE)));
        assert_eq!(ports.step([true, false], now + GRACE).0, Some(Action::Hold(0)));
    }

    #[test]
    fn links_that_go_while_ports_are_opened_are_waited_for() {
        let (mut ports, now) = started();
        ports.wait(now);
        assert_eq!(ports.step([true, false], now), (None, Some(now + GRACE)));
        assert_eq!(ports.step(UP, now), (None, None));
        assert_eq!(ports.step([true, false], now).0, Some(Action::Hold(0)));
    }

    #[test]
    fn a_port_whose_driver_keeps_the_link_is_left_alone() {
        let now = Instant::now();
        let mut ports = Propagation::new([true, false], now);
        ports.step(UP, now);
        assert_eq!(ports.step([false, true], now).0, None);
        assert_eq!(ports.step([true, false], now).0, Some(Action::Hold(0)));
    }

    /// Whatever happens to the cables: when both stay plugged in, nothing is held in the end, and each
    /// cable costs a bounded number of actions.
    #[test]
    fn no_two_ports_hold_each_other_in_turn() {
        let mut random = 1u64;
        for _ in 0..200 {
            let (mut ports, mut now) = started();
            let mut cables = UP;
            let mut actions = 0;
            for turn in 0..60 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if turn < 40 {
                    cables[(random >> 40) as usize % 2] = random >> 50 & 1 == 0;
                } else {
                    cables = UP;
                }
                let links = [0, 1].map(|port| cables[port] && !ports.holds(port));
                actions += u32::from(ports.step(links, now).0.is_some());
                now += Duration::from_secs(random >> 60);
            }
            assert!(!ports.holds(0) && !ports.holds(1));
            assert!(actions <= 60);
            let links = [0, 1].map(|port| cables[port] && !ports.holds(port));
            assert_eq!(ports.step(links, now).0, None);
        }
    }
}
