//! The vCPU.
