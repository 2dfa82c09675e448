//! See `dinghy_fuzz::snapshots`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dinghy_fuzz::snapshots(data));
