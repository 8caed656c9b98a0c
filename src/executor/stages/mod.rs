//! The stages of a job: one stage a folder, each called by the job in its order.
//!
//! - [`sources`]: fills the work tree from the repository.

pub mod sources;
