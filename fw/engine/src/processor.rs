//! What the engine asks of the processor beyond plain Rust, and with it all its `unsafe`.
//!
//! Fetching a cache line early: a look-up in a table of a million flows is two dependent cache misses
//! of 140-230 ns; done for a batch of frames at a time they overlap and cost about 10 ns each (PEERS:
//! "The floor"). Counting bits in one instruction: every `x86_64` since 2008 can, but for the first
//! Atoms, for which weir is built too.

#![allow(unsafe_code)]

/// Starts loading the cache line at `target` into every level.
#[inline]
pub(crate) fn prefetch<T>(target: &T) {
    prefetch_address(std::ptr::from_ref(target).cast());
}

/// The same for an address that was computed; what is there does not matter.
#[inline]
pub(crate) fn prefetch_address(target: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: PREFETCHT0 (SSE, part of x86_64) never faults, whatever the address, and changes no
    // architectural state.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(target.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = target;
}

/// Does some work, what of it is inlined here in the form for processors that count bits in one
/// instruction if this one does: 5 to 8 % of a look-up in a table of prefixes.
#[inline]
pub(crate) fn with_bit_counts<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("popcnt") {
        #[target_feature(enable = "popcnt")]
        fn counting<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        // SAFETY: the processor has the feature.
        return unsafe { counting(work) };
    }
    work()
}
