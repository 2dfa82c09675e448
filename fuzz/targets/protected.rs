//! See `dinghy_fuzz::protected`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dinghy_fuzz::protected(data));
