//! The devices as a guest meets them: found by configuration space, driven through their BARs.
//!
//! `guest` is the guest's side: the `virtio-drivers` crate over our own registers, and a driver
//! that writes descriptors by hand, for what no honest driver would do. It maps guest RAM
//! into the program's own addresses, which only native programs can.

#![cfg(not(target_arch = "wasm32"))]

mod blk;
mod console;
mod guest;
mod hostile;
mod interrupts;
mod net;
mod p9;
mod pci;
mod random_accesses;
mod rng;
