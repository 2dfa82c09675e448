//! Linux, booted: from the loader to a program in user space, and the devices as that program meets them.
//!
//! Needs the kernel that `make build` makes. The programs are assembled here, so that a failure points at the
//! machine and not at a C library.

#![cfg(not(target_arch = "wasm32"))]

mod bad_kernels;
mod devices;
mod endings;
mod guest;
mod initramfs;
mod keeping;
mod kernels;
mod lazy;
mod models;
mod network;
mod program;
mod repeatable;
mod shared_disk;
mod shares;
mod snapshots;
