//! See `dinghy_fuzz::code`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dinghy_fuzz::code(data));
