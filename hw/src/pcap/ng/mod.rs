//! The pcapng format (draft-ietf-opsawg-pcapng): blocks, among which sections, interfaces and packets
//! matter here. Read in either byte order and any resolution of time, written little-endian with
//! nanoseconds.
//!
//! Panic contract: no file makes the reader panic, and none makes it allocate more than
//! [`read::LONGEST_BLOCK`] bytes for a block and [`read::MAX_INTERFACES`] interfaces.

pub mod read;
pub mod write;

pub use read::Reader;
pub use write::{Note, Writer};

/// The block that begins a section; the same in both byte orders.
pub(super) const SECTION: u32 = 0x0a0d_0d0a;
/// Tells the byte order of a section.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Types of blocks (section 11.1).
const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
/// Options of every block.
const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
/// Options of a section (section 4.1).
const APPLICATION: u16 = 4;
/// Options of an interface (section 4.2).
const NAME: u16 = 2;
const DESCRIPTION: u16 = 3;
const RESOLUTION: u16 = 9;
const CHECK_SEQUENCE: u16 = 13;
const OFFSET: u16 = 14;
/// Options of a packet (section 4.3); the first two bits of the flags are its direction.
const FLAGS: u16 = 2;
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
/// Options of statistics (section 4.6).
const RECEIVED: u16 = 4;
const DROPPED: u16 = 5;
/// Link type of Ethernet frames.
const ETHERNET: u16 = 1;

/// An interface as a section describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// What it is called; empty if the file does not say.
    pub name: String,
    /// More about it, likewise.
    pub description: String,
}

/// Which way a frame went through its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It arrived.
    Inbound,
    /// It was sent.
    Outbound,
}
