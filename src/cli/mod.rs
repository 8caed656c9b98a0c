//! The command line: one file a command, which parses arguments, calls and prints.

pub mod config;
pub mod demo;
pub mod migrate;
pub mod verdict;
