//! What the screen shows: the daemon's last answers and those before, since rates are differences.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::protocol::{
    Command, Info, Interface, Reply, Rule, RuleListing, State, StateQuery, StateTally,
};

/// Moments that the curves show.
pub(super) const HISTORY: usize = 120;

/// Hosts that are shown of each kind.
pub(super) const HOSTS: u32 = 50;

/// Answers that are closer to each other are one moment.
const MOMENT: Duration = Duration::from_millis(400);

/// Why nothing came of asking.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The daemon says why.
    Refused(String),
    /// It is not there any more.
    Lost(io::Error),
}

/// Counters at one moment.
#[derive(Clone, Debug)]
pub(super) struct Counted<T> {
    pub(super) now: Option<(Instant, T)>,
    pub(super) before: Option<(Instant, T)>,
    /// An answer that takes long is not asked for often: at most a twentieth of the time.
    pub(super) next: Option<Instant>,
}

/// Nothing was counted yet.
impl<T> Default for Counted<T> {
    fn default() -> Self {
        Self { now: None, before: None, next: None }
    }
}

impl<T> Counted<T> {
    fn is_due(&self, at: Instant) -> bool {
        self.next.is_none_or(|next| at >= next)
    }

    /// Takes an answer; tells whether it is a moment of its own. Of one that comes at once behind
    /// another, as when keys ask, a rate would be an accident: it takes that one's place.
    fn take(&mut self, asked: Instant, now: Instant, value: T) -> bool {
        self.next = Some(now + (now - asked) * 20);
        let last = self.now.replace((now, value));
        let at_once =
            matches!((&last, &self.before), (Some((then, _)), Some(_)) if now - *then < MOMENT);
        if !at_once {
            self.before = last;
        }
        !at_once
    }

    /// A counter's increase a second.
    pub(super) fn rate(&self, counter: impl Fn(&T) -> u64) -> u64 {
        match (&self.now, &self.before) {
            (Some((now, value)), Some((then, before))) => {
                per_second(counter(value), counter(before), *now - *then)
            }
            _ => 0,
        }
    }

    /// The last answer.
    pub(super) fn last(&self) -> Option<&T> {
        self.now.as_ref().map(|(_, value)| value)
    }
}

/// What a counter gains a second. One that was set to zero meanwhile has gained nothing.
pub(super) fn per_second(now: u64, before: u64, time: Duration) -> u64 {
    let millis = time.as_millis().max(1);
    let gained = u128::from(now.saturating_sub(before));
    u64::try_from(gained * 1000 / millis).unwrap_or(u64::MAX)
}

/// A rule as the screen names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedRule {
    /// Its anchor and number.
    pub(super) name: String,
    pub(super) rule: Rule,
}

/// Everything that is known.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) info: Counted<Info>,
    pub(super) ports: Counted<Vec<Interface>>,
    pub(super) rules: Counted<Vec<NamedRule>>,
    pub(super) tally: Counted<StateTally>,
    pub(super) states: Counted<Vec<State>>,
    /// Bits a second of each port, in and out, the latest last.
    pub(super) curves: Vec<[VecDeque<u64>; 2]>,
    /// Why the daemon says nothing.
    pub(super) trouble: Option<String>,
}

/// What the screen needs besides the ports and the counters.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) rules: bool,
    pub(super) tally: bool,
    pub(super) states: Option<StateQuery>,
}

impl Model {
    /// Asks the daemon.
    pub(super) fn poll(&mut self, client: &mut Client, wanted: &Wanted) -> Result<(), Trouble> {
        let asked = Instant::now();
        one(client, Command::Info, |reply| {
            if let Reply::Info(info) = reply {
                self.info.take(asked, Instant::now(), *info);
            }
        })?;
        let asked = Instant::now();
        let mut is_moment = false;
        one(client, Command::Interfaces, |reply| {
            if let Reply::Interfaces(ports) = reply {
                is_moment = self.ports.take(asked, Instant::now(), ports);
            }
        })?;
        if is_moment {
            self.draw_curves();
        }
        let asked = Instant::now();
        if wanted.rules && self.rules.is_due(asked) {
            let everywhere = Command::RulesIn { anchor: String::new(), recursive: true };
            one(client, everywhere, |reply| {
                if let Reply::Rules(listing) = reply {
                    self.rules.take(asked, Instant::now(), named(listing));
                }
            })?;
        }
        let asked = Instant::now();
        if wanted.tally && self.tally.is_due(asked) {
            one(client, Command::Tally { hosts: HOSTS }, |reply| {
                if let Reply::Tally(tally) = reply {
                    self.tally.take(asked, Instant::now(), *tally);
                }
            })?;
        }
        let asked = Instant::now();
        if let Some(query) = wanted.states.as_ref().filter(|_| self.states.is_due(asked)) {
            let mut found = Vec::new();
            one(client, Command::States(query.clone()), |reply| {
                if let Reply::States(mut states) = reply {
                    found.append(&mut states);
                }
            })?;
            self.states.take(asked, Instant::now(), found);
        }
        Ok(())
    }

    /// Another query is asked: what the last one has brought means nothing any more.
    pub(super) fn forget_states(&mut self) {
        self.states = Counted::default();
    }

