//! Big-endian fields at offsets that the caller has proven to be inside.

use crate::reason::Reason;

/// The 16-bit field at `at`. Panics if it is not inside: for fixed arrays and constant offsets,
/// where the compiler proves that it is.
#[inline]
pub(crate) const fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The 32-bit field at `at`, as [`be16`].
#[inline]
pub(crate) const fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// `N` bytes of `head` at `at` that must also end before `end`, where the enclosing packet does:
/// `short` if the packet is too short, else [`Reason::SplitHeader`] if the segment is.
#[inline]
pub(super) fn header<const N: usize>(
    head: &[u8],
    at: usize,
    end: usize,
    short: Reason,
) -> Result<&[u8; N], Reason> {
    if at + N > end {
        return Err(short);
    }
    head.get(at..).and_then(<[u8]>::first_chunk).ok_or(Reason::SplitHeader)
}

/// As [`header`], for a length known at run time.
#[inline]
pub(super) fn region(
    head: &[u8],
    at: usize,
    length: usize,
    end: usize,
    short: Reason,
) -> Result<&[u8], Reason> {
    if at + length > end {
        return Err(short);
    }
    head.get(at..at + length).ok_or(Reason::SplitHeader)
}
