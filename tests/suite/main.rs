//! Whole-program tests: the built binary against the embedded forge, in real containers, with real git.

mod architecture;
mod cli;
mod bad_input;
mod demo;
mod gitlab_jobs;
mod load;
mod proxy;
mod shim;
mod static_binary;
mod support;
