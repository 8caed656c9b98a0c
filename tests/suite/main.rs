//! Whole-program tests: the built binary against the embedded forge, in real containers, with real git.

mod demo;
mod gitlab_jobs;
mod support;
