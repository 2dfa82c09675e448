//! See `dinghy_fuzz::queues`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dinghy_fuzz::queues(data));
