//! GitHub, Gitea and Forgejo workflows.
//!
//! - [`events`]: which workflows an event starts, and what it brings. [`matrix`]: the combinations of a job.
//! - [`contexts`]: what expressions see. [`run`]: what a run does, job by job and step by step.
//! - [`commands`]: what steps say in their output and in command files.
//! - [`check()`]: text to a typed [`workflow`] by the [`schema`], with every error; [`lint`]: what is allowed and wrong.

pub mod check;
pub mod codes;
pub mod commands;
pub mod container;
pub mod contexts;
pub mod dialect;
pub mod events;
pub mod lint;
pub mod matrix;
pub mod run;
pub mod schema;
pub mod workflow;

pub use check::{CheckOptions, check};
pub use dialect::Dialect;
