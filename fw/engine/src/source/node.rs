//! What is known of one source.

use std::sync::Arc;
use std::time::Duration;

use weir_config::options::Options;
use weir_config::rules::SourceTrack;

use super::limits::RuleLimits;
use crate::packet::{Address, Network};
use crate::reason::Reason;
use crate::ruleset::meters::Meter;
use crate::state::entry::NONE;
use crate::time::Instant;

/// Whom a node counts for.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) address: Address,
    pub(super) network: Network,
    /// The rule that counts by itself; `None`: all rules with `source-track global`.
    pub(super) rule: Option<Arc<RuleLimits>>,
}

impl Source {
    /// The source as a rule counts it.
    pub(super) fn new(address: Address, network: Network, rule: &Arc<RuleLimits>) -> Self {
        let by_itself = rule.track == Some(SourceTrack::Rule);
        Self { address, network, rule: by_itself.then(|| Arc::clone(rule)) }
    }

    /// For the hash; the place of the limits in memory tells rules apart.
    pub(super) fn tracker(&self) -> u64 {
        self.rule.as_ref().map_or(0, |rule| Arc::as_ptr(rule).addr() as u64)
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        let same_rule = match (&self.rule, &other.rule) {
            (None, None) => true,
            (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs),
            _ => false,
        };
        self.address == other.address && self.network == other.network && same_rule
    }
}

/// A place for a source.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(super) struct Node {
    /// `None`: the place is free.
    pub(super) source: Option<Source>,
    pub(super) hash: u64,
    /// The next of its chain.
    pub(super) next: u32,
    /// It is in its chain: the next packet of the source finds it.
    pub(super) linked: bool,
    /// It was reported for `overload`, and nothing of it is admitted until that is done.
    pub(super) barred: bool,
    /// One of its connections has acknowledged what its server has sent.
    pub(super) heard: bool,
    /// The limit that it has exceeded, if that was not reported.
    pub(super) surplus: Option<(Arc<RuleLimits>, Reason)>,
    /// It has completed a handshake.
    pub(super) connected: bool,
    pub(super) states: u32,
    pub(super) connections: u32,
    pub(super) meter: Meter,
    pub(super) created: Instant,
    /// When it is forgotten if it has no states.
    pub(super) expires: Instant,
    /// Seconds from its last state until then.
    linger: u32,
    /// Of states that have ended.
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl Node {
    /// A free place.
    pub(super) fn free() -> Self {
        Self {
            source: None,
            hash: 0,
            next: NONE,
            linked: false,
            barred: false,
            heard: false,
            surplus: None,
            connected: false,
            states: 0,
            connections: 0,
            meter: Meter::default(),
            created: Instant::default(),
            expires: Instant::default(),
            linger: 0,
            packets: 0,
            bytes: 0,
        }
    }

    /// The node of a source that was not known, without states.
    pub(super) fn of(source: Source, hash: u64, next: u32, now: Instant) -> Self {
        let (source, linked) = (Some(source), true);
        Self { source, hash, next, linked, created: now, expires: now, ..Self::free() }
    }

    /// Whether it has no states and its time is over.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.states == 0 && self.expires <= now
    }

    /// Whether forgetting it forgives nothing: it has no states, and its connections are too long
    /// ago to count for a rate.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let rate = self.source.as_ref().and_then(|source| source.rule.as_ref()?.rate);
        let faded = rate.is_none_or(|rate| self.meter.tenths(rate, now) == 0);
        self.is_over(now) || self.states == 0 && faded
    }

    /// Whether it may be forgotten at once when its last state ends.
    pub(super) const fn leaves_nothing(&self) -> bool {
        !self.linked || !self.barred && (self.linger == 0 || !self.connected)
    }

    /// Counts a state in, with `half_open` as a connection, or says which limit of the rule forbids
    /// it.
    pub(super) fn admit(
        &mut self,
        rule: &RuleLimits,
        options: &Options,
        half_open: bool,
        now: Instant,
    ) -> Result<(), Reason> {
        let reached = |limit: Option<u32>, count: u32| limit.is_some_and(|limit| count >= limit);
        if self.barred {
            return Err(Reason::Overloaded);
        }
        if reached(rule.max_src_states, self.states) {
            return Err(Reason::MaxSrcStates);
        }
        if half_open && reached(rule.max_src_conn, self.connections) {
            return Err(Reason::MaxSrcConn);
        }
        if self.is_over(now) {
            // Its time was over, but nobody has come by to see that.
            (self.created, self.meter, self.connected) = (now, Meter::default(), false);
            (self.packets, self.bytes) = (0, 0);
            (self.heard, self.surplus) = (false, None);
        }
        self.states += 1;
        self.connections += u32::from(half_open);
        self.linger = rule.linger(options);
        Ok(())
    }

    /// Counts a completed handshake; `counted` says that the connection has its place already. Says
    /// which limit forbids it; it has counted for the rate even so, as in pf.
    pub(super) fn connect(
        &mut self,
        rule: &RuleLimits,
        counted: bool,
        now: Instant,
    ) -> Result<(), Reason> {
        self.connected = true;
        let within_rate = rule.rate.is_none_or(|rate| self.meter.admit(rate, now));
        let others = self.connections - u32::from(counted).min(self.connections);
        if self.barred {
            return Err(Reason::Overloaded);
        }
        if rule.max_src_conn.is_some_and(|most| others >= most) {
            return Err(Reason::MaxSrcConn);
        }
        if !within_rate {
            return Err(Reason::MaxSrcConnRate);
        }
        self.connections = others + 1;
        Ok(())
    }

    /// Counts a connection out.
    pub(super) const fn disconnect(&mut self) {
        self.connections = self.connections.saturating_sub(1);
    }

    /// Counts a state out; `true` if it was the last.
    pub(super) fn release(&mut self, connected: bool, traffic: [u64; 2], now: Instant) -> bool {
        debug_assert!(self.states > 0, "a state gives back what it has taken once");
        self.states = self.states.saturating_sub(1);
        if connected {
            self.disconnect();
        }
        self.packets += traffic[0];
        self.bytes += traffic[1];
        self.expires = now.after(Duration::from_secs(self.linger.into()));
        self.states == 0
    }
}
