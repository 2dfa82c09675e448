//! See `dinghy_fuzz::manifests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dinghy_fuzz::manifests(data));
