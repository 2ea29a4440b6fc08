//! Datagrams in fragments: judged whole, forwarded as they came (pf.conf(5), FRAGMENT HANDLING).
//!
//! A fragment goes to the worker that gathers what these two hosts send to each other
//! ([`FlowKey::of_fragments`]) and waits there, its frame held by whoever moves frames. When the last
//! byte is there the datagram is judged like a packet, by the worker that owns its flow: all its
//! fragments, in the order in which they came, are released to the verdict, or handed over together
//! and judged there. With `set reassemble no` each fragment is judged for itself, by rules that need
//! no more than its IP header.
//!
//! What a host could put together otherwise than weir has judged it is never let through: a datagram
//! whose fragments overlap is dropped, and whatever comes later of it (RFC 5722), of IPv4 too; only a
//! fragment that comes again, byte for byte the same, does no harm. Headers have to be in the first
//! fragment (`packet/fragment.rs`). Memory is bounded in [`cache`].

mod cache;
mod release;
mod whole;

use std::time::Duration;

use weir_config::options::{Limit, Timeout};
use weir_config::rules::Direction;

use self::cache::{Cache, Fit, Gathered, MAX_PARTS, Part};
pub use self::release::Releases;
use self::whole::Whole;
use crate::effects::Effects;
use crate::engine::Engine;
use crate::flow::{FlowKey, Path};
use crate::frame::{Frames, PortIndex};
use crate::judge::Verdict;
use crate::lane::{Arrival, Lane, Round, Step};
use crate::log::LogSink;
use crate::normalise::raise_ttl;
use crate::outcome::Outcome;
use crate::packet::ipv4::{self, Ipv4, Ipv4Mut};
use crate::packet::{Fragment, Network, Packet, Transport, icmp};
use crate::reason::Reason;
use crate::ruleset::Program;
use crate::time::Instant;

/// Datagrams that are given up in one round at most.
const EXPIRY_BUDGET: usize = 64;

/// What a worker has to do with fragments.
pub(crate) struct Fragments {
    cache: Cache,
    releases: Releases,
    /// The batch at hand has brought fragments that are held.
    fresh: bool,
    /// Scratch: the fragments of the datagram being judged, by offset.
    parts: Vec<Part>,
    /// What was done to the first of them.
    pub(crate) effects: Effects,
    /// What its time to live was raised to, 0 if it was not.
    pub(crate) least_ttl: u8,
}

impl Fragments {
    pub(crate) fn new() -> Self {
        Self {
            cache: Cache::new(Engine::FRAGMENTS),
            releases: Releases::with_capacity(Engine::FRAGMENTS as usize + Engine::BATCH),
            fresh: false,
            parts: Vec::with_capacity(MAX_PARTS),
            effects: Effects::NONE,
            least_ttl: 0,
        }
    }
}

/// What a fragment has done for its datagram.
enum Progress {
    /// It waits in this slot.
    Waits(u32),
    /// In this slot it was the last that was missing of this datagram.
    Completes(u32, u32),
}

impl Engine {
    /// Frames that an engine wants held at a time, at most. Those of more than
    /// [`Engine::FRAGMENT_UNIT`] bytes count for each so many that they begin.
    pub const FRAGMENTS: u32 = 4096;
    /// Bytes of a held frame that count as one.
    pub const FRAGMENT_UNIT: u32 = 2048;

    /// What has become of held frames since the last call: to be asked after each
    /// [`Engine::judge`] and [`Engine::advance`]. What was in `releases` is forgotten.
    pub fn take_releases(&mut self, releases: &mut Releases) {
        releases.clear();
        std::mem::swap(&mut self.fragments.releases, releases);
    }

    /// The first step for a fragment.
    pub(crate) fn place_fragment(
        &mut self,
        round: &Round<'_>,
        packet: &Packet,
        fragment: &Fragment,
        gathered: bool,
    ) -> Step {
        if let Some(reason) = round.program.refuses_fragment(packet) {
            return Step::Decided(self.block(packet, Direction::In, reason));
        }
        if !round.program.gathers(packet) {
            return Step::Stateless;
        }
        let hosts = FlowKey::of_fragments(packet, None);
        match self.owner(&hosts, hosts.hash(self.key)) {
            other if other != self.worker && !gathered => Step::Decided(Verdict::Handover(other)),
            _ => Step::Fragment(*fragment),
        }
    }

