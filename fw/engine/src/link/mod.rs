//! Layer 2: `ether` rules, control frames and spoof guards.
//!
//! A frame is looked at twice, like a packet by the IP rules: arriving on its port and leaving by the
//! other. An `ether` rule that blocks it on either side ends it. Then
//! - IP goes on to states and IP rules, with the tag that the arriving side's rule has given it;
//! - ARP and neighbour discovery pass, unless a [`guard`] finds that they lie;
//! - control frames pass if `set link-control` says so, everything else is dropped, unless an `ether`
//!   rule passes it ([`control`]).
//!
//! A frame of a PPPoE session is one to `ether` rules, whatever it carries; IP in it goes on like IP.
//!
//! MAC control frames never pass. Frames that cannot be parsed are dropped before any rule is asked.
//! A worker asks only about frames that are its own, so that none is judged or counted twice. Without
//! rules and guards nothing here is called for IP and ARP.
//!
//! [`LinkRules`] is part of the compiled program: immutable, shared by all workers. What a worker
//! counts is in [`records`].

mod control;
mod guard;
pub(crate) mod records;
mod rules;

use weir_config::ether::ControlFrames;
use weir_config::rules::{Direction, RuleSet};

use self::control::Usual;
use self::guard::Guards;
use self::records::{EtherRecords, Identity};
use self::rules::EtherRules;
use crate::flow::Path;
use crate::frame::{Meta, PortIndex};
use crate::packet::ethernet::{Ethernet, Mac, ethertype};
use crate::packet::{Address, Network, Packet};
use crate::reason::Reason;
use crate::ruleset::carried::Carried;
use crate::ruleset::tags::TagNames;
use crate::ruleset::{PortNames, Program};
use crate::table::Tables;
use crate::time::Instant;

/// Why and where a frame ends at layer 2.
pub(crate) type Stopped = (Direction, Reason);

/// The way of a frame through the bridge, and what rules look at besides the frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    pub(crate) path: Path,
    pub(crate) tables: &'a Tables,
    pub(crate) now: Instant,
}

/// Everything a rule set says about layer 2, compiled.
#[derive(Debug)]
pub(crate) struct LinkRules {
    rules: EtherRules,
    identities: Vec<Identity>,
    /// The rules that it takes over from those before it.
    carried: Carried,
    guards: Guards,
    control: ControlFrames,
    /// Ports that abstain (`set skip`), a bit each.
    skipped: u8,
}

impl LinkRules {
    /// Compiles what a rule set says about layer 2, for these ports. `table` numbers the tables;
    /// `None` if there are too many tags.
    pub(crate) fn compile(
        rules: &RuleSet,
        ports: &PortNames,
        tags: &mut TagNames,
        table: &mut impl FnMut(&str) -> u32,
    ) -> Option<Self> {
        let options = &rules.options;
        Some(Self {
            rules: EtherRules::new(&rules.ether, ports, tags, table)?,
            identities: records::identities(&rules.ether),
            carried: Carried::default(),
            guards: Guards::new(&options.link, ports),
            control: options.link.control,
            skipped: options.skip.iter().fold(0, |mask, name| mask | ports.mask(name)),
        })
    }

    /// With what it takes over from the rules that were compiled before it.
    pub(crate) fn after(mut self, before: Option<&Self>) -> Self {
        let before = before.map_or(&[][..], |before| &before.identities);
        self.carried = Carried::new(&self.identities, before);
        self
    }

    /// What rules are told apart by over reloads.
    pub(crate) fn identities(&self) -> &[Identity] {
        &self.identities
    }

    /// Whether [`LinkRules::judge`] has anything to say.
    pub(crate) fn is_active(&self) -> bool {
        !self.rules.is_empty() || self.guards.are_active()
    }

    /// IP and ARP: the tag for the IP rules, 0 for none. `length` is the frame's.
    pub(crate) fn judge(
        &self,
        packet: &Packet,
        head: &[u8],
        length: u32,
        way: Way<'_>,
        records: &mut EtherRecords,
    ) -> Result<u16, Stopped> {
        let Some((destination, source)) = addresses(head) else { return Ok(0) };
        let frame = LinkFrame {
            destination,
            source,
            vlan: packet.tags.outer,
            ethertype: match packet.network {
                _ if packet.session.is_some() => ethertype::PPPOE_SESSION,
                Network::Arp => ethertype::ARP,
                Network::Ipv4 => ethertype::IPV4,
                Network::Ipv6 => ethertype::IPV6,
            },
            l3: [packet.source, packet.destination],
            length,
        };
        let (tag, _) = self.ask(&frame, way, records)?;
        self.object(packet, head)?;
        Ok(tag)
    }

