//! The stages of a job, one a file.
//!
//! Each takes the running job, does its part inside its section of the log, and returns how it went. What that means for
//! the stages to come is decided in [`super::job`], not here. A stage of the agent's own (all but the steps) may be run
//! again after a crash: it begins by clearing what an earlier try left.

pub(super) mod artifacts;
pub(super) mod cache;
pub(super) mod clean_up;
pub(super) mod dependencies;
pub(super) mod files;
pub(super) mod get_sources;
pub(super) mod kept_here;
mod meter;
mod output;
pub(super) mod prepare;
mod provenance;
mod retry;
pub mod sources;
pub(super) mod steps;
pub(super) mod tool_cache;
mod unpack;