    /// A fragment of a datagram that is gathered here.
    pub(crate) fn collect<F: Frames, L: LogSink>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        fragment: &Fragment,
        log: &mut L,
    ) -> Verdict {
        let &Arrival { round, i, packet, .. } = arrival;
        if fragment.dont_fragment {
            allow_fragments(frames.head_mut(i), packet);
        }
        match self.gather(arrival, frames, fragment) {
            Ok(Progress::Waits(slot)) => Verdict::Hold(slot),
            Ok(Progress::Completes(slot, datagram)) => {
                self.complete(round, frames, i, datagram, log);
                Verdict::Hold(slot)
            }
            Err(reason) => {
                self.note(reason);
                self.block(packet, Direction::In, reason)
            }
        }
    }

    /// Puts a fragment to the others of its datagram. Fails with the reason to drop it.
    fn gather<F: Frames>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &F,
        fragment: &Fragment,
    ) -> Result<Progress, Reason> {
        let &Arrival { round, i, lane, packet } = arrival;
        let key = FlowKey::of_fragments(packet, Some(fragment));
        let hash = key.hash(self.key);
        let known = self.fragments.cache.find(&key, packet.session, hash);
        if let Some(datagram) = known {
            self.fit(frames, i, datagram, fragment)?;
        }
        let units = Cache::units(frames.meta(i).length);
        let source = FlowKey::of_source(packet).hash(self.key) as u8;
        let limit = round.program.options().limits.get(Limit::Frags);
        while !self.fragments.cache.has_room(units, limit, source, known.is_none())
            || !self.shared.pool(Limit::Frags).reserve(limit)
        {
            let victim = self.fragments.cache.victim(units, limit, source);
            let victim = victim.ok_or(Reason::FragLimit)?;
            self.drop_all(victim, Reason::FragLimit, i);
            self.fragments.cache.remove(victim);
            if known == Some(victim) {
                return Err(Reason::FragLimit);
            }
        }
        let cache = &mut self.fragments.cache;
        let datagram =
            known.unwrap_or_else(|| cache.begin(key, packet.session, hash, source, round.now));
        let slot = cache.add(datagram, *fragment, units, i);
        let link_tag = (fragment.offset == 0).then_some(lane.link_tag);
        cache.note(datagram, packet.length, packet.options, link_tag);
        self.fragments.fresh = true;
        Ok(if cache.is_whole(datagram) {
            Progress::Completes(slot, datagram)
        } else {
            Progress::Waits(slot)
        })
    }

    /// Whether a fragment fits to what is there of its datagram. If it contradicts that, the datagram
    /// ends here.
    fn fit<F: Frames>(
        &mut self,
        frames: &F,
        i: usize,
        datagram: u32,
        fragment: &Fragment,
    ) -> Result<(), Reason> {
        let cache = &self.fragments.cache;
        if let Some(reason) = cache.refusal(datagram) {
            return Err(reason);
        }
        let reason = match cache.fit(datagram, fragment) {
            Fit::Fits => return Ok(()),
            Fit::Same(slot) => {
                let Fragment { data, length, .. } = *fragment;
                let again = Part { slot, at: i as u32, data, length };
                if is_same(frames, &cache.part(slot), &again) {
                    return Err(Reason::FragDuplicate);
                }
                Reason::FragOverlap
            }
            Fit::Overlaps => Reason::FragOverlap,
            Fit::TooMany => Reason::FragMany,
        };
        self.drop_all(datagram, reason, i);
        self.fragments.cache.refuse(datagram, reason);
        Err(reason)
    }

    /// Releases all fragments of a datagram to be dropped.
    fn drop_all(&mut self, datagram: u32, reason: Reason, before: usize) {
        let Fragments { cache, releases, .. } = &mut self.fragments;
        let Gathered { key, count, bytes, .. } = cache.gathered(datagram);
        releases.push(before, Verdict::Drop(reason), cache.arrivals(datagram));
        self.counters.reasons[reason as usize] += u64::from(count);
        self.shared.pool(Limit::Frags).release_some(count);
        let family = usize::from(key.network() == Network::Ipv6);
        let tally = self.tally(family, key.sender_port(), Direction::In, Outcome::Blocked);
        tally.packets += u64::from(count);
        tally.bytes += u64::from(bytes);
    }

    /// Judges a datagram that is whole, and releases its fragments to the verdict.
    fn complete<F: Frames, L: LogSink>(
        &mut self,
        round: &Round<'_>,
        frames: &mut F,
        i: usize,
        datagram: u32,
        log: &mut L,
    ) {
        let mut parts = std::mem::take(&mut self.fragments.parts);
        parts.clear();
        parts.extend(self.fragments.cache.parts(datagram));
        let gathered = self.fragments.cache.gathered(datagram);
        (self.fragments.effects, self.fragments.least_ttl) = (Effects::NONE, 0);
        let mut whole = Whole { frames, parts: &parts };
        let before = self.deciding.noted(0);
        let verdict = self.judge_whole(round, &mut whole, &gathered, log);
        self.deciding.move_first(before, i);
        let others = u64::from(gathered.count - 1);
        match verdict {
            Verdict::Forward(_) => self.change_all(frames, &parts),
            Verdict::Drop(reason) | Verdict::Reflect(reason) => {
                self.counters.reasons[reason as usize] += others;
            }
            Verdict::Handover(_) => self.counters.handed_over += others,
            // Datagrams in fragments are not answered.
            Verdict::Hold(_) | Verdict::Answer => {}
        }
        let Fragments { cache, releases, .. } = &mut self.fragments;
        let slots = cache.arrivals(datagram);
        if let Verdict::Reflect(reason) = verdict {
            // The answer is where the first fragment was.
            let first = parts[0].slot;
            releases.push(i + 1, verdict, std::iter::once(first));
            releases.push(i + 1, Verdict::Drop(reason), slots.filter(|&slot| slot != first));
        } else {
            releases.push(i + 1, verdict, slots);
        }
        cache.remove(datagram);
        self.shared.pool(Limit::Frags).release_some(gathered.count);
        self.fragments.parts = parts;
    }

    /// The verdict on a whole datagram.
    fn judge_whole<F: Frames, L: LogSink>(
        &mut self,
        round: &Round<'_>,
        whole: &mut Whole<'_, F>,
        gathered: &Gathered,
        log: &mut L,
    ) -> Verdict {
        let mut lane = Lane::BLANK;
        lane.link_tag = gathered.link_tag;
        let first = whole.parts[0].frame();
        let data = whole.parts.iter().map(|part| u32::from(part.length)).sum();
        lane.packet.port = gathered.key.sender_port();
        // The fragment was parsed when it came: only what the datagram says can be wrong.
        let parsed = Packet::parse(whole.frames.head(first), &whole.frames.meta(first))
            .and_then(|fragment| fragment.whole(whole.head(0), data))
            .and_then(|mut packet| {
                packet.options |= gathered.options;
                lane.packet = packet;
                if is_discovery(&packet) { Err(Reason::FragDiscovery) } else { Ok(()) }
            })
            .map_err(|reason| (Direction::In, reason));
        let objection = |link: &crate::link::LinkRules| link.object(&lane.packet, whole.head(0));
        match parsed.and_then(|()| round.link.map_or(Ok(()), objection)) {
            Err((direction, reason)) => {
                lane.step = Step::Decided(self.block(&lane.packet, direction, reason));
            }
            Ok(()) => self.place(round, &mut lane),
        }
        if lane.step == Step::Flow {
            lane.candidate = self.table.candidate(lane.hash);
        }
        // The answers for the batch's frames up to this one have served.
        self.ask_tables(round, std::slice::from_ref(&lane));
        self.decide(&Arrival::new(round, 0, &lane), whole, log)
    }

    /// Does to all fragments what was done to the first.
    fn change_all<F: Frames>(&mut self, frames: &mut F, parts: &[Part]) {
        let (effects, least_ttl) = (self.fragments.effects, self.fragments.least_ttl);
        if effects.is_none() && least_ttl == 0 {
            return;
        }
        let id = self.chance.next() as u16;
        for (number, part) in parts.iter().enumerate() {
            let i = part.frame();
            let Ok(packet) = Packet::parse(frames.head(i), &frames.meta(i)) else { continue };
            if number > 0 {
                effects.apply(&packet, frames, i, &mut self.chance);
                raise_ttl(frames.head_mut(i), &packet, least_ttl);
            }
            if effects.has_random_id()
                && packet.network == Network::Ipv4
                && let Some(mut header) =
                    Ipv4Mut::new(frames.head_mut(i), packet.network_offset.into())
            {
                header.set_identification(id);
            }
        }
    }

    /// After a batch: the frames that were held from it are now where held frames are.
    pub(crate) fn settle_fragments(&mut self, verdicts: &[Verdict]) {
        if !std::mem::take(&mut self.fragments.fresh) {
            return;
        }
        for verdict in verdicts {
            if let Verdict::Hold(slot) = *verdict {
                self.fragments.cache.settle(slot);
            }
        }
    }

    /// Gives up all datagrams that are not whole, as when the frames that are held cannot stay where
    /// they are: [`Engine::take_releases`] has them all.
    pub fn forget_fragments(&mut self, now: Instant) {
        while let Some(datagram) = self.fragments.cache.expired(now, Duration::ZERO) {
            self.drop_all(datagram, Reason::FragTimeout, 0);
            self.fragments.cache.remove(datagram);
        }
    }

    /// Gives up datagrams whose time is over; without a program, all. Whether there may be more.
    pub(crate) fn expire_fragments(&mut self, now: Instant) -> bool {
        let seconds = |program: &Program| program.options().timeouts.get(Timeout::Frag).into();
        let timeout = Duration::from_secs(self.program.as_deref().map_or(0, seconds));
        for _ in 0..EXPIRY_BUDGET {
            let Some(datagram) = self.fragments.cache.expired(now, timeout) else {
                return false;
            };
            self.drop_all(datagram, Reason::FragTimeout, 0);
            self.fragments.cache.remove(datagram);
        }
        true
    }
}

