//! Whole-program tests: the built binary against the embedded forge, in real containers, with real git.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says no by a panic")]

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod architecture;
mod bad_input;
mod cli;
mod demo;
mod gitlab_jobs;
mod load;
mod proxy;
mod shim;
mod static_binary;
mod support;
