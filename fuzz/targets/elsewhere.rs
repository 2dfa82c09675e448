//! See `dinghy_fuzz::elsewhere`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dinghy_fuzz::elsewhere(data));
