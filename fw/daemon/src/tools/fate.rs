//! What becomes of a packet that no state knows: the program decides, by the walk that the data path
//! takes; this adds what the data path does before and after it (`judge.rs` and `admit.rs` of the
//! engine), so that nothing has to be forwarded to know. That both agree is tested with real frames.
//!
//! Left out: limits that other connections use up, and the checksums of SYN, FIN and RST, which
//! captures on the sending host do not have.

use weir_config::probe::By;
use weir_config::rules::{Action, KeepState};
use weir_engine::packet::{Network, Packet, Transport, icmp, protocol};
use weir_engine::table::Tables;
use weir_engine::{Decision, Instant, Meta, Program, Reason, Trace};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Why it is dropped; `None` if it passes.
    pub reason: Option<Reason>,
    /// What the rules say; `None` if they are not asked.
    pub decision: Option<Decision>,
}

impl Fate {
    /// Whether it passes.
    pub const fn passes(&self) -> bool {
        self.reason.is_none()
    }

    /// The rules that decide it, arriving and leaving: those that block, or those that pass.
    pub fn deciding(&self, program: &Program) -> [Option<u32>; 2] {
        let Some(decision) = self.decision else { return [None; 2] };
        let passes = match self.reason {
            None => true,
            Some(Reason::BlockRule) => false,
            // Something else than a rule has decided.
            Some(_) => return [None; 2],
        };
        decision.rules.map(|rule| {
            rule.filter(|&rule| (program.place(rule).rule.action == Action::Pass) == passes)
        })
    }

    /// Whether the rule that a case wants is among those that decide.
    pub fn is_by(&self, by: &By, program: &Program) -> bool {
        self.deciding(program).into_iter().flatten().any(|rule| {
            let place = program.place(rule);
            match by {
                By::Label(label) => place.rule.label.as_ref() == Some(label),
                By::Rule { anchor, number } => place.anchor == anchor && place.number == *number,
            }
        })
    }
}

/// What the rules are asked about.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The frame's first segment.
    pub head: &'a [u8],
    /// The rest about the frame.
    pub meta: Meta,
    /// A tag to suppose in place of the one that the `ether` rules give.
    pub link_tag: Option<&'a str>,
}

/// The packet with the tag that layer 2 gives it, if the IP rules are asked about it, else what
/// becomes of the frame.
fn asked<'p>(
    program: &'p Program,
    tables: &Tables,
    now: Instant,
    question: &Question<'p>,
) -> Result<(Packet, Option<&'p str>), Fate> {
    let decided = |reason| Fate { reason, decision: None };
    let Question { head, meta, link_tag } = question;
    let packet = Packet::parse(head, meta);
    if let Ok(packet) = &packet
        && let Some(reason) = program.refuses_fragment(packet)
    {
        return Err(decided(Some(reason)));
    }
    let tag = program
        .judge_link(packet.as_ref().map_err(|&reason| reason), head, meta, tables, now)
        .map_err(|reason| decided(Some(reason)))?;
    match packet {
        // The rest of its datagram does not come.
        Ok(packet) if program.gathers(&packet) => Err(decided(Some(Reason::FragTimeout))),
        Ok(packet) if !is_control(&packet) => Ok((packet, link_tag.or(tag))),
        _ => Err(decided(None)),
    }
}

/// ARP and neighbour discovery pass before any rule.
fn is_control(packet: &Packet) -> bool {
    match packet.transport {
        Transport::IcmpOther(message) => {
            packet.network == Network::Ipv6
                && !packet.options
                && matches!(
                    message.kind,
                    icmp::v6::NEIGHBOUR_SOLICITATION | icmp::v6::NEIGHBOUR_ADVERTISEMENT
                )
        }
        _ => packet.network == Network::Arp,
    }
}

/// Decides.
pub fn decide(program: &Program, tables: &Tables, now: Instant, question: &Question<'_>) -> Fate {
    match asked(program, tables, now, question) {
        Ok((packet, tag)) => {
            let decision = program.decide(&packet, tag, tables, now);
            after(program, &packet, question.head, decision)
        }
        Err(fate) => fate,
    }
}

/// A packet that the rules were asked about.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The packet.
    pub packet: Packet,
    /// The tag that it came with.
    pub tag: Option<String>,
    /// Its way through the rules.
    pub trace: Trace,
}

/// Decides and tells how, if the rules were asked.
pub fn explain(
    program: &Program,
    tables: &Tables,
    now: Instant,
    question: &Question<'_>,
) -> (Fate, Option<Asked>) {
    match asked(program, tables, now, question) {
        Ok((packet, tag)) => {
            let trace = program.explain(&packet, tag, tables, now);
            let fate = after(program, &packet, question.head, trace.decision);
            (fate, Some(Asked { packet, tag: tag.map(str::to_owned), trace }))
        }
        Err(fate) => (fate, None),
    }
}

/// What can still happen to a packet that the rules let pass.
fn after(program: &Program, packet: &Packet, head: &[u8], decision: Decision) -> Fate {
    let allow_opts =
        |rule: Option<u32>| rule.is_none_or(|rule| program.place(rule).rule.allow_opts);
    let reason = if !decision.passes {
        Some(decision.reason.unwrap_or(Reason::NoRule))
    } else if decision.skipped {
        None
    } else if packet.options
        && !decision.rules.into_iter().all(allow_opts)
        && !reports_members(packet, head)
    {
        Some(Reason::IpOptions)
    } else if decision.keeps != KeepState::No
        && matches!(packet.transport, Transport::IcmpError(..))
    {
        Some(Reason::IcmpUnmatched)
    } else {
        None
    };
    Fate { reason, decision: Some(decision) }
}

/// IGMP and MLD carry the router alert by design (RFC 2236, 2; RFC 2710, 3).
fn reports_members(packet: &Packet, head: &[u8]) -> bool {
    let may = match packet.transport {
        Transport::Other => packet.protocol == protocol::IGMP,
        Transport::IcmpOther(message) => {
            packet.network == Network::Ipv6 && icmp::v6::is_listener_discovery(message.kind)
        }
        _ => false,
    };
    may && packet.has_router_alert_only(head)
}
