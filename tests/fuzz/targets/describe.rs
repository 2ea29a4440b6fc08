//! The first two bytes are the length of the frame, the rest what was captured of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_engine::packet::describe::describe;

fuzz_target!(|data: &[u8]| {
    let Some((length, head)) = data.split_first_chunk() else { return };
    let text = describe(head, u32::from(u16::from_be_bytes(*length))).to_string();
    assert!(!text.is_empty() && !text.contains('\n'));
});
