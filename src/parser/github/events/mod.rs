//! Which workflows an event starts.
//!
//! [`pattern`]: the globs of `branches`, `tags` and `paths`. [`RunFacts`]: what the caller knows of the checkout.

mod facts;
pub mod pattern;

pub use facts::RunFacts;
