//! Other runners' configurations, turned into ours.
//!
//! A migration changes as little as possible of what jobs meet: where our defaults are safer, the old behaviour is
//! written out, and the safer setting is told. What has no counterpart is told with its reason, never dropped silently.

mod gitlab_cache;
pub mod gitlab_docker;
pub mod gitlab_runner;
pub mod plan;
pub mod taken;

pub use plan::{Migrated, Migration, MigrationError, Note};

#[cfg(test)]
mod tests;
