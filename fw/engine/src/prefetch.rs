//! The one piece of `unsafe` in the engine: asking the processor to fetch a cache line early.
//!
//! A look-up in a table of a million flows is two dependent cache misses of 140-230 ns; done for a
//! batch of frames at a time they overlap and cost about 10 ns each (PEERS: "The floor").

#![allow(unsafe_code)]

/// Starts loading the cache line at `target` into every level.
#[inline]
pub(crate) fn read<T>(target: &T) {
    address(std::ptr::from_ref(target).cast());
}

/// The same for an address that was computed; what is there does not matter.
#[inline]
pub(crate) fn address(target: *const u8) {
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