impl Program {
    /// Why a fragment is dropped that contradicts itself: it may not be one (pf.conf(5), `set
    /// reassemble`). `None` for all other packets.
    pub fn refuses_fragment(&self, packet: &Packet) -> Option<Reason> {
        let Transport::Fragment(fragment) = packet.transport else { return None };
        let refused = fragment.dont_fragment && !self.options().reassemble.no_df;
        (refused && !self.skips(Path::across(packet.port))).then_some(Reason::FragDf)
    }

    /// Whether a packet is a fragment that waits for the rest of its datagram.
    pub fn gathers(&self, packet: &Packet) -> bool {
        matches!(packet.transport, Transport::Fragment(_))
            && self.options().reassemble.on
            && !self.skips(Path::across(packet.port))
    }
}

/// Whether two fragments carry the same bytes.
fn is_same<F: Frames>(frames: &F, one: &Part, other: &Part) -> bool {
    let [one, other] = [one, other].map(|part| whole::data(frames, part).flatten());
    one.eq(other)
}

/// Clears "don't fragment".
pub(crate) fn allow_fragments(head: &mut [u8], packet: &Packet) {
    let at = usize::from(packet.network_offset);
    let Ok(field) = Ipv4::new(head, at, head.len()).map(|header| header.fragment()) else { return };
    if let Some(mut header) = Ipv4Mut::new(head, at) {
        header.set_fragment(field & !ipv4::DONT_FRAGMENT);
    }
}

/// Neighbour and router discovery, redirects included.
fn is_discovery(packet: &Packet) -> bool {
    use icmp::v6::{REDIRECT, ROUTER_SOLICITATION};
    matches!(packet.transport, Transport::IcmpOther(icmp)
        if packet.network == Network::Ipv6
            && (ROUTER_SOLICITATION..=REDIRECT).contains(&icmp.kind))
}

impl FlowKey {
    /// The port that fragments with this key come in by.
    const fn sender_port(&self) -> PortIndex {
        PortIndex(self.sides >> 3 & 7)
    }
}
