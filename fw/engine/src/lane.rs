//! Frames between the steps of their [judgement](crate::judge).

use weir_config::options::StatePolicy;

use crate::flow::{FlowKey, Path};
use crate::judge::Verdict;
use crate::link::LinkRules;
use crate::packet::{Fragment, Packet, Transport};
use crate::ruleset::Program;
use crate::state::entry::{Entry, NONE};
use crate::table::Tables;
use crate::time::Instant;

/// A frame between the steps. The slots are reused from batch to batch and filled in place.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) packet: Packet,
    pub(crate) key: FlowKey,
    pub(crate) hash: u64,
    /// The entry that probably is the flow's, or [`NONE`].
    pub(crate) candidate: u32,
    pub(crate) sender_is_lower: bool,
    /// The tag that a layer 2 rule has given, or 0.
    pub(crate) link_tag: u16,
    pub(crate) step: Step,
}

/// What the first step has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Not a frame that rules or states speak about.
    Decided(Verdict),
    /// ARP, or neighbour discovery of a host on the link: passes without a rule.
    Control,
    /// ICMP that neither asks nor reports an error: the rules decide about each one.
    Stateless,
    /// Part of a flow.
    Flow,
    /// Part of a datagram.
    Fragment(Fragment),
}

impl Lane {
    /// An unused slot.
    pub(crate) const BLANK: Self = Self {
        packet: Packet::BLANK,
        key: FlowKey::BLANK,
        hash: 0,
        candidate: NONE,
        sender_is_lower: false,
        link_tag: 0,
        step: Step::Control,
    };

    /// The way of the packets that have this flow's sender: an ICMP error travels against it.
    pub(crate) const fn path(&self) -> Path {
        let path = Path::across(self.packet.port);
        if let Transport::IcmpError(..) = self.packet.transport { path.reversed() } else { path }
    }

    /// The flow's key under a state policy, and whether its sender is the lower endpoint there.
    pub(crate) fn key_under(&self, policy: StatePolicy) -> (FlowKey, bool) {
        if self.key.is_floating() == (policy == StatePolicy::Floating) {
            (self.key, self.sender_is_lower)
        } else {
            self.key.other_policy(self.sender_is_lower, self.path())
        }
    }

    /// Index in a state of the flow of the end that sends.
    #[inline]
    pub(crate) fn sender(&self, state: &Entry) -> usize {
        let own = state.key().is_floating() == self.key.is_floating();
        let other = || self.key.other_policy(self.sender_is_lower, self.path()).1;
        state.sender(if own { self.sender_is_lower } else { other() })
    }

    /// Whether rules will most likely be asked, so that tables were.
    #[inline]
    pub(crate) fn is_new(&self) -> bool {
        match self.step {
            Step::Flow => self.candidate == NONE,
            Step::Stateless => true,
            Step::Decided(_) | Step::Control | Step::Fragment(_) => false,
        }
    }
}

/// What does not change within a batch.
pub(crate) struct Round<'a> {
    pub(crate) now: Instant,
    pub(crate) tick: u32,
    pub(crate) program: &'a Program,
    pub(crate) tables: &'a Tables,
    /// Layer 2, if it has rules or guards.
    pub(crate) link: Option<&'a LinkRules>,
}

/// A packet that is being judged.
#[derive(Clone, Copy)]
pub(crate) struct Arrival<'a> {
    pub(crate) round: &'a Round<'a>,
    /// Number of its frame in the batch.
    pub(crate) i: usize,
    /// What the first steps have found out about it.
    pub(crate) lane: &'a Lane,
    /// What it is now: a SYN may have lost its Fast Open since.
    pub(crate) packet: &'a Packet,
}

impl<'a> Arrival<'a> {
    /// The packet of frame `i`, as it came.
    #[inline]
    pub(crate) const fn new(round: &'a Round<'a>, i: usize, lane: &'a Lane) -> Self {
        Self { round, i, lane, packet: &lane.packet }
    }
}
