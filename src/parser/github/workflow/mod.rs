//! A workflow, typed.
//!
//! - [`model`]: workflow, events, jobs, steps. [`token`]: values that are evaluated later, with their places.

pub mod model;
pub mod token;
