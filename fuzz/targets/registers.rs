//! See `dinghy_fuzz::registers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dinghy_fuzz::registers(data));
