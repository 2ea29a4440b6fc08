//! What a rule allows its states and their sources, and what it has refused. Shared by all workers;
//! a rule that is the same after a reload keeps it, as it keeps its [`Meter`].
//!
//! [`Meter`]: crate::ruleset::meters::Meter

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use weir_config::options::{Options, Timeout};
use weir_config::rules::{OverloadFlush, Rate, Rule, SourceTrack};

use crate::reason::Reason;
use crate::state::wheel::TICKS_PER_SECOND;

/// The reasons that a rule counts by itself, in pf's order (`LCNT_*`), and weir's own.
const REASONS: [Reason; 8] = [
    Reason::MaxStates,
    Reason::MaxSrcStates,
    Reason::MaxSrcNodes,
    Reason::MaxSrcConn,
    Reason::MaxSrcConnRate,
    Reason::Overloaded,
    Reason::MaxIdle,
    Reason::MinRate,
];

/// The limits of one rule.
#[derive(Debug)]
pub struct RuleLimits {
    max: Option<u32>,
    max_src_nodes: Option<u32>,
    pub(super) max_src_states: Option<u32>,
    pub(super) max_src_conn: Option<u32>,
    pub(super) rate: Option<Rate>,
    /// Who counts together; `None`: sources are not tracked.
    pub(super) track: Option<SourceTrack>,
    /// Ticks without progress that end a connection.
    max_idle: Option<u32>,
    /// Bytes of progress that a connection must make, in how many seconds.
    min_rate: Option<Rate>,
    /// What happens to the states of a source that goes into the table.
    overload: Option<OverloadFlush>,
    /// The rule's own `src.track`, in seconds.
    src_track: Option<u32>,
    states: AtomicU32,
    nodes: AtomicU32,
    refused: [AtomicU64; REASONS.len()],
}

impl RuleLimits {
    /// Those of a rule, if it has any.
    pub(crate) fn of(rule: &Rule) -> Option<Self> {
        let options = &rule.state_options;
        let limited = options.max.is_some() || options.source_track.is_some();
        if !limited && options.max_idle.is_none() && options.min_rate.is_none() {
            return None;
        }
        let own = options.timeouts.iter().find(|(timeout, _)| *timeout == Timeout::SrcTrack);
        Some(Self {
            max: options.max,
            max_src_nodes: options.max_src_nodes,
            max_src_states: options.max_src_states,
            max_src_conn: options.max_src_conn,
            rate: options.max_src_conn_rate,
            track: options.source_track,
            max_idle: options.max_idle.map(|seconds| seconds.saturating_mul(TICKS_PER_SECOND)),
            min_rate: options.min_rate,
            overload: options.overload.as_ref().map(|overload| overload.flush),
            src_track: own.map(|&(_, seconds)| seconds),
            states: AtomicU32::new(0),
            nodes: AtomicU32::new(0),
            refused: Default::default(),
        })
    }

    /// Whether it limits connections, so that each handshake is looked at.
    pub(crate) const fn counts_connections(&self) -> bool {
        self.max_src_conn.is_some() || self.rate.is_some()
    }

    /// `max-idle`, in ticks.
    pub(crate) const fn max_idle(&self) -> Option<u32> {
        self.max_idle
    }

    /// `min-rate`, in bytes.
    pub(crate) const fn min_rate(&self) -> Option<Rate> {
        self.min_rate
    }

    /// What `overload` says, if it stands there.
    pub const fn overload(&self) -> Option<OverloadFlush> {
        self.overload
    }

    /// Whether it tracks sources.
    pub(crate) const fn tracks(&self) -> bool {
        self.track.is_some()
    }

    /// Seconds that a source is remembered after its last state.
    pub(super) fn linger(&self, options: &Options) -> u32 {
        self.src_track.unwrap_or_else(|| options.timeouts.get(Timeout::SrcTrack))
    }

    /// Takes a place among the states of the rule.
    pub(crate) fn reserve_state(&self) -> bool {
        reserve(&self.states, self.max)
    }

    /// Gives it back.
    pub(crate) fn release_state(&self) {
        self.states.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes a place among the sources of the rule.
    pub(super) fn reserve_node(&self) -> bool {
        reserve(&self.nodes, self.max_src_nodes)
    }

    /// Gives it back.
    pub(super) fn release_node(&self) {
        self.nodes.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a refusal.
    pub(crate) fn refuse(&self, reason: Reason) {
        if let Some(at) = REASONS.iter().position(|&counted| counted == reason) {
            self.refused[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often each limit has refused something since the last [`RuleLimits::clear`].
    pub fn refused(&self) -> impl Iterator<Item = (Reason, u64)> {
        let counts = self.refused.each_ref().map(|count| count.load(Ordering::Relaxed));
        REASONS.into_iter().zip(counts)
    }

    /// Sets these counters to zero.
    pub fn clear(&self) {
        self.refused.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }
}

/// Takes one of `limit` places.
fn reserve(taken: &AtomicU32, limit: Option<u32>) -> bool {
    let limit = limit.unwrap_or(u32::MAX);
    taken
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            (taken < limit).then_some(taken + 1)
        })
        .is_ok()
}
