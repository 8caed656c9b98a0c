//! A pipeline of a checkout, run here and now, without a forge.
//!
//! - [`project`]: the checkout: its root, its files, the pipeline file that a path means.
//! - [`facts`]: what git says about it.
//! - [`request`]: what it is started with: event, ref, variables, secrets, inputs.

pub mod facts;
pub mod project;
pub mod request;
