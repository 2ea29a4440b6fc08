//! Numbers that nobody outside can foresee, made from a key: the engine has no randomness of its
//! own.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// A stream of such numbers.
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    key: [u8; 16],
    drawn: u64,
}

impl Chance {
    /// The stream of a key. Workers with the same key pass their number as `stream`.
    pub(crate) fn new(mut key: [u8; 16], stream: u16) -> Self {
        // Another key than that of the flow hash.
        key[0] ^= 0x5a;
        Self { key, drawn: u64::from(stream) << 48 }
    }

    /// Another stream, the same for the same seed.
    pub(crate) const fn of(&self, seed: u64) -> Self {
        let mut key = self.key;
        key[1] ^= 0x5a;
        Self { key, drawn: seed }
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write_u64(self.drawn);
        self.drawn = self.drawn.wrapping_add(1);
        hasher.finish()
    }
}
