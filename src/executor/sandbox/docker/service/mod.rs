//! Containers beside the job: which there are, by which names they are found, whether they answer.
//!
//! - [`plan`]: configured and asked for, checked and named. Pure.
//! - [`start`]: image, container, running.
//! - [`health`]: waiting until it answers; what to say when it does not.

pub(super) mod health;
pub(super) mod plan;
pub(super) mod start;
