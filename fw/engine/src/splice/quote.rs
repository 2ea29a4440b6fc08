//! The segment that an ICMP error quotes, in the numbers of the end that has sent it: hosts believe
//! an error only if it quotes what they may have on its way (RFC 5927, 4.1).

use super::acknowledges;
use crate::packet::bytes::{be16, be32};
use crate::packet::checksum::{update_bytes, update32};
use crate::packet::{Packet, Quote, icmp, tcp};
use crate::state::entry::Peer;

/// Bytes of a quoted header that change at most: up to and with its checksum.
const LOOKED_AT: usize = tcp::CHECKSUM + 2;

/// Turns back the sequence number of a segment of peer `from`, and its acknowledgement number and
/// checksum if they were quoted; the checksum of the error stays right. Timestamps and SACK blocks
/// stay as they are: no host looks at them there.
pub(super) fn turn_back(
    head: &mut [u8],
    packet: &Packet,
    quote: &Quote,
    peers: &[Peer; 2],
    from: usize,
) {
    let at = usize::from(quote.transport);
    let packet_end = usize::from(packet.network_offset) + packet.length as usize;
    let end = packet_end.min(head.len()).min(at + LOOKED_AT);
    let Some(quoted) = head.get_mut(at..end) else { return };
    let mut before = [0; LOOKED_AT];
    let before = &mut before[..quoted.len()];
    before.copy_from_slice(quoted);

    turn(quoted, 4, peers[from].seq_diff.wrapping_neg());
    // Flags are quoted behind the number that they are about.
    if let Some(&flags) = before.get(13)
        && acknowledges(flags, be32(before, 8))
    {
        turn(quoted, 8, peers[1 - from].seq_diff);
    }

    // It begins at an even distance from the error's header. An odd byte at its end has not changed.
    let words = before.len() & !1;
    let (before, field) = (&before[..words], usize::from(packet.transport_offset) + icmp::CHECKSUM);
    let checksum = update_bytes(be16(head, field), before, &head[at..at + words]);
    head[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
}

fn turn(quoted: &mut [u8], at: usize, difference: u32) {
    let old = be32(quoted, at);
    let new = old.wrapping_add(difference);
    quoted[at..at + 4].copy_from_slice(&new.to_be_bytes());
    if let Some(field) = quoted.get_mut(tcp::CHECKSUM..LOOKED_AT) {
        let checksum = update32(be16(field, 0), old, new);
        field.copy_from_slice(&checksum.to_be_bytes());
    }
}
