//! The states in sum. Of addresses, which remote hosts choose, no more are held than there is room for:
//! when it is full every count goes down by one and what reaches nothing goes (Misra and Gries, Finding
//! repeated elements, 1982), so that whoever has a noticeable share of all states is among those that
//! are left.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use weir_engine::StateView;
use weir_shell::protocol::{HostTally, MAX_TALLY, Phase, StateTally};

use super::best::Best;
use super::{Control, Refused};
use crate::mailbox::CHUNK;

/// Addresses that are counted at a time.
const ROOM: usize = 16_384;

/// Phases that are told at most; there are fewer.
const PHASES: usize = 256;

impl Control {
    /// Sums all states up.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn tally(&self, hosts: u32) -> Result<StateTally, Refused> {
        let mut sum = Sum::default();
        let mut room = Vec::with_capacity(CHUNK);
        for mailbox in &self.parts.mailboxes {
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                (room, cursor) = self.piece_of_states(mailbox, at, room)?;
                room.drain(..).for_each(|state| sum.add(&state));
            }
        }
        Ok(sum.told(hosts.min(MAX_TALLY) as usize))
    }
}

#[derive(Default)]
struct Sum {
    states: u64,
    phases: BTreeMap<(u8, &'static str, &'static str), u64>,
    sources: Hosts,
    destinations: Hosts,
}

impl Sum {
    fn add(&mut self, state: &StateView) {
        self.states += 1;
        let [initiator, responder] = &state.peers;
        *self.phases.entry((state.protocol, responder.state, initiator.state)).or_default() += 1;
        self.sources.add(state.source.to_ip(state.network), state);
        self.destinations.add(state.destination.to_ip(state.network), state);
    }

    fn told(self, hosts: usize) -> StateTally {
        let mut phases = Best::new(PHASES);
        for ((protocol, responder, initiator), states) in self.phases {
            let state = format!("{responder}:{initiator}");
            phases.offer(states, || Phase { protocol, state, states });
        }
        StateTally {
            states: self.states,
            phases: phases.into_sorted().collect(),
            estimated: self.sources.estimated || self.destinations.estimated,
            sources: self.sources.told(hosts),
            destinations: self.destinations.told(hosts),
        }
    }
}

#[derive(Default)]
struct Hosts {
    counted: HashMap<IpAddr, HostTally>,
    estimated: bool,
}

impl Hosts {
    fn add(&mut self, address: IpAddr, state: &StateView) {
        if self.counted.len() >= ROOM && !self.counted.contains_key(&address) {
            self.estimated = true;
            self.counted.retain(|_, host| {
                host.states -= 1;
                host.states > 0
            });
            return;
        }
        let none = HostTally { address, states: 0, packets: 0, bytes: 0 };
        let host = self.counted.entry(address).or_insert(none);
        host.states += 1;
        host.packets += state.packets.iter().sum::<u64>();
        host.bytes += state.bytes.iter().sum::<u64>();
    }

    fn told(self, most: usize) -> Vec<HostTally> {
        // In the order of their addresses, so that those with as many do not change places.
        let mut all: Vec<HostTally> = self.counted.into_values().collect();
        all.sort_unstable_by_key(|host| host.address);
        let mut best = Best::new(most);
        for host in all {
            best.offer(host.states, || host);
        }
        best.into_sorted().collect()
    }
}
