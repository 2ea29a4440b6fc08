//! `modulate state`: initial sequence numbers that nobody can foresee, for hosts whose own are weak.
//!
//! RFC 6528 makes them as M + F(flow, key): a clock, so that the numbers of a connection that comes
//! again between the same ports grow, and a keyed hash, so that nobody else knows them. Here F is added
//! to the number that the host has chosen in the place of M. It is the same for every SYN of a flow:
//! repeated SYNs look alike, a host that counts up still counts up for one who remembers its last
//! connection (TIME-WAIT; RFC 9293, 3.6.1), and what overtakes the SYN-ACK can be translated.

use crate::flow::{FlowKey, HashKey};

/// What is added to the sequence numbers of the initiator and of the responder of a flow.
/// `initiator_is_lower` says which of the key's endpoints is the initiator.
pub(crate) const fn differences(
    key: HashKey,
    flow: &FlowKey,
    initiator_is_lower: bool,
) -> [u32; 2] {
    let hash = flow.hash_sequence(key);
    let (lower, upper) = (hash as u32, (hash >> 32) as u32);
    if initiator_is_lower { [lower, upper] } else { [upper, lower] }
}
