//! What a rule says about state, as pfctl prints it.

use std::fmt::{self, Display, Formatter};

use crate::options::Timeout;
use crate::rules::{
    Action, KeepState, Overload, OverloadFlush, Rate, Rule, SourceTrack, StateOptions,
};

impl Rule {
    /// `keep state` is implied and only printed with options; `probability` stands between the two.
    pub(super) fn print_state(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let options = *self.state_options != StateOptions::default();
        f.write_str(match self.state {
            KeepState::No if self.action == Action::Pass => " no state",
            KeepState::Keep if options => " keep state",
            KeepState::No | KeepState::Keep => "",
            KeepState::Modulate => " modulate state",
            KeepState::Synproxy => " synproxy state",
        })?;
        if let Some(probability) = self.probability {
            write!(f, " probability {probability}")?;
        }
        if options { write!(f, " ({})", self.state_options) } else { Ok(()) }
    }
}

/// What stands in the parentheses of `keep state (...)`.
impl Display for StateOptions {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut between = "";
        let mut one = |f: &mut Formatter<'_>, option: fmt::Arguments<'_>| {
            write!(f, "{between}{option}")?;
            between = ", ";
            Ok(())
        };
        if let Some(max) = self.max {
            one(f, format_args!("max {max}"))?;
        }
        if self.no_sync {
            one(f, format_args!("no-sync"))?;
        }
        match self.source_track {
            Some(SourceTrack::Rule) => one(f, format_args!("source-track rule"))?,
            Some(SourceTrack::Global) => one(f, format_args!("source-track global"))?,
            None => {}
        }
        if let Some(max) = self.max_src_states {
            one(f, format_args!("max-src-states {max}"))?;
        }
        if let Some(max) = self.max_src_conn {
            one(f, format_args!("max-src-conn {max}"))?;
        }
        if let Some(rate) = self.max_src_conn_rate {
            one(f, format_args!("max-src-conn-rate {rate}"))?;
        }
        if let Some(max) = self.max_src_nodes {
            one(f, format_args!("max-src-nodes {max}"))?;
        }
        if let Some(overload) = &self.overload {
            one(f, format_args!("{overload}"))?;
        }
        if let Some(seconds) = self.max_idle {
            one(f, format_args!("max-idle {seconds}"))?;
        }
        if let Some(rate) = self.min_rate {
            one(f, format_args!("min-rate {rate}"))?;
        }
        if let Some(policy) = self.policy {
            one(f, format_args!("{policy}"))?;
        }
        if self.sloppy {
            one(f, format_args!("sloppy"))?;
        }
        if self.pflow {
            one(f, format_args!("pflow"))?;
        }
        // pf's numbers of the time-outs have `tcp.tsdiff` at the end.
        let last = |timeout: &Timeout| *timeout == Timeout::TcpTsDiff;
        let ordered = self.timeouts.iter().filter(|(timeout, _)| !last(timeout));
        for (timeout, value) in ordered.chain(self.timeouts.iter().filter(|(at, _)| last(at))) {
            one(f, format_args!("{timeout} {value}"))?;
        }
        Ok(())
    }
}

impl Display for Rate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.seconds)
    }
}

impl Display for Overload {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "overload <{}>", self.table)?;
        f.write_str(match self.flush {
            OverloadFlush::No => "",
            OverloadFlush::Rule => " flush",
            OverloadFlush::Global => " flush global",
        })
    }
}
