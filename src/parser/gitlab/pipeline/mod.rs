//! From a configuration to the pipeline that an event creates: what the server does before a runner sees a job.
//!
//! - [`context`]: what a pipeline is created for. [`predefined`], [`variables`], [`scope`]: variables and who sees them.
//! - [`rules`], [`policy`], [`pattern`], [`matrix`]: which jobs there are.

pub mod context;
pub mod matrix;
pub mod pattern;
pub mod policy;
pub mod predefined;
pub mod rules;
pub mod scope;
pub mod variables;
