//! Keys of two widths: `u32` for IPv4; `u64` for IPv6, whose addresses are two dimensions each, so
//! that no step needs arithmetic of 128 bits. Rules seldom speak of both halves: a prefix fixes the
//! upper one or leaves the lower one open.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use super::tree::OTHERS;

/// An unsigned number that holds any of a packet's fields.
pub(super) trait Word: Copy + Debug + Ord {
    /// A word for each dimension of the addresses.
    type Addresses: Copy + Debug + AsRef<[Self]>;

    const DIMENSIONS: usize;
    const BITS: u32;
    const MAX: Self;
    const IPV6: bool;
    /// A range of addresses counts as narrow below `MAX >> WIDE`.
    const WIDE: u32;

    /// A range of source and one of destination addresses as boxes; none if they are not of this
    /// family.
    fn boxes(
        source: &RangeInclusive<u128>,
        destination: &RangeInclusive<u128>,
    ) -> Vec<(Self::Addresses, Self::Addresses)>;
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
    /// The fraction `part / 2^32` of it.
    fn part(self, part: u32) -> Self;
}

/// The addresses that stand for IPv4 (RFC 4291, 2.5.5.2).
const MAPPED: (u128, u128) = (0xffff << 32, 0xffff_ffff_ffff);

fn boxes_of_ipv4(
    source: &RangeInclusive<u128>,
    destination: &RangeInclusive<u128>,
) -> Vec<([u32; 2], [u32; 2])> {
    let clip = |range: &RangeInclusive<u128>| {
        let (low, high) = (MAPPED.0.max(*range.start()), MAPPED.1.min(*range.end()));
        (low <= high).then_some((low as u32, high as u32))
    };
    let of = |source: (u32, u32), destination: (u32, u32)| {
        ([source.0, destination.0], [source.1, destination.1])
    };
    clip(source).zip(clip(destination)).map(|(a, b)| of(a, b)).into_iter().collect()
}

fn boxes_of_ipv6(
    source: &RangeInclusive<u128>,
    destination: &RangeInclusive<u128>,
) -> Vec<([u64; 4], [u64; 4])> {
    let mut boxes = Vec::new();
    for (source_low, source_high) in halves(source) {
        for (low, high) in halves(destination) {
            boxes.push((
                [source_low[0], low[0], source_low[1], low[1]],
                [source_high[0], high[0], source_high[1], high[1]],
            ));
        }
    }
    boxes
}

/// A range as one to three boxes of upper and lower half.
fn halves(range: &RangeInclusive<u128>) -> Vec<([u64; 2], [u64; 2])> {
    let split = |address: u128| [(address >> 64) as u64, address as u64];
    let (low, high) = (split(*range.start()), split(*range.end()));
    let mut boxes = Vec::new();
    if low[0] == high[0] {
        boxes.push((low, high));
        return boxes;
    }
    // The upper halves that lie in the range with all their lower ones.
    let (mut first, mut last) = (u128::from(low[0]), u128::from(high[0]) + 1);
    if low[1] != 0 {
        boxes.push((low, [low[0], u64::MAX]));
        first += 1;
    }
    if high[1] != u64::MAX {
        boxes.push(([high[0], 0], high));
        last -= 1;
    }
    if first < last {
        boxes.push(([first as u64, 0], [(last - 1) as u64, u64::MAX]));
    }
    boxes
}

macro_rules! word {
    ($type:ty, $addresses:literal, $ipv6:literal, $wide:literal, $boxes:path) => {
        impl Word for $type {
            type Addresses = [Self; $addresses];

            const DIMENSIONS: usize = $addresses + OTHERS;
            const BITS: u32 = <$type>::BITS;
            const MAX: Self = <$type>::MAX;
            const IPV6: bool = $ipv6;
            const WIDE: u32 = $wide;

            fn boxes(
                source: &RangeInclusive<u128>,
                destination: &RangeInclusive<u128>,
            ) -> Vec<(Self::Addresses, Self::Addresses)> {
                $boxes(source, destination)
            }
            #[inline(always)]
            fn of(value: u32) -> Self {
                value.into()
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
            fn part(self, part: u32) -> Self {
                (u128::from(self) * u128::from(part) >> 32) as Self
            }
        }
    };
}

word!(u32, 2, false, 4, boxes_of_ipv4);
word!(u64, 4, true, 12, boxes_of_ipv6);
