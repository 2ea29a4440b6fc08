//! What the control side puts into an engine: a program, its tables, and room for tails.

use std::sync::Arc;

use crate::engine::Engine;
use crate::ruleset::Program;
use crate::state::tail::Tails;
use crate::table::{Retired, Tables};
use crate::time::Instant;

/// What an engine has no use for any more: large, perhaps, and not to be freed on the packet path.
#[derive(Debug)]
#[must_use]
pub struct Replaced {
    program: Option<Arc<Program>>,
    _tables: Option<Arc<Tables>>,
    _counters: Retired,
}

impl Engine {
    /// Takes up a program and the contents of [`Program::tables`], in their order. States live on,
    /// under the `state-policy` that they began with. What is returned is best dropped on another
    /// thread.
    pub fn install(
        &mut self,
        now: Instant,
        program: Arc<Program>,
        tables: Arc<Tables>,
    ) -> Replaced {
        let mut replaced = self.set_tables(tables);
        self.shared.prepare(&program);
        let follows = program.follows(self.program.as_deref());
        self.records.install(&program, follows);
        self.ether.install(program.link(), follows);
        self.epoch = self.epoch.wrapping_add(1);
        if let Some(old) = self.program.take() {
            if old.options().timeouts != program.options().timeouts {
                self.expiry.sweep_all();
            }
            replaced.program = Some(old);
        }
        if program.reassembles_tcp() {
            self.normaliser.reserve(self.table.capacity());
        }
        self.synproxy.reserve(&program, self.table.capacity());
        if program.splices() {
            self.splices.reserve(self.table.capacity());
        }
        if program.exports_flows() {
            self.flows.reserve();
        }
        if program.demands_progress() {
            self.watched.reserve(self.table.capacity());
        }
        self.program = Some(program);
        self.advance(now);
        replaced
    }

    /// Takes up other contents of the tables that the program in force names. What is returned is
    /// best dropped on another thread.
    pub fn set_tables(&mut self, tables: Arc<Tables>) -> Replaced {
        let retired = self.table_counters.take_up(&tables);
        let tables = self.tables.replace(tables);
        Replaced { program: None, _tables: tables, _counters: retired }
    }

    /// Remembers ended connections in this room from now on, and forgets those that it knew. What is
    /// returned is best dropped on another thread.
    pub const fn set_tails(&mut self, tails: Tails) -> Tails {
        std::mem::replace(&mut self.tails, tails)
    }
}
