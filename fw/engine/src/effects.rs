//! What matching rules want done to a packet beyond passing it, gathered from `match` rules and the
//! deciding one (pf.conf(5), `set`, TRAFFIC NORMALISATION): what comes later replaces what came
//! before.

use weir_config::rules::Rule;

use crate::chance::Chance;
use crate::frame::{Checksum, Frames, Meta, PortIndex};
use crate::packet::ipv4::{self, Ipv4, Ipv4Mut};
use crate::packet::ipv6::Ipv6Mut;
use crate::packet::{ECN, Network, Packet, Transport, checksum, ethernet, tcp};

/// `lowdelay` (RFC 791).
const LOW_DELAY: u8 = 0x10;
/// No priority in [`Effects::prio`].
const KEEP: u8 = 0xff;

/// MSS options that 40 bytes of TCP options can hold.
const MAX_OFFERS: usize = 10;

/// Changes to make, small enough to be kept with a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effects {
    /// `max-mss`; 0 for none.
    max_mss: u16,
    /// `set tos`, if [`SET_TOS`].
    tos: u8,
    /// `set prio`: low half for most, high half for ACKs and `lowdelay`; [`KEEP`] for none.
    prio: u8,
    /// `min-ttl`; 0 for none.
    min_ttl: u8,
    flags: u8,
}

const SET_TOS: u8 = 1;
const NO_DF: u8 = 2;
const RANDOM_ID: u8 = 4;
const REASSEMBLE_TCP: u8 = 8;

impl Default for Effects {
    fn default() -> Self {
        Self::NONE
    }
}

impl Effects {
    /// Nothing to do.
    pub(crate) const NONE: Self = Self { max_mss: 0, tos: 0, prio: KEEP, min_ttl: 0, flags: 0 };

    /// What one rule asks for.
    pub(crate) fn of(rule: &Rule) -> Self {
        let mut effects = Self::NONE;
        if let Some(tos) = rule.set.tos {
            (effects.tos, effects.flags) = (tos, SET_TOS);
        }
        if let Some((most, urgent)) = rule.set.prio {
            effects.prio = most & 7 | (urgent.unwrap_or(most) & 7) << 4;
        }
        effects.flags |= if rule.scrub.no_df { NO_DF } else { 0 };
        effects.flags |= if rule.scrub.random_id { RANDOM_ID } else { 0 };
        effects.flags |= if rule.scrub.reassemble_tcp { REASSEMBLE_TCP } else { 0 };
        effects.min_ttl = rule.scrub.min_ttl.unwrap_or(0);
        effects.max_mss = rule.scrub.max_mss.unwrap_or(0);
        effects
    }

    /// Adds what a rule that matched later asks for.
    pub(crate) fn add(&mut self, later: Self) {
        if later.flags & SET_TOS != 0 {
            self.tos = later.tos;
        }
        if later.prio != KEEP {
            self.prio = later.prio;
        }
        if later.min_ttl != 0 {
            self.min_ttl = later.min_ttl;
        }
        if later.max_mss != 0 {
            self.max_mss = later.max_mss;
        }
        self.flags |= later.flags;
    }

