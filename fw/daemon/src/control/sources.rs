//! The sources that rules limit: listed, forgotten, and put into the table of `overload`.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tracing::{info, warn};
use weir_config::rules::OverloadFlush;
use weir_engine::StateView;
use weir_engine::source::{Overload, SourceView};
use weir_shell::protocol::{self, Done, SourceQuery, TableAction, TableChange};

use super::filter::{measure_source, prefix};
use super::listing::Listing;
use super::{Control, Refused};
use crate::log::events;
use crate::mailbox::{CHUNK, Matcher};
use crate::rules::Places;

impl Control {
    /// Lists the sources that a query means, some at a time; tells how many.
    ///
    /// # Errors
    /// When the query makes no sense, or `each` fails.
    pub fn sources(
        &self,
        query: &SourceQuery,
        mut each: impl FnMut(Vec<protocol::TrackedSource>) -> io::Result<()>,
    ) -> Result<Done, Refused> {
        let (program, places, filter) = {
            let in_force = self.in_force.lock();
            let filter = in_force.source_filter(&query.criteria)?;
            (in_force.program.clone(), Arc::clone(&in_force.places), filter)
        };
        let rule = |source: &SourceView| {
            let limits = source.rule.as_ref().zip(program.as_ref());
            limits.and_then(|(limits, program)| program.limited_by(limits))
        };
        let mut listing = Listing::new(query);
        let mut cursor = Some(0);
        let mut found = Vec::with_capacity(CHUNK);
        while let Some(at) = cursor.filter(|_| !listing.is_full()) {
            let now = self.parts.clock.now();
            cursor = self.parts.shared.sources().list(now, at, CHUNK as u32, &mut found);
            for source in found.drain(..) {
                let rule = rule(&source);
                if filter.holds(&source, rule) {
                    let key = query.sort.map_or(0, |order| measure_source(order, &source));
                    listing.add(key, || tracked(&source, rule, &places));
                }
            }
            listing.send(&mut each)?;
        }
        Ok(listing.end(CHUNK, &mut each)?)
    }

    /// Forgets the sources with an address in a prefix; tells how many. Their states live on.
    ///
    /// # Errors
    /// When it is neither an address nor a prefix.
    pub fn kill_sources(&self, from: &str) -> Result<u64, Refused> {
        let from = prefix(from)?;
        Ok(self.parts.shared.sources().forget(&|address| from.contains(&address)))
    }

    /// Forgets all sources; tells how many. Their states live on.
    pub fn flush_sources(&self) -> u64 {
        self.parts.shared.sources().forget(&|_| true)
    }

    /// Does what `overload` asks for, whenever a source has exceeded a limit; never returns.
    pub fn serve_overloads(&self) -> ! {
        loop {
            self.parts.overloads.wait(|| self.has_overload());
            self.serve_waiting_overloads();
        }
    }

    /// Whether a source has exceeded a limit and nothing was done about it yet.
    pub fn has_overload(&self) -> bool {
        self.parts.shared.sources().has_overload()
    }

    /// Does what `overload` asks for about the sources that have exceeded a limit so far.
    pub fn serve_waiting_overloads(&self) {
        while let Some(overload) = self.parts.shared.sources().overload() {
            self.serve_overload(&overload);
        }
    }

    /// Until this has returned, the workers admit nothing of the source.
    fn serve_overload(&self, overload: &Overload) {
        // While rules do not change, the ids of rules mean here what they mean to the workers.
        let _loading = self.loading.lock();
        let found = {
            let in_force = self.in_force.lock();
            in_force.program.as_ref().and_then(|program| {
                let rule = program.limited_by(&overload.rule)?;
                let name = in_force.places.anchored(rule).unwrap_or_else(|| rule.to_string());
                Some((rule, name, program.overload_table(rule)?.clone()))
            })
        };
        // A rule that is gone asks for nothing.
        if let Some((rule, name, table)) = found {
            let Overload { address, reason, .. } = overload;
            let change = TableChange {
                name: table.name.clone(),
                anchor: table.anchor,
                action: TableAction::Add,
                addresses: vec![address.to_string()],
                dry_run: false,
                feedback: false,
            };
            let into = table.name;
            match self.change_table(&change) {
                Ok(_) => {
                    info!(target: events::OVERLOAD, "{address} exceeds {reason} of rule {name}: put into <{into}>");
                }
                Err(refused) => warn!(
                    target: events::OVERLOAD,
                    "{address} exceeds {reason} of rule {name}, but cannot be put into <{into}>: \
                     {refused}"
                ),
            }
            if let Err(refused) = self.flush_source(*address, rule, overload.rule.overload()) {
                warn!("states of {address} were not removed: {refused}");
            }
        }
        self.parts.shared.sources().admit_again(overload);
    }

    /// Removes states that a source has begun.
    fn flush_source(
        &self,
        address: IpAddr,
        rule: u32,
        flush: Option<OverloadFlush>,
    ) -> Result<u64, Refused> {
        let of_rule = match flush {
            None | Some(OverloadFlush::No) => return Ok(0),
            Some(OverloadFlush::Rule) => Some(rule),
            Some(OverloadFlush::Global) => None,
        };
        let matches: Matcher = Arc::new(move |state: &StateView| {
            state.source.to_ip(state.network) == address
                && of_rule.is_none_or(|rule| state.rules.contains(&Some(rule)))
        });
        self.kill_matching(&matches)
    }
}

fn tracked(source: &SourceView, rule: Option<u32>, places: &Places) -> protocol::TrackedSource {
    protocol::TrackedSource {
        address: source.address,
        states: source.states,
        connections: source.connections,
        rate: source.rate,
        age: source.age,
        expires: source.expires,
        packets: source.packets,
        bytes: source.bytes,
        rule,
        anchored: rule.and_then(|rule| places.anchored(rule)),
    }
}
