//! Assembly: memory map, vCPUs, run loop, time; the public Rust API.