    fn draw_curves(&mut self) {
        let Some((_, ports)) = &self.ports.now else { return };
        self.curves.resize_with(ports.len(), Default::default);
        for (at, curves) in self.curves.iter_mut().enumerate() {
            for (way, curve) in curves.iter_mut().enumerate() {
                let bits = self.ports.rate(|ports| 8 * traffic(ports.get(at), way, 1).0);
                if curve.len() == HISTORY {
                    curve.pop_front();
                }
                curve.push_back(bits);
            }
        }
    }
}

/// All packets (`what` 0) or bytes (1) of a port, in (`way` 0) or out (1): all, and those blocked.
pub(super) fn traffic(port: Option<&Interface>, way: usize, what: usize) -> (u64, u64) {
    let each = port.into_iter().flat_map(|port| port.traffic.iter().skip(way).step_by(2));
    each.fold((0, 0), |(all, blocked), one| {
        (all + one.passed[what] + one.blocked[what], blocked + one.blocked[what])
    })
}

/// The rules of all anchors.
fn named(listing: RuleListing) -> Vec<NamedRule> {
    let mut all = Vec::new();
    let RuleListing { nested, rules, anchor, .. } = listing;
    for (anchor, rules) in std::iter::once((anchor, rules))
        .chain(nested.into_iter().map(|inner| (inner.anchor, inner.rules)))
    {
        for rule in rules {
            let within = if anchor.is_empty() { String::new() } else { format!("{anchor}.") };
            all.push(NamedRule { name: format!("{within}{}", rule.number), rule });
        }
    }
    all
}

/// The rules with their packets a second, the busiest first.
pub(super) fn busiest(rules: &Counted<Vec<NamedRule>>) -> Vec<(&NamedRule, u64, u64)> {
    let Some((now, all)) = &rules.now else { return Vec::new() };
    let before: HashMap<(&str, &str), &Rule> = rules
        .before
        .iter()
        .flat_map(|(_, all)| all)
        .map(|named| ((&*named.name, &*named.rule.text), &named.rule))
        .collect();
    let time = rules.before.as_ref().map_or(Duration::MAX, |(then, _)| *now - *then);
    let mut told: Vec<_> = all
        .iter()
        .map(|named| {
            let sum = |pair: [u64; 2]| pair.iter().sum::<u64>();
            // A rule that was not there before, or was another, has no rate yet.
            let rates = before.get(&(&*named.name, &*named.rule.text)).map_or((0, 0), |old| {
                (
                    per_second(sum(named.rule.packets), sum(old.packets), time),
                    per_second(sum(named.rule.bytes), sum(old.bytes), time),
                )
            });
            (named, rates.0, rates.1)
        })
        .collect();
    told.sort_by_key(|(named, packets, _)| {
        std::cmp::Reverse((*packets, named.rule.packets.iter().sum::<u64>()))
    });
    told
}

/// Sends a command; its end must be a good one.
fn one(client: &mut Client, command: Command, mut each: impl FnMut(Reply)) -> Result<(), Trouble> {
    let end = client.ask(command, |reply| {
        each(reply);
        Ok(())
    });
    match end.map_err(Trouble::Lost)? {
        Reply::Done(_) => Ok(()),
        Reply::Error(text) => Err(Trouble::Refused(text)),
        other => Err(Trouble::Lost(io::Error::other(format!("the daemon said {other:?}")))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Counted, NamedRule, busiest, per_second};
    use crate::protocol::Rule;

    #[test]
    fn counters_that_went_back_have_gained_nothing() {
        assert_eq!(per_second(300, 100, Duration::from_secs(2)), 100);
        assert_eq!(per_second(5, 100, Duration::from_secs(2)), 0);
        assert_eq!(per_second(5, 0, Duration::ZERO), 5000, "no division by zero");
    }

    #[test]
    fn answers_that_come_at_once_are_one_moment() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut counted = Counted::default();
        let mut take = |at: Duration, value: u64| {
            let moment = counted.take(start + at, start + at, value);
            (moment, counted.rate(|&value| value))
        };
        assert_eq!(take(Duration::ZERO, 0), (true, 0));
        assert_eq!(take(2 * second, 200), (true, 100));
        assert_eq!(take(2 * second + second / 100, 202), (false, 100));
        assert_eq!(take(4 * second, 202 + 199), (true, 100));
    }

    #[test]
    fn rules_are_told_by_what_they_did_lately() {
        let rule = |number: u32, packets: u64| NamedRule {
            name: number.to_string(),
            rule: Rule { number, packets: [packets, 0], text: "pass".into(), ..Rule::default() },
        };
        let now = Instant::now();
        let rules = Counted {
            before: Some((now, vec![rule(0, 1000), rule(1, 10)])),
            now: Some((
                now + Duration::from_secs(10),
                vec![rule(0, 1000), rule(1, 60), rule(2, 9)],
            )),
            next: None,
        };
        let told: Vec<_> =
            busiest(&rules).iter().map(|(named, rate, _)| (named.name.clone(), *rate)).collect();
        assert_eq!(told, [("1".into(), 5), ("0".into(), 0), ("2".into(), 0)]);
    }
}