    /// Whether the datagram gets another id.
    pub(crate) const fn has_random_id(self) -> bool {
        self.flags & RANDOM_ID != 0
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Whether segments of TCP are to be looked at by the [`normaliser`](crate::normalise).
    pub(crate) const fn reassembles_tcp(self) -> bool {
        self.flags & REASSEMBLE_TCP != 0
    }

    /// As a number, to be kept with a state.
    pub(crate) const fn pack(self) -> u64 {
        u64::from_le_bytes([
            self.max_mss as u8,
            (self.max_mss >> 8) as u8,
            self.tos,
            self.prio,
            self.min_ttl,
            self.flags,
            0,
            0,
        ])
    }

    /// From [`Effects::pack`].
    pub(crate) const fn unpack(packed: u64) -> Self {
        let [low, high, tos, prio, min_ttl, flags, _, _] = packed.to_le_bytes();
        Self { max_mss: u16::from_le_bytes([low, high]), tos, prio, min_ttl, flags }
    }

    /// `max-mss` in bytes; 0 for none.
    pub(crate) const fn max_mss(self) -> u16 {
        self.max_mss
    }

    /// Changes a whole frame that weir has made itself, for this port; what it says of the maximum
    /// segment size is right already.
    pub(crate) fn apply_to_crafted(self, port: PortIndex, frame: &mut [u8], chance: &mut Chance) {
        let length = frame.len() as u32;
        let meta = Meta { port, checksum: Checksum::Valid, gso_size: 0, length };
        if let Ok(packet) = Packet::parse(frame, &meta) {
            self.apply_to_headers(&packet, frame, chance);
        }
    }

    /// Changes the frame. Every checksum that was right stays right.
    pub(crate) fn apply<F: Frames>(
        self,
        packet: &Packet,
        frames: &mut F,
        i: usize,
        chance: &mut Chance,
    ) {
        self.apply_to_headers(packet, frames.head_mut(i), chance);
        if self.max_mss != 0 {
            clamp_mss(self.max_mss, packet, frames, i);
        }
    }

    /// Changes the headers up to that of IP; `head` is the frame's.
    fn apply_to_headers(self, packet: &Packet, head: &mut [u8], chance: &mut Chance) {
        if self.prio != KEEP {
            let urgent = packet.tos & LOW_DELAY != 0 || is_bare_ack(packet);
            let prio = if urgent { self.prio >> 4 } else { self.prio & 7 };
            ethernet::set_priority(head, prio);
        }
        let at = usize::from(packet.network_offset);
        match packet.network {
            Network::Ipv4 => self.apply_v4(head, at, packet, chance),
            Network::Ipv6 => self.apply_v6(head, at, packet),
            Network::Arp => {}
        }
    }

    fn apply_v4(self, head: &mut [u8], at: usize, packet: &Packet, chance: &mut Chance) {
        let Ok(fragment) = Ipv4::new(head, at, head.len()).map(|header| header.fragment()) else {
            return;
        };
        let Some(mut header) = Ipv4Mut::new(head, at) else { return };
        if self.flags & SET_TOS != 0 {
            header.set_tos(self.tos & !ECN | packet.tos & ECN);
        }
        if packet.ttl < self.min_ttl {
            header.set_ttl(self.min_ttl);
        }
        let fragment = if self.flags & NO_DF != 0 && fragment & ipv4::DONT_FRAGMENT != 0 {
            header.set_fragment(fragment & !ipv4::DONT_FRAGMENT);
            fragment & !ipv4::DONT_FRAGMENT
        } else {
            fragment
        };
        // The fragments of a datagram have one id: see `fragment`.
        if self.flags & RANDOM_ID != 0 && fragment & !ipv4::DONT_FRAGMENT == 0 {
            header.set_identification(chance.next() as u16);
        }
    }

    fn apply_v6(self, head: &mut [u8], at: usize, packet: &Packet) {
        let Some(mut header) = Ipv6Mut::new(head, at) else { return };
        if self.flags & SET_TOS != 0 {
            header.set_traffic_class(self.tos & !ECN | packet.tos & ECN);
        }
        if packet.ttl < self.min_ttl {
            header.set_hop_limit(self.min_ttl);
        }
    }
}

fn is_bare_ack(packet: &Packet) -> bool {
    const LOOKED_AT: u8 = tcp::flags::SYN | tcp::flags::FIN | tcp::flags::RST | tcp::flags::ACK;
    matches!(packet.transport, Transport::Tcp(tcp)
        if packet.payload == 0 && tcp.flags & LOOKED_AT == tcp::flags::ACK)
}

/// Lowers the MSS that a SYN offers. A checksum that was left to hardware covers the new value by
/// itself, a finished one is brought up to date.
fn clamp_mss<F: Frames>(max: u16, packet: &Packet, frames: &mut F, i: usize) {
    let Transport::Tcp(header) = packet.transport else { return };
    if header.flags & tcp::flags::SYN == 0 {
        return;
    }
    let start = usize::from(packet.transport_offset);
    let Some(segment) = frames.head(i).get(start..start + usize::from(header.header)) else {
        return;
    };
    // No stack sends two, but a host that takes the last one would be told the wrong size.
    let mut offers = [0; MAX_OFFERS];
    let mut count = 0;
    for (at, _) in tcp::find_mss(segment).filter(|&(_, mss)| mss > max).take(MAX_OFFERS) {
        offers[count] = at;
        count += 1;
    }
    if count == 0 {
        return;
    }
    let finished = checksum::is_finished(packet, frames, i);
    let segment = &mut frames.head_mut(i)[start..];
    for &at in &offers[..count] {
        tcp::overwrite(segment, at, &max.to_be_bytes(), finished);
    }
}
