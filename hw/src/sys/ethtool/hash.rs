//! How a NIC spreads frames over its queues: key, indirection table, and what is hashed
//! (`ETHTOOL_GRSSH`, `ETHTOOL_GRXFH`).

use std::io;
use std::os::fd::BorrowedFd;

use super::request;

const GRXFH: u32 = 0x29;
const SRXFH: u32 = 0x2a;
const GRSSH: u32 = 0x46;
const SRSSH: u32 = 0x47;

/// Words of `struct ethtool_rxfh` in front of table and key.
const HEAD: usize = 6;
/// `ETH_RXFH_INDIR_NO_CHANGE`
const SAME_TABLE: u32 = u32::MAX;
/// Larger than what any NIC has, so that a bad answer allocates little.
const MOST: u32 = 1 << 16;

/// How received frames are hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hash {
    /// The queue for each value of the hash, modulo its length.
    pub(crate) table: Vec<u32>,
    /// Key of the hash; empty if the driver does not show it.
    pub(crate) key: Vec<u8>,
    /// `ETH_RSS_HASH_TOP` (1) is Toeplitz; 0 if the driver does not tell.
    pub(crate) function: u8,
    /// `RXH_XFRM_SYM_XOR` (1): source and destination are mixed first (Linux 6.8).
    pub(crate) transform: u8,
}

impl Hash {
    /// `ETH_RSS_HASH_TOP`
    pub(crate) const TOEPLITZ: u8 = 1;
    /// `RXH_XFRM_SYM_XOR`
    pub(crate) const SYMMETRIC_XOR: u8 = 1;
}

/// Reads key and table.
pub(crate) fn hash(control: BorrowedFd<'_>, interface: &str) -> io::Result<Hash> {
    // Asked with no room, the kernel tells only the sizes.
    let mut sizes = [0u32; HEAD];
    sizes[0] = GRSSH;
    // SAFETY: with both sizes zero the kernel writes the head only.
    unsafe { request(control, interface, &mut sizes)? };
    let (table, key) = (sizes[2], sizes[3]);
    if table > MOST || key > MOST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let end = HEAD + table as usize;
    let mut words = vec![0u32; end + (key as usize).div_ceil(4)];
    (words[0], words[2], words[3]) = (GRSSH, table, key);
    // SAFETY: there is room for as many entries and bytes as the request says.
    unsafe { request(control, interface, &mut words)? };
    let [function, transform, ..] = words[4].to_ne_bytes();
    let bytes = words[end..].iter().flat_map(|word| word.to_ne_bytes());
    Ok(Hash {
        table: words[HEAD..end].to_vec(),
        key: bytes.take(key as usize).collect(),
        function,
        transform,
    })
}

/// Writes key and table. An empty one leaves it as it is, as a function of 0 does.
pub(crate) fn set_hash(control: BorrowedFd<'_>, interface: &str, hash: &Hash) -> io::Result<()> {
    let mut words = vec![0u32; HEAD];
    words[0] = SRSSH;
    words[2] = if hash.table.is_empty() { SAME_TABLE } else { hash.table.len() as u32 };
    words[3] = hash.key.len() as u32;
    words[4] = u32::from_ne_bytes([hash.function, hash.transform, 0, 0]);
    words.extend(&hash.table);
    for bytes in hash.key.chunks(4) {
        let mut word = [0; 4];
        word[..bytes.len()].copy_from_slice(bytes);
        words.push(u32::from_ne_bytes(word));
    }
    // SAFETY: the kernel reads as many entries and bytes as the request says, and writes nothing.
    unsafe { request(control, interface, &mut words) }
}

/// `struct ethtool_rxnfc` with room to spare: these requests use its first 16 bytes.
const FLOW_WORDS: usize = 64;

/// Which fields of packets of a kind (`TCP_V4_FLOW` ...) are hashed: `RXH_` bits.
pub(crate) fn flow_fields(control: BorrowedFd<'_>, interface: &str, flow: u32) -> io::Result<u64> {
    let mut words = [0; FLOW_WORDS];
    (words[0], words[1]) = (GRXFH, flow);
    // SAFETY: the buffer is larger than the whole structure.
    unsafe { request(control, interface, &mut words)? };
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&words[2].to_ne_bytes());
    bytes[4..].copy_from_slice(&words[3].to_ne_bytes());
    Ok(u64::from_ne_bytes(bytes))
}

/// Chooses the fields that are hashed.
pub(crate) fn set_flow_fields(
    control: BorrowedFd<'_>,
    interface: &str,
    flow: u32,
    fields: u64,
) -> io::Result<()> {
    let mut words = [0; FLOW_WORDS];
    (words[0], words[1]) = (SRXFH, flow);
    let bytes = fields.to_ne_bytes();
    words[2] = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    words[3] = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    // SAFETY: the buffer is larger than the whole structure, which the kernel reads.
    unsafe { request(control, interface, &mut words) }
}
