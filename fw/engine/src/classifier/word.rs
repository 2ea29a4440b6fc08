//! Keys of two widths: `u32` serves IPv4 in half the cache lines that `u128`, IPv6, needs.

use std::fmt::Debug;

/// An unsigned number that holds any of a packet's fields.
pub(super) trait Word: Copy + Debug + Ord {
    const BITS: u32;
    const MAX: Self;
    const IPV6: bool;
    /// A range of addresses counts as narrow below `MAX >> WIDE`.
    const WIDE: u32;

    /// The part of a range of addresses that belongs to this family.
    fn clip(first: u128, last: u128) -> Option<(Self, Self)>;
    fn of(value: u32) -> Self;
    /// The value, cut to 32 bits.
    fn low(self) -> u32;
    /// `self - other`, not below 0.
    fn above(self, other: Self) -> Self;
    fn up(self, bits: u32) -> Self;
    fn down(self, bits: u32) -> Self;
    /// `self + 1`; of the highest value, 0.
    fn next(self) -> Self;
    /// `self - 1`; of 0, the highest value.
    fn previous(self) -> Self;
    fn plus(self, other: Self) -> Self;
}

/// The addresses that stand for IPv4 (RFC 4291, 2.5.5.2).
const MAPPED: (u128, u128) = (0xffff << 32, 0xffff_ffff_ffff);

macro_rules! word {
    ($type:ty, $ipv6:literal, $wide:literal, $all:expr) => {
        impl Word for $type {
            const BITS: u32 = <$type>::BITS;
            const MAX: Self = <$type>::MAX;
            const IPV6: bool = $ipv6;
            const WIDE: u32 = $wide;

            fn clip(first: u128, last: u128) -> Option<(Self, Self)> {
                let (first, last) = (first.max($all.0), last.min($all.1));
                (first <= last).then_some((first as $type, last as $type))
            }
            #[inline(always)]
            fn of(value: u32) -> Self {
                value as $type
            }
            #[inline(always)]
            fn low(self) -> u32 {
                self as u32
            }
            #[inline(always)]
            fn above(self, other: Self) -> Self {
                self.saturating_sub(other)
            }
            #[inline(always)]
            fn up(self, bits: u32) -> Self {
                self << bits
            }
            #[inline(always)]
            fn down(self, bits: u32) -> Self {
                self >> (bits & (Self::BITS - 1))
            }
            #[inline(always)]
            fn next(self) -> Self {
                self.wrapping_add(1)
            }
            #[inline(always)]
            fn previous(self) -> Self {
                self.wrapping_sub(1)
            }
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
        }
    };
}

word!(u32, false, 4, MAPPED);
word!(u128, true, 12, (u128::MIN, u128::MAX));
