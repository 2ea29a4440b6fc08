//! The `set` options of a rule set, with pf's defaults (pf.conf(5), OPTIONS).

mod limits;
mod timeouts;

use std::collections::BTreeMap;

use crate::ether::LinkOptions;
use crate::rules::Source;

pub use self::limits::{Limit, Limits};
pub use self::timeouts::{Optimization, Timeout, Timeouts};

/// A choice that the rule file makes by a name.
pub trait Named: Copy + 'static {
    /// Every choice, in the manual's order.
    const ALL: &'static [Self];

    /// The word for it.
    fn name(self) -> &'static str;

    /// The choice of that name.
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|choice| choice.name() == name)
    }
}

/// Everything a rule file can `set`. `set state-defaults` is not here: the parser writes its options
/// into the rules that they hold for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `set limit`: bounds of the memory pools.
    pub limits: Limits,
    /// `set timeout`: life-times of states without traffic.
    pub timeouts: Timeouts,
    /// `set optimization`; `timeouts` holds what follows from it.
    pub optimization: Optimization,
    /// `set ruleset-optimization`. weir's classifier compiles every rule set in the same way, so
    /// that this changes neither meaning nor speed.
    pub ruleset_optimization: RulesetOptimization,
    /// `set block-policy`: what a bare `block` in a later rule means.
    pub block_policy: BlockPolicy,
    /// `set state-policy`: whether a state is bound to the port its initiator is on.
    pub state_policy: StatePolicy,
    /// `set skip on`: ports, by role or interface name, whose side abstains.
    pub skip: Vec<String>,
    /// Control frames and spoof guards of layer 2.
    pub link: LinkOptions,
    /// `set debug`: how much weir's own log tells.
    pub debug: DebugLevel,
    /// `set fingerprints`: the file of operating system fingerprints.
    pub fingerprints: Option<String>,
    /// `set loginterface`: the port whose packets and bytes `-s info` counts.
    pub log_interface: Option<String>,
    /// `set hostid`: the name of this firewall among those that share states; never 0.
    pub host_id: Option<u32>,
    /// `set syncookies`: whether connections are answered without a state.
    pub syncookies: Syncookies,
    /// `set reassemble`: whether fragments wait for the whole datagram.
    pub reassemble: Reassemble,
    /// `set src-conn-count` (weir's addition): what `max-src-conn` counts.
    pub src_conn_count: SrcConnCount,
    /// Where each option was set last.
    pub sources: OptionSources,
}

/// Where options were set last, by the word behind `set` (limits and time-outs by their own names).
/// What no file set is not in it. Options that say the same in other places are equal.
#[derive(Clone, Debug, Default)]
pub struct OptionSources(BTreeMap<&'static str, Source>);

impl OptionSources {
    /// The place of the option, if a file set it.
    pub fn get(&self, name: &str) -> Option<Source> {
        self.0.get(name).copied()
    }

    pub(crate) fn insert(&mut self, name: &'static str, source: Source) {
        self.0.insert(name, source);
    }
}

impl PartialEq for OptionSources {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for OptionSources {}

/// What a bare `block` does with the packet (`set block-policy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlockPolicy {
    /// The packet disappears.
    #[default]
    Drop,
    /// TCP gets a RST, everything else an ICMP unreachable.
    Return,
}

/// Whether states remember the side of their initiator (`set state-policy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatePolicy {
    /// A frame that fits a state only from the wrong side is another flow. The default on a bridge.
    #[default]
    IfBound,
    /// The side is left out of the key.
    Floating,
}

/// `set ruleset-optimization`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RulesetOptimization {
    /// pf would leave the rules as they are.
    None,
    /// pf would remove duplicates, merge rules into tables and sort them.
    #[default]
    Basic,
    /// pf would also look at the counters.
    Profile,
}

impl Named for RulesetOptimization {
    const ALL: &'static [Self] = &[Self::None, Self::Basic, Self::Profile];

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "basic",
            Self::Profile => "profile",
        }
    }
}

/// `set debug`: the levels of syslog(3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DebugLevel {
    /// The system is unusable.
    Emerg,
    /// Something must be done at once.
    Alert,
    /// Critical conditions.
    Crit,
    /// Errors.
    #[default]
    Err,
    /// Warnings.
    Warning,
    /// Normal but notable.
    Notice,
    /// For information.
    Info,
    /// Everything.
    Debug,
}

impl Named for DebugLevel {
    const ALL: &'static [Self] = &[
        Self::Emerg,
        Self::Alert,
        Self::Crit,
        Self::Err,
        Self::Warning,
        Self::Notice,
        Self::Info,
        Self::Debug,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Emerg => "emerg",
            Self::Alert => "alert",
            Self::Crit => "crit",
            Self::Err => "err",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// `set syncookies`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Syncookies {
    /// Every SYN makes a state.
    #[default]
    Never,
    /// No SYN does.
    Always,
    /// From so many half-open states on, until there are few again.
    Adaptive {
        /// Percent of `set limit states` at which it begins; 1 to 100, above `end`.
        start: u8,
        /// Percent of `set limit states` at which it ends.
        end: u8,
    },
}

impl Syncookies {
    /// `start` if it is not written, as in pf.
    pub const DEFAULT_START: u8 = 25;
    /// `end` if it is not written, as in pf.
    pub const DEFAULT_END: u8 = 12;
}

/// `set reassemble`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reassemble {
    /// `yes`.
    pub on: bool,
    /// `no-df`: also datagrams whose fragments say that they must not be fragmented.
    pub no_df: bool,
}

impl Default for Reassemble {
    fn default() -> Self {
        Self { on: true, no_df: false }
    }
}

/// `set src-conn-count`: which connections of a source `max-src-conn` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SrcConnCount {
    /// From the completed handshake until the server's FIN or a valid RST: what the server holds
    /// open.
    #[default]
    Established,
    /// Also those whose handshake is not complete yet.
    Open,
    /// Every state, closing ones too, as pf counts.
    All,
}

impl Named for SrcConnCount {
    const ALL: &'static [Self] = &[Self::Established, Self::Open, Self::All];

    fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Open => "open",
            Self::All => "all",
        }
    }
}
