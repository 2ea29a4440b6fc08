//! See `weir_tests::fuzz::fragments`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| weir_fuzz::run(weir_tests::fuzz::fragments, input));
