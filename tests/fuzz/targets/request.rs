//! See `weir_fuzz::fuzz::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| weir_fuzz::run(weir_fuzz::fuzz::request, input));
