//! GitHub, Gitea and Forgejo workflows.
//!
//! - [`events`]: which workflows an event starts, and what it brings. [`matrix`]: the combinations of a job.
//! - [`contexts`]: what expressions see. [`run`]: what a run does, job by job and step by step.
//! - [`commands`]: what steps say in their output and in command files.

pub mod commands;
pub mod contexts;
pub mod events;
pub mod matrix;
pub mod run;
pub mod workflow;
