//! Whole-program tests: the built binary against the embedded forge, in real containers, with real git.

mod architecture;
mod bad_input;
mod demo;
mod gitlab_jobs;
mod shim;
mod support;
