//! See `dinghy_fuzz::overlays`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dinghy_fuzz::overlays(data));