    /// What the guards have against a packet.
    pub(crate) fn object(&self, packet: &Packet, head: &[u8]) -> Result<(), Stopped> {
        if self.skips(packet.port) {
            return Ok(());
        }
        self.guards.objection(packet, head).map_or(Ok(()), |reason| Err((Direction::In, reason)))
    }

    /// A frame that could not be parsed for that reason: whether it passes all the same.
    pub(crate) fn judge_foreign(
        &self,
        reason: Reason,
        head: &[u8],
        meta: Meta,
        way: Way<'_>,
        records: &mut EtherRecords,
    ) -> Result<(), Stopped> {
        let stopped = |reason| Err((Direction::In, reason));
        if !matches!(reason, Reason::EtherType | Reason::Pppoe) {
            return stopped(reason);
        }
        let Ok(ethernet) = Ethernet::new(head) else { return stopped(reason) };
        let usual = control::usual(&ethernet, head, meta, reason, self.control);
        if let Usual::NeverPasses(reason) = usual {
            return stopped(reason);
        }
        if self.skips(way.path.from) && self.skips(way.path.to) {
            return Ok(());
        }
        let frame = LinkFrame {
            destination: number(ethernet.destination()),
            source: number(ethernet.source()),
            vlan: ethernet.tags().outer,
            ethertype: control::type_or_llc(&ethernet),
            l3: [Address(0); 2],
            length: meta.length,
        };
        match (self.ask(&frame, way, records)?, usual) {
            ((_, true), _) | (_, Usual::Passes) => Ok(()),
            (_, Usual::Drops(reason) | Usual::NeverPasses(reason)) => stopped(reason),
        }
    }

    /// Asks the rules on both sides: the arriving side's tag, and whether a rule passes the frame.
    fn ask(
        &self,
        frame: &LinkFrame,
        way: Way<'_>,
        records: &mut EtherRecords,
    ) -> Result<(u16, bool), Stopped> {
        let (mut tag, mut passed) = (0, false);
        for (port, direction) in [(way.path.from, Direction::In), (way.path.to, Direction::Out)] {
            if self.skips(port) {
                continue;
            }
            let Some(rule) = self.rules.winner(frame, (port, direction), tag, way, records) else {
                continue;
            };
            records.count(rule, direction, frame.length);
            let rule = self.rules.get(rule);
            if !rule.passes() {
                return Err((direction, Reason::EtherRule));
            }
            passed = true;
            if direction == Direction::In {
                tag = rule.tag();
            }
        }
        Ok((tag, passed))
    }

    const fn skips(&self, port: PortIndex) -> bool {
        self.skipped >> port.0 & 1 != 0
    }
}

impl Program {
    /// What layer 2 makes of a frame on the data path: the name of the tag that it has for the IP
    /// rules, or why it ends. `packet` is what the frame was parsed into, or why it could not be;
    /// control frames pass without one. Counts nothing.
    ///
    /// # Errors
    /// The reason for which the frame is dropped.
    pub fn judge_link(
        &self,
        packet: Result<&Packet, Reason>,
        head: &[u8],
        meta: &Meta,
        tables: &Tables,
        now: Instant,
    ) -> Result<Option<&str>, Reason> {
        let way = Way { path: Path::across(meta.port), tables, now };
        // Counters that are not there are not counted in.
        let uncounted = &mut EtherRecords::default();
        let judged = match packet {
            Ok(packet) => self.link().judge(packet, head, meta.length, way, uncounted),
            Err(reason) => {
                self.link().judge_foreign(reason, head, *meta, way, uncounted).map(|()| 0)
            }
        };
        judged.map(|tag| self.tag_name(tag)).map_err(|(_, reason)| reason)
    }
}

/// A frame as `ether` rules look at it.
#[derive(Debug)]
struct LinkFrame {
    /// Hardware addresses as numbers of 48 bits.
    destination: u64,
    source: u64,
    /// Outermost VLAN id, 0 without a tag.
    vlan: u16,
    /// Behind all tags; [`EtherRule::LLC`](weir_config::ether::EtherRule::LLC) for a length.
    ethertype: u16,
    /// Source and destination of IP, sender and target of ARP; `l3` does not ask inside a session.
    l3: [Address; 2],
    /// Bytes of the frame.
    length: u32,
}

/// Destination and source; `None` for a runt.
fn addresses(head: &[u8]) -> Option<(u64, u64)> {
    let [destination, source] = head.first_chunk::<12>()?.as_chunks::<6>().0 else { return None };
    Some((number(*destination), number(*source)))
}

/// A hardware address as a number of 48 bits.
fn number(mac: Mac) -> u64 {
    mac.into_iter().fold(0, |number, octet| number << 8 | u64::from(octet))
}
