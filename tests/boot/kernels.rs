//! Other images than the vmlinux: compressed ones, and those that Debian ships.

use crate::guest::{Guest, Setup, build_folder, kernel};
use crate::initramfs::Initramfs;
use crate::program::{Program, Reboot};
use dinghy::machine::RunOutcome;

const WORDS: &str = "words from user space";

fn setup(kernel: Vec<u8>, command_line: &str) -> Setup {
    let program = Program::new().print(WORDS).print("\n").reboot(Reboot::PowerOff);
    Setup {
        kernel,
        command_line: command_line.to_owned(),
        ..Setup::new(Initramfs::with_init(&program.finish()).finish())
    }
}

fn reaches_user_space(mut guest: Guest, name: &str) {
    guest.run_until("Run /init");
    println!("{name}: {} instructions to the first program", guest.instructions());
    guest.run_until(WORDS);
    assert_eq!(guest.run_to_end(), RunOutcome::PoweredOff);
}

#[test]
fn a_bzimage_boots() {
    reaches_user_space(setup(kernel("bzImage"), "console=hvc0").boot(), "bzImage");
}

#[test]
fn the_serial_console_serves_as_well() {
    let guest = setup(kernel("vmlinux"), "console=ttyS0").boot();
    let (console, serial) = (guest.console.clone(), guest.serial.clone());
    reaches_user_space(guest, "vmlinux on ttyS0");
    assert!(serial.text().contains(WORDS));
    assert_eq!(console.text(), "");
}

fn debian_kernel_boots(flavour: &str) {
    let folder = build_folder().join("stock");
    if !folder.exists() {
        println!("skipped: there is no {}; `cargo xtask stock` makes it", folder.display());
        return;
    }
    let kernel = std::fs::read(folder.join(flavour).join("vmlinuz")).unwrap();
    // These have their virtio drivers in modules, and the serial port built in.
    let setup = Setup { memory_bytes: 512 << 20, ..setup(kernel, "console=ttyS0") };
    reaches_user_space(setup.boot(), flavour);
}

#[test]
fn debians_cloud_kernel_boots() {
    debian_kernel_boots("linux-image-cloud-amd64");
}

#[test]
fn debians_generic_kernel_boots() {
    debian_kernel_boots("linux-image-amd64");
}
