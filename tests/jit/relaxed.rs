//! What the probe of relaxed SIMD tells.

use crate::host::relaxed_simd;
use dinghy::host::RelaxedSimd;
use wasmtime::{Config, Engine, Store};

fn probed(is_deterministic: bool) -> RelaxedSimd {
    let mut config = Config::new();
    config.wasm_relaxed_simd(true).relaxed_simd_deterministic(is_deterministic);
    relaxed_simd(&mut Store::new(&Engine::new(&config).unwrap(), ()))
}

#[test]
fn relaxed_instructions_are_the_hosts_own() {
    if is_x86_feature_detected!("fma") && is_x86_feature_detected!("sse4.1") {
        assert_eq!(probed(false), RelaxedSimd { fuses: true, swizzles: true, selects: true });
    }
}

#[test]
fn an_engine_that_is_the_same_everywhere_swizzles_and_selects_otherwise() {
    assert_eq!(probed(true), RelaxedSimd { fuses: true, swizzles: false, selects: false });
}
