//! A workflow, typed.
//!
//! - [`model`]: workflow, events, jobs, steps. [`token`]: values that are evaluated later, with their places.
//! - [`convert`]: what the schema lets pass, to the model, with what the schema cannot tell.

pub mod convert;
pub mod model;
pub mod token;
