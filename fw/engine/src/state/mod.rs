//! The state table: plain old data addressed by index, in memory that is handed in.
//!
//! [`Table`](table::Table) joins an index of cache-line buckets, the entries, and the timer wheel.
//! What a packet does to an entry is decided by the protocol's tracker: [`tcp`], [`sctp`], or
//! [`datagram`] for everything without a handshake. What remains of a TCP connection that has ended is in [`tail`].

pub(crate) mod datagram;
pub(crate) mod entry;
pub(crate) mod index;
pub(crate) mod lifetime;
pub(crate) mod phases;
pub(crate) mod sctp;
pub(crate) mod table;
pub(crate) mod tail;
pub(crate) mod tcp;
pub(crate) mod view;
pub(crate) mod wheel;
