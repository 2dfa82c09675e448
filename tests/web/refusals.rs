//! What a machine that cannot be built says.

use crate::host::{Setup, object};
use crate::program::Program;
use wasm_bindgen_test::wasm_bindgen_test;

fn refusal(setup: Setup) -> String {
    match setup.build() {
        Ok(_) => panic!("the machine was built"),
        Err(sentence) => sentence,
    }
}

#[wasm_bindgen_test]
fn what_is_no_kernel_is_named_so() {
    assert_eq!(
        refusal(Setup::new(b"<!doctype html>".to_vec())),
        "the kernel image is neither a vmlinux (ELF) nor a bzImage; name an uncompressed vmlinux or a bzImage"
    );
}

#[wasm_bindgen_test]
fn a_truncated_kernel_is_named_so() {
    let mut kernel = Program::new().print("never").exit(0).finish();
    let length = kernel.len();
    kernel.truncate(length - 1);
    let sentence = refusal(Setup::new(kernel));
    assert!(sentence.starts_with("the kernel image is truncated: "), "{sentence}");
    assert!(sentence.contains(&format!("at byte {length}, the file has {}", length - 1)), "{sentence}");
}

#[wasm_bindgen_test]
fn memory_out_of_range_is_refused() {
    for bytes in [0.0, 4096.0, f64::from(64 << 20) + 1.0, 3.5 * f64::from(1 << 30)] {
        let mut setup = Setup::new(Program::new().exit(0).finish());
        setup.memory_bytes = bytes;
        let sentence = refusal(setup);
        assert!(sentence.starts_with(&format!("{bytes} bytes of memory cannot be given")), "{sentence}");
    }
}

#[wasm_bindgen_test]
fn an_engine_that_there_is_not_is_refused() {
    let sentence = refusal(Setup::new(Program::new().exit(0).finish()).on("jet"));
    assert_eq!(sentence, "there is no engine \"jet\": use auto, interp or jit");
}

#[wasm_bindgen_test]
fn a_disk_of_part_of_a_sector_is_refused() {
    let mut setup = Setup::new(Program::new().exit(0).finish());
    setup.disks.push(object(&[("kind", "chunked".into()), ("sizeBytes", 1000.into())]));
    assert_eq!(
        refusal(setup),
        "a disk of 1000 bytes cannot be used: its size must be a multiple of 512 bytes"
    );
}
