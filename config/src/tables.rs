//! Address tables as a rule file declares them (pf.conf(5), TABLES). What is in a table while weir
//! runs is the engine's business.

use ipnet::IpNet;

use crate::rules::Source;

/// `table <name> ...`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// 1 to 31 bytes.
    pub name: String,
    /// `persist`: kept although no rule names it.
    pub persist: bool,
    /// `const`: its entries cannot be changed while weir runs.
    pub constant: bool,
    /// `counters`: packets and bytes are counted for each entry.
    pub counters: bool,
    /// The entries of `{ ... }` and `file`. `None` if neither was written: then a table of that name
    /// that is in force keeps its entries.
    pub entries: Option<Vec<TableEntry>>,
    /// Where the table is declared.
    pub source: Source,
}

/// One entry of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableEntry {
    /// `!` was written: addresses in this prefix, and in no longer one without `!`, are not in the
    /// table.
    pub not: bool,
    /// The prefix, host bits cleared.
    pub net: IpNet,
    /// Seconds after which the entry goes by itself (weir's addition).
    pub timeout: Option<u32>,
}
