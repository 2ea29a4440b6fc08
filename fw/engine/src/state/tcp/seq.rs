//! Sequence numbers.

/// A sequence number: compared modulo 2^32 (RFC 9293, 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seq(pub(super) u32);

impl Seq {
    pub(super) const fn at_least(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() >= 0
    }

    pub(super) const fn after(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() > 0
    }

    pub(super) const fn plus(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }

    pub(super) const fn minus(self, n: u32) -> Self {
        Self(self.0.wrapping_sub(n))
    }
}
