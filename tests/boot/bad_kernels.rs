//! What does not boot, and what the user is told.

use crate::guest::{Setup, kernel};

const MIB: u64 = 1 << 20;

fn setup(kernel: Vec<u8>) -> Setup {
    Setup { kernel, initrd: None, memory_bytes: 64 * MIB, ..Setup::new(Vec::new()) }
}

/// The sentence that this setup is refused with.
fn refusal(setup: Setup) -> String {
    match setup.build() {
        Ok(_) => panic!("a machine was built"),
        Err(error) => error.to_string(),
    }
}

const NOT_A_KERNEL: &str =
    "the kernel image is neither a vmlinux (ELF) nor a bzImage; name an uncompressed vmlinux or a bzImage";

#[test]
fn files_that_are_no_kernel() {
    assert_eq!(refusal(setup(Vec::new())), NOT_A_KERNEL);
    assert_eq!(refusal(setup(b"#!/bin/sh\nexit 0\n".to_vec())), NOT_A_KERNEL);
    assert_eq!(refusal(setup(vec![0; 1 << 20])), NOT_A_KERNEL);
}

#[test]
fn kernels_that_are_cut_short() {
    let image = kernel("bzImage");
    let (whole, half) = (image.len(), image.len() / 2);
    let sentence = format!(
        "the kernel image is truncated: the compressed kernel ends at byte {whole}, the file has {half}; copy or \
         download it again"
    );
    assert_eq!(refusal(setup(image[..half].to_vec())), sentence);

    // An ELF file ends with its section headers: without them it is damaged, whatever else is there.
    let image = kernel("vmlinux");
    for length in [40, image.len() / 2] {
        let sentence = refusal(setup(image[..length].to_vec()));
        assert!(sentence.starts_with("the kernel's ELF file is damaged ("), "{sentence}");
        assert!(sentence.ends_with("); build or copy it again"), "{sentence}");
    }
}

#[test]
fn kernels_for_other_processors() {
    // ELF32, i386, by its header alone.
    let mut image = b"\x7fELF\x01\x01\x01".to_vec();
    image.resize(52, 0);
    image[16] = 2;
    image[18] = 3;
    image[20] = 1;
    let sentence = "the kernel is not for x86_64 (ELF machine 3, 32-bit); name an x86_64 kernel";
    assert_eq!(refusal(setup(image)), sentence);

    let mut image = kernel("vmlinux");
    image[18] = 183;
    let sentence = "the kernel is not for x86_64 (ELF machine 183, 64-bit); name an x86_64 kernel";
    assert_eq!(refusal(setup(image)), sentence);

    // A bzImage whose header denies the 64-bit entry point (`xloadflags`, Linux Documentation/x86/boot.rst).
    let mut image = kernel("bzImage");
    image[0x236] &= !1;
    let sentence = refusal(setup(image));
    assert!(sentence.starts_with("the bzImage has no 64-bit entry point (boot protocol 2.15"), "{sentence}");
    assert!(sentence.ends_with("name a 64-bit kernel of Linux 3.8 or later"), "{sentence}");
}

#[test]
fn too_little_memory() {
    for memory_bytes in [0, 32 * MIB, 64 * MIB + 1, 4096 * MIB] {
        let sentence = format!(
            "{memory_bytes} bytes of memory cannot be given: use a multiple of 4 KiB from 64 MiB to 3 GiB, 512 \
             MiB or more for Docker"
        );
        assert_eq!(refusal(Setup { memory_bytes, ..setup(kernel("vmlinux")) }), sentence);
    }
    let initrd = Some(vec![0; 60 << 20]);
    let sentence = refusal(Setup { initrd, ..setup(kernel("vmlinux")) });
    let start = "the machine has 64 MiB of memory, this kernel and its initrd need at least ";
    assert!(sentence.starts_with(start) && sentence.ends_with(" MiB; give it more memory"), "{sentence}");
}

#[test]
fn command_lines_that_are_too_long() {
    let command_line = "quiet ".repeat(400);
    let sentence = "the command line has 2400 bytes, this kernel takes at most 2047; shorten it";
    for name in ["vmlinux", "bzImage"] {
        let command_line = command_line.clone();
        assert_eq!(refusal(Setup { command_line, ..setup(kernel(name)) }), sentence, "{name}");
    }
}
