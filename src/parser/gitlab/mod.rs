//! GitLab CI configurations: everything the server does before a runner sees a job.
//!
//! - [`compose`]: the text, its includes, inputs, `extends` and references, as one tree.
//! - [`config`]: that tree, typed and checked.
//! - [`pipeline`]: the pipeline that an event creates of it. [`downstream`]: those that its jobs start.
//! - [`check`], [`load`](fn@load): all of it at once, without and with a pipeline.

pub mod compose;
pub mod config;
pub mod downstream;
pub mod pipeline;

mod load;

#[cfg(test)]
mod corpus_tests;

pub use load::{LoadOptions, Loaded, check, compose_context, load};
