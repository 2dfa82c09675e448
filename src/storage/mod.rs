//! Block sources: what a disk device reads from and writes to.
