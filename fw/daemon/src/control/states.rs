//! States are listed and killed, a piece of a worker's table at a time.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use weir_engine::StateView;
use weir_shell::protocol::{self, Done, Kill, StateQuery};

use super::filter::measure;
use super::listing::Listing;
use super::{Control, Refused};
use crate::mailbox::{CHUNK, Letter, Mailbox, Matcher};
use crate::rules::Places;

impl Control {
    /// Removes states; tells how many.
    ///
    /// # Errors
    /// When the request makes no sense, or a worker does not answer.
    pub fn kill(&self, kill: &Kill) -> Result<u64, Refused> {
        if kill.criteria.is_empty() {
            let text = "without a criterion no state is meant: `flush` removes them all";
            return Err(Refused::Error(text.into()));
        }
        // While rules do not change, their ids mean here what they mean to the workers.
        let _loading = self.loading.lock();
        let filter = {
            let in_force = self.in_force.lock();
            // As for pfctl, who ends what a rule has made need not know whether it is still there.
            if kill.criteria.iter().any(|criterion| in_force.is_unknown_label(criterion)) {
                return Ok(0);
            }
            in_force.state_filter(&kill.criteria, |name| self.port_named(name))?
        };
        let matches: Matcher = Arc::new(move |state: &StateView| filter.holds(state));
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

    /// The states in [`CHUNK`] slots of a worker from a cursor on, which come in the room given, and the
    /// next cursor. However many clients ask, and however fast, the workers spend no more than half of
    /// their time on it: one asks at a time, and rests as long as the answer took.
    pub(super) fn piece_of_states(
        &self,
        worker: &Mailbox,
        cursor: u32,
        room: Vec<StateView>,
    ) -> io::Result<(Vec<StateView>, Option<u32>)> {
        let _walking = self.walking.lock();
        let asked = Instant::now();
        let answer = worker.ask(|reply| Letter::States(cursor, room, reply))?;
        std::thread::sleep(asked.elapsed());
        Ok(answer)
    }

    /// Lists the states that a query means, piece by piece; tells how many.
    ///
    /// # Errors
    /// When the query makes no sense, a worker does not answer, or `each` fails.
    pub fn states(
        &self,
        query: &StateQuery,
        mut each: impl FnMut(Vec<protocol::State>) -> io::Result<()>,
    ) -> Result<Done, Refused> {
        let (filter, places) = {
            let in_force = self.in_force.lock();
            let filter = in_force.state_filter(&query.criteria, |name| self.port_named(name))?;
            (filter, Arc::clone(&in_force.places))
        };
        let mut listing = Listing::new(query);
        let mut room = Vec::with_capacity(CHUNK);
        for (worker, mailbox) in self.parts.mailboxes.iter().enumerate() {
            let mut cursor = Some(0);
            while let Some(at) = cursor.filter(|_| !listing.is_full()) {
                (room, cursor) = self.piece_of_states(mailbox, at, room)?;
                for state in room.drain(..).filter(|state| filter.holds(state)) {
                    let key = query.sort.map_or(0, |order| measure(order, &state));
                    listing.add(key, || self.state(worker, &state, &places));
                }
                listing.send(&mut each)?;
            }
        }
        let mut done = listing.end(CHUNK, &mut each)?;
        if !Arc::ptr_eq(&self.in_force.lock().places, &places) {
            let text = "the rules have changed meanwhile: numbers and labels may be of either";
            done.note = Some(done.note.map_or(text.into(), |note| format!("{note}; {text}")));
        }
        Ok(done)
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
            idle: state.idle,
            expires: state.expires,
            packets: state.packets,
            bytes: state.bytes,
            rules: state.rules,
            anchored: state.rules.map(|id| places.anchored(id?)),
        }
    }
}
