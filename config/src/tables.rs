//! Address tables as a rule file declares them (pf.conf(5), TABLES). What is in a table while weir
//! runs is the engine's business.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use ipnet::IpNet;

use crate::parse;
use crate::rules::{Address, Source};

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

/// `192.0.2.1`, `!192.0.2.0/24`, `192.0.2.1 timeout 1h`: as in a table file.
impl FromStr for TableEntry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse::entry(text)
    }
}

/// As in a table file, the time-out in seconds.
impl Display for TableEntry {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.not { "!" } else { "" }, Address::Prefix(self.net))?;
        match self.timeout {
            Some(seconds) => write!(f, " timeout {seconds}"),
            None => Ok(()),
        }
    }
}

impl Table {
    /// The declaration without entries.
    pub(crate) fn head(&self) -> String {
        let options =
            [(self.persist, " persist"), (self.constant, " const"), (self.counters, " counters")];
        let options: String =
            options.iter().filter(|(on, _)| *on).map(|&(_, option)| option).collect();
        format!("table <{}>{options}", self.name)
    }
}

/// The declaration with all entries in it, also those that came from files.
impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.head())?;
        let Some(entries) = &self.entries else { return Ok(()) };
        f.write_str(" {")?;
        entries.iter().try_for_each(|entry| write!(f, " {entry}"))?;
        f.write_str(" }")
    }
}
