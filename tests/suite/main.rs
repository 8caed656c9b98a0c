//! Whole-program tests: the built binary against the embedded forge, in real containers, with real git.

mod architecture;
mod demo;
mod gitlab_jobs;
mod recovery;
mod shim;
mod support;
