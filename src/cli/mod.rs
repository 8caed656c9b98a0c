//! To be filled.

pub mod config;
pub mod migrate;
pub mod verdict;
