//! Whole-program tests, by capability.

mod architecture;
