//! The micro-operations.
