//! Pipeline text to the model, with errors a developer can act on.
//!
//! - [`document`]: YAML with a place for every node. [`diagnostics`]: what is wrong, where, and what to do.
//! - [`expression`]: one engine for the expressions of three languages. [`variables`]: the native language's variables.
//! - [`native`], [`gitlab`], [`github`]: one language each, from document to jobs.
//! - [`join`]: two pieces of work at once.
//!
//! Pure: files come through a [`Files`](document::Files) that is handed in; no network, no clock, no environment.

pub mod diagnostics;
pub mod dialect;
pub mod document;
pub mod expression;
pub mod github;
pub mod gitlab;
mod join;
pub mod native;
pub mod variables;

pub use join::{JOBS_FOR_TWO, join};
