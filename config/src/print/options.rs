//! `set` lines as -v echoes them.

use std::fmt::{self, Display, Formatter};

use crate::options::{
    BlockPolicy, Limit, Limits, Named, Options, Reassemble, StatePolicy, Syncookies, Timeout,
    Timeouts,
};

impl Display for BlockPolicy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drop => "drop",
            Self::Return => "return",
        })
    }
}

impl Display for StatePolicy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IfBound => "if-bound",
            Self::Floating => "floating",
        })
    }
}

/// As pfctl has it, with the blank at the end if there is no `no-df`.
impl Display for Reassemble {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let on = if self.on { "yes" } else { "no" };
        write!(f, "{on} {}", if self.no_df { "no-df" } else { "" })
    }
}

impl Display for Syncookies {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::Always => f.write_str("always"),
            Self::Adaptive { start, end } => write!(f, "adaptive (start {start}%, end {end}%)"),
        }
    }
}

/// `set` lines for everything that is not the default, each with its newline.
impl Display for Options {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let usual = Self::default();
        for &limit in Limit::ALL {
            let value = self.limits.get(limit);
            if value != Limits::default().get(limit) {
                writeln!(f, "set limit {} {value}", limit.name())?;
            }
        }
        if self.optimization != usual.optimization {
            writeln!(f, "set optimization {}", self.optimization.name())?;
        }
        let mut timeouts = Timeouts::default();
        timeouts.follow(self.optimization);
        timeouts.follow_limit(self.limits.states);
        for timeout in Timeout::ALL {
            let value = self.timeouts.get(timeout);
            if value != timeouts.get(timeout) {
                writeln!(f, "set timeout {timeout} {value}")?;
            }
        }
        if self.ruleset_optimization != usual.ruleset_optimization {
            writeln!(f, "set ruleset-optimization {}", self.ruleset_optimization.name())?;
        }
        if self.block_policy != usual.block_policy {
            writeln!(f, "set block-policy {}", self.block_policy)?;
        }
        if self.state_policy != usual.state_policy {
            writeln!(f, "set state-policy {}", self.state_policy)?;
        }
        if self.debug != usual.debug {
            writeln!(f, "set debug {}", self.debug.name())?;
        }
        if let Some(file) = &self.fingerprints {
            writeln!(f, "set fingerprints \"{file}\"")?;
        }
        if let Some(interface) = &self.log_interface {
            writeln!(f, "set loginterface {interface}")?;
        }
        if let Some(id) = self.host_id {
            writeln!(f, "set hostid {id:#010x}")?;
        }
        if self.syncookies != usual.syncookies {
            writeln!(f, "set syncookies {}", self.syncookies)?;
        }
        if self.reassemble != usual.reassemble {
            writeln!(f, "set reassemble {}", self.reassemble)?;
        }
        if self.src_conn_count != usual.src_conn_count {
            writeln!(f, "set src-conn-count {}", self.src_conn_count.name())?;
        }
        if !self.skip.is_empty() {
            writeln!(f, "set skip on {{ {} }}", self.skip.join(" "))?;
        }
        self.link.fmt(f)
    }
}
