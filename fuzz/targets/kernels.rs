//! See `dinghy_fuzz::kernels`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dinghy_fuzz::kernels(data));
