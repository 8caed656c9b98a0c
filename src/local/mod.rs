//! A pipeline of a checkout, run here and now, without a forge.
//!
//! - [`project`]: the checkout: its root, its files, the pipeline file that a path means.

pub mod project;
