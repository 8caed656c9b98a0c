//! Whole-program tests, by capability.

mod shim;
