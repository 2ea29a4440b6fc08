//! Runs of the engine's fuzz targets, one after the other over the same memory: an engine wants memory
//! for ever, and there are thousands of engines a second.

// Not by way of `weir-tests`: the lab needs crates that take minutes to instrument.
#[path = "../../src/bridge.rs"]
pub mod bridge;
#[path = "../../src/fuzz/mod.rs"]
pub mod fuzz;

use std::cell::Cell;
use std::ptr;

use self::fuzz::{MEMORY, Target};

thread_local! {
    static ROOM: Cell<*mut [u8]> = Cell::new(Box::leak(vec![0; MEMORY].into_boxed_slice()));
}

/// Runs a target with an input.
pub fn run(target: Target, input: &[u8]) {
    ROOM.with(|cell| {
        let null = ptr::slice_from_raw_parts_mut(ptr::null_mut(), 0);
        let room = cell.replace(null);
        assert!(!room.is_null(), "a run within a run");
        // SAFETY: the memory was leaked, so that it lives for ever. The pointer was taken out of the
        // cell and comes back when the target has returned; a target keeps nothing ([`fuzz`]),
        // and one that panics ends the process. So nothing else refers to the memory meanwhile.
        let memory: &'static mut [u8] = unsafe { &mut *room };
        memory.fill(0);
        target(memory, input);
        cell.set(room);
    });
}
