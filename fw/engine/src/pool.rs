//! How many there are of each thing that `set limit` bounds, over all workers.

use std::sync::atomic::{AtomicU32, Ordering};

use weir_config::options::{Limit, Named};

/// The count behind one limit. Touched only when a thing of its kind begins or ends; a cache line of
/// its own, since workers do so at the same time.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Pool {
    used: AtomicU32,
    high_water: AtomicU32,
}

impl Pool {
    /// Takes one of `limit` places. `false`: none is free, and nothing has changed.
    pub fn reserve(&self, limit: u32) -> bool {
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            (used < limit).then_some(used + 1)
        });
        if let Ok(before) = taken {
            self.high_water.fetch_max(before + 1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Gives a place back that was reserved.
    pub fn release(&self) {
        self.used.fetch_sub(1, Ordering::Relaxed);
    }

    /// Gives so many places back.
    pub(crate) fn release_some(&self, count: u32) {
        self.used.fetch_sub(count, Ordering::Relaxed);
    }

    /// Says how many there are, where one owner alone knows; not to be mixed with
    /// [`Pool::reserve`].
    pub fn set(&self, used: u32) {
        self.used.store(used, Ordering::Relaxed);
        self.high_water.fetch_max(used, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    /// The most there ever were at a time.
    pub fn high_water(&self) -> u32 {
        self.high_water.load(Ordering::Relaxed)
    }
}

/// A pool for each limit.
#[derive(Debug)]
pub(crate) struct Pools([Pool; Limit::ALL.len()]);

impl Default for Pools {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Pool::default()))
    }
}

impl Pools {
    /// The pool of what the limit bounds.
    pub(crate) const fn of(&self, limit: Limit) -> &Pool {
        &self.0[limit as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_in_the_order_of_their_numbers() {
        for (i, &limit) in Limit::ALL.iter().enumerate() {
            assert_eq!(limit as usize, i);
        }
    }

    #[test]
    fn a_full_pool_gives_no_place_and_the_high_water_stays() {
        let pool = Pool::default();
        assert!(pool.reserve(2) && pool.reserve(2));
        assert!(!pool.reserve(2));
        pool.release();
        assert_eq!((pool.used(), pool.high_water()), (1, 2));
        assert!(!pool.reserve(1), "the limit was lowered");
        pool.set(7);
        pool.set(3);
        assert_eq!((pool.used(), pool.high_water()), (3, 7));
    }
}
