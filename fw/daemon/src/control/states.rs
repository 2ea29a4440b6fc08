//! States are listed and killed, a piece of a worker's table at a time.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use weir_engine::StateView;
use weir_shell::protocol::{self, Kill};

use super::{Control, Refused};
use crate::mailbox::{CHUNK, Letter, Matcher};
use crate::rules::Places;

impl Control {
    /// Removes states; tells how many.
    ///
    /// # Errors
    /// When the request makes no sense, or a worker does not answer.
    pub fn kill(&self, kill: &Kill) -> Result<u64, Refused> {
        let matches: Matcher = match kill {
            Kill::Hosts { from, to } => {
                let from = prefix(from)?;
                let to = to.as_deref().map(prefix).transpose()?;
                Arc::new(move |state: &StateView| {
                    from.contains(&state.source.to_ip(state.network))
                        && to.is_none_or(|to| to.contains(&state.destination.to_ip(state.network)))
                })
            }
            Kill::Id(id) => {
                let id = u64::from_str_radix(id.trim_start_matches("0x"), 16)
                    .map_err(|_| Refused::Error(format!("`{id}` is not the id of a state")))?;
                Arc::new(move |state: &StateView| state.id == id)
            }
            Kill::Label(label) => {
                let numbers: Vec<u32> = {
                    let in_force = self.in_force.lock();
                    let rules = in_force.program.iter().flat_map(|program| {
                        let rules = program.rules();
                        let inner = rules.anchors.values().flat_map(|anchor| &anchor.rules);
                        rules.rules.iter().chain(inner)
                    });
                    (0..)
                        .zip(rules)
                        .filter(|(_, rule)| rule.label.as_ref() == Some(label))
                        .map(|(id, _)| id)
                        .collect()
                };
                Arc::new(move |state: &StateView| {
                    state.rules.iter().flatten().any(|rule| numbers.binary_search(rule).is_ok())
                })
            }
        };
        self.kill_matching(&matches)
    }

    /// Removes all states; tells how many.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn flush_states(&self) -> Result<u64, Refused> {
        let all: Matcher = Arc::new(|_: &StateView| true);
        self.kill_matching(&all)
    }

    pub(super) fn kill_matching(&self, matches: &Matcher) -> Result<u64, Refused> {
        let mut killed = 0;
        for mailbox in &self.parts.mailboxes {
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                let (count, next) =
                    mailbox.ask(|reply| Letter::Kill(at, Arc::clone(matches), reply))?;
                killed += u64::from(count);
                cursor = next;
            }
        }
        Ok(killed)
    }

    /// Lists all states, piece by piece; tells how many.
    ///
    /// # Errors
    /// When a worker does not answer, or `each` fails.
    pub fn states(
        &self,
        mut each: impl FnMut(Vec<protocol::State>) -> io::Result<()>,
    ) -> Result<u64, Refused> {
        let mut count = 0;
        let places = Arc::clone(&self.in_force.lock().places);
        let mut room = Vec::with_capacity(CHUNK);
        for (worker, mailbox) in self.parts.mailboxes.iter().enumerate() {
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                (room, cursor) = mailbox.ask(|reply| Letter::States(at, room, reply))?;
                if !room.is_empty() {
                    count += room.len() as u64;
                    each(room.iter().map(|state| self.state(worker, state, &places)).collect())?;
                    room.clear();
                }
            }
        }
        Ok(count)
    }

    pub(super) fn state(
        &self,
        worker: usize,
        state: &StateView,
        places: &Places,
    ) -> protocol::State {
        protocol::State {
            id: format!("{:016x}", state.id),
            worker: worker as u16,
            port: self.parts.ports.role(state.port).to_owned(),
            vlans: [state.tags.outer, state.tags.inner].into_iter().filter(|&id| id != 0).collect(),
            protocol: state.protocol,
            source: state.source.to_ip(state.network),
            source_port: state.source_port,
            destination: state.destination.to_ip(state.network),
            destination_port: state.destination_port,
            peers: state.peers.each_ref().map(|peer| protocol::Peer {
                state: peer.state.to_owned(),
                seq_lo: peer.seq_lo,
                seq_hi: peer.seq_hi,
                seq_diff: peer.seq_diff,
                wscale: peer.scale,
            }),
            age: state.age,
            expires: state.expires,
            packets: state.packets,
            bytes: state.bytes,
            rules: state.rules,
            anchored: state.rules.map(|id| places.anchored(id?)),
        }
    }
}

/// An address or a prefix.
pub(super) fn prefix(text: &str) -> Result<IpNet, Refused> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| Refused::Error(format!("`{text}` is neither an address nor a prefix")))
}
