//! What stands before a packet: `struct pfloghdr` of OpenBSD's `net/if_pflog.h`, as tcpdump reads it.
//!
//! ```text
//! 0 length (61)   1 family   2 action   3 reason   4 interface (16)   20 rule set (16)
//! 36 rule number   40 its number in the anchor   44 uid   48 pid   52 rule's uid   56 rule's pid
//! 60 direction    61 three bytes of nothing
//! ```

use weir_config::rules::Direction;
use weir_engine::{LogAction, LogRecord, Reason};

use crate::log::message::LoggedPacket;

/// Bytes before the packet.
pub(super) const LENGTH: usize = 64;

/// What the first byte says: up to the direction.
const REAL_LENGTH: u8 = 61;

/// Address families as OpenBSD numbers them.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 24;

/// Nobody (`UID_MAX`), nothing (`NO_PID`).
const NO_UID: u32 = u32::MAX;
const NO_PID: u32 = 100_000;

/// The header of a packet; `None` if it is no IP packet, which pf's log knows nothing of.
pub(super) fn head(packet: &LoggedPacket) -> Option<[u8; LENGTH]> {
    let LoggedPacket { record, rule, .. } = packet;
    let captured = usize::from(record.captured).min(record.bytes.len());
    let first = record.bytes[..captured].get(usize::from(record.network_offset))?;
    let family = match (ethertype(record)?, first >> 4) {
        (0x0800 | 0x0021, 4) => AF_INET,
        (0x86dd | 0x0057, 6) => AF_INET6,
        _ => return None,
    };
    let mut head = [0; LENGTH];
    head[0] = REAL_LENGTH;
    head[1] = family;
    // PF_PASS, PF_DROP, PF_MATCH.
    head[2] = match record.action {
        LogAction::Pass => 0,
        LogAction::Block => 1,
        LogAction::Match => 12,
    };
    head[3] = record.reason.map_or(0, reason);
    // Both have room for a byte that ends them.
    name(packet.role(), &mut head[4..19]);
    let main = rule.as_ref().and_then(|rule| rule.main).unwrap_or(u32::MAX);
    let mut sub = u32::MAX;
    if let Some((anchor, number)) = rule.as_ref().and_then(|rule| rule.anchored.as_ref()) {
        name(anchor, &mut head[20..35]);
        sub = *number;
    }
    for (at, number) in
        [(36, main), (40, sub), (44, NO_UID), (48, NO_PID), (52, NO_UID), (56, NO_PID)]
    {
        head[at..at + 4].copy_from_slice(&number.to_be_bytes());
    }
    // PF_IN, PF_OUT.
    head[60] = match record.direction {
        Direction::In => 1,
        Direction::Out => 2,
    };
    Some(head)
}

/// What stands before the network header: the ethertype, or the protocol of PPP in a PPPoE session.
fn ethertype(record: &LogRecord) -> Option<u16> {
    let at = usize::from(record.network_offset).checked_sub(2)?;
    let bytes = record.bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// Text that ends where there is no more room.
fn name(text: &str, to: &mut [u8]) {
    let length = text.len().min(to.len());
    to[..length].copy_from_slice(&text.as_bytes()[..length]);
}

/// The reason (`PFRES_*` of pf's `pfvar.h`) that comes nearest.
const fn reason(reason: Reason) -> u8 {
    const MATCH: u8 = 0;
    const FRAGMENT: u8 = 2;
    const SHORT: u8 = 3;
    const NORMALIZE: u8 = 4;
    const MEMORY: u8 = 5;
    const BAD_TIMESTAMP: u8 = 6;
    const CONGESTION: u8 = 7;
    const IP_OPTION: u8 = 8;
    const PROTO_CKSUM: u8 = 9;
    const STATE_MISMATCH: u8 = 10;
    const STATE_INSERT: u8 = 11;
    const STATE_LIMIT: u8 = 12;
    const SRC_LIMIT: u8 = 13;
    const SYNPROXY: u8 = 14;
    use Reason as R;
    match reason {
        R::Runt
        | R::TruncatedTag
        | R::TruncatedIp
        | R::TruncatedTcp
        | R::TruncatedUdp
        | R::TruncatedIcmp
        | R::TruncatedSctp => SHORT,
        R::FragLength
        | R::FragTiny
        | R::FragDf
        | R::FragOverlap
        | R::FragDuplicate
        | R::FragMany
        | R::FragLimit
        | R::FragTimeout
        | R::FragDiscovery => FRAGMENT,
        R::IpOptions | R::ExtensionHeader => IP_OPTION,
        R::IpChecksum | R::TcpChecksum | R::SctpChecksum => PROTO_CKSUM,
        R::TcpTimestamp => BAD_TIMESTAMP,
        R::TcpWindow
        | R::TcpOld
        | R::TcpBadAck
        | R::TcpOldAck
        | R::TcpBadReset
        | R::TcpFarReset
        | R::TcpBadSyn
        | R::TcpBadSynAck
        | R::TcpForgotten
        | R::TcpNoState
        | R::TcpLate
        | R::SctpTag
        | R::SctpNoState
        | R::IcmpUnmatched
        | R::IcmpWindow
        | R::AfterReset => STATE_MISMATCH,
        R::StateLimit | R::SrcNodeLimit => MEMORY,
        R::MaxStates => STATE_LIMIT,
        R::MaxSrcNodes
        | R::MaxSrcStates
        | R::MaxSrcConn
        | R::MaxSrcConnRate
        | R::MaxIdle
        | R::MinRate
        | R::Overloaded => SRC_LIMIT,
        R::SynproxyUnfit | R::SynproxyWait | R::SynproxyServer => SYNPROXY,
        R::OutputFull | R::HandoverFull | R::ReflectLimit | R::PacketRate => CONGESTION,
        R::NoRuleset => STATE_INSERT,
        R::BlockRule | R::NoRule | R::EtherRule | R::ReflectUnfit => MATCH,
        _ => NORMALIZE,
    }
}
