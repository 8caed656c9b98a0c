//! Whole-program tests: the built binary against the embedded forge, in real containers, with real git.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says no by a panic")]

mod architecture;
mod archive_formats;
mod bad_input;
mod cli;
mod debug;
mod demo;
mod exec_artifacts;
mod exec_caches;
mod exec_containers;
mod exec_terminal;
mod gitlab_jobs;
mod hostile_archives;
mod kept_artifacts;
mod load;
mod owners;
mod pipelines;
mod proxy;
mod recovery;
mod runner_cache;
mod shim;
mod static_binary;
mod steps;
mod store;
mod support;
mod tool_cache;
mod transfer_meter;
