//! Bounds of the memory pools.

use super::Named;

/// What `set limit` bounds, in the order in which `-s memory` lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// `states`: entries of the state table.
    States,
    /// `src-nodes`: sources that are tracked.
    SrcNodes,
    /// `frags`: fragments that wait for the rest of their datagram.
    Frags,
    /// `tables`: address tables.
    Tables,
    /// `table-entries`: entries of all tables together.
    TableEntries,
    /// `pktdelay-pkts`: packets that pf's `set delay` holds.
    PktdelayPkts,
    /// `anchors`: anchors.
    Anchors,
    /// `tails` (weir's addition): ended connections whose last packets are still recognised.
    Tails,
}

impl Named for Limit {
    const ALL: &'static [Self] = &[
        Self::States,
        Self::SrcNodes,
        Self::Frags,
        Self::Tables,
        Self::TableEntries,
        Self::PktdelayPkts,
        Self::Anchors,
        Self::Tails,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::States => "states",
            Self::SrcNodes => "src-nodes",
            Self::Frags => "frags",
            Self::Tables => "tables",
            Self::TableEntries => "table-entries",
            Self::PktdelayPkts => "pktdelay-pkts",
            Self::Anchors => "anchors",
            Self::Tails => "tails",
        }
    }
}

/// `set limit`: how many of each thing may exist, over all workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// State table entries; 100,000 as in pf.
    pub states: u32,
    /// Tracked sources; 10,000 as in pf.
    pub src_nodes: u32,
    /// Waiting fragments; 65,536 as in pf.
    pub frags: u32,
    /// Address tables; 1,000 as in pf.
    pub tables: u32,
    /// Entries of all address tables together; 200,000 as in pf.
    pub table_entries: u32,
    /// Delayed packets; 10,000 as in pf.
    pub pktdelay_pkts: u32,
    /// Anchors; 512 as in pf.
    pub anchors: u32,
    /// Ended connections that are remembered; 100,000, at most [`Limits::MAX_TAILS`].
    pub tails: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            states: 100_000,
            src_nodes: 10_000,
            frags: 65_536,
            tables: 1000,
            table_entries: 200_000,
            pktdelay_pkts: 10_000,
            anchors: 512,
            tails: 100_000,
        }
    }
}

impl Limits {
    /// The most ended connections that can be remembered, at 32 bytes each.
    pub const MAX_TAILS: u32 = 1 << 24;

    /// The bound.
    pub const fn get(&self, limit: Limit) -> u32 {
        match limit {
            Limit::States => self.states,
            Limit::SrcNodes => self.src_nodes,
            Limit::Frags => self.frags,
            Limit::Tables => self.tables,
            Limit::TableEntries => self.table_entries,
            Limit::PktdelayPkts => self.pktdelay_pkts,
            Limit::Anchors => self.anchors,
            Limit::Tails => self.tails,
        }
    }

    /// Sets the bound.
    pub const fn set(&mut self, limit: Limit, value: u32) {
        *match limit {
            Limit::States => &mut self.states,
            Limit::SrcNodes => &mut self.src_nodes,
            Limit::Frags => &mut self.frags,
            Limit::Tables => &mut self.tables,
            Limit::TableEntries => &mut self.table_entries,
            Limit::PktdelayPkts => &mut self.pktdelay_pkts,
            Limit::Anchors => &mut self.anchors,
            Limit::Tails => &mut self.tails,
        } = value;
    }
}
