//! GitLab CI configurations: everything the server does before a runner sees a job.
//!
//! - [`compose`]: the text, its includes, inputs, `extends` and references, as one tree.

pub mod compose;
