//! Bad input, from every side: each case ends in the right state with a message that its reader understands, the agent
//! goes on, and nothing is left behind.
//!
//! One file a side. Related cases share an agent, which at the end of each runs an ordinary job and ends tidily.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod answers;
mod disk;
mod downloads;
mod engine;
mod files;
mod forge;
mod house;
mod images;
mod leftovers;
mod output;
mod secrets;
mod services;
mod sources;
mod steps;
