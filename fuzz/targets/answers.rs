//! See `dinghy_fuzz::answers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dinghy_fuzz::answers(data));
