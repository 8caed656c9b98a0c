//! To be filled.

pub mod demo;
pub mod verdict;
